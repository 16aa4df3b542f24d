"""Whether a dream that says it is uncertain is wrong more often, and by how much it may be wrong given what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rise_gym.metrics import auroc, grouped_bootstrap

if TYPE_CHECKING:
    from rise_gym.drift import DriftRows

__all__ = ["uncertainty_figures"]

_SMALLEST = 1e-6  # uncertainty of a dream that claims to have none
_ROC_POINTS = 41

Rows = NDArray[np.float64]


def uncertainty_figures(
    rows: DriftRows, *, worst_share: float = 0.25, level: float = 0.9, draws: int = 300
) -> dict[str, Any]:
    """How far the uncertainty of dreams (M, H) tells their true errors, by what is wrong and by horizon.

    Args:
        rows: dreams of recorded actions, see `rise_gym.drift.drift_rows`.
        worst_share: the errors that uncertainty is to point out, those above the others.
        level: what share of errors a bound has to cover.
        draws: resamples of the bootstrap, over episodes.

    Returns:
        `worst_share`, `level`, and `errors`: of `pictures` (root mean square, of 255), told by the uncertainty of the
        frames, and of `progress_gained`, told by the progress uncertainty, with `progress_gained_told_by_frames` beside
        it; of a model that does not know that, by the uncertainty of the frames alone. After one chunk, two, and as
        many as were dreamt (`chunks_<n>`), each

        - `count` of dreams, and `auroc` of the worst errors (`value` and `ci95`; NaN if there is nothing to tell);
        - `roc`: (41, 2) false and true alarms at as many limits of uncertainty;
        - `coverage` (`value` and `ci95`): how often an error lies below the bound "so many times the uncertainty", the
          factor being chosen on the other half of the episodes to reach `level`;
        - `mean_bound`, and `mean_constant_bound` of one bound for all, chosen likewise: what uncertainty saves.

    Raises:
        ValueError: if `worst_share` or `level` is not between 0 and 1.
    """
    if not 0 < worst_share < 1 or not 0 < level < 1:
        raise ValueError(f"fractions between 0 and 1 were wanted, got worst_share={worst_share} and level={level}")
    most = rows.uncertainty.shape[1]
    errors = {"pictures": (rows.uncertainty, np.sqrt(rows.picture_error))}
    if np.isfinite(rows.progress_uncertainty).any():
        errors["progress_gained"] = rows.progress_uncertainty, rows.gain_error
        errors["progress_gained_told_by_frames"] = rows.uncertainty, rows.gain_error
    else:
        errors["progress_gained"] = rows.uncertainty, rows.gain_error
    found: dict[str, dict[str, Any]] = {name: {} for name in errors}
    for name, (told, error) in errors.items():
        for number in sorted({1, min(2, most), most}):
            pairs = np.stack([told[:, number - 1], error[:, number - 1]], axis=1)
            there = np.isfinite(pairs).all(1)
            if there.any():
                figures = _told(pairs[there], rows.episode[there], worst_share, level, draws)
                found[name][f"chunks_{number}"] = figures
    return {"worst_share": worst_share, "level": level, "errors": found}


def _told(pairs: Rows, episode: NDArray[np.int64], worst_share: float, level: float, draws: int) -> dict[str, Any]:
    """Of uncertainty and error (n, 2)."""
    limit = float(np.quantile(pairs[:, 1], 1 - worst_share))
    area, area_interval = grouped_bootstrap(pairs, episode, lambda some: _auroc(some, limit), draws=draws)
    bounds, constants = _bounds(pairs, episode, level)
    covered = np.stack([pairs[:, 1] <= bounds, bounds, constants], axis=1).astype(float)
    share, share_interval = grouped_bootstrap(covered, episode, lambda some: float(some[:, 0].mean()), draws=draws)
    return {
        "count": len(pairs),
        "auroc": {"value": area, "ci95": area_interval},
        "roc": _roc(pairs, limit),
        "coverage": {"value": share, "ci95": share_interval},
        "mean_bound": float(bounds.mean()),
        "mean_constant_bound": float(constants.mean()),
    }


def _auroc(pairs: Rows, limit: float) -> float:
    worst = pairs[:, 1] > limit
    return float("nan") if worst.all() or not worst.any() else auroc(pairs[:, 0], worst)


def _roc(pairs: Rows, limit: float) -> list[list[float]]:
    worst = pairs[:, 1] > limit
    if worst.all() or not worst.any():
        return []
    limits = np.quantile(pairs[~worst, 0], np.linspace(1, 0, _ROC_POINTS))
    return [[float((pairs[~worst, 0] >= at).mean()), float((pairs[worst, 0] >= at).mean())] for at in limits]


def _bounds(pairs: Rows, episode: NDArray[np.int64], level: float) -> tuple[Rows, Rows]:
    """Bounds of errors in proportion to uncertainty, and one for all: (n,) each, chosen on the other half's episodes.

    Split conformal prediction; with a single episode it is its own other half.
    """
    doubt = pairs[:, 0].clip(min=_SMALLEST)
    half = np.unique(episode, return_inverse=True)[1] % 2 == 0
    bounds, constants = np.empty(len(pairs)), np.empty(len(pairs))
    for mine in (half, ~half):
        other = mine if (~mine).sum() == 0 else ~mine
        ratios, errors = pairs[other, 1] / doubt[other], pairs[other, 1]
        bounds[mine] = _upper(ratios, level) * doubt[mine]
        constants[mine] = _upper(errors, level)
    return bounds, constants


def _upper(values: Rows, level: float) -> float:
    """The conformal quantile: the ceil((n + 1) level)-th smallest, or the largest if there are too few."""
    place = min(int(np.ceil((len(values) + 1) * level)), len(values)) - 1
    return float(np.sort(values)[place])
