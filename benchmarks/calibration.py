"""Does what a dream claims come true as often as it says so? Imagined success and progress of recorded actions.

    python benchmarks/calibration.py [--quick] [--task brick_sort]

Held-out episodes are dreamt several times from their first picture, with the actions that were executed: the share of
dreams that end in success against the episode's outcome, and how many dreamt successes are none. And imagined against
true progress after one, two and more chunks, of the dreams that `drift.py` makes. Goes on where it was.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import _common as common
import numpy as np
import torch
import tyro
from _kept import Kept
from _recorded_dreams import RecordedDreams
from numpy.typing import NDArray
from rich.progress import track

from rise_gym._trust_plots import calibration_plot
from rise_gym.calibration import dreamt_peaks
from rise_gym.recordings import Recordings
from rise_gym.reliability import progress_figures, success_figures
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
    dreams: int = 4,
    every_ticks: int = 40,
    chunks: int = 12,
    keep: Path = Path("runs/calibration"),
    keep_drift: Path = Path("runs/drift"),
) -> None:
    """Measure and record.

    Args:
        quick: a miniature to see that it works; its figures mean little.
        output: where to write the JSON; a plot (PNG) lies beside it.
        task: its name; the figures of each are kept apart.
        world_model: a folder or bundled name; default: the task's bundled one. base: whose episodes are played if none
            are there; likewise.
        data: the held-out episodes; played anew if the folder is not there.
        episodes: how many. dreams: of each, whole ones.
        every_ticks, chunks: of the dreams that progress is read from, as in `drift.py`.
        keep: folder of whole dreams. keep_drift: folder of the parts of `drift.py`, which are shared.
    """
    if quick:
        episodes, dreams, every_ticks, chunks = 3, 1, 100, 3
    world_model, base = world_model or f"bundled:{task}/world_model", base or f"bundled:{task}/base"
    target = common.result_path("calibration", output, quick, task=task)
    with common.recorded("calibration", output, quick, task=task) as figures:
        recorded = RecordedDreams(
            task=task, world_model=world_model, base=base, data=data, episodes=episodes, every_ticks=every_ticks,
            chunks=chunks, keep=keep_drift,
        )  # fmt: skip
        figures |= recorded.described | {"dreams": dreams}
        kept = recorded.kept(keep, "peaks", (episodes,))
        succeeded = _successes(kept, recorded.model, recorded.recordings, dreams)
        figures |= success_figures(succeeded, recorded.recordings.success.numpy())
        figures["progress"] = progress_figures(recorded.rows())
        show(figures)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.with_suffix(".png").write_bytes(calibration_plot(figures))


def _successes(kept: Kept, model: CompositionalWorldModel, recordings: Recordings, dreams: int) -> NDArray[np.bool_]:
    """Whether each dream ends in success: bool (D, E)."""

    def peaks_of(number: int) -> list[float]:
        found: list[float] = dreamt_peaks(model, recordings, seed=1000 * number).tolist()
        return found

    numbers = track(range(dreams), "dreaming whole episodes")
    peaks = [kept.of(f"dream_{number}", partial(peaks_of, number)) for number in numbers]
    return np.array(peaks) >= model.success_threshold


def show(figures: dict[str, Any]) -> None:
    rows = [
        (name, found["count"], found["claimed_mean"], found["happened_mean"], found["calibration_error"],
         common.interval_text(found["calibration_error_ci95"]))
        for name, found in {"success": figures["success"], **figures["progress"]}.items()
    ]  # fmt: skip
    common.show("What is imagined, and what happened", ("claim", "n", "claimed", "true", "error", "95 %"), rows)
    wrong = figures["false_success"]
    print(f"{wrong['false_successes']} of {wrong['dreamt_successes']} dreamt successes are false")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    tyro.cli(main, description=__doc__)
