"""Policies of different quality, from saved ones: asked for more or less advantage, or with noise in their actions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from rise_gym.agents.baselines import RandomAgent
from rise_gym.agents.flow_policy import load_policy
from rise_gym.collection import ExplorationNoise
from rise_gym.protocols import Generators
from rise_gym.tasks import task_card
from rise_gym.types import Observation


@dataclass(frozen=True, kw_only=True)
class Quality:
    """A saved policy (`random` for none), the advantage it is asked for, and multiples of the exploration noise."""

    name: str
    policy: str
    advantage: float = 1.0
    noise: float = 0.0


def qualities(base: str, recap: str, rise: str) -> list[Quality]:
    """The policies that trust is measured on, from bad to good."""
    return [
        Quality(name="random", policy="random"),
        Quality(name="base, noise 6", policy=base, noise=6.0),
        Quality(name="base, noise 3", policy=base, noise=3.0),
        Quality(name="base, noise 1.5", policy=base, noise=1.5),
        Quality(name="base, noise 0.5", policy=base, noise=0.5),
        Quality(name="base", policy=base),
        Quality(name="recap", policy=recap),
        Quality(name="rise, asked for the worst", policy=rise, advantage=-1.0),
        Quality(name="rise, noise 6", policy=rise, noise=6.0),
        Quality(name="rise, noise 3", policy=rise, noise=3.0),
        Quality(name="rise, noise 1.5", policy=rise, noise=1.5),
        Quality(name="rise, noise 0.5", policy=rise, noise=0.5),
        Quality(name="rise", policy=rise),
    ]


class NoisyAgent:
    """A saved policy whose chunks are each shifted by an offset drawn anew.

    Args:
        task: snake-case name of the task.
        policy: a folder or bundled name, or `random`.
        advantage: what it is asked for, whatever `act` is told.
        noise: multiples of `ExplorationNoise`.
    """

    def __init__(self, task: str, policy: str, advantage: float, noise: float) -> None:
        card = task_card(task)
        self._agent: Any = RandomAgent(card) if policy == "random" else load_policy(policy, task=task)
        self.chunk: int = self._agent.chunk
        self._advantage = advantage
        self._scale = noise * ExplorationNoise().scaled(card).astype(np.float32)

    def act(
        self,
        observation: Observation,
        instruction: Sequence[str],
        advantage: NDArray[np.floating] | float = 1.0,
        *,
        generator: Generators,
    ) -> NDArray[np.float32]:
        """Scaled actions float32 (B, K, A) in [-1, 1]; one generator a row."""
        chunks = self._agent.act(observation, instruction, self._advantage, generator=generator)
        rows = [generator] * len(chunks) if isinstance(generator, Generator) else generator
        offsets = np.stack([torch.randn(len(self._scale), generator=row).numpy() for row in rows])
        return np.clip(chunks + (offsets * self._scale)[:, None], -1, 1).astype(np.float32)

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """That of the policy."""
        return self._agent.loss(batch)


def built(quality: Quality, task: str) -> NoisyAgent:
    """The agent itself."""
    return NoisyAgent(task, quality.policy, quality.advantage, quality.noise)
