"""The one way to a robot: every command passes the limits, from whichever thread it comes."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rise_gym.envs.real.clock import Clock
from rise_gym.envs.real.contract import Robot
from rise_gym.envs.real.limits import Filtered, Motion, SafetyFilter
from rise_gym.envs.real.names import RobotNames
from rise_gym.errors import RenderingUnavailable, RiseGymError, RobotFault
from rise_gym.tasks import TaskCard

Array = NDArray[np.float64]


_OPERATOR = "the operator has stopped the robot"


class OperatorStop(RobotFault):
    """The operator has stopped the robot, or could not be asked whether it has to stop."""


class Sent(NamedTuple):
    """What the robot says it was sent (A,) in rad and m, and which limits acted: bool (5,)."""

    executed: Array
    acted: NDArray[np.bool_]


class Seen(NamedTuple):
    """Raw pictures and their times by the task's camera names, and measured joints (P,) in rad and m."""

    pictures: dict[str, Any]
    stamps: dict[str, float | None]
    joints: Array


class RobotLink:
    """A robot behind its limits. Safe to use from several threads: one call at a time reaches the robot.

    Commands never follow each other faster than the limits count on, whoever sends them. Whatever a robot's own methods
    raise comes out as `RobotFault`, which says what was asked of it.

    Attributes:
        stopped: while it is set (see `stop`), every command is a braking one, whatever was asked for.
        sent_at_s: time of the last command.
    """

    def __init__(self, robot: Robot, names: RobotNames, task: TaskCard, limits: SafetyFilter, clock: Clock) -> None:
        names.check(robot, task)
        self.robot, self.names, self.task, self.filter = robot, names, task, limits
        self.stopped = threading.Event()
        self._why_stopped = _OPERATOR
        self.clock, self.sent_at_s = clock, -float("inf")
        self._never = threading.Event()
        self._lock = threading.RLock()
        self._motion: Motion | None = None
        self._measured: Array | None = None

    def connect(self) -> None:
        """Connects, if that is not done yet. Moves nothing.

        Raises:
            RobotFault: if the robot can't be reached.
        """
        with self._lock:
            if not self._asked("connect", lambda: self.robot.is_connected):
                self._motion = None
                self._asked("connect", self.robot.connect)

    def disconnect(self) -> None:
        """Lets go of the robot, where it is; what it raises is of no use to anyone any more."""
        with self._lock:
            self._motion = None
            try:
                if self.robot.is_connected:
                    self.robot.disconnect()
            except Exception:  # a robot that is gone can't be let go of
                return

    def observe(self) -> Seen:
        """What the robot measures now.

        Raises:
            RobotFault: if it does not answer. InvalidRobot: if a joint's number is missing or in other units.
        """
        with self._lock:
            told: Mapping[str, Any] = self._asked("get_observation", self.robot.get_observation)
            if not isinstance(told, Mapping):
                raise RobotFault(f"the robot answered `get_observation` with {told!r:.100}, a mapping was wanted")
            joints = self.names.measured(told, self.task)
            self._measured = joints
        cameras = self.task.cameras
        pictures = {name: told.get(key) for name, key in zip(cameras, self.names.cameras, strict=True)}
        stamps = {name: told.get(key) for name, key in zip(cameras, self.names.stamps, strict=True)}
        return Seen(pictures, stamps, joints)

    def begin(self, joints: Array) -> None:
        """Commands start at rest from here.

        Raises:
            InvalidRobot: if that is outside the limits.
        """
        with self._lock:
            self._motion, self._measured = self.filter.start(joints), joints

    def send(self, target: NDArray[np.floating]) -> Sent:
        """One command towards joint targets (A,) in rad and m, as far as the limits allow.

        Raises:
            RobotFault: if the robot does not take it or answers nonsense, the targets are none, or `begin` was never
                called.
        """
        self.check_targets(target)
        with self._lock:
            answer, allowed = self._command(target)
            return Sent(self.names.executed(answer, allowed.motion.position), allowed.acted)

    def check_targets(self, target: NDArray[np.floating]) -> None:
        """Raises `RobotFault` if these are no joint targets (A,) in rad and m: no limit could be kept."""
        joints = len(self.task.action_names)
        if np.shape(target) != (joints,) or not np.isfinite(target).all():
            raise RobotFault(
                f"{joints} finite joint targets in rad and m were wanted, in the order of the task's action_names, got "
                f"{np.array2string(np.asarray(target), threshold=20, precision=3)} of shape {np.shape(target)}; "
                "nothing was sent"
            )

    def brake(self, unless_sent_after_s: float = float("inf")) -> bool:
        """One command on the way to rest; returns whether one was needed, as the robot's last command moved it.

        At rest nothing is sent: a position servo holds what it was told last. Nor is anything if somebody has sent a
        command after the given time, for then nobody was late.
        """
        with self._lock:
            if self._motion is None or self.filter.at_rest(self._motion) or self.sent_at_s > unless_sent_after_s:
                return False
            self._command(self._motion.position)  # what is answered to it does not matter: it was told to brake
            return True

    def rest(self) -> None:
        """Brakes until at rest; a robot that can't be reached holds by itself."""
        try:
            while self.brake():
                pass
        except RiseGymError:
            return

    def stop(self, why: str = _OPERATOR) -> None:
        """From any thread: every command is a braking one from now on, until `release`."""
        self._why_stopped = why
        self.stopped.set()

    def release(self) -> None:
        """Commands move the robot again."""
        self.stopped.clear()

    def check_stop(self) -> None:
        """Raises `OperatorStop`, which says why, if the robot was stopped."""
        if self.stopped.is_set():
            raise OperatorStop(
                f"{self._why_stopped}, it brakes and holds; when all is safe call env.unwrapped.release(), "
                "then env.reset()"
            )

    @property
    def commanded(self) -> Array | None:
        """The last command (A,) in rad and m; None before the first episode."""
        with self._lock:
            return None if self._motion is None else self._motion.position.copy()

    def _command(self, target: NDArray[np.floating]) -> tuple[Any, Filtered]:
        """As `send`; the robot's answer as it came, and what was sent."""
        if self._motion is None or self._measured is None:
            raise RobotFault("nothing may be sent before the robot was measured; reset the env first")
        self.clock.wait(self._never, self.sent_at_s + self.filter.period_s)
        goal = self._motion.position if self.stopped.is_set() else target
        allowed = self.filter.step(self._motion, goal, self._measured)
        command = self.names.command(allowed.motion.position)
        if not np.isfinite(list(command.values())).all():  # the last line of defence: no limit means anything to NaN
            raise RobotFault(f"the next command would be {command}, finite numbers were wanted; nothing was sent")
        answer = self._asked("send_action", lambda: self.robot.send_action(command))
        self._motion, self.sent_at_s = allowed.motion, self.clock.now()
        return answer, allowed

    @staticmethod
    def _asked(what: str, call: Any) -> Any:
        try:
            return call()
        except RenderingUnavailable:  # the replica as a robot: its message names the way out
            raise
        except Exception as error:  # each robot fails in its own way
            raise RobotFault(
                f"the robot failed at `{what}`: {type(error).__name__}: {error}; its servos hold what they were told "
                "last. Check power and cables, then reset"
            ) from error
