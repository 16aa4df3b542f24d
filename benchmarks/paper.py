"""Every table of the paper, one after the other, and the page that shows them beside it.

    python benchmarks/paper.py            # days on two cores; what is recorded is skipped, what is made is taken
    python benchmarks/paper.py --quick    # a miniature of all of it, to see that it works

Cells are recorded one by one: it can be interrupted, and goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import _common as common
import ablations
import dynamics_table
import main_table
import summary
import tyro

from rise_gym.tasks import TASKS


def main(
    *,
    quick: bool = False,
    output: Path | None = None,
    tasks: tuple[str, ...] = tuple(TASKS),
    training_seeds: int = 3,
    workspace: Path = Path("runs/tables"),
    processes: int = 2,
) -> None:
    """Make, measure, record and show.

    Args:
        quick: a miniature of every cell; its figures mean little.
        output: folder of the results; default: `benchmarks/results`, of a miniature `quick_results` in the workspace.
        tasks: of the main table; the others are of the first of them.
        training_seeds: of base, RECAP and RISE.
        workspace: where recordings, policies and world models are kept.
        processes: how many replicas run side by side.
    """
    results = output or (workspace / "quick_results" if quick else common.RESULTS)
    results.mkdir(parents=True, exist_ok=True)
    shared: dict[str, Any] = {"quick": quick, "workspace": workspace}
    main_table.main(
        output=results / "main_table", tasks=tasks, training_seeds=1 if quick else training_seeds, processes=processes,
        **shared,
    )  # fmt: skip
    ablations.main(output=results / "ablations", task=tasks[0], processes=processes, **shared)
    dynamics_table.main(output=results / "dynamics_table.json", task=tasks[0], **shared)
    summary.main(results=results)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
