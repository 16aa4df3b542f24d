"""An agent that thinks while the robot, a separate process, goes on: what is executed, and what goes wrong."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import recording_robot
from fake_env import FakeEnv
from hypothesis import given, settings
from hypothesis import strategies as st
from recording_robot import OwnTime, RecordingRobot
from shared_robot import ROBOT

from rise_gym.agents.baselines import RandomAgent
from rise_gym.agents.trainable import weights_fingerprint
from rise_gym.commands._robots import RobotOptions
from rise_gym.commands.collect import collect as collect_command
from rise_gym.commands.evaluate import evaluate as evaluate_command
from rise_gym.envs.ensembling import TemporalEnsemble, cross_faded, taken_up
from rise_gym.envs.mujoco.robot import home_joints
from rise_gym.envs.rates import ImpossibleRate, ResampledControl
from rise_gym.envs.real.asynchronous import AsynchronousActor
from rise_gym.envs.real.env import RealEnv
from rise_gym.envs.real.replica_robot import ReplicaResetter
from rise_gym.episodes import read_episodes
from rise_gym.errors import AgentFailed, RiseGymError, RobotFault, StepOutOfOrder, UnsuitableEnv
from rise_gym.evaluation import play
from rise_gym.tasks import BOX_CLOSE

VELOCITY, ACCELERATION, PERIOD_S = 1.0, 8.0, 0.1  # rad/s, rad/s², s
SHOULDERS = np.eye(14)[[0, 7]].sum(0)  # both arms about the vertical


class SlowAgent:
    """Says its next plan when it may: the first at once, each further one after another `may.release()`."""

    def __init__(self, *plans: Any) -> None:
        self.plans, self.seen = list(plans), list[np.ndarray]()
        self.may = threading.Semaphore(1)

    def act(self, observation: Any, instruction: Any, advantage: Any = 1.0) -> np.ndarray:
        self.seen.append(observation["proprio"][0])
        assert self.may.acquire(timeout=60)
        plan = self.plans.pop(0)
        if isinstance(plan, BaseException):
            raise plan
        return plan[None]

    def loss(self, batch: Any) -> Any:
        raise NotImplementedError


@pytest.fixture(scope="module", autouse=True)
def _process() -> Iterator[None]:
    yield
    ROBOT.end()


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("rise_gym")]


@pytest.fixture
def env() -> Iterator[RealEnv]:
    """The replica in its process, whose time passes tick by tick."""
    made = real()
    yield made
    made.close()


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Joints (A,) of every command that went to the process, whoever sent it."""
    commands: list[np.ndarray] = []
    send = ROBOT.send_action

    def spied(action: dict[str, Any]) -> dict[str, Any]:
        commands.append(np.array(list(action.values())))
        return send(action)

    monkeypatch.setattr(ROBOT, "send_action", spied)
    return commands


def real(**arguments: Any) -> RealEnv:
    limits = {"velocity_rad_s": VELOCITY, "acceleration_rad_s2": ACCELERATION}
    given = {"robot": ROBOT, "resetter": ReplicaResetter(), "clock": OwnTime(), "chunk": 1, "limits": limits}
    return RealEnv(**{**given, **arguments})


def turning(ticks: int, rad_a_tick: float, *, start_rad: float = 0.0) -> np.ndarray:
    """A plan (ticks, 14) that turns both arms evenly."""
    turned = home_joints() + np.outer(start_rad + rad_a_tick * np.arange(1, ticks + 1), SHOULDERS)
    return BOX_CLOSE.scale_action(turned).astype(np.float32)


def until(true: Callable[[], bool], patience_s: float = 60.0) -> None:
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def begin(env: gymnasium.Env[Any, Any], actor: AsynchronousActor) -> Any:
    observation, _ = env.reset(seed=0)
    actor.reset(env, 0)
    return observation


