"""Two tables of what RISE is made of, beside the paper's; what has not been measured says so."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from _markdown import Json, interval_of, origin, percent, table
from ablations import PAPER_MODULES
from dynamics_table import LAST_FRAME, MODELS, PAPER, row_of

NOT_RECORDED = "not recorded yet"


def modules(cells: list[Json]) -> list[str]:
    """The paper's Table IV, row by row; what has not been measured says so."""
    recorded = {(cell["task"], cell["variant"]): cell for cell in cells if cell["table"] == "modules"}
    rows = [
        (task, name, *_module(recorded.get((task, name))), f"{complete} %", f"{score:.2f}")
        for task in sorted({task for task, _ in recorded}) or ["-"]
        for name, (complete, score) in PAPER_MODULES.items()
    ]
    columns = ("task", "RISE", "success", "95 %", "score", "episodes", "commit", "paper: complete", "paper: score")
    return [
        "## Modules (the paper's Table IV)",
        "RISE in world models that are made from scratch, with the same codec, steps and episodes each. The paper's "
        "figures are of brick sorting on its robot. `python benchmarks/ablations.py --tables modules`.",
        table(columns, rows),
    ]


def _module(cell: Json | None) -> tuple[object, ...]:
    """Success, its interval, score, episodes and commit of a cell."""
    if cell is None:
        return NOT_RECORDED, None, None, None, None
    success = percent(cell["success_rate"]), interval_of(cell["success_ci95"], 100, 0)
    return *success, cell["score_mean"], cell["episodes"], str(cell.get("commit"))[:12]


def dynamics_table(path: Path) -> list[str]:
    """The paper's Tables V and VI, row by row; what has not been measured says so."""
    recorded: Json = json.loads(path.read_text()) if path.exists() else {"rows": {}}
    rows: list[Sequence[object]] = []
    for outcome in ("success", "failure"):
        found = recorded["rows"].get(outcome, {})
        for name in (*MODELS, LAST_FRAME):
            ours = row_of(found[name]) if name in found else (NOT_RECORDED, None, None, None, None)
            theirs, keys = PAPER.get(name), ("psnr_db", "ssim", "flow_error_px", "fvd", "lpips")
            paper = [theirs and f"{theirs[key]:.2f}" for key in keys]
            rows.append((outcome, name, *ours, *paper))
    columns = ("episodes", "dynamics", "PSNR, dB", "SSIM", "flow error, px", "Fréchet distance of features", "LPIPS",
               "paper: PSNR", "SSIM", "flow error, px", "FVD", "LPIPS")  # fmt: skip
    parts = [
        "## Dynamics without one thing (the paper's Tables V and VI)",
        "Two chunks ahead on held-out episodes, in the world models of the table above. The Fréchet distance is of the "
        "codec's features of whole clips: it is not the paper's FVD, and the two are not to be compared. LPIPS, like "
        "FVD, needs weights that are nowhere to be had without the network. The paper's episodes are not told apart.",
        table(columns, rows),
    ]
    return [*parts, origin("dynamics_table", recorded)] if "command" in recorded else parts
