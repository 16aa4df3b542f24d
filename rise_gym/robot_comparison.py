"""Dream, replica and robot beside each other: what the robot adds to a comparison of policies, and how sure it is.

The dream is compared with the robot, and the replica with the robot. Episodes are paired only where the robot begins
where the replica does with the same seed; otherwise the rates are those of independent groups.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rise_gym.comparison import FEWEST_EPISODES, FEWEST_POLICIES, WIDEST_INTERVAL, means, ranked
from rise_gym.evaluation import EpisodeResult, RobotEpisode
from rise_gym.metrics import mean_interval, rate_difference_interval, wilson_interval

__all__ = ["OTHERS", "intervals", "robot_doubts", "robot_figures", "robot_row", "success_difference"]

OTHERS = {"imagined": "the dream", "true": "the replica"}
"""What a robot is compared with: the names of the figures, and in words."""
Results = Sequence[EpisodeResult]
Figures = Mapping[str, Any]


def robot_row(true: Results, imagined: Results, robot: Sequence[RobotEpisode]) -> dict[str, Any]:
    """What a robot adds to a policy's row: its means `robot`, `intervals` of all three, and two more.

    `robot_less` each of the others is `success_difference`, `robot_episodes` how each of them went.

    Args:
        true, imagined, robot: the policy's episodes in each, at least one.
    """
    matched = robot[-1].facts.as_replica
    return {
        "robot": means(robot),
        "intervals": {"imagined": intervals(imagined), "true": intervals(true), "robot": intervals(robot)},
        "robot_less": {
            "imagined": success_difference(robot, imagined, matched=matched),
            "true": success_difference(robot, true, matched=matched),
        },
        "robot_episodes": [
            {"seed": one.seed, "is_success": one.is_success, "score": one.score, "stopped": one.stopped}
            for one in robot
        ],
    }


def intervals(results: Results) -> dict[str, list[float]]:
    """95 % intervals of what `rise_gym.comparison.means` gives: Wilson's of success, a bootstrap's of the others."""
    return {
        "success": list(wilson_interval(sum(one.is_success for one in results), len(results))),
        "score": list(mean_interval(np.array([one.score for one in results]))),
        "episode_return": list(mean_interval(np.array([one.episode_return for one in results]))),
    }


def success_difference(robot: Results, other: Results, *, matched: bool) -> dict[str, Any]:
    """The robot's success rate less another: `value`, `ci95` (Newcombe's), and `pairs`, how many episodes were paired.

    With pairs, only episodes whose seed both have count, and `same_outcome` is how many of them ended alike.
    """
    ours = {one.seed: one.is_success for one in robot}
    theirs = {one.seed: one.is_success for one in other}
    seeds = sorted(ours.keys() & theirs.keys()) if matched else []
    if not matched:
        here, there = np.array(list(ours.values())), np.array(list(theirs.values()))
    else:
        here, there = (np.array([rows[seed] for seed in seeds], bool) for rows in (ours, theirs))
    found = {
        "value": float(here.mean() - there.mean()),
        "ci95": list(rate_difference_interval(here, there, paired=matched)),
        "pairs": len(seeds),
    }
    return {**found, "same_outcome": int((here == there).sum())} if matched else found


def robot_figures(
    rows: Sequence[Figures], robot: Sequence[RobotEpisode], env_id: str, driven: Figures | None = None
) -> dict[str, Any]:
    """What is told of a robot over all policies.

    Args:
        rows: of the policies, each with `true`, `imagined` and what `robot_row` gave.
        robot: all of its episodes.
        env_id: the robot's.
        driven: how policies drove it: `execution` ("asynchronous" or "synchronous") and what else is to be recorded.

    Returns:
        What `driven` has, `env_id`, `episodes` of each policy, `matched` (whether episodes are paired), `judged_by`,
        `stopped` (how many episodes were cut short, by what), `agreement` of `imagined` and of `true` with the robot,
        and `doubts`.
    """
    facts, stopped = robot[-1].facts, Counter(one.stopped for one in robot if one.stopped)
    found: dict[str, Any] = {
        **(driven or {}),
        "env_id": env_id,
        "episodes": len(robot) // len(rows),
        "matched": facts.as_replica,
        "judged_by": facts.judged_by,
        "stopped": dict(stopped),
        "agreement": {side: ranked([{"imagined": row[side], "true": row["robot"]} for row in rows]) for side in OTHERS},
    }
    return {**found, "doubts": robot_doubts(len(rows), found)}


def robot_doubts(policies: int, found: Figures) -> list[str]:
    """Why no conclusion should be drawn from a robot's column; empty if there is no reason of size.

    Args:
        policies: how many were compared.
        found: `robot_figures` of them, without `doubts`.
    """
    reasons, episodes, stopped = [], found["episodes"], found["stopped"]
    if episodes < FEWEST_EPISODES:
        wide = round(100 / np.sqrt(episodes))
        reasons.append(
            f"a success rate of {episodes} episode{'s' * (episodes != 1)} on the robot is uncertain by up to {wide} "
            f"points either way; {FEWEST_EPISODES} or more were wanted"
        )
    if not found["judged_by"]:
        reasons.append(
            "nobody judges on the robot, so its column is 0 whatever happened: give its env a judge or an operator"
        )
    if stopped:
        why = ", ".join(f"{reason} {count}" for reason, count in sorted(stopped.items()))
        share = f"{sum(stopped.values())} of the robot's {policies * episodes} episodes"
        reasons.append(f"{share} were cut short ({why}); they count as they ended")
    for side, name in OTHERS.items():
        low, high = found["agreement"][side]["success"]["pearson"]["ci95"]
        if policies >= FEWEST_POLICIES and not np.isnan(low) and high - low > WIDEST_INTERVAL:
            reasons.append(
                f"the correlation of success in {name} with that on the robot may be anything from {low:.2f} to "
                f"{high:.2f}"
            )
    return reasons
