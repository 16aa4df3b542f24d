"""The people around a robot: an operator at a keyboard, and whoever prepares the next episode."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from typing import TextIO

import numpy as np

from rise_gym.envs.real.contract import Operator, ResetHelp, imported
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
    """Reads lines: an empty one (just Enter) or anything unknown stops the robot, `y` is done, `n` is failed.

    A key in a terminal is no emergency stop: keep the robot's own red button at hand.

    Args:
        lines: where they come from; default: the terminal. A daemon thread reads it. If it can't be read any more,
            `stop_requested` raises why, which stops the robot; where it just ends, nobody is there any more.
    """

    def __init__(self, lines: TextIO | None = None) -> None:
        self._lines = sys.stdin if lines is None else lines
        self._stop = threading.Event()
        self._verdict: bool | None = None
        self._broken: Exception | None = None
        threading.Thread(target=self._read, name="rise_gym operator", daemon=True).start()

    def begin(self) -> None:
        self._verdict = None

    def stop_requested(self) -> bool:
        """True once for each request: the env remembers it."""
        if self._broken is not None:
            raise self._broken
        if not self._stop.is_set():
            return False
        self._stop.clear()
        return True

    def verdict(self) -> bool | None:
        return self._verdict

    def _read(self) -> None:
        try:
            for line in self._lines:
                word = line.strip().lower()
                if word in ("y", "n"):
                    self._verdict = word == "y"
                else:
                    self._stop.set()
        except Exception as error:  # in a thread of its own nobody would see it
            self._broken = error


class AskedPerson:
    """A resetter: asks a person to lay everything out, and waits for the word that it is done.

    Args:
        ask: shows a text and returns the answer; `q` refuses to go on.
    """

    def __init__(self, ask: Callable[[str], str] = input) -> None:
        self._ask = ask

    def reset(self, help: ResetHelp) -> None:
        """Raises `RobotFault` if the person refuses."""
        if self._ask(f"Prepare episode {help.seed}, then press Enter (q to end): ").strip().lower() == "q":
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
