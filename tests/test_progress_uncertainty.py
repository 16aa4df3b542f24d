"""A world model learns where the progress that it claims is off, says so, and an env can charge for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from rise_gym.checkpoints import load_checkpoint
from rise_gym.envs.imagined import ImaginedEnv
from rise_gym.envs.vector import ImaginedVectorEnv
from rise_gym.errors import InvalidDataset
from rise_gym.pipeline import RisePipeline
from rise_gym.progress_uncertainty import Claim, ProgressUncertainty, ProgressUncertaintyConfig
from rise_gym.recordings import Recordings
from rise_gym.starts import Starts
from rise_gym.tasks import BOX_CLOSE
from rise_gym.training import TrainingConfig
from rise_gym.types import Episode
from rise_gym.uncertainty_training import UncertaintyTraining, train_progress_uncertainty
from rise_gym.world_model import CompositionalWorldModel

World = Callable[..., CompositionalWorldModel]
QUICK = UncertaintyTraining(
    training=TrainingConfig(steps=400, batch_size=64, learning_rate=3e-3, warmup_steps=10, ema_decay=0.98),
    every_ticks=5,
)


def episode(first_target: float, *, seed: int = 0) -> Episode:
    """A dream gets one brighter every tick; what was recorded gets two brighter where the first joint is told to rise.

    So that the progress claimed of ten ticks is right, or off by 0.1.
    """
    ticks, pace = 36, 2 if first_target > 0 else 1
    views = np.broadcast_to((pace * np.arange(ticks, dtype=np.uint8))[:, None, None, None], (ticks, 64, 64, 3)).copy()
    actions = np.random.default_rng(seed).uniform(-0.2, 0.2, (ticks, 14)).astype(np.float32)
    actions[:, 0] = first_target
    return Episode(
        task="box_close", instruction=BOX_CLOSE.instruction, frames=dict.fromkeys(BOX_CLOSE.cameras, views),
        proprio=np.full((ticks, 14), 0.01, np.float32), actions=actions, success=False, score=0.0, source="rollout",
        policy="test", seed=seed, progress=pace * np.arange(ticks, dtype=np.float32) / 100,
    )  # fmt: skip


def recordings(*targets: float, first_seed: int = 0) -> Recordings:
    return Recordings.of([episode(target, seed=first_seed + n) for n, target in enumerate(targets)], BOX_CLOSE)


def told(model: CompositionalWorldModel, first_target: float) -> float:
    """How far off the progress is said to be, of a chunk from a dark start with a first joint that is told so."""
    state = model.begin(torch.zeros(1, 1, 3, 64, 64, 3, dtype=torch.uint8), torch.full((1, 14), 0.01), ["close it"])
    actions = torch.zeros(1, 10, 14)
    actions[:, :, 0] = first_target
    _, imagined = model.imagine(state, actions, generator=[Generator()])
    assert imagined.progress_uncertainty is not None
    return float(imagined.progress_uncertainty)


def doubting(model: CompositionalWorldModel, folder: Path, data: Recordings) -> CompositionalWorldModel:
    model.progress_uncertainty = train_progress_uncertainty(model, data, QUICK, folder)
    return model


@pytest.fixture(scope="module")
def model(counting_world: World, tmp_path_factory: pytest.TempPathFactory) -> CompositionalWorldModel:
    data = recordings(*[0.5, -0.5] * 8)
    return doubting(counting_world(), tmp_path_factory.mktemp("uncertainty"), data)


def test_it_knows_of_which_chunks_the_progress_is_wrong_and_by_how_much(model: CompositionalWorldModel) -> None:
    assert told(model, 0.5) == pytest.approx(0.1, abs=0.03)
    assert told(model, -0.5) < 0.02


def test_without_it_nothing_is_claimed(counting_world: World, random_starts: Starts) -> None:
    env = ImaginedEnv(world_model=counting_world(), starts=random_starts)
    env.reset(seed=0)
    assert "progress_uncertainty" not in env.step(np.zeros((10, 14), np.float32))[4]
    with pytest.raises(ValueError, match="rise-gym train uncertainty"):
        ImaginedEnv(world_model=counting_world(), starts=random_starts, uncertainty_charge=1.0)


def test_what_is_doubtful_can_be_charged_for(model: CompositionalWorldModel, counting_starts: Starts) -> None:
    action = np.zeros((2, 10, 14), np.float32)
    action[0, :, 0], action[1, :, 0] = 0.5, -0.5
    rewards, advantages = [], []
    for charge in (0.0, 0.5):
        env = ImaginedVectorEnv(2, world_model=model, starts=counting_starts, uncertainty_charge=charge)
        env.reset(seed=0, options={"start": [0, 0]})
        foretold = env.advantages_of(action)
        _, reward, _, _, info = env.step(action)
        np.testing.assert_array_equal(foretold, info["advantage"].astype(np.float32))
        rewards.append(reward)
        advantages.append(info["advantage"])
        doubt = info["progress_uncertainty"]
        env.close()
    np.testing.assert_allclose(rewards[0] - rewards[1], 0.5 * doubt, atol=1e-6)
    np.testing.assert_allclose(advantages[0] - advantages[1], 5 * 0.5 * doubt, atol=1e-5)
    assert rewards[0][0] > rewards[0][1]  # the first joint brightens pictures
    assert rewards[1][0] < rewards[1][1] - 0.02


@pytest.mark.parametrize("charge", [-1.0, float("nan"), float("inf")])
def test_impossible_charges_are_refused(model: CompositionalWorldModel, counting_starts: Starts, charge: float) -> None:
    with pytest.raises(ValueError, match="0 or more"):
        ImaginedEnv(world_model=model, starts=counting_starts, uncertainty_charge=charge)


def test_where_nothing_was_measured_the_value_of_recorded_frames_counts(counting_world: World, tmp_path: Path) -> None:
    data = recordings(*[0.5, -0.5] * 4)
    unmeasured = replace(data, progress=torch.full_like(data.progress, torch.nan))
    found = doubting(counting_world(), tmp_path, unmeasured)
    assert told(found, 0.5) > 3 * told(found, -0.5)


def test_a_stopped_run_comes_to_the_same(counting_world: World, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(step: int, figures: dict[str, float]) -> None:
        raise Stop

    data, settings = recordings(0.5, -0.5), replace(QUICK, training=replace(QUICK.training, steps=40))
    whole = train_progress_uncertainty(counting_world(), data, settings, tmp_path / "whole")
    with pytest.raises(Stop):
        train_progress_uncertainty(counting_world(), data, settings, tmp_path / "parts", on_progress=stop)
    parts = train_progress_uncertainty(counting_world(), data, settings, tmp_path / "parts")
    assert all(torch.equal(weight, parts.state_dict()[name]) for name, weight in whole.state_dict().items())


def test_episodes_shorter_than_a_chunk_teach_nothing(counting_world: World, tmp_path: Path) -> None:
    short = recordings(0.5)
    short = replace(short, last=torch.full_like(short.last, 5))
    with pytest.raises(InvalidDataset, match="longer than a chunk"):
        train_progress_uncertainty(counting_world(), short, QUICK, tmp_path)


def test_a_short_chunk_is_the_same_as_one_whose_end_is_held() -> None:
    network = ProgressUncertainty.of(ProgressUncertaintyConfig(chunk=6, later=2), BOX_CLOSE)

    def claim(gain: Tensor, actions: Tensor) -> Claim:
        one = torch.ones(1)
        return Claim(
            progress=0.3 * one, gain=gain, seen=0.4 * one, later=torch.zeros(1, 0), uncertainty=0.1 * one,
            proprio=torch.zeros(1, 14), actions=actions, instruction=["close it"],
        )  # fmt: skip

    gain, actions = torch.rand(1, 4, generator=Generator().manual_seed(0)), torch.rand(1, 4, 14)
    held = torch.tensor([0, 1, 2, 3, 3, 3])
    torch.testing.assert_close(
        network.numbers(claim(gain, actions)), network.numbers(claim(gain[:, held], actions[:, held]))
    )


def test_it_is_a_part_of_the_checkpoint(tiny_world_of: Callable[[str], Path], tmp_path: Path) -> None:
    before = CompositionalWorldModel.from_pretrained(tiny_world_of("box_close"))
    assert "progress_uncertainty" not in load_checkpoint(tiny_world_of("box_close"), kind="world_model").parts
    config = ProgressUncertaintyConfig(chunk=before.longest_chunk, later=len(before.dynamics.config.later))
    before.progress_uncertainty = ProgressUncertainty.of(config, BOX_CLOSE).eval()
    folder = before.save_pretrained(tmp_path / "world")
    assert "progress_uncertainty" in load_checkpoint(folder, kind="world_model").parts
    frames, proprio = torch.zeros(1, 1, 3, 64, 64, 3, dtype=torch.uint8), torch.zeros(1, 14)
    after = CompositionalWorldModel.from_pretrained(folder)
    state, actions = after.begin(frames, proprio, ["close it"]), torch.zeros(1, 10, 14)
    ours, theirs = (
        world.imagine(state, actions, generator=Generator().manual_seed(0))[1].progress_uncertainty
        for world in (before, after)
    )
    assert ours is not None
    assert torch.equal(ours, theirs)
    called = RisePipeline.from_pretrained(folder)(frames, proprio, actions, generator=Generator().manual_seed(0))
    assert called.progress_uncertainty is not None
