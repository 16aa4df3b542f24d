"""Asynchronous execution on a robot: what was planned goes on being executed while the agent thinks about the rest."""

from __future__ import annotations

import logging
from concurrent.futures import Future, wait
from functools import partial
from typing import Self

import numpy as np

from rise_gym.collection import AgentActor, AnyEnv, ExplorationNoise
from rise_gym.envs._ticks import Actions, ImpossibleRate, chunk_of
from rise_gym.envs.ensembling import taken_up
from rise_gym.envs.real.clock import InstantClock
from rise_gym.envs.real.env import RealEnv
from rise_gym.envs.real.thinker import Thinker
from rise_gym.errors import AgentFailed, UnsuitableEnv
from rise_gym.protocols import Agent
from rise_gym.spaces import checked_actions
from rise_gym.types import Observation

FADE_TICKS = 3
"""Over how many ticks at least a new plan is faded in, if nothing else is said."""
_LOOK_EVERY_S = 0.02
_log = logging.getLogger(__name__)


class AsynchronousActor:
    """An agent that thinks in a thread of its own, while a robot goes on executing what it said before.

    An `Actor` of `rise_gym.collection`, for `RiseReal-…` with `chunk=1`: `act` says at once what to do in the next
    tick, so commands keep the control rate, and each of them passes the limits, as always. As on the paper's robot:

    - after `execute_ticks` of a plan, the agent is shown the newest observation and begins to think;
    - meanwhile the old plan goes on;
    - of the new one, what it says about the ticks that went by meanwhile is dropped, and the rest of the old one is
      cross-faded into it, over at least `fade_ticks`: the old one counts most at first;
    - if the old plan ends first, the robot is braked and holds, tick by tick, until the new one is there, which then
      goes on from where the old one ended: a warning is logged, and `info["held"]` counts the ticks.

    The first plan of an episode is waited for, with the robot at rest. An operator's stop acts at any moment. If the
    agent raises, or says what is no plan, the robot is braked at the next tick and the episode is over. Ticks are those
    of the env, which may be a `ResampledControl` for an agent of another rate. A plan is taken up between two steps.

    Args:
        agent: who plans, (1, K, A) for one observation. It is only ever called in one thread, but not in yours.
        advantage: what it is asked for. noise: exploration added to its plans, None for none.
        execute_ticks: of a plan, before the agent is shown what it led to; default: half of them. A slower agent plans
            as often as it can.
        fade_ticks: over how many ticks at least a new plan is faded in; the old one is held at its end for the rest.

    Raises:
        ImpossibleRate: if `execute_ticks` is below 1 or `fade_ticks` below 0.

    Attributes:
        chunk: 1, the best number of ticks for the env's steps. plans: how many were taken up in this episode.
    """

    chunk = 1

    def __init__(
        self,
        agent: Agent,
        *,
        advantage: float = 1.0,
        noise: ExplorationNoise | None = None,
        execute_ticks: int | None = None,
        fade_ticks: int = FADE_TICKS,
    ) -> None:
        if fade_ticks < 0 or (execute_ticks is not None and execute_ticks < 1):
            raise ImpossibleRate(f"execute_ticks from 1 and fade_ticks from 0, got {execute_ticks} and {fade_ticks}")
        self.execute_ticks, self.fade_ticks, self.plans = execute_ticks, fade_ticks, 0
        self._planner = AgentActor(agent, advantage=advantage, noise=noise)
        self._thinker = Thinker()
        self._answer: Future[Actions] | None = None
        self._plan: Actions | None = None  # what is left of it; None before the first of an episode

    def reset(self, env: AnyEnv, seed: int) -> None:
        """An episode has begun. If the agent still thinks about the last one, that is waited for; the robot holds.

        Raises:
            UnsuitableEnv: if the env is no robot, or its time does not pass by itself.
            RobotFault: if the operator stops the robot meanwhile.
        """
        robot, ticks = _robot(env), chunk_of(env)
        while self._answer is not None and self.thinking:
            robot.link.check_stop()
            wait([self._answer], timeout=_LOOK_EVERY_S)
        self._robot, self._ticks = robot, ticks
        self._planner.reset(env, seed)
        self._answer, self._plan, self.plans = None, None, 0
        self._passed, self._due, self._held = 0, 1, 0

    def act(self, env: AnyEnv, observation: Observation) -> tuple[None, Actions]:
        """What to do next, (K, A) for a step of K ticks; only the first call of an episode waits for the agent.

        Raises:
            AgentFailed: if the agent raised or said what is no plan. The robot was braked, the episode is over.
        """
        self._listen()
        self._ask_if_due(observation)
        if self._plan is None:
            self._wait_while_at_rest()
        return None, self._next()

    @property
    def thinking(self) -> bool:
        """Whether the agent thinks about a plan now."""
        return self._answer is not None and not self._answer.done()

    def close(self) -> None:
        """End the thread. The agent, like the env, is its owner's to close."""
        if not self._thinker.close():
            _log.warning("the agent still thinks and can't be interrupted; its thread ends with the program")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask_if_due(self, observation: Observation) -> None:
        ended = self._plan is None or not len(self._plan)
        if self._answer is None and (ended or self._passed >= self._due):
            self._answer, self._passed = self._thinker.ask(partial(self._thought, observation)), 0

    def _thought(self, observation: Observation) -> Actions:
        """In the thread: a plan (K, A) that may be executed."""
        plan = self._planner.plan(observation)
        targets = len(self._robot.task.action_names)
        return checked_actions(plan, (max(1, len(plan)), targets))

    def _listen(self) -> None:
        """Take up the plan if it is there."""
        if self._answer is None or not self._answer.done():
            return
        answer, self._answer = self._answer, None
        error = answer.exception()
        if error is not None:
            self._robot.end_episode()
            raise AgentFailed(
                f"the agent failed while it planned: {type(error).__name__}: {error}; the robot was braked and holds, "
                "and the episode is over: mend the agent, then reset"
            ) from error
        self._take_up(answer.result())

    def _take_up(self, plan: Actions) -> None:
        if self._held:
            _log.warning("a plan came %d ticks too late; the robot was held meanwhile", self._held)
        if self._plan is None:
            self._plan = plan
        elif self._passed < len(plan):
            rest = self._plan if len(self._plan) else self._robot.commanded[None]
            self._plan = taken_up(rest, plan, passed_ticks=self._passed, fade_ticks=self.fade_ticks)
        else:
            _log.warning("a plan of %d ticks came after all of them had passed and is dropped", len(plan))
        self.plans += 1
        self._held = 0
        self._due = min(max(1, len(plan) // 2) if self.execute_ticks is None else self.execute_ticks, len(plan))

    def _wait_while_at_rest(self) -> None:
        """For the first plan; the operator's stop ends the waiting, and the next step the episode."""
        while self.thinking and not self._robot.link.stopped.is_set():
            assert self._answer is not None
            wait([self._answer], timeout=_LOOK_EVERY_S)
        self._listen()

    def _next(self) -> Actions:
        """The next ticks of the plan; at its end, the robot is held."""
        if self._plan is None or not len(self._plan):
            if self._plan is not None and not self._held:
                _log.warning("the next plan is late: the robot is braked and holds until it is there")
            self._held += self._ticks
            return np.repeat(self._robot.hold()[:1], self._ticks, axis=0)
        now, self._plan = self._plan[: self._ticks], self._plan[self._ticks :]
        self._passed += len(now)
        return np.concatenate([now, np.repeat(now[-1:], self._ticks - len(now), axis=0)])


def _robot(env: AnyEnv) -> RealEnv:
    robot = env.unwrapped
    if not isinstance(robot, RealEnv) or isinstance(robot.link.clock, InstantClock):
        raise UnsuitableEnv(
            "an agent that thinks while a robot moves needs RiseReal-… and time that passes by itself: leave out "
            "clock='instant'. Where time stands still between steps, rise_gym.envs.ensembling.TemporalEnsemble shows "
            "what thinking late does to the actions"
        )
    return robot
