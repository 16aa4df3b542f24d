"""Where the rows of a training batch begin: task-centric, as in the paper, where there are several tasks.

A batch of few tasks holds many actions in like scenes, and what tells its rows apart is what was done; a batch of all
tasks holds many scenes, which are told apart without looking at actions. The paper takes two tasks a batch.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from rise_gym.recordings import Recordings, eventful_moments

TASKS_A_BATCH = 2


class BatchMoments:
    """Draws the moments that batches begin from.

    Args:
        recordings: of one task or several.
        moments: of them those to draw from (M,).
        progress: (N,) of every moment, to tell where something is about to happen; None if nobody knows.
        eventful_share: fraction of rows that begin there, within each task.
        task_centric: each batch from `TASKS_A_BATCH` tasks, drawn anew; else from all moments alike.
    """

    def __init__(
        self,
        recordings: Recordings,
        moments: Tensor,
        progress: Tensor | None,
        *,
        eventful_share: float,
        task_centric: bool,
    ) -> None:
        self.recordings, self.eventful_share = recordings, eventful_share
        pools = of_each_task(recordings, moments) if task_centric else [moments]
        self._pools = [
            (pool if progress is None else eventful_moments(recordings, pool, progress), pool) for pool in pools
        ]

    def draw(self, rows: int, generator: Generator) -> list[Tensor]:
        """Moments of a batch of so many rows: as equal a part of each of its tasks as can be."""
        chosen = [0]
        if len(self._pools) > 1:
            chosen = torch.randperm(len(self._pools), generator=generator)[:TASKS_A_BATCH].tolist()
        sizes = [len(part) for part in torch.arange(rows).tensor_split(len(chosen))]
        parts = [(self._pools[which], size) for which, size in zip(chosen, sizes, strict=True) if size]
        return [self._drawn(*pool, size, generator) for pool, size in parts]

    def _drawn(self, eventful: Tensor, pool: Tensor, rows: int, generator: Generator) -> Tensor:
        count = round(self.eventful_share * rows)
        parts = [(count, eventful), (rows - count, pool)]
        return torch.cat([self.recordings.draw(size, generator, among=among) for size, among in parts])


def of_each_task(recordings: Recordings, moments: Tensor) -> list[Tensor]:
    """`moments` (M,) apart by their task, in the order of the tasks' names; tasks that have none are left out."""
    names = sorted(set(recordings.tasks))
    number = torch.tensor([names.index(name) for name in recordings.tasks])[recordings.episode[moments]]
    parts = [moments[number == which] for which in range(len(names))]
    return [part for part in parts if len(part)]
