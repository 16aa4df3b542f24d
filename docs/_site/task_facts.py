"""Facts of a task, from its card, its config and the recorded results: read while the site is built, so never stale.

A page asks for them with a comment, `<!-- card: box_close -->` say; `stages`, `randomisation`, `bundled` and
`measured` are the others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from rise_gym.registration import BACKENDS, env_id
from rise_gym.tasks import TASKS

_ASKED = re.compile(r"<!-- (card|stages|randomisation|bundled|measured): (\w+) -->")
_UNITS = {"m": "m", "rad": "rad", "s": "s"}
_KIND = re.compile(r"(?P<what>\w+?)_(?P<how>shift|spread|yaw)(?:_(?P<unit>m|rad|s))?")


def with_facts(markdown: str, root: Path) -> str:
    """The page with its comments replaced by tables."""
    parts: dict[str, Callable[[str, Path], str]] = {
        "card": _card,
        "stages": _stages,
        "randomisation": _randomisation,
        "bundled": _bundled,
        "measured": _measured,
    }
    return _ASKED.sub(lambda match: parts[match[1]](match[2], root), markdown)


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _card(task: str, root: Path) -> str:
    card = TASKS[task]
    height, width = card.image_size
    rows = [
        ("ids", ", ".join(f"`{env_id(backend, task)}`" for backend in BACKENDS)),
        ("name", f"`{task}`"),
        ("instruction", f"“{card.instruction}”"),
        ("cameras", f"{', '.join(f'`{camera}`' for camera in card.cameras)}; {height} x {width} pixels"),
        ("control", f"{card.control_hz:g} Hz; a step is {card.chunk} ticks unless `chunk=` says otherwise"),
        ("horizon", f"{card.horizon_s:g} s, {card.horizon_steps(card.chunk)} steps"),
        ("robot", f"`{card.robot}`, {len(card.action_names)} joint targets"),
    ]
    return _table(("", ""), rows)


def _stages(task: str, root: Path) -> str:
    return _table(("stage", "score of 10"), [(f"`{stage.name}`", f"{stage.score:g}") for stage in TASKS[task].stages])


def _randomisation(task: str, root: Path) -> str:
    config = _config(task)
    rows = []
    for field in fields(config):
        match = _KIND.fullmatch(field.name)
        if match:
            value, unit = getattr(config, field.name), _UNITS.get(match["unit"] or "", "")
            amount = f"{value:g} {unit}" if unit else f"{value:g}"
            rows.append((f"`{field.name}`", f"± {amount}"))
    return _table(("field of the config", "half-width of a uniform draw"), rows)


def _config(task: str) -> Any:
    from rise_gym.envs.mujoco.scene import scene_class

    return scene_class(task).config_class()


def _bundled(task: str, root: Path) -> str:
    bundled = root / "rise_gym" / "bundled"
    own = {path.name for path in (bundled / task).glob("*") if path.is_dir()}
    served = {path.parent.name: _tasks_of(path) for path in sorted(bundled.glob("several_tasks/*/rise_gym.json"))}
    shared = {name: tasks for name, tasks in served.items() if task in tasks and name not in own}
    told = [f"`bundled:{task}/{name}`" for name in sorted(own)]
    for name, tasks in shared.items():
        others = " and ".join(TASKS[other].title for other in sorted(set(tasks) - {task}))
        told.append(f"`bundled:{task}/{name}` (one for this task and {others})")
    return f"Bundled, no download: {', '.join(told)}." if told else "No weights are bundled for this task yet."


def _tasks_of(manifest: Path) -> list[str]:
    """The tasks that a checkpoint of several serves."""
    return list(json.loads(manifest.read_text()).get("extra", {}).get("tasks", ()))


def _measured(task: str, root: Path) -> str:
    results = [
        json.loads(path.read_text()) for path in sorted((root / "benchmarks/results/main_table").glob(f"{task}_*"))
    ]
    if not results:
        return "No result has been recorded for this task yet."
    rows = [
        (
            row["row"],
            row["note"],
            row["training_seed"],
            row["episodes"],
            f"{row['success_rate']:.1%}",
            "{:.0%} to {:.0%}".format(*row["success_ci95"]),
            f"{row['score_mean']:.2f}",
            f"`{row['commit'][:12]}`",
        )
        for row in sorted(results, key=lambda row: (-row["success_rate"], row["training_seed"]))
    ]
    seeds = {row["seed"] for row in results}
    table = _table(("method", "what it is", "training seed", "episodes", "success", "95 %", "score", "commit"), rows)
    return f"In the replica, episodes from seed {', '.join(map(str, sorted(seeds)))} on:\n\n{table}"
