"""What the dynamics imagined a training step ago, as the history of the next one: dreams that go on from dreams.

A model that only ever saw recorded history makes, chunk after chunk, of its own small faults large ones. Here what it
has just predicted for a batch, at no further cost, is kept, and some rows of the next batch go on from it towards what
was truly recorded. How long such dreams get is geometrically distributed.
"""

from __future__ import annotations

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
        back = torch.arange(shape.history - 1, -1, -1) * shape.stride
        self.ticks = (shape.chunk - 1 - back)[back < shape.chunk]  # of a chunk, which make the newest part of a history
        size = recordings.latents.shape[1:]
        self.register_buffer("moment", torch.zeros(rows, dtype=torch.int64))
        self.register_buffer("frames", torch.zeros(rows, len(self.ticks), *size, dtype=torch.float16))
        self.register_buffer("known", torch.zeros(rows, dtype=torch.bool))

    def draw(self, count: int, generator: Generator) -> Tensor:
        """Which to go on from: at most `count` of those kept, at random."""
        kept = self.known.nonzero().flatten()
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
