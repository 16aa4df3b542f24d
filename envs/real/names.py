"""How a robot calls its joints and cameras and counts the joints, and the check that what it measures makes sense.

Whatever a driver speaks, degrees or -100 to 100, is turned into rad and m here, both ways. Behind this nothing else is
known: limits are kept in rad and m.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rise_gym.envs.real.contract import Robot
from rise_gym.errors import InvalidRobot, RobotFault
from rise_gym.joint_units import JointUnit
from rise_gym.robots import known_arms, lerobot_key
from rise_gym.tasks import TaskCard

_OUTSIDE = 0.15  # of a joint's range: a measured joint this far outside it is in other units, or broken


@dataclass(frozen=True, kw_only=True)
class RobotNames:
    """The robot's keys, in the order of the task card.

    Attributes:
        joints: key of each joint, in observations and actions alike.
        units: what their numbers mean, one a joint; empty: all angles are in rad, gripper openings in m.
        cameras: key of each camera. stamps: key of the time at which its picture was taken, in s of any clock; pictures
            without one are judged by what they show alone.
    """

    joints: tuple[str, ...]
    cameras: tuple[str, ...]
    stamps: tuple[str, ...]
    units: tuple[JointUnit, ...] = ()

    @classmethod
    def of(cls, task: TaskCard) -> RobotNames:
        """As the task's robot file says, else LeRobot's way: `left_joint1.pos`, `head`; and `head.timestamp`."""
        arms = known_arms(task.robot)
        driver, views = ((), {}) if arms is None else (arms.joints, arms.views)
        cameras = tuple(views.get(camera, camera) for camera in task.cameras)
        return cls(
            joints=tuple(joint.key for joint in driver) or tuple(map(lerobot_key, task.action_names)),
            cameras=cameras,
            stamps=tuple(f"{camera}.timestamp" for camera in cameras),
            units=driver,
        )

    def check(self, robot: Robot, task: TaskCard) -> None:
        """Whether a robot offers what the task needs; it need not be connected.

        Raises:
            InvalidRobot: naming every key that is missing or of another kind.
        """
        if not isinstance(robot, Robot):
            raise InvalidRobot(f"a robot with the methods of LeRobot's `Robot` was wanted, got {type(robot).__name__}")
        if len(self.joints) != len(task.action_names) or len(self.cameras) != len(task.cameras):
            raise InvalidRobot(
                f"names of {len(task.action_names)} joints and {len(task.cameras)} cameras were wanted, "
                f"got {len(self.joints)} and {len(self.cameras)}"
            )
        if self.units and len(self.units) != len(self.joints):
            raise InvalidRobot(f"units of all {len(self.joints)} joints, or none, were wanted, got {len(self.units)}")
        wrong = [f"action {key}" for key in self.joints if robot.action_features.get(key) is not float]
        wrong += [f"observation {key}" for key in self.joints if robot.observation_features.get(key) is not float]
        for key in self.cameras:
            shape = robot.observation_features.get(key)
            if not (isinstance(shape, tuple | list) and len(shape) == 3 and shape[-1] == 3):
                wrong.append(f"camera {key} (H, W, 3)")
        if wrong:
            raise InvalidRobot(
                f"the robot's features lack {', '.join(wrong)}; it has actions {sorted(robot.action_features)} and "
                f"observations {sorted(robot.observation_features)}. Pass `names=RobotNames(...)` to map them"
            )

    def command(self, targets: NDArray[np.floating]) -> dict[str, float]:
        """Joint targets (A,) in rad and m -> the robot's action, in its own units."""
        return {key: float(unit.theirs(value)) for key, unit, value in self._joined(targets)}

    def executed(self, answer: Mapping[str, Any] | None, targets: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the robot says it sent (A,) in rad and m; what it does not mention was sent as it was asked.

        Raises:
            RobotFault: if the answer is no mapping, or what it says of a joint no finite number.
        """
        told = {} if answer is None else answer
        if isinstance(told, Mapping):
            found = [
                float(unit.ours(_number(told[key]))) if key in told else value
                for key, unit, value in self._joined(targets)
            ]
            if np.isfinite(found).all():
                return np.array(found, np.float64)
        raise RobotFault(
            f"the robot answered `send_action` with {answer!r:.200}; None was wanted, or a mapping from joints "
            f"({self.joints[0]}, ...) to finite numbers: mend its driver, then reset"
        )

    def measured(self, observation: Mapping[str, Any], task: TaskCard) -> NDArray[np.float64]:
        """Measured joints (P,) in rad and m.

        Raises:
            InvalidRobot: if one is missing, no finite number, or can't be in rad or m.
        """
        found = []
        for index, (key, unit, _) in enumerate(self._joined(np.zeros(len(self.joints)))):
            try:
                value = float(unit.ours(float(observation[key])))
            except KeyError:
                raise InvalidRobot(
                    f"the robot's observation has no number {key!r}, it has {sorted(observation)}"
                ) from None
            except (TypeError, ValueError):
                raise InvalidRobot(
                    f"the robot's observation has no number {key!r}, it says {observation[key]!r:.80} there; one "
                    "number was wanted: mend its driver"
                ) from None
            low, high = task.action_low[index], task.action_high[index]
            slack = _OUTSIDE * (high - low)
            if not low - slack <= value <= high + slack:
                told = f"{float(observation[key]):.4g} ({_described(unit)}), that is {value:.4g}" if self.units else ""
                raise InvalidRobot(_wrong_units(key, told, value, low, high, task.proprio_names[index]))
            found.append(value)
        return np.array(found)

    def _joined(self, values: NDArray[np.floating]) -> Iterator[tuple[str, JointUnit, float]]:
        """Key, unit and value of each joint."""
        return zip(self.joints, self.units or (JointUnit(),) * len(self.joints), values.tolist(), strict=True)


def _number(value: Any) -> float:
    """NaN for what is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _described(unit: JointUnit) -> str:
    """For people: what a driver's number was taken for."""
    return unit.unit if unit.span is None else "of {:g} to {:g}".format(*unit.span)


def _wrong_units(key: str, told: str, value: float, low: float, high: float, name: str) -> str:
    """`told` is what the robot file made of the driver's number, if there is one."""
    unit = "rad" if name.endswith("_rad") else "m"
    wanted = f"{key} reads {told or format(value, '.4g')}, wanted is {low:g} to {high:g} {unit}"
    if not math.isfinite(value):
        return f"{wanted}; the robot does not know this joint: check its cable and calibration"
    if told:
        return f"{wanted}; put its unit, range, sign or offset right in the robot file, or move it there by hand"
    if unit == "rad":
        return (
            f"{wanted}; this looks like degrees ({value:.4g}° = {math.radians(value):.3f} rad) or a normalised "
            "position. Say in a robot file what its numbers mean (`rise_gym.robot_files`), or make the robot speak rad"
        )
    return (
        f"{wanted}; this looks like mm or per cent. Say in a robot file what its numbers mean "
        "(`rise_gym.robot_files`), or make the robot speak m of opening between the fingers"
    )
