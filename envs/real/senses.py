"""What the env believes of the robot's measurements: pictures and joints that were checked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rise_gym.envs.real.cameras import CameraFault, CameraLimits, CameraWatch
from rise_gym.envs.real.link import RobotLink
from rise_gym.envs.real.stuck import StuckLimits, StuckWatch
from rise_gym.spaces import proprio_bounds
from rise_gym.tasks import TaskCard
from rise_gym.types import Observation


class Senses:
    """The newest observation of one episode; begins with the first pictures, for which a camera may need a few ticks.

    Raises:
        RobotFault: if the robot can't be reached or a camera shows nothing.
        InvalidRobot: if a joint is measured in other units than rad and m.
    """

    def __init__(self, link: RobotLink, task: TaskCard, limits: CameraLimits, stuck: StuckLimits) -> None:
        self._link, self._task = link, task
        self._cameras = CameraWatch(task.cameras, task.image_size, limits)
        self._stuck = StuckWatch(task, stuck)
        self._bounds = proprio_bounds(task)
        for left in reversed(range(limits.bad_ticks + 1)):
            try:
                self._take()
                break
            except CameraFault:
                if not left:
                    raise
                link.clock.wait(link.stopped, link.clock.now() + link.filter.period_s)

    @property
    def joints(self) -> NDArray[np.float64]:
        """Newest measured ones (P,), in rad and m."""
        return self._joints

    def look(self) -> None:
        """Measure again; what was believed last stays if that fails.

        Raises:
            RobotFault: if the robot can't be reached, a camera can't be trusted, or a joint does not follow.
        """
        self._take()
        commanded = self._link.commanded
        if commanded is not None:
            self._stuck.look(commanded, self._joints)

    def views(self) -> NDArray[np.uint8]:
        """Newest pictures, uint8 (V, H, W, 3)."""
        newest = self._cameras.newest()
        return np.stack([newest[camera] for camera in self._task.cameras])

    def observation(self) -> Observation:
        """As the observation space wants it; arrays of its own."""
        low, high = self._bounds
        return {**self._cameras.newest(), "proprio": np.clip(self._joints.astype(np.float32), low, high)}

    def _take(self) -> None:
        seen = self._link.observe()
        self._joints = seen.joints
        self._cameras.look(seen.pictures, seen.stamps, seen.joints)
