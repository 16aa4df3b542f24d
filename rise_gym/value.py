"""How far along a task is, from one frame of latents and the instruction; a progress, not a critic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from rise_gym.instruction import InstructionEncoder
from rise_gym.tasks import TaskCard, task_card

_GROUPS = 8  # of every group norm; widths are multiples of it
_AT_ONCE = 256  # frames judged at once: more of them leave the cache and take twice as long each


@dataclass(frozen=True, kw_only=True)
class ProgressValueConfig:
    """Size of a `ProgressValue`.

    Attributes:
        latent_channels, latent_size: c, and h = w or (h, w), of the codec.
        widths: channels at half and a quarter of the latent resolution. hidden: width of the head.
        success_threshold: the progress from which on a frame looks done; `calibrate_success` finds it.
    """

    latent_channels: int = 4
    latent_size: int | tuple[int, int] = 16
    widths: tuple[int, int] = (64, 64)
    hidden: int = 192
    dropout: float = 0.1
    success_threshold: float = 0.9


class ProgressValue(ModelMixin, ConfigMixin):
    """A `Value`: a small convolutional trunk shared by the views, and a head that ends in tanh.

    Proprioception is left out, as in the paper's code: what counts is what the cameras show, so that imagined frames
    are judged by the same evidence as recorded ones.

    Args:
        task: name of the task, whose card gives the cameras.
        The others: see `ProgressValueConfig`.
    """

    @register_to_config
    def __init__(
        self,
        task: str = "box_close",
        latent_channels: int = 4,
        latent_size: int | Sequence[int] = 16,
        widths: Sequence[int] = (64, 64),
        hidden: int = 192,
        dropout: float = 0.1,
        success_threshold: float = 0.9,
    ) -> None:
        super().__init__()
        views = len(task_card(task).cameras)
        half, quarter = widths
        height, width = (latent_size, latent_size) if isinstance(latent_size, int) else latent_size
        # the first layer halves the resolution but keeps every number: 16 latents become 64 channels; four times faster
        self.enter = nn.Conv2d(latent_channels, half, 4, stride=2, padding=1)
        self.view = nn.Parameter(0.1 * torch.randn(views, half, height // 2, width // 2))
        self.trunk = nn.Sequential(
            *_layer(half, half),
            *_layer(half, quarter, stride=2),
            *_layer(quarter, quarter),
            nn.GroupNorm(_GROUPS, quarter),
            nn.SiLU(),
        )
        seen = quarter * ((height // 2 + 1) // 2) * ((width // 2 + 1) // 2)
        self.look = nn.ModuleList(nn.Linear(seen, hidden) for _ in range(views))
        self.instruction = InstructionEncoder(hidden)
        self.head = nn.Sequential(
            nn.LayerNorm(hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, 1),
        )

    @classmethod
    def of(cls, config: ProgressValueConfig, task: TaskCard) -> ProgressValue:
        """An untrained value for a task."""
        return cls(task=task.name, **asdict(config))

    def forward(self, latents: Tensor, instruction: Sequence[str]) -> Tensor:
        """One frame each: latents (B, V, c, h, w), B instructions -> (B,) in [-1, 1]."""
        return self.read(latents, instruction)[1]

    def read(self, latents: Tensor, instruction: Sequence[str]) -> tuple[Tensor, Tensor]:
        """What it sees in a frame each, and how far along that is: normalised (B, hidden), (B,) in [-1, 1]."""
        batch, views = latents.shape[:2]
        hidden = self.enter(latents.flatten(0, 1)) + self.view.repeat(batch, 1, 1, 1)  # (B·V, C, h/2, w/2)
        seen = self.trunk(hidden).view(batch, views, -1)
        joined = torch.stack([look(seen[:, index]) for index, look in enumerate(self.look)]).sum(0)
        progress = self.head(joined + self.instruction(instruction)).squeeze(-1).tanh()
        return nn.functional.layer_norm(joined, joined.shape[-1:]), progress

    @torch.no_grad()
    def progress(self, latents: Tensor, instruction: Sequence[str]) -> Tensor:
        """Progress of one frame each, without gradient: latents (B, V, c, h, w) -> (B,); 1 is done, below 0 is lost.

        Raises:
            ValueError: if there is not one instruction a row.
        """
        if len(instruction) != len(latents):
            raise ValueError(f"one instruction a row was wanted ({len(latents)}), got {len(instruction)}")
        parts = latents.to(self.device, self.dtype).split(_AT_ONCE)
        texts = (instruction[start : start + _AT_ONCE] for start in range(0, max(1, len(instruction)), _AT_ONCE))
        return torch.cat([self(*part) for part in zip(parts, texts, strict=True)])

    def set_success_threshold(self, threshold: float) -> None:
        """Store what `calibrate_success` found, so that it is saved with the weights."""
        self.register_to_config(success_threshold=float(threshold))


def _layer(before: int, after: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return nn.GroupNorm(_GROUPS, before), nn.SiLU(), nn.Conv2d(before, after, 3, stride=stride, padding=1)
