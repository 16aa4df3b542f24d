"""The figure that counts: success and score in the replica, of every policy on the same seeds, with intervals.

    python benchmarks/improvement.py [--quick] [--control FOLDER]

200 episodes from seed 100 000 on: the scripted expert, the base policy, the base policy trained on for as long as RISE
trains (control), the policy after advantage-labelled offline training only (the paper's RECAP), and RISE.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import _common as common
import numpy as np
import tyro
from rich.progress import track

from rise_gym.collection import FIRST_EVALUATION_SEED, Factory
from rise_gym.errors import InvalidCheckpoint
from rise_gym.evaluation import EpisodeResult, bootstrap_interval, play, summarise
from rise_gym.locations import resolve

NOTES = {
    "expert": "scripted, sees the physics state",
    "base": "cloned from demonstrations to its plateau",
    "control": "base trained on for as long as RISE trains",
    "recap": "advantage-labelled offline training",
    "rise": "improved in imagination",
}


def main(
    *,
    quick: bool = False,
    output: Path | None = None,
    base: str = common.BASE,
    control: str = f"bundled:{common.TASK}/control",
    recap: str = f"bundled:{common.TASK}/recap",
    rise: str = common.IMPROVED,
    expert: bool = True,
    episodes: int = 200,
    processes: int = 2,
) -> None:
    """Measure and record.

    Args:
        quick: a miniature to see that it works; its figures mean little.
        output: where to write the JSON.
        base, control, recap, rise: a folder or bundled name each; one that is not there is left out and named.
        expert: whether to measure the scripted expert.
        episodes: how many for each.
        processes: how many run side by side.
    """
    count = min(episodes, 4) if quick else episodes
    seeds = range(FIRST_EVALUATION_SEED, FIRST_EVALUATION_SEED + count)
    found, missing = existing({"base": base, "control": control, "recap": recap, "rise": rise})
    with common.recorded("improvement", output, quick) as figures:
        figures |= {"seeds": [seeds[0], seeds[-1]], "not_there": missing, "policies": {}, "paired": {}}
        played: dict[str, list[EpisodeResult]] = {}
        for name in (["expert"] if expert else []) + list(found):
            began = time.monotonic()
            played[name] = played_episodes(name, found.get(name), seeds, processes)
            summary = summarise(
                played[name],
                env_id=common.REPLICA.removeprefix("rise_gym:"),
                policy=found.get(name, "scripted"),
                seconds=time.monotonic() - began,
            )
            scores = [result.score for result in played[name]]
            figures["policies"][name] = {**summary, "note": NOTES[name], "scores": scores}
        figures["paired"] = {
            f"rise - {name}": paired(played["rise"], played[name])
            for name in ("base", "control", "recap")
            if {"rise", name} <= set(played)
        }
        show(figures)


def existing(policies: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Which of the policies are there, and the names of those that are not."""
    found, missing = {}, []
    for name, where in policies.items():
        try:
            resolve(where)
            found[name] = where
        except InvalidCheckpoint as error:
            missing.append(f"{name}: {error}")
    return found, missing


def played_episodes(name: str, policy: str | None, seeds: Sequence[int], processes: int) -> list[EpisodeResult]:
    """One episode a seed; the expert sees the env and acts tick by tick."""
    if policy is None:
        agent, chunk = common.expert_actor(0.0), 1
    else:
        load = {"name": policy, "task": common.TASK}
        agent, chunk = Factory(target="rise_gym.agents.flow_policy:load_policy", arguments=load), None
    results = play(common.REPLICA, agent, seeds, processes=processes, chunk=chunk)
    return list(track(results, f"playing {name}", total=len(seeds)))


def paired(better: Sequence[EpisodeResult], worse: Sequence[EpisodeResult]) -> dict[str, Any]:
    """The difference on the same seeds, in points of success and in score, with bootstrap intervals."""
    success = np.array([float(a.is_success) - float(b.is_success) for a, b in zip(better, worse, strict=True)])
    score = np.array([a.score - b.score for a, b in zip(better, worse, strict=True)])
    return {
        "success_points": 100 * float(success.mean()),
        "success_points_ci95": [100 * end for end in bootstrap_interval(success)],
        "score": float(score.mean()),
        "score_ci95": list(bootstrap_interval(score)),
        "only_first_succeeds": int((success > 0).sum()),
        "only_second_succeeds": int((success < 0).sum()),
    }


def show(figures: Mapping[str, Any]) -> None:
    common.show(
        f"Replica, seeds {figures['seeds'][0]} to {figures['seeds'][1]}",
        ("policy", "episodes", "success", "95 %", "score", "95 %", "return"),
        [
            (
                name,
                row["episodes"],
                f"{row['success_rate']:.1%}",
                common.interval_text(row["success_ci95"], percent=True),
                row["score_mean"],
                common.interval_text(row["score_ci95"]),
                row["return_mean"],
            )
            for name, row in figures["policies"].items()
        ],
    )
    common.show(
        "On the same seeds",
        ("difference", "points of success", "95 %", "only the first succeeds", "only the second"),
        [
            (
                name,
                row["success_points"],
                common.interval_text(row["success_points_ci95"]),
                row["only_first_succeeds"],
                row["only_second_succeeds"],
            )
            for name, row in figures["paired"].items()
        ],
    )
    for line in figures["not_there"]:
        print(f"left out: {line}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
