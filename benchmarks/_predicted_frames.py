"""Predicted beside recorded frames: which moments, what was dreamt, what was true, and how far they are apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from rise_gym.metrics import flow_error, psnr, ssim
from rise_gym.recordings import Recordings
from rise_gym.world_model import CompositionalWorldModel

Frames = NDArray[np.uint8]
CHUNKS = 2
SPACING_TICKS = 7
BATCH = 32


def starts(recordings: Recordings, success: bool, count: int) -> Tensor:
    """At most `count` moments, evenly over all that have the whole horizon before them."""
    rows = torch.arange(len(recordings))
    ahead = CHUNKS * recordings.task.chunk
    fits = (recordings.success[recordings.episode] == success) & (rows + ahead <= recordings.last)
    fits &= (rows - recordings.first) % SPACING_TICKS == 0
    found = rows[fits]
    return found[torch.linspace(0, len(found) - 1, min(count, len(found))).round().long()] if len(found) else found


def imagined_frames(
    model: CompositionalWorldModel, recordings: Recordings, moments: Tensor, actions_of: Tensor, chunks: int = CHUNKS
) -> Frames:
    """Dreams from `moments` with the chunks executed at `actions_of`: uint8 (B, chunks * K, V, H, W, 3)."""
    chunk, parts = recordings.task.chunk, []
    pairs = zip(moments.split(BATCH), actions_of.split(BATCH), strict=True)
    for rows, acting in pairs:
        window = recordings.history(rows, model.history_ticks)
        state = model.begin(recordings.frames[window], recordings.proprio[rows], recordings.instruction_of(rows))
        generators = [Generator().manual_seed(int(row)) for row in rows]
        frames = []
        for number in range(chunks):
            taken, _ = recordings.chunk(acting + number * chunk, chunk)
            state, imagined = model.imagine(state, recordings.actions[taken], generator=generators)
            frames.append(model.decode(imagined.latents))
        parts.append(torch.cat(frames, dim=1).numpy())
    return np.concatenate(parts)


def true_frames(recordings: Recordings, moments: Tensor, chunks: int = CHUNKS) -> Frames:
    """What was recorded: uint8 (B, chunks * K, V, H, W, 3)."""
    ahead, _ = recordings.future(moments, chunks * recordings.task.chunk)
    return recordings.frames[ahead].numpy()


def apart(start: Frames, predicted: Frames, true: Frames, cameras: tuple[str, ...]) -> dict[str, Any]:
    """PSNR, SSIM and flow error of each camera and their mean: start (B, V, ...), the others (B, F, V, H, W, 3)."""
    similarity = [
        ssim(predicted[first : first + BATCH], true[first : first + BATCH]) for first in range(0, len(true), BATCH)
    ]
    weights = [len(true[first : first + BATCH]) for first in range(0, len(true), BATCH)]
    columns = {
        "psnr_db": psnr(predicted, true),
        "ssim": np.average(similarity, axis=0, weights=weights),
        "flow_error_px": flow_error(start, predicted, true),
    }
    return {
        name: {**dict(zip(cameras, column.tolist(), strict=True)), "mean": float(column.mean())}
        for name, column in columns.items()
    }
