"""What a policy gradient over action chunks is made of: its Gaussian, its advantages, its clipped surrogate."""

from __future__ import annotations

import torch
from torch import Tensor

from rise_gym.collection import ExplorationNoise
from rise_gym.tasks import TaskCard


def generalised_advantages(rewards: Tensor, values: Tensor, discount: float, trace_decay: float) -> Tensor:
    """Advantages (T,) of an episode: rewards (T,), values (T + 1,), the last of them 0 if it ended by itself.

    A[t] = d[t] + gamma · lambda · A[t + 1] with d[t] = r[t] + gamma · V[t + 1] - V[t].
    """
    surprises = rewards + discount * values[1:] - values[:-1]
    advantages, following = torch.zeros_like(rewards), torch.zeros(())
    for step in reversed(range(len(rewards))):
        following = surprises[step] + discount * trace_decay * following
        advantages[step] = following
    return advantages


def clipped_surrogate(log_ratio: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """PPO's loss: minus the mean of min(r A, clip(r, 1 - c, 1 + c) A), with r = exp(log_ratio); both (B,)."""
    ratio = log_ratio.exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages).mean()


class ChunkGaussian:
    """The Gaussian around a chunk: draws deviations, and tells how many of its standard deviations one is."""

    def __init__(self, exploration: ExplorationNoise, task: TaskCard, chunk: int) -> None:
        ticks = torch.arange(chunk)
        alike = exploration.kept(task) ** (ticks[:, None] - ticks).abs()  # (K, K)
        self.factor = torch.linalg.cholesky(alike.double()).float()
        self.spread = torch.from_numpy(exploration.scaled(task)).float()  # (A,)

    def deviation(self, standard: Tensor) -> Tensor:
        """e (B, K, A), standard normal -> deviation of scaled actions (B, K, A)."""
        return self.spread * (self.factor @ standard)

    def standard(self, deviation: Tensor) -> Tensor:
        """The inverse: z (B, K, A)."""
        return torch.linalg.solve_triangular(self.factor, deviation / self.spread, upper=False)
