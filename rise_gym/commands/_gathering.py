"""Where the new episodes of a round come from: the replica, any other env such as a robot's, or a person's hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rise_gym.commands._progress import progress_bar
from rise_gym.commands._robots import AS_USUAL, Driving, ExecutionOptions, driving
from rise_gym.commands._shared import env_id_of
from rise_gym.errors import InvalidDataset, RiseGymError
from rise_gym.tasks import task_card

REPLICA, HAND = "replica", "hand"


@dataclass(frozen=True, kw_only=True)
class Gathering:
    """The episodes that are wanted.

    Attributes:
        folder: the dataset they go to.
        policy: the folder of whose they are.
        name: what the dataset calls it: the same wherever the folders lie, so that no seed is played twice.
        task: its name.
        seeds: one an episode, all below 100 000.
        noise: factor of the exploration noise added to its actions, as of `rise-gym collect`.
    """

    folder: Path
    policy: str
    name: str
    task: str
    seeds: range
    noise: float = 0.5


Gather = Callable[[Gathering], None]
"""Sees to it that the folder holds the episodes that are wanted; called again, it goes on where it was."""


def gathering_from(source: str, processes: int, how: Driving | None = None) -> Gather:
    """How to gather: from the `replica`, by `hand`, or from the env with that id, one episode after the other.

    Args:
        source: which of them. processes: how many replicas run side by side. how: what `driving_in` says of the source.
    """
    if source == HAND:
        return by_hand

    def gather(wanted: Gathering) -> None:
        if source == REPLICA:
            played_in(env_id_of("Mujoco", wanted.task), wanted, processes=processes)
        else:
            played_in(source, wanted, processes=1, episodes_per_file=1, how=how)  # a robot's episodes are dear

    return gather


def driving_in(source: str, task: str, execution: ExecutionOptions, *, rounds: int) -> Driving | None:
    """How policies act where episodes come from; None by hand, or where none are to come.

    To be asked before an hour is spent on a policy that is to act there.

    Raises:
        RiseGymError: if there is no such env, nobody judges there, it can't be driven like this, or no robot is to be
            driven; for what says nothing in a single round.
    """
    if rounds == 1:
        if source != REPLICA or execution != AS_USUAL:
            raise RiseGymError(
                "one round collects nothing, so --collect-from, --execution and its ticks say nothing: add --rounds 2, "
                "or leave them out"
            )
        return None
    if source not in (REPLICA, HAND):
        how = driving(source, execution=execution)
        if not how.judged:
            raise RiseGymError(
                f"nobody says when the task is done in {source!r}, so all episodes would be learnt from as failed: "
                'register it with an operator ("keyboard") or a judge'
            )
        return how
    if execution != AS_USUAL:
        raise RiseGymError(
            f"--execution, --execute-ticks and --fade-ticks are a robot's, episodes come from {source!r}: leave them "
            "out, or name a robot's env, --collect-from my_lab.envs:MyBoxClose-v0"
        )
    return None if source == HAND else driving(env_id_of("Mujoco", task))


def played_in(
    env_id: str, wanted: Gathering, *, processes: int, episodes_per_file: int = 10, how: Driving | None = None
) -> None:
    """Play what is missing in an env that is made with `record_ticks=True`.

    Args:
        env_id: of the env. wanted: the episodes. processes: how many run side by side.
        episodes_per_file: how many are saved at once. how: the policy acts; default: as is usual in that env.

    Raises:
        ReservedSeed: if a seed is kept for evaluation.
    """
    from rise_gym.collection import CollectionConfig, ExplorationNoise, Factory, collect
    from rise_gym.episodes import EpisodeWriter

    config = CollectionConfig(
        episodes=len(wanted.seeds), first_seed=wanted.seeds.start, task=wanted.task, source="rollout",
        policy=wanted.name, processes=processes, episodes_per_file=episodes_per_file,
    )  # fmt: skip
    card = task_card(wanted.task)
    missing = set(wanted.seeds) - EpisodeWriter(wanted.folder, card).seeds(wanted.name)
    if not missing:
        return  # building the env alone may move a robot
    how = driving(env_id) if how is None else how
    made = {"id": env_id, "chunk": how.chunk(card.chunk), "record_ticks": True, "disable_env_checker": True}
    agent = Factory(
        target="rise_gym.agents.trainable:load_trainable", arguments={"name": wanted.policy, "task": wanted.task}
    )
    actor = how.by(agent, wanted.policy, noise=ExplorationNoise().times(wanted.noise))
    env = Factory(target="gymnasium:make", arguments=made)
    with progress_bar(f"collecting episodes of {wanted.name}", len(missing)) as step:
        summary = collect(config, wanted.folder, env, actor, on_episode=lambda _: step())
    driven = f"; {how.told['execution']} execution" if how.robot else ""
    print(f"{wanted.folder}: {summary.episodes} episodes, {summary.successes} successful{driven}")


def by_hand(wanted: Gathering) -> None:
    """Look whether somebody has put them there.

    Raises:
        RiseGymError: if not; it says what to record.
    """
    from rise_gym.episodes import dataset_summary

    try:
        there = dataset_summary(wanted.folder).episodes
    except InvalidDataset:
        there = 0
    if there < len(wanted.seeds):
        raise RiseGymError(
            f"{len(wanted.seeds)} episodes of the policy in {wanted.policy} were wanted in the dataset "
            f"{wanted.folder}, {there} are there; record them as rollouts, by `rise_gym.envs.wrappers.RecordEpisodes` "
            "around the robot's env, say, then give the same command again (or ask for fewer with --round-episodes)"
        )
