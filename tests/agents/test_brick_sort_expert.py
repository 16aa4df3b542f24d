"""The scripted expert of brick sorting, beyond what every expert is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from rise_gym.agents.experts.brick_sort import BrickSortExpert
from rise_gym.agents.scripted import ScriptedExpert, Waypoint


@pytest.fixture
def env(blind_replica: Callable[[str], Any]) -> Any:
    return blind_replica("brick_sort")


def play(env: Any, expert: ScriptedExpert, until: Callable[[dict[str, Any]], bool] = lambda info: False) -> list[Any]:
    """The infos of the episode under way, the expert acting to its end or until something holds."""
    expert.reset(env, 0)
    infos: list[Any] = []
    while not infos or not until(infos[-1]):
        _, _, terminated, truncated, info = env.step(expert.act(env)[1])
        infos.append(info)
        if terminated or truncated:
            break
    return infos


class Late(BrickSortExpert):
    """Aims where the brick was when the hand set out."""

    def grasp(self, brick: int) -> list[Waypoint]:
        return [replace(step, position=partial(np.copy, step.position())) for step in super().grasp(brick)]


class Patient(BrickSortExpert):
    """Sets out for bricks that stand."""

    def reaches(self, arm: str, brick: int, ahead_s: float) -> bool:
        stands = abs(self.scene.data.joint(f"brick_{brick}").qvel[1]) < 0.01
        return bool(stands) and super().reaches(arm, brick, ahead_s)


@pytest.mark.parametrize("expert", [Late, Patient])
@pytest.mark.parametrize("seed", [90001, 90002])
def test_who_does_not_reckon_with_motion_fails(env: Any, expert: type[BrickSortExpert], seed: int) -> None:
    env.reset(seed=seed)
    infos = play(env, expert())
    assert not infos[-1]["is_success"]
    assert infos[-1]["score"] <= 4.0


def test_both_hands_work_at_once_and_keep_apart(blind_replica: Callable[..., Any]) -> None:
    env = blind_replica("brick_sort", config={"belt_speed_m_s": 0.05, "speed_spread": 0.25})  # bricks lie closer
    env.reset(seed=90000)
    expert, apart, both = BrickSortExpert(), [], 0
    expert.reset(env, 0)
    for _ in range(190):
        _, _, terminated, _, info = env.step(expert.act(env)[1])
        tools = [env.scene.tool_position(arm) for arm in ("left", "right")]
        apart.append(np.linalg.norm(tools[0] - tools[1]))
        both += len({env.scene.holder(brick) for brick in env.scene.bricks} - {None}) == 2
        if terminated:
            break
    assert info["is_success"]
    assert min(apart) > 0.14
    assert both > 0


def test_who_takes_over_a_held_brick_does_not_drop_it(env: Any) -> None:
    env.reset(seed=90001)
    play(env, BrickSortExpert(), until=lambda info: info["score"] == 1.0)
    assert all(
        info["score"] >= 1 for info in play(env, BrickSortExpert(), until=lambda info: info["score"] == 2.5)[:-2]
    )


def test_a_brick_held_by_the_wrong_arm_is_brought_across(env: Any) -> None:
    class Swapped(BrickSortExpert):
        def reaches(self, arm: str, brick: int, ahead_s: float) -> bool:
            return self.scene.start.bricks[brick].home != arm and -0.2 < self.scene.brick_position(brick)[1] < 0.15

    env.reset(seed=90104)
    play(env, Swapped(), until=lambda info: info["score"] == 1.0)
    assert play(env, BrickSortExpert())[-1]["is_success"]


def test_a_brick_in_the_wrong_bin_is_taken_out_again(env: Any) -> None:
    env.reset(seed=90102)
    scene = env.scene
    wrong = "left" if scene.start.bricks[3].home == "right" else "right"
    scene.data.joint("brick_3").qpos[:3] = scene.bin_center(wrong) + np.array([0, 0, 0.02])
    scene.data.joint("brick_3").qvel[:] = 0
    assert play(env, BrickSortExpert())[-1]["is_success"]


def test_a_brick_beside_the_belt_is_picked_up(env: Any) -> None:
    env.reset(seed=90102)
    scene = env.scene
    side = 0.1 if scene.start.bricks[3].home == "left" else -0.1
    scene.data.joint("brick_3").qpos[:3] = [0.15, side, 0.018]
    scene.data.joint("brick_3").qvel[:] = 0
    assert play(env, BrickSortExpert())[-1]["is_success"]
