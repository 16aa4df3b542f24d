"""One replica robot in a process of its own, for all tests that do not break it; imported by name."""

from __future__ import annotations

from typing import Any

from rise_gym.envs.real.replica_robot import ReplicaRobot


class SharedRobot(ReplicaRobot):
    """Stays up when an env lets go of it; draws noise, so that it needs neither OpenGL nor its time."""

    def __init__(self) -> None:
        super().__init__(blind=True)

    def disconnect(self) -> None:
        """Only `end` ends the process."""

    def end(self) -> None:
        self._end()

    def misbehave(self, **faults: Any) -> None:
        super().misbehave(blind=True, **faults)


ROBOT = SharedRobot()


def make_robot() -> SharedRobot:
    """What `robot="shared_robot:make_robot"` stands for."""
    return ROBOT
