"""Link, clock and watchdog together: what reaches the robot, and what becomes of it when somebody around it fails."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from recording_robot import OwnTime, RecordingRobot

from rise_gym.envs.mujoco.robot import home_joints
from rise_gym.envs.real.clock import Clock, InstantClock, SystemClock
from rise_gym.envs.real.contract import ResetHelp
from rise_gym.envs.real.env import RealEnv
from rise_gym.envs.real.kinematics import ToolPoints
from rise_gym.envs.real.limits import Limits, SafetyFilter
from rise_gym.envs.real.link import OperatorStop, RobotLink
from rise_gym.envs.real.moves import move_to
from rise_gym.envs.real.people import KeyboardOperator
from rise_gym.envs.real.watchdog import Watchdog
from rise_gym.errors import InvalidRobot, RobotFault
from rise_gym.robots import TWO_PIPERS
from rise_gym.tasks import BOX_CLOSE


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
    with pytest.raises(RobotFault, match="can't be read: OSError: the terminal is gone"):
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


# -- between steps and episodes ---------------------------------------------------------------------------------------


def assert_accelerations_are_kept(env: RealEnv) -> None:
    """From rest where it began, and from what the robot received alone."""
    sent = np.concatenate([home_joints()[None], robot_of(env).commands])
    velocity = np.diff(sent, axis=0, prepend=sent[:1]) / env.link.filter.period_s
    change = np.abs(np.diff(velocity, axis=0)) / env.link.filter.period_s
    assert np.all(change <= np.array(env.link.filter.limits.acceleration) + 1e-4)


def test_a_reset_in_the_middle_of_an_episode_brakes_first(env: RealEnv) -> None:
    """As a `TimeLimit` has it, of which the env knows nothing."""
    env.reset(seed=0)
    env.step(swing(env, 1.5)[: env.chunk])
    assert not still(env)
    env.reset(seed=1)
    assert still(env)
    env.step(swing(env, -1.0))
    assert_accelerations_are_kept(env)


def test_a_move_that_failed_half_way_is_braked_for_before_the_next(operator: Nobody) -> None:
    class Persistent:
        def reset(self, help: ResetHelp) -> None:
            robot = help.robot
            assert isinstance(robot, RecordingRobot)
            measure, times = robot.get_observation, iter(range(5))

            def failing() -> dict[str, Any]:
                if next(times, None) == 4:
                    raise ValueError("bus error")
                return measure()

            robot.get_observation = failing  # type: ignore[method-assign]
            with pytest.raises(RobotFault, match="bus error"):
                help.move_to(home_joints() + 0.8 * np.eye(14)[0])
            help.move_to(home_joints())

    limits = {"acceleration_rad_s2": 2.0, "velocity_rad_s": 3.0}
    env = RealEnv(robot=RecordingRobot(), operator=operator, clock="instant", resetter=Persistent(), limits=limits)
    env.reset(seed=0)
    assert_accelerations_are_kept(env)
    env.close()


def test_a_second_interruption_while_it_closes_leaves_nothing_moving(env: RealEnv) -> None:
    env.reset(seed=0)
    env.step(swing(env, 1.5)[: env.chunk])
    rest = env.link.rest

    def interrupted() -> None:
        env.link.rest = rest  # type: ignore[method-assign]
        raise KeyboardInterrupt

    env.link.rest = interrupted  # type: ignore[method-assign]
    assert not still(env)
    last = robot_of(env).commands[-1]
    with pytest.raises(KeyboardInterrupt):
        env.close()
    assert not robot_of(env).is_connected
    assert len(robot_of(env).commands) >= 2
    assert not np.array_equal(robot_of(env).commands[-1], last)
    np.testing.assert_allclose(robot_of(env).commands[-1], robot_of(env).commands[-2], atol=0.05)


@pytest.mark.parametrize(
    "target", [np.full(14, np.nan), np.r_[np.inf, np.zeros(13)], np.zeros(7), np.zeros((2, 14)), np.float64(0.0)]
)
def test_targets_that_are_none_reach_no_robot(env: RealEnv, target: Any) -> None:
    env.reset(seed=0)
    for ask in (env.link.send, lambda joints: move_to(env.link, joints)):
        with pytest.raises(RobotFault, match=r"14 finite joint targets.*got"):
            ask(target)
    assert not robot_of(env).commands
    env.step(swing(env))
    assert np.isfinite(robot_of(env).commands).all()


def test_a_command_that_is_none_reaches_no_robot(env: RealEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever went wrong before: a filter that failed, or units that made no number of a joint's."""
    env.reset(seed=0)
    command = env.link.names.command
    monkeypatch.setattr(
        type(env.link.names), "command", lambda names, targets: command(targets) | {names.joints[6]: float("nan")}
    )
    info = env.step(swing(env))[-1]
    assert info["truncation"] == "robot"
    assert "finite numbers were wanted; nothing was sent" in info["fault"]
    assert not robot_of(env).commands


