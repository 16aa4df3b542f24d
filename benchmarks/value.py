"""Whether the value tells frames that lead to success from those that lead to failure, and how far along a frame is.

    python benchmarks/value.py [--quick] [--task brick_sort]

On held-out episodes of the replica. A frame is positive if its episode succeeds in the end. AUROC is given for the
frames of the last 40 % of every episode, and for all frames (at an episode's beginning nothing is decided yet).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import _common as common
import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from rise_gym.advantage import values_of
from rise_gym.metrics import auroc, pearson, spearman
from rise_gym.recordings import Recordings
from rise_gym.tasks import TaskCard
from rise_gym.world_model import CompositionalWorldModel

LAST_PART = 0.6  # of an episode; frames after it are its last 40 %


def main(
    *,
    quick: bool = False,
    output: Path | None = None,
    task: str = common.TASK,
    world_model: str | None = None,
    policy: str | None = None,
    data: Path | None = None,
    episodes: int = 90,
) -> None:
    """Measure and record.

    Args:
        quick: a miniature to see that it works; its figures mean little.
        output: where to write the JSON.
        task: its name; the figures of each are kept apart.
        world_model: a folder or bundled name; default: the task's bundled one.
        policy: whose episodes are judged; default: the task's bundled base.
        data: the held-out episodes; played anew if the folder is not there.
        episodes: how many.
    """
    count = min(episodes, 6) if quick else episodes
    with common.recorded("value", output, quick, task=task) as figures:
        model = CompositionalWorldModel.from_pretrained(world_model or f"bundled:{task}/world_model", task=task)
        folder, policy = data or common.held_out_folder(task, count), policy or f"bundled:{task}/base"
        held_out = common.held_out_episodes(folder, count, policy=policy, task=task)
        recordings = Recordings.of(held_out, model.task).encoded(model.codec)
        values = values_of(recordings, model.value).numpy().astype(np.float64)
        figures |= {"seeds": [held_out[0].seed, held_out[-1].seed], "episodes": count, "frames": len(recordings)}
        figures["successes"] = int(recordings.success.sum())
        figures |= measured(recordings, values, model.task)
        common.show(
            f"Value on {count} held-out episodes ({figures['successes']} successful)",
            ("figure", "value", "95 %"),
            [
                (name.replace("_", " "), figures[name]["value"], common.interval_text(figures[name]["ci95"]))
                for name in STATISTICS
            ],
        )


def measured(recordings: Recordings, values: NDArray[np.float64], task: TaskCard) -> dict[str, Any]:
    """Every statistic with its interval from a bootstrap over episodes (frames of one episode are not independent)."""
    columns = frame_columns(recordings, values, task)
    members = [np.flatnonzero(recordings.episode.numpy() == e) for e in range(len(recordings.success))]
    random = np.random.default_rng(0)
    draws = [np.concatenate([members[e] for e in random.integers(len(members), size=len(members))]) for _ in range(500)]
    found: dict[str, Any] = {}
    for name, statistic in STATISTICS.items():
        resampled = np.array([statistic({key: column[rows] for key, column in columns.items()}) for rows in draws])
        good = resampled[~np.isnan(resampled)]
        interval = np.quantile(good, (0.025, 0.975)).tolist() if len(good) else [np.nan, np.nan]
        found[name] = {"value": statistic(columns), "ci95": interval}
    return found


def frame_columns(recordings: Recordings, values: NDArray[np.float64], task: TaskCard) -> dict[str, NDArray[Any]]:
    """Per frame: its value, whether its episode succeeds, how far into it, its true progress and stage score."""
    rows = torch.arange(len(recordings))
    progress = recordings.progress.numpy().astype(np.float64)
    stages = np.array([0.0, *[stage.score for stage in task.stages]])
    return {
        "value": values,
        "success": recordings.success[recordings.episode].numpy(),
        "part": ((rows - recordings.first) / (recordings.last - recordings.first).clamp(min=1)).numpy(),
        "progress": progress,
        "score": stages[np.searchsorted(stages, 10 * progress + 1e-6, side="right") - 1],
    }


def _auroc(columns: dict[str, NDArray[Any]], after: float) -> float:
    late = columns["part"] >= after
    success = columns["success"][late]
    return auroc(columns["value"][late], success) if 0 < success.sum() < len(success) else float("nan")


STATISTICS = {
    "auroc_last_40_percent": lambda columns: _auroc(columns, LAST_PART),
    "auroc_all_frames": lambda columns: _auroc(columns, 0.0),
    "pearson_with_stage_score": lambda columns: pearson(columns["value"], columns["score"]),
    "pearson_with_progress": lambda columns: pearson(columns["value"], columns["progress"]),
    "spearman_with_progress": lambda columns: spearman(columns["value"], columns["progress"]),
}


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
