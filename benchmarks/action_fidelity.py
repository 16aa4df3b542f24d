"""The gate on action fidelity, in figures: what one arm is told shows where that arm is, and nowhere else.

    python benchmarks/action_fidelity.py [--quick] [--task brick_sort]

`rise_gym.fidelity` says in words what is commanded and what the limits are; `tests/test_action_fidelity.py` holds every
bundled world model against them. Tasks in the record that are not measured now stay in it.
"""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import _common as common
import gymnasium
import torch
import tyro

from rise_gym.commands._shared import env_id_of
from rise_gym.fidelity import CommandedDreams, fidelity_figures, replica_frames


def main(
    *,
    quick: bool = False,
    output: Path | None = None,
    task: str = common.TASK,
    world_model: str | None = None,
    starts: int = 8,
    replica: bool = True,
) -> None:
    """Measure and record.

    Args:
        quick: a miniature to see that it works; its figures mean little.
        output: where to write the JSON.
        task: snake-case name.
        world_model: a folder or bundled name; default: the one that is bundled for the task.
        starts: beginnings of episodes that it is measured from.
        replica: whether what is drawn is held against the replica, too.
    """
    target = output or common.RESULTS / f"action_fidelity{'_quick' if quick else ''}.json"
    given: dict[str, Any] = {} if world_model is None else {"world_model": world_model}
    env: Any = gymnasium.make(env_id_of("Imagined", task), disable_env_checker=True, **given).unwrapped
    begun = env.starts.rows(env.starts.initial[: 2 if quick else starts])
    dreams = CommandedDreams(model=env.world_model, starts=begun)
    with common.recorded("action_fidelity", output, quick) as figures:
        if replica:
            with closing(gymnasium.make(env_id_of("Mujoco", task), disable_env_checker=True)) as physics:
                found = fidelity_figures(dreams, replica_frames(physics, begun))
        else:
            found = fidelity_figures(dreams)
        figures["tasks"] = _recorded_tasks(target) | {task: found}
        show(found)


def _recorded_tasks(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())["tasks"]) if path.is_file() else {}


def show(found: dict[str, Any]) -> None:
    rows = []
    for name, one in found["commands"].items():
        failed = [check for check, passed in one["passed"].items() if not passed]
        likeness = f"{one['true_correlation']:.2f}" if "true_correlation" in one else "-"
        told = "passed" if not failed else f"failed: {', '.join(failed)}"
        rows.append((name, one["own_grey"], one["others_grey"], likeness, told))
    columns = ("command", "own wrist, grey", "other wrist, grey", "like the truth", "gate")
    common.show(f"From {found['starts']} starts", columns, rows)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    tyro.cli(main, description=__doc__)
