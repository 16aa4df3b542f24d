"""Motor babbling: one arm or one hand moves at a time, so that recordings tell what each command does and does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from rise_gym.agents.baselines import RandomAgent
from rise_gym.protocols import Generators
from rise_gym.tasks import ARMS, TaskCard
from rise_gym.types import Observation

_REACH = 0.08
"""Standard deviation of how far a joint moves in one chunk, as a share of its range: 0.2 to 0.4 rad."""


class BabblingAgent(RandomAgent):
    """In every chunk one part of the robot, drawn at random, moves and the rest holds still; or all of it does.

    Demonstrations move arms and hands together, and `RandomAgent` shakes all at once: from neither can a world model
    learn which of them changed a picture.

    Args:
        task: whose actions. Its parts are the arms, told by names that begin with `left` or `right`, and their
            grippers, told by names with `gripper`.
        chunk: ticks a chunk; default: the task's.
        seed: of the generator that is used when `act` is given none.
    """

    def __init__(self, task: TaskCard, *, chunk: int | None = None, seed: int = 0) -> None:
        super().__init__(task, chunk=chunk, seed=seed)
        self._parts = _parts(task.action_names)
        self._hands = np.array(["gripper" in name for name in task.action_names])
        self._low, self._high = (np.array(limits) for limits in (task.action_low, task.action_high))

    def act(
        self,
        observation: Observation,
        instruction: Sequence[str],
        advantage: NDArray[np.floating] | float = 1.0,
        *,
        generator: Generators | None = None,
    ) -> NDArray[np.float32]:
        """Scaled actions float32 (B, K, A) in [-1, 1], from where the robot is (`proprio`); pictures do not matter."""
        rows = zip(observation["proprio"], self._rows(generator, instruction), strict=True)
        return np.stack([self._chunk(pose, row) for pose, row in rows])

    def _chunk(self, pose: NDArray[Any], generator: Generator) -> NDArray[np.float32]:
        """Straight to a target within a part of the chunk, and held there: (K, A)."""
        which = int(torch.randint(len(self._parts) + 1, (), generator=generator))
        wide, normal, uniform = (
            draw(len(pose), generator=generator).numpy() for draw in (torch.rand, torch.randn, torch.rand)
        )
        span = self._high - self._low
        reached = pose + _REACH * span * normal * (uniform < 0.5)  # about half of an arm's joints
        grasped = self._low + span * (1.5 * wide - 0.25).clip(0, 1)  # a sixth shut, a sixth open, the rest between
        moves = self._parts[which] if which < len(self._parts) else np.zeros(len(pose), bool)
        goal = np.where(moves, np.where(self._hands, grasped, reached), pose).clip(self._low, self._high)
        ticks = 1 + (self.chunk - 1) * float(torch.rand((), generator=generator))
        share = np.minimum(1, np.arange(1, self.chunk + 1) / ticks)[:, None]
        return self.task.scale_action(pose + share * (goal - pose)).clip(-1, 1)


def _parts(names: Sequence[str]) -> list[NDArray[np.bool_]]:
    """Which actions are of each arm and of each gripper."""
    owner = [(next((arm for arm in ARMS if name.startswith(arm)), ""), "gripper" in name) for name in names]
    return [np.array([one == part for one in owner]) for part in sorted(set(owner))]
