"""All contracts on one page. Anything with these methods fits; nothing needs to inherit.

Tensors are float32 on one device. Pixels are uint8 outside the models; only a codec turns them into latents and back.
See `rise_gym.types` for the axis legend.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Generator, Tensor

from rise_gym.types import Imagination, Observation, WorldState

Generators = Generator | Sequence[Generator]
"""One generator for the batch, or one a row, so that a dream does not depend on the batch it runs in."""


@runtime_checkable
class Codec(Protocol):
    """Frames to latents and back."""

    def encode(self, frames: Tensor) -> Tensor:
        """uint8 (..., V, H, W, 3) -> latents (..., V, c, h, w), about unit variance."""

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (..., V, c, h, w) -> uint8 (..., V, H, W, 3)."""


@runtime_checkable
class Dynamics(Protocol):
    """What comes next."""

    def predict(
        self,
        history: Tensor,
        proprio: Tensor,
        actions: Tensor,
        *,
        generator: Generators,
        instruction: Sequence[str] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Sample the frames that follow a chunk.

        history (B, T, V, c, h, w) oldest first, proprio (B, P), actions (B, K, A) in [-1, 1], instruction one a row
        -> latents (B, K, V, c, h, w), proprio (B, K, P), one a tick.
        """


@runtime_checkable
class ClipDynamics(Protocol):
    """A `Dynamics` that predicts clips and not frames: it has to borrow the codec that makes frames of them."""

    def use_codec(self, codec: Any) -> None:
        """Called once by the world model that joins the two."""


@runtime_checkable
class Value(Protocol):
    """How far along the task is; a progress, not a critic."""

    def progress(self, latents: Tensor, instruction: Sequence[str]) -> Tensor:
        """One frame each: latents (B, V, c, h, w), B instructions -> (B,) in [-1, 1]; 1 is done, below 0 is lost."""


@runtime_checkable
class WorldModel(Protocol):
    """Codec, dynamics and value joined; batched and pure."""

    def begin(self, frames: Tensor, proprio: Tensor, instruction: Sequence[str]) -> WorldState:
        """Start from recorded windows: frames uint8 (B, W, V, H, W, 3) one a tick, oldest first; proprio (B, P)."""

    def imagine(self, state: WorldState, actions: Tensor, *, generator: Generators) -> tuple[WorldState, Imagination]:
        """One chunk further: actions (B, K, A) in [-1, 1], K from 1 to what the dynamics was trained for."""


@runtime_checkable
class Agent(Protocol):
    """Observation to action chunk."""

    def act(
        self, observation: Observation, instruction: Sequence[str], advantage: NDArray[np.floating] | float = 1.0
    ) -> NDArray[np.float32]:
        """Batched observation (rows B) -> scaled actions float32 (B, K, A); `advantage` from -1 to 1, the best."""

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """Scalar training loss of a batch of `observation`, `instruction`, `actions` (B, K, A), `advantage` (B,)."""
