"""What every policy is measured against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from rise_gym.protocols import Generators
from rise_gym.tasks import TaskCard
from rise_gym.types import Observation


class RandomAgent:
    """Uniform targets over the whole action space, another at every tick.

    Args:
        task: whose actions.
        chunk: ticks a chunk; default: the task's.
        seed: of the generator that is used when `act` is given none.
    """

    def __init__(self, task: TaskCard, *, chunk: int | None = None, seed: int = 0) -> None:
        self.task = task
        self.chunk = task.chunk if chunk is None else chunk
        self._generator = Generator().manual_seed(seed)

    def seed(self, seed: int) -> None:
        """Make the following calls of `act` reproducible."""
        self._generator.manual_seed(seed)

    def act(
        self,
        observation: Observation,
        instruction: Sequence[str],
        advantage: NDArray[np.floating] | float = 1.0,
        *,
        generator: Generators | None = None,
    ) -> NDArray[np.float32]:
        """Scaled actions float32 (B, K, A) in [-1, 1]; nothing but the number of instructions matters."""
        shape = (self.chunk, len(self.task.action_names))
        return np.stack(
            [2 * torch.rand(shape, generator=row).numpy() - 1 for row in self._rows(generator, instruction)]
        )

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """Zero: there is nothing to learn."""
        return torch.zeros(())

    def _rows(self, generator: Generators | None, instruction: Sequence[str]) -> Sequence[Generator]:
        """What each row draws from: its own, or all from one."""
        chosen = self._generator if generator is None else generator
        return [chosen] * len(instruction) if isinstance(chosen, Generator) else chosen
