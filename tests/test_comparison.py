"""Comparing imagined with true figures: rankings, their costs, and what is too little to conclude from."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_env
import gymnasium
import numpy as np
import pytest
import torch

from rise_gym.agents.adversary import AdversaryConfig
from rise_gym.agents.baselines import RandomAgent
from rise_gym.agents.noisy import NoisyAgent
from rise_gym.commands import _shared as commands
from rise_gym.commands.compare import compare
from rise_gym.comparison import agreement, doubts, dreamt_episodes, first_windows, means, ranked
from rise_gym.episodes import write_episodes
from rise_gym.errors import (
    InvalidCheckpoint,
    InvalidDataset,
    RenderingUnavailable,
    RiseGymError,
    SaveFailed,
    UnsuitableEnv,
)
from rise_gym.evaluation import EpisodeResult
from rise_gym.metrics import mean_rank_violation
from rise_gym.starts import Starts
from rise_gym.tasks import BOX_CLOSE, BRICK_SORT, TaskCard
from rise_gym.types import Episode


def test_a_ranking_that_is_right_costs_nothing() -> None:
    true = np.array([0.1, 0.5, 0.9])
    assert mean_rank_violation(true**3, true) == 0
    assert mean_rank_violation(np.array([0.2, 0.1, 0.9]), true) == pytest.approx((0.4 + 0.4 + 0) / 3)
    assert mean_rank_violation(-true, true) == pytest.approx((0.8 + 0.4 + 0.8) / 3)


def test_what_is_equally_good_may_stand_in_any_order() -> None:
    assert mean_rank_violation(np.array([0.3, 0.2]), np.array([0.5, 0.5])) == 0
    assert mean_rank_violation(np.array([0.3, 0.3]), np.array([0.2, 0.6])) == pytest.approx(0.2)  # a tie misses one


def test_agreement_over_policies() -> None:
    found = agreement([float(n**3) for n in range(8)], [float(n) for n in range(8)])
    assert found["spearman"]["value"] == pytest.approx(1)
    assert 0.8 < found["pearson"]["value"] < 1
    assert found["mmrv"] == {"value": 0, "ci95": [0, 0]}
    low, high = found["pearson"]["ci95"]
    assert low <= found["pearson"]["value"] <= high


@pytest.mark.parametrize(
    ("imagined", "true", "shapes"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0], "(3,) and (2,)"),
        ([], [], "(0,) and (0,)"),
        ([[1.0, 2.0]], [[1.0, 2.0]], "(1, 2) and (1, 2)"),
    ],
)
def test_figures_that_do_not_pair_are_refused(imagined: Any, true: Any, shapes: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"of every policy were wanted, got figures of shapes {shapes}")):
        agreement(imagined, true)


def test_nothing_to_compare_is_told() -> None:
    with pytest.raises(ValueError, match="of every policy were wanted"):
        ranked([])
    with pytest.raises(ValueError, match="at least one episode was wanted"):
        means([])
    with pytest.raises(ValueError, match="at least one seed was wanted"):
        first_windows(fake_env.FakeEnv(), [])


def test_one_policy_has_figures_and_no_intervals() -> None:
    found = agreement([0.3], [0.4])
    assert found["mmrv"]["value"] == 0
    assert np.isnan([found["pearson"]["value"], *found["pearson"]["ci95"], *found["mmrv"]["ci95"]]).all()


def test_ranks_of_each_figure() -> None:
    rows = [
        {"true": dict.fromkeys(("success", "score", "episode_return"), float(n)), "imagined": means(results(n))}
        for n in range(5)
    ]
    assert ranked(rows)["score"]["spearman"]["value"] == pytest.approx(1)


def results(score: int) -> list[EpisodeResult]:
    one = {"seed": 1, "is_success": False, "episode_return": score / 10, "steps": 3}
    return [EpisodeResult(score=float(score), **one), EpisodeResult(score=score + 2.0, **one)]


def test_too_few_to_conclude_from() -> None:
    assert doubts(8, 40) == []
    few = doubts(3, 10)
    assert "3 policies" in few[0]
    assert "10 episodes" in few[1]
    assert "16 points" in few[1] or "32 points" in few[1]


def test_an_interval_that_is_too_wide_is_told() -> None:
    def of(low: float, high: float, value: float = 0.8) -> dict[str, Any]:
        return {"pearson": {"value": value, "ci95": [low, high]}}

    assert doubts(20, 50, of(0.85, 0.99)) == []
    (wide,) = doubts(20, 50, of(0.31, 0.99))
    assert "anything from 0.31 to 0.99" in wide
    (same,) = doubts(20, 50, of(np.nan, np.nan, np.nan))
    assert "the same for all policies" in same


def test_a_dream_a_row_each_with_its_own_noise(tiny_kwargs: dict[str, Any], random_starts: Starts) -> None:
    def dreamt(rows: list[int]) -> list[EpisodeResult]:
        starts = random_starts.rows(rows)
        dreams = gymnasium.make_vec(
            "RiseImagined-BoxClose-v0", num_envs=len(rows), starts=starts, horizon_s=3.0, **tiny_kwargs
        )
        found = dreamt_episodes(NoisyAgent("box_close", "random", 1.0, 0.0), dreams, starts.seeds.tolist())
        dreams.close()
        return found

    together = dreamt([0, 1, 2])
    assert [result.seed for result in together] == random_starts.seeds[:3].tolist()
    assert all(0 <= result.score <= 10 and 1 <= result.steps <= 3 for result in together)
    alone = dreamt([1])[0]
    assert alone.steps == together[1].steps
    assert alone.episode_return == pytest.approx(together[1].episode_return, abs=1e-4)


def test_a_policy_of_another_task_dreams_nothing(tiny_kwargs: dict[str, Any]) -> None:
    dreams = gymnasium.make_vec("RiseImagined-BoxClose-v0", num_envs=1, **tiny_kwargs)
    for agent in (RandomAgent(BRICK_SORT), NoisyAgent("brick_sort", "random", 1.0, 0.0)):
        with pytest.raises(UnsuitableEnv, match="policy is of 'brick_sort' and the env of 'box_close'"):
            dreamt_episodes(agent, dreams, [0])


def test_first_windows_are_what_a_reset_shows() -> None:
    class Still:
        unwrapped = SimpleNamespace(task=BOX_CLOSE)

        def reset(self, *, seed: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
            frame = np.full((64, 64, 3), seed, np.uint8)
            return {**dict.fromkeys(BOX_CLOSE.cameras, frame), "proprio": np.zeros(14, np.float32)}, {}

    starts: Any = first_windows(Still(), [5, 9])  # type: ignore[arg-type]
    assert starts.frames.shape == (2, 1, 3, 64, 64, 3)
    assert starts.frames[1].max() == 9
    assert starts.seeds.tolist() == [5, 9]


def test_noisy_agent_draws_from_the_rows_generators() -> None:
    agent = NoisyAgent("box_close", "random", 1.0, 2.0)
    rows = [[torch.Generator().manual_seed(seed) for seed in seeds] for seeds in ([3, 4], [4])]
    together, alone = agent.act({}, ["x"] * 2, generator=rows[0]), agent.act({}, ["x"], generator=rows[1])
    np.testing.assert_array_equal(together[1], alone[0])
    assert np.abs(together).max() <= 1


def recorded(task: TaskCard) -> list[Episode]:
    """Two episodes of 25 ticks of noise, the second a success."""
    frames = np.random.default_rng(0).integers(0, 256, (25, 64, 64, 3), dtype=np.uint8)
    return [
        Episode(
            task=task.name, instruction=task.instruction, frames=dict.fromkeys(task.cameras, frames),
            proprio=np.zeros((25, 14), np.float32), actions=np.zeros((25, 14), np.float32), success=bool(number),
            score=10.0 * number, source="rollout", policy="test", seed=number,
            progress=np.linspace(0, 0.5, 25, dtype=np.float32),
        )
        for number in range(2)
    ]  # fmt: skip


def test_the_command_writes_a_page_on_trust(tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a fake replica: what is measured beside the ranking, and where it is told."""
    write_episodes(tmp_path / "data", recorded(BOX_CLOSE), BOX_CLOSE)
    dreamt = commands.env_id_of

    def env_id_of(backend: str, task: str) -> str:
        return fake_env.SINGLE_ID if backend == "Mujoco" else dreamt(backend, task)

    monkeypatch.setattr("rise_gym.commands.compare.env_id_of", env_id_of)
    monkeypatch.setattr("rise_gym.commands._trusting.env_id_of", env_id_of)
    small = AdversaryConfig(chunks=2, candidates=4, elites=2, rounds=1)
    monkeypatch.setattr("rise_gym.agents.adversary.AdversaryConfig", lambda: small)
    how: dict[str, Any] = {"world_model": str(tiny_world), "episodes": 2, "processes": 1, "drift_chunks": 2}
    how |= {"data": (tmp_path / "data",), "exploit_starts": 1, "report": tmp_path / "trust"}
    compare(["random"], noise=(0.0, 1.0), json_file=tmp_path / "found.json", **how)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["drift"]["drift"]["success"]["count"] == [1, 1]
    assert found["calibration"]["false_success"]["episodes"] == 2
    assert found["uncertainty"]["errors"]["pictures"]["chunks_1"]["count"] == 2
    assert found["exploit"]["settings_measured"]["adversary"]["starts"] == 1
    page = (tmp_path / "trust" / "report.html").read_text()
    assert all(question in page for question in ("rank policies", "come true?", "How far ahead", "be fooled?"))


