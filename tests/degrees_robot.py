"""A robot as many of LeRobot are: degrees, a joint turned round, a gripper from 0 to 100; and the file about it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

ROBOT_TOML = """
name = "my_arm"
finger_reach_m = 0.14
unit = "deg"
links = [
    { position = [0.0, 0.0, 0.123], rpy = [0.0, 0.0, -1.5707963] },
    { position = [0.0, 0.0, 0.0], quaternion = [0.5, 0.5, -0.5, -0.5] },
    { position = [0.28358, 0.028726, 0.0], quaternion = [0.998726, 0.0, 0.0, 0.0504536] },
    { position = [-0.24221, 0.068514, 0.0], quaternion = [0.544767, -0.544769, -0.450809, 0.450808] },
    { position = [0.0, 0.0, 0.0], quaternion = [0.7071, 0.7071, 0.0, 0.0] },
    { position = [0.0, 0.091, 0.0014165], quaternion = [0.0, 0.0, -0.7071, -0.7071] },
]

[arms]
arm = [0.0, 0.0, 0.04]

[joints.joint1_rad]
from = "shoulder_pan.pos"
sign = -1
offset = 0.1
limits = [-1.8, 1.8]

[joints.gripper_m]
from = "gripper.pos"
unit = "range"
range = [0, 100]
to = [0.0, 0.08]

[cameras]
front = "front_cam"

[limits]
velocity_rad_s = 1.0
"""

START_RAD_M = np.array([0.0, 1.02, -1.02, 0.0, 1.1, 0.0, 0.02])  # joints and gripper, as the task means them


class DegreesRobot:
    """Goes at once where it is told, in its own numbers; remembers all that it was sent."""

    KEYS = ("shoulder_pan.pos", *(f"joint{n}.pos" for n in range(2, 7)), "gripper.pos")

    def __init__(self) -> None:
        degrees = np.degrees(START_RAD_M)
        self.joints = dict(zip(self.KEYS, degrees.tolist(), strict=True))
        self.joints |= {"shoulder_pan.pos": math.degrees(0.1), "gripper.pos": 100 * 0.02 / 0.08}
        self.sent: list[dict[str, float]] = []
        self.is_connected = False
        self._pictures = np.random.default_rng(0)

    @property
    def observation_features(self) -> dict[str, Any]:
        return {**self.action_features, "front_cam": (48, 64, 3), "wrist": (48, 64, 3)}

    @property
    def action_features(self) -> dict[str, Any]:
        return dict.fromkeys(self.KEYS, float)

    def connect(self) -> None:
        self.is_connected = True

    def disconnect(self) -> None:
        self.is_connected = False

    def get_observation(self) -> dict[str, Any]:
        pictures = {
            name: self._pictures.integers(0, 256, (48, 64, 3), dtype=np.uint8) for name in ("front_cam", "wrist")
        }
        return {**self.joints, **pictures}

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        assert set(action) == set(self.KEYS)
        self.joints.update(action)
        self.sent.append(dict(action))
        return action


ROBOT = DegreesRobot()


def make_robot() -> DegreesRobot:
    """What `robot="degrees_robot:make_robot"` stands for; the last one made is `ROBOT`."""
    global ROBOT
    ROBOT = DegreesRobot()
    return ROBOT
