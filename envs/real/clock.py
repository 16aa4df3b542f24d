"""Time as an argument: a robot's own, or one for tests that need not wait."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from rise_gym.errors import InvalidRobot


class Clock(Protocol):
    """Seconds that pass, from any beginning."""

    def now(self) -> float:
        """In s."""

    def wait(self, interrupt: threading.Event, until: float) -> bool:
        """Waits for a time, or for the event, whichever comes first; returns whether the event is set."""


class SystemClock:
    """Real time, which never goes back."""

    def now(self) -> float:
        return time.monotonic()

    def wait(self, interrupt: threading.Event, until: float) -> bool:
        return interrupt.wait(max(0.0, until - time.monotonic()))


class InstantClock:
    """Passes only when somebody waits, and then at once: for robots that are simulated step by step."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        return self._now

    def wait(self, interrupt: threading.Event, until: float) -> bool:
        if not interrupt.is_set():
            self._now = max(self._now, until)
        return interrupt.is_set()


def clock(kind: str | Clock) -> Clock:
    """`"system"` or `"instant"`, or a clock itself.

    Raises:
        InvalidRobot: for another name.
    """
    if not isinstance(kind, str):
        return kind
    kinds: dict[str, type[SystemClock] | type[InstantClock]] = {"system": SystemClock, "instant": InstantClock}
    if kind not in kinds:
        raise InvalidRobot(f"a clock is 'system', 'instant' or an object, got {kind!r}")
    return kinds[kind]()
