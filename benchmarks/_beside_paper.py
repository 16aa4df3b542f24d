"""Which of the paper's findings our tables show as well: differences of two cells, and the likely reason if not.

A finding agrees if our difference, on the same seeds, has the paper's sign and its interval leaves out zero; it differs
if the interval lies on the other side; else it is open. The paper's are of 20 episodes: a half has 11 points of
standard error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from _markdown import Json, interval_of, table
from _module_tables import NOT_RECORDED
from main_table import PAPER as PAPER_MAIN

from rise_gym.metrics import mean_interval

MAIN_PAIRS = (
    ("rise", "recap"),
    ("rise", "base"),
    ("recap", "base"),
    ("dagger", "base"),
    ("ppo", "base"),
    ("dsrl", "base"),
)
"""Of the main table, whichever is the better one in the paper."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One table's cell is better than another: by so many points of success in the paper."""

    table: str
    better: str
    worse: str
    paper_points: int
    reason: str = ""


_PROPOSER = "what is learnt here is the proposal moved up the dream's gradient, not the proposal labelled by it"
_FROZEN = (
    "the policy that proposes stays the base here, on recorded states, so that little is forgotten; in 300 steps more "
    "imagined rows are more of what improves"
)
_EQUAL_STEPS = (
    "every world model has 3000 steps of dynamics here: those on other tasks and on play are missing on this one, "
    "where the paper's pre-training comes on top"
)
_SMALL_WORLDS = (
    "the full world model has 3000 steps of dynamics, a tenth of the bundled one's, and RISE gains nothing in it: what "
    "one part brings can't show"
)
FINDINGS = (
    Finding(table="offline_ratio", better="ratio 0.6", worse="ratio 0.1", paper_points=45, reason=_FROZEN),
    Finding(table="offline_ratio", better="ratio 0.6", worse="ratio 0.3", paper_points=25, reason=_FROZEN),
    Finding(table="offline_ratio", better="ratio 0.6", worse="ratio 0.9", paper_points=20),
    Finding(table="online", better="actions", worse="nothing imagined", paper_points=5),
    Finding(table="online", better="actions and states", worse="actions", paper_points=30),
    Finding(table="modules", better="full", worse="without pre-training", paper_points=55, reason=_EQUAL_STEPS),
    Finding(
        table="modules", better="full", worse="without task-centric batching", paper_points=30, reason=_SMALL_WORLDS
    ),
    Finding(table="modules", better="full", worse="without progress loss", paper_points=20, reason=_SMALL_WORLDS),
    Finding(
        table="modules", better="full", worse="without temporal differences", paper_points=35, reason=_SMALL_WORLDS
    ),
    Finding(table="steering", better="bin 10", worse="bin 5", paper_points=25),
    Finding(
        table="steering",
        better="bin 5",
        worse="bin 1",
        paper_points=20,
        reason=f"{_PROPOSER}, so nearly all that is imagined is labelled good and the lowest bins hardly occur",
    ),
)
"""Of the paper's Tables II to IV (brick sorting) and Figure 7."""

_SMALL_STEPS = "its noise is small and its updates are clipped: in 80 episodes it neither gains nor spoils anything"
_LITTLE_OF_DEVIATIONS = (
    "its world model knows by heart what deviations were worth in the episodes that it learnt from, of others only a "
    "little, which neither more training nor twice the recordings change, while recorded rollouts, half of what RECAP "
    "learns from, are true"
)
_COARSE_PICTURES = (
    "what decides is where a hand closes, to within 6 mm where a pixel is 7 mm: along the slope of its first dreams it "
    "moves by 0.11 to 0.18 of what it misses the brick by"
)
_SAME_EXPERT = "the expert that takes over is the one that demonstrated, and sees the physics state: it never errs"
REASONS: dict[tuple[str, str, str], str] = {
    ("box_close", "base", "ppo"): _SMALL_STEPS,
    ("backpack_pack", "ppo", "base"): _SMALL_STEPS,
    ("backpack_pack", "rise", "recap"): _LITTLE_OF_DEVIATIONS,
    ("backpack_pack", "rise", "base"): _LITTLE_OF_DEVIATIONS,
    ("brick_sort", "rise", "recap"): _COARSE_PICTURES,
    ("brick_sort", "rise", "base"): _COARSE_PICTURES,
    ("brick_sort", "base", "dagger"): _SAME_EXPERT,
    ("brick_sort", "base", "ppo"): _SMALL_STEPS,
}
"""Why a difference of the main table is likely not the paper's, by task, the better method there and the worse."""


def beside_paper(main_cells: Sequence[Json], ablation_cells: Sequence[Json]) -> list[str]:
    """A section of the page: every finding, ours and the paper's, and whether they agree."""
    rows = [*_of_main_table(main_cells), *_of_ablations(ablation_cells)]
    columns = (
        "task",
        "table",
        "better by the paper",
        "than",
        "paper, points",
        "here, points",
        "95 %",
        "",
        "likely reason",
    )
    return [
        "## Beside the paper",
        "Differences of success on the same seeds. *Agrees*: the paper's sign, with an interval that leaves out zero; "
        "*differs*: the other sign, likewise; *open*: these episodes do not tell. The paper's ablations are of brick "
        "sorting, n = 20 there; the robot is simulated here, policy and world model are far smaller.",
        table(columns, rows),
    ]  # fmt: skip


def _of_main_table(cells: Sequence[Json]) -> Iterator[tuple[object, ...]]:
    for task, paper in PAPER_MAIN.items():
        mine = {cell["row"]: cell for cell in cells if cell["task"] == task and cell["training_seed"] == 0}
        for first, second in MAIN_PAIRS:
            points = paper[first][0] - paper[second][0]
            better, worse = (first, second) if points >= 0 else (second, first)
            reason = REASONS.get((task, better, worse), "")
            yield (task, "main", better, worse, abs(points), *_judged(mine.get(better), mine.get(worse), reason))


def _of_ablations(cells: Sequence[Json]) -> Iterator[tuple[object, ...]]:
    recorded = {(cell["table"], cell["task"], cell["variant"]): cell for cell in cells}
    for finding in FINDINGS:
        tasks = sorted({task for table_name, task, _ in recorded if table_name == finding.table}) or ["-"]
        for task in tasks:
            better, worse = (recorded.get((finding.table, task, name)) for name in (finding.better, finding.worse))
            row = (task, finding.table.replace("_", " "), finding.better, finding.worse, finding.paper_points)
            yield (*row, *_judged(better, worse, finding.reason))


def _judged(better: Json | None, worse: Json | None, reason: str) -> tuple[object, ...]:
    """Our points, their interval, the verdict, and why, unless they agree."""
    if better is None or worse is None:
        return NOT_RECORDED, None, None, None
    points, (low, high) = points_between(better, worse)
    verdict = "agrees" if low > 0 else "differs" if high < 0 else "open"
    shown = f"{points:+.1f}", interval_of((low, high), 1, 1)
    return *shown, verdict, None if verdict == "agrees" else reason or None


def points_between(one: Json, other: Json) -> tuple[float, tuple[float, float]]:
    """By how many points of success one cell is above another on the same seeds, and the 95 % interval."""
    count = min(len(one["successes"]), len(other["successes"]))
    above = 100 * (np.array(one["successes"][:count], float) - np.array(other["successes"][:count], float))
    return float(above.mean()), mean_interval(above)
