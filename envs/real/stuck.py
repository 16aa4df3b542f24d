"""Joints that do not go where they are told: blocked, broken, or switched off."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rise_gym.errors import RobotFault
from rise_gym.tasks import TaskCard


class StuckFault(RobotFault):
    """A joint that does not follow its commands."""


class StuckWatch:
    """Compares what was commanded with what is measured, tick by tick. Grippers are left out: they press on things.

    Args:
        error_rad: how far a joint may be from its command. ticks: for how many ticks in a row it may be further.
    """

    def __init__(self, task: TaskCard, *, error_rad: float = 0.3, ticks: int = 5) -> None:
        self.error_rad, self.ticks = error_rad, ticks
        self._names = task.action_names
        self._angles = np.array([name.endswith("_rad") for name in task.action_names])
        self._behind = np.zeros(len(task.action_names), np.int64)

    def look(self, commanded: NDArray[np.float64], measured: NDArray[np.float64]) -> None:
        """Joints (A,) in rad and m.

        Raises:
            StuckFault: if a joint has been behind for too long.
        """
        error = np.where(self._angles, np.abs(commanded - measured), 0)
        self._behind = np.where(error > self.error_rad, self._behind + 1, 0)
        worst = int(self._behind.argmax())
        if self._behind[worst] > self.ticks:
            raise StuckFault(
                f"{self._names[worst]} is at {measured[worst]:.3f} rad, {error[worst]:.3f} away from its command for "
                f"{self._behind[worst]} ticks (allowed: {self.error_rad:g} for {self.ticks}); it is blocked or broken. "
                "Free it, then reset"
            )
