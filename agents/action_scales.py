"""Mean and spread of actions and proprioception, so that the network sees unit variance."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rise_gym.recordings import Recordings
from rise_gym.tasks import TaskCard

_SMALLEST_SPREAD = 0.01  # of a scaled action; a joint that never moves must not be blown up


class Scales(nn.Module):
    """Turns joint angles and targets into numbers of unit variance and back.

    The arms use a small part of their joints' ranges, and small movements decide. Fitted once, to the recordings that a
    policy first learns from; fixed ever after, so that what it learned keeps its meaning.

    Args:
        task: whose ranges. chunk: ticks of an action chunk; each tick has scales of its own.
        relative: count targets from the present joint positions.
    """

    low: Tensor
    high: Tensor
    action_mean: Tensor
    action_spread: Tensor
    proprio_mean: Tensor
    proprio_spread: Tensor

    def __init__(self, task: TaskCard, chunk: int, *, relative: bool) -> None:
        super().__init__()
        self.relative = relative
        self.register_buffer("low", torch.tensor(task.action_low), persistent=False)
        self.register_buffer("high", torch.tensor(task.action_high), persistent=False)
        for name, shape in (("action", (chunk, len(task.action_names))), ("proprio", (len(task.proprio_names),))):
            self.register_buffer(f"{name}_mean", torch.zeros(shape))
            self.register_buffer(f"{name}_spread", torch.ones(shape))

    @torch.no_grad()
    def fit(self, recordings: Recordings, moments: Tensor) -> None:
        """Measure mean and spread over recorded moments (M,)."""
        index, happened = recordings.chunk(moments, len(self.action_mean))
        proprio = recordings.proprio[moments]
        targets = recordings.clean_actions[index] - self._origin(proprio)
        weight = happened[..., None].float()
        count = weight.sum(0).clamp(min=1)
        mean = (targets * weight).sum(0) / count
        spread = ((targets - mean).square() * weight).sum(0).div(count).sqrt()
        self.action_mean.copy_(mean)
        self.action_spread.copy_(spread.clamp(min=_SMALLEST_SPREAD))
        scaled = self._scaled(proprio)
        self.proprio_mean.copy_(scaled.mean(0))
        self.proprio_spread.copy_(scaled.std(0, correction=0).clamp(min=_SMALLEST_SPREAD))

    def proprio(self, proprio: Tensor) -> Tensor:
        """(B, P) in rad and m -> unit variance."""
        return (self._scaled(proprio) - self.proprio_mean) / self.proprio_spread

    def normal_of(self, actions: Tensor, proprio: Tensor) -> Tensor:
        """Scaled actions (B, K, A) of an arm at proprio (B, P) -> unit variance."""
        return (actions - self._origin(proprio) - self.action_mean) / self.action_spread

    def actions_of(self, normal: Tensor, proprio: Tensor) -> Tensor:
        """The inverse of `normal_of`; may leave [-1, 1]."""
        return normal * self.action_spread + self.action_mean + self._origin(proprio)

    def _scaled(self, proprio: Tensor) -> Tensor:
        """(B, P) in rad and m -> the task's ranges as [-1, 1]."""
        return 2 * (proprio - self.low) / (self.high - self.low) - 1

    def _origin(self, proprio: Tensor) -> Tensor:
        return self._scaled(proprio)[:, None] if self.relative else torch.zeros_like(proprio)[:, None]
