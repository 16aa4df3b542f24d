"""Training of the decoder on what the dynamics imagines: latents stay what they are, their pictures become truer.

A decoder that has only seen recorded latents shows the mean of several possible futures, which no recording holds, as
something else than the mean of their pictures. Nothing else of a world model changes by this training.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Generator, Tensor

from rise_gym.codec import FrameCodec
from rise_gym.dynamics import VideoDynamics
from rise_gym.errors import InvalidDataset
from rise_gym.recordings import Recordings
from rise_gym.training import Trainer, TrainingConfig


@dataclass(frozen=True, kw_only=True)
class DecoderTraining:
    """How to train a decoder on imagined frames.

    Attributes:
        training: steps and rates; a row of a batch is one imagined chunk.
        ticks: how many frames of each chunk are decoded.
        recorded_share: fraction of rows whose latents are the recorded ones, so that these decode as well as before.
    """

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            steps=500, batch_size=16, learning_rate=1e-3, warmup_steps=50, weight_decay=1e-4, ema_decay=0.99
        )
    )
    ticks: int = 4
    recorded_share: float = 0.25


def train_decoder(
    codec: FrameCodec,
    dynamics: VideoDynamics,
    recordings: Recordings,
    config: DecoderTraining,
    folder: str | Path,
    *,
    on_progress: Callable[[int, dict[str, float]], None] | None = None,
) -> FrameCodec:
    """Go on training a codec's decoder; a run in `folder` goes on where it stopped.

    Args:
        codec: left as it is; of the one that comes back only the decoder is another.
        dynamics: imagines; frozen.
        recordings: with frames, and the codec's latents.
        config: how.
        folder: the run's state and curves.

    Raises:
        InvalidDataset: if the recordings lack frames or latents, or no episode has a second frame.
    """
    moments = (torch.arange(len(recordings)) < recordings.last).nonzero().flatten()
    if recordings.latents is None or not len(recordings.frames) or not len(moments):
        raise InvalidDataset("a decoder learns from encoded episodes of two frames and more that still have frames")
    learner, imagining = (copy.deepcopy(part).to(config.training.device) for part in (codec, dynamics))

    def loss(generator: Generator) -> tuple[Tensor, dict[str, float]]:
        drawn = recordings.draw(config.training.batch_size, generator, among=moments)
        latents, images = (part.to(learner.device) for part in _pairs(imagining, recordings, drawn, config, generator))
        error = (learner.pixels_decoded(latents) - learner.pixels_of(images)).square().mean()
        return error, {"psnr": float(10 * torch.log10(4 / error.detach()))}

    trainer = Trainer(learner.autoencoder.decoder, loss, config.training, folder)
    trainer.run(on_progress=on_progress)
    trainer.use_average()
    return learner.eval()


@torch.no_grad()
def _pairs(
    dynamics: VideoDynamics, recordings: Recordings, moments: Tensor, config: DecoderTraining, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Latents (n, c, h, w) of frames after moments (B,), imagined or recorded, and the true frames (n, H, W, 3)."""
    assert recordings.latents is not None  # checked where training begins
    shape = dynamics.config
    history = recordings.latents[recordings.history(moments, shape.history, shape.stride)].to(dynamics.device).float()
    acted, _ = recordings.chunk(moments, shape.chunk)
    imagined = dynamics.sample(
        history,
        recordings.proprio[moments].to(dynamics.device),
        recordings.actions[acted].to(dynamics.device),
        generator=generator,
        instruction=recordings.instruction_of(moments),
    ).latents
    after, happened = recordings.future(moments, shape.chunk)
    ticks = torch.randperm(shape.chunk, generator=generator)[: config.ticks]
    recorded = torch.rand(len(moments), 1, 1, 1, 1, 1, generator=generator) < config.recorded_share
    latents = torch.where(recorded, recordings.latents[after[:, ticks]].float(), imagined[:, ticks].cpu())
    known = happened[:, ticks]
    return latents[known].flatten(0, 1), recordings.frames[after[:, ticks][known]].flatten(0, 1)
