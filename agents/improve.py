"""RISE: the policy improves inside the world model's imagination, and no simulator is anywhere near.

Rollout stage: from recorded moments a slowly following copy of the policy, asked for the best advantage, proposes
chunks; the world model imagines what they lead to and evaluates their advantage (paper, equations 2 and 7).
Training stage: flow matching towards those chunks *given the evaluated advantage*, never the one that was asked for
(equation 8), mixed with recorded chunks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Generator, Tensor, nn

from rise_gym._one_task import check_one_task
from rise_gym.advantage import advantage_bin
from rise_gym.agents.cloning import (
    acting_moments,
    averaged,
    check_off_the_clock,
    observation_of,
    offline_batch,
    trainable,
)
from rise_gym.agents.rollouts import Imaginer, RolloutConfig, Samples, imagine_samples
from rise_gym.agents.trainable import TrainableAgent
from rise_gym.collection import ExplorationNoise
from rise_gym.errors import InvalidDataset, InvalidTraining
from rise_gym.recordings import Recordings
from rise_gym.training import Trainer, TrainingConfig


@dataclass(frozen=True, kw_only=True)
class ImproveConfig(RolloutConfig):
    """The constants of RISE; the paper's unless said otherwise. Those of the rollout stage: see `RolloutConfig`.

    Attributes:
        training: batch 64 and learning rate 1e-4, cosine to a tenth, are the paper's; it takes 10 000 steps.
        offline_ratio: probability that a row of a batch is recorded rather than imagined; 1 imagines nothing at all.
        update_epochs: how often an imagined sample is used, on average.
        rollout_decay: how slowly the proposing copy follows the policy in training; 1 keeps it as the run began.
        clean_targets: for recorded demonstrations, imitate the expert's intention rather than the executed noise.
        image_shift_px: see `PolicyTraining`.
        check_every_steps: updates between two calls of `on_check`.
    """

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            steps=3000, batch_size=64, learning_rate=1e-4, learning_rate_floor=0.1, weight_decay=1e-3, ema_decay=0.995
        )
    )
    offline_ratio: float = 0.6
    update_epochs: int = 4
    rollout_decay: float = 0.995
    clean_targets: bool = True
    image_shift_px: int | None = None
    check_every_steps: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.offline_ratio <= 1 or not 0 <= self.rollout_decay <= 1 or self.update_epochs < 1:
            raise InvalidTraining(
                "offline_ratio and rollout_decay from 0 to 1 and update_epochs from 1 were wanted, got "
                f"{self.offline_ratio}, {self.rollout_decay} and {self.update_epochs}"
            )

    @classmethod
    def climbing(cls) -> Self:
        """What the bundled models improve with, where the paper's constants gain nothing (`benchmarks/results`).

        What is learnt is the policy's own chunk, moved to where the imagined advantage rises most steeply. The policy
        that proposes stays what it was when the run began: where it follows, every climb starts from the last, and
        what the dream does not know adds up.
        """
        return cls(
            proposals_per_state=4,
            ascent=2.0,
            proposal_temperature=0.0,
            exploration=ExplorationNoise().times(0.75),
            max_imagined_chunks=1,
            offline_ratio=0.25,
            update_epochs=8,
            rollout_decay=1.0,
            image_shift_px=0,
        ).changed(steps=1000, learning_rate=3e-4, ema_decay=0.99)

    def changed(self, **changes: Any) -> Self:
        """The same with other values of some fields, of `training` by their own names."""
        own = {field.name for field in fields(self)}
        training = replace(self.training, **{name: value for name, value in changes.items() if name not in own})
        mine = {name: value for name, value in changes.items() if name in own}
        return replace(self, **{"training": training, **mine})

    @property
    def updates_per_rollout(self) -> int:
        """Gradient updates of a training stage: each imagined sample is drawn `update_epochs` times on average."""
        rows = self.training.batch_size * (1 - self.offline_ratio)
        return max(1, round(self.update_epochs * self.imagined_samples / rows)) if rows else 1


class _Memory(nn.Module):
    """What a run has to remember beside the policy: the proposing copy, and what it last imagined; saved with it."""

    policy: TrainableAgent
    moment: Tensor
    pixels: Tensor
    proprio: Tensor
    actions: Tensor
    evaluated: Tensor
    advantage: Tensor
    trusted: Tensor

    def __init__(self, policy: TrainableAgent, recordings: Recordings, config: ImproveConfig) -> None:
        super().__init__()
        self.policy = policy.twin().eval().requires_grad_(False)
        count = config.imagined_samples
        self.register_buffer("moment", torch.zeros(count, dtype=torch.int64))
        self.register_buffer("pixels", torch.zeros(count, *recordings.frames.shape[1:], dtype=torch.uint8))
        self.register_buffer("proprio", torch.zeros(count, recordings.proprio.shape[1]))
        self.register_buffer("actions", torch.zeros(count, policy.chunk, recordings.actions.shape[1]))
        self.register_buffer("evaluated", torch.zeros(count))
        self.register_buffer("advantage", torch.zeros(count))
        self.register_buffer("trusted", torch.zeros(count, dtype=torch.bool))

    def keep(self, samples: Samples) -> None:
        for name, buffer in self.named_buffers(recurse=False):
            buffer.copy_(getattr(samples, name))

    def batch(self, rows: Tensor, recordings: Recordings) -> dict[str, Any]:
        """Rows (B,) as a batch for `TrainableAgent.losses`."""
        return {
            "observation": observation_of(recordings.task.cameras, self.pixels[rows], self.proprio[rows]),
            "instruction": recordings.instruction_of(self.moment[rows]),
            "actions": self.actions[rows],
            "advantage": self.advantage[rows],
            "mask": torch.ones(self.actions[rows].shape[:2], dtype=torch.bool),
        }

    @torch.no_grad()
    def follow(self, policy: TrainableAgent, decay: float) -> None:
        for mine, theirs in zip(self.policy.parameters(), policy.parameters(), strict=True):
            if theirs.requires_grad:
                mine.lerp_(theirs, 1 - decay)

    def figures(self, bins: int) -> dict[str, float]:
        """How good the dream finds the proposals; ranks would be the same at every step."""
        advantage, chosen = self.evaluated, advantage_bin(self.evaluated, bins)
        usage = torch.bincount(chosen, minlength=bins).float() / len(chosen)
        return {
            "imagined/advantage_mean": float(advantage.mean()),
            "imagined/advantage_spread": float(advantage.std(correction=0)),
            "imagined/bin_mean": 1 + float(chosen.float().mean()),
            "imagined/trusted": float(self.trusted.float().mean()),
            **{f"imagined_bins/{index + 1}": float(part) for index, part in enumerate(usage)},
        }


class _Loop:
    """Joins rollout and training stage; `loss` is what the trainer calls, once an update."""

    def __init__(
        self,
        policy: TrainableAgent,
        world_model: Imaginer,
        recordings: Recordings,
        advantages: Tensor,
        config: ImproveConfig,
        starts: Tensor,
        offline: Tensor,
    ) -> None:
        self.policy, self.world_model, self.recordings, self.advantages = policy, world_model, recordings, advantages
        self.config, self.starts, self.offline = config, starts, offline
        self.memory = _Memory(policy, recordings, config)
        self.step = 0

    def loss(self, generator: Generator) -> tuple[Tensor, dict[str, float]]:
        config = self.config
        if self.step % config.updates_per_rollout == 0 and config.offline_ratio < 1:
            drawn = self.recordings.draw(config.rollout_batch, generator, among=self.starts)
            self.memory.keep(
                imagine_samples(self.memory.policy, self.world_model, self.recordings, drawn, config, generator)
            )
        recorded = torch.rand(config.training.batch_size, generator=generator) < config.offline_ratio
        batch, offline_rows = self._mixed(int(recorded.sum()), generator)
        losses = self.policy.losses(batch, generator=generator)
        figures = {
            "batch/offline_fraction": offline_rows / len(losses),
            **self._by_source(losses.detach(), offline_rows),
        }
        return losses.mean(), {**figures, **self.memory.figures(self.policy.bins)}

    def _mixed(self, offline_rows: int, generator: Generator) -> tuple[dict[str, Any], int]:
        """A batch whose first `offline_rows` rows are recorded and whose others are imagined."""
        size, trusted = self.config.training.batch_size, self.memory.trusted.nonzero().flatten()
        if not len(trusted):
            offline_rows = size
        drawn = self.recordings.draw(offline_rows, generator, among=self.offline)
        batch = offline_batch(
            self.recordings, drawn, self.advantages, self.policy.chunk, clean_targets=self.config.clean_targets
        )
        if offline_rows == size:
            return batch, size
        picked = trusted[torch.randint(len(trusted), (size - offline_rows,), generator=generator)]
        return _joined(batch, self.memory.batch(picked, self.recordings)), offline_rows

    def _by_source(self, losses: Tensor, offline_rows: int) -> dict[str, float]:
        parts = {"loss/offline": losses[:offline_rows], "loss/imagined": losses[offline_rows:]}
        return {name: float(part.mean()) for name, part in parts.items() if len(part)}


def _joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    views = {name: torch.cat([column, second["observation"][name]]) for name, column in first["observation"].items()}
    tensors = {name: torch.cat([first[name], second[name]]) for name in ("actions", "advantage", "mask")}
    return {"observation": views, "instruction": first["instruction"] + second["instruction"], **tensors}


def _check_task(policy: TrainableAgent, world_model: Imaginer, recordings: Recordings) -> None:
    mine = policy.card.name
    if mine not in recordings.tasks:
        theirs = ", ".join(map(repr, sorted(set(recordings.tasks))))
        raise InvalidDataset(
            f"recordings of task {mine!r} were wanted, for which the policy was made, these are of {theirs}: take a "
            f"policy of {theirs}, or recordings of {mine!r}"
        )
    check_one_task(policy, world_model=world_model)


def _modules_of(world_model: Imaginer) -> dict[str, nn.Module]:
    """The networks that an imaginer is made of, by name."""
    return {name: part for name, part in getattr(world_model, "__dict__", {}).items() if isinstance(part, nn.Module)}


def improve(
    policy: TrainableAgent,
    world_model: Imaginer,
    recordings: Recordings,
    advantages: Tensor,
    config: ImproveConfig,
    folder: str | Path,
    *,
    start_moments: Tensor | None = None,
    offline_moments: Tensor | None = None,
    on_progress: Callable[[int, dict[str, float]], None] | None = None,
    on_check: Callable[[int, TrainableAgent], None] | None = None,
) -> TrainableAgent:
    """Improve a policy in imagination; a run in `folder` goes on where it stopped, also after `kill -9`.

    Args:
        policy: where to start from; left as it is.
        world_model: frozen; imagines and evaluates.
        recordings: encoded by the world model's codec.
        advantages: (N,) in [-1, 1], one a moment, 1.0 for demonstrations; see `rise_gym.advantage.label_recordings`.
        config: the constants.
        folder: the run's state and TensorBoard curves.
        start_moments: recorded moments to imagine from; by default every one from which an action was executed. See
            `rise_gym.recordings.eventful_moments`.
        offline_moments: recorded moments to learn from; by default the same.
        on_check: called every `check_every_steps` with the averaged policy in eval mode. For evaluation: what it does
            never feeds training, and its time does not count.

    Returns:
        The improved policy, averaged over the last steps, in eval mode.

    Raises:
        UnsuitableEnv: if the world model is of another task than the policy.
        InvalidDataset: if the recordings are, or hold no action.
    """
    _check_task(policy, world_model, recordings)
    acting = acting_moments(recordings)
    learner = trainable(policy, config.image_shift_px).to(config.training.device)
    starts = acting if start_moments is None else start_moments
    offline = acting if offline_moments is None else offline_moments
    loop = _Loop(learner, world_model, recordings, advantages, config, starts, offline)

    def after_step(step: int) -> None:
        loop.step = step
        loop.memory.follow(learner, config.rollout_decay)
        if on_check is not None and step % config.check_every_steps == 0:
            check_off_the_clock(trainer, lambda: on_check(step, averaged(trainer, learner)))

    origin = {"policy to start from": policy, **_modules_of(world_model)}
    trainer = Trainer(
        learner, loop.loss, config.training, folder, origin=origin, extra_state=loop.memory, after_step=after_step
    )
    loop.step = trainer.progress.step
    trainer.run(on_progress=on_progress)
    trainer.use_average()
    return learner.eval()
