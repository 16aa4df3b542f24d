"""The scripted expert of box closing, beyond what every expert is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from expert_play import play

from rise_gym.agents.scripted import expert_actor


@pytest.fixture
def env(blind_replica: Callable[[str], Any]) -> Any:
    env = blind_replica("box_close")
    env.reset(seed=2)
    return env


def test_it_closes_the_box_stage_by_stage(env: Any) -> None:
    expert = expert_actor("box_close")
    expert.reset(env, 2)
    scores = [info["score"] for info in play(env, expert)]
    reached = [scores.index(score) for score in (2.5, 5.0, 7.5, 10.0)]
    assert reached == sorted(reached)


def test_it_folds_again_what_sprang_open(env: Any) -> None:
    expert = expert_actor("box_close")
    expert.reset(env, 2)
    play(env, expert, ticks=110)
    assert env.scene.flap_angle("left") < env.scene.config.folded_rad
    env.scene.data.joint("left_flap").qpos[0] = 1.5
    expert.reset(env, 2)
    assert play(env, expert)[-1]["is_success"]
