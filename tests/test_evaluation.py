"""Evaluations are the same however they are run, and say how sure they are."""

from __future__ import annotations

import json
import logging
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_env import SINGLE_ID, VECTOR_ID, FakeActor, FakeAgent
from hypothesis import given, settings
from hypothesis import strategies as st

from rise_gym.agents.baselines import RandomAgent
from rise_gym.commands.evaluate import evaluate as evaluate_command
from rise_gym.errors import RiseGymError, SaveFailed, UnsuitableEnv
from rise_gym.evaluation import (
    EpisodeResult,
    Factory,
    commit_of,
    evaluate,
    play,
    summarise,
    wilson_interval,
    write_report_json,
)
from rise_gym.metrics import mean_interval
from rise_gym.protocols import Agent
from rise_gym.tasks import BOX_CLOSE, BRICK_SORT

SEEDS = range(100_000, 100_007)
KEYS = [
    "env_id", "policy", "episodes", "seed", "success_rate", "success_ci95", "score_mean", "score_ci95", "return_mean",
    "seconds",
]  # fmt: skip


def results(**arguments: Any) -> list[EpisodeResult]:
    return list(play(arguments.pop("env_id", SINGLE_ID), arguments.pop("agent", FakeAgent()), SEEDS, **arguments))


@pytest.fixture(scope="module")
def wanted() -> list[EpisodeResult]:
    return results(num_envs=7)


def test_episodes_come_in_order_and_differ(wanted: list[EpisodeResult]) -> None:
    assert [result.seed for result in wanted] == list(SEEDS)
    assert len({result.score for result in wanted}) > 3
    assert {result.is_success for result in wanted} == {True, False}
    assert all(result.is_success == (result.score >= 10) for result in wanted)
    assert all(0 < result.episode_return <= result.score / 10 + 1e-6 for result in wanted)
    assert all(1 <= result.steps <= 3 for result in wanted)


@pytest.mark.parametrize("num_envs", [1, 3, 20])
def test_the_size_of_the_batch_changes_nothing(num_envs: int, wanted: list[EpisodeResult]) -> None:
    assert results(num_envs=num_envs) == wanted


def test_processes_change_nothing(wanted: list[EpisodeResult]) -> None:
    agent = Factory(target="fake_env:FakeAgent")
    assert results(env_id=f"fake_env:{SINGLE_ID}", agent=agent, num_envs=3, processes=2) == wanted


def test_a_native_vector_env_changes_nothing(wanted: list[EpisodeResult]) -> None:
    found = results(env_id=VECTOR_ID, num_envs=3, env_arguments={"chunk": 10})
    for here, there in zip(found, wanted, strict=True):
        assert (here.seed, here.is_success, here.steps) == (there.seed, there.is_success, there.steps)
        assert here.score == pytest.approx(there.score, abs=1e-5)
        assert here.episode_return == pytest.approx(there.episode_return, abs=1e-5)


def test_running_episodes_share_one_call() -> None:
    agent = FakeAgent(chunk=5)
    steps = [result.steps for result in results(agent=agent, num_envs=7)]
    assert agent.batches == [sum(one > n for one in steps) for n in range(max(steps))]


def test_the_agents_chunk_sets_the_envs() -> None:
    assert max(result.steps for result in results(agent=FakeAgent(chunk=5))) == 5
    assert max(result.steps for result in results(agent=FakeAgent(chunk=5), chunk=2)) == 13  # the rest is planned anew


def test_less_advantage_is_asked_for() -> None:
    assert np.mean([result.score for result in results(advantage=0.2)]) < np.mean([r.score for r in results()])


def test_an_actor_sees_the_env() -> None:
    found = results(agent=FakeActor(), chunk=1)
    assert found == results(agent=FakeActor(), chunk=1, num_envs=2)
    assert any(result.is_success for result in found)


def test_the_report_has_the_contracts_keys(wanted: list[EpisodeResult]) -> None:
    seen: list[int] = []
    report = evaluate(SINGLE_ID, FakeAgent(), 7, 100_000, policy="mine", on_episode=lambda r: seen.append(r.seed))
    assert list(report) == KEYS
    assert seen == list(SEEDS)
    assert (report["env_id"], report["policy"], report["episodes"], report["seed"]) == (SINGLE_ID, "mine", 7, 100_000)
    assert report["success_rate"] == pytest.approx(np.mean([result.is_success for result in wanted]))
    assert report["score_mean"] == pytest.approx(np.mean([result.score for result in wanted]))
    assert report["return_mean"] == pytest.approx(np.mean([result.episode_return for result in wanted]))
    for rate, interval in (("success_rate", "success_ci95"), ("score_mean", "score_ci95")):
        low, high = report[interval]
        assert low <= report[rate] <= high
    assert json.loads(json.dumps(report)) == report


def test_no_episodes_are_no_evaluation() -> None:
    with pytest.raises(ValueError, match="at least one episode, 0 were asked for"):
        evaluate(SINGLE_ID, FakeAgent(), 0, 100_000)


