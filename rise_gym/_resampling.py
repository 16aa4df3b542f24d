"""From a recording's own times to control ticks: measured numbers in between, targets in force, nearest pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]


def tick_times(times: NDArray[np.floating], control_hz: float) -> Times:
    """The seconds of every tick that lies within a recording whose rows were at `times` (N,), from its first row on."""
    span = float(times[-1] - times[0])
    return float(times[0]) + np.arange(int(np.floor(span * control_hz + 1e-3)) + 1) / control_hz


def between(times: NDArray[np.floating], values: NDArray[np.floating], wanted: Times) -> NDArray[np.float64]:
    """Columns (N, D) at `wanted` seconds (n,), on straight lines between rows: (n, D)."""
    columns = [np.interp(wanted, times, column) for column in np.asarray(values, np.float64).T]
    return np.stack(columns, axis=-1)


def in_force(times: NDArray[np.floating], values: NDArray[np.floating], wanted: Times) -> NDArray[np.float64]:
    """Columns (N, D) of the newest row at or before each wanted second (n,): (n, D)."""
    early = 0.05 * float(np.median(np.diff(times))) if len(times) > 1 else 0.0  # times are stored rounded
    newest = np.searchsorted(times, wanted + early, side="right") - 1
    return np.asarray(values, np.float64)[newest.clip(0, len(times) - 1)]
