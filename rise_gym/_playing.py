"""Episodes played in groups: one batched call of the agent for all environments of a group, in lock-step."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from rise_gym._one_task import check_one_task
from rise_gym._processes import Factory
from rise_gym.collection import Actor, AnyEnv, act_with, seed_agent
from rise_gym.protocols import Agent
from rise_gym.robot_envs import RobotFacts, facts_of
from rise_gym.types import Observation


@dataclass(frozen=True, kw_only=True)
class EpisodeResult:
    """How one episode went: `score` 0 to 10 and `is_success` at its end, the undiscounted return, and env steps."""

    seed: int
    is_success: bool
    score: float
    episode_return: float
    steps: int


@dataclass(frozen=True, kw_only=True)
class RobotEpisode(EpisodeResult):
    """How one episode on a robot went.

    Attributes:
        facts: who judged it, and whether it began where the replica's episode of its seed does.
        stopped: what cut it short, `"operator"`, `"camera"`, `"stuck"` or `"robot"`; empty if nothing did.
    """

    facts: RobotFacts
    stopped: str = ""


@dataclass(frozen=True, kw_only=True)
class PlayConfig:
    """What a process needs to play: plain data, and an agent that is picklable or a factory."""

    env_id: str
    agent: Agent | Actor | Factory
    num_envs: int
    chunk: int | None
    advantage: float
    env_arguments: dict[str, Any]


class Player:
    """Plays groups of episodes in one process; agents over a group in lock-step, actors one episode after the other."""

    def __init__(self, config: PlayConfig, env: AnyEnv | None = None) -> None:
        self.config, self._lent = config, env is not None
        agent: Any = config.agent.build() if isinstance(config.agent, Factory) else config.agent
        chunk = getattr(agent, "chunk", None) if config.chunk is None else config.chunk
        arguments = {**({} if chunk is None else {"chunk": chunk}), **config.env_arguments}
        self._agent = agent if isinstance(agent, Agent) else None
        self._actor: Actor = agent
        module, _, plain_id = config.env_id.rpartition(":")
        if module:
            importlib.import_module(module)
        if env is not None:
            self._rows: _Rows = _EnvRows(lambda: env)
        elif self._agent is not None and gymnasium.spec(plain_id).vector_entry_point is not None:
            self._rows = _VectorRows(config.env_id, config.num_envs, arguments)
        else:
            self._rows = _EnvRows(partial(gymnasium.make, config.env_id, disable_env_checker=True, **arguments))

    def __call__(self, seeds: Sequence[int]) -> list[EpisodeResult]:
        check_one_task(self._actor, env=self._rows.any_env)  # not at once: of why it never began, no worker can tell
        if self._agent is None:
            return [self._alone(seed) for seed in seeds]
        return self._together(self._agent, seeds)

    def close(self) -> None:
        """Let go of what was made here: environments (a robot is braked and disconnected) and whoever acts in them."""
        try:
            if not self._lent:
                self._rows.close()
        finally:
            if isinstance(self.config.agent, Factory):
                getattr(self._actor, "close", lambda: None)()

    def _alone(self, seed: int) -> EpisodeResult:
        assert isinstance(self._rows, _EnvRows)
        env = self._rows.env(0)
        observation, info = env.reset(seed=seed)
        self._actor.reset(env, seed)
        tally = _Tally(seed, facts_of(self._rows.any_env))
        while not tally.over:
            _, executed = self._actor.act(env, observation)
            observation, reward, terminated, truncated, info = env.step(executed)
            tally.add(float(reward), bool(terminated or truncated), info)
        return tally.result()

    def _together(self, agent: Agent, seeds: Sequence[int]) -> list[EpisodeResult]:
        """Rows that are over leave the batch; what a row does depends on its seed alone."""
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        seed_agent(agent, seeds[0])
        observation, instructions = self._rows.reset(seeds)
        tallies = [_Tally(seed, facts_of(self._rows.any_env)) for seed in seeds]
        while running := [row for row, tally in enumerate(tallies) if not tally.over]:
            actions = act_with(
                agent,
                {name: array[running] for name, array in observation.items()},
                [instructions[row] for row in running],
                self.config.advantage,
                [generators[row] for row in running],
            )
            observation, steps = self._rows.step(running, actions)
            for row, (reward, over, info) in zip(running, steps, strict=True):
                tallies[row].add(reward, over, info)
        return [tally.result() for tally in tallies]


class _Tally:
    """What an episode came to so far."""

    def __init__(self, seed: int, facts: RobotFacts | None) -> None:
        self.seed, self.over, self._facts = seed, False, facts
        self._return, self._steps = 0.0, 0
        self._info: dict[str, Any] = {}

    def add(self, reward: float, over: bool, info: dict[str, Any]) -> None:
        self.over, self._info = over, info
        self._return += reward
        self._steps += 1

    def result(self) -> EpisodeResult:
        told: dict[str, Any] = {
            "seed": self.seed,
            "is_success": bool(self._info["is_success"]),
            "score": float(self._info["score"]),
            "episode_return": self._return,
            "steps": self._steps,
        }
        if self._facts is None:
            return EpisodeResult(**told)
        why = str(self._info.get("truncation", ""))
        return RobotEpisode(**told, facts=self._facts, stopped="" if why == "horizon" else why)


Step = tuple[float, bool, dict[str, Any]]


class _Rows(Protocol):
    """A group of environments."""

    @property
    def any_env(self) -> object:
        """One of them, or the one that they are."""

    def reset(self, seeds: Sequence[int]) -> tuple[Observation, list[str]]:
        """Newest observations (n, ...) and instructions, one a seed."""

    def step(self, rows: Sequence[int], actions: NDArray[np.float32]) -> tuple[Observation, list[Step]]:
        """Step some rows: actions (len(rows), K, A) -> observations of all, and what the steps of `rows` gave."""

    def close(self) -> None: ...


class _EnvRows:
    """Single environments, built when first needed."""

    def __init__(self, make: Callable[[], AnyEnv]) -> None:
        self._make = make
        self._envs: list[AnyEnv] = []
        self._seen: list[Observation] = []

    @property
    def any_env(self) -> object:
        return self.env(0)

    def env(self, row: int) -> AnyEnv:
        while len(self._envs) <= row:
            self._envs.append(self._make())
        return self._envs[row]

    def reset(self, seeds: Sequence[int]) -> tuple[Observation, list[str]]:
        begun = [self.env(row).reset(seed=seed) for row, seed in enumerate(seeds)]
        self._seen = [observation for observation, _ in begun]
        return self._stacked(), [info["instruction"] for _, info in begun]

    def step(self, rows: Sequence[int], actions: NDArray[np.float32]) -> tuple[Observation, list[Step]]:
        steps: list[Step] = []
        for row, action in zip(rows, actions, strict=True):
            env = self._envs[row]
            ticks = (env.action_space.shape or action.shape)[0]  # an agent may plan further ahead than a step
            self._seen[row], reward, terminated, truncated, info = env.step(action[:ticks])
            steps.append((float(reward), bool(terminated or truncated), info))
        return self._stacked(), steps

    def close(self) -> None:
        for env in self._envs:
            env.close()
        self._envs = []

    def _stacked(self) -> Observation:
        return {name: np.stack([seen[name] for seen in self._seen]) for name in self._seen[0]}


class _VectorRows:
    """A native vector environment; rows that are over go on unobserved."""

    def __init__(self, env_id: str, num_envs: int, arguments: dict[str, Any]) -> None:
        self._env = gymnasium.make_vec(
            env_id, num_envs=num_envs, autoreset_mode=AutoresetMode.NEXT_STEP.value, **arguments
        )

    @property
    def any_env(self) -> object:
        return self._env

    def reset(self, seeds: Sequence[int]) -> tuple[Observation, list[str]]:
        count = self._env.num_envs
        padded = [*seeds, *[seeds[-1]] * (count - len(seeds))]  # the last group may be smaller
        observation, info = self._env.reset(seed=padded)  # type: ignore[arg-type]  # gymnasium's own take a list
        return observation, [str(text) for text in info["instruction"]]

    def step(self, rows: Sequence[int], actions: NDArray[np.float32]) -> tuple[Observation, list[Step]]:
        space = self._env.action_space
        everyone = np.zeros(space.shape or (), np.float32)
        everyone[list(rows)] = actions[:, : everyone.shape[1]]
        observation, reward, terminated, truncated, info = self._env.step(everyone)
        steps: list[Step] = [
            (
                float(reward[row]),
                bool(terminated[row] or truncated[row]),
                {name: info[name][row] for name in ("is_success", "score")},
            )
            for row in rows
        ]
        return observation, steps

    def close(self) -> None:
        self._env.close()
