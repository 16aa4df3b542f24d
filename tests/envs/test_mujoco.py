"""The replica's own behaviour, beyond what every environment is asked for in `test_contracts`."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest

from rise_gym.agents.scripted import expert_actor
from rise_gym.envs.mujoco.box_close import BoxCloseConfig
from rise_gym.envs.mujoco.env import MujocoEnv
from rise_gym.errors import InvalidStart, RenderingUnavailable, StepOutOfOrder


def replica(**kwargs: Any) -> MujocoEnv:
    env = gymnasium.make("RiseMujoco-BoxClose-v0", **kwargs).unwrapped
    assert isinstance(env, MujocoEnv)
    try:
        env.reset(seed=0)
    except RenderingUnavailable as error:
        pytest.skip(f"no OpenGL here: {error}")
    return env


def random_chunks(env: MujocoEnv, count: int, seed: int = 0) -> np.ndarray:
    """Wild but smooth: half-way moves from where the joints are now."""
    generator = np.random.default_rng(seed)
    here = env.task.scale_action(env.joints())
    goals = generator.uniform(-1, 1, (count, 1, here.size)) * 0.5 + here * 0.5
    return np.clip(np.repeat(goals, env.chunk, axis=1), -1, 1).astype(np.float32)


def test_ten_steps_of_one_tick_are_one_step_of_ten() -> None:
    long, short = replica(chunk=10), replica(chunk=1)
    chunk = random_chunks(long, 1)[0]
    seen, gained, *_ = long.step(chunk)
    gains = [short.step(tick[None]) for tick in chunk]
    np.testing.assert_array_equal(long.physics_state(), short.physics_state())
    assert all(np.array_equal(seen[name], gains[-1][0][name]) for name in seen)
    assert gained == pytest.approx(sum(step[1] for step in gains))


def test_a_seed_and_a_physics_state_are_the_same_moment_again() -> None:
    env, other = replica(), replica()
    env.reset(seed=5)
    first, second = random_chunks(env, 2)
    env.step(first)
    state = env.physics_state()
    expected = env.step(second)[0]
    other.reset(seed=5)
    other.set_physics_state(state)
    seen = other.step(second)[0]
    assert all(np.array_equal(expected[name], seen[name]) for name in expected)


def test_a_snapshot_travels_to_another_env() -> None:
    env, other = replica(), replica()
    env.reset(seed=9)
    first, second = random_chunks(env, 2)
    env.step(first)
    other.set_state(env.get_state())
    expected, seen = env.step(second), other.step(second)
    assert all(np.array_equal(expected[0][name], seen[0][name]) for name in expected[0])
    assert expected[1:4] == seen[1:4]
    assert all(np.array_equal(*pair) for pair in zip(env.reset()[0].values(), other.reset()[0].values(), strict=True))
    bricks: Any = gymnasium.make("RiseMujoco-BrickSort-v0").unwrapped
    with pytest.raises(InvalidStart, match=r"replica of task 'brick_sort' gives it, got one of BoxClose"):
        bricks.set_state(env.get_state())


@pytest.mark.parametrize("asked", ["get_state", "physics_state", "joints", "measured_progress", "render"])
def test_before_a_reset_there_is_nothing_to_ask(asked: str) -> None:
    env = MujocoEnv(render_mode="rgb_array")
    with pytest.raises(StepOutOfOrder, match="reset"):
        getattr(env, asked)()


def test_ticks_are_recorded_one_by_one() -> None:
    env = replica(chunk=4, record_ticks=True)
    observation, _, _, _, info = env.step(random_chunks(env, 1)[0])
    ticks = info["ticks"]
    assert ticks["physics_state"].shape == (4, env.physics_state().size)
    for name, value in observation.items():
        assert ticks[name].shape == (4, *value.shape)
        np.testing.assert_array_equal(ticks[name][-1], value)
    np.testing.assert_array_equal(ticks["progress"], info["progress"])
    np.testing.assert_array_equal(ticks["physics_state"][-1], env.physics_state())


def test_wild_actions_stay_in_the_observation_space_and_end_at_the_horizon() -> None:
    env = replica()
    rewards, progress, truncated = [], [env.reset(seed=3)[1]["progress"][0]], False
    for chunk in random_chunks(env, env.task.horizon_steps(env.chunk), seed=1):
        assert not truncated
        observation, reward, terminated, truncated, info = env.step(chunk)
        assert env.observation_space.contains(observation)
        rewards.append(reward)
        progress.append(info["progress"][-1])
        assert not terminated
    assert truncated
    assert sum(rewards) == pytest.approx(progress[-1] - progress[0], abs=1e-6)
    with pytest.raises(StepOutOfOrder, match="over"):
        env.step(chunk)


def test_nothing_happens_by_itself() -> None:
    env = replica(chunk=1)
    hold = env.task.scale_action(env.joints())[None]
    for _ in range(40):
        _, _, _, _, info = env.step(hold)
    assert not any(info["stages"].values())
    assert info["score"] == 0
    assert info["progress"][-1] < 0.02


@pytest.mark.parametrize(("angle", "stays"), [(0.05, True), (1.0, False)])
def test_a_crease_keeps_a_full_fold_and_springs_back_from_half_of_one(angle: float, stays: bool) -> None:
    env = replica(chunk=1)
    for name in ("left", "right", "rear"):
        env.scene.data.joint(f"{name}_flap").qpos[0] = angle  # type: ignore[attr-defined]
    mujoco.mj_step(env.scene.model, env.scene.data, 500)
    for name in ("left", "right", "rear"):
        folded = env.scene.flap_angle(name) < env.scene.config.folded_rad  # type: ignore[attr-defined]
        assert folded is stays


def test_the_lid_springs_open_unless_its_tab_is_tucked() -> None:
    env = replica(chunk=1)
    env.scene.data.joint("lid").qpos[0] = 0.5
    mujoco.mj_step(env.scene.model, env.scene.data, 500)
    assert env.scene.lid_angle() > 1.0  # type: ignore[attr-defined]


def test_a_lid_shut_on_its_tab_is_worth_less_than_one_half_open_with_the_tab_bent_inside() -> None:
    env = replica()

    def progress(lid_rad: float, tab_rad: float) -> float:
        data = env.scene.data
        data.joint("lid").qpos[0], data.joint("tab").qpos[0] = lid_rad, tab_rad
        mujoco.mj_kinematics(env.scene.model, data)
        return env.scene.fraction("tab_tucked")

    resting = env.scene.config.tab_rest_rad
    way = [progress(1.6, resting), progress(0.9, resting), progress(0.5, 1.5), progress(0.2, 1.4)]
    assert way == sorted(way)
    assert progress(0.12, resting) < progress(0.5, 1.5) - 0.1


def test_progress_rises_while_the_expert_only_approaches() -> None:
    env = replica(chunk=1)
    expert = expert_actor("box_close")
    expert.reset(env, 0)
    progress = [float(env.step(expert.act(env)[1][0][None])[4]["progress"][-1]) for _ in range(10)]
    assert env.scene.cup_position()[2] < 0.05  # nothing is moved yet
    assert progress[-1] > progress[0] + 0.02


def test_seeds_differ_and_config_narrows_them() -> None:
    wide, narrow = replica(), replica(config={"box_shift_m": 0.0, "box_yaw_rad": 0.0})
    poses = {env: [] for env in (wide, narrow)}  # type: ignore[var-annotated]
    for env, seen in poses.items():
        for seed in range(4):
            env.reset(seed=seed)
            seen.append((*env.scene.start.box_xy_m, env.scene.start.box_yaw_rad))
    assert np.ptp(poses[wide], axis=0).min() > 0.005
    assert np.ptp(poses[narrow], axis=0).max() == 0


def test_a_negative_width_is_refused() -> None:
    with pytest.raises(ValueError, match="box_shift_m"):
        BoxCloseConfig(box_shift_m=-0.1)


def test_without_opengl_the_error_names_the_way_out() -> None:
    code = """
import gymnasium, rise_gym
from rise_gym.errors import RenderingUnavailable
try:
    gymnasium.make("RiseMujoco-BoxClose-v0").reset(seed=0)
except RenderingUnavailable as error:
    print(error)
"""
    environment = {**os.environ, "MUJOCO_GL": "egl", "PYOPENGL_PLATFORM": "osmesa"}  # the two contradict each other
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "MUJOCO_GL" in ran.stdout, ran.stderr
    assert "RiseImagined" in ran.stdout or "imagined" in ran.stdout
