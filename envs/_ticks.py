"""What wrappers share that turn what an agent says into other control ticks: running them, and telling about it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from rise_gym.errors import InvalidStart, RiseGymError
from rise_gym.spaces import action_space
from rise_gym.tasks import TaskCard
from rise_gym.types import Observation

Actions = NDArray[np.float32]
Stepped = tuple[Observation, Any, bool, bool, dict[str, Any]]
_PER_TICK = ("progress", "value", "executed_actions", "asked", "sent", "limited")


class ImpossibleRate(RiseGymError, ValueError):
    """A chunk or a control rate that does not come out even; the message says what would."""


@dataclass(frozen=True)
class WrappedState:
    """A snapshot of the wrapped env, and what the wrapper itself remembers: arrays (…, A), oldest first."""

    env: Any
    memory: tuple[Actions, ...]


class TickWrapper(gymnasium.Wrapper[Observation, Actions, Observation, Actions]):
    """An env whose step takes `chunk` targets of the agent's, which a subclass turns into `ticks` control ticks.

    Attributes:
        chunk: targets the agent gives a step. control_hz: how many it gives a second.
        ticks: control ticks of the wrapped env that one step executes.
        resampling: in words, what becomes of a chunk; `info["resampling"]` has it too.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], *, chunk: int, ticks: int, control_hz: float, words: str) -> None:
        super().__init__(env)
        task = task_of(env)
        inner = f"; inside, {env.get_wrapper_attr('resampling')}" if env.has_wrapper_attr("resampling") else ""
        self.chunk, self.ticks, self.control_hz, self.resampling = chunk, ticks, control_hz, words + inner
        self.action_space = action_space(task, chunk)  # type: ignore[assignment]  # Box is typed less narrowly
        inside = env.get_wrapper_attr("_max_episode_steps")  # the name that LeRobot reads
        self._max_episode_steps = math.ceil(inside * chunk_of(env) / ticks)
        self.metadata = {**env.metadata, "render_fps": max(1, round(rate_of(env) / ticks))}
        self._memory: list[Actions] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; nothing is remembered of the one before."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._memory = []
        return observation, {**info, "resampling": self.resampling}

    def get_state(self) -> WrappedState:
        """A snapshot that `set_state` branches from, where the wrapped env has them."""
        return WrappedState(self.env.get_wrapper_attr("get_state")(), tuple(part.copy() for part in self._memory))

    def set_state(self, state: WrappedState, **how: Any) -> Observation:
        """Go on from a snapshot; `how` (`seed=`, in imagination) is handed to the wrapped env.

        Raises:
            InvalidStart: if it is none of this wrapper's, which holds what was planned too.
        """
        if not isinstance(state, WrappedState):
            raise InvalidStart(
                f"a snapshot as get_state of {type(self).__name__} gives it was wanted, got {type(state).__name__}, "
                "which knows nothing of plans: take it from the wrapper, not from what it wraps"
            )
        self._memory = [part.copy() for part in state.memory]
        return self.env.get_wrapper_attr("set_state")(state.env, **how)

    def _run(self, actions: Actions) -> Stepped:
        """Execute ticks (n, A) of the wrapped env, in as many of its steps as that takes, as one step.

        The reward is the sum, so a return over the same ticks stays what it was. An end stops the rest.
        """
        per_step = chunk_of(self.env)
        gained, infos = 0.0, []
        for first in range(0, len(actions), per_step):
            part = actions[first : first + per_step]
            observation, reward, terminated, truncated, info = self.env.step(part)
            gained += float(reward)
            infos.append({"executed_actions": _executed(part, info), **info})
            if terminated or truncated:
                break
        return observation, gained, terminated, truncated, {**joined(infos), "resampling": self.resampling}


def _executed(asked: Actions, info: Mapping[str, Any]) -> Actions:
    """What a step commanded, (n, A): of a robot what was sent, within its limits; only ticks that happened."""
    happened = len(np.atleast_1d(info["progress"])) if "progress" in info else len(asked)
    commanded: Actions = np.array(info.get("sent", asked[:happened]), np.float32)
    return commanded


def joined(infos: list[dict[str, Any]]) -> dict[str, Any]:
    """The infos of consecutive steps as those of one: what is told a tick, in a row; of the rest, the last.

    `advantage` is their mean, each against where its own step began; `uncertainty` the largest; of the errors of
    several gains `progress_uncertainty` is the root of the sum of squares.
    """
    merged = dict(infos[-1])
    for name in merged.keys() & _PER_TICK:
        merged[name] = np.concatenate([info[name] for info in infos])
    if isinstance(merged.get("ticks"), Mapping):
        merged["ticks"] = {name: np.concatenate([info["ticks"][name] for info in infos]) for name in merged["ticks"]}
    if "advantage" in merged:
        merged["advantage"] = float(np.mean([info["advantage"] for info in infos]))
    if "uncertainty" in merged:
        merged["uncertainty"] = float(max(info["uncertainty"] for info in infos))
    if "progress_uncertainty" in merged:
        merged["progress_uncertainty"] = math.hypot(*(info["progress_uncertainty"] for info in infos))
    return merged


def task_of(env: gymnasium.Env[Any, Any]) -> TaskCard:
    """The task card of any env of the registry."""
    task = getattr(env.unwrapped, "task", None)
    if not isinstance(task, TaskCard):
        raise TypeError(f"an env of a rise_gym task was wanted, {type(env.unwrapped).__name__} has no task card")
    return task


def chunk_of(env: gymnasium.Env[Any, Any]) -> int:
    """How many ticks a step of the env takes; whoever wraps it has to have left its actions as they are."""
    return checked_chunk(env.action_space, task_of(env))


def checked_chunk(space: gymnasium.Space[Any], task: TaskCard) -> int:
    """How many ticks an action of that space has.

    Raises:
        TypeError: if it is no space of chunks of the task's joint targets.
    """
    if len(space.shape or ()) != 2 or space != action_space(task, space.shape[0]):  # type: ignore[index]
        raise TypeError(
            f"chunks of joint targets (K, {len(task.action_names)}) in [-1, 1] were wanted, this env takes {space}: "
            "put wrappers that change actions outside of those that resample them"
        )
    return space.shape[0]  # type: ignore[index]


def rate_of(env: gymnasium.Env[Any, Any]) -> float:
    """Ticks a second of what the env takes: the task's, or that of a wrapper within."""
    return float(env.get_wrapper_attr("control_hz") if env.has_wrapper_attr("control_hz") else task_of(env).control_hz)
