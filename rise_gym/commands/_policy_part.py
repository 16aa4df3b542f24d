"""A policy trained from recorded datasets: by cloning, or with advantages of a world model (the paper's RECAP)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rise_gym.commands._progress import progress_bar, shown_by
from rise_gym.commands._shared import LATENTS, Spread, labelled, load_recordings, policy_card, replica_check
from rise_gym.errors import RiseGymError
from rise_gym.tasks import TaskCard

if TYPE_CHECKING:
    from torch import Tensor

    from rise_gym.agents.cloning import PolicyTraining
    from rise_gym.agents.trainable import TrainableAgent
    from rise_gym.recordings import Recordings

CHECK_EVERY_STEPS = 1500
"""Of replica episodes that are played to watch."""


@dataclass(frozen=True, kw_only=True)
class PolicyJob:
    """What `rise-gym train policy` was asked for; see there.

    Attributes:
        overrides: fields of its `TrainingConfig`.
        The others: the command's arguments, `card` being that of its task.
    """

    card: TaskCard
    data: list[Path]
    out: Path
    overrides: dict[str, Any]
    initial: str | None = None
    backbone: str | None = None
    world_model: str | None = None
    spread: Spread = "quantile"
    demonstration_share: float | None = None
    image_shift_px: int | None = None
    check_episodes: int = 0


def train_policy_part(job: PolicyJob) -> None:
    """Train a policy on the job's datasets and save it in `out/checkpoint`."""
    from rise_gym.agents.cloning import train_policy
    from rise_gym.agents.trainable import save_policy

    config = _settings(job)
    recordings, advantages, moments = _taught(job, load_recordings(job.data, job.card), config.training.device)
    start = _start(job, recordings, moments, config.training.seed)
    with progress_bar("training the policy", config.training.steps) as step:
        policy = train_policy(
            recordings, advantages, config, job.out / "run", initial=start, moments=moments, on_progress=shown_by(step),
            on_check=replica_check(job.card.name, job.check_episodes, job.out) if job.check_episodes else None,
            check_every_steps=CHECK_EVERY_STEPS,
        )  # fmt: skip
    save_policy(job.out / "checkpoint", policy, card=policy_card(policy, "trained on recordings", config))
    print(f"policy: {job.out / 'checkpoint'}")


def _settings(job: PolicyJob) -> PolicyTraining:
    """How the policy learns.

    Raises:
        RiseGymError: if a VLA is to go on from a policy, which has its backbone already.
    """
    from rise_gym.agents.cloning import PolicyTraining

    config = PolicyTraining(image_shift_px=job.image_shift_px)
    if job.backbone is not None:
        from rise_gym.agents.vla import VLA_TRAINING

        if job.initial is not None:
            raise RiseGymError(
                f"a new VLA was wanted and to go on from {job.initial}: leave out --backbone or --initial"
            )
        config = replace(config, training=VLA_TRAINING)
    return replace(config, training=replace(config.training, **job.overrides))


def _taught(job: PolicyJob, recordings: Recordings, device: str) -> tuple[Recordings, Tensor, Tensor]:
    """What is learnt from: recordings, the advantage of each of their moments, and which moments."""
    import torch

    from rise_gym.agents.cloning import demonstration_moments, mixed_moments

    if job.world_model is None:
        return recordings, torch.ones(len(recordings)), demonstration_moments(recordings)
    encoded, advantages = labelled(recordings, job.world_model, job.spread, job.data[0] / LATENTS, device)
    return encoded, advantages, mixed_moments(encoded, job.demonstration_share)


def _start(job: PolicyJob, recordings: Recordings, moments: Tensor, seed: int) -> TrainableAgent | None:
    """What training begins from; None is a new compact policy."""
    from rise_gym.agents.trainable import load_trainable

    if job.backbone is not None:
        return _untrained_vla(job.backbone, recordings, moments, seed)
    return None if job.initial is None else load_trainable(job.initial, task=job.card.name)


def _untrained_vla(backbone: str, recordings: Recordings, moments: Tensor, seed: int) -> TrainableAgent:
    import torch

    from rise_gym.agents.vla import VisionLanguagePolicy

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy = VisionLanguagePolicy.from_backbone(backbone, recordings.task)
    policy.scales.fit(recordings, moments)
    return policy
