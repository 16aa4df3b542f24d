"""Whether numbers are what a task card says: joint angles and targets in rad and m, of this robot, in this order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rise_gym.findings import Finding, Level
from rise_gym.tasks import TaskCard

ROUNDING = 0.05
"""Of a joint's range: as much may targets lie outside, and are cut off; more is in other units, or of another robot."""

_ROWS = 20_000  # looked at to find out what follows what
_NAMED = 7  # joints that a message names
_STATE_OUTSIDE = 0.3  # of a joint's range, for what was measured: contact and overshoot push joints outside

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Outside:
    """Numbers of one joint, measured or asked for, beyond the card's range.

    `kind` is what they may be instead, a text with places for where to say so.
    """

    side: str
    name: str
    level: Level
    kind: str
    text: str
    beyond: float  # of the range


def joint_findings(
    state: Array,
    action: Array,
    following: NDArray[np.bool_],
    task: TaskCard,
    *,
    clip: bool = False,
    episodes: Sequence[int] = (),
) -> list[Finding]:
    """What is odd about measured joints and targets (N, A) in rad and m; `following` (N - 1,): row and next are one's.

    With `clip` targets outside the card's ranges are meant to be cut off. What is odd in the same way is said once.
    `episodes` are their numbers; default: 0, 1, ...
    """
    found: list[Finding] = []
    outside: list[_Outside] = []
    for side, values, allowed in (("action", action, ROUNDING), ("state", state, _STATE_OUTSIDE)):
        if not np.isfinite(values).all():
            rows = (~np.isfinite(values)).any(1)
            places = np.unique(np.cumsum(np.append(False, ~following))[rows]).tolist()
            found.append(
                Finding(
                    level="error", field=side, found=f"{rows.sum()} rows have numbers that are not finite",
                    advice="leave these episodes out with `skip` in the mapping",
                    episodes=tuple(episodes[place] if episodes else place for place in places),
                )
            )  # fmt: skip
            continue
        for index, name in enumerate(task.action_names):
            ends = task.action_low[index], task.action_high[index]
            outside += _outside(side, name, values[:, index], ends, allowed, clip=clip and side == "action")
    found += _told_together(outside)
    if found and any(one.level == "error" for one in found):
        return found
    return found + _still(action, task) + _unrelated(state, action, following, task)


def _outside(
    side: str, name: str, values: Array, ends: tuple[float, float], allowed: float, *, clip: bool
) -> list[_Outside]:
    low, high, width = *ends, ends[1] - ends[0]
    least, most = float(values.min()), float(values.max())
    beyond = max(low - least, most - high) / width
    if beyond <= 1e-4:
        return []
    share = float(((values < low) | (values > high)).mean())
    text = f"from {least:.4g} to {most:.4g}, the task card has {low:.4g} to {high:.4g} ({share:.1%} of rows outside)"
    mild = beyond <= allowed or clip
    kind = ("what is outside is cut off" if side == "action" else "an env shows it at its bounds") if mild else ""
    level: Level = "warning" if mild else "error"
    kind = kind or _unit_hint(name, least, most, low, high)
    return [_Outside(side=side, name=name, level=level, kind=kind, text=text, beyond=beyond)]


def _told_together(outside: Iterable[_Outside]) -> list[Finding]:
    """A finding for each level and kind, with the numbers of the joint that is furthest off."""
    groups: dict[tuple[Level, str], list[_Outside]] = {}
    for one in outside:
        groups.setdefault((one.level, one.kind), []).append(one)
    found = []
    for (level, kind), some in groups.items():
        sides, names = list(dict.fromkeys(one.side for one in some)), list(dict.fromkeys(one.name for one in some))
        worst = max(some, key=lambda one: one.beyond)
        text = worst.text if len(some) == 1 else f"{worst.side} {worst.name}, furthest off, is {worst.text}"
        sections = " and ".join(f"`[{side}]`" for side in sides) if len(names) > 1 else _entries(names)
        advice = kind.format(where=f"{_entries(names)} of the mapping", sections=f"{sections} of the mapping")
        if level == "error":
            advice += f", widen {_entries(names)} in the task file"
            advice += ", or cut targets off with `clip = true` in the mapping" if "action" in sides else ""
        found.append(Finding(level=level, field=f"{' and '.join(sides)} {_named(names)}", found=text, advice=advice))
    return found


