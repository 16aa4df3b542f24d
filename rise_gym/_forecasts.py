"""What a dynamics says of a chunk of actions, and what each of them does alike when it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from rise_gym.errors import InvalidAction
from rise_gym.protocols import Generators


class Prediction(NamedTuple):
    """What `sample` of a dynamics imagines.

    Attributes:
        latents: (B, K, V, c, h, w), one a tick.
        proprio: (B, K, P) in rad and m.
        uncertainty: (B,) in latent units, 0 and up: how far the last noise level moved the first one's prediction.
        gain: (B, K) progress that each tick is expected to have gained over the newest frame; None if not learnt.
        later: (B, L) the same of each `later` tick; None if not learnt or the chunk is shorter than K.
    """

    latents: Tensor
    proprio: Tensor
    uncertainty: Tensor
    gain: Tensor | None
    later: Tensor | None


class Forecast(NamedTuple):
    """One pass of a dynamics.

    Clean latents (B, K, V, c, h, w), scaled proprio (B, K, P); gain (B, K) and later (B, L) as in a `Prediction`.
    """

    latents: Tensor
    proprio: Tensor
    gain: Tensor | None
    later: Tensor | None


class CoarseChunk(NamedTuple):
    """What `VideoDynamics.coarse` makes of noise, before any frame is drawn anew.

    Latents (B, K, V, c, h, w), scaled proprioception (B, K, P), how far the last noise level moved the first one's
    prediction (B, K), expected gain (B, K + L), and the denoiser's features (B, C, h, w).
    """

    latents: Tensor
    following: Tensor
    moved: Tensor
    gain: Tensor | None
    features: Tensor

    def rows(self, index: Tensor) -> CoarseChunk:
        """Some of its rows (n,)."""
        return CoarseChunk(*(None if column is None else column[index] for column in self))  # type: ignore[arg-type]


def held(actions: Tensor, chunk: int) -> Tensor:
    """Actions (B, k, A) as a whole chunk of K ticks, (B, K, A), the last of them held.

    Raises:
        InvalidAction: if there are more ticks than the model was trained for, or none.
    """
    ticks = actions.shape[1]
    if not 1 <= ticks <= chunk:
        raise InvalidAction(
            f"a chunk of 1 to {chunk} ticks was wanted, got {ticks}; split it, or train for longer ones"
        )
    return torch.cat([actions, actions[:, -1:].expand(-1, chunk - ticks, -1)], dim=1)


def check_sigmas(sigmas: Sequence[float]) -> None:
    """Raises `ValueError` unless noise levels begin at 1 and fall, above 0."""
    if not sigmas or sigmas[0] != 1.0 or any(a <= b for a, b in zip(sigmas, [*sigmas[1:], 0.0], strict=True)):
        raise ValueError(f"sigmas fall from 1 and stay above 0, got {list(sigmas)}")


def drawn_noise(shape: tuple[int, ...], generator: Generators) -> Tensor:
    """Normal noise drawn on the CPU, so that a dream is the same on every device."""
    if isinstance(generator, Generator):
        return torch.randn(shape, generator=generator)
    if len(generator) != shape[0]:
        raise ValueError(f"one generator for each of {shape[0]} rows was wanted, got {len(generator)}")
    return torch.stack([torch.randn(shape[1:], generator=row) for row in generator])


def in_parts(instruction: Sequence[str] | None, rows: int, most: int) -> list[Sequence[str] | None]:
    """Instructions of so many rows at most at once, as `Tensor.split` does it; None for each part if there are none."""
    if instruction is not None and len(instruction) != rows:
        raise ValueError(f"one instruction a row was wanted ({rows}), {len(instruction)} came")
    return [
        None if instruction is None else instruction[start : start + most] for start in range(0, max(rows, 1), most)
    ]
