"""`rise-gym improve`: RISE, in imagination only; with several rounds, with new episodes between them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from rise_gym.commands._gathering import driving_in, gathering_from
from rise_gym.commands._refreshing import RefreshConfig
from rise_gym.commands._robots import AS_USUAL, ExecutionOptions
from rise_gym.commands._rounds import RoundsConfig, RoundsJob, improve_in_rounds, improve_once
from rise_gym.commands._shared import Device, Spread, chosen_device, known_task, require_at_least

if TYPE_CHECKING:
    from rise_gym.agents.improve import ImproveConfig


def improve(
    out: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    data: list[Path],
    policy: str | None = None,
    world_model: str | None = None,
    task: str = "box_close",
    as_in_the_paper: bool = False,
    warmup_steps: int = 0,
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
    rounds: int = 1,
    round_episodes: int = 60,
    first_seed: int = 70_000,
    collect_from: str = "replica",
    execution: Annotated[ExecutionOptions, tyro.conf.arg(name="")] = AS_USUAL,
    refresh_steps: int = 1500,
    newest_share: float = 0.5,
    processes: int = 2,
    device: Device = "auto",
    seed: int = 0,
) -> None:
    """Improve a policy inside the world model's imagination (RISE); with one round no simulator step is taken.

    (`--check-episodes` are played to watch and feed nothing.) With more rounds, the only steps outside of imagination
    are those of `--round-episodes` episodes after each round but the last: of the policy so far, with the noise of
    `collect --who policy --noise 0.5`. On them and what was recorded before, value and dynamics are trained on, codec
    and renderer stay, then the policy improves on in the new dream. Everything is in `out/round_1/policy`,
    `out/round_1/episodes`, `out/round_1/world_model`, `out/round_2/policy` and so on.

    With a robot: `--collect-from hand` stops after a round and says which policy's episodes it wants in which folder;
    the same command then goes on. An env id collects in that env at once, one episode after the other, without asking
    anybody: an id that you registered with your robot's arguments, as `my_lab.envs:MyBoxClose-v0`. There the policy
    thinks while its last plan is executed, unless `--execution synchronous` has the robot wait; `out/rounds.json` and
    the policy's card say which. Or do it all by hand: improve once, record that policy, then improve once more in
    another folder, with it as `--policy` and its recordings among `--data`; the world model stays what it is, unless
    you give one that was trained on.

    Args:
        out: where to; the same command goes on where it was. TensorBoard curves are in `out/run/tensorboard`, with more
            rounds in `out/round_1/policy/run/tensorboard` and so on.
        data: recorded datasets: where imagination starts from, and what is mixed in.
        policy: where to start from: a folder, `bundled:<task>/<name>`, or `lerobot:<folder or hub id>`, a policy of
            lerobot that reads its task; default: the task's bundled base.
        world_model: what imagines and judges; it stays as it is; default: the task's bundled one.
        task: name of the task, or its file.
        as_in_the_paper: its constants, instead of those that the bundled models improve with
            (`ImproveConfig.climbing`), for everything that is not given here.
        warmup_steps: of learning from all recordings, each chunk with its advantage (RECAP, the paper's offline stage),
            before anything is imagined; in every round. With what is bundled RISE did no better after it.
        steps: gradient steps, in each round.
        learning_rate: its peak.
        minutes: stop after so many, in each round, even if steps are left.
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
        rounds: how often; the same command with more of them goes on after the last.
        round_episodes: how many episodes are collected between two rounds.
        first_seed: the first of their seeds; all have to be below 100000, and in no dataset of `data`.
        collect_from: the "replica", "hand", or the id of an env that takes `record_ticks=True`.
        execution: how the policy drives a robot that is collected from, as in `rise-gym collect`.
        refresh_steps: gradient steps of the value, and as many of the dynamics, between two rounds.
        newest_share: what share of the moments that those learn from, and that the next round imagines from, is of the
            newest episodes.
        processes: how many replicas run side by side.
        device: where to train and to imagine; auto is a GPU, if there is one.
        seed: of the training.
    """
    require_at_least(0, check_episodes=check_episodes)
    improving = _settings(
        as_in_the_paper, exploration,
        steps=steps, minutes=minutes, learning_rate=learning_rate, seed=seed, device=chosen_device(device),
        offline_ratio=offline_ratio, spread=spread, proposals_per_state=proposals_per_state,
        proposal_temperature=proposal_temperature, ascent=ascent, steady=steady,
        max_imagined_chunks=max_imagined_chunks, image_shift_px=image_shift_px, next_proprio=next_proprio,
    )  # fmt: skip
    card = known_task(task)
    policy, world_model = policy or f"bundled:{card.name}/base", world_model or f"bundled:{card.name}/world_model"
    how = driving_in(collect_from, card.name, execution, rounds=rounds)
    plan = RoundsConfig(
        rounds=rounds, episodes=round_episodes, first_seed=first_seed, source=collect_from,
        refresh=RefreshConfig(steps=refresh_steps, newest_share=newest_share, seed=seed),
        driven=how.told if how is not None and how.robot else None,
    )  # fmt: skip
    job = RoundsJob(
        out=out, data=data, card=card, policy=policy, world_model=world_model, rounds=plan,
        improving=improving, demonstration_share=demonstration_share, check_episodes=check_episodes,
        warmup_steps=warmup_steps,
    )  # fmt: skip
    gather = gathering_from(collect_from, processes, how)
    improved = improve_once(job) if rounds == 1 else improve_in_rounds(job, gather)
    print(f"improved policy ({sum(p.numel() for p in improved.parameters()):,} parameters): {out / 'checkpoint'}")


def _settings(as_in_the_paper: bool, exploration: float | None, **given: Any) -> ImproveConfig:
    """The constants that a run begins with, but for those that were given; None was not."""
    from rise_gym.agents.improve import ImproveConfig
    from rise_gym.collection import ExplorationNoise

    changes = {name: value for name, value in given.items() if value is not None}
    if exploration is not None:
        changes["exploration"] = ExplorationNoise().times(exploration)
    return (ImproveConfig() if as_in_the_paper else ImproveConfig.climbing()).changed(**changes)
