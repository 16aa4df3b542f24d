"""The brick-sorting scene: its belt, its score, and that it can be replayed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np
import pytest

from rise_gym.agents.scripted import expert_actor
from rise_gym.envs.mujoco.brick_sort import BrickSortScene
from rise_gym.envs.mujoco.brick_sort_model import SEEN_FROM_Y_M, BrickSortConfig, belt_span_m, draw, mjcf
from rise_gym.tasks import ARMS, BRICK_SORT


def scene_of(seed: int = 0, **config: Any) -> BrickSortScene:
    scene = BrickSortScene.sample(np.random.default_rng(seed), BrickSortConfig(**config))
    mujoco.mj_forward(scene.model, scene.data)
    return scene


def put(scene: BrickSortScene, brick: int, position: Any) -> None:
    """A brick somewhere, level."""
    scene.data.joint(f"brick_{brick}").qpos[:] = [*position, 1, 0, 0, 0]
    mujoco.mj_kinematics(scene.model, scene.data)


def own_bin(scene: BrickSortScene, brick: int, height_m: float = 0.02) -> np.ndarray:
    return scene.bin_center(scene.start.bricks[brick].home) + np.array([0, 0, height_m])


def other_bin(scene: BrickSortScene, brick: int) -> np.ndarray:
    return scene.bin_center("left" if scene.start.bricks[brick].home == "right" else "right") + np.array([0, 0, 0.02])


@pytest.mark.parametrize(
    ("place", "points"),
    [
        (lambda scene: own_bin(scene, 0), 2.5),
        (lambda scene: own_bin(scene, 0, 0.05), 2.5),  # on top of another
        (lambda scene: own_bin(scene, 0, 0.2), 0.0),  # above it, in nobody's hand
        (lambda scene: other_bin(scene, 0), -1.0),
        (lambda scene: scene.tool_position("left"), 1.0),
        (lambda scene: scene.tool_position("right") + np.array([0.01, 0, 0.005]), 1.0),
        (lambda scene: scene.tool_position("right") + np.array([0, 0, 0.05]), 0.0),
        (lambda scene: (scene.config.belt_x_m, 0.0, 0.042), 0.0),
        (lambda scene: (scene.config.belt_x_m, 0.33, 0.042), -0.5),  # carried away
        (lambda scene: (0.12, 0.0, 0.017), -0.5),  # fallen beside
    ],
)
def test_a_brick_is_worth_what_the_score_says(place: Callable[[BrickSortScene], Any], points: float) -> None:
    scene = scene_of()
    for brick in (1, 2, 3):
        put(scene, brick, own_bin(scene, brick))
    put(scene, 0, place(scene))
    assert scene.score() == pytest.approx(7.5 + points)
    assert scene.progress() >= scene.score() / 10
    assert (scene.progress() == 1.0) is (points == 2.5)
    assert list(scene.stages().values()) == [True, True, True, points == 2.5]


def test_an_open_hand_holds_nothing() -> None:
    scene = scene_of()
    put(scene, 0, scene.tool_position("left"))
    assert scene.score() == 1.0
    for side in "ab":
        scene.data.joint(f"left_finger_{side}").qpos[0] = 0.04
    assert scene.score() == 0.0


def test_the_score_stays_between_its_ends() -> None:
    scene = scene_of()
    for brick in scene.bricks:
        put(scene, brick, other_bin(scene, brick))
    assert scene.score() == scene.progress() == 0.0
    for brick in scene.bricks:
        put(scene, brick, own_bin(scene, brick))
    assert scene.score() == 10.0
    assert scene.progress() == 1.0


def test_progress_rises_on_the_way_to_the_bin() -> None:
    scene = scene_of()
    hand = scene.tool_position("left")
    progress = []
    for below in (0.3, 0.15, 0.04):  # the hand comes
        put(scene, 0, hand - np.array([0, 0, below]))
        progress.append(scene.progress())
    for share in (0.0, 0.3, 0.7, 1.0):  # and carries
        way = own_bin(scene, 0, 0.1) - hand
        put(scene, 0, hand + share * way)
        scene.data.site("left_tool").xpos[:] = hand + share * way
        progress.append(scene.progress())
    put(scene, 0, own_bin(scene, 0))
    progress.append(scene.progress())
    assert progress == sorted(progress)
    assert min(np.diff(progress)) > 0


def test_the_belt_carries_bricks_at_its_speed() -> None:
    scene = scene_of(seed=1)
    before = [scene.brick_position(brick) for brick in scene.bricks]
    mujoco.mj_step(scene.model, scene.data, 500)
    way = scene.start.belt_speed_m_s * 500 * scene.model.opt.timestep
    for brick in scene.bricks:
        np.testing.assert_allclose(scene.brick_position(brick) - before[brick], [0, way, 0], atol=1e-3)


def test_a_weight_on_a_brick_does_not_slow_the_belt() -> None:
    scene = scene_of()
    scene.data.body("brick_0").xfrc_applied[:3] = [0, -30, -50]
    mujoco.mj_step(scene.model, scene.data, 200)
    assert scene.belt_speed_m_s() == pytest.approx(scene.start.belt_speed_m_s, rel=0.01)


@pytest.mark.parametrize("seed", range(20))
def test_the_belt_outlasts_the_horizon_and_brings_every_brick_in_time(seed: int) -> None:
    start = draw(BrickSortConfig(), np.random.default_rng(seed))
    rear, front = belt_span_m(start)
    assert front > 0.5
    assert rear + start.belt_speed_m_s * BRICK_SORT.horizon_s < -0.5
    arrivals = [brick.arrival_s for brick in start.bricks]
    assert arrivals == sorted(arrivals)
    assert rear < SEEN_FROM_Y_M - start.belt_speed_m_s * arrivals[-1] - 0.1
    assert arrivals[-1] + 0.3 / start.belt_speed_m_s < BRICK_SORT.horizon_s - 3
    assert {brick.home for brick in start.bricks} == set(ARMS)


def test_who_waits_for_a_standing_brick_gets_none(blind_replica: Callable[[str], Any]) -> None:
    env = blind_replica("brick_sort")
    env.reset(seed=0)
    hold, scene = env.task.scale_action(env.joints())[None].astype(np.float32), env.scene
    for _ in range(env.task.horizon_ticks):
        _, _, terminated, truncated, info = env.step(hold)
        for brick in scene.bricks:
            assert scene.data.joint(f"brick_{brick}").qvel[1] > 0.8 * scene.start.belt_speed_m_s
    assert truncated
    assert not terminated
    assert info["score"] == 0
    assert info["progress"][-1] < 0.02


def test_the_same_draw_is_the_same_model_and_seeds_differ() -> None:
    config = BrickSortConfig()
    starts = [draw(config, np.random.default_rng(seed)) for seed in range(4)]
    assert mjcf(starts[0], config) == mjcf(draw(config, np.random.default_rng(0)), config)
    assert len({mjcf(start, config) for start in starts}) == 4
    for drawn in ("x_m", "yaw_rad", "arrival_s"):
        assert np.ptp([getattr(start.bricks[0], drawn) for start in starts]) > 0.005
    assert np.ptp([start.belt_speed_m_s for start in starts]) > 0.002
    assert len({tuple(brick.home for brick in start.bricks) for start in starts}) > 1


def test_config_narrows_the_draws() -> None:
    config = BrickSortConfig(speed_spread=0, gap_spread_s=0, brick_yaw_rad=0)
    for seed in range(4):
        start = draw(config, np.random.default_rng(seed))
        assert start.belt_speed_m_s == config.belt_speed_m_s
        np.testing.assert_allclose(np.diff([brick.arrival_s for brick in start.bricks]), config.gap_s)
        assert not any(brick.yaw_rad for brick in start.bricks)


@pytest.mark.parametrize(("config", "named"), [({"brick_shift_m": -0.1}, "brick_shift_m"), ({"gap_s": 1.5}, "gap_s")])
def test_nonsense_is_refused(config: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        BrickSortConfig(**config)  # type: ignore[arg-type]


def test_a_recorded_state_is_the_same_moment_again(blind_replica: Callable[[str], Any]) -> None:
    env, other = blind_replica("brick_sort"), blind_replica("brick_sort")
    env.reset(seed=90000)
    other.reset(seed=90000)
    expert = expert_actor("brick_sort")
    expert.reset(env, 0)
    info = env.step(expert.act(env)[1])[4]
    while info["score"] < 1.0:  # until a brick is in the hand
        info = env.step(expert.act(env)[1])[4]
    assert info["score"] == 1.0
    other.set_physics_state(info["physics_state"])
    assert np.float32(other.measured_progress()) == info["progress"][-1]
    for _ in range(10):
        action = expert.act(env)[1]
        expected, seen = env.step(action)[4], other.step(action)[4]
        np.testing.assert_array_equal(seen["physics_state"], expected["physics_state"])
        np.testing.assert_array_equal(seen["progress"], expected["progress"])


def test_a_snapshot_keeps_the_belt_running(blind_replica: Callable[[str], Any]) -> None:
    env, other = blind_replica("brick_sort"), blind_replica("brick_sort")
    env.reset(seed=3)
    other.reset(seed=4)
    hold = env.task.scale_action(env.joints())[None].astype(np.float32)
    env.step(hold)
    other.set_state(env.get_state())
    for _ in range(5):
        env.step(hold)
        other.step(hold)
    np.testing.assert_array_equal(other.physics_state(), env.physics_state())
    assert other.scene.belt_speed_m_s() == pytest.approx(env.scene.start.belt_speed_m_s, rel=1e-3)
