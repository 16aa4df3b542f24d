"""Brakes and holds the robot when nobody tells it anything in time, or when its operator says stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from rise_gym.envs.real.link import RobotLink
from rise_gym.errors import RobotFault

_LOOK_EVERY_S = 0.02
_log = logging.getLogger(__name__)


class Watchdog:
    """A thread that looks after the robot between two commands, whatever the main program is doing.

    A command is a promise to send another one in time. If that is late, because the policy thinks or hangs or the
    program is busy, the robot is braked to rest and holds there. An operator's stop is looked for all the time; an
    operator who can't be asked, for the call raises, has stopped the robot. Nothing that is raised ends the thread.

    Args:
        link: the way to the robot. late_after_s: how long after a command the next one is late.
        stop_requested: asks the operator.

    Attributes:
        late: how many braking commands were sent because another one was late, since `begin`.
    """

    def __init__(self, link: RobotLink, *, late_after_s: float, stop_requested: Callable[[], bool]) -> None:
        self.late = 0
        self._link, self._late_after_s, self._stop_requested = link, late_after_s, stop_requested
        self._braked_at_s: float | None = None
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """A new episode; starts the thread if it does not run."""
        self.late = 0
        if self._thread is None or not self._thread.is_alive():
            self._closing.clear()
            self._thread = threading.Thread(target=self._run, name="rise_gym robot watchdog", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        self._closing.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)
        self._thread = None

    def check(self) -> None:
        """Raises `RobotFault` if nobody looks after the robot any more."""
        if self._thread is None or not self._thread.is_alive():
            raise RobotFault("the watchdog's thread has ended, so nobody would brake the robot; reset starts another")

    def poll(self) -> None:
        """Looks once. The thread does this all the time; a test may do it by hand."""
        link = self._link
        self._ask_operator()
        now_s, sent_at_s = link.clock.now(), link.sent_at_s  # in this order: a command in between is a later one
        goes_on = sent_at_s == self._braked_at_s  # nobody has sent anything since the last braking command
        late = goes_on or now_s - sent_at_s > self._late_after_s
        stopped = link.stopped.is_set()
        if not (late or stopped):
            return
        try:
            braked = link.brake() if stopped else link.brake(unless_sent_after_s=sent_at_s)
        except RobotFault:  # it can't be reached: whoever asks it next is told, and its servos hold
            return
        if braked:
            self._braked_at_s = link.sent_at_s
            self.late += int(not stopped)

    def _ask_operator(self) -> None:
        try:
            if self._stop_requested():
                self._link.stop()
        except BaseException as error:  # SystemExit too: it would end this thread and nothing else
            self._stop_for("the operator can't be asked whether to stop", error)

    def _stop_for(self, what: str, error: BaseException) -> None:
        """Nobody could stop the robot any more, so it is stopped; whoever steps or resets it is told why."""
        if not self._link.stopped.is_set():
            why = f"{what} ({type(error).__name__}: {error}), so the robot is stopped"
            _log.error("%s", why, exc_info=error)
            self._link.stop(why)

    def _run(self) -> None:
        while not self._closing.wait(_LOOK_EVERY_S):
            try:
                self.poll()
            except BaseException as error:  # a watchdog that ended without a word would be missed too late
                self._stop_for("the watchdog failed", error)
