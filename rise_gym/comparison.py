"""How an imagined figure compares with a real one: policies from the same starts in both, and how they rank.

Whole episodes are dreamt from the first frames that the true env shows for each seed, and played there with the same
seeds. The true score counts whole stages, the imagined one is ten times the progress.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import gymnasium
import numpy as np
from numpy.typing import NDArray
from torch import Generator

from rise_gym._figure_text import ends_of, number_of
from rise_gym._one_task import check_one_task
from rise_gym.evaluation import EpisodeResult
from rise_gym.metrics import bootstrap_interval, mean_rank_violation, pearson, spearman
from rise_gym.starts import Starts
from rise_gym.tasks import TaskCard
from rise_gym.types import Observation

__all__ = [
    "FEWEST_EPISODES",
    "FEWEST_POLICIES",
    "WIDEST_INTERVAL",
    "agreement",
    "doubts",
    "dreamt_episodes",
    "first_windows",
    "means",
    "ranked",
]

FEWEST_POLICIES, FEWEST_EPISODES = 8, 40
"""With fewer of them a ranking says little."""
WIDEST_INTERVAL = 0.4
"""A correlation whose 95 % interval is wider than this may as well be a bad one."""
FIGURES = ("success", "score", "episode_return")


class SeededAgent(Protocol):
    """An `Agent` whose chance is an argument."""

    def act(
        self, observation: Observation, instruction: Sequence[str], *, generator: Sequence[Generator]
    ) -> NDArray[np.float32]:
        """As `rise_gym.protocols.Agent.act`, with one generator a row."""


def first_windows(env: gymnasium.Env[Any, Any], seeds: Sequence[int]) -> Starts:
    """What an env of the registry shows when it is reset with each seed: starts number 0, 1, ... of dreams.

    Raises:
        ValueError: if there is no seed.
    """
    if not len(seeds):
        raise ValueError("at least one seed was wanted, each gives a start, got none")
    task: TaskCard = env.unwrapped.task  # type: ignore[attr-defined]  # every env of the registry has it
    seen = [env.reset(seed=seed)[0] for seed in seeds]
    return Starts(
        task=task.name,
        frames=np.stack([np.stack([row[camera] for camera in task.cameras]) for row in seen])[:, None],
        proprio=np.stack([row["proprio"] for row in seen]),
        instruction=(task.instruction,) * len(seeds),
        seeds=np.array(seeds, np.int64),
        tick=np.zeros(len(seeds), np.int64),
    )


def dreamt_episodes(
    agent: SeededAgent, dreams: gymnasium.vector.VectorEnv[Any, Any, Any], seeds: Sequence[int]
) -> list[EpisodeResult]:
    """One whole dream a row of `dreams`, row i from its start number i, with noise of the row's own seed.

    Args:
        agent: who acts.
        dreams: the imagined vector env, with as many rows and starts as seeds.
        seeds: one a row.

    Raises:
        UnsuitableEnv: if the agent is of another task than the dreams.
    """
    check_one_task(agent, env=dreams)
    count = len(seeds)
    observation, info = dreams.reset(seed=list(seeds), options={"start": list(range(count))})  # type: ignore[arg-type]
    instruction = [str(text) for text in info["instruction"]]
    noise = [Generator().manual_seed(seed) for seed in seeds]
    running, success = np.ones(count, bool), np.zeros(count, bool)
    score, total, steps = np.zeros(count), np.zeros(count), np.zeros(count, int)
    while running.any():
        actions = agent.act(observation, instruction, generator=noise)
        observation, reward, terminated, truncated, info = dreams.step(actions)
        total += np.where(running, reward, 0)
        score = np.where(running, info["score"], score)
        success |= running & terminated
        steps += running
        running &= ~(terminated | truncated)
    return [
        EpisodeResult(
            seed=seed, is_success=bool(success[i]), score=float(score[i]), episode_return=float(total[i]),
            steps=int(steps[i]),
        )
        for i, seed in enumerate(seeds)
    ]  # fmt: skip


def means(results: Sequence[EpisodeResult]) -> dict[str, float]:
    """Success rate (0 to 1), mean score (0 to 10) and mean return of a policy's episodes.

    Raises:
        ValueError: if there is no episode.
    """
    if not results:
        raise ValueError("at least one episode was wanted, to take the mean of, got none")
    return {
        "success": float(np.mean([result.is_success for result in results])),
        "score": float(np.mean([result.score for result in results])),
        "episode_return": float(np.mean([result.episode_return for result in results])),
    }


def agreement(imagined: Sequence[float], true: Sequence[float]) -> dict[str, dict[str, Any]]:
    """Of a figure of every policy (p,): Pearson, Spearman, MMRV, each `value` and `ci95`, bootstrapped over policies.

    MMRV, see `mean_rank_violation`, is in the figure's own unit. Of one policy or two there are no intervals: NaN.

    Raises:
        ValueError: if there is no policy, or not one imagined and one true figure of each.
    """
    ours, theirs = np.asarray(imagined, float), np.asarray(true, float)
    if ours.ndim != 1 or ours.shape != theirs.shape or not len(ours):
        raise ValueError(
            "one imagined and one true figure of every policy were wanted, got figures of shapes "
            f"{ours.shape} and {theirs.shape}: give both in the same order of policies, of one policy at least"
        )
    pairs = np.stack([ours, theirs], axis=1)
    found: dict[str, dict[str, Any]] = {}
    for name, statistic in (("pearson", pearson), ("spearman", spearman), ("mmrv", mean_rank_violation)):

        def of(sample: NDArray[Any], statistic: Any = statistic) -> float:
            return float(statistic(sample[:, 0], sample[:, 1]))

        several = len(pairs) > 2
        interval = bootstrap_interval(pairs, of, np.random.default_rng(0)) if several else (float("nan"),) * 2
        found[name] = {"value": of(pairs), "ci95": list(interval)}
    return found


def doubts(policies: int, episodes: int, found: Mapping[str, Any] | None = None) -> list[str]:
    """Why no conclusion should be drawn from a comparison; empty if there is no reason of size.

    Args:
        policies, episodes: how many policies were compared, and how many matched episodes of each.
        found: their `agreement` in success, if it is known: an interval may be too wide with any number of them.
    """
    reasons = []
    if policies < FEWEST_POLICIES:
        few = "one policy makes no" if policies == 1 else f"{policies} policies hardly make a"
        reasons.append(f"{few} ranking; {FEWEST_POLICIES} or more were wanted")
    if episodes < FEWEST_EPISODES:
        wide = round(100 / np.sqrt(max(episodes, 1)))
        reasons.append(
            f"a success rate of {episodes} episodes is uncertain by up to {wide} points either way; {FEWEST_EPISODES} "
            "or more were wanted"
        )
    if found is None:
        return reasons
    ends = ends_of(found["pearson"])
    if number_of(found["pearson"]) is None:  # not a number, or null where it was read from a file
        reasons.append("success is the same for all policies, in the dream or in truth: compare better and worse ones")
    elif policies >= FEWEST_POLICIES and ends is not None and ends[1] - ends[0] > WIDEST_INTERVAL:
        reasons.append(
            f"the correlation of success may be anything from {ends[0]:.2f} to {ends[1]:.2f}: compare more policies, "
            "or policies that differ more"
        )
    return reasons


def ranked(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The agreement of each of `FIGURES`, from rows with `imagined` and `true` means each.

    Raises:
        ValueError: if there is no row.
    """
    return {
        name: agreement([row["imagined"][name] for row in rows], [row["true"][name] for row in rows])
        for name in FIGURES
    }
