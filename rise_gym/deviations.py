"""Whether what a dream says of deviations comes true, told by recordings alone: no replica, no robot is needed.

Rollouts recorded with noise are a policy's own chunks and smooth chance, which is an experiment that somebody has made
already. Where a chunk begins, the dream is asked what the executed chunk is worth more than the policy's own; and the
recording tells how much progress followed. RISE learns from such differences: a dream in which they say nothing has
nothing to teach, however well it foretells what the state alone decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from rise_gym.errors import InvalidDataset
from rise_gym.metrics import grouped_bootstrap, pearson
from rise_gym.recordings import Recordings
from rise_gym.world_model import CompositionalWorldModel

__all__ = ["chunk_beginnings", "deviation_claims", "deviation_figures"]

AFTER_CHUNKS = (1, 2, 3, 5)
"""After how many chunks the progress is looked at."""
_ROWS = 64
_ALIKE = 1e-3
"""Of scaled actions: less apart than that is no deviation."""


def chunk_beginnings(recordings: Recordings, chunk: int) -> Tensor:
    """Moments (M,) at which a whole chunk of rollouts begins.

    Raises:
        InvalidDataset: if there are none, or nobody knows the progress.
    """
    rows = torch.arange(len(recordings))
    acted = torch.tensor([source == "rollout" for source in recordings.sources])[recordings.episode]
    moments = rows[acted & ((rows - recordings.first) % chunk == 0) & (rows + chunk <= recordings.last)]
    if not len(moments) or bool(recordings.progress[moments].isnan().any()):
        raise InvalidDataset(
            f"a policy's episodes of more than {chunk} ticks whose progress was recorded were wanted: record some with "
            "`rise-gym collect --who policy --noise 0.5`"
        )
    return moments


@torch.no_grad()
def deviation_claims(
    model: CompositionalWorldModel,
    own: Callable[[Tensor], Tensor],
    recordings: Recordings,
    moments: Tensor,
    *,
    on_progress: Callable[[int], None] = lambda done: None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What the dream finds the policy's own chunk and the executed one worth, of the same noise: advantages (M,) each.

    Args:
        model: what dreams.
        own: the chunks (B, K, A) that the policy means at moments (B,), scaled and without chance.
        recordings: with frames; best such as the model did not learn from.
        moments: of `chunk_beginnings`.
        on_progress: called with how many moments are done.

    Raises:
        InvalidDataset: if the first chunks that were executed are the policy's own: without chance nothing was tried.
    """
    meant: list[Tensor] = []
    executed: list[Tensor] = []
    for rows in moments.split(_ROWS):
        window = recordings.history(rows, model.history_ticks)
        state = model.begin(recordings.frames[window], recordings.proprio[rows], recordings.instruction_of(rows))
        index, _ = recordings.chunk(rows, model.longest_chunk)
        chunks = (own(rows), recordings.actions[index])
        if not meant and float((chunks[0] - chunks[1]).abs().mean()) < _ALIKE:
            raise InvalidDataset(
                "rollouts that deviate from the policy's own chunks were wanted, these are its own: record some with "
                "`rise-gym collect --who policy --noise 0.5`"
            )
        for actions, found in zip(chunks, (meant, executed), strict=True):
            noise = [Generator().manual_seed(int(row)) for row in rows]
            found.append(model.imagine(state, actions, generator=noise, drawn=False)[1].advantage)
        on_progress(sum(map(len, meant)))
    return torch.cat(meant).cpu().double().numpy(), torch.cat(executed).cpu().double().numpy()


def deviation_figures(
    recordings: Recordings, moments: Tensor, own: NDArray[np.float64], executed: NDArray[np.float64]
) -> dict[str, Any]:
    """How much of what follows is as it was said of deviations.

    Returns:
        `episodes`, `successes`, `moments`, and `after_ticks`: for each horizon its `ticks`, and the partial
        `correlation` of the worth of deviations (`executed` less `own`) with the progress that follows, with its
        `ci95` over episodes: beyond what the own chunk's advantage, the progress so far and the time tell of the state,
        which is most of both.
    """
    progress = recordings.progress.double().numpy()
    now, episode = progress[moments], recordings.episode[moments].numpy()
    time = (moments - recordings.first[moments]).double().numpy()
    spread = max(1.0, float(time.max()))
    steps = (now[:, None] > np.linspace(0.05, 0.95, 10)).astype(float)
    known = np.column_stack([np.ones_like(own), own, own**2, now, now**2, time / spread, (time / spread) ** 2, steps])
    rows = []
    for ticks in (chunks * recordings.task.chunk for chunks in AFTER_CHUNKS):
        later = torch.minimum(moments + ticks, recordings.last[moments])
        columns = np.column_stack([executed - own, progress[later] - now, known])
        correlation, interval = grouped_bootstrap(columns, episode, _partial)
        rows.append({"ticks": ticks, "correlation": correlation, "ci95": interval})
    there = np.unique(episode)
    return {
        "episodes": len(there),
        "successes": int(recordings.success[there].sum()),
        "moments": len(moments),
        "after_ticks": rows,
    }


def _partial(columns: NDArray[np.float64]) -> float:
    """Correlation of the first two columns (n,) beyond what the others tell linearly."""
    pair, known = columns[:, :2], columns[:, 2:]
    fit, *_ = np.linalg.lstsq(known, pair, rcond=None)
    claimed, happened = (pair - known @ fit).T
    return pearson(claimed, happened)
