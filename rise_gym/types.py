"""The data that everything passes around: observations, episodes, imagined states.

Axis legend for the whole package: B batch, N time steps of an episode, T history, K ticks in a chunk, F predicted
frames, V views, C H W pixels, c h w latents, A action, P proprioception.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Source = Literal["demonstration", "rollout", "correction", "imagined"]
Observation = dict[str, NDArray[np.generic]]
"""`{camera: uint8 (…, H, W, 3)}` for each camera of the task, and `proprio`: float32 (…, P)."""


@dataclass(frozen=True, kw_only=True)
class Episode:
    """What happened, tick by tick; the one data type that everything records and learns from.

    Row `n` holds what was seen and the action that was *executed* from there; the last row is the terminal
    observation, and its action repeats the one before, so that every column has N rows.

    Attributes:
        task: snake-case name of the task.
        instruction: what the robot was asked to do.
        frames: per camera uint8 (N, H, W, 3).
        proprio: float32 (N, P), joint angles in rad and gripper openings in m.
        actions: float32 (N, A), scaled to [-1, 1] by the task card.
        clean_actions: what the expert meant before noise was added, float32 (N, A); None for a policy's rollout.
        progress: float32 (N,) in [0, 1], or None where nothing measured it (a real robot).
        success: whether the task was done at the end.
        score: the stage score reached, 0 to 10.
        source: who produced it; demonstrations and corrections count as top advantage, rollouts are labelled.
        policy: name of the policy that acted.
        seed: environment seed that the episode was reset with.
        physics_state: float64 (N, S), replica only: with `seed` it restores the same moment.
    """

    task: str
    instruction: str
    frames: dict[str, NDArray[np.uint8]]
    proprio: NDArray[np.float32]
    actions: NDArray[np.float32]
    success: bool
    score: float
    source: Source
    policy: str
    seed: int
    clean_actions: NDArray[np.float32] | None = None
    progress: NDArray[np.float32] | None = None
    physics_state: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.proprio)

    def views(self, cameras: tuple[str, ...]) -> NDArray[np.uint8]:
        """Frames of the given cameras, uint8 (N, V, H, W, 3)."""
        return np.stack([self.frames[camera] for camera in cameras], axis=1)


@dataclass(frozen=True, kw_only=True)
class WorldState:
    """Where a batch of imagined worlds stands. Replaced by every step, never edited.

    Attributes:
        latents: the last ticks, oldest first, (B, W, V, c, h, w); W = (T - 1) · stride + 1 ticks, of which the dynamics
            reads every `stride`-th, the newest included.
        proprio: (B, P) in rad and m, newest.
        progress: (B,) of the newest frame, in [-1, 1]; 1 is done, below 0 is lost.
        instruction: one a row.
    """

    latents: Tensor
    proprio: Tensor
    progress: Tensor
    instruction: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.proprio)

    def rows(self, index: Tensor) -> WorldState:
        """The worlds of the given rows (indices or a boolean mask), as a batch of their own."""
        import torch

        chosen = torch.arange(len(self))[index.cpu()].tolist()
        return replace(
            self,
            latents=self.latents[index],
            proprio=self.proprio[index],
            progress=self.progress[index],
            instruction=tuple(self.instruction[row] for row in chosen),
        )


@dataclass(frozen=True, kw_only=True)
class Imagination:
    """What a chunk of actions is imagined to lead to.

    Attributes:
        latents: (B, F, V, c, h, w), one a tick of the chunk (F = K).
        proprio: (B, F, P) in rad and m.
        progress: (B, F) progress of each predicted frame, in [-1, 1]; 1 is done, below 0 is lost.
        reward: (B,) progress gained over the chunk, counted from 0 up, in [-1, 1].
        advantage: (B,) equation 2 of the paper, scaled and clamped to [-1, 1].
        uncertainty: (B,) how little the prediction can be trusted, 0 and up.
        progress_uncertainty: (B,) the expected absolute error of the progress gained; None if the model does not know.
    """

    latents: Tensor
    proprio: Tensor
    progress: Tensor
    reward: Tensor
    advantage: Tensor
    uncertainty: Tensor
    progress_uncertainty: Tensor | None = None
