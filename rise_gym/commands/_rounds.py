"""Co-evolution: policy and world model improve in turn, with a few new episodes of the policy in between.

    out/round_1/policy        improved in the dream of the given world model
    out/round_1/episodes      of that policy, collected
    out/round_1/world_model   refreshed on old and new recordings
    out/round_2/policy        improved on in the new dream, and so on
    out/checkpoint            the policy of the last round

Each of these is made once; what is half made goes on where it was.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rise_gym.commands._gathering import HAND, REPLICA, Gather, Gathering
from rise_gym.commands._improving import improve_policy
from rise_gym.commands._refreshing import RefreshConfig, refresh_world_model
from rise_gym.commands._shared import LATENTS, load_recordings, policy_card
from rise_gym.errors import InvalidTraining, RiseGymError
from rise_gym.tasks import TaskCard
from rise_gym.training import make_folder

if TYPE_CHECKING:
    from torch import Tensor

    from rise_gym.agents.improve import ImproveConfig
    from rise_gym.agents.trainable import TrainableAgent
    from rise_gym.recordings import Recordings

SETTINGS_NAME = "rounds.json"
_MAY_CHANGE = {"rounds", "source", "driven"}  # between two calls; the file tells those of the last


@dataclass(frozen=True, kw_only=True)
class RoundsConfig:
    """How many rounds, and what lies between two of them.

    Attributes:
        rounds: of improvement.
        episodes: of the policy, collected after each round but the last.
        first_seed: of those of the first round; later rounds go on from there.
        noise: factor of the exploration noise, as of `rise-gym collect`.
        source: "replica", "hand", or the id of the env that episodes are collected in.
        driven: how a robot is driven there, as it is recorded; None where there is none.
        refresh: of the world model; its `newest_share` is also that of the moments that are imagined from.
    """

    rounds: int = 2
    episodes: int = 60
    first_seed: int = 70_000
    noise: float = 0.5
    source: str = REPLICA
    driven: dict[str, Any] | None = None
    refresh: RefreshConfig = field(default_factory=RefreshConfig)

    def __post_init__(self) -> None:
        if min(self.rounds, self.episodes) < 1:
            raise InvalidTraining(
                f"one round and one episode at least were wanted, got {self.rounds} and {self.episodes}"
            )

    def seeds(self, number: int) -> range:
        """Of the episodes after round `number`, from 1."""
        first = self.first_seed + (number - 1) * self.episodes
        return range(first, first + self.episodes)


@dataclass(frozen=True, kw_only=True)
class RoundsJob:
    """What is improved, from what, and how.

    Attributes:
        out: where everything goes. data: datasets that are there already. card: of their task.
        policy, world_model: names or folders; both are left as they are.
        rounds: the rounds. improving: each round's improvement; its seed is one higher in each.
        demonstration_share, check_episodes, warmup_steps: as of `rise-gym improve`.
    """

    out: Path
    data: list[Path]
    card: TaskCard
    policy: str
    world_model: str
    rounds: RoundsConfig
    improving: ImproveConfig
    demonstration_share: float | None = 1.0
    check_episodes: int = 0
    warmup_steps: int = 0

    def place(self, number: int, what: str) -> Path:
        return self.out / f"round_{number}" / what

    def known(self, number: int) -> list[Path]:
        """The datasets that there are when round `number` begins, the newest last."""
        return [*self.data, *(self.place(before, "episodes") for before in range(1, number))]


def improve_once(job: RoundsJob) -> TrainableAgent:
    """One round, in `out` itself: nothing is collected, nothing refreshed.

    Raises:
        RiseGymError: if `out` holds several rounds.
    """
    if (job.out / SETTINGS_NAME).is_file():
        raise RiseGymError(f"{job.out} holds several rounds: say how many with --rounds, or give another folder")
    return improve_policy(
        load_recordings(job.data, job.card), job.out, job.policy, job.world_model, job.improving,
        job.data[0] / LATENTS, job.demonstration_share, job.check_episodes, warmup_steps=job.warmup_steps,
    )  # fmt: skip


def improve_in_rounds(job: RoundsJob, gather: Gather) -> TrainableAgent:
    """Do what is not done yet, then save the last round's policy in `out/checkpoint`.

    Raises:
        RiseGymError: if `out` holds a run with other settings, or a seed was used already or is kept for evaluation.
    """
    from rise_gym.agents.trainable import load_trainable, save_policy

    check_seeds(job)
    _check_settings(job)
    policy, world_model = job.policy, job.world_model
    for number in range(1, job.rounds.rounds + 1):
        policy = _improved(job, number, policy, world_model)
        if number < job.rounds.rounds:
            gather(_wanted(job, number, policy))
            world_model = _refreshed(job, number, world_model)
    last = load_trainable(policy, task=job.card.name)
    how = f"improved by RISE in {job.rounds.rounds} rounds from {job.policy}"
    save_policy(job.out / "checkpoint", last, card=policy_card(last, how, job.rounds))
    return last


def check_seeds(job: RoundsJob) -> None:
    """Refuse, before anything is done, seeds that are kept for evaluation or that a dataset of `data` has.

    Raises:
        ReservedSeed, RiseGymError: says which, and where there are others.
    """
    from rise_gym.collection import CollectionConfig
    from rise_gym.episodes import dataset_summary

    first, count = job.rounds.first_seed, (job.rounds.rounds - 1) * job.rounds.episodes
    if not count or job.rounds.source == HAND:
        return
    wanted = CollectionConfig(first_seed=first, episodes=count).seeds
    for folder in job.data:
        if taken := set(dataset_summary(folder).seeds) & set(wanted):
            raise RiseGymError(
                f"seeds from {first} to {wanted[-1]} that no other dataset has were wanted for new episodes, {folder} "
                f"has {len(taken)} of them; choose others, with --first-seed {max(taken) + 1}, say"
            )


def _check_settings(job: RoundsJob) -> None:
    """How many rounds may change, and where episodes come from; nothing that was already made depends on that.

    Raises:
        RiseGymError: if anything else did. SaveFailed: if `out` can't be written.
    """
    settings = _settings_of(job)
    path = job.out / SETTINGS_NAME
    found = json.loads(path.read_text()) if path.is_file() else settings
    odd = sorted(name for name in settings.keys() - _MAY_CHANGE if found.get(name) != settings[name])
    if odd:
        raise RiseGymError(
            f"{job.out} holds rounds with other settings: {_told(found, settings, odd)}, got "
            f"{_told(settings, found, odd)}; go on with its own, or begin in a folder of your choice"
        )
    if (job.out / "run").is_dir():
        raise RiseGymError(f"{job.out} holds a run of one round: begin several rounds in another folder")
    make_folder(job.out)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(settings, indent=2) + "\n")
    os.replace(partial, path)  # a kill leaves the earlier file whole, or none


def _told(these: dict[str, Any], others: dict[str, Any], names: list[str]) -> list[tuple[str, Any]]:
    """The values of settings; of those that have many parts, only the parts that differ from the others'."""
    told: list[tuple[str, Any]] = []
    for name in names:
        mine, theirs = these.get(name), others.get(name)
        if isinstance(mine, dict) and isinstance(theirs, dict):
            told += [(part, mine[part]) for part in mine if mine[part] != theirs.get(part)]
        else:
            told.append((name, mine))
    return told


