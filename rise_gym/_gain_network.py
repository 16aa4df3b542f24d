"""One small network that expects what a chunk gains from where the robot's geometry says its hands will be.

Every second tick of the chunk is looked at in every view with the same weights: the newest picture, the outlines of the
arms at that tick, and how the scene has been moving. Whether fingers will close around a thing or beside it is then
plain to see, where the denoiser's features have to find it among all that a chunk changes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_GROUPS = 8
_TOKEN_WIDTH, _CHUNK_WIDTH = 64, 128
_DROPPED = (0.1, 0.2)  # of what all views show at a tick, and of what was understood by then: outcomes are few
_MAGNIFIED = 5.0  # times of differences between joints, so that those of one chunk fill the range


class GainNetwork(nn.Module):
    """Convolutions over single frames, then a recurrent network over the ticks of a chunk.

    Args:
        channels: maps that it is shown of a frame. frame_channels: c of a latent. history: T frames of the past.
        widths: channels at full and at lower resolutions. views, size: how many pictures, and their h = w.
        joints: P = A. chunk, later: K ticks of a chunk, and L later ones. told_width: of an instruction's embedding, 0
            for a network that is not told.
    """

    def __init__(
        self,
        *,
        channels: int,
        frame_channels: int,
        widths: tuple[int, int],
        views: int,
        size: int,
        joints: int,
        chunk: int,
        later: int,
        told_width: int,
    ) -> None:
        super().__init__()
        full, low = widths
        self.chunk, self.ticks = chunk, [min(tick, chunk - 1) for tick in range(1, chunk + 1, 2)]
        self.enter = nn.Conv2d(channels + 2 * frame_channels, full, 3, padding=1)
        self.place = nn.Parameter(0.02 * torch.randn(views, full, size, size))
        self.shrink = _convolution(full, low, stride=2)
        self.middle = _convolution(low, low)
        self.shrink_again = _convolution(low, low, stride=2)
        self.token = nn.Linear(low * math.ceil(size / 4) ** 2, _TOKEN_WIDTH)
        self.view = nn.Parameter(0.02 * torch.randn(views, _TOKEN_WIDTH))
        self.joined = nn.Sequential(
            nn.Dropout(_DROPPED[0]), nn.Linear(views * _TOKEN_WIDTH + 3 * joints, _CHUNK_WIDTH), nn.SiLU()
        )
        self.told = nn.Linear(told_width, _CHUNK_WIDTH) if told_width else None
        self.over_ticks = nn.GRU(_CHUNK_WIDTH, _CHUNK_WIDTH, batch_first=True)
        self.dropped = nn.Dropout(_DROPPED[1])
        self.gain = nn.Linear(_CHUNK_WIDTH, 2)
        self.later = nn.Linear(_CHUNK_WIDTH, later) if later else None
        for layer in (self.gain, self.later, self.told):  # at first nothing is gained, whatever is asked for
            for parameter in () if layer is None else layer.parameters():
                nn.init.zeros_(parameter)

    def forward(self, maps: Tensor, history: Tensor, joints: Tensor, told: Tensor | None) -> Tensor:
        """Progress that each tick of a chunk, and each later one, is expected to gain: (B, K + L).

        maps (B, n, V, C, h, w) of frames at the n `ticks`, history (B, T, V, c, h, w) oldest first, joints (B, n, 3P)
        as `commanded` gives them, told (B, D).
        """
        rows, frames = maps.shape[0], maps.shape[0] * maps.shape[1]
        newest = history[:, -1]
        past = torch.cat([newest - history[:, -2], newest - history[:, 0]], dim=2)[:, None]
        shown = torch.cat([maps, past.expand(-1, maps.shape[1], -1, -1, -1, -1)], dim=3).flatten(0, 2)
        hidden = self.enter(shown.contiguous(memory_format=torch.channels_last)) + self.place.repeat(frames, 1, 1, 1)
        hidden = self.shrink(hidden)
        hidden = nn.functional.silu(self.shrink_again(hidden + self.middle(hidden)))
        tokens = self.token(hidden.flatten(1)).view(rows, -1, *self.view.shape) + self.view  # (B, n, V, D)
        ticks = self.joined(torch.cat([tokens.flatten(2), joints], dim=2))
        if self.told is not None and told is not None:
            ticks = ticks + self.told(told)[:, None]
        understood = self.dropped(self.over_ticks(ticks)[0])
        gain = self.gain(understood).flatten(1)[:, : self.chunk]  # a tick that is looked at tells of the one before too
        return gain if self.later is None else torch.cat([gain, self.later(understood[:, -1])], dim=1)

    def commanded(self, proprio: Tensor, following: Tensor, actions: Tensor) -> Tensor:
        """Where joints will be, how they move and what pulls them: scaled (B, P) and (B, K, P) twice -> (B, n, 3P)."""
        later = following[:, self.ticks]
        moved, pulled = later - proprio[:, None], actions[:, self.ticks] - later
        return torch.cat([later, _MAGNIFIED * moved, _MAGNIFIED * pulled], dim=2)


def _convolution(before: int, after: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.GroupNorm(_GROUPS, before), nn.SiLU(), nn.Conv2d(before, after, 3, stride=stride, padding=1)
    )
