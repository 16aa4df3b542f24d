"""Whether what a dream says of deviations comes true: told where it does, and not where a state alone decides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rise_gym import WorldModel
from rise_gym.commands._trusting import recorded_trust
from rise_gym.deviations import chunk_beginnings, deviation_claims, deviation_figures
from rise_gym.episodes import write_episodes
from rise_gym.errors import InvalidDataset
from rise_gym.recordings import Recordings
from rise_gym.tasks import BOX_CLOSE
from rise_gym.types import Episode

BASE = "bundled:box_close/base"


def rollout(number: int, *, ticks: int = 61) -> Episode:
    rng = np.random.default_rng(number)
    return Episode(
        task="box_close",
        instruction=BOX_CLOSE.instruction,
        frames={name: rng.integers(0, 255, (ticks, 64, 64, 3), np.uint8) for name in BOX_CLOSE.cameras},
        proprio=np.full((ticks, 14), 0.01, np.float32),
        actions=rng.uniform(-0.5, 0.5, (ticks, 14)).astype(np.float32),
        success=number % 2 == 0,
        score=10.0,
        source="rollout",
        policy=BASE,
        seed=number,
        progress=np.linspace(0, 0.5, ticks, dtype=np.float32),
    )


def test_worth_that_comes_true_is_told_from_worth_that_does_not() -> None:
    """Progress that follows is what the dream says of the state, which is no merit, and of the deviation."""
    rng, count, chunks = np.random.default_rng(0), 30, 6
    claimed, own = rng.normal(size=(2, count, chunks))
    episodes = []
    for number in range(count):
        gained = np.repeat(0.01 * own[number] + 0.005 * claimed[number], 10)
        progress = np.concatenate([[0.5], 0.5 + np.cumsum(gained) / 10]).astype(np.float32)
        episodes.append(replace(rollout(number), progress=progress))
    recordings = Recordings.of(episodes, BOX_CLOSE)
    moments = chunk_beginnings(recordings, 10)
    assert len(moments) == count * chunks
    flat = own.flatten()
    found = deviation_figures(recordings, moments, flat, flat + claimed.flatten())
    assert (found["episodes"], found["successes"], found["moments"]) == (count, count // 2, count * chunks)
    assert [row["ticks"] for row in found["after_ticks"]] == [10, 20, 30, 50]
    assert found["after_ticks"][0]["correlation"] > 0.95
    assert found["after_ticks"][0]["ci95"][0] > 0.9
    nothing = deviation_figures(recordings, moments, flat, flat + rng.normal(size=flat.shape))["after_ticks"][0]
    assert nothing["ci95"][0] < 0 < nothing["ci95"][1]


def test_demonstrations_and_episodes_of_unknown_progress_tell_nothing() -> None:
    one = rollout(0)
    mixed = Recordings.of([replace(one, source="demonstration", progress=None), rollout(1)], BOX_CLOSE)
    assert chunk_beginnings(mixed, 10).tolist() == list(range(61, 121, 10))
    for episode in (replace(one, progress=None), replace(one, source="demonstration")):
        with pytest.raises(InvalidDataset, match=r"whose progress was recorded.*--who policy --noise"):
            chunk_beginnings(Recordings.of([episode], BOX_CLOSE), 10)


def test_rollouts_without_chance_are_refused(tiny_world: Path) -> None:
    recordings, model = Recordings.of([rollout(0)], BOX_CLOSE), WorldModel.from_pretrained(tiny_world)
    moments, done = chunk_beginnings(recordings, 10), []

    def executed(rows: torch.Tensor) -> torch.Tensor:
        return recordings.actions[recordings.chunk(rows, 10)[0]]

    with pytest.raises(InvalidDataset, match="deviate from the policy's own chunks"):
        deviation_claims(model, executed, recordings, moments)
    own, deviated = deviation_claims(
        model, lambda rows: executed(rows) + 0.1, recordings, moments, on_progress=done.append
    )
    assert own.shape == deviated.shape == (6,)
    assert np.isfinite(deviated - own).all()
    assert (deviated != own).any()
    assert done == [6]


def test_the_command_looks_at_rollouts_of_a_policy_it_compares(
    tiny_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = replace(rollout(5), policy="somebody else")
    write_episodes(tmp_path, [*(rollout(number) for number in range(3)), others], BOX_CLOSE)
    found = recorded_trust([tmp_path], BOX_CLOSE, str(tiny_world), ["random", BASE], chunks=1)
    assert found["deviations"]["policy"] == BASE
    assert (found["deviations"]["episodes"], found["deviations"]["moments"]) == (3, 18)
    assert "deviations" not in recorded_trust([tmp_path], BOX_CLOSE, str(tiny_world), ["random"], chunks=1)
    assert "not looked at" not in capsys.readouterr().out
