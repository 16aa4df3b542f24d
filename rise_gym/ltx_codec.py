"""Frames to latents and back with LTX-Video's autoencoder, which also squeezes time.

It makes of r·k + 1 frames 1 + k latent frames (r = 8): the first stands alone, each later one for r frames. Diffusers
drops surplus frames without a word; here they are refused. The paper's code encodes history *frame by frame*, each a
clip of its own, and the future as *one clip*, and so is it done here:

- A frame that is known has its own latent. Any frame can then be history at any spacing, a state holds frames as every
  other codec has them, and nothing of a frame leaks into the one before it.
- The future, which is what costs, is an eighth of the tokens: 25 frames are 4 latent frames. `rise_gym.ltx_dynamics`
  imagines those, and gives them back as frames: decoded, and each encoded by itself.

What a dream shows has thus passed the autoencoder twice; what it goes on from has passed it as often as in the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import AutoencoderKLLTXVideo
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor


class LTXCodec(ModelMixin, ConfigMixin):
    """A `Codec`: diffusers' `AutoencoderKLLTXVideo`; 192 x 256 pixels become 128 channels of 6 x 8.

    Args:
        settings: arguments of diffusers' class; what is left out is that of LTX-Video's first autoencoder.
        decode_timestep: how noisy latents are said to be to a decoder that asks for it (LTX-Video 0.9.1 and later);
            that of the paper's code.
        frames_at_once: clips go through in parts of so many frames, at least one clip at a time.
    """

    @register_to_config
    def __init__(
        self,
        settings: Mapping[str, Any] | None = None,
        decode_timestep: float = 0.03,
        frames_at_once: int = 100,
    ) -> None:
        super().__init__()
        self.autoencoder = AutoencoderKLLTXVideo(**(settings or {}))

    @property
    def channels(self) -> int:
        """c of the latents."""
        return int(self.autoencoder.config.latent_channels)

    @property
    def compression(self) -> tuple[int, int, int]:
        """Frames, and pixels of height and width, that a latent stands for."""
        space = int(self.autoencoder.spatial_compression_ratio)
        return int(self.autoencoder.temporal_compression_ratio), space, space

    @staticmethod
    def compression_of(settings: Mapping[str, Any] | None) -> tuple[int, int, int]:
        """That of a codec with these settings, without its weights."""
        with torch.device("meta"):
            return LTXCodec(settings=settings).compression

    def latent_frames(self, frames: int) -> int:
        """How many latent frames a clip of so many frames has.

        Raises:
            ValueError: if the autoencoder would drop some of them.
        """
        return latent_frames(frames, self.compression[0])

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """Frames, each by itself: uint8 (..., V, H, W, 3) -> latents float32 (..., V, c, h, w)."""
        return self.latents_of(self._pixels(frames)).float()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents of single frames (..., V, c, h, w) -> uint8 (..., V, H, W, 3)."""
        clips = latents.flatten(0, -4)[:, :, None]  # (n, c, 1, h, w)
        pixels = self._in_parts(self._decoded, clips, frames=1)[:, :, 0]
        images = ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return images.permute(0, 2, 3, 1).contiguous().unflatten(0, latents.shape[:-3])

    @torch.no_grad()
    def encode_clip(self, frames: Tensor) -> Tensor:
        """What follows as one clip: uint8 (B, F, V, H, W, 3), F = r·k + 1 -> latents (B, 1 + k, V, c, h, w).

        Raises:
            ValueError: for another F.
        """
        self.latent_frames(frames.shape[1])
        clips = self._pixels(frames).permute(0, 2, 3, 1, 4, 5)  # (B, V, 3, F, H, W)
        latents = self._in_parts(self._encoded, clips.flatten(0, 1), clips.shape[3])  # (B·V, c, f, h, w)
        return latents.unflatten(0, clips.shape[:2]).permute(0, 3, 1, 2, 4, 5).float()

    def decode_clip(self, latents: Tensor) -> Tensor:
        """Latents of a clip (B, f, V, c, h, w) -> pixels (B, r·(f - 1) + 1, V, 3, H, W), about [-1, 1].

        Differentiable.
        """
        clips = latents.permute(0, 2, 3, 1, 4, 5)  # (B, V, c, f, h, w)
        frames = self.compression[0] * (latents.shape[1] - 1) + 1
        pixels = self._in_parts(self._decoded, clips.flatten(0, 1), frames)  # (B·V, 3, F, H, W)
        return pixels.unflatten(0, clips.shape[:2]).permute(0, 3, 1, 2, 4, 5)

    def frames_of(self, latents: Tensor) -> Tensor:
        """A clip's latents (B, f, V, c, h, w) -> those of its frames, each by itself (B, F, V, c, h, w).

        Differentiable.
        """
        return self.latents_of(self.decode_clip(latents).clamp(-1, 1)).float()

    def latents_of(self, pixels: Tensor) -> Tensor:
        """Pixels (..., 3, H, W) in [-1, 1], each a clip of its own -> latents (..., c, h, w); differentiable."""
        clips = pixels.flatten(0, -4)[:, :, None]  # (n, 3, 1, H, W)
        return self._in_parts(self._encoded, clips, frames=1)[:, :, 0].unflatten(0, pixels.shape[:-3])

    def _pixels(self, frames: Tensor) -> Tensor:
        """uint8 (..., H, W, 3) -> (..., 3, H, W) in [-1, 1]."""
        return frames.to(self.device).movedim(-1, -3).to(self.dtype) / 127.5 - 1

    def _in_parts(self, through: Callable[[Tensor], Tensor], clips: Tensor, frames: int) -> Tensor:
        return torch.cat([through(part) for part in clips.split(max(1, int(self.config.frames_at_once) // frames))])

    def _encoded(self, clips: Tensor) -> Tensor:
        """(n, 3, F, H, W) -> the most likely latents, about unit variance (n, c, f, h, w)."""
        found = self.autoencoder.encode(clips.to(self.dtype)).latent_dist.mode()
        mean, spread = self._statistics()
        return (found - mean) * self.autoencoder.config.scaling_factor / spread

    def _decoded(self, latents: Tensor) -> Tensor:
        """(n, c, f, h, w) -> pixels (n, 3, F, H, W)."""
        mean, spread = self._statistics()
        raw = latents.to(self.dtype) * spread / self.autoencoder.config.scaling_factor + mean
        level = None
        if self.autoencoder.config.timestep_conditioning:
            level = raw.new_full((len(raw),), float(self.config.decode_timestep))
        with self._the_same_noise():
            return self.autoencoder.decode(raw, temb=level, return_dict=False)[0]

    def _statistics(self) -> tuple[Tensor, Tensor]:
        mean, spread = self.autoencoder.latents_mean, self.autoencoder.latents_std
        return mean.to(self.dtype).view(1, -1, 1, 1, 1), spread.to(self.dtype).view(1, -1, 1, 1, 1)

    @contextmanager
    def _the_same_noise(self) -> Iterator[None]:
        """Some decoders draw noise from the global generator; a dream has to look the same each time."""
        if not any(self.autoencoder.config.decoder_inject_noise):
            yield
            return
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(0)
            yield


def latent_frames(frames: int, compression: int) -> int:
    """How many latent frames there are of a clip, where each but the first stands for `compression` frames.

    Raises:
        ValueError: if some would be left over, which diffusers drops without a word.
    """
    if frames < 1 or (frames - 1) % compression:
        least = max(1, frames - (frames - 1) % compression)
        raise ValueError(
            f"a clip of {compression}·k + 1 frames was wanted, since each latent frame but the first stands for "
            f"{compression}, got {frames}; take {least} or {least + compression}"
        )
    return 1 + (frames - 1) // compression
