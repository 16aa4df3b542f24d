"""Joints that do not go where they are told: blocked, broken, or switched off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rise_gym.errors import InvalidRobot, RobotFault
from rise_gym.tasks import TaskCard


class StuckFault(RobotFault):
    """A joint that does not follow its commands."""


@dataclass(frozen=True, kw_only=True)
class StuckLimits:
    """How badly a joint may follow: an arm that trails behind fast commands wants more of either.

    Attributes:
        error_rad: how far a joint may be from its command. ticks: for how many ticks in a row it may be further.

    Raises:
        InvalidRobot: if there can't be so little.
    """

    error_rad: float = 0.3
    ticks: int = 5

    def __post_init__(self) -> None:
        if not (self.error_rad > 0 and self.ticks >= 0):
            raise InvalidRobot(f"error_rad above 0 and ticks from 0 were wanted of stuck joints' limits, got {self}")


class StuckWatch:
    """Compares what was commanded with what is measured, tick by tick. Grippers are left out: they press on things."""

    def __init__(self, task: TaskCard, limits: StuckLimits) -> None:
        self.limits = limits
        self._names = task.action_names
        self._angles = np.array([name.endswith("_rad") for name in task.action_names])
        self._behind = np.zeros(len(task.action_names), np.int64)

    def look(self, commanded: NDArray[np.float64], measured: NDArray[np.float64]) -> None:
        """Joints (A,) in rad and m.

        Raises:
            StuckFault: if a joint has been behind for too long.
        """
        error = np.where(self._angles, np.abs(commanded - measured), 0)
        self._behind = np.where(error > self.limits.error_rad, self._behind + 1, 0)
        worst = int(self._behind.argmax())
        if self._behind[worst] > self.limits.ticks:
            raise StuckFault(
                f"{self._names[worst]} is at {measured[worst]:.3f} rad, {error[worst]:.3f} away from its command for "
                f"{self._behind[worst]} ticks (allowed: {self.limits.error_rad:g} for {self.limits.ticks}); it is "
                "blocked or broken: free it, then reset; if it only trails behind, allow more, stuck={'error_rad': ...}"
            )
