"""A robot within this process that does at once what it is told and remembers it all; imported by name."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rise_gym.envs.mujoco.robot import home_joints
from rise_gym.envs.real.clock import InstantClock
from rise_gym.envs.real.names import RobotNames
from rise_gym.tasks import BOX_CLOSE


class OwnTime:
    """Passes at once when somebody waits, like `InstantClock`, for tests that say themselves who thinks how long."""

    def __init__(self) -> None:
        self._clock = InstantClock()

    def now(self) -> float:
        return self._clock.now()

    def wait(self, interrupt: threading.Event, until: float) -> bool:
        return self._clock.wait(interrupt, until)


class Approving:
    """An operator who is content with whatever comes first."""

    def begin(self) -> None: ...

    def stop_requested(self) -> bool:
        return False

    def verdict(self) -> bool | None:
        return True


def make_operator() -> Approving:
    """What `operator="recording_robot:make_operator"` stands for."""
    return Approving()


def make_robot() -> RecordingRobot:
    """What `robot="recording_robot:make_robot"` stands for; `MADE` has all of them."""
    MADE.append(RecordingRobot())
    return MADE[-1]


class RecordingRobot:
    """LeRobot's `Robot`, without physics: measured joints are the commanded ones, plus noise if asked for.

    Args:
        noise: standard deviation of what is measured, rad and m. now: tells the time at which a command comes, in s.

    Attributes:
        commands: joints (A,) in rad and m, as they came. times_s: when. believed: what was measured last before.
        answer: what `send_action` returns instead of what it was told, if that is set. failing: what both calls raise.
    """

    def __init__(self, *, noise: float = 0.0, now: Callable[[], float] | None = None) -> None:
        self.names = RobotNames.of(BOX_CLOSE)
        self.observation_features: dict[str, Any] = {
            **dict.fromkeys(self.names.joints, float),
            **dict.fromkeys(self.names.cameras, (*BOX_CLOSE.image_size, 3)),
        }
        self.action_features: dict[str, Any] = dict.fromkeys(self.names.joints, float)
        self.is_connected = False
        self.commands: list[NDArray[np.float64]] = []
        self.believed: list[NDArray[np.float64]] = []
        self.times_s: list[float] = []
        self.answer: Any = ...
        self.failing: BaseException | None = None
        self.now = now
        self._noise, self._random = noise, np.random.default_rng(0)
        self._joints = self._measured = home_joints()

    def connect(self) -> None:
        self.is_connected = True

    def disconnect(self) -> None:
        self.is_connected = False

    def get_observation(self) -> dict[str, Any]:
        if self.failing is not None:
            raise self.failing
        low, high = np.array(BOX_CLOSE.action_low), np.array(BOX_CLOSE.action_high)
        self._measured = np.clip(self._joints + self._noise * self._random.standard_normal(len(low)), low, high)
        shape = (*BOX_CLOSE.image_size, 3)
        pictures = {key: self._random.integers(0, 256, shape, dtype=np.uint8) for key in self.names.cameras}
        return {**dict(zip(self.names.joints, self._measured.tolist(), strict=True)), **pictures}

    def send_action(self, action: dict[str, Any]) -> Any:
        if self.failing is not None:
            raise self.failing
        self._joints = np.array([action[key] for key in self.names.joints])
        self.commands.append(self._joints)
        self.believed.append(self._measured)
        if self.now is not None:
            self.times_s.append(self.now())
        return action if self.answer is ... else self.answer


MADE: list[RecordingRobot] = []
