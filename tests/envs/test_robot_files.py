"""A robot that a file describes: driven in its own units, kept within limits in rad and m; nonsense is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import degrees_robot
import gymnasium
import numpy as np
import pytest
from degrees_robot import ROBOT_TOML, START_RAD_M
from own_tasks import CARD, TOML, episode, forgetting_tasks

import rise_gym
from rise_gym.dynamics import VideoDynamics, VideoDynamicsConfig
from rise_gym.envs.real.kinematics import ToolPoints
from rise_gym.envs.real.limits import Limits, own_limits
from rise_gym.envs.real.names import RobotNames
from rise_gym.episodes import stored_task, write_episodes
from rise_gym.errors import InvalidMapping, InvalidRobot, InvalidTask
from rise_gym.joint_units import JointUnit
from rise_gym.robot_files import LIMIT_FIELDS
from rise_gym.robots import TWO_PIPERS, RobotArms, known_arms
from rise_gym.task_files import checked_task, read_task
from rise_gym.tasks import BOX_CLOSE, TaskCard

ID = "RiseReal-CubeInBowl-v0"
MAKE = {"robot": "degrees_robot:make_robot", "clock": "instant"}


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with forgetting_tasks():
        yield


def written(folder: Path, robot: str = ROBOT_TOML, task: str = TOML) -> Path:
    """The task file, which names the robot's beside it."""
    (folder / "my_arm.toml").write_text(robot)
    path = folder / "cube.toml"
    path.write_text(task.replace("[joints]", 'robot = "my_arm.toml"\n\n[joints]', 1))
    return path


def in_rad_and_m(sent: dict[str, float]) -> np.ndarray:
    """What the robot was sent, worked out by hand."""
    degrees = [sent[key] for key in degrees_robot.DegreesRobot.KEYS[:-1]]
    angles = np.radians(degrees)
    angles[0] = 0.1 - angles[0]
    return np.array([*angles, sent["gripper.pos"] / 100 * 0.08])


def test_a_task_and_a_robot_file_are_enough_to_drive(tmp_path: Path) -> None:
    rise_gym.register_task(written(tmp_path))
    env = gymnasium.make(ID, **MAKE)
    observation, _ = env.reset(seed=0)
    np.testing.assert_allclose(observation["proprio"], START_RAD_M, atol=1e-6)
    assert observation["front"].shape == (32, 32, 3)
    there = np.tile(CARD.scale_action(START_RAD_M + np.array([0.02, 0, 0.02, 0, 0, 0, 0.01])), (10, 1))
    observation, _, _, _, info = env.step(there)
    assert info["fault"] == ""
    np.testing.assert_allclose(info["sent"][-1], there[-1], atol=1e-5)
    np.testing.assert_allclose(in_rad_and_m(degrees_robot.ROBOT.sent[-1]), CARD.unscale_action(there[-1]), atol=1e-6)
    np.testing.assert_allclose(observation["proprio"], CARD.unscale_action(there[-1]), atol=1e-5)
    assert degrees_robot.ROBOT.sent[-1]["shoulder_pan.pos"] == pytest.approx(math.degrees(0.1 - 0.02), abs=1e-3)
    env.close()


def test_whatever_is_asked_the_robots_own_numbers_keep_the_limits(tmp_path: Path) -> None:
    rise_gym.register_task(written(tmp_path))
    env, rng = gymnasium.make(ID, **MAKE), np.random.default_rng(0)
    env.reset(seed=0)
    for _ in range(8):
        env.step(rng.choice([-1.0, 1.0], (10, 7)).astype(np.float32))
    sent = np.array([START_RAD_M, *map(in_rad_and_m, degrees_robot.ROBOT.sent)])
    low, high = np.array(CARD.action_low), np.array(CARD.action_high)
    low[0], high[0] = -1.8, 1.8  # of the robot file
    assert (sent >= low - 1e-9).all()
    assert (sent <= high + 1e-9).all()
    speed = np.abs(np.diff(sent, axis=0)) * CARD.control_hz
    assert 0.5 < speed[:, :6].max() <= 1.0 + 1e-9
    assert speed[:, 6].max() <= 0.5 + 1e-9
    arms = known_arms(rise_gym.TASKS["cube_in_bowl"].robot)
    assert arms is not None
    tools = ToolPoints(arms)(sent)
    assert tools[..., 2].min() >= 0.01 - 1e-9
    assert len(sent) > 50
    env.close()


