"""What people type reaches who it is meant for: a stop is never lost, nor taken for the answer to a question."""

from __future__ import annotations

import gc
import io
import os
import pty
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any

import numpy as np
import pytest
from recording_robot import OwnTime, RecordingRobot

from rise_gym.envs.real.env import RealEnv
from rise_gym.envs.real.people import AskedPerson, KeyboardOperator
from rise_gym.errors import RobotFault

Type = Callable[[str], None]


@pytest.fixture(params=["pipe", "pty"])
def typed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Type]:
    """Types into what the program takes for its terminal."""
    reading, writing = os.pipe() if request.param == "pipe" else reversed(pty.openpty())
    stdin = os.fdopen(reading)
    monkeypatch.setattr(sys, "stdin", stdin)
    yield lambda text: [os.write(writing, text.encode()), None][1]
    if request.param == "pty":
        os.write(writing, b"\x04")  # Ctrl-D
    else:
        os.close(writing)
    until(lambda: not readers())
    stdin.close()
    if request.param == "pty":
        os.close(writing)


def readers() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name in ("rise_gym terminal", "rise_gym operator")]


def until(true: Callable[[], bool], patience_s: float = 20.0) -> None:
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def in_background(call: Callable[[], Any]) -> Future[Any]:
    """The main thread types meanwhile."""
    answer: Future[Any] = Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return answer


def asked(capsys: pytest.CaptureFixture[str], times: int = 1) -> None:
    """Waits until the question was shown so often."""
    shown = 0

    def enough() -> bool:
        nonlocal shown
        shown += capsys.readouterr().out.count("Prepare episode 7")
        return shown >= times

    until(enough)


@pytest.fixture
def env(typed: Type) -> Iterator[RealEnv]:
    """An operator at the keyboard, and a person who is asked there."""
    made = RealEnv(robot=RecordingRobot(), operator="keyboard", resetter=AskedPerson(), clock=OwnTime(), chunk=1)
    yield made
    made.close()


def swing(env: RealEnv) -> np.ndarray:
    """The chunk that turns both arms about the vertical."""
    return np.clip(env.commanded[None] + 0.3 * np.eye(14, dtype=np.float32)[[0, 7]].sum(0), -1, 1)


def test_a_stop_while_a_question_waits_is_a_stop(env: RealEnv, typed: Type, capsys: pytest.CaptureFixture[str]) -> None:
    for line in ("\n", "stop!\n", "\n"):
        begun = in_background(lambda: env.reset(seed=7))
        asked(capsys)
        typed(line)
        with pytest.raises(RobotFault, match="the operator has stopped the robot"):
            begun.result(timeout=20)
        assert env.link.stopped.is_set()
        env.release()
    assert isinstance(env.link.robot, RecordingRobot)
    assert not env.link.robot.commands


def test_an_answer_is_no_stop_and_a_stop_after_it_acts(
    env: RealEnv, typed: Type, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = in_background(lambda: env.reset(seed=7))
    asked(capsys)
    typed(" Go \n")
    begun.result(timeout=20)
    assert env.step(swing(env))[4]["truncation"] == ""
    typed("go\n")  # nothing is asked: what it is meant for can't be known
    until(env.link.stopped.is_set)
    assert env.step(swing(env))[4]["truncation"] == "operator"


def test_a_verdict_while_a_question_waits_is_no_answer_and_no_verdict_on_the_next_episode(
    env: RealEnv, typed: Type, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = in_background(lambda: env.reset(seed=7))
    asked(capsys)
    typed("y\n")
    asked(capsys)  # once more
    assert not begun.done()
    typed("go\n")
    begun.result(timeout=20)
    assert not env.step(swing(env))[2]
    assert not env.link.stopped.is_set()
    typed("y\n")
    until(lambda: env.operator.verdict() is True)
    assert env.step(swing(env))[4]["is_success"]


def test_a_refusal_ends_it(env: RealEnv, typed: Type, capsys: pytest.CaptureFixture[str]) -> None:
    begun = in_background(lambda: env.reset(seed=7))
    asked(capsys)
    typed("q\n")
    with pytest.raises(RobotFault, match="the person who resets the scene has ended the session"):
        begun.result(timeout=20)
    assert not env.link.stopped.is_set()


def test_a_stop_from_elsewhere_ends_the_asking(env: RealEnv, capsys: pytest.CaptureFixture[str]) -> None:
    begun = in_background(lambda: env.reset(seed=7))
    asked(capsys)
    env.stop()
    with pytest.raises(RobotFault, match="the operator has stopped the robot"):
        begun.result(timeout=20)


def test_every_operator_at_a_terminal_hears_a_stop(typed: Type) -> None:
    """An env that is gone, or another one, takes no line away from the one that moves."""
    first, second, third = KeyboardOperator(), KeyboardOperator(), KeyboardOperator()
    del third
    gc.collect()
    for _ in range(3):
        typed("\n")
        until(first.stop_requested)
        until(second.stop_requested)
    assert len(readers()) == 1


def test_a_person_alone_is_asked_until_the_answer_is_one(typed: Type, capsys: pytest.CaptureFixture[str]) -> None:
    env = RealEnv(robot=RecordingRobot(), resetter=AskedPerson(), clock=OwnTime(), chunk=1)
    begun = in_background(lambda: env.reset(seed=7))
    asked(capsys)
    typed("\n")
    asked(capsys)
    typed("go\n")
    begun.result(timeout=20)
    env.close()


@pytest.mark.parametrize("typed", ["pipe"], indirect=True)
def test_questions_at_one_terminal_come_one_after_the_other(typed: Type) -> None:
    from rise_gym.envs.real.terminal import terminal_of

    shown: list[str] = []
    terminal = terminal_of()
    terminal._show = shown.append
    waiting = {text: in_background(partial(terminal.ask, text, ("a", "b"))) for text in ("one", "two")}
    for number, word in enumerate(("a", "b")):
        until(lambda count=number: len(shown) > count)
        typed(f"{word}\n")  # the other may be asked before we look again
        assert waiting.pop(shown[number]).result(timeout=20) == word
    assert sorted(shown) == ["one", "two"]


def test_where_nobody_can_type_any_more_the_robot_is_stopped_and_nobody_is_waited_for() -> None:
    operator = KeyboardOperator(io.StringIO("\n"))
    until(operator.stop_requested)  # what was typed before is not lost
    with pytest.raises(RobotFault, match=r"terminal has ended.*start it in a terminal"):
        until(operator.stop_requested)
    env = RealEnv(robot=RecordingRobot(), operator=operator, clock=OwnTime(), chunk=1)
    env.watchdog.begin()
    until(env.link.stopped.is_set)
    with pytest.raises(RobotFault, match="terminal has ended"):
        env.reset(seed=7)
    env.close()


@pytest.mark.parametrize("stdin", [None, io.StringIO("")])
def test_a_program_without_a_terminal_asks_nobody(stdin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    env = RealEnv(robot=RecordingRobot(), resetter=AskedPerson(), clock=OwnTime(), chunk=1)
    with pytest.raises(RobotFault, match="start it in"):
        env.reset(seed=7)
    env.close()
