"""A saved policy made worse on purpose: the same error in every tick of a chunk, another in each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from rise_gym.agents.flow_agent import FlowAgent
from rise_gym.agents.named import named_agent
from rise_gym.collection import ExplorationNoise, act_with
from rise_gym.protocols import Generators
from rise_gym.tasks import task_card
from rise_gym.types import Observation


class NoisyAgent:
    """A saved policy whose chunks are each shifted by an offset drawn anew.

    Args:
        task: snake-case name of the task.
        policy: what `named_agent` knows: a folder or bundled name, a served one's address, or `random`.
        advantage: what it is asked for, whatever `act` is told.
        noise: multiples of `ExplorationNoise`.
        temperature: of a flow policy's sampling, instead of its own; others have none.

    Attributes:
        task: its card. chunk: ticks of an action chunk.
    """

    def __init__(
        self, task: str, policy: str, advantage: float, noise: float, *, temperature: float | None = None
    ) -> None:
        card = task_card(task)
        self.task = card
        self._agent: Any = named_agent(policy, task=task)
        if temperature is not None:
            if not isinstance(self._agent, FlowAgent):
                raise ValueError(f"a temperature is a flow policy's, {policy} is a {type(self._agent).__name__}")
            self._agent.register_to_config(temperature=temperature)
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
        chunks = act_with(self._agent, observation, list(instruction), self._advantage, generator)
        rows = [generator] * len(chunks) if isinstance(generator, Generator) else generator
        offsets = np.stack([torch.randn(len(self._scale), generator=row).numpy() for row in rows])
        return np.clip(chunks + (offsets * self._scale)[:, None], -1, 1).astype(np.float32)

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """That of the policy."""
        return self._agent.loss(batch)
