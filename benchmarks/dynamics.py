"""How true imagined frames are, on held-out episodes of the replica, and whether actions matter to them.

    python benchmarks/dynamics.py [--quick] [--task brick_sort]

Successes and failures apart, one and two chunks ahead, each camera: PSNR (dB), SSIM, and end-point error of optical
flow (pixels), beside copying the last frame and beside the codec alone (the best that decoding allows). Then the same
dreams with the actions shuffled across the batch. Then the hard test (`_counterfactual.py`): from one physics state,
eight different chunks in the replica and in the dream.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import _common as common
import numpy as np
import torch
import tyro
from _counterfactual import counterfactual
from _predicted_frames import BATCH, CHUNKS, apart, imagined_frames, starts, true_frames
from torch import Generator, Tensor

from rise_gym.recordings import Recordings
from rise_gym.world_model import CompositionalWorldModel


def main(
    *,
    quick: bool = False,
    output: Path | None = None,
    task: str = common.TASK,
    world_model: str | None = None,
    policy: str | None = None,
    data: Path | None = None,
    episodes: int = 90,
    moments: int = 192,
    states: int = 60,
) -> None:
    """Measure and record.

    Args:
        quick: a miniature to see that it works; its figures mean little.
        output: where to write the JSON.
        task: its name; the figures of each are kept apart.
        world_model: a folder or bundled name; default: the task's bundled one.
        policy: whose episodes and chunks are imagined; default: the task's bundled base.
        data: the held-out episodes; played anew if the folder is not there.
        episodes: how many.
        moments: how many starts, for successes and for failures.
        states: how many physics states for the hard test; 0 leaves it out.
    """
    common.one_thread_for_flow()
    count, moments, states = (6, 3, min(states, 2)) if quick else (episodes, moments, states)
    policy = policy or f"bundled:{task}/base"
    with common.recorded("dynamics", output, quick, task=task) as figures:
        model = CompositionalWorldModel.from_pretrained(world_model or f"bundled:{task}/world_model", task=task)
        folder = data or common.held_out_folder(task, count)
        held_out = common.held_out_episodes(folder, count, policy=policy, task=task)
        figures |= {"seeds": [held_out[0].seed, held_out[-1].seed], "episodes": count}
        recordings = Recordings.of(held_out, model.task)
        by_outcome = {"success": starts(recordings, True, moments), "failure": starts(recordings, False, moments)}
        figures["moments"] = {outcome: len(rows) for outcome, rows in by_outcome.items()}
        figures["quality"] = {
            outcome: quality(model, recordings, rows) for outcome, rows in by_outcome.items() if len(rows)
        }
        figures["shuffled_actions"] = shuffled(model, recordings, torch.cat(list(by_outcome.values())))
        show_quality(figures, model.task.cameras)
        if states:
            figures["counterfactual"] = counterfactual(model, policy, states)


def quality(model: CompositionalWorldModel, recordings: Recordings, moments: Tensor) -> dict[str, Any]:
    """Figures by who predicts and how many chunks ahead."""
    chunk = recordings.task.chunk
    true = true_frames(recordings, moments)
    start = recordings.frames[moments].numpy()
    coded = np.concatenate(
        [model.decode(model.codec.encode(part)).numpy() for part in torch.from_numpy(true).split(BATCH)]
    )
    predictions = {
        "imagined": imagined_frames(model, recordings, moments, moments),
        "last_frame": np.repeat(start[:, None], true.shape[1], axis=1),
        "codec_alone": coded,
    }
    found: dict[str, Any] = {}
    for name, predicted in predictions.items():
        for number in range(CHUNKS):
            span = slice(number * chunk, (number + 1) * chunk)
            before = start if number == 0 else true[:, span.start - 1]
            row = apart(before, predicted[:, span], true[:, span], model.task.cameras)
            found.setdefault(name, {})[f"chunk_{number + 1}"] = row
    return found


def shuffled(model: CompositionalWorldModel, recordings: Recordings, moments: Tensor) -> dict[str, Any]:
    """Mean squared error of one chunk with the right actions, and with those of another moment of the batch."""
    order = torch.randperm(len(moments), generator=Generator().manual_seed(0))
    moments = moments[order]
    true = true_frames(recordings, moments, 1).astype(np.float32)
    errors = {}
    for name, acting in (("right", moments), ("shuffled", moments.roll(1))):
        predicted = imagined_frames(model, recordings, moments, acting, 1).astype(np.float32)
        errors[name] = ((predicted - true) ** 2).mean(axis=(0, 1, 3, 4, 5))
    ratios = (errors["shuffled"] / np.maximum(errors["right"], 1e-12)).tolist()
    return {
        "mse_right": float(errors["right"].mean()),
        "mse_shuffled": float(errors["shuffled"].mean()),
        "ratio": float(errors["shuffled"].mean() / max(errors["right"].mean(), 1e-12)),
        "ratio_by_view": dict(zip(model.task.cameras, ratios, strict=True)),
    }


def show_quality(figures: dict[str, Any], cameras: tuple[str, ...]) -> None:
    rows = []
    for outcome, by_name in figures["quality"].items():
        for name, by_chunk in by_name.items():
            for chunk, measures in by_chunk.items():
                label = f"{outcome}, {chunk.replace('_', ' ')}, {name.replace('_', ' ')}"
                views = [f"{measures['psnr_db'][camera]:.1f}" for camera in cameras]
                rows.append((label, f"{measures['psnr_db']['mean']:.1f}", *views, measures["ssim"]["mean"],
                             measures["flow_error_px"]["mean"]))  # fmt: skip
    common.show(
        f"Held-out seeds {figures['seeds'][0]} to {figures['seeds'][1]}",
        ("frames", "PSNR", *[camera.replace("_", " ") for camera in cameras], "SSIM", "flow error"),
        rows,
    )
    shuffle = figures["shuffled_actions"]
    common.show(
        "Error of one chunk (mean squared, of 255)",
        ("actions", "error"),
        [("right", shuffle["mse_right"]), ("shuffled", shuffle["mse_shuffled"]), ("ratio", shuffle["ratio"])],
    )


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
