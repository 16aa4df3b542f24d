"""The report's plots, each a function of plain figures to the bytes of a PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

if TYPE_CHECKING:
    from rise_gym.report import Dream, PolicyResult, Series

INK, FAINT, GRID = "#1f2933", "#616e7c", "#e4e7eb"
TRUE, IMAGINED = "#1f2933", "#0b7285"
BEFORE, AFTER, OTHER = "#7b8794", "#0b7285", "#c3ccd5"
_DPI = 160


def results_plot(results: Sequence[PolicyResult], *, before: str, after: str) -> bytes:
    """Success and score of every policy with 95 % intervals."""
    figure = Figure(figsize=(9, 0.52 * len(results) + 1.0), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    colors = [{before: BEFORE, after: AFTER}.get(result.name, OTHER) for result in results]
    rates = [(100 * r.success_rate, 100 * r.success_ci95[0], 100 * r.success_ci95[1]) for r in results]
    scores = [(r.score_mean, *r.score_ci95) for r in results]
    _bars(left, rates, colors, limit=100, text="{:.0f} %")
    _bars(right, scores, colors, limit=10, text="{:.1f}")
    left.set_yticks(range(len(results)), [result.name for result in results], color=INK, fontsize=11)
    left.invert_yaxis()
    left.set_title("Success, %", loc="left", color=INK, fontsize=11)
    right.set_title("Stage score, 0 to 10", loc="left", color=INK, fontsize=11)
    return image_of(figure)


def _bars(
    axes: Axes, rows: Sequence[tuple[float, float, float]], colors: Sequence[str], *, limit: float, text: str
) -> None:
    """Horizontal bars of (value, low, high)."""
    for place, ((value, low, high), color) in enumerate(zip(rows, colors, strict=True)):
        axes.barh(place, value, color=color, height=0.62)
        axes.plot([low, high], [place, place], color=INK, linewidth=1.4, solid_capstyle="butt")
        axes.plot([low, high], [place, place], "|", color=INK, markersize=7)
        axes.text(max(value, high) + 0.02 * limit, place, text.format(value), va="center", color=INK, fontsize=10)
    axes.set_xlim(0, 1.14 * limit)
    axes.set_xticks(np.linspace(0, limit, 6))
    plain_axes(axes, grid="x")
    axes.tick_params(axis="y", length=0)


def training_plot(series: Series) -> bytes | None:
    """Imagined advantage, use of the bins and losses over the steps of an improvement; None if nothing was logged."""
    panels = [
        panel
        for panel, tag in ((_advantage, "imagined/advantage_mean"), (_bins, "imagined_bins/1"), (_losses, "loss"))
        if tag in series
    ]
    if not panels:
        return None
    figure = Figure(figsize=(3.4 * len(panels) + 0.6, 3.0), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        panel(axes, series)
        axes.set_xlabel("gradient step", color=FAINT, fontsize=9)
    return image_of(figure)


def _advantage(axes: Axes, series: Series) -> None:
    steps, mean = series["imagined/advantage_mean"]
    axes.axhline(0, color=GRID, linewidth=1)
    axes.plot(steps, mean, color=AFTER, linewidth=0.7, alpha=0.35)
    axes.plot(steps, _smooth(mean), color=AFTER, linewidth=1.8)
    axes.set_title("Imagined advantage, mean", loc="left", color=INK, fontsize=10)
    plain_axes(axes, grid="y")


def _bins(axes: Axes, series: Series) -> None:
    tags = sorted((tag for tag in series if tag.startswith("imagined_bins/")), key=lambda tag: int(tag.split("/")[1]))
    steps = series[tags[0]][0]
    shares = np.stack([np.interp(steps, *series[tag]) for tag in tags])  # (bins, S)
    axes.imshow(
        np.stack([_smooth(share) for share in shares]),
        origin="lower",
        aspect="auto",
        cmap="BuPu",
        vmin=0,
        extent=(float(steps[0]), float(max(steps[-1], steps[0] + 1)), 0.5, len(tags) + 0.5),
        interpolation="nearest",
    )
    axes.set_yticks(range(1, len(tags) + 1, max(1, len(tags) // 5)))
    axes.set_title("Advantage bins imagined (dark: many)", loc="left", color=INK, fontsize=10)
    plain_axes(axes, grid=None)


def _losses(axes: Axes, series: Series) -> None:
    names = {"loss/imagined": ("imagined rows", AFTER), "loss/offline": ("recorded rows", BEFORE)}
    drawn = {tag: look for tag, look in names.items() if tag in series} or {"loss": ("all rows", AFTER)}
    for tag, (label, color) in drawn.items():
        steps, values = series[tag]
        axes.plot(steps, values, color=color, linewidth=0.5, alpha=0.3)
        axes.plot(steps, _smooth(values), color=color, linewidth=1.8, label=label)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    axes.set_title("Flow-matching loss", loc="left", color=INK, fontsize=10)
    plain_axes(axes, grid="y")


def progress_plot(dream: Dream, control_hz: float) -> bytes:
    """Progress over time, imagined and true; a thin line where a chunk ends."""
    figure = Figure(figsize=(4.6, 2.5), layout="constrained")
    axes = figure.subplots()
    seconds = np.arange(len(dream.true)) / control_hz
    for tick in range(dream.chunk, len(dream.true), dream.chunk):
        axes.axvline(tick / control_hz, color=GRID, linewidth=1)
    axes.plot(seconds, dream.true_progress, color=TRUE, linewidth=1.8, label="true")
    axes.plot(seconds, dream.imagined_progress, color=IMAGINED, linewidth=1.8, linestyle=(0, (4, 2)), label="imagined")
    axes.set_ylim(-0.03, 1.05)
    axes.set_xlim(seconds[0], seconds[-1])
    axes.set_xlabel("seconds after the start", color=FAINT, fontsize=9)
    axes.set_title("Progress", loc="left", color=INK, fontsize=10)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, ncols=2, loc="upper right", bbox_to_anchor=(1.0, 1.17))
    plain_axes(axes, grid="y")
    return image_of(figure)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Running mean over about a thirtieth of the curve, shorter at its ends."""
    half = len(values) // 60
    total = np.concatenate([[0.0], np.cumsum(values)])
    last = np.minimum(np.arange(len(values)) + half + 1, len(values))
    first = np.maximum(np.arange(len(values)) - half, 0)
    return np.asarray((total[last] - total[first]) / (last - first))


def plain_axes(axes: Axes, *, grid: str | None) -> None:
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.tick_params(colors=FAINT, labelsize=9, length=0)
    axes.set_axisbelow(True)
    if grid == "x":
        axes.xaxis.grid(True, color=GRID, linewidth=0.8)
    elif grid == "y":
        axes.yaxis.grid(True, color=GRID, linewidth=0.8)


def image_of(figure: Figure) -> bytes:
    """The figure as a PNG with a palette: it has few colours, and is a third as large as one without."""
    drawn, target = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=_DPI, facecolor="white")
    Image.open(drawn).convert("RGB").quantize(128).save(target, format="png", optimize=True)
    return target.getvalue()
