"""The figure that counts: success and score in the replica, of every policy on the same seeds, with intervals.

    python benchmarks/improvement.py [--quick] [--control FOLDER]

200 episodes from seed 100 000 on: the scripted expert, the base policy, the base policy trained on for as long as RISE
trains (control), the policy after advantage-labelled offline training only (the paper's RECAP), and RISE. What was
played with the same weights in the same replica before is read from `--keep`, so that an interrupted run goes on.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import _common as common
import numpy as np
import tyro
from rich.progress import track

import rise_gym
from rise_gym._verification import MANIFEST_NAME
from rise_gym.collection import FIRST_EVALUATION_SEED, Factory
from rise_gym.commands._shared import env_id_of
from rise_gym.errors import InvalidCheckpoint
from rise_gym.evaluation import EpisodeResult, play, summarise, write_report_json
from rise_gym.locations import resolve
from rise_gym.metrics import mean_interval

NOTES = {
    "expert": "scripted, sees the physics state",
    "base": "cloned from demonstrations",
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
    keep: Path = Path("runs/played"),
) -> None:
    """Measure and record.

    Args:
        quick: a miniature to see that it works; its figures mean little.
        output: where to write the JSON.
        base, control, recap, rise: a folder or bundled name each; one that is not there is left out and named.
        expert: whether to measure the scripted expert.
        episodes: how many for each.
        processes: how many run side by side.
        keep: folder of the episodes played.
    """
    count = min(episodes, 4) if quick else episodes
    seeds = range(FIRST_EVALUATION_SEED, FIRST_EVALUATION_SEED + count)
    found, missing = existing({"base": base, "control": control, "recap": recap, "rise": rise})
    with common.recorded("improvement", output, quick) as figures:
        figures |= {"seeds": [seeds[0], seeds[-1]], "not_there": missing, "policies": {}, "paired": {}}
        played: dict[str, list[EpisodeResult]] = {}
        for name in (["expert"] if expert else []) + list(found):
            played[name], seconds = kept_or_played(name, found.get(name), seeds, processes, keep)
            summary = summarise(
                played[name],
                env_id=common.REPLICA.removeprefix("rise_gym:"),
                policy=found.get(name, "scripted"),
                seconds=seconds,
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


def kept_or_played(
    name: str, policy: str | None, seeds: Sequence[int], processes: int, keep: Path, *, task: str = common.TASK
) -> tuple[list[EpisodeResult], float]:
    """Results one a seed, and the seconds that playing them took, now or when they were kept."""
    path = keep / f"{name}{common.of_task(task)}_{fingerprint(policy)}_{seeds[0]}_{len(seeds)}.json"
    if not path.is_file():
        began = time.monotonic()
        results = played_episodes(name, policy, seeds, processes, task=task)
        write_report_json(path, {"seconds": time.monotonic() - began, "episodes": [asdict(one) for one in results]})
    kept = json.loads(path.read_text())
    return [EpisodeResult(**row) for row in kept["episodes"]], kept["seconds"]


def fingerprint(policy: str | None) -> str:
    """Changes with the policy's files and with the code of the replica and the expert."""
    code = Path(rise_gym.__file__).parents[1]
    rooms = (code / "envs" / "mujoco", code / "agents" / "experts")
    files = [*(file for room in rooms for file in sorted(room.glob("*.py"))), code / "agents" / "scripted.py"]
    if policy is not None:
        files.append(resolve(policy) / MANIFEST_NAME)  # it holds the digests of all others
    return hashlib.blake2b(b"".join(file.read_bytes() for file in files), digest_size=8).hexdigest()


def played_episodes(
    name: str, policy: str | None, seeds: Sequence[int], processes: int, *, task: str = common.TASK
) -> list[EpisodeResult]:
    """One episode a seed; the expert sees the env and acts tick by tick."""
    if policy is None:
        agent, chunk = common.expert_actor(0.0, task=task), 1
    else:
        load = {"name": policy, "task": task}
        agent, chunk = Factory(target="rise_gym.agents.flow_policy:load_policy", arguments=load), None
    results = play(env_id_of("Mujoco", task), agent, seeds, processes=processes, chunk=chunk)
    return list(track(results, f"playing {name}", total=len(seeds)))


def paired(better: Sequence[EpisodeResult], worse: Sequence[EpisodeResult]) -> dict[str, Any]:
    """The difference on the same seeds, in points of success and in score, with bootstrap intervals."""
    success = np.array([float(a.is_success) - float(b.is_success) for a, b in zip(better, worse, strict=True)])
    score = np.array([a.score - b.score for a, b in zip(better, worse, strict=True)])
    return {
        "success_points": 100 * float(success.mean()),
        "success_points_ci95": [100 * end for end in mean_interval(success)],
        "score": float(score.mean()),
        "score_ci95": list(mean_interval(score)),
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
