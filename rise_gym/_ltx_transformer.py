"""Diffusers' LTX-Video transformer run over several views at once, told actions instead of a text.

As in Genie Envisioner and RISE, which begin from LTX-Video: every view is a video of its own, each third block lets
all views attend to each other, and a learnt embedding says which view is which. Diffusers' blocks are used as they
are: whether one sees a view or all of them is only how tokens are laid out before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import LTXVideoTransformer3DModel
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

TIMESTEPS = 1000
"""Of the scheduler: a noise level of 1 is this timestep."""


class MultiViewTransformer(nn.Module):
    """Velocity of noisy latents of all views, at a noise level for each latent frame.

    Args:
        transformer: arguments of diffusers' `LTXVideoTransformer3DModel`; what is left out is that of LTX-Video 2B.
        views: V. cross_view_every: of so many blocks the first one sees all views.
        compression: pixels of time, height and width that a latent stands for. frame_rate: Hz, as positions in time
            are told to the transformer.
    """

    def __init__(
        self,
        transformer: Mapping[str, Any],
        *,
        views: int,
        cross_view_every: int,
        compression: tuple[int, int, int],
        frame_rate: float,
    ) -> None:
        super().__init__()
        self.ltx = LTXVideoTransformer3DModel(**transformer)
        self.views, self.cross_view_every, self.gradient_checkpointing = views, cross_view_every, False
        self._scale = (compression[0] / frame_rate, float(compression[1]), float(compression[2]))
        self.view_embedding = nn.Parameter(0.02 * torch.randn(views, self.width))
        self.view_modulation = nn.Linear(self.width, 6 * self.width)
        nn.init.zeros_(self.view_modulation.weight)  # each view begins as a video of LTX
        nn.init.zeros_(self.view_modulation.bias)

    @property
    def width(self) -> int:
        return int(self.ltx.config.num_attention_heads * self.ltx.config.attention_head_dim)

    @property
    def channels(self) -> int:
        """c of the latents."""
        return int(self.ltx.config.in_channels)

    @property
    def told_channels(self) -> int:
        """Of the tokens that say what happens: those of a text, in LTX-Video."""
        return int(self.ltx.config.caption_channels)

    def forward(self, latents: Tensor, level: Tensor, told: Tensor) -> Tensor:
        """Latents (B, f, V, c, h, w), noise levels (B, f) in [0, 1], told (B, n, D) -> velocity (B, f, V, c, h, w)."""
        batch, frames, views, _, height, width = latents.shape
        tokens = latents.permute(0, 2, 1, 4, 5, 3).flatten(2, 4)  # (B, V, f·h·w, c)
        hidden = self.ltx.proj_in(tokens)
        modulation, embedded = self._modulation(level, height * width, hidden.dtype)
        shape = {"num_frames": frames, "height": height, "width": width}
        turn = self.ltx.rope(tokens[:1, 0], **shape, rope_interpolation_scale=self._scale)
        said = self.ltx.caption_projection(told)
        for number, block in enumerate(self.ltx.transformer_blocks):
            joint = number % self.cross_view_every == 0
            hidden = self._through(block, hidden, said, modulation, turn, joint)
        shift, scale = (self.ltx.scale_shift_table + embedded[:, :, :, None]).unbind(dim=3)
        velocity = self.ltx.proj_out(self.ltx.norm_out(hidden) * (1 + scale) + shift)
        return velocity.view(batch, views, frames, height, width, -1).permute(0, 2, 1, 5, 3, 4)

    def _modulation(self, level: Tensor, tokens: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """What every token is scaled and shifted by, (B, V, L, 6·C), and what is embedded for the last layer."""
        batch, frames = level.shape
        modulation, embedded = self.ltx.time_embed(
            (TIMESTEPS * level).flatten(), batch_size=batch * frames, hidden_dtype=dtype
        )
        view = self.view_embedding.to(dtype)
        of_view = self.view_modulation(nn.functional.silu(view))

        def everywhere(of_level: Tensor, of_view: Tensor) -> Tensor:
            each = of_level.view(batch, 1, frames, -1) + of_view[None, :, None]
            return each.repeat_interleave(tokens, dim=2)

        return everywhere(modulation, of_view), everywhere(embedded, view)

    def _through(
        self,
        block: nn.Module,
        hidden: Tensor,
        said: Tensor,
        modulation: Tensor,
        turn: tuple[Tensor, Tensor],
        joint: bool,
    ) -> Tensor:
        """One block: all views in one sequence, or each in its own."""
        views = hidden.shape[1]
        if joint:
            turned = (turn[0].repeat(1, views, 1), turn[1].repeat(1, views, 1))
            arguments = (hidden.flatten(1, 2), said, modulation.flatten(1, 2), turned)
        else:
            each = said.repeat_interleave(views, dim=0)
            arguments = (hidden.flatten(0, 1), each, modulation.flatten(0, 1), turn)
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, *arguments, use_reentrant=False).view_as(hidden)
        return block(*arguments).view_as(hidden)
