"""How the robot's joints follow their targets, learnt from joints alone before any picture is.

Pictures depend on where the joints are: half a pixel of a wrist camera is two millimetres of its arm. Learnt beside
the pictures, joints erred by almost twice as much (0.0047 of their ranges against 0.0027), since pictures pull at them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from rise_gym.recordings import Recordings
from rise_gym.training import Trainer, TrainingConfig

if TYPE_CHECKING:
    from rise_gym.dynamics import VideoDynamics

_BATCH = 256
_TOUCHED = 0.05  # errors beyond this come from contact, are rare and large, and count linearly; of the scaled range


def train_following(
    model: VideoDynamics, recordings: Recordings, moments: Tensor, training: TrainingConfig, folder: Path
) -> None:
    """Teach a dynamics, in place, where joints will be; that part is held from then on.

    Args:
        model: of it only `actuation.following_parameters()` change.
        recordings: of any success.
        moments: of them those to begin from (B,).
        training: steps and rate; its batch size is replaced by one that suits numbers.
        folder: the run's state and curves.
    """
    actuation, shape = model.actuation, model.config
    held = [parameter for parameter in model.parameters() if parameter.requires_grad]
    learnt = actuation.following_parameters()
    for parameter in held:
        parameter.requires_grad_(False)
    for parameter in learnt:
        parameter.requires_grad_(True)
    scaled = model.scaled(recordings.proprio.to(model.device)).cpu()

    def loss(generator: Generator) -> tuple[Tensor, dict[str, float]]:
        drawn = recordings.draw(_BATCH, generator, among=moments)
        acted, _ = recordings.chunk(drawn, shape.chunk)
        after, happened = recordings.future(drawn, shape.chunk)
        rows = (part.to(model.device) for part in (scaled[drawn], recordings.actions[acted], scaled[after], happened))
        proprio, actions, measured, known = rows
        off = actuation(proprio, actions)[1] - measured
        total = torch.nn.functional.huber_loss(off, torch.zeros_like(off), reduction="none", delta=_TOUCHED)
        seen = known[..., None].expand_as(off)
        return 1e4 * total[seen].mean(), {"joints": float(off[seen].detach().square().mean().sqrt())}

    trainer = Trainer(actuation, loss, training, folder)
    trainer.run()
    trainer.use_average()
    for parameter in held:
        parameter.requires_grad_(True)
    for parameter in learnt:
        parameter.requires_grad_(False)
        parameter.grad = None  # else it would count when gradients are clipped