def test_arguments_go_before_the_file(tmp_path: Path) -> None:
    rise_gym.register_task(written(tmp_path))
    made = {name: gymnasium.make(ID, limits=limits, **MAKE).unwrapped for name, limits in
            (("file", None), ("argument", {"velocity_rad_s": 0.5}))}  # fmt: skip
    assert {name: env.link.filter.limits.velocity[0] for name, env in made.items()} == {"file": 1.0, "argument": 0.5}
    assert all(env.link.filter.limits.joint_low[0] == -1.8 for env in made.values())
    for env in made.values():
        env.close()


def test_another_unit_than_the_files_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    rise_gym.register_task(written(tmp_path, ROBOT_TOML.replace('unit = "deg"', 'unit = "rad"', 1)))
    env = gymnasium.make(ID, **MAKE)
    with pytest.raises(InvalidRobot, match=r"pan\.pos reads 5\.73 \(rad\), that is -5\.63, wanted is -2 to 2 rad"):
        env.reset(seed=0)
    assert degrees_robot.ROBOT.sent == []
    env.close()


def test_the_robot_goes_where_the_card_goes(tmp_path: Path) -> None:
    card = read_task(written(tmp_path))
    assert TaskCard.from_dict(json.loads(json.dumps(card.to_dict()))).to_dict() == card.to_dict()
    write_episodes(tmp_path / "data", [episode(card, 0)], card)
    assert stored_task(tmp_path / "data").to_dict() == card.to_dict()
    rise_gym.register_task(tmp_path / "data")
    assert RobotNames.of(card).cameras == ("front_cam", "wrist")
    assert own_limits(rise_gym.TASKS["cube_in_bowl"]) == {
        "velocity_rad_s": 1.0, "joint_low": (-1.8, *(-2.0,) * 5, 0.0), "joint_high": (1.8, *(2.0,) * 5, 0.08),
    }  # fmt: skip
    (tmp_path / "other").mkdir()
    faster = written(tmp_path / "other", ROBOT_TOML.replace("velocity_rad_s = 1.0", "velocity_rad_s = 2.0"))
    with pytest.raises(InvalidTask, match="with other robot is known already"):  # not quietly with the old limits
        rise_gym.register_task(faster)
    assert not card.differences(read_task(faster))  # one dream serves both


def test_without_cameras_the_dream_does_without_geometry(tmp_path: Path) -> None:
    card = rise_gym.register_task(written(tmp_path))
    config = replace(VideoDynamicsConfig.for_task(card), widths=(8, 16, 32), embedding_width=16, map_channels=8)
    assert VideoDynamics.of(config, card).sights is None


def test_turns_of_a_urdf_are_those_of_a_quaternion(tmp_path: Path) -> None:
    robot = read_task(written(tmp_path)).robot
    assert isinstance(robot, RobotArms)
    one_piper = replace(TWO_PIPERS, arms=("arm",), bases=((0.0, 0.0, 0.04),))
    joints = np.random.default_rng(0).uniform(-1, 1, (5, 7))
    np.testing.assert_allclose(ToolPoints(robot)(joints), ToolPoints(one_piper)(joints), atol=1e-3)
    turned = ROBOT_TOML.replace("rpy = [0.0, 0.0, -1.5707963]", "rpy = [0.3, -0.5, 0.7]")
    found = read_task(written(tmp_path, turned)).robot
    assert isinstance(found, RobotArms)
    w, x, y, z = found.links[0].quaternion
    c, s = np.cos([0.3, -0.5, 0.7]), np.sin([0.3, -0.5, 0.7])
    yaw_pitch = np.array([[c[2], -s[2], 0], [s[2], c[2], 0], [0, 0, 1]]) @ [
        [c[1], 0, s[1]],
        [0, 1, 0],
        [-s[1], 0, c[1]],
    ]
    rotation = yaw_pitch @ np.array([[1, 0, 0], [0, c[0], -s[0]], [0, s[0], c[0]]])
    np.testing.assert_allclose(1 - 2 * (y * y + z * z), rotation[0, 0])
    np.testing.assert_allclose([2 * (x * y + w * z), 2 * (x * z - w * y)], rotation[1:, 0])
    np.testing.assert_allclose(2 * (y * z + w * x), rotation[2, 1])


