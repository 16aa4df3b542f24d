"""Where a robot's tools are, from its joints and its card; numpy, batched, fast enough to be asked at every command."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rise_gym.robots import Quaternion, RobotArms

Array = NDArray[np.float64]


class ToolPoints:
    """Points of each arm that have to stay in the workspace: between the fingertips, and the hand's origin.

    The gripper's opening moves neither, so a hand may open and yield wherever it is.
    """

    def __init__(self, robot: RobotArms) -> None:
        self.arms = len(robot.arms)
        self.joints_per_arm = len(robot.links) + 1  # the gripper's opening comes last
        self._bases = np.array(robot.bases, np.float64)
        self._rotations = [_rotation(link.quaternion) for link in robot.links]
        self._offsets = [np.array(link.position, np.float64) for link in robot.links]
        self._points = np.array([[0.0, 0.0, robot.finger_reach_m], [0.0, 0.0, 0.0]]).T[:, :, None]  # (3, points, 1)

    def __call__(self, joints: NDArray[np.floating]) -> Array:
        """Joints (..., A) in rad and m -> points (..., arms, 2, 3) in m; x away from the robot, y left, z up."""
        angles = np.asarray(joints, np.float64).reshape(-1, self.joints_per_arm).T  # (joints, rows)
        cosines, sines = np.cos(angles[:-1]), np.sin(angles[:-1])
        place = np.empty((*self._points.shape[:2], angles.shape[1]))
        place[:] = self._points
        turned = np.empty_like(place)
        for index in reversed(range(len(cosines))):  # from the hand back to the base
            np.multiply(place[:2], cosines[index], out=turned[:2])
            place[:2] *= sines[index]
            turned[0] -= place[1]
            turned[1] += place[0]
            turned[2] = place[2]
            np.matmul(self._rotations[index], turned.reshape(3, -1), out=place.reshape(3, -1))
            place += self._offsets[index][:, None, None]
        found = np.moveaxis(place, (0, 1, 2), (2, 1, 0)).reshape(*np.shape(joints)[:-1], self.arms, -1, 3)
        return np.asarray(found + self._bases[:, None])


def _rotation(quaternion: Quaternion) -> Array:
    """Of a quaternion (w, x, y, z) of any length: (3, 3)."""
    w, x, y, z = np.array(quaternion, np.float64) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
