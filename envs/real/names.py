"""How a robot calls its joints and cameras, and the check that its numbers are in rad and m."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rise_gym.envs.real.contract import Robot
from rise_gym.errors import InvalidRobot, RobotFault
from rise_gym.tasks import TaskCard

_OUTSIDE = 0.15  # of a joint's range: a measured joint this far outside it is in other units, or broken


@dataclass(frozen=True, kw_only=True)
class RobotNames:
    """The robot's keys, in the order of the task card.

    Attributes:
        joints: key of each joint, in observations and actions alike: angles in rad, gripper openings in m.
        cameras: key of each camera. stamps: key of the time at which its picture was taken, in s of any clock; pictures
            without one are judged by what they show alone.
    """

    joints: tuple[str, ...]
    cameras: tuple[str, ...]
    stamps: tuple[str, ...]

    @classmethod
    def of(cls, task: TaskCard) -> RobotNames:
        """LeRobot's way: `left_joint1.pos`, `left_gripper.pos`, `head`; and `head.timestamp`."""
        stems = (name.removesuffix("_rad").removesuffix("_m") for name in task.action_names)
        return cls(
            joints=tuple(f"{stem}.pos" for stem in stems),
            cameras=task.cameras,
            stamps=tuple(f"{camera}.timestamp" for camera in task.cameras),
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
        """Joint targets (A,) in rad and m -> the robot's action."""
        return {key: float(value) for key, value in zip(self.joints, targets, strict=True)}

    def executed(self, answer: Mapping[str, Any] | None, targets: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the robot says it sent (A,); what it does not mention was sent as it was asked.

        Raises:
            RobotFault: if the answer is no mapping, or what it says of a joint no finite number.
        """
        told = {} if answer is None else answer
        if isinstance(told, Mapping):
            found = [_number(told.get(key, value)) for key, value in zip(self.joints, targets, strict=True)]
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
        for index, key in enumerate(self.joints):
            try:
                value = float(observation[key])
            except (KeyError, TypeError, ValueError):
                raise InvalidRobot(
                    f"the robot's observation has no number {key!r}, it has {sorted(observation)}"
                ) from None
            low, high = task.action_low[index], task.action_high[index]
            slack = _OUTSIDE * (high - low)
            if not low - slack <= value <= high + slack:
                raise InvalidRobot(_wrong_units(key, value, low, high, task.proprio_names[index]))
            found.append(value)
        return np.array(found)


def _number(value: Any) -> float:
    """NaN for what is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _wrong_units(key: str, value: float, low: float, high: float, name: str) -> str:
    unit = "rad" if name.endswith("_rad") else "m"
    wanted = f"{key} reads {value:.4g}, wanted is {low:g} to {high:g} {unit}"
    if not math.isfinite(value):
        return f"{wanted}; the robot does not know this joint: check its cable and calibration"
    if unit == "rad":
        return (
            f"{wanted}; this looks like degrees ({value:.4g}° = {math.radians(value):.3f} rad) or a normalised "
            "position. Make the robot speak rad, in its own configuration or by a class around it"
        )
    return f"{wanted}; this looks like mm or per cent. Make the robot speak m of opening between the fingers"
