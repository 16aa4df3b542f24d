"""Recorded figures as text: a value, and its 95 % interval if there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NOT_COMPUTABLE = "not computable"


def number_of(figure: Mapping[str, Any], name: str = "") -> float | None:
    """Its value; None where there was nothing to compute, for which JSON has null."""
    value = figure.get(name or "value")
    return None if value is None or value != value else float(value)


def ends_of(figure: Mapping[str, Any], name: str = "") -> tuple[float, float] | None:
    """The ends of its interval, if it has one."""
    low, high = figure.get(f"{name}_ci95" if name else "ci95") or (None, None)
    return None if low is None or high is None or low != low or high != high else (float(low), float(high))


def value_text(figure: Mapping[str, Any], name: str = "", *, signed: bool = False) -> str:
    """`0.97 (0.81 to 1.00)`; what could not be computed says so."""
    value, ends, sign = number_of(figure, name), ends_of(figure, name), "+" if signed else ""
    if value is None:
        return NOT_COMPUTABLE
    return f"{value:{sign}.2f}" + ("" if ends is None else f" ({ends[0]:{sign}.2f} to {ends[1]:{sign}.2f})")


def share_text(figure: Mapping[str, Any], name: str = "", *, digits: int = 0) -> str:
    """The same of a share: `38% (26% to 51%)`."""
    value, ends = number_of(figure, name), ends_of(figure, name)
    if value is None:
        return NOT_COMPUTABLE
    return f"{value:.{digits}%}" + ("" if ends is None else f" ({ends[0]:.0%} to {ends[1]:.0%})")


def points_text(row: Mapping[str, Any], name: str = "points") -> str:
    """The same of points of success: `+24.5 (17.0 to 32.0)`."""
    value, ends = number_of(row, name), ends_of(row, name)
    if value is None:
        return "-"
    return f"{value:+.1f}" + ("" if ends is None else f" ({ends[0]:+.1f} to {ends[1]:+.1f})")


def chunks_text(name: str) -> str:
    """`chunks_2` as `2 chunks`."""
    return counted(int(name.removeprefix("chunks_")), "chunk") if name.startswith("chunks_") else name


def counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
