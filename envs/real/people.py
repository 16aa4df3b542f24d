"""The people around a robot: an operator at a keyboard, and whoever prepares the next episode."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TextIO

import numpy as np

from rise_gym.envs.real.contract import Operator, ResetHelp, imported
from rise_gym.envs.real.terminal import terminal_of
from rise_gym.errors import RobotFault


class NoOperator:
    """Nobody at a keyboard; `RealEnv.stop` still works, from any thread."""

    def begin(self) -> None:
        """Nothing to forget."""

    def stop_requested(self) -> bool:
        return False

    def verdict(self) -> bool | None:
        return None


class KeyboardOperator:
    """Hears lines: an empty one (just Enter) or anything unknown stops the robot, `y` is done, `n` is failed.

    So it is at any moment, also while an `AskedPerson` waits in the same terminal, whose answers alone are not heard
    here. A key in a terminal is no emergency stop: keep the robot's own red button at hand.

    Args:
        lines: where they come from; default: the terminal. If it has ended or can't be read any more, nobody could stop
            the robot: `stop_requested` raises why, which stops it.
    """

    def __init__(self, lines: TextIO | None = None) -> None:
        self._stop = threading.Event()
        self._verdict: bool | None = None
        self._terminal = terminal_of(lines)
        self._terminal.listen(self.hear)

    def begin(self) -> None:
        self._verdict = None

    def stop_requested(self) -> bool:
        """True once for each request: the env remembers it."""
        if self._stop.is_set():
            self._stop.clear()
            return True
        self._terminal.check()
        return False

    def verdict(self) -> bool | None:
        return self._verdict

    def hear(self, word: str) -> None:
        """What was typed, in small letters; from the thread that reads it."""
        if word in ("y", "n"):
            self._verdict = word == "y"
        else:
            self._stop.set()


class AskedPerson:
    """A resetter: asks a person to lay everything out, and waits for the word that it is done. The robot holds.

    In the terminal `go` is that word and `q` refuses. Enter alone is neither: who wants to stop the robot just then has
    typed it, and a `KeyboardOperator` hears it.

    Args:
        ask: shows a text and returns the answer, instead of the terminal; `q` refuses to go on, anything else goes on.
    """

    def __init__(self, ask: Callable[[str], str] | None = None) -> None:
        self._ask = ask

    def reset(self, help: ResetHelp) -> None:
        """Raises `RobotFault` if the person refuses, or can't be asked. Returns at once if the robot was stopped."""
        if self._ask is not None:
            answer: str | None = self._ask(f"Prepare episode {help.seed}; q ends the session: ").strip().lower()
        else:
            text = f"Prepare episode {help.seed}, then type go and Enter (q and Enter: no more)."
            answer = terminal_of().ask(text, ("go", "q"), stopped=help.stopped)
        if answer == "q":
            raise RobotFault("the person who resets the scene has ended the session; make a new env to go on")


class Home:
    """A resetter: moves both arms slowly to a pose. For scenes that need no more, or before a person is asked.

    Args:
        joints: (A,) in rad and m.
    """

    def __init__(self, joints: Sequence[float]) -> None:
        self._joints = np.array(joints, np.float64)

    def reset(self, help: ResetHelp) -> None:
        help.move_to(self._joints)


def operator_of(operator: str | Operator | None) -> Operator:
    """The operator that a name stands for: `"keyboard"`, an import string, None for nobody, or one itself.

    Raises:
        InvalidRobot: if the import string names nothing.
    """
    if operator is None:
        return NoOperator()
    if not isinstance(operator, str):
        return operator
    made: Operator = KeyboardOperator() if operator == "keyboard" else imported(operator, "an operator")
    return made
