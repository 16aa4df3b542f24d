"""The paper's main table: every method on every task, success and score in the replica, with intervals.

    python benchmarks/main_table.py [--quick] [--tasks box_close] [--rows base rise]

200 episodes from seed 100 000 on for every cell, a cell being a method, a task and a training seed. Cells that are
recorded are skipped, policies that are made are taken from `--workspace`: the command can be interrupted, and goes on.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import _common as common
import tyro
from _workshop import Budget, Workshop
from rich.progress import track

from rise_gym.collection import FIRST_EVALUATION_SEED
from rise_gym.commands._shared import env_id_of
from rise_gym.commands.evaluate import agent_factory
from rise_gym.evaluation import play, summarise, write_report_json
from rise_gym.tasks import task_card

ROWS = ("expert", "base", "control", "dagger", "ppo", "dsrl", "recap", "rise")
SEVERAL_SEEDS = ("base", "recap", "rise")
"""Rows of which every training seed is measured, the others once."""


def main(
    *,
    quick: bool = False,
    output: Path | None = None,
    tasks: tuple[str, ...] = ("box_close",),
    rows: tuple[str, ...] = ROWS,
    training_seeds: int = 1,
    episodes: int = 200,
    workspace: Path = Path("runs/tables"),
    processes: int = 2,
) -> None:
    """Make, measure and record.

    Args:
        quick: a miniature to see that it works; its figures mean little.
        output: folder of the cells' JSON files.
        tasks, rows: which cells.
        training_seeds: of base, RECAP and RISE; seed 0 takes what is bundled.
        episodes: of the replica for each cell.
        workspace: where recordings and policies are kept.
        processes: how many replicas run side by side.
    """
    if unknown := set(rows) - set(ROWS):
        raise SystemExit(f"no method is called {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    budget = Budget.miniature() if quick else Budget()
    folder = output or common.RESULTS / f"main_table{'_quick' if quick else ''}"
    workspace = workspace / "quick" if quick else workspace
    for task in tasks:
        for seed in range(training_seeds):
            workshop = Workshop(task, seed, budget, workspace, use_bundled=not quick)
            for row in rows:
                path = folder / f"{task}_{row}_{seed}.json"
                if not path.is_file() and (seed == 0 or row in SEVERAL_SEEDS):
                    cell = measured(workshop, row, min(episodes, 2) if quick else episodes, processes)
                    write_report_json(path, cell)
    show(folder, tasks)


def measured(workshop: Workshop, row: str, episodes: int, processes: int) -> dict[str, Any]:
    """One cell: the policy is made if it is not there, and played."""
    began = time.monotonic()
    made = getattr(workshop, row)()
    seconds, task = time.monotonic() - began, task_card(workshop.task)
    seeds = range(FIRST_EVALUATION_SEED, FIRST_EVALUATION_SEED + episodes)
    played = play(
        env_id_of("Mujoco", task.name), agent_factory(made.policy, task), seeds, processes=processes,
        chunk=1 if made.policy == "scripted" else None,
    )  # fmt: skip
    results = list(track(played, f"{task.title}: {row}, training seed {workshop.seed}", total=episodes))
    summary = summarise(
        results, env_id=env_id_of("Mujoco", task.name), policy=made.policy, seconds=time.monotonic() - began
    )
    return {
        "task": task.name,
        "row": row,
        "training_seed": workshop.seed,
        "note": getattr(Workshop, row).__doc__.rstrip("."),
        **summary,
        **asdict(made),
        "making_seconds": round(seconds, 1),
        "budget": asdict(workshop.budget),
        "successes": [int(result.is_success) for result in results],
        "scores": [result.score for result in results],
    }


def recorded_cells(folder: Path) -> list[dict[str, Any]]:
    """All that are there, in the order of the rows."""
    cells = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return sorted(cells, key=lambda cell: (cell["task"], ROWS.index(cell["row"]), cell["training_seed"]))


def show(folder: Path, tasks: tuple[str, ...]) -> None:
    for task in tasks:
        cells = [cell for cell in recorded_cells(folder) if cell["task"] == task]
        common.show(
            f"{task_card(task).title}: replica, seeds from {FIRST_EVALUATION_SEED}",
            ("method", "training seed", "episodes", "success", "95 %", "score", "95 %", "replica episodes", "steps"),
            [
                (
                    cell["row"],
                    cell["training_seed"],
                    cell["episodes"],
                    f"{cell['success_rate']:.1%}",
                    common.interval_text(cell["success_ci95"], percent=True),
                    cell["score_mean"],
                    common.interval_text(cell["score_ci95"]),
                    cell["replica_episodes"],
                    "-" if cell["gradient_steps"] is None else cell["gradient_steps"],
                )
                for cell in cells
            ],
        )


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
