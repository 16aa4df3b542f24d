"""The paper's smaller tables on one task: what of RISE matters, each cell 100 replica episodes from seed 100 000 on.

    python benchmarks/ablations.py [--quick] [--tables steering offline_ratio] [--variants "bin 10"]

- `offline_ratio`: recorded rows in a batch, 0.1 to 0.9.
- `online`: nothing imagined (RECAP), imagined actions at recorded states, imagined states as well.
- `horizon`: 1, 2, 3 or 5 chunks imagined on from a recorded state, which the paper does not have.
- `steering`: the improved policy asked for the best, the middle, and the worst advantage.
- `longer`: RECAP and DSRL with many more steps.
- `modules`: RISE in world models that are made from scratch, each without one thing (`_world_models.py`); some hours.

All cells of a table differ in nothing else; recorded ones are skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import _common as common
import tyro
from _cells import keep_cell, recorded_cells
from _workshop import Budget, Made, Workshop
from _world_models import VARIANTS, WorldModels

from rise_gym.tasks import task_card

LONGER = 5
"""Times the steps of the main table, in the table `longer`."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A row: its name, how its policy is made in a workshop, and how it is played."""

    name: str
    make: Callable[[Workshop], Made]
    how: dict[str, Any] = field(default_factory=dict)


def _improved(name: str, **how: Any) -> Variant:
    def make(workshop: Workshop) -> Made:
        return workshop.improved(name.replace(" ", "_"), workshop.budget.rise_steps, **how)

    return Variant(name=name, make=make)


def _longer(name: str) -> Variant:
    def make(workshop: Workshop) -> Made:
        steps: int = LONGER * getattr(workshop.budget, f"{name}_steps")
        made: Made = getattr(workshop, name)(name=f"{name}_longer", steps=steps)
        return made

    return Variant(name=name, make=make)


def _in_world(name: str) -> Variant:
    def make(workshop: Workshop) -> Made:
        world_model, steps = WorldModels(workshop).made(name), workshop.budget.rise_steps
        return workshop.improved(f"modules_{name.replace(' ', '_')}", steps, world_model=world_model)

    return Variant(name=name, make=make)


PAPER_MODULES = {
    "full": (70, 9.43),
    "without pre-training": (15, 7.43),
    "without task-centric batching": (40, 8.78),
    "without progress loss": (50, 8.78),
    "without temporal differences": (35, 8.38),
}
"""Its Table IV, brick sorting on its robot: complete in per cent, and score."""

TABLES: dict[str, tuple[Variant, ...]] = {
    "offline_ratio": tuple(_improved(f"ratio {ratio}", offline_ratio=ratio) for ratio in (0.1, 0.3, 0.6, 0.9)),
    "online": (
        Variant(name="nothing imagined", make=Workshop.recap),
        _improved("actions", max_imagined_chunks=1),
        _improved("actions and states", max_imagined_chunks=2),
    ),
    "horizon": tuple(_improved(f"chunks {count}", max_imagined_chunks=count) for count in (1, 2, 3, 5)),
    "steering": tuple(
        Variant(name=name, make=Workshop.rise, how={"advantage": advantage})
        for name, advantage in (("bin 10", 1.0), ("bin 5", -0.1), ("bin 1", -1.0))
    ),
    "longer": (_longer("recap"), _longer("dsrl")),
    "modules": tuple(_in_world(name) for name in VARIANTS),
}


def main(
    *,
    quick: bool = False,
    output: Path | None = None,
    tables: tuple[str, ...] = tuple(TABLES),
    variants: tuple[str, ...] = (),
    task: str = common.TASK,
    steps: int = 300,
    episodes: int = 100,
    workspace: Path = Path("runs/tables"),
    processes: int = 2,
) -> None:
    """Make, measure and record.

    Args:
        quick: a miniature to see that it works; its figures mean little.
        output: folder of the cells' JSON files.
        tables: which of them. variants: only these rows, so that several can be made side by side; all by default.
        task: on which task.
        steps: of improvement in each cell.
        episodes: of the replica for each cell.
        workspace: where recordings and policies are kept, the main table's among them.
        processes: how many replicas run side by side.
    """
    if unknown := set(tables) - set(TABLES):
        raise SystemExit(f"no table is called {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}")
    known = {variant.name for table in tables for variant in TABLES[table]}
    if unknown := set(variants) - known:
        raise SystemExit(f"no row is called {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    budget = Budget.miniature() if quick else replace(Budget(), rise_steps=steps)
    folder = output or common.RESULTS / f"ablations{'_quick' if quick else ''}"
    for table in tables:
        workshop = Workshop(task, 0, budget, workspace / ("quick" if quick else ""), use_bundled=not quick)
        rows = [variant for variant in TABLES[table] if not variants or variant.name in variants]
        for variant in rows:
            labels = {"table": table, "task": task, "variant": variant.name, "budget": asdict(workshop.budget)}
            path = folder / f"{task}_{table}_{variant.name.replace(' ', '_')}.json"
            keep_cell(
                path, partial(variant.make, workshop), labels, task=task, processes=processes,
                episodes=1 if quick else episodes, **variant.how,
            )  # fmt: skip
        if rows:
            show(folder, table)


def show(folder: Path, table: str) -> None:
    cells = [cell for cell in recorded_cells(folder) if cell["table"] == table]
    order = [variant.name for variant in TABLES[table]]
    common.show(
        f"{table.replace('_', ' ')}: {task_card(cells[0]['task']).title}",
        ("variant", "episodes", "success", "95 %", "score", "95 %"),
        [
            (
                cell["variant"],
                cell["episodes"],
                f"{cell['success_rate']:.1%}",
                common.interval_text(cell["success_ci95"], percent=True),
                cell["score_mean"],
                common.interval_text(cell["score_ci95"]),
            )
            for cell in sorted(cells, key=lambda cell: order.index(cell["variant"]))
        ],
    )


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
