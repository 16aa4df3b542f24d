"""The report's part on a robot: the same policies in dream, replica and robot, and how far the three agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from rise_gym._figure_text import value_text
from rise_gym._trust_sections import ROBOT, Section

_SIDES = {"imagined": "dream", "true": "replica", "robot": "robot"}
_FIGURES = {"success": ("success", "{:.0%}"), "score": ("score", "{:.1f}"), "episode_return": ("return", "{:.2f}")}
_LESS = {"imagined": "dream", "true": "replica"}
Figures = Mapping[str, Any]


def robot_section(compared: Figures) -> Section:
    """Words and tables, of what `rise-gym compare --robot-env` found."""
    found, rows = compared["robot"], compared["policies"]
    return Section(
        title=ROBOT,
        text=(
            " ".join(
                (_played(compared), _driven(found), _judged(found), _beginnings(found), _agreement(found, len(rows)))
            ),
        ),
        careful=tuple(f"Careful: {doubt}." for doubt in found["doubts"]),
        tables=(_figures_table(rows), _differences_table(rows, matched=found["matched"])),
    )


def _played(compared: Figures) -> str:
    found = compared["robot"]
    count = f"{found['episodes']} episode{'s' * (found['episodes'] != 1)}"
    return (
        f"Of each policy, {count} on the robot {found['env_id']}, and {compared['episodes']} each in dream and replica."
    )


def _driven(found: Figures) -> str:
    if found.get("execution") != "asynchronous":
        return "The robot held while a policy thought, as dream and replica wait for it."
    ticks = found["execute_ticks"]
    each = "half of each plan" if ticks is None else f"{ticks} tick{'s' * (ticks != 1)} of each plan"
    return (
        f"The policies drove the robot asynchronously: shown something new after {each}, they thought while the rest "
        f"was executed, and the next plan was cross-faded in over at least {found['fade_ticks']} ticks. Dream and "
        "replica wait for them."
    )


def _judged(found: Figures) -> str:
    judge = found["judged_by"] or "nobody"
    return (
        f"Success on it was judged by: {judge}. Its score is ten times the judged progress, the replica's whole stages."
    )


def _beginnings(found: Figures) -> str:
    if found["matched"]:
        return "The robot begins where the replica does with the same seed, so episodes of the same seed are paired."
    return (
        "The robot cannot begin where dream and replica do: its scenes were laid out anew, and a seed means nothing to "
        "them. So no episode is paired with one of the robot's; rates are compared as those of independent groups, and "
        "a difference may be one of the beginnings."
    )


def _agreement(found: Figures, policies: int) -> str:
    if policies < 2:
        return "One policy makes no ranking; how far its success differs stands below."
    sentences = []
    for side, name in _LESS.items():
        success = found["agreement"][side]["success"]
        cost = 100 * success["mmrv"]["value"]
        sentences.append(
            f"Success in the {name} against that on the robot: Pearson {value_text(success['pearson'])}, Spearman "
            f"{value_text(success['spearman'])}; who trusts the {name}'s ranking is wrong by up to {cost:.0f} points, "
            "on the mean over policies (MMRV)."
        )
    sentences.append("These intervals are over policies; how unsure each rate is, they leave out.")
    return " ".join(sentences)


def _figures_table(rows: Sequence[Figures]) -> str:
    columns = [f"{name}: {side}" for name, _ in _FIGURES.values() for side in _SIDES.values()]
    lines = [
        [
            f"{unit.format(row[side][figure])}<br>{_range(row['intervals'][side][figure], unit)}"
            for figure, (_, unit) in _FIGURES.items()
            for side in _SIDES
        ]
        for row in _sorted(rows)
    ]
    return _table(columns, _sorted(rows), lines)


def _differences_table(rows: Sequence[Figures], *, matched: bool) -> str:
    """The robot's success less that of the others, in points, and how many pairs ended alike."""
    columns = [f"success on the robot less the {name}'s" for name in _LESS.values()]
    columns += [f"same outcome as the {name}" for name in _LESS.values()] if matched else []
    lines = []
    for row in _sorted(rows):
        less = [row["robot_less"][side] for side in _LESS]
        cells = [f"{100 * one['value']:+.0f} points<br>{_points(one['ci95'])}" for one in less]
        cells += [f"{one['same_outcome']} of {one['pairs']}" for one in less] if matched else []
        lines.append(cells)
    return _table(columns, _sorted(rows), lines)


def _table(columns: Sequence[str], rows: Sequence[Figures], lines: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th class="number">{name}</th>' for name in columns)
    body = "".join(
        f"<tr><td>{_title(row)}</td>" + "".join(f'<td class="number">{cell}</td>' for cell in cells) + "</tr>"
        for row, cells in zip(rows, lines, strict=True)
    )
    return f'<div class="scroll"><table><tr><th>policy</th>{head}</tr>{body}</table></div>'


def _sorted(rows: Sequence[Figures]) -> list[Figures]:
    return sorted(rows, key=lambda row: (-row["robot"]["success"], -row["robot"]["score"]))


def _title(row: Figures) -> str:
    return escape(str(row["policy"])) + (f", noise {row['noise']:g}" if row.get("noise") else "")


def _range(ends: Sequence[float], unit: str) -> str:
    low, high = (unit.format(end) for end in ends)
    return f'<span class="faint">{low} to {high}</span>'


def _points(ends: Sequence[float]) -> str:
    low, high = (f"{100 * end:+.0f}" for end in ends)
    return f'<span class="faint">{low} to {high}</span>'
