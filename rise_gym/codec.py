"""Frames to latents and back: the one module that turns uint8 pixels into numbers in [-1, 1] and latents again."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import torch
from diffusers import AutoencoderTiny
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Generator, Tensor
from torch.nn import functional

from rise_gym.errors import InvalidDataset
from rise_gym.recordings import Recordings
from rise_gym.training import Trainer, TrainingConfig, noise_like

_LARGEST_BATCH = 192  # images at once: larger ones leave the cache and get slower


@dataclass(frozen=True, kw_only=True)
class FrameCodecConfig:
    """Size of a `FrameCodec`.

    Attributes:
        latent_channels: c. width: channels of every convolution; AutoencoderTiny wants them all alike.
        encoder_blocks, decoder_blocks: residual blocks at (half, a quarter) and (a quarter, half) of the resolution.
        patch: pixels a side that are folded into channels first; convolving at full resolution is what would cost most.
    """

    latent_channels: int = 4
    width: int = 32
    encoder_blocks: tuple[int, int] = (1, 2)
    decoder_blocks: tuple[int, int] = (2, 1)
    patch: int = 2


class FrameCodec(ModelMixin, ConfigMixin):
    """A `Codec`: diffusers' `AutoencoderTiny` behind pixel folding and a stored normalisation of the latents.

    Height and width shrink by 2 · `patch`: uint8 (64, 64, 3) becomes (4, 16, 16) by default. See `FrameCodecConfig`.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 4,
        width: int = 32,
        encoder_blocks: tuple[int, int] = (1, 2),
        decoder_blocks: tuple[int, int] = (2, 1),
        patch: int = 2,
    ) -> None:
        super().__init__()
        self.autoencoder = AutoencoderTiny(
            in_channels=3 * patch**2,
            out_channels=3 * patch**2,
            encoder_block_out_channels=(width, width),
            decoder_block_out_channels=(width, width),
            num_encoder_blocks=tuple(encoder_blocks),
            num_decoder_blocks=tuple(decoder_blocks),
            latent_channels=latent_channels,
        )
        self.register_buffer("latent_shift", torch.zeros(latent_channels))
        self.register_buffer("latent_scale", torch.ones(latent_channels))
        self.to(memory_format=torch.channels_last)  # 2 to 3 times faster on a CPU

    @classmethod
    def of(cls, config: FrameCodecConfig) -> FrameCodec:
        """An untrained codec."""
        return cls(**asdict(config))

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """uint8 (..., V, H, W, 3) -> latents float32 (..., V, c, h, w), about zero mean and unit variance."""
        images = frames.flatten(0, -4).split(_LARGEST_BATCH)  # each (n, H, W, 3)
        latents = torch.cat([self.latents_of(self.pixels_of(part.to(self.device))) for part in images])
        return self._normalised(latents).contiguous().unflatten(0, frames.shape[:-3])

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (..., V, c, h, w) -> uint8 (..., V, H, W, 3)."""
        parts = latents.flatten(0, -4).to(self.dtype).split(_LARGEST_BATCH)  # each (n, c, h, w)
        images = [self.images_of(self.pixels_decoded(part)) for part in parts]
        return torch.cat(images).unflatten(0, latents.shape[:-3])

    def pixels_of(self, images: Tensor) -> Tensor:
        """uint8 (n, H, W, 3) -> (n, 3, H, W) in [-1, 1]."""
        return images.permute(0, 3, 1, 2).to(self.dtype) / 127.5 - 1

    @staticmethod
    def images_of(pixels: Tensor) -> Tensor:
        """(n, 3, H, W) in [-1, 1], cut off beyond -> uint8 (n, H, W, 3)."""
        return ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def latents_of(self, pixels: Tensor) -> Tensor:
        """Pixels (n, 3, H, W) in [-1, 1] -> latents before normalisation (n, c, h, w)."""
        folded = functional.pixel_unshuffle(pixels, self.config.patch)
        return self.autoencoder.encoder(folded.contiguous(memory_format=torch.channels_last))

    def pixels_from(self, latents: Tensor) -> Tensor:
        """Latents before normalisation (n, c, h, w) -> pixels (n, 3, H, W), about [-1, 1]."""
        folded = self.autoencoder.decoder(latents.contiguous(memory_format=torch.channels_last))
        return functional.pixel_shuffle(folded, self.config.patch)

    def pixels_decoded(self, latents: Tensor) -> Tensor:
        """Latents (n, c, h, w) -> pixels (n, 3, H, W), about [-1, 1]; differentiable."""
        return self.pixels_from(self._raw(latents))

    def _normalised(self, latents: Tensor) -> Tensor:
        return (latents - self.latent_shift[:, None, None]) / self.latent_scale[:, None, None]

    def _raw(self, latents: Tensor) -> Tensor:
        return latents * self.latent_scale[:, None, None] + self.latent_shift[:, None, None]

    @torch.no_grad()
    def fit_normalisation(self, frames: Tensor) -> None:
        """Set shift and scale so that the latents of frames uint8 (n, V, H, W, 3) have zero mean and unit variance."""
        self.latent_shift.zero_()
        self.latent_scale.fill_(1.0)
        latents = self.encode(frames).flatten(0, 1)
        self.latent_shift.copy_(latents.mean((0, 2, 3)))
        self.latent_scale.copy_(latents.std((0, 2, 3)).clamp(min=1e-3))


@dataclass(frozen=True, kw_only=True)
class CodecTraining:
    """How to train a codec.

    Attributes:
        training: steps and rates; a row of a batch is one moment with all its views.
        codec: its size.
        motion_weight: extra weight of pixels that differ from the episode's median picture: flaps and grippers are few
            pixels, and the ones that matter.
        gradient_weight: of the error of neighbouring pixels' differences, which keeps edges.
        latent_noise: up to this much noise, in standard deviations of the latents, so that imagined ones decode well.
        latent_penalty: of the latents' square, which keeps the decoder out of its own saturation at ±3.
    """

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            steps=3000, batch_size=12, learning_rate=2e-3, weight_decay=1e-4, ema_decay=0.998
        )
    )
    codec: FrameCodecConfig = field(default_factory=FrameCodecConfig)
    motion_weight: float = 4.0
    gradient_weight: float = 0.5
    latent_noise: float = 0.2
    latent_penalty: float = 1e-3


def train_codec(
    recordings: Recordings,
    config: CodecTraining,
    folder: str | Path,
    *,
    initial: FrameCodec | None = None,
    on_progress: Callable[[int, dict[str, float]], None] | None = None,
) -> FrameCodec:
    """Train a codec on recorded frames; a run in `folder` goes on where it stopped.

    With `initial` training starts from the weights of that codec, which is left as it is, and its normalisation is
    kept: what learnt to work with its latents starts close to these.

    Returns the codec, averaged over the last steps and its latents normalised, in eval mode.

    Raises:
        InvalidDataset: if there are no frames.
    """
    if not len(recordings):
        raise InvalidDataset("a codec learns from frames, the recordings are empty; collect some episodes first")
    codec = _untrained(config) if initial is None else copy.deepcopy(initial).train().requires_grad_()
    codec.to(config.training.device)
    medians = _median_pictures(recordings)

    def pixels(images: Tensor) -> Tensor:
        return codec.pixels_of(images.to(codec.device))

    def loss(generator: Generator) -> tuple[Tensor, dict[str, float]]:
        moments = recordings.draw(config.training.batch_size, generator)
        images = recordings.frames[moments].flatten(0, 1)
        still = medians[recordings.episode[moments]].flatten(0, 1)
        return _codec_loss(codec, pixels(images), pixels(still), config, generator)

    origin = {"codec to start from": initial}
    trainer = Trainer(codec, loss, config.training, folder, origin=origin)
    trainer.run(on_progress=on_progress)
    trainer.use_average()
    if initial is not None:
        return codec.eval()
    sample = torch.linspace(0, len(recordings) - 1, min(len(recordings), 2000)).long()
    codec.fit_normalisation(recordings.frames[sample])
    return codec.eval()


def _untrained(config: CodecTraining) -> FrameCodec:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        return FrameCodec.of(config.codec)


def _median_pictures(recordings: Recordings) -> Tensor:
    """What every episode looks like when nothing moves: uint8 (E, V, H, W, 3)."""
    rows = [torch.nonzero(recordings.episode == e).flatten() for e in range(len(recordings.success))]
    return torch.stack([recordings.frames[index[:: max(1, len(index) // 15)]].median(0).values for index in rows])


def _codec_loss(
    codec: FrameCodec, pixels: Tensor, still: Tensor, config: CodecTraining, generator: Generator
) -> tuple[Tensor, dict[str, float]]:
    latents = codec.latents_of(pixels)
    spread = latents.detach().std((0, 2, 3), keepdim=True)
    amount = config.latent_noise * torch.rand(len(latents), 1, 1, 1, generator=generator).to(latents)
    noise = noise_like(latents, generator)
    decoded = codec.pixels_from(latents + amount * spread * noise)
    moving = ((pixels - still).abs().mean(1, keepdim=True) * 4).clamp(
        max=1
    )  # (n, 1, H, W); a difference of 1/4 is plain
    weight = 1 + config.motion_weight * moving
    weight = weight / weight.mean()
    error = decoded - pixels
    square = error.square()
    slopes = sum(cast(Tensor, error.diff(dim=axis).abs().mean()) for axis in (2, 3))
    loss = (weight * (square + 0.2 * error.abs())).mean() + 0.2 * config.gradient_weight * slopes
    psnr = 10 * torch.log10(4 / square.detach().mean())
    return loss + config.latent_penalty * latents.square().mean(), {"psnr": float(psnr)}
