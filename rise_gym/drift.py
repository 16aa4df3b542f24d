"""How dreams of recorded actions drift from what was recorded, chunk by chunk: pictures, joints, progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from rise_gym.metrics import bootstrap_interval
from rise_gym.recordings import Recordings
from rise_gym.world_model import CompositionalWorldModel

__all__ = ["DriftRows", "drift_figures", "drift_moments", "drift_rows", "joined"]

Rows = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class DriftRows:
    """Dreams from M recorded moments, H chunks each; NaN where the episode was over before a chunk was.

    Attributes:
        episode: (M,) which episode. success: bool (M,), whether it succeeded in the end.
        picture_error: (M, H) mean squared error of a chunk's frames, of 255 squared, all views.
        joint_error_rad, gripper_error_m: (M, H) mean absolute error of proprioception at a chunk's end.
        imagined_progress, true_progress: (M, H) at a chunk's end, in [0, 1].
        gain_error: (M, H) absolute error of the progress gained from the dream's beginning to a chunk's end.
        uncertainty: (M, H) what the dream itself said of each chunk, see `rise_gym.types.Imagination`.
        progress_uncertainty: (M, H) what it expected `gain_error` to be, of all chunks up to each: the root of the sum
            of squares; NaN where the model does not know.
    """

    episode: NDArray[np.int64]
    success: NDArray[np.bool_]
    picture_error: Rows
    joint_error_rad: Rows
    gripper_error_m: Rows
    imagined_progress: Rows
    true_progress: Rows
    gain_error: Rows
    uncertainty: Rows
    progress_uncertainty: Rows


def drift_moments(recordings: Recordings, *, every_ticks: int) -> Tensor:
    """Moments to dream from (M,): every so many ticks of each episode, with a whole chunk before them."""
    rows = torch.arange(len(recordings))
    fits = (rows - recordings.first) % every_ticks == 0
    return rows[fits & (rows + recordings.task.chunk <= recordings.last)]


def drift_rows(
    model: CompositionalWorldModel, recordings: Recordings, moments: Tensor, *, chunks: int, seed: int = 0
) -> DriftRows:
    """Dream `chunks` chunks of the recorded actions from recorded moments (M,), and compare.

    Args:
        model: what dreams.
        recordings: with frames and measured progress; episodes that the model did not learn from.
        moments: indices into them.
        chunks: how far. seed: of the dreams' noise; that of a moment does not depend on the others.
    """
    task, chunk = recordings.task, recordings.task.chunk
    joints = torch.tensor([not name.endswith("_m") for name in task.proprio_names])
    window = recordings.history(moments, model.history_ticks)
    state = model.begin(recordings.frames[window], recordings.proprio[moments], recordings.instruction_of(moments))
    noise = [Generator().manual_seed(seed * 1_000_003 + int(moment)) for moment in moments]
    believed, begun, doubt = state.progress, recordings.progress[moments], torch.zeros(len(moments))
    columns: dict[str, list[Tensor]] = {field.name: [] for field in fields(DriftRows)[2:]}
    for number in range(chunks):
        taken, _ = recordings.chunk((moments + number * chunk).clamp(max=recordings.last[moments] - 1), chunk)
        state, imagined = model.imagine(state, recordings.actions[taken], generator=noise)
        ahead = moments[:, None] + number * chunk + torch.arange(1, chunk + 1)  # (M, K)
        there = ahead[:, -1] <= recordings.last[moments]
        ahead = ahead.clamp(max=recordings.last[moments][:, None])
        frames, true = model.decode(imagined.latents).cpu().float(), recordings.frames[ahead].float()
        apart = (imagined.proprio[:, -1].cpu() - recordings.proprio[ahead[:, -1]]).abs()
        reached = recordings.progress[ahead[:, -1]]
        gained = imagined.progress[:, -1] - believed
        doubt = (
            torch.full_like(doubt, torch.nan)
            if imagined.progress_uncertainty is None
            else torch.hypot(doubt, imagined.progress_uncertainty.cpu())
        )
        found = {
            "picture_error": (frames - true).square().flatten(1).mean(1),
            "joint_error_rad": apart[:, joints].mean(1),
            "gripper_error_m": apart[:, ~joints].mean(1),
            "imagined_progress": imagined.progress[:, -1].cpu().clamp(0, 1),
            "true_progress": reached.clamp(0, 1),
            "gain_error": (gained.cpu() - (reached - begun)).abs(),
            "uncertainty": imagined.uncertainty.cpu(),
            "progress_uncertainty": doubt,
        }
        for name, column in found.items():
            columns[name].append(torch.where(there, column, torch.nan))
    episode = recordings.episode[moments]
    return DriftRows(
        episode=episode.numpy(),
        success=recordings.success[episode].numpy(),
        **{name: torch.stack(column, dim=1).double().numpy() for name, column in columns.items()},
    )


def joined(parts: list[DriftRows]) -> DriftRows:
    """All rows one after the other."""
    return DriftRows(
        **{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(DriftRows)}
    )


def drift_figures(rows: DriftRows, *, draws: int = 300) -> dict[str, dict[str, Any]]:
    """By outcome, `success` and `failure`: of every horizon its `count` of dreams, and each figure with its interval.

    `psnr_db` is of the mean squared error over dreams; `joint_rad`, `gripper_m` and `progress` are mean absolute
    errors, `progress_bias` is imagined less true. Each is `value` (H,) and `ci95` (H, 2), resampled over episodes.
    """
    return {
        name: _of_outcome(rows, rows.success == wanted, draws)
        for name, wanted in (("success", True), ("failure", False))
        if (rows.success == wanted).any()
    }


def _of_outcome(rows: DriftRows, chosen: NDArray[np.bool_], draws: int) -> dict[str, Any]:
    bias = rows.imagined_progress - rows.true_progress
    measures: dict[str, tuple[Rows, Callable[[float], float]]] = {
        "psnr_db": (rows.picture_error, _decibel),
        "joint_rad": (rows.joint_error_rad, float),
        "gripper_m": (rows.gripper_error_m, float),
        "progress": (np.abs(bias), float),
        "progress_bias": (bias, float),
    }
    episode = rows.episode[chosen]
    found: dict[str, Any] = {"count": np.isfinite(rows.picture_error[chosen]).sum(0).tolist()}
    for name, (errors, unit) in measures.items():
        columns = [_mean_of(column, episode, unit, draws) for column in errors[chosen].T]
        found[name] = {"value": [value for value, _ in columns], "ci95": [interval for _, interval in columns]}
    return found


def _decibel(squared_error: float) -> float:
    return float(10 * np.log10(255.0**2 / max(squared_error, 1e-6)))


def _mean_of(
    errors: NDArray[np.float64], episode: NDArray[np.int64], unit: Callable[[float], float], draws: int
) -> tuple[float, list[float]]:
    """Mean of errors (n,), NaN left out, in a unit; its interval resamples episodes."""
    there = np.isfinite(errors)
    if not there.any():
        return float("nan"), [float("nan")] * 2
    names, place = np.unique(episode[there], return_inverse=True)
    sums, counts = np.bincount(place, errors[there]), np.bincount(place)

    def of(picked: NDArray[Any]) -> float:
        return unit(float(sums[picked].sum() / counts[picked].sum()))

    index = np.arange(len(names))
    return of(index), list(bootstrap_interval(index, of, np.random.default_rng(0), resamples=draws))
