"""The networks inside `rise_gym.dynamics`: what a chunk commands, and the U-Net that turns it into pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.downsampling import Downsample2D
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

_GROUPS = 8  # of every group norm; widths are multiples of it
_HEAD_WIDTH = 32  # of the attention at the lowest resolution
_DROPPED = 0.2  # of what the expected gain is read from: outcomes are few beside frames
_MAGNIFIED = 5.0  # times of small differences between joints, so that those of one chunk fill the range


def residual_block(before: int, after: int, embedding_width: int) -> ResnetBlock2D:
    """From so many channels to so many, scaled and shifted by an embedding."""
    return ResnetBlock2D(
        in_channels=before,
        out_channels=after,
        temb_channels=embedding_width,
        groups=_GROUPS,
        time_embedding_norm="scale_shift",
    )


class Actuation(nn.Module):
    """What the chunk commands: the proprioception that follows, and an embedding of it for the denoiser.

    Joints follow their targets by a learnt step response, corrected by a small network (contact, gravity). Pictures
    depend on where the joints *are*, so the embedding is made of the predicted joints, not of the targets.
    """

    def __init__(self, actions: int, chunk: int, width: int) -> None:
        super().__init__()
        self.response = nn.Parameter(
            torch.zeros(actions, 1, chunk)
        )  # what is commanded happens, until learnt otherwise
        self.correction = nn.Sequential(
            nn.Linear((2 * chunk + 1) * actions, width), nn.SiLU(), nn.Linear(width, chunk * actions)
        )
        for parameter in self.correction[-1].parameters():
            nn.init.zeros_(parameter)
        self.ticks = nn.Sequential(
            nn.Conv1d(5 * actions, 96, 3, padding=1), nn.SiLU(), nn.Conv1d(96, 64, 3, padding=1), nn.SiLU()
        )
        self.joined = nn.Sequential(nn.Linear(64 * chunk + actions, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, proprio: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled proprio (B, P), actions (B, K, A) -> embedding (B, D), scaled proprio (B, K, P)."""
        steps = actions.diff(dim=1, prepend=proprio[:, None])  # (B, K, A) how the targets move
        following = self._following(proprio, actions, steps)
        moved = following - proprio[:, None]
        angles = torch.pi * following  # about rad: what a camera sees of a joint is a sine and a cosine
        waves = [angles.sin(), angles.cos()]
        tokens = torch.cat([following, _MAGNIFIED * moved, _MAGNIFIED * steps, *waves], dim=-1)
        chunk = self.ticks(tokens.transpose(1, 2)).flatten(1)
        return self.joined(torch.cat([chunk, proprio], dim=-1)), following

    def following_parameters(self) -> list[nn.Parameter]:
        """What says where joints will be; the others embed it."""
        return [self.response, *self.correction.parameters()]

    def _following(self, proprio: Tensor, actions: Tensor, steps: Tensor) -> Tensor:
        ticks = self.response.shape[-1]
        before = nn.functional.pad(steps.transpose(1, 2), (ticks - 1, 0))  # no tick sees a later one's target
        lag = nn.functional.conv1d(before, self.response, groups=len(self.response)).transpose(1, 2)
        offsets = _MAGNIFIED * (actions - proprio[:, None])
        seen = torch.cat([proprio, offsets.flatten(1), _MAGNIFIED * steps.flatten(1)], dim=-1)
        return actions + lag + self.correction(seen).view_as(actions) / _MAGNIFIED


class Features(NamedTuple):
    """What a denoiser saw on its way: coarse (B, C, h/4, w/4), fine (B, C, h, w)."""

    coarse: Tensor
    fine: Tensor