@pytest.fixture
def nothing_played(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever plays or dreams fails."""
    for name in ("comparison.first_windows", "comparison.dreamt_episodes", "evaluation.play"):
        monkeypatch.setattr(f"rise_gym.{name}", lambda *_, **__: pytest.fail("something was played"))


@pytest.mark.usefixtures("nothing_played")
@pytest.mark.parametrize(
    ("policies", "how", "wanted"),
    [
        ([], {}, r"policies to compare were wanted, none was named: .*bundled:box_close/base"),
        (["random"], {"episodes": 0}, r"an episode of each policy or more was wanted, --episodes is 0"),
        (["random"], {"noise": ()}, r"--noise wants one multiple or more.*0 for none"),
        (["random"], {"noise": (0.0, -1.0)}, r"a factor of the noise of 0 or more was wanted, got -1"),
        (["random"], {"exploit_starts": -1}, r"--exploit-starts is -1"),
        (["random"], {"drift_chunks": 0}, r"--drift-chunks is 0"),
        (["random"], {"seed": -3}, r"--seed of 0 or more was wanted, got -3"),
        (["random"], {"processes": 0}, r"--processes of 1 or more was wanted, got 0"),
        (["random"], {"robot_env": "My-v0", "robot_episodes": 0}, r"--robot-episodes of 1 or more was wanted, got 0"),
    ],
)
def test_the_command_refuses_what_compares_nothing(policies: list[str], how: dict[str, Any], wanted: str) -> None:
    with pytest.raises(RiseGymError, match=wanted):
        compare(policies, **how)


@pytest.mark.usefixtures("nothing_played")
def test_all_is_checked_before_anything_is_played(
    tiny_world: Path, tiny_world_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """Hours of playing would be lost where the last policy is of another task."""
    own = {"world_model": str(tiny_world)}
    with pytest.raises(InvalidCheckpoint, match="task 'box_close' was wanted, it was made for 'brick_sort'"):
        compare(["random", "bundled:brick_sort/base"], **own)
    with pytest.raises(InvalidCheckpoint, match="nowhere"):
        compare(["random", str(tmp_path / "nowhere")], **own)
    with pytest.raises(InvalidCheckpoint, match="task 'box_close' was wanted, it was made for 'brick_sort'"):
        compare(["random"], world_model=str(tiny_world_of("brick_sort")))
    write_episodes(tmp_path / "bricks", recorded(BRICK_SORT), BRICK_SORT)
    with pytest.raises(InvalidDataset, match=r"of task 'box_close' was wanted.*is of 'brick_sort'"):
        compare(["random"], data=(tmp_path / "bricks",), **own)


def test_the_command(tiny_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "found.json"
    try:
        compare(["random"], world_model=str(tiny_world), noise=(0.0, 1.0), episodes=2, json_file=path, processes=1)
    except RenderingUnavailable as error:
        pytest.skip(f"no OpenGL here: {error}")
    found = json.loads(path.read_text())
    assert [(row["policy"], row["noise"]) for row in found["policies"]] == [("random", 0.0), ("random", 1.0)]
    assert set(found["agreement"]) == {"success", "score", "episode_return"}
    assert path.with_suffix(".png").stat().st_size > 1000
    assert "careful: 2 policies" in capsys.readouterr().out


def test_what_was_compared_is_told_where_it_can_not_be_written(
    tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hours of playing would be lost."""
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr("rise_gym.commands.compare._starts", lambda *_: None)
    row = {"policy": "random", "noise": 0.0, "true": means(results(3)), "imagined": means(results(3))}
    monkeypatch.setattr("rise_gym.commands.compare._rows", lambda *_: [row])
    with pytest.raises(SaveFailed):
        compare(["random"], world_model=str(tiny_world), json_file=tmp_path / "file" / "found.json")
    assert '"score": 4.0' in capsys.readouterr().out
