"""The one reader of what people type: whoever asks a question and whoever can stop a robot share it.

Two readers of one terminal take each other's lines, and a stop that somebody else has read is lost.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from typing import TextIO
from weakref import WeakMethod

from rise_gym.errors import RobotFault

_LOOK_EVERY_S = 0.02
Hear = Callable[[str], object]


class TerminalEnded(RobotFault):
    """Nobody can type anything any more: the terminal is closed, or the program was started without one."""


class Terminal:
    """Reads lines in a daemon thread of its own, which begins when somebody first listens or asks.

    A line that is one of the answers which a pending question names is its answer. Every other line goes to all who
    listen, at any moment, whether something is asked or not. So a stop is never taken for an answer, and an answer that
    comes when nothing is asked is whatever those who listen take it for.

    Args:
        lines: where they come from.
        show: prints a text.
    """

    def __init__(self, lines: TextIO, show: Callable[[str], object] = print) -> None:
        self.lines, self._show = lines, show
        self._ended: Exception | None = None
        self._listeners: list[WeakMethod[Hear]] = []
        self._question: _Question | None = None
        self._lock = threading.Lock()  # of what both threads look at
        self._turn = threading.Lock()  # of who asks
        self._thread: threading.Thread | None = None

    def listen(self, hear: Hear) -> None:
        """From now on, call a bound method with each line that is no answer; from the reader's thread.

        It is held weakly: whoever is gone hears no more.
        """
        with self._lock:
            self._listeners = [*(one for one in self._listeners if one() is not None), WeakMethod(hear)]
        self._begin()

    def ask(self, text: str, answers: Sequence[str], *, stopped: Callable[[], bool] = lambda: False) -> str | None:
        """Show a text and wait for one of the answers, in small letters; None as soon as `stopped` says so.

        Whoever types something else is asked again.

        Raises:
            TerminalEnded: if nobody can answer any more.
        """
        while not self._turn.acquire(timeout=_LOOK_EVERY_S):  # somebody else asks
            if stopped():
                return None
        try:
            question = self._question = _Question(text, answers)
            self._show(text)
            self._begin()
            while not question.settled.wait(_LOOK_EVERY_S):
                if not question.settled.is_set():
                    self.check()
                if stopped():
                    return None
            return question.answer
        finally:
            with self._lock:
                self._question = None
            self._turn.release()

    @property
    def ended(self) -> bool:
        """Whether nobody can type here any more."""
        return self._ended is not None

    def check(self) -> None:
        """Whether there is still somebody who can type.

        Raises:
            TerminalEnded: if not.
        """
        if self._ended is not None:
            raise TerminalEnded(str(self._ended)) from self._ended

    def _begin(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._read, name="rise_gym terminal", daemon=True)
                self._thread.start()

    def _read(self) -> None:
        try:
            for line in self.lines:
                self._take(line.strip().lower())
            self._ended = EOFError(
                "the terminal has ended (Ctrl-D, or the program was started without one), so nobody can type a stop or "
                "an answer: start it in a terminal"
            )
        except Exception as error:  # in a thread of its own nobody would see it
            self._ended = OSError(f"the terminal can't be read: {type(error).__name__}: {error}")

    def _take(self, word: str) -> None:
        with self._lock:
            question, listeners = self._question, [one() for one in self._listeners]
            if question is not None and not question.settled.is_set() and word in question.answers:
                question.answer = word
                question.settled.set()
                return
        for hear in listeners:
            if hear is not None:
                hear(word)
        if question is not None and not question.settled.is_set():
            self._show(question.text)


class _Question:
    """What is asked, and what came."""

    def __init__(self, text: str, answers: Sequence[str]) -> None:
        self.text, self.answers = text, tuple(answers)
        self.settled = threading.Event()
        self.answer: str | None = None


_shared: Terminal | None = None
_making = threading.Lock()


def terminal_of(lines: TextIO | None = None) -> Terminal:
    """The one reader of the program's own terminal, or of other lines.

    Raises:
        TerminalEnded: if the program has no terminal at all.
    """
    global _shared
    if lines is not None and lines is not sys.stdin:
        return Terminal(lines)
    if sys.stdin is None:
        raise TerminalEnded("this program has no terminal that a person could type in: start it in one")
    with _making:
        if _shared is None or _shared.lines is not sys.stdin or _shared.ended:
            _shared = Terminal(sys.stdin)
        return _shared