class ExpectedGain(nn.Module):
    """How much progress will have been gained by each of some ticks, read from a denoiser's features.

    Whether a grasp will hold is uncertain, and the mean of two pictures shows neither outcome; the mean of two gains
    is what is to be expected.
    """

    def __init__(self, coarse: int, fine: int, size: int, ticks: int) -> None:
        super().__init__()
        self.fine = nn.Sequential(
            nn.GroupNorm(_GROUPS, fine),
            nn.SiLU(),
            nn.Conv2d(fine, 64, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(64, 64, 3, stride=2, padding=1),
            nn.SiLU(),
        )
        self.coarse = nn.Sequential(nn.GroupNorm(_GROUPS, coarse), nn.SiLU(), nn.Conv2d(coarse, 64, 1), nn.SiLU())
        self.joined = nn.Sequential(
            nn.Dropout(_DROPPED), nn.Linear(128 * (size // 4) ** 2, 256), nn.SiLU(), nn.Dropout(_DROPPED)
        )
        self.leave = nn.Linear(256, ticks)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, features: Features) -> Tensor:
        """(B, ticks): progress of each tick less that of the newest frame."""
        seen = torch.cat([self.fine(features.fine), self.coarse(features.coarse)], dim=1)
        return self.leave(self.joined(seen.flatten(1)))


class Denoiser(nn.Module):
    """The U-Net over stacked latents at three resolutions; it starts by predicting that nothing changes.

    Args:
        frame_channels: V·c, those of all views of a tick. size: h = w of latents.
        shown_channels: maps that are drawn for it beside the latents, see `rise_gym._sights.Shown`. gates:
            how many it finds for what is drawn to be carried over into the frames.
        The others: see `VideoDynamicsConfig`.
    """

    def __init__(
        self,
        *,
        frame_channels: int,
        history: int,
        chunk: int,
        size: int,
        widths: Sequence[int],
        blocks: int,
        embedding_width: int,
        map_channels: int,
        shown_channels: int = 0,
        gates: int = 0,
    ) -> None:
        super().__init__()
        full, half, quarter = widths
        self.gates = gates
        self.level = nn.Sequential(
            Timesteps(64, flip_sin_to_cos=True, downscale_freq_shift=0), TimestepEmbedding(64, embedding_width)
        )
        self.enter = nn.Conv2d(frame_channels * (history + chunk) + shown_channels, full, 3, padding=1)
        self.place = nn.Parameter(0.02 * torch.randn(1, full, size, size))
        self.map = nn.Linear(embedding_width, map_channels * (size // 2) ** 2)
        self.map_shape = (map_channels, size // 2, size // 2)

        def residual(before: int, after: int) -> ResnetBlock2D:
            return residual_block(before, after, embedding_width)

        def stack(before: int, after: int) -> nn.ModuleList:
            return nn.ModuleList(residual(before if i == 0 else after, after) for i in range(blocks))

        self.down_full = stack(full, full)
        self.shrink_full = Downsample2D(full, use_conv=True, out_channels=full, name="op")
        self.down_half = stack(full + map_channels, half)
        self.shrink_half = Downsample2D(
            half, use_conv=True, out_channels=half, name="op"
        )  # "conv" would register it twice
        self.down_quarter = stack(half, quarter)
        self.attention = Attention(
            quarter,
            heads=quarter // _HEAD_WIDTH,
            dim_head=_HEAD_WIDTH,
            norm_num_groups=_GROUPS,
            residual_connection=True,
            bias=True,
        )
        self.middle = residual(quarter, quarter)
        self.grow_half = Upsample2D(quarter, use_conv=True, out_channels=half)
        self.up_half = stack(2 * half, half)
        self.grow_full = Upsample2D(half, use_conv=True, out_channels=full)
        self.up_full = stack(2 * full, full)
        self.leave = nn.Sequential(
            nn.GroupNorm(_GROUPS, full), nn.SiLU(), nn.Conv2d(full, frame_channels * chunk + gates, 3, padding=1)
        )
        for parameter in self.leave[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, stacked: Tensor, sigma: Tensor, embedding: Tensor) -> tuple[Tensor, Features]:
        """Differences of frames, and gates before their softmax: (B, K·V·c + gates, h, w); and what led to them.

        stacked (B, C, h, w) is what is seen and shown, sigma (B,) the noise level in [0, 1], embedding (B, D).
        """
        condition = embedding + self.level(1000 * sigma)
        painted = self.map(nn.functional.silu(embedding)).unflatten(1, self.map_shape)
        hidden = self.enter(stacked.contiguous(memory_format=torch.channels_last)) + self.place
        full = _through(self.down_full, hidden, condition)
        half = _through(self.down_half, torch.cat([self.shrink_full(full), painted], dim=1), condition)
        hidden = _through(self.down_quarter, self.shrink_half(half), condition)
        coarse = self.middle(self.attention(hidden), condition)
        hidden = _through(self.up_half, torch.cat([self.grow_half(coarse), half], dim=1), condition)
        fine = _through(self.up_full, torch.cat([self.grow_full(hidden), full], dim=1), condition)
        return self.leave(fine), Features(coarse, fine)


def _through(blocks: nn.ModuleList, hidden: Tensor, condition: Tensor) -> Tensor:
    for block in blocks:
        hidden = block(hidden, condition)
    return hidden
