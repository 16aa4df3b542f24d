"""The backpack's replica: what its stages mean, and that cloth, zip and bag behave as such."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np
import pytest
import torch

from rise_gym.agents.baselines import RandomAgent
from rise_gym.agents.scripted import expert_actor
from rise_gym.envs.mujoco.backpack_pack import BackpackPackConfig

STAGES = ("inserted", "lifted", "half_zipped", "zipped")
SOFT = ("front", "flap", "near_end", "far_end", "slider", "bend0", "bend1", "bend3", "bend4", "twist1", "twist3")


@pytest.fixture
def env(blind_replica: Callable[[str], Any]) -> Any:
    env = blind_replica("backpack_pack")
    env.reset(seed=0)
    return env


def run(scene: Any, seconds: float, slider_n: float = 0.0) -> None:
    """Lets time pass; `slider_n` is a force along the slider's track."""
    scene.data.qfrc_applied[scene.model.joint("slider").dofadr[0]] = slider_n
    mujoco.mj_step(scene.model, scene.data, round(seconds / scene.model.opt.timestep))
    mujoco.mj_kinematics(scene.model, scene.data)


def put_garment(scene: Any, x: float, y: float, z: float) -> None:
    """Its middle to a point of the bag's frame, along the mouth."""
    pose = scene.data.joint("garment").qpos
    pose[:3], pose[3:] = scene.bag_point(x, y, z), scene.data.joint("bag").qpos[3:]
    mujoco.mj_kinematics(scene.model, scene.data)


def put_bag(scene: Any, z: float, quaternion: tuple[float, ...] | None = None) -> None:
    pose = scene.data.joint("bag").qpos
    pose[2] = z
    pose[3:] = pose[3:] if quaternion is None else quaternion
    mujoco.mj_kinematics(scene.model, scene.data)


def zip_to(scene: Any, fraction: float, front_rad: float = 0.0, flap_rad: float = 0.0) -> None:
    scene.data.joint("slider").qpos[0] = fraction * scene.zip_travel_m
    scene.data.joint("front").qpos[0], scene.data.joint("flap").qpos[0] = front_rad, flap_rad
    mujoco.mj_kinematics(scene.model, scene.data)


def holding(scene: Any) -> set[str]:
    return {name for name, holds in scene.stages().items() if holds}


def test_each_stage_is_judged_by_itself(env: Any) -> None:
    scene = env.scene
    assert holding(scene) == set()
    zip_to(scene, 0.6)
    assert holding(scene) == {"half_zipped"}
    zip_to(scene, 1.0)
    assert holding(scene) == {"half_zipped"}  # the mouth is open
    zip_to(scene, 1.0, 0.45, 0.2)
    assert scene.mouth_m() < scene.config.shut_m
    assert holding(scene) == {"half_zipped", "zipped"}
    zip_to(scene, 0.0)
    put_bag(scene, 0.05)
    assert holding(scene) == {"lifted"}
    assert scene.score() == 0
    put_garment(scene, 0.03, 0.01, 0.03)
    assert holding(scene) == {"inserted", "lifted"}
    assert scene.score() == 5


@pytest.mark.parametrize("place", [(0.02, 0.09, 0.02), (0.02, -0.09, 0.02), (0.02, -0.01, 0.09), (0.08, 0.0, 0.03)])
def test_a_garment_beside_the_bag_or_over_its_rim_is_not_inserted(env: Any, place: tuple[float, ...]) -> None:
    put_garment(env.scene, *place)
    assert not env.scene.stages()["inserted"]


def test_a_bag_that_lies_on_its_side_or_stands_on_its_head_is_not_lifted(env: Any) -> None:
    for z, quaternion in ((0.06, (0.7071, 0.7071, 0.0, 0.0)), (0.15, (0.0, 1.0, 0.0, 0.0))):
        put_bag(env.scene, z, quaternion)
        run(env.scene, 1.0)
        assert not env.scene.stages()["lifted"]


