"""Markdown of recorded figures: tables, percentages, intervals, and where a figure is from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers are rounded to three digits."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell_text(cell) for cell in line) + " |" for line in lines)


def cell_text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def interval_of(interval: Sequence[float | None], factor: float = 1.0, digits: int = 2) -> str:
    low, high = interval
    return "-" if low is None or high is None else f"{factor * low:.{digits}f} to {factor * high:.{digits}f}"


def with_interval(figure: Json) -> list[object]:
    """A figure's value and its interval, two cells."""
    return [figure["value"], interval_of(figure["ci95"])]


def origin(name: str, recorded: Json) -> str:
    machine = recorded.get("machine", {})
    where = f"{machine.get('cpus', '?')} CPU cores, torch {machine.get('torch', '?')}"
    commit = str(recorded.get("commit", "?"))[:12]
    return (
        f"`{recorded['command']}`: {recorded['seconds'] / 60:.0f} minutes on {where}, commit {commit}; `{name}.json`."
    )
