"""Corrections: an agent is watched, and where it gets stuck somebody who can does the rest, from just before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np

from rise_gym.collection import AgentActor, AnyEnv
from rise_gym.protocols import Agent
from rise_gym.types import Observation

_RISE = 0.01  # less progress than this is trembling


@dataclass(frozen=True, kw_only=True)
class OversightConfig:
    """When an operator takes over.

    Attributes:
        patience_ticks: an agent whose progress has not risen for so long is stuck. (Nine of ten successful
            demonstrations of box closing never lack progress for longer than 30.)
        foresight_ticks: how long before the last rise the operator has seen it coming, at least and at most.
    """

    patience_ticks: int = 30
    foresight_ticks: tuple[int, int] = (5, 25)

    def __post_init__(self) -> None:
        least, most = self.foresight_ticks
        if self.patience_ticks < 1 or not 0 <= least <= most:
            raise ValueError(f"patience_ticks is at least 1 and foresight_ticks a range from 0 on, got {self}")


class TakenOver(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Episodes of a simulator (`chunk=1`) that begin where an agent is taken over from, with all their time left.

    The agent plays from the seed's start until it is stuck; a simulator can go back to where that could be foreseen.
    If it never is, the episode begins at a random moment of its way.

    Args:
        env: one whose moments can be kept: `get_state`, `set_state`, `measured_progress`.
        agent: who is watched; its chunks are executed whole.
        oversight: when it is taken over from.
    """

    def __init__(self, env: AnyEnv, agent: Agent, oversight: OversightConfig | None = None) -> None:
        super().__init__(env)
        self.agent, self.oversight = agent, oversight or OversightConfig()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin where the agent is taken over from; a seed decides everything about it."""
        random = np.random.default_rng(seed)
        way, last_rise = self._watched(*self.env.reset(seed=seed, options=options), 0 if seed is None else seed)
        if last_rise is None:
            begun = way[int(random.integers(len(way) - 1))]
        else:
            least, most = self.oversight.foresight_ticks
            begun = way[max(0, last_rise - int(random.integers(least, most + 1)))]
        replica: Any = self.env.unwrapped
        observation: Observation = replica.set_state(replace(begun.state, tick=0))
        return observation, begun.info

    def _watched(self, observation: Observation, info: dict[str, Any], seed: int) -> tuple[list[_Moment], int | None]:
        """Every moment of the agent's way, and the last at which progress rose if it got stuck."""
        replica: Any = self.env.unwrapped
        actor = AgentActor(self.agent)
        actor.reset(self.env, seed)
        best, last_rise, over = -np.inf, 0, False
        way: list[_Moment] = []
        planned = np.zeros((0, 0), np.float32)
        while not over:
            way.append(_Moment(replica.get_state(), info))
            if replica.measured_progress() > best + _RISE:
                best, last_rise = replica.measured_progress(), len(way) - 1
            if len(way) - 1 - last_rise >= self.oversight.patience_ticks:
                return way, last_rise
            if not len(planned):
                planned = actor.plan(observation)
            observation, _, terminated, truncated, info = self.env.step(planned[:1])
            planned, over = planned[1:], terminated or truncated
        return way, None


@dataclass(frozen=True)
class _Moment:
    """Where a simulator stood, and what it told there."""

    state: Any
    info: dict[str, Any]