def test_the_mouth_stands_half_shut_and_swings_back_when_let_go(env: Any) -> None:
    scene = env.scene
    run(scene, 1.0)
    assert 0.02 < scene.mouth_m() < 0.055  # a garment between two fingers is wider
    zip_to(scene, 0.0, -0.25, -0.2)
    assert scene.mouth_m() > 0.08
    run(scene, 1.0)
    assert scene.mouth_m() < 0.055


def test_the_zip_draws_the_rims_together_and_stays(env: Any) -> None:
    scene = env.scene
    put_garment(scene, 0.02, 0.01, 0.03)
    run(scene, 1.0, slider_n=4.0)
    assert scene.zip_fraction() > 0.98
    run(scene, 3.0)
    assert holding(scene) == {"inserted", "half_zipped", "zipped"}


def test_a_garment_that_sticks_out_blocks_the_zip(env: Any) -> None:
    scene = env.scene
    pose = scene.data.joint("garment").qpos
    pose[:3] = scene.bag_point(0.0, 0.015, 0.088)
    turned = np.zeros(4)
    mujoco.mju_mulQuat(turned, scene.data.joint("bag").qpos[3:], np.array([0.7071, 0.0, 0.7071, 0.0]))
    pose[3:] = turned  # on end: half of it in, half of it out
    run(scene, 1.0, slider_n=4.0)
    assert not scene.stages()["inserted"]
    assert not scene.stages()["zipped"]


def test_a_minute_of_wild_hands_breaks_nothing(env: Any) -> None:
    scene, generator = env.scene, np.random.default_rng(0)
    home = env.task.unscale_action(env.task.scale_action(env.joints()))
    low, high = np.array(env.task.action_low), np.array(env.task.action_high)
    for _ in range(40):
        reach = np.tile([0.8, 0.6, 0.6, 0.6, 0.6, 1.0, 0.05], 2)
        goal = np.clip(home + generator.uniform(-reach, reach), low, high)
        for _ in range(15):
            env._advance(goal)
            assert np.isfinite(env.physics_state()).all()
        for name in SOFT:
            bounds, now = scene.model.joint(name).range, scene.data.joint(name).qpos[0]
            assert bounds[0] - 0.3 < now < bounds[1] + 0.3, name
    assert sum(int(warning.number) for warning in scene.data.warning) == 0


@pytest.mark.parametrize("seed", [7, 28, 41, 50, 104])
def test_a_garment_that_is_flung_does_not_burst(blind_replica: Callable[[str], Any], seed: int) -> None:
    env = blind_replica("backpack_pack")
    agent, generator = RandomAgent(env.task), [torch.Generator().manual_seed(seed)]
    observation, _ = env.reset(seed=seed)
    for _ in range(3):
        for target in agent.act(observation, [env.task.instruction], generator=generator)[0]:
            observation, *_ = env.step(target[None])
    assert sum(int(warning.number) for warning in env.scene.data.warning) == 0


def test_a_minute_of_rest_changes_nothing(env: Any) -> None:
    scene = env.scene
    target = env.task.unscale_action(env.task.scale_action(env.joints()))
    run(scene, 10.0)  # dry friction in the folds lets them creep a little at first
    before = scene.bag_pose()[0], scene.garment(), scene.mouth_m()
    for _ in range(500):
        env._advance(target)
    np.testing.assert_allclose(scene.bag_pose()[0], before[0], atol=0.001)
    np.testing.assert_allclose(scene.garment(), before[1], atol=0.003)
    assert scene.mouth_m() == pytest.approx(before[2], abs=0.002)
    assert scene.score() == 0


def test_a_seed_and_its_actions_are_the_same_episode_again(blind_replica: Callable[[str], Any]) -> None:
    def states(seed: int) -> np.ndarray:
        env = blind_replica("backpack_pack")
        env.reset(seed=seed)
        expert = expert_actor("backpack_pack", 1.0)
        expert.reset(env, 3)
        return np.array([env.step(expert.act(env)[1])[4]["physics_state"] for _ in range(25)])

    np.testing.assert_array_equal(states(5), states(5))
    assert not np.array_equal(states(5), states(6))


