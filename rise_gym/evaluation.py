"""How good a policy is in an environment: success and score over seeded episodes, with intervals.

Episodes run in groups of `num_envs` in lock-step, one batched call of the agent for the whole group, and the groups
over `processes`. What comes out does not depend on the number of processes. A robot plays one episode after the other.
"""

from __future__ import annotations

import logging
import math
import os
import platform
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rise_gym._lerobot import json_bytes, write_atomically
from rise_gym._playing import EpisodeResult, PlayConfig, Player, RobotEpisode
from rise_gym._processes import Factory, in_order
from rise_gym.collection import FIRST_EVALUATION_SEED, Actor, AnyEnv
from rise_gym.metrics import mean_interval, wilson_interval
from rise_gym.protocols import Agent
from rise_gym.robot_envs import one_at_a_time

__all__ = [
    "EpisodeResult",
    "Factory",
    "RobotEpisode",
    "evaluate",
    "play",
    "summarise",
    "wilson_interval",
    "write_report_json",
]

_log = logging.getLogger(__name__)


def evaluate(
    env_id: str,
    agent: Agent | Actor | Factory,
    episodes: int,
    seed: int,
    *,
    policy: str | None = None,
    num_envs: int = 10,
    processes: int = 1,
    chunk: int | None = None,
    advantage: float = 1.0,
    env_arguments: Mapping[str, Any] | None = None,
    on_episode: Callable[[EpisodeResult], object] | None = None,
) -> dict[str, Any]:
    """Play the episodes of `seed` to `seed + episodes - 1` and sum them up.

    Arguments are those of `play`; `policy` is the name to report.

    Returns:
        `env_id, policy, episodes, seed, success_rate` (0 to 1), `success_ci95, score_mean, score_ci95, return_mean,
        seconds`; intervals are `[low, high]`, Wilson's for success and a bootstrap for the score. Of a robot also
        `robot`, see `summarise`.

    Raises:
        ValueError: if there is no episode to play.
        UnsuitableEnv: if who acts is of another task than the env.
    """
    if episodes < 1:
        raise ValueError(f"an evaluation needs at least one episode, {episodes} were asked for")
    began = time.monotonic()
    results = []
    for result in play(
        env_id,
        agent,
        range(seed, seed + episodes),
        num_envs=num_envs,
        processes=processes,
        chunk=chunk,
        advantage=advantage,
        env_arguments=env_arguments,
    ):
        results.append(result)
        if on_episode is not None:
            on_episode(result)
    name = policy or (agent.target if isinstance(agent, Factory) else type(agent).__name__)
    return summarise(results, env_id=env_id, policy=name, seconds=time.monotonic() - began)


def play(
    env_id: str,
    agent: Agent | Actor | Factory,
    seeds: Sequence[int],
    *,
    num_envs: int = 10,
    processes: int = 1,
    chunk: int | None = None,
    advantage: float = 1.0,
    env_arguments: Mapping[str, Any] | None = None,
    env: AnyEnv | None = None,
) -> Iterator[EpisodeResult]:
    """Play one episode a seed; results come in the seeds' order.

    An env on a robot is built once, in this process, whatever is asked for, and let go of at the end: there is one of
    it. Its results are `RobotEpisode`s.

    Args:
        env_id: any registered id.
        agent: an agent (batched over a group), an actor (sees the env, plays alone), or how to build either. With
            several processes it has to be picklable or a factory.
        seeds: one an episode.
        num_envs: how many episodes run in lock-step in a process; on a robot, always one.
        processes: 1 stays in this one, as a robot does.
        chunk: ticks a step; by default the agent's own, if it has a `chunk`, else the env's.
        advantage: what an agent is asked for.
        env_arguments: further arguments of `gymnasium.make`.
        env: a live one to play in, one episode after the other, instead of making one; it is left open.

    Raises:
        RiseGymError: if no such env is registered.
        UnsuitableEnv: if who acts is of another task than the env.
    """
    if "Imagined" not in env_id and min(seeds, default=FIRST_EVALUATION_SEED) < FIRST_EVALUATION_SEED:
        _log.warning("seeds below %d may be in the training data: such a figure is no result", FIRST_EVALUATION_SEED)
    if env is not None or one_at_a_time(env_id):
        num_envs = processes = 1
    groups = [list(seeds[first : first + num_envs]) for first in range(0, len(seeds), num_envs)]
    config = PlayConfig(
        env_id=env_id,
        agent=agent,
        num_envs=num_envs,
        chunk=chunk,
        advantage=advantage,
        env_arguments=dict(env_arguments or {}),
    )
    prepare = partial(Player, config, env)
    with closing(in_order(prepare, groups, processes=min(processes, max(1, len(groups))))) as played:
        for results in played:
            yield from results


def summarise(results: Sequence[EpisodeResult], *, env_id: str, policy: str, seconds: float) -> dict[str, Any]:
    """The report of contract 12 from the episodes' results.

    Of episodes on a robot it says so: `robot` has `judged_by` and `as_replica`, see `rise_gym.robot_envs.RobotFacts`,
    and `stopped`, how many episodes were cut short by what; they count as what they had come to.
    """
    scores = np.array([result.score for result in results])
    successes = sum(result.is_success for result in results)
    return {
        "env_id": env_id,
        "policy": policy,
        "episodes": len(results),
        "seed": min(result.seed for result in results),
        "success_rate": successes / len(results),
        "success_ci95": list(wilson_interval(successes, len(results))),
        "score_mean": float(scores.mean()),
        "score_ci95": list(mean_interval(scores)),
        "return_mean": float(np.mean([result.episode_return for result in results])),
        "seconds": round(seconds, 2),
        **_robot(results),
    }


def _robot(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """What is told of a robot's episodes only."""
    played = [result for result in results if isinstance(result, RobotEpisode)]
    if not played:
        return {}
    stopped = Counter(result.stopped for result in played if result.stopped)
    facts = played[-1].facts
    return {"robot": {"judged_by": facts.judged_by, "as_replica": facts.as_replica, "stopped": dict(stopped)}}


def write_report_json(path: str | Path, result: Mapping[str, Any]) -> None:
    """Write a benchmark's result with the commit and the machine it comes from.

    Raises:
        SaveFailed: if it can't be written.
    """
    commit = commit_of(Path(__file__).parent)
    write_atomically(Path(path), json_bytes({**plain(result), "commit": commit, "machine": machine()}))


def plain(figures: Any) -> Any:
    """The same with None where a figure is not a number, which JSON has no word for."""
    if isinstance(figures, Mapping):
        return {name: plain(value) for name, value in figures.items()}
    if isinstance(figures, list | tuple):
        return [plain(value) for value in figures]
    return None if isinstance(figures, float) and not math.isfinite(figures) else figures


def machine() -> dict[str, Any]:
    """The machine that a figure comes from."""
    return {
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def commit_of(folder: Path) -> str | None:
    """The commit of the checkout that a folder is in, `-dirty` behind it if tracked files differ; None outside of one.

    Recorded results do not count: a benchmark that writes one part after the other would say so from the second on.
    """
    git = ["git", "-C", str(folder)]
    changes = [*git, "diff", "--quiet", "HEAD", "--", ":/", ":(exclude,top)benchmarks/results"]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
        changed = subprocess.run(changes, capture_output=True, timeout=10).returncode
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ("-dirty" if changed else "")
