"""One small network that draws every imagined frame of every view: what the denoiser leaves blurred, sharpened.

All ticks and views share its weights, so that a batch teaches it thirty times over how an edge of an arm looks, where
the denoiser, which stacks all frames of a chunk, has to learn it for each of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rise_gym._denoiser import residual_block

_GROUPS = 8


class FrameRenderer(nn.Module):
    """A U-Net of two resolutions over single frames.

    Args:
        channels: maps that it is shown. features: those of the denoiser beside them. frame_channels: c of a latent.
        widths: channels at full and at half resolution. ticks, views: how many of each it tells apart. size: h = w.
        embedding_width: of what tells them apart.
    """

    def __init__(
        self,
        *,
        channels: int,
        features: int,
        frame_channels: int,
        widths: tuple[int, int],
        ticks: int,
        views: int,
        size: int,
        embedding_width: int,
    ) -> None:
        super().__init__()
        width, deep = widths
        self.views = views
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.frame = nn.Parameter(0.02 * torch.randn(views * ticks, width, 1, 1))
        self.place = nn.Parameter(0.02 * torch.randn(views, width, size, size))
        # no weights: torch 2.13 crashes in the backward pass of a channels-last norm with weights and a frozen input
        norm = nn.GroupNorm(_GROUPS, features, affine=False)
        self.features = nn.Sequential(norm, nn.SiLU(), nn.Conv2d(features, width, 1))
        self.embedding = nn.Parameter(0.02 * torch.randn(views * ticks, embedding_width))

        self.down = residual_block(width, width, embedding_width)
        self.shrink = nn.Conv2d(width, deep, 3, stride=2, padding=1)
        self.middle = residual_block(deep, deep, embedding_width)
        self.grow = nn.Sequential(nn.Upsample(scale_factor=2.0), nn.Conv2d(deep, width, 3, padding=1))
        self.up = residual_block(2 * width, width, embedding_width)
        self.leave = nn.Sequential(
            nn.GroupNorm(_GROUPS, width), nn.SiLU(), nn.Conv2d(width, frame_channels, 3, padding=1)
        )
        for parameter in self.leave[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, maps: Tensor, features: Tensor, ticks: Tensor) -> Tensor:
        """By what frames differ from the newest ones: (B, n, V, c, h, w).

        maps (B, n, V, C, h, w) of frames at `ticks` (B, n) of a chunk, features (B, C, h, w) of the whole chunk.
        """
        shape, frames = maps.shape[:3], maps.shape[1] * maps.shape[2]
        view = torch.arange(self.views, device=maps.device)
        which = (ticks[:, :, None] * self.views + view).flatten()  # (B * n * V,)
        told = self.embedding[which]
        hidden = self.enter(maps.flatten(0, 2).contiguous(memory_format=torch.channels_last))
        hidden = hidden + self.frame[which] + self.place[which % self.views]
        hidden = hidden + self.features(features).repeat_interleave(frames, 0)
        full = self.down(hidden, told)
        half = self.middle(self.shrink(full), told)
        return self.leave(self.up(torch.cat([self.grow(half), full], dim=1), told)).unflatten(0, shape)