def _settings_of(job: RoundsJob) -> dict[str, Any]:
    """As they are written to a file: plain data. The device is none of them, another machine may go on."""
    improving = asdict(job.improving)
    training = improving.pop("training")
    del training["device"]
    told = {
        "policy": job.policy, "world_model": job.world_model, "data": [str(folder) for folder in job.data],
        "demonstration_share": job.demonstration_share, "warmup_steps": job.warmup_steps,
        "improving": {**improving, **training}, **asdict(job.rounds),
    }  # fmt: skip
    plain: dict[str, Any] = json.loads(json.dumps(told))
    return plain


def _improved(job: RoundsJob, number: int, policy: str, world_model: str) -> str:
    """The folder of the policy of a round."""
    out = job.place(number, "policy")
    checkpoint = out / "checkpoint"
    if not checkpoint.is_dir():
        print(f"round {number} of {job.rounds.rounds}: improving in the dream of {world_model}")
        recordings = load_recordings(job.known(number), job.card)
        improve_policy(
            recordings, out, policy, world_model, job.improving.changed(seed=job.improving.training.seed + number - 1),
            job.data[0] / LATENTS, job.demonstration_share, job.check_episodes, warmup_steps=job.warmup_steps,
            newest=_newest(job, number, recordings), newest_share=job.rounds.refresh.newest_share,
        )  # fmt: skip
    return str(checkpoint)


def _newest(job: RoundsJob, number: int, recordings: Recordings) -> Tensor | None:
    """Which of all episodes came with the last round, bool (E,); None in the first."""
    import torch

    from rise_gym.episodes import dataset_summary

    if number == 1:
        return None
    count = len(recordings.sources)
    return torch.arange(count) >= count - dataset_summary(job.place(number - 1, "episodes")).episodes


def _wanted(job: RoundsJob, number: int, policy: str) -> Gathering:
    return Gathering(
        folder=job.place(number, "episodes"), policy=policy, name=f"round_{number}", task=job.card.name,
        seeds=job.rounds.seeds(number), noise=job.rounds.noise,
    )  # fmt: skip


def _refreshed(job: RoundsJob, number: int, world_model: str) -> str:
    """The folder of the world model after a round."""
    data = job.known(number + 1)
    out, device = job.place(number, "world_model"), job.improving.training.device
    return str(refresh_world_model(world_model, job.card, data, out, job.rounds.refresh, device=device))
