"""The paper's Tables V and VI on one task: what pre-training and task-centric batches do to imagined frames.

    python benchmarks/dynamics_table.py [--quick]

The world models are those of the table `modules` (`_world_models.py`), beside copying the last frame. On held-out
episodes, successes and failures apart, two chunks ahead: PSNR (dB), SSIM, end-point error of optical flow (pixels), and
a Fréchet distance of features: of whole clips, in the latents of the codec that all these models share. That is *not*
the paper's FVD, whose network's weights cannot be had here, and its figures are not to be compared; LPIPS is not
available for the same reason.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import _common as common
import numpy as np
import torch
import tyro
from _predicted_frames import BATCH, Frames, apart, imagined_frames, starts, true_frames
from _workshop import Budget, Workshop
from _world_models import WorldModels
from numpy.typing import NDArray
from torch.nn import functional

from rise_gym.metrics import frechet_distance
from rise_gym.recordings import Recordings
from rise_gym.world_model import CompositionalWorldModel

MODELS = ("full", "without task-centric batching", "without pre-training")
LAST_FRAME = "last frame copied"
NOT_AVAILABLE = "not available"
PAPER: dict[str, dict[str, float]] = {
    "full": {"psnr_db": 23.90, "lpips": 0.07, "ssim": 0.82, "fvd": 66.84, "flow_error_px": 0.54},
    "without task-centric batching": {
        "psnr_db": 22.67, "lpips": 0.08, "ssim": 0.80, "fvd": 61.22, "flow_error_px": 0.68,
    },
    "without pre-training": {"psnr_db": 20.95, "lpips": 0.11, "ssim": 0.78, "fvd": 83.36, "flow_error_px": 1.09},
}  # fmt: skip
"""Its Tables V and VI, own tasks: 25 frames of 192 x 256 pixels, so that neither errors in pixels compare."""


def main(
    *,
    quick: bool = False,
    output: Path | None = None,
    task: str = common.TASK,
    episodes: int = 90,
    moments: int = 192,
    data: Path | None = None,
    workspace: Path = Path("runs/tables"),
    checkpoints: dict[str, str] | None = None,
) -> None:
    """Make, measure and record.

    Args:
        quick: a miniature to see that it works; its figures mean little.
        output: where to write the JSON.
        task: on which task.
        episodes: held-out ones, played by the base and the expert. moments: starts, for successes and for failures.
        data: the held-out episodes; played anew if the folder is not there.
        workspace: where world models are kept, those of the table `modules` among them.
        checkpoints: world models that are there already, by their rows' names, instead of making them.
    """
    common.one_thread_for_flow()
    count, moments = (6, 3) if quick else (episodes, moments)
    budget = Budget.miniature() if quick else Budget()
    workshop = Workshop(task, 0, budget, workspace / ("quick" if quick else ""), use_bundled=not quick)
    with common.recorded("dynamics_table", output, quick) as figures:
        named = checkpoints or {name: WorldModels(workshop).made(name) for name in MODELS}
        place = data or workspace / f"held_out_{task}_{count}"
        policy = common.BASE if place.is_dir() else workshop.base().policy  # asked for only where episodes are played
        held_out = common.held_out_episodes(place, count, policy=policy, task=task)
        models = {name: CompositionalWorldModel.from_pretrained(folder, task=task) for name, folder in named.items()}
        figures |= {"task": task, "budget": None if checkpoints else asdict(budget)}
        figures |= {"seeds": [held_out[0].seed, held_out[-1].seed], "episodes": count}
        recordings = Recordings.of(held_out, next(iter(models.values())).task)
        figures["moments"], figures["rows"] = {}, {}
        for outcome, success in (("success", True), ("failure", False)):
            rows = starts(recordings, success, moments)
            figures["moments"][outcome] = len(rows)
            if len(rows) > 1:
                figures["rows"][outcome] = compared(models, recordings, rows)
        show(figures)


def compared(
    models: dict[str, CompositionalWorldModel], recordings: Recordings, moments: torch.Tensor
) -> dict[str, dict[str, Any]]:
    """Figures of every model, and of copying the last frame."""
    true, start = true_frames(recordings, moments), recordings.frames[moments].numpy()
    judge = next(iter(models.values()))
    wanted = clip_features(judge, true)
    predictions = {name: imagined_frames(model, recordings, moments, moments) for name, model in models.items()}
    predictions[LAST_FRAME] = np.repeat(start[:, None], true.shape[1], axis=1)
    found = {}
    for name, predicted in predictions.items():
        measures = apart(start, predicted, true, recordings.task.cameras)
        found[name] = {measure: views["mean"] for measure, views in measures.items()}
        found[name]["frechet_distance_of_features"] = frechet_distance(clip_features(judge, predicted), wanted)
        found[name]["lpips"] = NOT_AVAILABLE
    return found


def clip_features(model: CompositionalWorldModel, clips: Frames) -> NDArray[np.float64]:
    """What a clip shows and how it moves: uint8 (B, F, V, H, W, 3) -> (B, V * c * 8).

    Latents of the codec on a grid of two by two, their mean over the clip's frames, and the mean of how much they
    change from frame to frame.
    """
    parts = []
    for part in torch.from_numpy(clips).split(BATCH):
        latents = model.codec.encode(part)  # (b, F, V, c, h, w)
        coarse = functional.adaptive_avg_pool2d(latents.flatten(0, 2), 2).view(*latents.shape[:2], -1)
        parts.append(torch.cat([coarse.mean(1), coarse.diff(dim=1).abs().mean(1)], dim=1))
    return torch.cat(parts).double().numpy()


def show(figures: dict[str, Any]) -> None:
    common.show(
        f"Two chunks ahead, held-out seeds {figures['seeds'][0]} to {figures['seeds'][1]}",
        ("dynamics", "PSNR", "SSIM", "flow error", "Fréchet distance of features (not FVD)", "LPIPS"),
        [
            (f"{outcome}, {name}", *row_of(figure))
            for outcome, rows in figures["rows"].items()
            for name, figure in rows.items()
        ],
    )


def row_of(figure: dict[str, Any]) -> tuple[Any, ...]:
    """PSNR, SSIM, flow error, Fréchet distance, LPIPS."""
    columns = ("psnr_db", "ssim", "flow_error_px", "frechet_distance_of_features", "lpips")
    return tuple(figure[name] for name in columns)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
