"""Link, clock and watchdog together: what reaches the robot, and what becomes of it when somebody around it fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from recording_robot import RecordingRobot

from rise_gym.envs.mujoco.robot import home_joints
from rise_gym.envs.real.env import RealEnv
from rise_gym.envs.real.people import KeyboardOperator
from rise_gym.errors import RobotFault


class Nobody:
    """An operator who may fail: `stop_requested` raises what `failing` is."""

    failing: BaseException | None = None

    def begin(self) -> None: ...

    def stop_requested(self) -> bool:
        if self.failing is not None:
            raise self.failing
        return False

    def verdict(self) -> bool | None:
        return None


@pytest.fixture
def operator() -> Nobody:
    return Nobody()


@pytest.fixture
def env(operator: Nobody) -> Iterator[RealEnv]:
    """On a robot that takes several commands to brake."""
    made = RealEnv(robot=RecordingRobot(), operator=operator, clock="instant", limits={"acceleration_rad_s2": 4.0})
    yield made
    made.close()
    assert not [thread for thread in threading.enumerate() if "watchdog" in thread.name]


def swing(env: RealEnv, turn_rad: float = 0.5) -> np.ndarray:
    """The chunk that turns both arms about the vertical."""
    turned = home_joints() + turn_rad * np.eye(14)[[0, 7]].sum(0)
    return np.tile(env.task.scale_action(turned), (env.chunk, 1)).astype(np.float32)


def robot_of(env: RealEnv) -> RecordingRobot:
    assert isinstance(env.link.robot, RecordingRobot)
    return env.link.robot


def still(env: RealEnv) -> bool:
    return env.link.filter.at_rest(env.link._motion)


def until(true: Callable[[], bool], patience_s: float = 20.0) -> None:
    """Waits for another thread; it is there in time, or the test has failed."""
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# -- who fails -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [OSError("the pendant is unplugged"), SystemExit(3)])
def test_an_operator_who_can_not_be_asked_is_a_stop(
    env: RealEnv, operator: Nobody, failure: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    env.reset(seed=0)
    env.link.send(env.task.unscale_action(swing(env)[0]))  # on its way
    with caplog.at_level(logging.ERROR):
        operator.failing = failure
        until(env.link.stopped.is_set)
        until(lambda: still(env))
    assert type(failure).__name__ in caplog.text
    before = len(robot_of(env).commands)
    *_, truncated, info = env.step(swing(env))
    assert (truncated, info["truncation"]) == (True, "operator")
    assert str(failure) in info["fault"]
    assert "release()" in info["fault"]
    assert len(robot_of(env).commands) == before
    with pytest.raises(RobotFault, match=type(failure).__name__):
        env.reset(seed=0)
    operator.failing = None
    env.release()
    env.reset(seed=0)
    assert env.step(swing(env))[4]["truncation"] == ""


def test_a_keyboard_that_breaks_is_noticed() -> None:
    class Broken:
        def __iter__(self) -> Iterator[str]:
            raise OSError("the terminal is gone")

    keyboard = KeyboardOperator(Broken())  # type: ignore[arg-type]
    with pytest.raises(OSError, match="terminal is gone"):
        until(keyboard.stop_requested)


@pytest.mark.parametrize("answer", [5, "ok", {"left_joint1.pos": "far"}, {"left_joint1.pos": float("nan")}, [None]])
def test_an_answer_that_makes_no_sense_ends_the_episode_and_the_robot_still_brakes(env: RealEnv, answer: Any) -> None:
    env.reset(seed=0)
    env.step(swing(env, 1.5)[:10])
    robot_of(env).answer = answer
    *_, truncated, info = env.step(swing(env, -1.0))
    assert (truncated, info["truncation"], len(info["sent"])) == (True, "robot", 1)
    assert "send_action" in info["fault"]
    assert repr(answer)[:20] in info["fault"]
    assert still(env)


def test_the_watchdog_brakes_whatever_the_robot_answers(env: RealEnv) -> None:
    env.reset(seed=0)
    env.link.send(env.task.unscale_action(swing(env)[0]))
    env.link.send(env.task.unscale_action(swing(env)[0]))
    robot_of(env).answer = object()
    env.stop()
    until(lambda: still(env))
    assert env.watchdog._thread is not None
    assert env.watchdog._thread.is_alive()


def test_a_robot_that_fails_for_a_while_is_braked_afterwards(env: RealEnv) -> None:
    env.reset(seed=0)
    env.link.send(env.task.unscale_action(swing(env)[0]))
    robot_of(env).failing = ValueError("bus error")
    env.stop()
    time.sleep(0.1)  # the watchdog tries
    assert not still(env)
    robot_of(env).failing = None
    until(lambda: still(env))


def test_a_watchdog_that_is_gone_is_noticed_by_the_next_step(env: RealEnv) -> None:
    env.reset(seed=0)
    env.watchdog._closing.set()  # nothing that can be thought of ends the thread; this does
    assert env.watchdog._thread is not None
    env.watchdog._thread.join()
    *_, truncated, info = env.step(swing(env))
    assert (truncated, info["truncation"]) == (True, "robot")
    assert "watchdog" in info["fault"]
    assert not robot_of(env).commands
    env.reset(seed=0)  # starts another
    assert env.step(swing(env))[4]["truncation"] == ""


@pytest.mark.parametrize("observation", [None, 7, ["head"]])
def test_an_observation_that_is_none_is_a_fault(env: RealEnv, observation: Any) -> None:
    env.reset(seed=0)
    robot_of(env).get_observation = lambda: observation  # type: ignore[method-assign]
    *_, truncated, info = env.step(swing(env))
    assert (truncated, info["truncation"]) == (True, "robot")
    assert "get_observation" in info["fault"]
    assert still(env)
