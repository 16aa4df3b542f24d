"""Whether the base is at its plateau: success in the replica after more and more steps of cloning.

    python benchmarks/plateau.py --checkpoints 2000 FOLDER 5000 FOLDER ...

Each checkpoint is a policy and the steps that it has taken, all on the same demonstrations. The seeds are neither those
of training nor those that `improvement.py` compares policies on, and nothing was chosen by what this shows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import _common as common
import tyro
from improvement import kept_or_played

from rise_gym.collection import FIRST_EVALUATION_SEED
from rise_gym.evaluation import summarise

FIRST_SEED = FIRST_EVALUATION_SEED + 40_000


def main(
    *,
    checkpoints: dict[int, str],
    quick: bool = False,
    output: Path | None = None,
    episodes: int = 100,
    processes: int = 2,
    keep: Path = Path("runs/played"),
    earlier: Path | None = None,
) -> None:
    """Measure and record.

    Args:
        checkpoints: steps of cloning, and the folder or bundled name of the policy after them.
        quick: a miniature to see that it works; its figures mean little.
        output: where to write the JSON.
        episodes: how many for each.
        processes: how many run side by side.
        keep: folder of the episodes played.
        earlier: a former record on the same seeds, whose rows are kept for steps that no checkpoint is given for.
    """
    count = min(episodes, 4) if quick else episodes
    seeds = range(FIRST_SEED, FIRST_SEED + count)
    with common.recorded("plateau", output, quick) as figures:
        figures |= {"seeds": [seeds[0], seeds[-1]], "checkpoints": []}
        for steps, policy in sorted(checkpoints.items()):
            results, seconds = kept_or_played(f"steps_{steps}", policy, seeds, processes, keep)
            summary = summarise(
                results, env_id=common.REPLICA.removeprefix("rise_gym:"), policy=policy, seconds=seconds
            )
            figures["checkpoints"].append({"steps": steps, **summary})
        figures["checkpoints"] = sorted(figures["checkpoints"] + _kept(earlier, figures), key=lambda row: row["steps"])
        common.show(
            f"Cloned for so many steps; replica, seeds {seeds[0]} to {seeds[-1]}",
            ("steps", "success", "95 %", "score"),
            [
                (row["steps"], f"{row['success_rate']:.1%}", common.interval_text(row["success_ci95"], percent=True),
                 row["score_mean"])
                for row in figures["checkpoints"]
            ],
        )  # fmt: skip


def _kept(earlier: Path | None, figures: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of a former record for other steps; each says which commit measured it."""
    if earlier is None:
        return []
    record = json.loads(earlier.read_text())
    if record["seeds"] != figures["seeds"]:
        raise ValueError(
            f"{earlier} has seeds {record['seeds']}, {figures['seeds']} were wanted: rows are not comparable"
        )
    measured = {row["steps"] for row in figures["checkpoints"]}
    rows = [row for row in record["checkpoints"] if row["steps"] not in measured]
    return [{"commit": record["commit"], **row} for row in rows]


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