def drive(
    env: gymnasium.Env[Any, Any],
    actor: AsynchronousActor,
    agent: SlowAgent,
    ticks: int,
    *,
    arrivals: Iterable[int] = (),
    stop_at: int = -1,
) -> list[dict[str, Any]]:
    """An episode's infos; the agent has thought for long enough before the ticks of `arrivals`."""
    observation, told = begin(env, actor), list[dict[str, Any]]()
    for tick in range(ticks):
        if tick in arrivals:
            assert actor.thinking
            agent.may.release()
            until(lambda: not actor.thinking)
        if tick == stop_at:
            env.unwrapped.stop()  # type: ignore[attr-defined]
        _, action = actor.act(env, observation)
        observation, _, _, truncated, info = env.step(action)
        told.append(info)
        if truncated:
            break
    return told


def column(told: list[dict[str, Any]], name: str) -> np.ndarray:
    return np.concatenate([info[name] for info in told])


def assert_limits_are_kept(received: list[np.ndarray]) -> None:
    """Of the arms' joints, worked out again from one episode's commands alone."""
    jumps = np.diff(np.delete(received, [6, 13], axis=1), axis=0)
    assert np.abs(jumps).max() <= VELOCITY * PERIOD_S + 1e-9
    assert np.abs(np.diff(jumps, axis=0)).max() <= ACCELERATION * PERIOD_S**2 + 1e-9
    assert np.abs(jumps[0]).max() <= 2 * ACCELERATION * PERIOD_S**2  # from rest


# -- what is executed ------------------------------------------------------------------------------------------------


@given(old=st.integers(0, 12), more=st.integers(0, 8), passed=st.integers(0, 8), fade=st.integers(0, 6))
@settings(deadline=None, max_examples=50)
def test_a_plan_is_taken_up_as_the_ensemble_does_it(old: int, more: int, passed: int, fade: int) -> None:
    random = np.random.default_rng(old)
    plan = random.uniform(-1, 1, (passed + old, 3)).astype(np.float32)
    fresh = random.uniform(-1, 1, (passed + old + more + 1, 3)).astype(np.float32)
    found = taken_up(plan[passed:], fresh, passed_ticks=passed)
    np.testing.assert_allclose(found, cross_faded(plan, fresh, latency_ticks=passed)[passed:], atol=1e-6)
    if old:
        slower = taken_up(plan[passed:], fresh, passed_ticks=passed, fade_ticks=fade)
        assert slower.shape == found.shape
        held = np.concatenate([plan[passed:], np.repeat(plan[-1:], max(0, fade - old), axis=0)])[: len(slower)]
        np.testing.assert_allclose(slower, cross_faded(held, fresh[passed:]), atol=1e-6)


def test_motion_goes_on_while_the_agent_thinks_and_plans_are_faded_as_in_a_dream(
    env: RealEnv, received: list[np.ndarray]
) -> None:
    plans = turning(10, 0.05), turning(10, -0.05, start_rad=0.2), turning(10, 0.0)
    agent = SlowAgent(*plans)
    with AsynchronousActor(agent, execute_ticks=4, fade_ticks=0) as actor:
        told = drive(env, actor, agent, 11, arrivals=(7, 10))
        assert actor.plans == 3
    dream = TemporalEnsemble(FakeEnv(chunk=4), chunk=10, latency_ticks=3)
    dream.reset(seed=0)
    expected = [dream.step(plan)[4]["executed_actions"] for plan in plans[:2]]
    np.testing.assert_allclose(column(told, "asked")[:8], np.concatenate(expected), atol=1e-6)
    # the third was made from what was seen at tick 8, and two of its ticks had passed when it came
    rest = taken_up(plans[0][7:], plans[1], passed_ticks=3)
    np.testing.assert_allclose(column(told, "asked")[7:10], rest[:3], atol=1e-6)
    np.testing.assert_allclose(column(told, "asked")[10], taken_up(rest[3:], plans[2], passed_ticks=2)[0], atol=1e-6)
    moved = np.diff(column(told, "sent")[:, 0])
    assert np.all(moved[3:6] > 0)  # while it thought about the second
    np.testing.assert_allclose(agent.seen[1][0], BOX_CLOSE.unscale_action(told[3]["sent"][0])[0], atol=0.03)
    assert_limits_are_kept(received)
    assert (told[-1]["held"], told[-1]["truncation"]) == (0, "")


