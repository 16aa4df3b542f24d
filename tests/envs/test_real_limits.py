"""The limits of a real robot: no command ever exceeds one, however wild what was asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rise_gym._robot_sight import RobotSight
from rise_gym.envs.mujoco.robot import home_joints
from rise_gym.envs.real.kinematics import ToolPoints
from rise_gym.envs.real.limits import LIMIT_NAMES, Filtered, Limits, Motion, SafetyFilter
from rise_gym.errors import InvalidRobot
from rise_gym.robots import TWO_PIPERS
from rise_gym.tasks import BOX_CLOSE

PERIOD_S = 0.1
GRIPPERS = [6, 13]
TIGHT = Limits.of(BOX_CLOSE, velocity_rad_s=1.5, acceleration_rad_s2=4.0)  # several commands to brake
HOME = home_joints()
ENDS = np.array([TIGHT.joint_low, TIGHT.joint_high])


def keeper(limits: Limits = TIGHT) -> SafetyFilter:
    return SafetyFilter(limits, BOX_CLOSE, PERIOD_S)


def assert_kept(keep: SafetyFilter, before: Motion, after: Filtered, measured: np.ndarray) -> None:
    """Every limit, checked from positions alone, the velocity that the filter claims included."""
    limits, now = keep.limits, after.motion.position
    assert np.all((now >= np.array(limits.joint_low)) & (now <= np.array(limits.joint_high)))
    velocity = (now - before.position) / keep.period_s
    np.testing.assert_allclose(velocity, after.motion.velocity, atol=1e-9)
    assert np.all(np.abs(velocity) <= np.array(limits.velocity) + 1e-9)
    change = np.abs(velocity - before.velocity) / keep.period_s
    assert np.all(change <= np.array(limits.acceleration) + 1e-7)
    for share in (0.5, 1.0):
        tools = ToolPoints(TWO_PIPERS)(before.position + share * (now - before.position))
        assert np.all(tools >= np.array(limits.workspace_low_m) - 1e-9)
        assert np.all(tools <= np.array(limits.workspace_high_m) + 1e-9)
    squeeze = np.abs(now - measured)[..., GRIPPERS]
    allowed = limits.gripper_force_n / limits.gripper_stiffness_n_per_m
    yielding = np.abs(velocity[..., GRIPPERS]) >= np.array(limits.velocity)[GRIPPERS] - 1e-6
    assert np.all(
        (squeeze <= allowed + 1e-9) | (yielding & (squeeze < np.abs(before.position - measured)[..., GRIPPERS]))
    )


def wild(random: np.random.Generator, rows: int) -> np.ndarray:
    """Targets far outside and at the edges of every range, and some that are reasonable."""
    low, high = np.array(TIGHT.joint_low), np.array(TIGHT.joint_high)
    anywhere = random.uniform(low - 0.5 * (high - low), high + 0.5 * (high - low), (rows, len(low)))
    return np.where(random.random((rows, 1)) < 0.3, HOME + random.normal(0, 0.3, (rows, len(low))), anywhere)


@pytest.mark.parametrize(("acceleration", "steps"), [(20.0, 190), (4.0, 10)])
def test_in_a_million_wild_actions_no_limit_is_exceeded(acceleration: float, steps: int) -> None:
    """Both cases together; the gentler one, where braking takes five commands, costs far more time an action."""
    keep = keeper(Limits.of(BOX_CLOSE, velocity_rad_s=2.0, acceleration_rad_s2=acceleration))
    random, rows = np.random.default_rng(steps), 5000
    motion = Motion(position=np.tile(HOME, (rows, 1)), velocity=np.zeros((rows, 14)))
    target, acted = wild(random, rows), np.zeros(len(LIMIT_NAMES), np.int64)
    for _ in range(steps):
        fresh = random.random((rows, 1)) < 0.3  # others go on until something stops them
        target = np.where(fresh, wild(random, rows), target)
        measured = np.clip(motion.position + random.normal(0, 0.02, motion.position.shape), *ENDS)
        after = keep.step(motion, target, measured)
        assert_kept(keep, motion, after, measured)
        motion, acted = after.motion, acted + after.acted.sum(0)
    assert np.all(acted > 1000), dict(zip(LIMIT_NAMES, acted, strict=True))


@settings(max_examples=25, derandomize=True, deadline=None)
@given(
    seeds=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=12),
    velocity=st.floats(0.05, 3),
    acceleration=st.floats(5, 200),
    force=st.floats(0.5, 50),
    hertz=st.sampled_from([10.0, 30.0]),
)
def test_any_limits_are_kept_and_braking_always_ends(
    seeds: list[int], velocity: float, acceleration: float, force: float, hertz: float
) -> None:
    limits = Limits.of(
        BOX_CLOSE, velocity_rad_s=velocity, acceleration_rad_s2=acceleration, gripper_acceleration_m_s2=1000
    )
    keep = SafetyFilter(replace(limits, gripper_force_n=force), BOX_CLOSE, 1 / hertz)
    motion = keep.start(HOME)
    for seed in seeds:
        random = np.random.default_rng(seed)
        measured = np.clip(motion.position + random.normal(0, 0.01, 14), *ENDS)
        after = keep.step(motion, wild(random, 1)[0], measured)
        assert_kept(keep, motion, after, measured)
        motion = after.motion
    for _ in range(keep.braking_commands):
        measured = motion.position
        after = keep.brake(motion, measured)
        assert_kept(keep, motion, after, measured)
        motion = after.motion
    assert keep.at_rest(motion)


def test_a_reachable_target_is_reached_without_overshoot_and_then_nothing_acts() -> None:
    keep, goal = keeper(), HOME + np.tile([0.3, 0.2, -0.2, 0.3, -0.2, 0.5, 0.01], 2)
    motion = keep.start(HOME)
    for _ in range(30):
        after = keep.step(motion, goal, motion.position)
        assert np.all((after.motion.position - goal) * (HOME - goal) >= -1e-9)
        motion = after.motion
    np.testing.assert_allclose(motion.position, goal, atol=1e-9)
    assert keep.at_rest(motion)
    assert not after.acted.any()


def test_one_arm_at_the_edge_does_not_hold_up_the_other() -> None:
    keep, goal = keeper(), HOME.copy()
    goal[1] = 2.2  # the left arm would go through the table
    goal[7] = 0.6
    motion = keep.start(HOME)
    for _ in range(40):
        after = keep.step(motion, goal, motion.position)
        motion = after.motion
    assert after.acted[LIMIT_NAMES.index("workspace")]
    assert motion.position[7] == pytest.approx(0.6)
    assert 0.01 <= ToolPoints(TWO_PIPERS)(motion.position)[0, :, 2].min() < 0.06


def test_a_gripper_presses_no_harder_than_it_may() -> None:
    keep, motion, measured = keeper(), keeper().start(HOME + np.eye(14)[6] * 0.04), HOME.copy()
    measured[6] = 0.05  # something 5 cm wide is held
    shut = HOME.copy()
    shut[6] = 0.0
    for _ in range(20):
        motion = keep.step(motion, shut, measured).motion
    assert motion.position[6] == pytest.approx(0.05 - 10 / 250)


def test_tools_are_where_the_dynamics_draws_them() -> None:
    joints = np.random.default_rng(0).uniform(TIGHT.joint_low, TIGHT.joint_high, (5, 14))
    hands, _, tips = RobotSight(TWO_PIPERS, ("head",), 8).arms(torch.tensor(joints, dtype=torch.float32)[None])
    found = ToolPoints(TWO_PIPERS)(joints)
    np.testing.assert_allclose(found[:, :, 0], tips[0].mean(2).numpy(), atol=1e-5)
    np.testing.assert_allclose(found[:, :, 1], hands[0, ..., :3, 3].numpy(), atol=1e-5)


def test_a_start_outside_the_limits_is_refused() -> None:
    low = HOME.copy()
    low[8] = 2.4
    with pytest.raises(InvalidRobot, match="workspace"):
        keeper().start(low)
    bent = HOME.copy()
    bent[3] = 2.5
    with pytest.raises(InvalidRobot, match=r"left_joint4_rad is 2\.500"):
        keeper().start(bent)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"velocity_rad_s": -1.0}, "positive"),
        ({"velocity_rad_s": float("nan")}, "positive"),
        ({"gripper_acceleration_m_s2": 1.0}, "turn round"),
        ({"workspace_low_m": (0.0, 0.0, 1.0)}, "empty"),
        ({"velocity": (1.0,)}, "one number a joint"),
        ({"velocity_rad_s": "1.0"}, "velocity is one number a joint .*, got .*'1.0'"),
        ({"velocity_rad_s": None}, "velocity is one number a joint .*, got .*None"),
        ({"gripper_force_n": "10"}, "gripper_force_n is a number, got '10'"),
        ({"workspace_low_m": (0.0, 0.0)}, r"workspace_low_m is three numbers, x, y and z in m, got \(0.0, 0.0\)"),
        ({"workspace_low_m": 0.0}, "workspace_low_m is three numbers"),
        ({"joint_low": (-np.inf,) * 14}, "joint_low and joint_high have to be finite, also of a joint that turns"),
        ({"joint_high": (np.inf,) * 14}, "joint_low and joint_high have to be finite"),
        ({"grippers": (6, 99)}, r"grippers are places from 0 to 13, got \(6, 99\)"),
    ],
)
def test_limits_that_make_no_sense_are_refused(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidRobot, match=word):
        keeper(Limits.of(BOX_CLOSE, **changes))
