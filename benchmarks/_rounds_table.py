"""Two rounds of improvement against one; what has not been measured says so."""

from __future__ import annotations

import json
from pathlib import Path

import _common as common
from _markdown import Json, interval_of, origin, percent, table
from _module_tables import NOT_RECORDED
from rounds import NOTES

from rise_gym.tasks import TASKS


def rounds(folder: Path) -> list[str]:
    """Success of each and the differences on the same seeds, of the first task and of those that are recorded."""
    others = [folder / f"rounds_{task}.json" for task in sorted(TASKS)]
    return [*_of_one(folder / "rounds.json"), *[part for path in others if path.exists() for part in _of_one(path)]]


def _of_one(path: Path) -> list[str]:
    recorded: Json = json.loads(path.read_text()) if path.exists() else {"policies": {}, "paired": {}}
    policies = [(name, note, *_policy(recorded["policies"].get(name))) for name, note in NOTES.items()]
    pairs = [
        (name, f"{row['success_points']:+.1f}", interval_of(row["success_points_ci95"], digits=1),
         row["only_first_succeeds"], row["only_second_succeeds"])
        for name, row in recorded["paired"].items()
    ]  # fmt: skip
    columns = ("policy", "what it is", "success", "95 %", "score", "episodes", "replica episodes", "gradient steps")
    parts = [
        f"## Rounds{common.title_of_task(recorded)} (replica, from seed 100000)",
        "Policy and world model in turn (`rise-gym improve --rounds 2`) against one round, with as many new episodes "
        "and gradient steps. Replica episodes and gradient steps are beyond the base's. `python benchmarks/rounds.py`.",
        table(columns, policies),
    ]
    if pairs:
        names = ("difference", "points of success", "95 %", "only the first succeeds", "only the second")
        parts.append(table(names, pairs))
    return [*parts, origin(path.stem, recorded)] if "command" in recorded else parts


def _policy(row: Json | None) -> tuple[object, ...]:
    """Success, its interval, score, episodes, and what its making took."""
    if row is None:
        return NOT_RECORDED, *[None] * 5
    success = percent(row["success_rate"]), interval_of(row["success_ci95"], 100, 0)
    return *success, row["score_mean"], row["episodes"], row["replica_episodes"], row["gradient_steps"]
