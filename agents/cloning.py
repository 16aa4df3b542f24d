"""Supervised training of the policy: behaviour cloning, and RECAP's advantage-labelled offline training.

The two differ only in the rows they learn from: cloning takes demonstrations, all of them top advantage; RECAP adds
rollouts, each with the advantage that the value gave it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Generator, Tensor

from rise_gym.advantage import judged_episodes
from rise_gym.agents.flow_policy import FlowPolicy, FlowPolicyConfig
from rise_gym.agents.trainable import TrainableAgent, trained_parameters
from rise_gym.errors import InvalidDataset, InvalidTraining
from rise_gym.recordings import Recordings
from rise_gym.training import Trainer, TrainingConfig
from rise_gym.types import Source

TOP_SOURCES: tuple[Source, ...] = ("demonstration", "correction")
"""Sources that count as top advantage, as in the paper; the value never labels them."""


@dataclass(frozen=True, kw_only=True)
class PolicyTraining:
    """How to train a policy on recordings.

    Attributes:
        clean_targets: imitate what the expert meant, not the noise that was executed on top (rollouts have no noise).
        advantage_dropout: fraction of rows whose advantage is not told; 0 in the paper.
        image_shift_px: instead of the policy's own `shift_px`; None keeps it.
    """

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            steps=7500, batch_size=64, learning_rate=1.2e-3, warmup_steps=200, weight_decay=1e-3, ema_decay=0.998
        )
    )
    policy: FlowPolicyConfig = field(default_factory=FlowPolicyConfig)
    clean_targets: bool = True
    advantage_dropout: float = 0.0
    image_shift_px: int | None = None

    @classmethod
    def going_on(cls, steps: int, *, seed: int = 0, device: str = "cpu") -> Self:
        """How the bundled policies learnt on from what they were: pictures stay where they are, and a lower rate."""
        usual = cls(image_shift_px=0)
        changed = replace(usual.training, steps=steps, learning_rate=1e-3, seed=seed, device=device)
        return replace(usual, training=changed)


def train_policy(
    recordings: Recordings,
    advantages: Tensor,
    config: PolicyTraining,
    folder: str | Path,
    *,
    initial: TrainableAgent | None = None,
    moments: Tensor | None = None,
    on_progress: Callable[[int, dict[str, float]], None] | None = None,
    on_check: Callable[[int, TrainableAgent], None] | None = None,
    check_every_steps: int = 1000,
) -> TrainableAgent:
    """Train a policy on recorded chunks, each with its advantage; a run in `folder` goes on where it stopped.

    Args:
        recordings: what happened.
        advantages: (N,) in [-1, 1], one a moment; 1.0 for demonstrations.
        config: how.
        folder: the run's state and curves.
        initial: start from this policy of any kind (left as it is) and its scales; None starts a `FlowPolicy` from
            nothing.
        moments: indices to learn from; by default every moment from which an action was executed.
        on_check: called every `check_every_steps` with the averaged policy in eval mode. What it does never feeds
            training, and its time does not count.

    Returns:
        The policy, averaged over the last steps, in eval mode.
    """
    rows = acting_moments(recordings) if moments is None else moments
    begun = _untrained(config, recordings, rows) if initial is None else initial
    policy = trainable(begun, config.image_shift_px).to(config.training.device)

    def loss(generator: Generator) -> tuple[Tensor, dict[str, float]]:
        drawn = recordings.draw(config.training.batch_size, generator, among=rows)
        batch = offline_batch(recordings, drawn, advantages, policy.chunk, clean_targets=config.clean_targets)
        if config.advantage_dropout:
            untold = torch.rand(len(drawn), generator=generator) < config.advantage_dropout
            batch["advantage"] = batch["advantage"].masked_fill(untold, torch.nan)
        return policy.loss(batch, generator=generator), {}

    def after_step(step: int) -> None:
        if on_check is not None and step % check_every_steps == 0:
            check_off_the_clock(trainer, lambda: on_check(step, averaged(trainer, policy)))

    origin = {"policy to start from": initial}
    trainer = Trainer(policy, loss, config.training, folder, origin=origin, after_step=after_step)
    trainer.run(on_progress=on_progress)
    trainer.use_average()
    return policy.eval()


def _untrained(config: PolicyTraining, recordings: Recordings, moments: Tensor) -> FlowPolicy:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        policy = FlowPolicy.of(config.policy, recordings.task)
    policy.scales.fit(recordings, moments)
    return policy


def trainable(policy: TrainableAgent, image_shift_px: int | None) -> TrainableAgent:
    """A twin to go on with, whose pictures are shifted by so much; None as much as before.

    Raises:
        InvalidTraining: for a shift below 0.
        NotTrainable: if the policy only acts.
    """
    policy.check_trainable()
    if image_shift_px is not None and image_shift_px < 0:
        raise InvalidTraining(f"image_shift_px of 0 or more was wanted, got {image_shift_px}")
    return policy.twin() if image_shift_px is None else policy.twin(shift_px=image_shift_px)


def check_off_the_clock(trainer: Trainer, check: Callable[[], None]) -> None:
    """Run a check whose time does not count as training time."""
    began = time.monotonic()
    check()
    trainer.progress.seconds -= time.monotonic() - began


def acting_moments(recordings: Recordings, sources: Sequence[Source] | None = None) -> Tensor:
    """Indices of the moments from which an action was executed (all but the terminal rows), of the given sources.

    Raises:
        InvalidDataset: if there is none.
    """
    wanted = torch.tensor([sources is None or source in sources for source in recordings.sources])
    acting = torch.arange(len(recordings)) < recordings.last
    rows = (acting & wanted[recordings.episode]).nonzero().flatten()
    if not len(rows):
        have = ", ".join(sorted(set(recordings.sources))) or "none"
        raise InvalidDataset(
            f"moments of {sources or 'any source'} were wanted, the recordings hold episodes of: {have}"
        )
    return rows


def demonstration_moments(recordings: Recordings) -> Tensor:
    """Indices of the moments of successful demonstrations and of corrections, for plain cloning.

    Raises:
        InvalidDataset: if there is none.
    """
    rows = acting_moments(recordings, TOP_SOURCES)
    rows = rows[~judged_episodes(recordings)[recordings.episode[rows]]]
    if not len(rows):
        raise InvalidDataset("a successful demonstration was wanted, every one of the recordings' failed")
    return rows


def mixed_moments(recordings: Recordings, demonstration_share: float | None) -> Tensor:
    """Moments to learn a policy from, among which those of demonstrations and corrections have about this share.

    They are repeated, never the others left out; None leaves everything as often as it was recorded, 1 leaves them
    alone. Demonstrations that failed are left out: they are no models, and nothing that the policy does; chasing what
    went astray, the expert asks for movements so large that a few of them outweigh everything else.

    Raises:
        InvalidTraining: for a share that is not from 0 to 1.
    """
    acting = acting_moments(recordings)
    shown = torch.tensor([source in TOP_SOURCES for source in recordings.sources])
    failed = shown & judged_episodes(recordings)
    learnt = acting[~failed[recordings.episode[acting]]]
    if demonstration_share is None:
        return learnt
    if not 0 <= demonstration_share <= 1:
        raise InvalidTraining(f"demonstration_share is a fraction from 0 to 1, got {demonstration_share}")
    shown_moments = demonstration_moments(recordings)
    if demonstration_share == 1:
        return shown_moments
    wanted = demonstration_share / (1 - demonstration_share) * (len(learnt) - len(shown_moments))
    return torch.cat([learnt, shown_moments.repeat(max(0, round(wanted / len(shown_moments)) - 1))])


def offline_batch(
    recordings: Recordings, moments: Tensor, advantages: Tensor, chunk: int, *, clean_targets: bool
) -> dict[str, Any]:
    """Recorded chunks as a batch for `TrainableAgent.losses`: moments (B,), advantages (N,) in [-1, 1]."""
    index, happened = recordings.chunk(moments, chunk)
    targets = recordings.clean_actions if clean_targets else recordings.actions
    return {
        "observation": observation_of(recordings.task.cameras, recordings.frames[moments], recordings.proprio[moments]),
        "instruction": recordings.instruction_of(moments),
        "actions": targets[index],
        "advantage": advantages[moments],
        "mask": happened,
    }


def observation_of(cameras: Sequence[str], pixels: Tensor, proprio: Tensor) -> dict[str, Tensor]:
    """Pixels (B, V, H, W, 3) and proprio (B, P) as an observation."""
    return {**{camera: pixels[:, view] for view, camera in enumerate(cameras)}, "proprio": proprio}


def averaged(trainer: Trainer, policy: TrainableAgent) -> TrainableAgent:
    """A copy of the policy under training with the trainer's moving average as weights, in eval mode."""
    twin = policy.twin()
    if trainer.average is not None:
        trainer.average.copy_to(trained_parameters(twin))
    return twin.eval()
