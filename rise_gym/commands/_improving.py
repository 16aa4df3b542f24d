"""One round of RISE: a policy improved in one world model's imagination; no simulator step is taken."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rise_gym.commands._progress import progress_bar, shown_by
from rise_gym.commands._shared import labelled, policy_card, replica_check

if TYPE_CHECKING:
    from torch import Tensor

    from rise_gym.agents.improve import ImproveConfig
    from rise_gym.agents.trainable import TrainableAgent
    from rise_gym.recordings import Recordings
    from rise_gym.training import TrainingConfig


def improve_policy(
    recordings: Recordings,
    out: Path,
    policy: str,
    world_model: str,
    config: ImproveConfig,
    latents: Path,
    demonstration_share: float | None = 1.0,
    check_episodes: int = 0,
    *,
    warmup_steps: int = 0,
    newest: Tensor | None = None,
    newest_share: float = 0.5,
) -> TrainableAgent:
    """Run RISE from every recorded moment after which something happened; the policy goes to `out/checkpoint`.

    Before that it learns for `warmup_steps` from all that is recorded, each chunk with its advantage (`_warmed_up`).
    Where `newest`, bool (E,), says which episodes are new, those have `newest_share` of the moments it imagines from.
    """
    from rise_gym.advantage import values_of
    from rise_gym.agents.cloning import mixed_moments
    from rise_gym.agents.improve import improve as run
    from rise_gym.agents.trainable import load_trainable, save_policy
    from rise_gym.recordings import eventful_moments, shared_moments
    from rise_gym.world_model import CompositionalWorldModel

    task, device = recordings.task.name, config.training.device
    start = load_trainable(policy, task=task)
    start.check_trainable()  # before an hour is spent on recordings and labels
    model = CompositionalWorldModel.from_pretrained(world_model, task=task, device=device)
    if config.uncertainty_limit is None:  # the first pass alone ranks chunks as well, in half the time
        model.dynamics.register_to_config(sigmas=model.dynamics.config.sigmas[:1])
    encoded, advantages = labelled(recordings, world_model, config.spread, latents, device)
    progress = values_of(encoded, model.value) if encoded.progress.isnan().any() else encoded.progress
    starts = eventful_moments(encoded, mixed_moments(encoded, None), progress)
    if newest is not None:
        starts = shared_moments(encoded, starts, newest, newest_share)
    offline = mixed_moments(encoded, demonstration_share)
    if warmup_steps:
        start = _warmed_up(start, encoded, advantages, warmup_steps, config.training, out / "warmup")
    with progress_bar("improving in imagination", config.training.steps) as step:
        improved = run(
            start, model, encoded, advantages, config, out / "run",
            start_moments=starts, offline_moments=offline, on_progress=shown_by(step),
            on_check=replica_check(task, check_episodes, out) if check_episodes else None,
        )  # fmt: skip
    save_policy(out / "checkpoint", improved, card=policy_card(improved, f"improved by RISE from {policy}", config))
    return improved


def _warmed_up(
    policy: TrainableAgent,
    recordings: Recordings,
    advantages: Tensor,
    steps: int,
    training: TrainingConfig,
    folder: Path,
) -> TrainableAgent:
    """The paper's offline stage, RECAP; half of the moments that it learns from are the demonstrations'."""
    from rise_gym.agents.cloning import PolicyTraining, mixed_moments, train_policy

    how = PolicyTraining.going_on(steps, seed=training.seed, device=training.device)
    moments = mixed_moments(recordings, 0.5)
    with progress_bar("warming up on recordings", steps) as step:
        return train_policy(
            recordings, advantages, how, folder, initial=policy, moments=moments, on_progress=shown_by(step)
        )
