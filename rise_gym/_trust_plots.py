"""Plots of how far a dream can be trusted, each a function of recorded figures to the bytes of a PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rise_gym._report_plots import FAINT, GRID, IMAGINED, INK, image_of, plain_axes
from rise_gym.reliability import FEWEST_IN_A_BIN

SUSPECT = "#c2410c"
FIGURES = {
    "success": "success rate",
    "score": "stage score",
    "episode_return": "return",
    "gain": "gain of two chunks",
}
OUTCOMES = {"success": ("episodes that succeed", IMAGINED), "failure": ("episodes that fail", SUSPECT)}
Figures = Mapping[str, Any]


def scatter_plot(
    rows: Sequence[Figures], agreement: Mapping[str, Figures], robot: Mapping[str, Mapping[str, Figures]] | None = None
) -> bytes:
    """Imagined against true, a dot a policy, a panel a figure; orange where it `exploits` the dream on purpose.

    With a robot, whose agreement with `imagined` and `true` is given, a line of panels for each of these as well.
    """
    lines = {("imagined", "true"): agreement}
    for side, found in (robot or {}).items():
        lines[side, "robot"] = found
    figure = Figure(figsize=(3.4 * len(agreement), 3.5 * len(lines)), layout="constrained")
    for places, ((across, up), found) in zip(
        figure.subplots(len(lines), len(agreement), squeeze=False), lines.items(), strict=True
    ):
        for axes, name in zip(places, agreement, strict=True):
            _dots(axes, rows, name, across, up)
            title = f"{FIGURES.get(name, name)}: r = {_text(found[name]['pearson']['value'])}"
            words = {} if robot is None else {"true": "replica"}
            _labelled(axes, title, words.get(across, across), words.get(up, up))
            axes.margins(0.1)
    return image_of(figure)


def _dots(axes: Axes, rows: Sequence[Figures], name: str, across: str, up: str) -> None:
    """A dot a policy, with its intervals where they are known; on the line both figures are equal."""
    for row in rows:
        color = SUSPECT if row.get("exploits") else IMAGINED
        place = row[across][name], row[up][name]
        if known := row.get("intervals"):
            axes.plot(known[across][name], [place[1]] * 2, color=color, linewidth=1, alpha=0.35)
            axes.plot([place[0]] * 2, known[up][name], color=color, linewidth=1, alpha=0.35)
        axes.plot(*place, "o", color=color, markersize=6, alpha=0.85)
    ends = [row[side][name] for row in rows for side in (across, up)]
    axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color=GRID, linewidth=1, zorder=0)


def drift_plot(recorded: Figures) -> bytes:
    """Error of pictures, joints and progress against the horizon, by outcome; and how rankings hold, if measured."""
    ranking = recorded.get("ranking")
    panels = {"psnr_db": "pictures: PSNR, dB", "joint_rad": "joints: error, rad", "progress": "progress: error"}
    figure = Figure(figsize=(3.4 * (len(panels) + (ranking is not None)), 3.3), layout="constrained")
    axes = figure.subplots(1, len(panels) + (ranking is not None))
    for place, (name, title) in zip(axes, panels.items(), strict=False):
        for outcome, found in recorded["drift"].items():
            _band(place, found[name]["value"], found[name]["ci95"], *OUTCOMES[outcome])
        _labelled(place, title, "chunks dreamt", "")
        if name != "psnr_db":
            place.set_ylim(bottom=0)
    axes[0].legend(frameon=False, fontsize=8, labelcolor=INK)
    if ranking is not None:
        for name, color in (("within_a_state", IMAGINED), ("over_policies", INK)):
            columns = ranking[name]
            label = name.replace("_", " ")
            _band(axes[-1], [one["value"] for one in columns], [one["ci95"] for one in columns], label, color)
        axes[-1].axhline(ranking["level"], color=SUSPECT, linewidth=1, linestyle=(0, (4, 3)))
        _labelled(axes[-1], "ranking: Spearman", "chunks dreamt", "")
        axes[-1].set_ylim(min(0, axes[-1].get_ylim()[0]), 1.03)
        axes[-1].legend(frameon=False, fontsize=8, labelcolor=INK, loc="lower left")
    return image_of(figure)


def _band(axes: Axes, values: Sequence[float], intervals: Sequence[Sequence[float]], label: str, color: str) -> None:
    """A curve over horizons 1, 2, ... with its 95 % band."""
    places, ends = np.arange(1, len(values) + 1), np.array(intervals, float)
    axes.fill_between(places, ends[:, 0], ends[:, 1], color=color, alpha=0.15, linewidth=0)
    axes.plot(places, np.array(values, float), color=color, linewidth=1.8, marker="o", markersize=3, label=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def calibration_plot(recorded: Figures) -> bytes:
    """Reliability diagrams of success and of progress, by horizon; a dream that is right lies on the line."""
    diagrams = {"success": recorded["success"], **recorded["progress"]}
    figure = Figure(figsize=(3.4 * len(diagrams), 3.3), layout="constrained")
    for axes, (name, found) in zip(figure.subplots(1, len(diagrams), squeeze=False)[0], diagrams.items(), strict=True):
        axes.plot([0, 1], [0, 1], color=GRID, linewidth=1)
        for one in found["bins"]:
            color = IMAGINED if one["count"] >= FEWEST_IN_A_BIN else FAINT
            axes.plot([one["claimed"]] * 2, one["happened_ci95"], color=color, linewidth=1.2)
            axes.plot(one["claimed"], one["happened"], "o", color=color, markersize=5)
        number = name.removeprefix("chunks_")
        title = "success" if name == "success" else f"progress, {number} chunk{'s' * (number != '1')} ahead"
        across = "share of dreams that succeed" if name == "success" else "imagined"
        _labelled(axes, f"{title}: error {found['calibration_error']:.2f}", across, "true")
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
    return image_of(figure)


def uncertainty_plot(recorded: Figures) -> bytes:
    """ROC curves of the worst errors, by what is wrong, a curve a horizon; on the line uncertainty tells nothing."""
    figure = Figure(figsize=(3.4 * len(recorded["errors"]), 3.3), layout="constrained")
    panels = figure.subplots(1, len(recorded["errors"]), squeeze=False)[0]
    for axes, (what, horizons) in zip(panels, recorded["errors"].items(), strict=True):
        axes.plot([0, 1], [0, 1], color=GRID, linewidth=1)
        for number, (name, found) in enumerate(horizons.items()):
            if not found.get("roc"):
                continue
            false, true = np.array(found["roc"]).T
            count = name.removeprefix("chunks_")
            label = f"{count} chunk{'s' * (count != '1')}: {_text(found['auroc']['value'])}"
            shade = 1 - 0.3 * number
            axes.plot([0, *false, 1], [0, *true, 1], color=IMAGINED, alpha=shade, linewidth=1.8, label=label)
        worst = f"found of the worst {recorded['worst_share']:.0%}"
        _labelled(axes, what.replace("_", " "), "false alarms", worst)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="lower right", title="area", title_fontsize=8)
    return image_of(figure)


def exploit_plot(recorded: Figures) -> bytes:
    """Imagined and true progress gained, by who was at work; the gap is what was exploited."""
    settings = recorded["settings_measured"]
    figure = Figure(figsize=(9, 0.6 * len(settings) + 1.0), layout="constrained")
    axes = figure.subplots()
    for place, found in enumerate(settings.values()):
        ends = [found[side]["value"] for side in ("true", "imagined")]
        axes.plot(ends, [place, place], color=SUSPECT, linewidth=5, alpha=0.35, solid_capstyle="butt")
        for side, color in (("true", INK), ("imagined", IMAGINED)):
            axes.plot(found[side]["ci95"], [place, place], "|", color=color, markersize=8)
            label = side if place == 0 else None
            axes.plot(found[side]["value"], place, "o", color=color, markersize=7, label=label)
        farthest = max(*found["true"]["ci95"], *found["imagined"]["ci95"], *ends)
        gap = f"gap {found['gap']['value']:+.2f}"
        axes.annotate(gap, (farthest, place), xytext=(12, -3), color=SUSPECT, textcoords="offset points", fontsize=9)
    axes.set_yticks(range(len(settings)), list(settings), color=INK, fontsize=10)
    axes.invert_yaxis()
    axes.margins(x=0.18)
    axes.set_xlabel("progress gained", color=FAINT, fontsize=9)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    plain_axes(axes, grid="x")
    axes.tick_params(axis="y", labelcolor=INK)
    return image_of(figure)


def _text(value: float | None) -> str:
    """JSON has null where there was nothing to compute."""
    return "-" if value is None or np.isnan(value) else f"{value:.2f}"


def _labelled(axes: Axes, title: str, across: str, up: str) -> None:
    axes.set_title(title, loc="left", color=INK, fontsize=10)
    axes.set_xlabel(across, color=FAINT, fontsize=9)
    axes.set_ylabel(up, color=FAINT, fontsize=9)
    plain_axes(axes, grid="y")
