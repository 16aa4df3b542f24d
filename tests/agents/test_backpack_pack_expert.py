"""The scripted expert of packing the backpack, beyond what every expert is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from expert_play import play

from rise_gym.agents.scripted import expert_actor


@pytest.fixture
def env(blind_replica: Callable[[str], Any]) -> Any:
    env = blind_replica("backpack_pack")
    env.reset(seed=2)
    return env


def take_over(env: Any) -> bool:
    """Whether a fresh expert solves what is left."""
    expert = expert_actor("backpack_pack")
    expert.reset(env, 2)
    return bool(play(env, expert)[-1]["is_success"])


def test_it_packs_stage_by_stage_with_the_bag_in_the_air_at_the_end(env: Any) -> None:
    expert = expert_actor("backpack_pack")
    expert.reset(env, 2)
    scores = [info["score"] for info in play(env, expert)]
    reached = [scores.index(score) for score in (2.5, 5.0, 7.5, 10.0)]
    assert reached == sorted(reached)
    assert env.scene.clearance_m() > env.scene.config.lifted_m


def test_it_holds_the_mouth_open_while_the_other_hand_inserts(env: Any) -> None:
    expert = expert_actor("backpack_pack")
    expert.reset(env, 2)
    mouth = [env.scene.mouth_m() for _ in play(env, expert, ticks=1)]
    while not env.scene.stages()["inserted"]:
        play(env, expert, ticks=1)
        mouth.append(env.scene.mouth_m())
    assert mouth[-1] > mouth[0] + 0.02


def test_it_packs_again_what_fell_out(env: Any) -> None:
    expert = expert_actor("backpack_pack")
    expert.reset(env, 2)
    play(env, expert, ticks=50)
    assert env.scene.stages()["inserted"]
    env.scene.data.joint("garment").qpos[:3] = [0.3, -0.2, 0.02]
    assert take_over(env)


def test_it_unzips_a_bag_that_is_shut_and_empty(env: Any) -> None:
    env.scene.data.joint("slider").qpos[0] = env.scene.zip_travel_m
    env.scene.data.joint("front").qpos[0], env.scene.data.joint("flap").qpos[0] = 0.45, 0.2
    assert take_over(env)


def test_it_brings_back_a_bag_that_was_dragged_aside(env: Any) -> None:
    env.scene.data.joint("bag").qpos[1] += 0.12
    assert take_over(env)


def test_its_noise_leads_astray(env: Any) -> None:
    clean, noisy = expert_actor("backpack_pack"), expert_actor("backpack_pack", 1.0)
    assert clean.noise.joint_rad == 0
    assert 0 < noisy.noise.joint_rad < 0.03
    paths = []
    for expert in (clean, noisy):
        env.reset(seed=2)
        expert.reset(env, 2)
        play(env, expert, ticks=30)
        paths.append(env.joints())
    assert np.abs(paths[0] - paths[1]).max() > 0.005
