"""Moments of replica episodes to branch from: a physics state, and what the cameras saw before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from rise_gym.collection import FIRST_EVALUATION_SEED, seed_agent
from rise_gym.protocols import Agent
from rise_gym.types import Observation
from rise_gym.world_model import CompositionalWorldModel

FIRST_SEED = FIRST_EVALUATION_SEED + 20_000
STATES_PER_EPISODE = 4


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A physics state and the recorded ticks before it: frames uint8 (W, V, H, W, 3), oldest first."""

    state: Any
    window: NDArray[np.uint8]
    observation: Observation
    progress: float


def moments(env: gymnasium.Env[Any, Any], agent: Agent, model: CompositionalWorldModel, count: int) -> Iterator[Moment]:
    """States on the way of the policy, some in each of several episodes."""
    inner, given, seed = env.unwrapped, 0, FIRST_SEED
    cameras = model.task.cameras
    while given < count:
        observation, info = env.reset(seed=seed)
        seed_agent(agent, seed)
        window = views_of({name: np.asarray(value)[None] for name, value in observation.items()}, cameras)
        wanted = set(np.linspace(1, model.task.horizon_steps(model.task.chunk) - 4, STATES_PER_EPISODE).astype(int))
        progress, step, over = last_of(info["progress"]), 0, False
        while not over and given < count:
            if step in wanted:
                state = inner.get_state()  # type: ignore[attr-defined]  # contract 7
                yield Moment(state=state, window=window, observation=observation, progress=progress)
                inner.set_state(state)  # type: ignore[attr-defined]
                given += 1
            observation, _, terminated, truncated, info = env.step(act(agent, observation, model)[0])
            window = np.concatenate([window, views_of(info["ticks"], cameras)])[-model.history_ticks :]
            progress = last_of(info["progress"])
            step, over = step + 1, terminated or truncated
        seed += 1


def views_of(columns: Any, cameras: tuple[str, ...]) -> NDArray[np.uint8]:
    return np.stack([columns[camera] for camera in cameras], axis=1)


def act(
    agent: Agent, observation: Observation, model: CompositionalWorldModel, advantage: float = 1.0
) -> NDArray[np.float32]:
    row = {name: np.asarray(value)[None] for name, value in observation.items()}
    return agent.act(row, [model.task.instruction], advantage)


def last_of(progress: Any) -> float:
    return float(np.asarray(progress).reshape(-1)[-1])
