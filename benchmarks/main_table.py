"""The paper's main table: every method on every task, success and score in the replica, with intervals.

    python benchmarks/main_table.py [--quick] [--tasks box_close] [--rows base rise]

200 episodes from seed 100 000 on for every cell, a cell being a method, a task and a training seed. Cells that are
recorded are skipped, policies that are made are taken from `--workspace`: the command can be interrupted, and goes on.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import _common as common
import tyro
from _cells import Cell, keep_cell, recorded_cells
from _workshop import Budget, Workshop

from rise_gym.collection import FIRST_EVALUATION_SEED
from rise_gym.tasks import task_card

ROWS = ("expert", "base", "control", "dagger", "ppo", "dsrl", "recap", "rise", "rise_after_recap")
PAPER = {
    "brick_sort": {"base": (35, 8.28), "dagger": (15, 6.10), "ppo": (10, 7.68), "dsrl": (10, 6.65), "recap": (50, 9.00),
                   "rise": (85, 9.78)},
    "backpack_pack": {"base": (30, 4.25), "dagger": (50, 7.00), "ppo": (35, 5.88), "dsrl": (10, 3.50),
                      "recap": (40, 6.13), "rise": (85, 9.50)},
    "box_close": {"base": (35, 7.50), "dagger": (40, 7.50), "ppo": (10, 4.75), "dsrl": (10, 7.63), "recap": (60, 8.13),
                  "rise": (95, 9.88)},
}  # fmt: skip
"""Its Table I: success in per cent and score."""
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
    count = 1 if quick else episodes
    folder = output or common.RESULTS / f"main_table{'_quick' if quick else ''}"
    workspace = workspace / "quick" if quick else workspace
    for task in tasks:
        for seed in range(training_seeds):
            workshop = Workshop(task, seed, budget, workspace, use_bundled=not quick)
            for row in rows:
                if seed > 0 and row not in SEVERAL_SEEDS:
                    continue
                labels = {"task": task, "row": row, "training_seed": seed, "note": note(row), "budget": asdict(budget)}
                path = folder / f"{task}_{row}_{seed}.json"
                keep_cell(path, getattr(workshop, row), labels, task=task, episodes=count, processes=processes)
    show(folder, tasks)


def note(row: str) -> str:
    """What a method is, in a few words."""
    return str(getattr(Workshop, row).__doc__).strip().rstrip(".")


def ordered(cells: list[Cell]) -> list[Cell]:
    """In the order of the tasks' names, the rows, and the training seeds."""
    return sorted(cells, key=lambda cell: (cell["task"], ROWS.index(cell["row"]), cell["training_seed"]))


def show(folder: Path, tasks: tuple[str, ...]) -> None:
    for task in tasks:
        cells = [cell for cell in ordered(recorded_cells(folder)) if cell["task"] == task]
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
