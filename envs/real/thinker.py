"""A thread that an agent thinks in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

Answer = TypeVar("Answer")
_Questions = SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None]  # None ends the thread


class Thinker:
    """Answers questions one after the other; the thread begins with the first one and ends with `close`.

    It is a daemon, which the executors of the standard library have none of: an agent that hangs must not keep a
    program from ending.
    """

    def __init__(self) -> None:
        self._questions: _Questions = SimpleQueue()
        self._thread: threading.Thread | None = None

    def ask(self, question: Callable[[], Answer]) -> Future[Answer]:
        """Returns at once; the future has what the question returns or raises."""
        answer: Future[Answer] = Future()
        if self._thread is None:
            self._questions = SimpleQueue()  # a thread that was left behind keeps its own
            self._thread = threading.Thread(
                target=_answer_all, args=(self._questions,), name="rise_gym thinker", daemon=True
            )
            self._thread.start()
        self._questions.put((question, answer))
        return answer

    def close(self, timeout_s: float = 5.0) -> bool:
        """Ends the thread after what it was asked; returns whether it has ended in time."""
        thread, self._thread = self._thread, None
        if thread is None:
            return True
        self._questions.put(None)
        thread.join(timeout_s)
        return not thread.is_alive()


def _answer_all(questions: _Questions) -> None:
    while (asked := questions.get()) is not None:
        question, answer = asked
        try:
            answer.set_result(question())
        except BaseException as error:  # whoever asked is told, SystemExit too, which would only end this thread
            answer.set_exception(error)
