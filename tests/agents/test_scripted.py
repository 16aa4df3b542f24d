"""What every scripted expert is asked for; a row a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from fake_env import FakeEnv

from rise_gym.agents.scripted import ScriptedExpert, expert_actor
from rise_gym.errors import UnsuitableEnv
from rise_gym.tasks import TASKS

MakeReplica = Callable[[str], Any]


@dataclass(frozen=True)
class Row:
    """Seeds that the clean expert solves; (seed, ticks after which another expert takes over)."""

    solved: tuple[int, ...]
    taken_over: tuple[tuple[int, int], ...]


ROWS = {
    "box_close": Row(solved=(1, 2, 3, 4), taken_over=((1, 20), (3, 100), (4, 130))),
    "brick_sort": Row(solved=(1, 2, 3, 4), taken_over=((1, 85), (3, 60), (4, 120))),
    "backpack_pack": Row(solved=(1, 2), taken_over=((1, 20), (3, 55), (4, 85))),
}


def play(env: Any, expert: ScriptedExpert, seed: int, ticks: int = 1000) -> list[Any]:
    """The steps of the episode under way, the expert acting to its end or for some ticks."""
    expert.reset(env, seed)
    steps: list[Any] = []
    while len(steps) < ticks:
        steps.append(env.step(expert.act(env)[1]))
        if steps[-1][2] or steps[-1][3]:
            break
    return steps


def test_every_task_has_an_expert() -> None:
    assert set(ROWS) == set(TASKS)


@pytest.mark.parametrize(("task", "seed"), [(task, seed) for task, row in ROWS.items() for seed in row.solved])
def test_it_solves_its_task(blind_replica: MakeReplica, task: str, seed: int) -> None:
    env = blind_replica(task)
    first = env.reset(seed=seed)[1]["progress"][0]
    steps = play(env, expert_actor(task), seed)
    assert steps[-1][2]
    assert steps[-1][4]["is_success"]
    assert steps[-1][4]["score"] == 10
    assert sum(step[1] for step in steps) == pytest.approx(1.0 - first, abs=1e-5)


@pytest.mark.parametrize(("task", "start"), [(task, start) for task, row in ROWS.items() for start in row.taken_over])
def test_a_fresh_expert_finishes_what_another_began(
    blind_replica: MakeReplica, task: str, start: tuple[int, int]
) -> None:
    """It goes on from wherever the arms and the things are: the ground for corrections."""
    seed, ticks = start
    env = blind_replica(task)
    env.reset(seed=seed)
    play(env, expert_actor(task), seed, ticks=ticks)
    assert not play(env, expert_actor(task, noise=3.0), seed, ticks=5)[-1][2]
    assert play(env, expert_actor(task), seed)[-1][4]["is_success"]


@pytest.mark.parametrize("task", ROWS)
def test_noise_is_executed_but_not_meant_and_depends_on_the_seed(blind_replica: MakeReplica, task: str) -> None:
    env = blind_replica(task)

    def acts(noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        env.reset(seed=1)
        expert = expert_actor(task, noise)
        expert.reset(env, seed)
        pairs = [expert.act(env) for _ in range(3)]
        return np.array([clean for clean, _ in pairs]), np.array([executed for _, executed in pairs])

    clean, executed = acts(0.0, 0)
    np.testing.assert_array_equal(clean, executed)
    meant, noisy = acts(1.0, 0)
    np.testing.assert_allclose(meant[0], clean[0])
    assert np.abs(noisy - meant).max() > 0.001
    np.testing.assert_array_equal(noisy, acts(1.0, 0)[1])
    assert not np.array_equal(noisy, acts(1.0, 1)[1])


@pytest.mark.parametrize("task", ROWS)
def test_actions_are_smooth(blind_replica: MakeReplica, task: str) -> None:
    """A clone copies them, and a robot has to follow them."""
    env = blind_replica(task)
    env.reset(seed=1)
    expert = expert_actor(task)
    expert.reset(env, 1)
    actions = []
    for _ in range(60):
        clean, executed = expert.act(env)
        actions.append(clean[0])
        env.step(executed)
    turned = np.abs(np.diff(env.task.unscale_action(np.array(actions)), axis=0)).reshape(-1, 2, 7)[:, :, :6]
    assert turned.max() <= 0.26  # rad a tick


def test_an_expert_wants_a_replica() -> None:
    """It looks at the physics, and a dream has none."""
    with pytest.raises(UnsuitableEnv, match=r"a replica \(RiseMujoco-…\) was wanted.*got a FakeEnv"):
        expert_actor("box_close").reset(FakeEnv(), 0)
