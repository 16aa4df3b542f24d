"""From what progress on a dream counts as done: so that as many dreams succeed as the episodes that they replay.

A value that tells success from near success on recorded frames tells it less well on dreamt ones, which are softer. A
threshold found on recorded frames may then hardly ever be reached in a dream.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from rise_gym.errors import InvalidDataset
from rise_gym.recordings import Recordings
from rise_gym.world_model import CompositionalWorldModel

__all__ = ["calibrate_dreams", "dreamt_peaks"]


def dreamt_peaks(
    model: CompositionalWorldModel, recordings: Recordings, *, begins: Tensor | None = None, seed: int = 0
) -> Tensor:
    """How far the dream of each episode gets, (E,), under the actions that were executed.

    As environments judge it: the least progress of the last `success_ticks` frames of a chunk, the most of any chunk.

    Args:
        model: what dreams.
        recordings: with frames.
        begins: the moment (E,) of each episode that its dream begins from; by default its first.
        seed: of the noise.
    """
    first, last = recordings.first.unique(), recordings.last.unique()
    window = first[:, None]
    if begins is not None:
        first, window = begins, recordings.history(begins, model.history_ticks)
    state = model.begin(recordings.frames[window], recordings.proprio[first], recordings.instruction_of(first))
    noise = [Generator().manual_seed(seed + episode) for episode in range(len(first))]
    peaks = torch.full((len(first),), -1.0)
    for tick in range(0, int((last - first).max()), model.longest_chunk):
        index, _ = recordings.chunk((first + tick).clamp(max=last - 1), model.longest_chunk)
        state, imagined = model.imagine(state, recordings.actions[index], generator=noise)
        reached = imagined.progress[:, -model.config.success_ticks :].amin(1).cpu()
        peaks = torch.where(first + tick < last, torch.maximum(peaks, reached), peaks)
    return peaks


def calibrate_dreams(
    model: CompositionalWorldModel, recordings: Recordings, *, begins: Tensor | None = None, seed: int = 0
) -> float:
    """The threshold that as many dreams reach as episodes succeeded. Give episodes the dynamics did not learn from.

    The arguments are those of `dreamt_peaks`.

    Raises:
        InvalidDataset: if there is not at least one success and one failure.
    """
    successes = int(recordings.success.sum())
    if not 0 < successes < len(recordings.success):
        raise InvalidDataset(
            f"successes and failures were wanted to calibrate on, got {successes} successes of "
            f"{len(recordings.success)} episodes"
        )
    peaks = dreamt_peaks(model, recordings, begins=begins, seed=seed).sort(descending=True).values
    return float(peaks[successes - 1 : successes + 1].mean())
