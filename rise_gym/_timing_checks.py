"""Whether a recording's rows come when they should: none missing, none twice, none out of order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rise_gym.findings import Finding, Level

_OFF = 0.1  # of the interval between rows, by which its median may be another
_SKIP = "leave them out with `skip` in the mapping"


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Of one episode: rows missing and rows twice by their times, the longest and the median step in s, and all of it.

    `last_s` is the time of its last row. Steps are NaN where times go back or are no numbers.
    """

    episode: int
    missing: int = 0
    twice: int = 0
    longest_s: float = float("nan")
    median_s: float = float("nan")
    span_s: float = 0.0
    last_s: float = float("nan")

    @property
    def ordered(self) -> bool:
        """Whether times are numbers that rise."""
        return bool(np.isfinite(self.longest_s))

    @classmethod
    def of(cls, episode: int, times: NDArray[Any], fps: float) -> Timing:
        """Of the times (N,) in s of an episode's rows."""
        steps = np.diff(np.asarray(times, np.float64))
        if not len(steps):
            return cls(episode=episode, longest_s=0.0, median_s=1 / fps, last_s=float(times[-1]))
        if not np.isfinite(times).all() or (steps < 0).any():
            return cls(episode=episode)
        return cls(
            episode=episode, missing=int((np.round(steps * fps) - 1).clip(min=0).sum()),
            twice=int((steps < 0.25 / fps).sum()), longest_s=float(steps.max()), median_s=float(np.median(steps)),
            span_s=float(times[-1] - times[0]), last_s=float(times[-1]),
        )  # fmt: skip


def timing_findings(timings: Iterable[Timing], fps: float, *, largest_gap_s: float, shortest_s: float) -> list[Finding]:
    """What is odd; a gap longer than `largest_gap_s` is an error, as is an episode shorter than `shortest_s`."""
    known = list(timings)
    ordered = [one for one in known if one.ordered]
    short = [one for one in ordered if one.span_s < shortest_s - 1e-3]
    gaps = [one for one in ordered if one.longest_s > largest_gap_s + 1e-3]
    odd = [one for one in ordered if (one.missing or one.twice) and one.longest_s <= largest_gap_s + 1e-3]
    missing, twice = sum(one.missing for one in ordered), sum(one.twice for one in ordered)
    longest = max((one.longest_s for one in gaps), default=0.0)
    rows: list[tuple[Level, list[Timing], str, str]] = [
        ("error", [one for one in known if not one.ordered], "times that go back or are no numbers", _SKIP),
        ("error", short, "shorter than a control tick", _SKIP),
        (
            "error",
            gaps,
            f"gaps of up to {longest:.2f} s between rows, {largest_gap_s:.2f} s are allowed",
            f"{_SKIP}, or raise `largest_gap_s`",
        ),
        (
            "warning",
            odd,
            f"{missing} rows missing and {twice} twice by their times",
            "what lies between is filled in; look for dropped frames in the recorder",
        ),
    ]
    found = [
        Finding(level=level, field="timestamp", found=text, advice=advice, episodes=tuple(one.episode for one in some))
        for level, some, text, advice in rows
        if some
    ]
    return found + _rate_finding(ordered, fps)


def _rate_finding(timings: list[Timing], fps: float) -> list[Finding]:
    medians = np.array([one.median_s for one in timings])
    if not len(medians) or (np.abs(medians * fps - 1) > _OFF).mean() <= 0.5:
        return []
    told = float(np.median(medians))
    text = f"{fps:g} rows a second are stated, times say {1 / told if told else float('inf'):.3g}"
    return [Finding(level="error", field="fps", found=text, advice="correct `fps` in meta/info.json, or the times")]
