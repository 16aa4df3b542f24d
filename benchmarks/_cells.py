"""Cells of the tables: a policy, played; kept in a JSON file each, so that a table goes on where it was."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _workshop import Made
from rich.progress import track

from rise_gym.collection import FIRST_EVALUATION_SEED
from rise_gym.commands._shared import env_id_of
from rise_gym.commands.evaluate import agent_factory
from rise_gym.evaluation import play, summarise, write_report_json
from rise_gym.tasks import task_card

Cell = dict[str, Any]


def keep_cell(path: Path, make: Callable[[], Made], labels: Cell, **how: Any) -> None:
    """Make the policy and play it, unless the cell is there; `how` as for `played`."""
    if path.is_file():
        return
    began = time.monotonic()
    made = make()
    seconds = time.monotonic() - began
    write_report_json(path, {**labels, **played(made, title=path.stem, **how), "making_seconds": round(seconds, 1)})


def played(made: Made, *, task: str, episodes: int, processes: int, title: str, advantage: float = 1.0) -> Cell:
    """Success and score over the evaluation's seeds, and each episode's.

    Args:
        made: the policy, and what it took.
        task: its name.
        episodes: how many, seeds 100 000 and up. processes: how many replicas run side by side.
        title: of the progress bar. advantage: what the policy is asked for.
    """
    card, env_id, began = task_card(task), env_id_of("Mujoco", task), time.monotonic()
    seeds = range(FIRST_EVALUATION_SEED, FIRST_EVALUATION_SEED + episodes)
    results = list(
        track(
            play(
                env_id, agent_factory(made.policy, card), seeds, processes=processes, advantage=advantage,
                chunk=1 if made.policy == "scripted" else None,
            ),
            title,
            total=episodes,
        )
    )  # fmt: skip
    summary = summarise(results, env_id=env_id, policy=made.policy, seconds=time.monotonic() - began)
    return {
        **summary,
        **asdict(made),
        "successes": [int(result.is_success) for result in results],
        "scores": [result.score for result in results],
    }


def recorded_cells(folder: Path) -> list[Cell]:
    """All that are there, by the names of their files."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