def _named(names: Sequence[str]) -> str:
    """Names of joints for a message, the first few."""
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _entries(names: Sequence[str]) -> str:
    return f"`joints.{names[0]}`" + (" and those of the others" if len(names) > 1 else "")


def _unit_hint(name: str, least: float, most: float, low: float, high: float) -> str:
    """What the numbers might be instead, with {where} to say so in the mapping, or {sections} for all joints."""
    widest, size = max(abs(low), abs(high)), max(abs(least), abs(most))
    if name.endswith("_m"):
        if size > 1.5:
            return 'this looks like 0 to 100, or mm: say `unit = "range"` with `range` and `to`, or "mm", in {where}'
        return 'this looks like 0 (shut) to 1 (open): say `unit = "range"`, `range` and `to` in {where}'
    if size > 2 * math.pi and size * math.pi / 180 <= 1.2 * widest:
        return 'this looks like degrees: say `unit = "deg"` in {sections}'
    if widest < size <= 2 * math.pi:
        return "look at `sign` and `offset` in {where}, and whether this is the robot of the card"
    return "look at the unit and at which number it is in {where}, and whether this is the robot of the card"


def _still(action: Array, task: TaskCard) -> list[Finding]:
    spread = np.ptp(action, axis=0)
    still = [name for name, width in zip(task.action_names, spread, strict=True) if width == 0]
    found = []
    if still:
        found.append(
            Finding(
                level="warning", field=f"action {', '.join(still)}", found="the same target throughout",
                advice="look at which numbers of the column these joints are, if they should have moved",
            )
        )  # fmt: skip
    angles = np.array([name.endswith("_rad") for name in task.action_names])
    if angles.any() and 0 < spread[angles].max() < 0.06:
        found.append(
            Finding(
                level="warning", field="action", found=f"angles move by {spread[angles].max():.3g} rad at most",
                advice='rad may have been taken for degrees: look at `unit = "deg"` in the mapping',
            )
        )  # fmt: skip
    return found


def _unrelated(state: Array, action: Array, following: NDArray[np.bool_], task: TaskCard) -> list[Finding]:
    """Targets that are no targets, or of other joints: measured joints should go where they are sent."""
    rows = np.flatnonzero(following)
    if len(rows) < 10:
        return []
    rows = rows[:: max(1, len(rows) // _ROWS)]
    asked, before, after = action[rows], state[rows], state[rows + 1]
    width = np.asarray(task.action_high) - np.asarray(task.action_low)
    reached = _correlation(asked, after)
    odd: dict[tuple[str, str], list[str]] = {}
    for index, name in enumerate(task.action_names):
        other = int(np.nanargmax(np.append(reached[index], -2.0)[:-1]))
        own = reached[index, index]
        moved = _correlation(asked[:, index : index + 1], (after - before)[:, index : index + 1])[0, 0]
        if moved > max(0.8, own + 0.3):
            text = "targets look like differences to the joint's place"
            advice = "absolute joint targets were wanted: add the measured joints to them when recording"
        elif other != index and reached[index, other] > max(0.9, own + 0.3):
            text = f"targets move like the measured {task.action_names[other]}, not like {name}"
            advice = "look at the order of the numbers: `from` in the mapping"
        elif own < -0.5:
            text, advice = "targets move against the measured joint", "look at `sign` of both in the mapping"
        elif float((np.abs(asked - after)[:, index] / width[index]).mean()) > 0.25:
            text = "measured joints are, on average, more than a quarter of the range away from their targets"
            advice = "look at sign, offset and order in the mapping, and whether targets are absolute"
        else:
            continue
        odd.setdefault((text, advice), []).append(name)
    return [
        Finding(level="error", field=f"action {_named(names)}", found=text, advice=advice)
        for (text, advice), names in odd.items()
    ]


def _correlation(first: Array, second: Array) -> Array:
    """Of every column of one (N, A) with every column of the other (N, B): (A, B); 0 where one stands still."""
    one, two = first - first.mean(0), second - second.mean(0)
    scale = np.sqrt((one**2).sum(0))[:, None] * np.sqrt((two**2).sum(0))
    return np.divide(one.T @ two, scale, out=np.zeros((one.shape[1], two.shape[1])), where=scale > 1e-9)
