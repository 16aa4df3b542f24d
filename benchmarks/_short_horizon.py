"""Two chunks from states in the middle of episodes, by a policy, in the replica and in the dream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from _branching import FIRST_SEED, Moment, last_of, moments
from numpy.typing import NDArray
from rich.progress import track
from torch import Generator

from rise_gym.agents.flow_policy import load_policy
from rise_gym.commands._shared import env_id_of
from rise_gym.comparison import SeededAgent
from rise_gym.types import Observation
from rise_gym.world_model import CompositionalWorldModel

CHUNKS = 2


class ShortHorizon:
    """A replica and moments in it to branch from, on the way of one policy: the same for whoever is measured.

    Args:
        model: what imagines.
        states: how many moments. rollouts_by: on whose way they lie, a folder or bundled name.
    """

    def __init__(self, model: CompositionalWorldModel, states: int, rollouts_by: str) -> None:
        self.model, task = model, model.task.name
        self.env = gymnasium.make(env_id_of("Mujoco", task), record_ticks=True, disable_env_checker=True)
        guide = load_policy(rollouts_by, task=task)
        found = moments(self.env, guide, model, states)
        self.moments = list(track(found, "playing to the moments", total=states))

    def gains(self, agent: SeededAgent) -> tuple[list[float], list[float]]:
        """Progress gained over the chunks from every moment: true, and imagined."""
        true = [self._true(agent, moment, number) for number, moment in enumerate(self.moments)]
        return true, self._imagined(agent)

    def close(self) -> None:
        self.env.close()

    def _true(self, agent: SeededAgent, moment: Moment, number: int) -> float:
        self.env.unwrapped.set_state(moment.state)  # type: ignore[attr-defined]  # contract 7
        noise, observation, progress = [_noise(number)], moment.observation, moment.progress
        for _ in range(CHUNKS):
            row = {name: np.asarray(value)[None] for name, value in observation.items()}
            chunk = agent.act(row, [self.model.task.instruction], generator=noise)[0]
            observation, _, terminated, truncated, info = self.env.step(chunk)
            progress = last_of(info["progress"])
            if terminated or truncated:
                break
        return progress - moment.progress

    def _imagined(self, agent: SeededAgent) -> list[float]:
        """One row a moment, all at once."""
        model, count = self.model, len(self.moments)
        text = [model.task.instruction] * count
        windows = _of_one_length([moment.window for moment in self.moments], model.history_ticks)
        proprio = np.stack([np.asarray(moment.observation["proprio"], np.float32) for moment in self.moments])
        state = model.begin(torch.from_numpy(windows), torch.from_numpy(proprio), text)
        dreaming = [Generator().manual_seed(FIRST_SEED) for _ in range(count)]
        acting = [_noise(number) for number in range(count)]
        before, now = state.progress.clamp(0, 1), state.progress.clamp(0, 1)
        for _ in range(CHUNKS):
            frames = model.decode_newest(state).numpy()
            seen: Observation = {camera: frames[:, view] for view, camera in enumerate(model.task.cameras)}
            chunks = agent.act({**seen, "proprio": state.proprio.numpy()}, text, generator=acting)
            state, imagined = model.imagine(state, torch.from_numpy(chunks), generator=dreaming)
            now = imagined.progress[:, -1].clamp(0, 1)
        gains: list[float] = (now - before).tolist()
        return gains


def _noise(number: int) -> Generator:
    return Generator().manual_seed(FIRST_SEED + number)


def _of_one_length(windows: Sequence[NDArray[np.uint8]], ticks: int) -> NDArray[Any]:
    """Windows (w, ...) as (n, ticks, ...); the oldest frame of a short one repeats."""
    return np.stack([window[np.maximum(np.arange(-ticks, 0) + len(window), 0)] for window in windows])
