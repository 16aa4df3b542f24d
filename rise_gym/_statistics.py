"""Statistics of a LeRobot dataset: an episode's own beside its description, and pooled for normalisation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rise_gym._lerobot import Row, video_key
from rise_gym.types import Episode

Pooled = dict[str, dict[str, Any]]

_FRAMES_IN_STATS = 10  # an episode's colour statistics come from this many of its frames


def statistics_of(columns: Row, episode: Episode) -> Row:
    """`stats/<feature>/<measure>` of one episode, colours per channel in [0, 1].

    A column that was not measured counts nothing (`count` 0), so that every episode has the same statistics columns.
    """
    found: Row = {}
    chosen = np.unique(np.linspace(0, len(episode) - 1, _FRAMES_IN_STATS).round().astype(int))
    images = {video_key(camera): frames[chosen] / 255.0 for camera, frames in episode.frames.items()}
    for name, values in {**columns, **images}.items():
        matrix = np.asarray(values, np.float64).reshape(-1, 1 if values.ndim == 1 else values.shape[-1])
        measured = not np.isnan(matrix).any()
        shape = (3, 1, 1) if name in images else (matrix.shape[1],)
        for measure in ("min", "max", "mean", "std"):
            figure = getattr(np.nan_to_num(matrix), measure)(axis=0)
            found[f"stats/{name}/{measure}"] = (figure * measured).reshape(shape).tolist()
        found[f"stats/{name}/count"] = [measured * (len(chosen) if name in images else len(matrix))]
    return found


def pooled_statistics(rows: Iterable[Row], before: Pooled | None = None) -> Pooled:
    """`meta/stats.json` from the episodes' statistics, and from what was pooled of others `before`."""
    parts: dict[str, list[dict[str, NDArray[np.float64]]]] = {
        name: [{measure: np.asarray(value, np.float64) for measure, value in measures.items()}]
        for name, measures in (before or {}).items()
    }
    for row in rows:
        mine: dict[str, dict[str, NDArray[np.float64]]] = {}
        for key, value in row.items():
            if key.startswith("stats/") and value is not None:
                name, measure = key.removeprefix("stats/").rsplit("/", 1)
                mine.setdefault(name, {})[measure] = np.asarray(value, np.float64)
        for name, measures in mine.items():
            if measures["count"].sum():
                parts.setdefault(name, []).append(measures)
    return {name: _pooled(measures) for name, measures in parts.items()}


def _pooled(parts: list[dict[str, NDArray[np.float64]]]) -> dict[str, Any]:
    count, low, high, mean, std = (
        np.stack([p[measure] for p in parts]) for measure in ("count", "min", "max", "mean", "std")
    )
    weight = (count / count.sum()).reshape(-1, *[1] * (mean.ndim - 1))
    centre = (weight * mean).sum(0)
    spread = np.sqrt((weight * (std**2 + (mean - centre) ** 2)).sum(0))  # law of total variance
    pooled = {"min": low.min(0), "max": high.max(0), "mean": centre, "std": spread, "count": count.sum(0).astype(int)}
    return {measure: value.tolist() for measure, value in pooled.items()}
