"""Brakes and holds the robot when nobody tells it anything in time, or when its operator says stop."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rise_gym.envs.real.clock import Clock
from rise_gym.errors import RobotFault

_LOOK_EVERY_S = 0.02


class Watchdog:
    """A thread that looks after the robot between two commands, whatever the main program is doing.

    A command is a promise to send another one in time. If that is late, because the policy thinks or hangs or the
    program is busy, the robot is braked to rest and holds there. An operator's stop is looked for all the time.

    Args:
        brake: sends one braking command; returns whether it was needed. clock: what commands are timed by.
        late_after_s: how long after a command the next one is late.
        stop_requested: asks the operator. stopped: is set when the operator says so; whoever moves the robot heeds it.

    Attributes:
        late: how many braking commands were sent because another one was late, since `begin`.
    """

    def __init__(
        self,
        brake: Callable[[], bool],
        *,
        clock: Clock,
        late_after_s: float,
        stop_requested: Callable[[], bool],
        stopped: threading.Event,
    ) -> None:
        self.stopped = stopped
        self.late = 0
        self._brake, self._clock, self._stop_requested = brake, clock, stop_requested
        self._late_after_s = late_after_s
        self._fed: float | None = None
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """A new episode; starts the thread if it does not run."""
        self.late, self._fed = 0, None
        if self._thread is None or not self._thread.is_alive():
            self._closing.clear()
            self._thread = threading.Thread(target=self._run, name="rise_gym robot watchdog", daemon=True)
            self._thread.start()

    def feed(self) -> None:
        """A command was sent just now."""
        self._fed = self._clock.now()

    def close(self) -> None:
        """Ends the thread."""
        self._closing.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)
        self._thread = None

    def poll(self) -> None:
        """Looks once. The thread does this all the time; a test may do it by hand."""
        if self._stop_requested():
            self.stopped.set()
        late = self._fed is not None and self._clock.now() - self._fed > self._late_after_s
        if not (late or self.stopped.is_set()):
            return
        try:
            braked = self._brake()
        except RobotFault:  # it can't be reached: whoever asks it next is told, and its servos hold
            self._fed = None
            return
        if not self.stopped.is_set():
            self.late += int(braked)
        if not braked:
            self._fed = None  # at rest

    def _run(self) -> None:
        while not self._closing.wait(_LOOK_EVERY_S):
            self.poll()