def test_limits_that_a_file_may_say_are_those_that_there_are() -> None:
    card = replace(CARD, robot="two_pipers")
    values = {name: (-9.0, -9.0, -9.0) if "low" in name else (9.0, 9.0, 9.0) if "high" in name else 99.0
              for name in LIMIT_FIELDS}  # fmt: skip
    assert Limits.of(card, **values).velocity[0] == 99.0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("finger_reach_m = 0.14", ""), "missing entries: finger_reach_m"),
        (('unit = "deg"', 'unit = "grad"'), "unit: that of all angles, rad or deg, was wanted, got 'grad'"),
        (('unit = "range"', 'unit = "deg"'), r"joints\.gripper_m\.unit: one of m, mm, range was wanted, got 'deg'"),
        (("to = [0.0, 0.08]", ""), r"joints\.gripper_m: unit = .range. wants"),
        (("sign = -1", "sign = -2"), r"shoulder_pan\.pos: sign is 1 or -1"),
        (("[joints.joint1_rad]", "[joints.joint9_rad]"), "joints: unknown entries joint9_rad"),
        (("limits = [-1.8, 1.8]", "limits = [1.8, -1.8]"), r"joint1_rad\.limits: \[low, high\]"),
        (("limits = [-1.8, 1.8]", "limits = [-103, 103]"), r"joint1_rad\.limits: .*4 pi rad .* got \[-103, 103\]"),
        (("limits = [-1.8, 1.8]", "limits = [-inf, inf]"), r"joint1_rad\.limits: .*4 pi rad"),
        (("range = [0, 100]", "range = [0, inf]"), r"gripper\.pos: finite offset, range and to were wanted"),
        (("offset = 0.1", "offset = nan"), r"pan\.pos: finite offset"),
        (
            ('front = "front_cam"', 'front = "wrist"'),
            "one key of the driver a camera was wanted, got .'wrist', 'wrist'",
        ),
        (("[joints.joint1_rad]", "[joints]\njoint2_rad = 3\n[joints.joint1_rad]"), r"joints\.joint2_rad: a table"),
        (("velocity_rad_s", "speed"), "limits: unknown entries speed; known are"),
        (("front = ", "head = "), "cameras: unknown entries head"),
        (("0.0, 0.04]", "0.04]"), r"arms\.arm: three numbers were wanted"),
        (("rpy = [0.0, 0.0, -1.5707963]", "turn = 3"), "links, number 1: unknown entries turn"),
        (
            ("rpy = [0.0, 0.0, -1.5707963]", ""),
            "links, number 1: either `rpy` or `quaternion` was wanted|can't be read",
        ),
        (("arm = [0.0, 0.0, 0.04]", "a = [0, 0, 0]\nb = [0, 0, 0]"), "14 of 'my_arm' was wanted, got 7 joints"),
        (("gripper.pos", "joint2.pos"), "one key of the driver a joint was wanted"),
        (("[arms]", "[arms"), r"my_arm\.toml can't be read"),
    ],
)
def test_a_wrong_robot_file_is_refused_by_name(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    assert change[0] in ROBOT_TOML
    path = written(tmp_path, ROBOT_TOML.replace(*change))
    with pytest.raises(InvalidTask, match=told):
        rise_gym.register_task(path)
    assert "cube_in_bowl" not in rise_gym.TASKS


def test_joints_in_another_order_than_the_arms_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, task=TOML.replace("joint6_rad = [-2, 2]\n", "") + "joint6_rad = [-2, 2]\n")
    with pytest.raises(InvalidTask, match="6 joints in rad and then `gripper_m` in each of 1 arms"):
        rise_gym.register_task(path)
    with pytest.raises(InvalidTask, match="the name of one that was put into"):
        checked_task(replace(BOX_CLOSE, robot=TWO_PIPERS))


def test_units_must_not_contradict_themselves() -> None:
    with pytest.raises(InvalidMapping, match=r'^`range` and `to` go with unit = "range"'):
        JointUnit(unit="range")
    names = RobotNames(joints=("a",) * 7, cameras=("b", "c"), stamps=("d", "e"), units=(JointUnit(),))
    with pytest.raises(InvalidRobot, match="units of all 7 joints, or none, were wanted, got 1"):
        names.check(degrees_robot.make_robot(), CARD)


def test_names_in_python_carry_units_too(tmp_path: Path) -> None:
    card: Any = rise_gym.register_task(written(tmp_path))
    env = gymnasium.make(ID, names=RobotNames.of(card), **MAKE)
    np.testing.assert_allclose(env.reset(seed=0)[0]["proprio"], START_RAD_M, atol=1e-6)
    env.close()
