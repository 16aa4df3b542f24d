"""Is a dream that says it is uncertain wrong more often? ROC against the true error, coverage of bounds, and the cost.

    python benchmarks/uncertainty.py [--quick] [--task brick_sort]

The dreams of recorded actions that `drift.py` makes: the error of their pictures, and of the progress that they say is
gained, against the uncertainty that each chunk came with. What it costs is the time of a dream with it, over that of
one which stops at its first noise level. Goes on where it was.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import _common as common
import torch
import tyro
from _recorded_dreams import BATCH, RecordedDreams
from torch import Generator

from rise_gym._trust_plots import uncertainty_plot
from rise_gym.drift import drift_moments
from rise_gym.recordings import Recordings
from rise_gym.uncertainty import uncertainty_figures
from rise_gym.world_model import CompositionalWorldModel


def main(
    *,
    quick: bool = False,
    output: Path | None = None,
    task: str = common.TASK,
    world_model: str | None = None,
    base: str | None = None,
    data: Path | None = None,
    episodes: int = 90,
    every_ticks: int = 40,
    chunks: int = 12,
    repeats: int = 10,
    keep: Path = Path("runs/drift"),
) -> None:
    """Measure and record.

    Args:
        quick: a miniature to see that it works; its figures mean little.
        output: where to write the JSON; a plot (PNG) lies beside it.
        task: its name; the figures of each are kept apart.
        world_model: a folder or bundled name; default: the task's bundled one. base: whose episodes are played if none
            are there; likewise.
        data: the held-out episodes; played anew if the folder is not there.
        episodes: how many. every_ticks, chunks: of their dreams, as in `drift.py`.
        repeats: how often each kind of dream is timed.
        keep: folder of the parts of `drift.py`, which are shared.
    """
    if quick:
        episodes, every_ticks, chunks, repeats = 3, 100, 3, 1
    world_model, base = world_model or f"bundled:{task}/world_model", base or f"bundled:{task}/base"
    target = common.result_path("uncertainty", output, quick, task=task)
    with common.recorded("uncertainty", output, quick, task=task) as figures:
        dreams = RecordedDreams(
            task=task, world_model=world_model, base=base, data=data, episodes=episodes, every_ticks=every_ticks,
            chunks=chunks, keep=keep,
        )  # fmt: skip
        figures |= dreams.described | uncertainty_figures(dreams.rows())
        figures["cost"] = cost(dreams.model, dreams.recordings, repeats)
        show(figures)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.with_suffix(".png").write_bytes(uncertainty_plot(figures))


def cost(model: CompositionalWorldModel, recordings: Recordings, repeats: int) -> dict[str, float]:
    """Seconds of a dream step of `BATCH` rows at all noise levels, at the first alone, and their ratio."""
    moments = drift_moments(recordings, every_ticks=1)[:BATCH]
    window = recordings.history(moments, model.history_ticks)
    state = model.begin(recordings.frames[window], recordings.proprio[moments], recordings.instruction_of(moments))
    actions = recordings.actions[recordings.chunk(moments, model.task.chunk)[0]]
    levels = list(model.dynamics.config.sigmas)

    def fastest() -> float:
        times = []
        for _ in range(repeats):
            began = time.perf_counter()
            model.imagine(state, actions, generator=Generator().manual_seed(0))
            times.append(time.perf_counter() - began)
        return min(times)

    certain = fastest()
    model.dynamics.register_to_config(sigmas=levels[:1])
    alone = fastest()
    model.dynamics.register_to_config(sigmas=levels)
    return {"step_s": certain, "step_without_s": alone, "ratio": certain / alone}


def show(figures: dict[str, Any]) -> None:
    rows = [
        (f"{what.replace('_', ' ')}, {name.replace('_', ' ')}", found["count"], found["auroc"]["value"],
         common.interval_text(found["auroc"]["ci95"]), found["coverage"]["value"], found["mean_bound"],
         found["mean_constant_bound"])
        for what, horizons in figures["errors"].items()
        for name, found in horizons.items()
    ]  # fmt: skip
    columns = ("error of", "n", "AUROC", "95 %", "coverage", "bound", "bound for all")
    common.show(f"Uncertainty against the worst {figures['worst_share']:.0%} of true errors", columns, rows)
    print(f"a dream step takes {figures['cost']['ratio']:.2f} times as long as without")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    tyro.cli(main, description=__doc__)