@pytest.mark.parametrize("share", [0.0, 0.5, 0.8, 1.0])
def test_who_stops_a_move_is_told_so_also_at_its_end(env: RealEnv, share: float) -> None:
    """The last commands of a move let the robot arrive where its limits let it lag."""
    env.reset(seed=0)
    robot, away = robot_of(env), home_joints() + 0.1 * np.eye(14)[0]
    move_to(env.link, away)
    move_to(env.link, home_joints())
    send, there, back = robot.send_action, len(robot.commands) // 2, len(robot.commands)

    def sent(command: dict[str, float]) -> Any:
        if len(robot.commands) - back == int(share * (there - 1)):
            env.link.stop()
        return send(command)

    robot.send_action = sent  # type: ignore[method-assign]
    with pytest.raises(OperatorStop, match="it brakes and holds"):
        move_to(env.link, away)


def test_every_tick_takes_its_time_also_the_first_after_a_pause() -> None:
    """What is seen after a tick is what became of its command, however long the policy has thought before."""
    robot, own_time = RecordingRobot(), OwnTime()
    robot.now = own_time.now
    env = RealEnv(robot=robot, clock=own_time, chunk=3)
    env.reset(seed=0)
    seen_s: list[float] = []
    measure = robot.get_observation

    def timed() -> dict[str, Any]:
        seen_s.append(own_time.now())
        return measure()

    robot.get_observation = timed  # type: ignore[method-assign]
    for pause_s in (5.0, 0.0, 0.12, 0.0, 3.0):
        own_time.wait(threading.Event(), own_time.now() + pause_s)
        env.step(swing(env))
    waited_s = np.array(seen_s) - robot.times_s
    np.testing.assert_allclose(waited_s, env.link.filter.period_s, atol=1e-6)
    env.close()


def test_a_camera_that_needs_a_moment_at_first_has_it() -> None:
    own_time, robot = OwnTime(), RecordingRobot()
    measure = robot.get_observation

    def warming() -> dict[str, Any]:
        return measure() | ({} if own_time.now() > 0.25 else {"head": None})

    robot.get_observation = warming  # type: ignore[method-assign]
    env = RealEnv(robot=robot, clock=own_time)
    env.reset(seed=0)
    env.close()


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("head", [[1, 2], [3]], "camera 'head' sent a list that is no uint8"),
        ("head.timestamp", np.array([1.0, 2.0]), r"the time array\(\[1., 2.\]\), one number of seconds was wanted"),
    ],
)
def test_a_camera_that_sends_nonsense_is_a_fault(env: RealEnv, key: str, value: Any, told: str) -> None:
    env.reset(seed=0)
    measure = robot_of(env).get_observation
    robot_of(env).get_observation = lambda: measure() | {key: value}  # type: ignore[method-assign]
    info = env.step(swing(env))[-1]
    assert info["truncation"] == "camera"
    assert re.search(told, info["fault"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"limits": {"velocity_rads": 1.0}}, r"velocity_rad_s.*got \['velocity_rads'\]"),
        ({"limits": {"velocity": 1.0}}, "one number a joint"),
        ({"cameras": {"bad_tick": 1}}, r"bad_ticks.*got \['bad_tick'\]"),
        ({"cameras": {"bad_ticks": -1}}, "bad_ticks from 0"),
        ({"cameras": {"frozen_rad": float("nan")}}, "frozen_rad above 0"),
        ({"names": {"joint": ()}}, r"joints.*got \['joint'\]"),
        ({"clock": "sytem"}, "'system', 'instant'"),
    ],
)
def test_arguments_that_make_no_sense_say_what_was_wanted(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidRobot, match=told):
        RealEnv(robot=RecordingRobot(), **arguments)


# -- wild actions ----------------------------------------------------------------------------------------------------

GRIPPERS = [6, 13]
LOW, HIGH = np.array(BOX_CLOSE.action_low), np.array(BOX_CLOSE.action_high)


def wild(random: np.random.Generator) -> np.ndarray:
    """Targets (A,) far outside and at the edges of every range, and some that are reasonable."""
    if random.random() < 0.3:
        return home_joints() + random.normal(0, 0.3, len(LOW))
    return random.uniform(LOW - 0.5 * (HIGH - LOW), HIGH + 0.5 * (HIGH - LOW))


