"""Plots of how far a dream can be trusted, each a function of recorded figures to the bytes of a PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rise_gym._report_plots import FAINT, GRID, IMAGINED, INK, image_of, plain_axes

SUSPECT = "#c2410c"
FIGURES = {
    "success": "success rate",
    "score": "stage score",
    "episode_return": "return",
    "gain": "gain of two chunks",
}
Figures = Mapping[str, Any]


def scatter_plot(rows: Sequence[Figures], agreement: Mapping[str, Figures]) -> bytes:
    """Imagined against true, a dot a policy, a panel a figure; orange where it `exploits` the dream on purpose."""
    figure = Figure(figsize=(3.4 * len(agreement), 3.5), layout="constrained")
    for axes, (name, found) in zip(
        figure.subplots(1, len(agreement), squeeze=False)[0], agreement.items(), strict=True
    ):
        for row in rows:
            color = SUSPECT if row.get("exploits") else IMAGINED
            axes.plot(row["imagined"][name], row["true"][name], "o", color=color, markersize=6, alpha=0.85)
        ends = [row[side][name] for row in rows for side in ("imagined", "true")]
        axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color=GRID, linewidth=1, zorder=0)
        title = f"{FIGURES.get(name, name)}: r = {found['pearson']['value']:.2f}"
        _labelled(axes, title, "imagined", "true")
        axes.margins(0.1)
    return image_of(figure)


def _labelled(axes: Axes, title: str, across: str, up: str) -> None:
    axes.set_title(title, loc="left", color=INK, fontsize=10)
    axes.set_xlabel(across, color=FAINT, fontsize=9)
    axes.set_ylabel(up, color=FAINT, fontsize=9)
    plain_axes(axes, grid="y")
