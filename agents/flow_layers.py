"""The parts of the flow policy: camera encoders, the head over an action chunk, and image augmentation."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from rise_gym.protocols import Generators


class ViewEncoder(nn.Module):
    """One camera: pixels to a vector that keeps *where* things are.

    The picture is folded 2×2 into channels and halved twice more; a narrow grid (an eighth of the picture a side) is
    then flattened rather than pooled, because a few pixels decide whether a flap is touched.
    """

    def __init__(self, image_size: tuple[int, int], channels: tuple[int, int, int], grid_channels: int, width: int):
        super().__init__()
        shallow, middle, deep = channels
        cells = (image_size[0] // 8) * (image_size[1] // 8)
        self.layers = nn.Sequential(
            nn.PixelUnshuffle(2),  # (B, 3, H, W) -> (B, 12, H/2, W/2)
            nn.Conv2d(12, shallow, 3, padding=1),
            _norm(shallow),
            nn.SiLU(),
            nn.Conv2d(shallow, middle, 3, stride=2, padding=1),
            _norm(middle),
            nn.SiLU(),
            nn.Conv2d(middle, deep, 3, stride=2, padding=1),
            _norm(deep),
            nn.SiLU(),
            nn.Conv2d(deep, deep, 3, padding=1),
            _norm(deep),
            nn.SiLU(),
            nn.Conv2d(deep, grid_channels, 1),
            nn.Flatten(),
            nn.Linear(grid_channels * cells, width),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, width)."""
        return self.layers(pixels)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(8 if channels % 8 == 0 else 1, channels)


class _ResidualBlock(nn.Module):
    """An MLP block that its condition scales, shifts and gates; it starts as the identity."""

    def __init__(self, width: int, condition_width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(condition_width, 3 * width)
        self.layers = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        scale, shift, gate = self.modulation(condition).chunk(3, dim=-1)
        return hidden + gate * self.layers(self.norm(hidden) * (1 + scale) + shift)


class ChunkHead(nn.Module):
    """The flow's velocity over a whole action chunk at once.

    A chunk of ten ticks is so short that it is treated as one vector; that is several times cheaper here than tokens.
    """

    def __init__(self, chunk: int, actions: int, width: int, condition_width: int, blocks: int):
        super().__init__()
        self.enter = nn.Linear(chunk * actions, width)
        self.inform = nn.Linear(condition_width, width)
        self.time = nn.Sequential(
            nn.Linear(SINUSOIDS, condition_width), nn.SiLU(), nn.Linear(condition_width, condition_width)
        )
        self.blocks = nn.ModuleList(_ResidualBlock(width, condition_width) for _ in range(blocks))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, chunk * actions))
        self.gain = nn.Linear(condition_width, chunk * actions)
        for parameter in (*self.leave[1].parameters(), *self.gain.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, noisy: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
        """noisy chunk (B, K, A), noise level (B,) in [0, 1], context (B, D) -> velocity (B, K, A)."""
        condition = functional.silu(context + self.time(sinusoids(sigma)))
        level = sigma[:, None]
        spread = (level.square() + (1 - level).square()).sqrt()  # of the noisy chunk, when actions have unit variance
        hidden = self.enter(noisy.flatten(1) / spread) + self.inform(condition)  # (B, K, A) -> (B, W)
        for block in self.blocks:
            hidden = block(hidden, condition)
        # The velocity holds the noise itself. A gain on the input carries it past the narrow network: at first the best
        # linear guess for actions of unit variance, then whatever is learned.
        gain = (2 * level - 1) / spread.square() + self.gain(condition)
        return (gain * noisy.flatten(1) + self.leave(hidden) / spread).view_as(noisy)


SINUSOIDS = 64


def sinusoids(sigma: Tensor) -> Tensor:
    """Sinusoids of the noise level: (B,) in [0, 1] -> (B, SINUSOIDS)."""
    octaves = torch.arange(SINUSOIDS // 2, device=sigma.device, dtype=sigma.dtype) * (6.0 / (SINUSOIDS // 2))
    angles = sigma[:, None] * torch.pi * torch.exp2(octaves)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def shift_randomly(frames: Tensor, reach_px: int, generator: Generator) -> Tensor:
    """Move every picture by up to `reach_px` pixels each way, repeating its border: (B, V, H, W, 3) -> the same.

    One shift a view, so that the policy cannot rely on cameras being mounted to the pixel.
    """
    batch, views, height, width, _ = frames.shape
    flat = frames.flatten(0, 1)
    moves = torch.randint(-reach_px, reach_px + 1, (2, batch * views, 1), generator=generator).to(frames.device)
    rows = (torch.arange(height, device=frames.device) + moves[0]).clamp(0, height - 1)  # (B·V, H)
    columns = (torch.arange(width, device=frames.device) + moves[1]).clamp(0, width - 1)  # (B·V, W)
    which = torch.arange(batch * views, device=frames.device)
    return flat[which[:, None, None], rows[:, :, None], columns[:, None, :]].view_as(frames)


def jitter_light(pixels: Tensor, amount: float, generator: Generator) -> Tensor:
    """Change contrast and brightness by up to `amount`, alike in all views of a row: (B, V, 3, H, W) in [-1, 1]."""
    shape = (2, len(pixels), 1, 1, 1, 1)
    contrast, brightness = ((torch.rand(shape, generator=generator) * 2 - 1) * amount).to(pixels.device)
    return pixels * (1 + contrast) + brightness


def noise_levels(count: int, generator: Generator) -> Tensor:
    """sigma ~ Beta(1.5, 1) as in pi0: more often near 1, where a chunk's coarse shape is decided.

    Its cumulative distribution is sigma^1.5, so a uniform number to the power 2/3 is a draw.
    """
    return torch.rand(count, generator=generator).pow(2 / 3)


def draw_noise(shape: tuple[int, int, int], generator: Generators) -> Tensor:
    """Standard normal noise (B, K, A) from one generator for the batch, or from one a row."""
    if isinstance(generator, Generator):
        return torch.randn(shape, generator=generator)
    if len(generator) != shape[0]:
        raise ValueError(f"one generator for each of {shape[0]} rows was wanted, got {len(generator)}")
    return torch.stack([torch.randn(shape[1:], generator=row) for row in generator])
