"""What a dynamics learns from: windows of recordings, what was seen before a moment, what was done, what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from rise_gym.dynamics import VideoDynamicsConfig
from rise_gym.recordings import Recordings


class Window(NamedTuple):
    """A batch of training windows; `happened` (B, K) says which future frames there were under these actions.

    `gained` (B, K + L) is the progress of each future frame, and of the model's L `later` ones, less that of the
    newest; NaN where nobody knows it, and of later ones where no policy acted on.
    """

    history: Tensor
    future: Tensor
    happened: Tensor
    proprio: Tensor
    actions: Tensor
    measured: Tensor
    gained: Tensor


def training_window(
    recordings: Recordings,
    moments: Tensor,
    shape: VideoDynamicsConfig,
    progress: Tensor | None = None,
    *,
    device: torch.device | str = "cpu",
) -> Window:
    """What was before and after recorded moments (B,), and what was done: `shape` gives history, stride and chunk.

    progress: (N,) of every recorded moment, to tell what was gained. device: where the frames are to be.
    """
    if recordings.latents is None:
        raise ValueError("windows hold latents: call recordings.encoded(codec) first")
    before = recordings.history(moments, shape.history, shape.stride)
    after, happened = recordings.future(moments, shape.chunk)
    acted, _ = recordings.chunk(moments, shape.chunk)
    known = torch.full((len(recordings),), torch.nan) if progress is None else progress
    return Window(
        history=recordings.latents[before].to(device).float(),
        future=recordings.latents[after].to(device).float(),
        happened=happened,
        proprio=recordings.proprio[moments],
        actions=recordings.actions[acted],
        measured=recordings.proprio[after],
        gained=torch.cat([known[after], _known_later(recordings, moments, shape.later, known)], dim=1)
        - known[moments][:, None],
    )


def _known_later(recordings: Recordings, moments: Tensor, later: Sequence[int], known: Tensor) -> Tensor:
    """What is known (N,) of `later` ticks after moments (B,): (B, L), NaN where no policy acted on."""
    acted_on = torch.tensor([source == "rollout" for source in recordings.sources])[recordings.episode[moments]]
    ahead = torch.minimum(moments[:, None] + torch.tensor(later, dtype=torch.int64), recordings.last[moments][:, None])
    return known[ahead].where(acted_on[:, None], torch.nan)


def shortened(window: Window, fraction: float, generator: Generator) -> Window:
    """Some rows as if their chunk were shorter: the last target held from a random tick on, later frames unknown."""
    batch, ticks = window.happened.shape
    chosen = torch.rand(batch, generator=generator) < fraction
    length = torch.where(chosen, torch.randint(1, ticks + 1, (batch,), generator=generator), ticks)
    index = torch.minimum(torch.arange(ticks), length[:, None] - 1)
    held = window.actions.gather(1, index[..., None].expand_as(window.actions))
    gained = torch.cat([window.gained[:, :ticks], window.gained[:, ticks:].where(~chosen[:, None], torch.nan)], dim=1)
    happened = window.happened & (torch.arange(ticks) < length[:, None])
    return window._replace(actions=held, happened=happened, gained=gained)
