"""Policies of different quality, from saved ones: asked for less, disturbed, late, mixed, or exploiting the dream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from rise_gym.agents.exploiting import ExploitConfig, ExploitingAgent
from rise_gym.agents.noisy import NoisyAgent
from rise_gym.collection import act_with
from rise_gym.tasks import TaskCard, task_card
from rise_gym.types import Observation
from rise_gym.world_model import CompositionalWorldModel


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How a policy is made of a saved one.

    Attributes:
        name: in tables. policy: a folder or bundled name, `random` for none.
        advantage: what it is asked for.
        noise: multiples of the exploration noise. temperature: of its sampling; None is its own, 0 as bundled.
        late_ticks: how many ticks of every chunk pass before it begins to move.
        other: another saved policy that acts in half of the chunks, by lot.
        climbs: steps up the world model's advantage, each chunk, without a guard.
    """

    name: str
    policy: str
    advantage: float = 1.0
    noise: float = 0.0
    temperature: float | None = None
    late_ticks: int = 0
    other: str | None = None
    climbs: int = 0


def qualities(base: str, rise: str, more: dict[str, str] | None = None) -> list[Quality]:
    """The policies that trust is measured on; `more` are further saved ones, name -> folder or bundled name."""
    found = [Quality(name="random", policy="random"), Quality(name="random, climbing", policy="random", climbs=8)]
    for name, policy in (("base", base), ("rise", rise)):
        found += [Quality(name=f"{name}, noise {noise}", policy=policy, noise=noise) for noise in (3, 1.5, 1, 0.5, 0.2)]
        found += [
            Quality(name=name, policy=policy),
            Quality(name=f"{name}, temperature 1", policy=policy, temperature=1.0),
            Quality(name=f"{name}, 2 ticks late", policy=policy, late_ticks=2),
            Quality(name=f"{name}, climbing", policy=policy, climbs=4),
        ]
    return [
        *found,
        Quality(name="rise, asked for the worst", policy=rise, advantage=-1.0),
        Quality(name="rise, asked for the middle", policy=rise, advantage=0.0),
        Quality(name="rise, 4 ticks late", policy=rise, late_ticks=4),
        Quality(name="base and rise by lot", policy=base, other=rise),
        *[Quality(name=name, policy=policy) for name, policy in (more or {}).items()],
    ]


class VariedAgent:
    """The agent of a `Quality`; its chance comes from the generators of the rows alone.

    Args:
        task: snake-case name of the task. quality: what to build. world_model: what an exploiting one climbs.
    """

    def __init__(self, task: str, quality: Quality, world_model: str | CompositionalWorldModel) -> None:
        self.card, self._quality = task_card(task), quality
        names = [quality.policy] if quality.other is None else [quality.policy, quality.other]
        agents: list[Any] = [
            NoisyAgent(task, name, quality.advantage, quality.noise, temperature=quality.temperature) for name in names
        ]
        if quality.climbs:
            model = _loaded(world_model, task)
            agents = [ExploitingAgent(agent, model, ExploitConfig(steps=quality.climbs)) for agent in agents]
        self._agents, self.chunk = agents, self.card.chunk

    def act(
        self,
        observation: Observation,
        instruction: Sequence[str],
        advantage: NDArray[np.floating] | float = 1.0,
        *,
        generator: Sequence[Generator],
    ) -> NDArray[np.float32]:
        """Scaled actions float32 (B, K, A) in [-1, 1]; one generator a row."""
        options = np.stack([act_with(agent, observation, list(instruction), 1.0, generator) for agent in self._agents])
        lots = [int(torch.randint(len(options), (), generator=row)) for row in generator]
        chunks: NDArray[np.float32] = options[lots, np.arange(len(lots))]
        return delayed(chunks, np.asarray(observation["proprio"]), self.card, self._quality.late_ticks)

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """That of the first of its agents."""
        return self._agents[0].loss(batch)


def delayed(chunks: NDArray[np.float32], proprio: NDArray[Any], card: TaskCard, ticks: int) -> NDArray[np.float32]:
    """Chunks (B, K, A) that begin `ticks` later and are cut off at the end; until then the joints stay at (B, P)."""
    pose = card.scale_action(proprio).clip(-1, 1)[:, None].repeat(ticks, axis=1)
    return np.concatenate([pose, chunks], axis=1)[:, : chunks.shape[1]].astype(np.float32)


def _loaded(world_model: str | CompositionalWorldModel, task: str) -> CompositionalWorldModel:
    if isinstance(world_model, str):
        return CompositionalWorldModel.from_pretrained(world_model, task=task)
    return world_model
