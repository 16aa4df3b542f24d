"""One of several processes that train a tiny LTXDynamics: torch.distributed.run's arguments are a folder and steps."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from rise_gym.ltx_training import LTXTraining, train_ltx_dynamics
from rise_gym.recordings import Recordings
from rise_gym.tasks import BOX_CLOSE
from rise_gym.training import TrainingConfig
from rise_gym.types import Episode

sys.path.insert(0, str(Path(__file__).parent))
from tiny_ltx import CONFIG, tiny_codec, tiny_dynamics


def moving_squares(episodes: int = 4, ticks: int = 30) -> Recordings:
    """A square a camera that goes where the first joint is sent; grey noise around it."""
    made = []
    for number in range(episodes):
        rng = np.random.default_rng(number)
        actions = rng.uniform(-1, 1, (ticks, 14)).astype(np.float32)
        actions[:, 0] = np.sin(np.linspace(0, 3 + number, ticks))
        frames = {}
        for camera in BOX_CLOSE.cameras:
            video = rng.integers(90, 110, (ticks, 64, 64, 3), dtype=np.uint8)
            for tick, goal in enumerate(actions[:, 0]):
                left = round(20 + 20 * float(goal))
                video[tick, 20:40, left : left + 20] = 230
            frames[camera] = video
        made.append(
            Episode(
                task=BOX_CLOSE.name, instruction=BOX_CLOSE.instruction, frames=frames,
                proprio=np.zeros((ticks, 14), np.float32), actions=actions, success=number % 2 == 0, score=0.0,
                source="rollout", policy="test", seed=number,
            )
        )  # fmt: skip
    return Recordings.of(made, BOX_CLOSE)


def settings(steps: int, **changes: Any) -> LTXTraining:
    """Without dropout, which each process draws for itself."""
    rates: dict[str, Any] = {"warmup_steps": 0, "schedule": "constant_with_warmup", "log_every_steps": 1}
    training = TrainingConfig(
        steps=steps, batch_size=4, learning_rate=3e-3, ema_decay=0.9, save_every_steps=2, **{**rates, **changes}
    )
    return LTXTraining(training=training, dynamics=replace(CONFIG, action_dropout=0.0))


def trained(folder: Path, steps: int, accelerator: Accelerator | None, *, sharded: bool = False) -> Any:
    """The model after so many steps, and the losses on the way."""
    codec, losses = tiny_codec(), {}
    start = tiny_dynamics(codec, action_dropout=0.0)
    model = train_ltx_dynamics(
        moving_squares(), codec, settings(steps), folder, initial=start, accelerator=accelerator, sharded=sharded,
        on_progress=lambda step, figures: losses.update({step: figures["loss"]}),
    )  # fmt: skip
    return model, losses


def run(name: str, folder: Path, stops: tuple[int, ...], accelerator: Accelerator, *, sharded: bool) -> None:
    """Train up to each of some steps in turn; model and losses go into the folder of that name.

    How it was at the first of several goes into the folder `halfway`, for another process to go on with.
    """
    losses: dict[int, float] = {}
    for stop in stops:
        model, found = trained(folder / name, stop, accelerator, sharded=sharded)
        losses |= found
        if accelerator.is_main_process and stop < stops[-1]:
            shutil.copytree(folder / name, folder / "halfway")
        accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        model.save_pretrained(folder / name / "model")
        (folder / name / "losses.json").write_text(json.dumps(losses))


def main() -> None:
    """Data-parallel from first to last; then sharded, interrupted half-way.

    Then sharded in half precision, which a process may only be asked for once it has forgotten the full one.
    """
    folder, steps = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    run("parallel", folder, (steps,), accelerator, sharded=False)
    run("sharded", folder, (steps // 2, steps), accelerator, sharded=True)
    AcceleratorState._reset_state()
    accelerator = Accelerator(cpu=True, mixed_precision="bf16")
    run("sharded_half", folder, (steps // 2,), accelerator, sharded=True)
    accelerator.end_training()


if __name__ == "__main__":
    main()
