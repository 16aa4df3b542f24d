"""What the dynamics imagined a training step ago, as the history of the next one: dreams that go on from dreams.

A model that only ever saw recorded history makes, chunk after chunk, of its own small faults large ones. Here what it
has just predicted for a batch, at no further cost, is kept, and some rows of the next batch go on from it towards what
was truly recorded. How long such dreams get is geometrically distributed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from rise_gym.dynamics import VideoDynamicsConfig
from rise_gym.recordings import Recordings


class DreamtHistory(nn.Module):
    """At most `rows` moments with the newest history frames as they were dreamt; saved with a run.

    Args:
        rows: B, the most that are kept: those of one batch.
        shape: history T, stride and chunk K of the dynamics; `ticks` of a chunk, oldest first, end the next history.
        recordings: encoded.
    """

    moment: Tensor
    frames: Tensor
    known: Tensor

    def __init__(self, rows: int, shape: VideoDynamicsConfig, recordings: Recordings) -> None:
        super().__init__()
        assert recordings.latents is not None  # checked where training begins
        self._last, self._chunk = recordings.last, shape.chunk
        names = sorted(set(recordings.tasks))
        self._task = torch.tensor([names.index(name) for name in recordings.tasks])[recordings.episode]
        back = torch.arange(shape.history - 1, -1, -1) * shape.stride
        self.ticks = (shape.chunk - 1 - back)[back < shape.chunk]  # of a chunk, which make the newest part of a history
        size = recordings.latents.shape[1:]
        self.register_buffer("moment", torch.zeros(rows, dtype=torch.int64))
        self.register_buffer("frames", torch.zeros(rows, len(self.ticks), *size, dtype=torch.float16))
        self.register_buffer("known", torch.zeros(rows, dtype=torch.bool))

    def mixed_in(self, parts: Sequence[Tensor], share: float, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """A batch of moments (B,), some of which are dreams to go on from.

        Args:
            parts: the batch as it was drawn; of several parts each is one task's, and goes on from dreams of it only.
            share: the most of each part that goes on from a dream. generator: which.

        Returns:
            The moments (B,), which of its rows (n,) go on from dreams, and from which of those kept (n,).
        """
        drawn, rows, chosen, before = torch.cat(list(parts)), [], [], 0
        for part in parts:
            going_on = self.draw(round(share * len(part)), generator, like=part[:1] if len(parts) > 1 else None)
            rows.append(before + torch.randperm(len(part), generator=generator)[: len(going_on)])
            chosen.append(going_on)
            before += len(part)
        replaced, kept = torch.cat(rows), torch.cat(chosen)
        drawn[replaced] = self.moment[kept]
        return drawn, replaced, kept

    def draw(self, count: int, generator: Generator, *, like: Tensor | None = None) -> Tensor:
        """Which to go on from: at most `count` of those kept, at random; of the task of a moment `like` (1,)."""
        usable = self.known if like is None else self.known & (self._task[self.moment] == self._task[like])
        kept = usable.nonzero().flatten()
        return kept[torch.randperm(len(kept), generator=generator)[:count]]

    def replaced(self, history: Tensor, rows: Tensor, chosen: Tensor) -> Tensor:
        """History (B, T, V, c, h, w) whose `rows` (n,) end with what was dreamt for those `chosen` (n,)."""
        history = history.clone()
        history[rows, history.shape[1] - len(self.ticks) :] = self.frames[chosen].to(history)
        return history

    def keep(self, moments: Tensor, imagined: Tensor, usable: Tensor) -> None:
        """Remember chunks (B, K, V, c, h, w) imagined from moments (B,): the usable (B,) after which more happened."""
        after = moments + self._chunk
        going_on = usable & (after < self._last[moments])
        count = int(going_on.sum())
        self.known.fill_(False)
        self.known[:count] = True
        self.moment[:count] = after[going_on]
        self.frames[:count] = imagined[going_on.to(imagined.device)][:, self.ticks].half().cpu()
