"""Advantage: how much better a chunk was than where it started; imagined chunks and recorded rollouts alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rise_gym.protocols import Value
from rise_gym.recordings import Recordings
from rise_gym.types import Source

LABELLED_SOURCES: tuple[Source, ...] = ("rollout", "imagined")
"""Sources whose chunks the value judges; demonstrations and corrections count as the best there is."""


@dataclass(frozen=True, kw_only=True)
class AdvantageConfig:
    """Constants of the advantage; the paper's unless said otherwise.

    Attributes:
        scale: factor before clamping to [-1, 1]. bins: how many a policy tells apart.
        smoothing_ticks: recorded values are averaged over this many frames first (imagined ones are not). The paper has
            3 and chunks of 50; over chunks of 10 most of a rise would be the value's noise (`benchmarks/results`).
        spread: "uniform" labels are the scaled advantage, as in the paper. "quantile" replaces each rollout's label
            by its rank among all, from -1 to 1, so that equal bins hold equally many rows (a value of small slope
            otherwise puts nearly all rows into two bins).
    """

    scale: float = 5.0
    bins: int = 10
    smoothing_ticks: int = 15
    spread: Literal["uniform", "quantile"] = "uniform"

    def __post_init__(self) -> None:
        if self.scale <= 0 or self.bins < 2 or self.smoothing_ticks < 1:
            raise ValueError(f"scale must be positive, bins at least 2 and smoothing_ticks at least 1, got {self}")


def chunk_advantage(value_now: Tensor, values: Tensor, scale: float = 5.0) -> Tensor:
    """Equation 2 of the paper: mean value over the frames of a chunk minus value now, scaled and clamped.

    value_now (B,), values (B, F) -> (B,) in [-1, 1].
    """
    return ((values.mean(dim=-1) - value_now) * scale).clamp(-1, 1)


def advantage_bin(advantage: Tensor, bins: int = 10) -> Tensor:
    """Which of `bins` equal parts of [-1, 1] an advantage lies in, counted from 0; int64, same shape.

    Parts are closed on the left, as in the paper's code: with ten, 0.0 is index 5 (the paper's bin 6) and 1.0 index 9
    (its bin 10); what lies outside [-1, 1] goes to the outermost.
    """
    # the float32 next to an edge written in decimals (-0.8, say) may lie just below it
    return ((advantage.double() + 1) * bins / 2 + 1e-6).floor().clamp(0, bins - 1).long()


def label_recordings(recordings: Recordings, value: Value, ticks: int, config: AdvantageConfig | None = None) -> Tensor:
    """Advantage of the chunk executed from every moment: (N,) in [-1, 1].

    Rollouts: the value, smoothed, over the next `ticks` frames (fewer at the episode's end) against now. Demonstrations
    and corrections are 1.0, as in the paper; see `judged_episodes`.
    """
    config = config or AdvantageConfig()
    labels = torch.ones(len(recordings))
    rows = judged_episodes(recordings)[recordings.episode].nonzero().flatten()
    if not len(rows):
        return labels
    values = smoothed(recordings, values_of(recordings, value, rows), config.smoothing_ticks)
    following, happened = recordings.future(rows, ticks)
    count = happened.sum(1).clamp(min=1)
    mean = (values[following] * happened).sum(1) / count
    mean = torch.where(happened.any(1), mean, values[rows])  # after the last frame nothing can be gained
    advantage = (mean - values[rows]) * config.scale
    labels[rows] = advantage.clamp(-1, 1) if config.spread == "uniform" else rank_among(advantage, advantage)
    return labels


def judged_episodes(recordings: Recordings) -> Tensor:
    """Which episodes the value judges, bool (E,): rollouts, and what was shown but failed, which is no model."""
    return torch.tensor([source in LABELLED_SOURCES for source in recordings.sources]) | ~recordings.success


@torch.no_grad()
def values_of(recordings: Recordings, value: Value, rows: Tensor | None = None, *, batch_size: int = 512) -> Tensor:
    """The value of the moments `rows` (all by default) in their places: (N,), 0 elsewhere.

    Raises:
        ValueError: if the recordings were not encoded.
    """
    if recordings.latents is None:
        raise ValueError("a value reads latents: call recordings.encoded(codec) first")
    values = torch.zeros(len(recordings))
    for part in (torch.arange(len(recordings)) if rows is None else rows).split(batch_size):
        latents = recordings.latents[part].float()
        values[part] = value.progress(latents, recordings.instruction_of(part)).cpu()
    return values


def smoothed(recordings: Recordings, values: Tensor, ticks: int) -> Tensor:
    """Mean over `ticks` frames around each moment, fewer at the ends of its episode: (N,) -> (N,)."""
    rows = torch.arange(len(recordings))
    around = rows[:, None] + torch.arange(ticks) - (ticks - 1) // 2
    inside = (around >= recordings.first[:, None]) & (around <= recordings.last[:, None])
    return (values[around.clamp(0, len(recordings) - 1)] * inside).sum(1) / inside.sum(1)


def rank_among(advantage: Tensor, reference: Tensor) -> Tensor:
    """Where each advantage stands among `reference` ones, from -1 (below them all) to 1; equal ones share their place.

    What spreads labels evenly over the bins; to judge imagined chunks alike, rank them among the recorded ones.
    """
    order = reference.flatten().sort().values.contiguous()
    low = torch.searchsorted(order, advantage.contiguous(), right=False)
    high = torch.searchsorted(order, advantage.contiguous(), right=True)
    return (low + high).float() / len(order) - 1