def test_plans_that_contradict_each_other_are_joined_smoothly_within_the_limits(
    env: RealEnv, received: list[np.ndarray]
) -> None:
    """Each starts half a rad away from where the last one is."""
    plans = [turning(12, 0.06, start_rad=0.4 * (-1) ** index) for index in range(9)]
    agent = SlowAgent(*plans)
    with AsynchronousActor(agent, execute_ticks=6) as actor:
        told = drive(env, actor, agent, 60, arrivals=range(9, 60, 7))
        assert actor.plans == 9
        agent.may.release()
    assert_limits_are_kept(received)
    asked, apart = column(told, "asked")[:, 0], np.abs(plans[0] - plans[1])[:, 0].max()
    for tick in range(9, 60, 7):
        steps = np.abs(np.diff(asked[tick - 1 : tick + 3]))
        assert steps.max() < 0.5 * apart  # without a fade it would be all of it


def test_a_robot_is_held_while_the_next_plan_is_late_and_goes_on_smoothly(
    env: RealEnv, received: list[np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = turning(6, 0.08), turning(9, 0.08, start_rad=0.16)
    agent = SlowAgent(first, second, ValueError("never needed"))
    with caplog.at_level(logging.WARNING), AsynchronousActor(agent, execute_ticks=2) as actor:
        told = drive(env, actor, agent, 17, arrivals=(12,))
        agent.may.release()
    assert "braked and holds" in caplog.text
    assert "came 6 ticks too late" in caplog.text
    assert [info["held"] for info in told] == [0] * 6 + [1, 2, 3, 4, 5] + [6] * 6
    sent = column(told, "sent")
    np.testing.assert_allclose(sent[9:12], np.tile(sent[8], (3, 1)), atol=1e-6)  # at rest
    assert not env.link.stopped.is_set()
    still = np.repeat(sent[11:12], 3, axis=0)
    np.testing.assert_allclose(column(told, "asked")[12:17], cross_faded(still, second[4:]), atol=1e-6)
    assert sent[16, 0] > sent[11, 0]
    assert_limits_are_kept(received)


def test_a_plan_shorter_than_its_own_delay_is_dropped_and_another_made(
    env: RealEnv, caplog: pytest.LogCaptureFixture
) -> None:
    agent = SlowAgent(turning(8, 0.05), turning(3, 0.0), turning(8, 0.02, start_rad=0.4))
    with caplog.at_level(logging.WARNING), AsynchronousActor(agent, execute_ticks=4) as actor:
        told = drive(env, actor, agent, 12, arrivals=(8, 10))
        agent.may.release()
    assert "dropped" in caplog.text
    assert told[-1]["held"] == 2
    expected = cross_faded(np.repeat(told[9]["sent"], 3, axis=0), turning(8, 0.02, start_rad=0.4))[:2]
    np.testing.assert_allclose(column(told, "asked")[10:], expected, atol=1e-6)


def test_an_agent_of_another_rate_and_steps_of_several_ticks() -> None:
    env = ResampledControl(real(chunk=2), control_hz=30)
    fine = turning(30, 0.01)
    agent = SlowAgent(fine, fine[6:])
    with AsynchronousActor(agent, execute_ticks=6) as actor:
        told = drive(env, actor, agent, 5, arrivals=(3,))
        agent.may.release()
    np.testing.assert_allclose(column(told, "asked"), fine[2::3], atol=1e-6)  # both plans agree
    env.close()


def test_several_steps_on_a_robot_tell_what_was_sent_in_each() -> None:
    env = ResampledControl(real(chunk=2), chunk=6)
    env.reset(seed=0)
    far = np.tile(env.unwrapped.hold()[0], (6, 1))
    far[:, 0] = np.clip(far[0, 0] + np.linspace(0, 1.5, 6), -1, 1)  # farther than the limits allow
    info = env.step(far)[4]
    assert info["limited"].any()
    assert len(info["progress"]) == len(info["asked"]) == len(info["sent"]) == 6
    np.testing.assert_array_equal(info["executed_actions"], info["sent"])
    env.unwrapped.stop()
    info = env.step(far)[4]
    assert info["executed_actions"].shape == info["sent"].shape == (len(info["progress"]), 14)
    env.close()


def test_it_runs_in_real_time_and_thinks_while_commands_are_sent() -> None:
    robot = RecordingRobot()

    class Waits(SlowAgent):
        """Thinks until three more commands have reached the robot, which takes time."""

        def act(self, observation: Any, instruction: Any, advantage: Any = 1.0) -> np.ndarray:
            if len(self.plans) < 3:
                since = len(robot.commands)
                until(lambda: len(robot.commands) >= since + 3)
            self.may.release()
            return super().act(observation, instruction, advantage)

    env = real(robot=robot, resetter=None, clock="system")
    agent = Waits(*[turning(10, 0.02)] * 3)
    with AsynchronousActor(agent, execute_ticks=2) as actor:
        told = drive(env, actor, agent, 9)
        assert actor.plans >= 2
        for _ in range(3):  # it may still wait for commands
            env.step(env.hold())
    env.close()
    assert told[-1]["truncation"] == ""
    assert told[-1]["held"] == 0


# -- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_stop_acts_while_the_agent_thinks(env: RealEnv, received: list[np.ndarray]) -> None:
    agent = SlowAgent(turning(10, 0.1), turning(10, 0.1))
    with AsynchronousActor(agent, execute_ticks=2) as actor:
        told = drive(env, actor, agent, 9, stop_at=5)
        assert actor.thinking
        assert (len(told), told[-1]["truncation"]) == (6, "operator")
        assert env.link.filter.at_rest(env.link._motion)
        assert_limits_are_kept(received)
        env.release()
        agent.may.release()  # the plan that it still thinks about is never executed
        agent.plans.append(turning(10, -0.02))
        agent.may.release()
        again = drive(env, actor, agent, 2)
        np.testing.assert_allclose(column(again, "asked"), turning(2, -0.02), atol=1e-6)


def test_a_stop_ends_the_waiting_for_the_first_plan(env: RealEnv) -> None:
    agent = SlowAgent(turning(10, 0.1))
    assert agent.may.acquire()
    with AsynchronousActor(agent) as actor:
        observation = begin(env, actor)
        threading.Timer(0.1, env.stop).start()
        _, action = actor.act(env, observation)
        *_, truncated, info = env.step(action)
        assert (truncated, info["truncation"]) == (True, "operator")
        agent.may.release()


def test_a_stop_ends_the_waiting_for_an_agent_that_hangs_over_the_end_of_an_episode(env: RealEnv) -> None:
    agent = SlowAgent(turning(10, 0.1), turning(10, 0.1))
    with AsynchronousActor(agent, execute_ticks=1) as actor:
        drive(env, actor, agent, 3)
        assert actor.thinking
        env.reset(seed=1)
        threading.Timer(0.1, env.stop).start()
        with pytest.raises(RobotFault, match=r"operator has stopped.*release"):
            actor.reset(env, 1)
        agent.may.release()


@pytest.mark.parametrize(
    ("spoilt", "word"),
    [
        (OSError("the server is gone"), "OSError: the server is gone"),
        (SystemExit(3), "SystemExit"),
        (np.full((10, 14), np.nan, np.float32), "finite"),
        (3 * turning(10, 0.1), r"\[-1, 1\]"),
        (np.zeros((10, 7), np.float32), "shape"),
        (np.zeros((0, 14), np.float32), "shape"),
    ],
)
@pytest.mark.parametrize("later", [False, True])
def test_an_agent_that_fails_ends_the_episode_with_the_robot_at_rest(
    env: RealEnv, spoilt: Any, word: str, later: bool
) -> None:
    agent = SlowAgent(*([turning(10, 0.1)] if later else []), spoilt, turning(10, 0.02))
    with AsynchronousActor(agent, execute_ticks=2) as actor:
        with pytest.raises(AgentFailed, match=word) as failed:
            drive(env, actor, agent, 9, arrivals=(4,) if later else ())
        if isinstance(spoilt, BaseException):
            assert failed.value.__cause__ is spoilt
        assert env.link.filter.at_rest(env.link._motion)
        with pytest.raises(StepOutOfOrder):
            env.step(env.hold())
        agent.may.release()
        again = drive(env, actor, agent, 2)
        np.testing.assert_allclose(column(again, "asked"), turning(2, 0.02), atol=1e-6)


def test_an_agent_that_hangs_does_not_keep_a_program_from_ending(
    env: RealEnv, caplog: pytest.LogCaptureFixture
) -> None:
    agent = SlowAgent(turning(4, 0.0))
    assert agent.may.acquire()
    actor = AsynchronousActor(agent)
    begin(env, actor)
    actor._answer = actor._thinker.ask(lambda: agent.may.acquire(timeout=60))
    thread = actor._thinker._thread
    assert thread is not None
    assert thread.daemon
    assert not actor._thinker.close(timeout_s=0.05)
    agent.may.release()
    thread.join(10)
    actor.close()  # once more does no harm


def test_what_can_not_be_driven_is_refused() -> None:
    for arguments in ({"execute_ticks": 0}, {"fade_ticks": -1}):
        with pytest.raises(ImpossibleRate):
            AsynchronousActor(SlowAgent(), **arguments)
    with pytest.raises(UnsuitableEnv, match="TemporalEnsemble"):
        AsynchronousActor(SlowAgent()).reset(FakeEnv(chunk=1), 0)
    with pytest.raises(UnsuitableEnv, match="clock='instant'"):
        AsynchronousActor(SlowAgent()).reset(real(robot=RecordingRobot(), clock="instant"), 0)
    with pytest.raises(StepOutOfOrder):
        real(robot=RecordingRobot()).hold()


# -- from the command line -------------------------------------------------------------------------------------------


def test_a_policy_is_measured_and_recorded_on_a_robot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    robot = RobotOptions(robot="recording_robot:make_robot", operator="recording_robot:make_operator")
    recording_robot.MADE.clear()
    evaluate_command("RiseReal-BoxClose-v0", policy="random", episodes=2, robot=robot)
    assert '"success_rate": 1.0' in capsys.readouterr().out
    (made,) = recording_robot.MADE  # one robot, whatever `processes`
    assert len(made.commands) >= 2
    assert not made.is_connected
    collect_command(tmp_path / "mine", who="policy", episodes=2, robot=robot)
    first, second = read_episodes(tmp_path / "mine")
    assert (first.success, second.success, len(first)) == (True, True, 2)
    assert not recording_robot.MADE[-1].is_connected
    played = json.loads((tmp_path / "mine/meta/rise_gym_collection.json").read_text())
    assert played == {"bundled:box_close/base": weights_fingerprint("bundled:box_close/base")}


def test_agents_that_are_waited_for_share_one_robot_too() -> None:
    recording_robot.MADE.clear()
    people = {"robot": "recording_robot:make_robot", "operator": "recording_robot:make_operator"}
    played = play(
        "rise_gym:RiseReal-BoxClose-v0", RandomAgent(BOX_CLOSE), range(100_000, 100_003),
        processes=2, env_arguments={**people, "clock": "instant"},
    )  # fmt: skip
    assert [result.is_success for result in played] == [True] * 3
    (made,) = recording_robot.MADE
    assert not made.is_connected


def test_what_makes_no_sense_on_a_robot_is_refused(tmp_path: Path) -> None:
    robot = RobotOptions(robot="recording_robot:make_robot")
    with pytest.raises(RiseGymError, match="--operator keyboard"):
        evaluate_command("RiseReal-BoxClose-v0", policy="random", robot=robot)
    judged = RobotOptions(robot="recording_robot:make_robot", judge="bundled:box_close/world_model")
    with pytest.raises(RiseGymError, match="sees physics"):
        evaluate_command("RiseReal-BoxClose-v0", policy="scripted", robot=judged)
    with pytest.raises(RiseGymError, match="--who policy"):
        collect_command(tmp_path / "mine", robot=robot)
    with pytest.raises(RiseGymError, match="--operator keyboard"):  # or all of it would be recorded as failed
        collect_command(tmp_path / "mine", who="policy", robot=robot)
    with pytest.raises(RiseGymError, match="is no robot's"):  # the robot itself was forgotten
        collect_command(tmp_path / "mine", who="policy", robot=RobotOptions(operator="keyboard"))
    assert RobotOptions(robot="a:b", velocity_rad_s=0.5).env_arguments() == {
        "robot": "a:b",
        "limits": {"velocity_rad_s": 0.5},
    }
