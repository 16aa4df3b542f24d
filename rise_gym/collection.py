"""Collecting episodes over several processes: interruptible, resumable, the same whatever the number of processes.

Environments and actors come as factories (import strings and plain arguments), built once in every process.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from rise_gym._collection_record import check_weights, remember_weights
from rise_gym._one_task import check_one_task
from rise_gym._processes import Factory, in_order
from rise_gym._recorder import EpisodeRecorder
from rise_gym.episodes import DatasetSummary, EpisodeWriter, dataset_summary
from rise_gym.errors import RiseGymError
from rise_gym.protocols import Agent, Generators
from rise_gym.tasks import TaskCard, task_card
from rise_gym.types import Episode, Observation, Source

__all__ = [
    "FIRST_EVALUATION_SEED",
    "Actor",
    "AgentActor",
    "CollectionConfig",
    "ExplorationNoise",
    "Factory",
    "ReservedSeed",
    "act_with",
    "collect",
]

FIRST_EVALUATION_SEED = 100_000
"""Training data comes from seeds below, every reported evaluation from seeds at or above it."""

AnyEnv = gymnasium.Env[Any, Any]


class ReservedSeed(RiseGymError, ValueError):
    """A seed that is kept for evaluation was asked for training data."""


@runtime_checkable
class Actor(Protocol):
    """Who acts while data is collected: unlike an agent it sees the env itself, one at a time."""

    def reset(self, env: AnyEnv, seed: int) -> None:
        """An episode has begun; all randomness comes from `seed`."""

    def act(self, env: AnyEnv, observation: Observation) -> tuple[NDArray[np.float32] | None, NDArray[np.float32]]:
        """What is meant (None if that is the same) and what to execute: float32 (K, A) in [-1, 1]."""


@dataclass(frozen=True, kw_only=True)
class CollectionConfig:
    """What to collect: `episodes` episodes, of the replica seeds from `first_seed` on.

    `fingerprint` tells the policy's weights from others at the same path; None if it has none, or they are not known.

    Raises:
        RiseGymError: if a number is too small.
        ReservedSeed: if any of the seeds is kept for evaluation.
    """

    episodes: int
    first_seed: int = 0
    task: str = "box_close"
    source: Source = "demonstration"
    policy: str = "scripted"
    fingerprint: str | None = None
    processes: int = 2
    episodes_per_file: int = 10

    def __post_init__(self) -> None:
        for name, least in (("episodes", 1), ("first_seed", 0), ("processes", 1), ("episodes_per_file", 1)):
            if getattr(self, name) < least:
                raise RiseGymError(f"{name} of {least} or more was wanted, got {getattr(self, name)}")
        last = self.first_seed + self.episodes - 1
        if last >= FIRST_EVALUATION_SEED:
            raise ReservedSeed(
                f"training data comes from seeds below {FIRST_EVALUATION_SEED}, seeds {self.first_seed} to {last} were "
                "asked for: choose a lower first_seed, the others are kept for evaluation"
            )

    @property
    def seeds(self) -> range:
        return range(self.first_seed, self.first_seed + self.episodes)


def collect(
    config: CollectionConfig,
    folder: str | Path,
    make_env: Factory,
    make_actor: Factory,
    *,
    on_episode: Callable[[Episode], object] | None = None,
) -> DatasetSummary:
    """Run the seeds that the folder lacks of this policy, in their order, and append them to its dataset.

    Ctrl-C keeps what is finished; a hard kill at most loses the last `episodes_per_file` episodes. The same call
    goes on where it was.

    Args:
        config: what to collect.
        folder: the dataset.
        make_env: builds the env, e.g. `Factory(target="gymnasium:make", arguments={"id": "RiseMujoco-BoxClose-v0"})`.
        make_actor: builds an `Actor`.
        on_episode: called with each new episode, for progress.

    Raises:
        InvalidDataset: if the folder holds another task's dataset, or the policy's episodes with other weights.
        SaveFailed: if the folder can't be written, before anything is played, or if the disk is full; what was saved
            before is kept.
    """
    task, root = task_card(config.task), Path(folder)
    prepare = partial(_Rollout, make_env, make_actor, config.source, config.policy)
    with EpisodeWriter(folder, task, episodes_per_file=config.episodes_per_file, once=True) as writer:
        done = writer.seeds(config.policy)
        if done:
            check_weights(root, config.policy, config.fingerprint)
        seeds = [seed for seed in config.seeds if seed not in done]
        if not seeds:
            return dataset_summary(folder)  # building the env alone may move a robot
        writer.require_writable()
        with closing(in_order(prepare, seeds, processes=min(config.processes, len(seeds)))) as episodes:
            for episode in episodes:
                if not done:  # what was begun without a fingerprint may be of other weights: it is given none later
                    remember_weights(root, config.policy, config.fingerprint)
                writer.append(episode)
                if on_episode is not None:
                    on_episode(episode)
    return dataset_summary(folder)


class _Rollout:
    """An env and an actor in a process of their own."""

    def __init__(self, make_env: Factory, make_actor: Factory, source: Source, policy: str) -> None:
        self.env: AnyEnv = make_env.build()
        self.actor: Actor = make_actor.build()
        self.source, self.policy = source, policy

    def __call__(self, seed: int) -> Episode:
        recorder = EpisodeRecorder(self.env, source=self.source, policy=self.policy)
        observation, info = self.env.reset(seed=seed)
        recorder.begin(observation, info, seed)
        self.actor.reset(self.env, seed)
        over = False
        while not over:
            clean, executed = self.actor.act(self.env, observation)
            observation, _, terminated, truncated, info = self.env.step(executed)
            recorder.add(executed, clean, observation, info)
            over = terminated or truncated
        return recorder.finish(info)

    def close(self) -> None:
        """Let go of the env, so that no robot is left waiting, and of the actor."""
        try:
            self.env.close()
        finally:
            getattr(self.actor, "close", lambda: None)()


# -- agents as actors -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ExplorationNoise:
    """Slowly changing offsets of the joint targets: an autoregressive process with the given standard deviations.

    An `AgentActor` draws for every episode how much of it it gets, from none to all, so that rollouts differ in kind.
    """

    joint_rad: float = 0.04
    gripper_m: float = 0.004
    correlation_s: float = 0.6

    def offsets(
        self, before: NDArray[np.float64], ticks: int, task: TaskCard, random: np.random.Generator
    ) -> NDArray[np.float64]:
        """The next offsets (ticks, ..., A) in standard deviations, going on from `before` (..., A)."""
        kept = self.kept(task)
        rows = []
        for _ in range(ticks):
            before = kept * before + np.sqrt(1 - kept**2) * random.standard_normal(before.shape)
            rows.append(before)
        return np.stack(rows)

    def kept(self, task: TaskCard) -> float:
        """How much of an offset is left after a tick; also the correlation of neighbouring ticks."""
        return float(np.exp(-1 / (task.control_hz * self.correlation_s)))

    def times(self, factor: float) -> ExplorationNoise:
        """As much of it.

        Raises:
            RiseGymError: if that is less than none, or no finite number.
        """
        if not 0 <= factor < float("inf"):
            raise RiseGymError(f"a factor of the noise of 0 or more was wanted, got {factor:g}")
        return replace(self, joint_rad=factor * self.joint_rad, gripper_m=factor * self.gripper_m)

    def scaled(self, task: TaskCard) -> NDArray[np.float64]:
        """Standard deviation of each scaled action (A,)."""
        widths = np.asarray(task.action_high) - np.asarray(task.action_low)
        deviations = [self.gripper_m if name.endswith("_m") else self.joint_rad for name in task.action_names]
        return 2 * np.asarray(deviations) / widths


class AgentActor:
    """An agent that acts alone, with exploration noise if asked for.

    Args:
        agent: who acts.
        advantage: what it is asked for.
        noise: added to its chunks, None for none.
    """

    def __init__(self, agent: Agent, *, advantage: float = 1.0, noise: ExplorationNoise | None = None) -> None:
        self.agent, self.advantage, self.noise = agent, advantage, noise

    def reset(self, env: AnyEnv, seed: int) -> None:
        """An episode has begun; all randomness comes from `seed`.

        Raises:
            UnsuitableEnv: if the agent is of another task than the env.
        """
        check_one_task(self.agent, env=env)
        self._task: TaskCard = env.unwrapped.task  # type: ignore[attr-defined]  # contract 11
        self._generator = torch.Generator().manual_seed(seed)
        seed_agent(self.agent, seed)
        self._random = np.random.default_rng(seed)
        self._amount = self._random.uniform()
        self._offset = self._random.standard_normal(len(self._task.action_names))

    def act(self, env: AnyEnv, observation: Observation) -> tuple[NDArray[np.float32] | None, NDArray[np.float32]]:
        shape = env.action_space.shape or ()
        return None, self.plan(observation, shape[0])  # what is learnt from a rollout is what was done

    def plan(self, observation: Observation, ticks: int | None = None) -> NDArray[np.float32]:
        """The next chunk, or its first `ticks`, with its noise: (K, A)."""
        row = {name: np.asarray(value)[None] for name, value in observation.items()}
        chunk = act_with(self.agent, row, [self._task.instruction], self.advantage, [self._generator])[0, :ticks]
        if self.noise is None:
            return chunk
        offsets = self.noise.offsets(self._offset, len(chunk), self._task, self._random)
        self._offset = offsets[-1]
        noisy = chunk + self._amount * offsets * self.noise.scaled(self._task)
        return np.clip(noisy, -1, 1).astype(np.float32)


def seed_agent(agent: object, seed: int) -> None:
    """Call `seed(seed)` of an agent that has it; others draw only from the generators they are given."""
    if callable(seed_it := getattr(agent, "seed", None)):
        seed_it(seed)


def act_with(
    agent: Agent,
    observation: Observation,
    instruction: list[str],
    advantage: float,
    generators: Generators,
) -> NDArray[np.float32]:
    """The agent's chunks (B, K, A); each row draws from its own generator, if the agent takes `generator=`."""
    if "generator" in inspect.signature(agent.act).parameters:
        return agent.act(observation, instruction, advantage, generator=generators)  # type: ignore[call-arg]
    return agent.act(observation, instruction, advantage)