def test_seeds_that_may_be_trained_on_are_noticed(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        evaluate(SINGLE_ID, FakeAgent(), 1, 100_000)
        assert not caplog.records
        evaluate(SINGLE_ID, FakeAgent(), 1, 99_999)
    assert "may be in the training data" in caplog.text


@pytest.mark.parametrize(
    ("successes", "episodes", "low", "high"), [(10, 20, 0.299, 0.701), (0, 10, 0.0, 0.278), (200, 200, 0.981, 1.0)]
)
def test_wilsons_interval_in_numbers(successes: int, episodes: int, low: float, high: float) -> None:
    assert wilson_interval(successes, episodes) == pytest.approx((low, high), abs=1e-3)


@given(episodes=st.integers(1, 500), part=st.floats(0, 1))
@settings(deadline=None, max_examples=50)
def test_wilsons_interval_holds_the_rate(episodes: int, part: float) -> None:
    successes = round(part * episodes)
    low, high = wilson_interval(successes, episodes)
    assert 0 <= low <= successes / episodes + 1e-12
    assert successes / episodes - 1e-12 <= high <= 1
    mirrored = wilson_interval(episodes - successes, episodes)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high))


def test_the_bootstrap_is_seeded_and_narrows() -> None:
    few, many = np.arange(10.0), np.tile(np.arange(10.0), 20)
    assert mean_interval(few) == mean_interval(few)
    widths = [high - low for low, high in map(mean_interval, (few, many))]
    assert widths[1] < widths[0] / 3
    assert mean_interval(np.ones(5)) == (1.0, 1.0)


def test_a_report_on_disk_names_commit_and_machine(tmp_path: Path, wanted: list[EpisodeResult]) -> None:
    report = summarise(wanted, env_id=SINGLE_ID, policy="mine", seconds=1.0)
    write_report_json(tmp_path / "results" / "one.json", report)
    stored = json.loads((tmp_path / "results" / "one.json").read_text())
    assert {key: stored[key] for key in KEYS} == report
    assert "commit" in stored
    assert stored["machine"]["cpus"] >= 1


def test_random_agent_fills_the_action_space() -> None:
    agent = RandomAgent(BOX_CLOSE)
    assert isinstance(agent, Agent)
    found = results(agent=agent)
    assert found == results(agent=agent)
    assert {result.steps for result in found} == {3}
    agent.seed(3)
    actions = agent.act({}, ["go"] * 50)
    assert actions.shape == (50, 10, 14)
    assert actions.dtype == np.float32
    assert -1 <= actions.min() < -0.99
    assert 0.99 < actions.max() <= 1
    assert float(agent.loss({})) == 0.0


def test_a_policy_of_another_task_is_refused(tiny_kwargs: dict[str, Any]) -> None:
    dream: dict[str, Any] = {"env_id": "RiseImagined-BoxClose-v0", "env_arguments": tiny_kwargs}
    for where in ({}, dream):
        with pytest.raises(UnsuitableEnv, match="policy is of 'brick_sort' and the env of 'box_close'"):
            results(agent=RandomAgent(BRICK_SORT), **where)


def test_worker_processes_tell_of_another_task_too() -> None:
    with pytest.raises(UnsuitableEnv, match="policy is of 'brick_sort' and the env of 'box_close'"):
        results(agent=RandomAgent(BRICK_SORT), env_id=f"fake_env:{SINGLE_ID}", num_envs=3, processes=2)


def test_figures_that_are_no_numbers_are_null(tmp_path: Path) -> None:
    write_report_json(tmp_path / "found.json", {"a": [float("nan"), 1.0], "b": {"c": float("inf")}})
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["a"], found["b"]) == ([None, 1.0], {"c": None})


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"seed": -5}, "--seed of 0 or more was wanted, got -5"),
        ({"processes": 0}, "--processes of 1 or more was wanted, got 0"),
        ({"episodes": 0}, "at least one episode"),
        ({"advantage": 7.0}, "an advantage from -1 to 1"),
        ({"advantage": float("nan")}, "an advantage from -1 to 1"),
    ],
)
def test_the_command_names_numbers_that_are_none(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(RiseGymError, match=told):
        evaluate_command("RiseMujoco-BoxClose-v0", policy="random", **wrong)


def test_what_the_command_measured_is_told_where_it_can_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr("rise_gym.evaluation.evaluate", lambda *_, **__: {"success_rate": 0.25})
    with pytest.raises(SaveFailed):
        evaluate_command("RiseMujoco-BoxClose-v0", policy="random", json_file=tmp_path / "file" / "found.json")
    assert '"success_rate": 0.25' in capsys.readouterr().out


def test_a_commit_is_marked_if_files_differ_but_for_recorded_results(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        settings = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        command = ["git", "-C", str(tmp_path), *settings, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert commit_of(tmp_path) is None
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    for path in (results / "some.json", tmp_path / "code.py"):
        path.write_text("1")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "first")
    head = git("rev-parse", "HEAD")
    (results / "some.json").write_text("2")
    (tmp_path / "untracked.txt").write_text("2")
    assert commit_of(results.parent) == head
    (tmp_path / "code.py").write_text("2")
    assert commit_of(results.parent) == f"{head}-dirty"
