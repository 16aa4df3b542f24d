"""Whether what a dream claims comes true as often as it says so: reliability diagrams, and successes that were none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rise_gym.metrics import grouped_bootstrap, wilson_interval

if TYPE_CHECKING:
    from rise_gym.drift import DriftRows

__all__ = ["FEWEST_IN_A_BIN", "false_success", "progress_figures", "reliability", "success_figures"]

FEWEST_IN_A_BIN = 5
"""A bin with fewer claims says nothing about how often they come true."""


def reliability(
    claimed: NDArray[Any],
    happened: NDArray[Any],
    *,
    bins: int = 10,
    groups: NDArray[Any] | None = None,
    draws: int = 500,
) -> dict[str, Any]:
    """A reliability diagram of claims (n,) in [0, 1] and what happened (n,): 0 or 1, or a progress in [0, 1].

    The calibration error is the mean over claims of |mean claimed - mean happened| of the bin that the claim lies in.

    Args:
        claimed: what was imagined. happened: what was true.
        bins: of equal width; empty ones are left out.
        groups: (n,) what belongs together, an episode say: intervals resample these; default: every claim by itself.
        draws: resamples of the bootstrap.

    Returns:
        `count`, `calibration_error` and its `calibration_error_ci95`, `claimed_mean`, `happened_mean`, and `bins`: of
        each `low`, `high`, `count`, `claimed`, `happened` (means) and `happened_ci95`.

    Raises:
        ValueError: if the two do not fit each other, are empty, or leave [0, 1].
    """
    ours, theirs = np.asarray(claimed, np.float64), np.asarray(happened, np.float64)
    if ours.shape != theirs.shape or ours.ndim != 1 or not len(ours):
        raise ValueError(f"claims (n,) and what happened (n,) were wanted, got {ours.shape} and {theirs.shape}")
    if min(ours.min(), theirs.min()) < 0 or max(ours.max(), theirs.max()) > 1:
        raise ValueError("claims and what happened lie in [0, 1]; clip progress below 0 first")
    together = np.arange(len(ours)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    pairs = np.stack([ours, theirs], axis=1)
    error, error_interval = grouped_bootstrap(pairs, together, lambda rows: _calibration_error(rows, bins), draws=draws)
    return {
        "count": len(ours),
        "claimed_mean": float(ours.mean()),
        "happened_mean": float(theirs.mean()),
        "calibration_error": error,
        "calibration_error_ci95": error_interval,
        "bins": [_bin(pairs, together, number, bins, draws) for number in np.unique(_bin_of(ours, bins))],
    }


def _bin_of(claimed: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    return np.minimum((claimed * bins).astype(np.int64), bins - 1)


def _bin(pairs: NDArray[np.float64], together: NDArray[Any], number: int, bins: int, draws: int) -> dict[str, Any]:
    inside = _bin_of(pairs[:, 0], bins) == number
    rows = pairs[inside]
    value, interval = grouped_bootstrap(rows, together[inside], lambda found: float(found[:, 1].mean()), draws=draws)
    return {
        "low": number / bins,
        "high": (number + 1) / bins,
        "count": len(rows),
        "claimed": float(rows[:, 0].mean()),
        "happened": value,
        "happened_ci95": interval,
    }


def _calibration_error(pairs: NDArray[np.float64], bins: int) -> float:
    place = _bin_of(pairs[:, 0], bins)
    apart = np.abs(np.bincount(place, pairs[:, 0] - pairs[:, 1], bins))
    return float(apart.sum() / len(pairs))


def false_success(dreamt: NDArray[np.bool_], true: NDArray[np.bool_]) -> dict[str, Any]:
    """Successes that were only dreamt, of pairs with the same start: dreamt and true bool (n,).

    Returns:
        `episodes`, `dreamt_successes`, `false_successes`; their share `of_dreamt_successes` and `of_failures`, each
        `value` (NaN if there are none) and `ci95` (Wilson's); `missed_successes`, true ones that were dreamt to fail.
    """
    ours, theirs = np.asarray(dreamt, bool), np.asarray(true, bool)
    if ours.shape != theirs.shape:
        raise ValueError(f"as many dreams as episodes were wanted, got {ours.shape} and {theirs.shape}")
    wrong, claimed, failed = int((ours & ~theirs).sum()), int(ours.sum()), int((~theirs).sum())
    return {
        "episodes": len(ours),
        "dreamt_successes": claimed,
        "false_successes": wrong,
        "missed_successes": int((~ours & theirs).sum()),
        "of_dreamt_successes": _share(wrong, claimed),
        "of_failures": _share(wrong, failed),
    }


def _share(count: int, of: int) -> dict[str, Any]:
    return {"value": count / of if of else float("nan"), "ci95": list(wilson_interval(count, of))}


def success_figures(dreamt: NDArray[np.bool_], true: NDArray[np.bool_]) -> dict[str, Any]:
    """Of D dreams each of E episodes, bool (D, E), and outcomes bool (E,).

    Returns:
        `success`, the reliability of the share of dreams that succeed, and `false_success` over all dreams.
    """
    every = np.broadcast_to(true, dreamt.shape)
    return {
        "success": reliability(dreamt.mean(0), true.astype(float), bins=5),
        "false_success": false_success(dreamt.ravel(), every.ravel()),
    }


def progress_figures(rows: DriftRows) -> dict[str, Any]:
    """Reliability of imagined progress after one chunk, two, and as many as were dreamt: `chunks_<n>`."""
    found = {}
    most = rows.true_progress.shape[1]
    for number in sorted({1, min(2, most), most}):
        claimed, true = rows.imagined_progress[:, number - 1], rows.true_progress[:, number - 1]
        there = np.isfinite(true)
        if there.any():
            found[f"chunks_{number}"] = reliability(claimed[there], true[there], groups=rows.episode[there])
    return found
