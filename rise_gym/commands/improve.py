"""`rise-gym improve`: RISE, in imagination only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from rise_gym.commands._progress import progress_bar, shown_by
from rise_gym.commands._shared import LATENTS, Spread, known_task, labelled, load_recordings, policy_card, replica_check

if TYPE_CHECKING:
    from rise_gym.agents.flow_policy import FlowPolicy
    from rise_gym.agents.improve import ImproveConfig
    from rise_gym.recordings import Recordings


def improve(
    out: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    data: list[Path],
    policy: str | None = None,
    world_model: str | None = None,
    task: str = "box_close",
    as_in_the_paper: bool = False,
    steps: int | None = None,
    learning_rate: float | None = None,
    minutes: float | None = None,
    offline_ratio: float | None = None,
    demonstration_share: float | None = 1.0,
    spread: Spread = "quantile",
    proposals_per_state: int | None = None,
    proposal_temperature: float | None = None,
    exploration: float | None = None,
    ascent: float | None = None,
    steady: bool | None = None,
    max_imagined_chunks: int | None = None,
    image_shift_px: int | None = None,
    next_proprio: Literal["commanded", "predicted"] = "commanded",
    check_episodes: int = 0,
    seed: int = 0,
) -> None:
    """Improve a policy inside the world model's imagination (RISE); no simulator step is taken.

    Args:
        out: where to; the same command goes on where it was. TensorBoard curves are in `out/run/tensorboard`.
        data: recorded datasets: where imagination starts from, and what is mixed in.
        policy: where to start from; default: the task's bundled base.
        world_model: what imagines and judges; it stays as it is; default: the task's bundled one.
        task: name of the task, or its file.
        as_in_the_paper: its constants, instead of those that the bundled models improve with
            (`ImproveConfig.climbing`), for everything that is not given here.
        steps: gradient steps.
        learning_rate: its peak.
        minutes: stop after so many, even if steps are left.
        offline_ratio: fraction of recorded rows in a batch.
        demonstration_share: fraction of recorded rows that are the demonstrations'; None takes them as they come.
        spread: how advantages of recorded rollouts fill the bins: as they are (the paper), or by rank.
        proposals_per_state: chunks that are imagined from each state; 1 in the paper.
        proposal_temperature: of the proposing policy's sampling, 0 to 1; 1 in the paper.
        exploration: smooth deviations added to proposals, as a factor like `noise` of `collect`; 0 in the paper.
        ascent: learn from the policy's own chunk moved to where the imagined advantage rises, by so many standard
            deviations of the exploration; 0, as in the paper, learns from each proposal by itself.
        steady: leave out of it what playing the same chunk faster would do.
        max_imagined_chunks: how many chunks to dream on from a recorded moment; 2 in the paper.
        image_shift_px: by how much pictures are shifted at random, each way.
        next_proprio: joints between two of them: where they were sent, as in the paper, or where the dream puts them.
        check_episodes: every 1000 steps, play so many replica episodes to watch, into `out/checks.jsonl`; this
            never feeds training.
        seed: of the training.
    """
    from rise_gym.agents.improve import ImproveConfig
    from rise_gym.collection import ExplorationNoise

    given: dict[str, Any] = {
        "steps": steps,
        "minutes": minutes,
        "learning_rate": learning_rate,
        "seed": seed,
        "offline_ratio": offline_ratio,
        "spread": spread,
        "proposals_per_state": proposals_per_state,
        "proposal_temperature": proposal_temperature,
        "exploration": None if exploration is None else ExplorationNoise().times(exploration),
        "ascent": ascent,
        "steady": steady,
        "max_imagined_chunks": max_imagined_chunks,
        "image_shift_px": image_shift_px,
        "next_proprio": next_proprio,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    config = (ImproveConfig() if as_in_the_paper else ImproveConfig.climbing()).changed(**changes)
    card = known_task(task)
    policy, world_model = policy or f"bundled:{card.name}/base", world_model or f"bundled:{card.name}/world_model"
    recordings = load_recordings(data, card)
    improved = improve_policy(
        recordings, out, policy, world_model, config, data[0] / LATENTS, demonstration_share, check_episodes
    )
    print(f"improved policy ({sum(p.numel() for p in improved.parameters()):,} parameters): {out / 'checkpoint'}")


def improve_policy(
    recordings: Recordings,
    out: Path,
    policy: str,
    world_model: str,
    config: ImproveConfig,
    latents: Path,
    demonstration_share: float | None = 1.0,
    check_episodes: int = 0,
) -> FlowPolicy:
    """Run RISE from every recorded moment after which something happened; the policy goes to `out/checkpoint`."""
    from rise_gym.advantage import values_of
    from rise_gym.agents.cloning import mixed_moments
    from rise_gym.agents.flow_policy import load_policy, save_policy
    from rise_gym.agents.improve import improve as run
    from rise_gym.recordings import eventful_moments
    from rise_gym.world_model import CompositionalWorldModel

    task = recordings.task.name
    model = CompositionalWorldModel.from_pretrained(world_model, task=task)
    if config.uncertainty_limit is None:  # the first pass alone ranks chunks as well, in half the time
        model.dynamics.register_to_config(sigmas=model.dynamics.config.sigmas[:1])
    encoded, advantages = labelled(recordings, world_model, config.spread, latents)
    progress = values_of(encoded, model.value) if encoded.progress.isnan().any() else encoded.progress
    starts = eventful_moments(encoded, mixed_moments(encoded, None), progress)
    offline = mixed_moments(encoded, demonstration_share)
    with progress_bar("improving in imagination", config.training.steps) as step:
        improved = run(
            load_policy(policy, task=task), model, encoded, advantages, config, out / "run",
            start_moments=starts, offline_moments=offline, on_progress=shown_by(step),
            on_check=replica_check(task, check_episodes, out) if check_episodes else None,
        )  # fmt: skip
    save_policy(out / "checkpoint", improved, card=policy_card(improved, f"improved by RISE from {policy}", config))
    return improved