def test_a_recorded_state_has_the_same_progress_again(env: Any) -> None:
    """Stages follow from the physics state alone."""
    expert = expert_actor("backpack_pack")
    expert.reset(env, 0)
    infos = [env.step(expert.act(env)[1])[4] for _ in range(80)]
    for info in infos[::8]:
        env.set_physics_state(info["physics_state"])
        assert env.scene.stages() == info["stages"]
        assert env.measured_progress() == pytest.approx(float(info["progress"][-1]), abs=1e-6)


def test_progress_rises_while_the_expert_only_approaches(env: Any) -> None:
    expert = expert_actor("backpack_pack")
    expert.reset(env, 0)
    first = env.measured_progress()
    progress = [float(env.step(expert.act(env)[1])[4]["progress"][-1]) for _ in range(8)]
    assert first < 0.03
    assert progress[-1] > first + 0.02
    assert env.scene.garment()[:, 2].max() < 0.05  # nothing is moved yet


def test_a_packed_bag_that_sinks_and_rises_again_loses_little_and_wins_it_back(env: Any) -> None:
    """Two centimetres of clearance count as lifted, and while the zip is pulled the bag nods around them."""
    scene = env.scene
    put_garment(scene, 0.02, 0.01, 0.03)
    zip_to(scene, 1.0, 0.45, 0.2)
    height, rest = scene.data.joint("bag").qpos[2] - scene.clearance_m(), []
    for clearance in np.linspace(0.03, 0.0, 31):
        put_bag(scene, height + clearance)
        put_garment(scene, 0.02, 0.01, 0.03)
        rest.append(scene.progress())
        assert rest[-1] >= scene.score() / 10
    assert holding(scene) == {"inserted", "half_zipped", "zipped"}
    assert rest[0] == 1.0
    assert np.abs(np.diff(rest)).max() < 0.15  # half of what lifting counts, as no hand is at the grip here
    assert rest[-1] > 0.7


def test_progress_follows_the_stages_where_they_hold_in_order(env: Any) -> None:
    scene = env.scene
    put_garment(scene, 0.02, 0.01, 0.03)
    assert holding(scene) == {"inserted"}
    assert 0.25 <= scene.progress() < 0.5
    put_bag(scene, 0.08)
    put_garment(scene, 0.02, 0.01, 0.03)
    assert holding(scene) == {"inserted", "lifted"}
    assert 0.5 <= scene.progress() < 0.75
    zip_to(scene, 0.6)
    assert 0.75 <= scene.progress() < 1.0


def test_zipping_a_bag_without_its_garment_is_no_progress(env: Any) -> None:
    scene = env.scene
    before = scene.progress()
    zip_to(scene, 1.0, 0.45, 0.2)
    put_bag(scene, 0.05)
    assert scene.score() == 0
    assert scene.progress() < before + 0.1


def test_seeds_differ_and_config_narrows_them(blind_replica: Callable[[str], Any]) -> None:
    env = blind_replica("backpack_pack")
    starts = [env.reset(seed=seed) and env.scene.start for seed in range(4)]
    for name in ("bag_xy_m", "bag_size_m", "garment_xy_m", "bag_yaw_rad", "garment_stiffness_nm", "zip_friction_n"):
        assert len({getattr(start, name) for start in starts}) == 4, name
    env.config = BackpackPackConfig(bag_shift_m=0.0, bag_yaw_rad=0.0)
    narrow = [env.reset(seed=seed) and env.scene.start for seed in range(3)]
    assert len({(*start.bag_xy_m, start.bag_yaw_rad) for start in narrow}) == 1


@pytest.mark.parametrize("name", ["bag_shift_m", "garment_yaw_rad", "size_spread", "sag_spread_rad"])
def test_a_negative_width_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        BackpackPackConfig(**{name: -0.1})