def linked(limits: Limits, period_s: float, time_of: Clock) -> tuple[RobotLink, RecordingRobot]:
    """An episode that has begun."""
    robot = RecordingRobot(noise=0.01, now=time_of.now)
    link = RobotLink(robot, robot.names, BOX_CLOSE, SafetyFilter(limits, BOX_CLOSE, period_s), time_of)
    link.connect()
    link.begin(link.observe().joints)
    return link, robot


def assert_received_within(robot: RecordingRobot, began: np.ndarray, limits: Limits, period_s: float) -> None:
    """Every limit once more, from what the robot received alone."""
    sent = np.concatenate([began[None], robot.commands])
    assert np.all((sent >= LOW) & (sent <= HIGH))
    assert np.diff(robot.times_s).min() >= period_s - 1e-9
    velocity = np.diff(sent, axis=0) / period_s
    assert np.all(np.abs(velocity) <= np.array(limits.velocity) + 1e-6)
    change = np.diff(np.concatenate([np.zeros((1, len(LOW))), velocity]), axis=0) / period_s
    assert np.all(np.abs(change) <= np.array(limits.acceleration) + 1e-4)
    for share in (0.5, 1.0):
        tools = ToolPoints(TWO_PIPERS)(sent[:-1] + share * np.diff(sent, axis=0))
        assert np.all(tools >= np.array(limits.workspace_low_m) - 1e-9)
        assert np.all(tools <= np.array(limits.workspace_high_m) + 1e-9)
    squeeze = np.abs(sent[1:] - robot.believed)[:, GRIPPERS]
    yielding = np.abs(velocity[:, GRIPPERS]) >= np.array(limits.velocity)[GRIPPERS] - 1e-6
    eased = yielding & (squeeze < np.abs(sent[:-1] - robot.believed)[:, GRIPPERS])
    assert np.all((squeeze <= limits.gripper_force_n / limits.gripper_stiffness_n_per_m + 1e-9) | eased)


def test_in_wild_actions_late_ones_and_stops_what_the_robot_receives_keeps_every_limit() -> None:
    """Link, clock and watchdog in every order that chance makes of them; 2000 actions, and what is sent between."""
    random, own_time = np.random.default_rng(7), InstantClock()
    limits, period_s = Limits.of(BOX_CLOSE, velocity_rad_s=1.5, acceleration_rad_s2=4.0), 0.1
    link, robot = linked(limits, period_s, own_time)
    began = link.commanded
    assert began is not None
    watchdog = Watchdog(link, late_after_s=0.2, stop_requested=lambda: random.random() < 0.05)
    target, late, stopped = wild(random), 0, 0
    for _ in range(2000):
        if random.random() < 0.3:
            target = wild(random)  # others go on until something stops them
        link.send(target)
        if random.random() < 0.7:
            link.observe()
        while random.random() < 0.2:  # the policy thinks, the watchdog looks
            own_time.wait(link._never, own_time.now() + random.uniform(0, 0.3))
            watchdog.poll()
        stopped += link.stopped.is_set()
        if random.random() < 0.3:
            link.release()
    late = watchdog.late
    link.release()
    own_time.wait(link._never, own_time.now() + 1)
    while not link.filter.at_rest(link._motion):
        watchdog.poll()
    assert late > 100
    assert stopped > 50
    assert len(robot.commands) > 2000 + late
    assert_received_within(robot, began, limits, period_s)


def test_threads_that_send_brake_and_stop_at_once_keep_every_limit() -> None:
    """The same in real time, 500 commands a second, so that the threads get into each other's way."""
    period_s = 0.002
    limits = Limits.of(BOX_CLOSE, acceleration_rad_s2=400.0, gripper_acceleration_m_s2=1000.0)
    link, robot = linked(limits, period_s, SystemClock())
    began = link.commanded
    assert began is not None
    watchdog = Watchdog(link, late_after_s=2 * period_s, stop_requested=lambda: False)
    watchdog.begin()
    over = threading.Event()

    def meddle() -> None:
        while not over.wait(0.01):
            link.stop()
            link.observe()
            link.release()

    meddler = threading.Thread(target=meddle)
    meddler.start()
    random = np.random.default_rng(3)
    try:
        for _ in range(5):
            for _ in range(80):
                link.send(wild(random))
            until(lambda: link.filter.at_rest(link._motion))  # nobody but the watchdog brakes it
    finally:
        over.set()
        meddler.join()
        watchdog.close()
    assert watchdog.late > 0
    assert len(robot.commands) > 400
    assert_received_within(robot, began, limits, period_s)
