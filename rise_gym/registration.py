"""The environment ids: one row a task and backend, entry points as strings, so that nothing heavy is imported."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from gymnasium.envs.registration import register, registry

from rise_gym.task_files import checked_task, find_task
from rise_gym.tasks import TASKS, TaskCard, add_task

TASKS_VARIABLE = "RISE_GYM_TASKS"
"""Environment variable: task files, separated as in `PATH`, that `import rise_gym` registers."""

BACKENDS: dict[str, dict[str, Any]] = {
    "Imagined": {
        "entry_point": "rise_gym.envs.imagined:ImaginedEnv",
        "vector_entry_point": "rise_gym.envs.vector:ImaginedVectorEnv",
    },
    "Mujoco": {"entry_point": "rise_gym.envs.mujoco.env:MujocoEnv"},
    "Real": {"entry_point": "rise_gym.envs.real.env:RealEnv"},
}


def env_id(backend: str, task: str) -> str:
    """The id of a task's environment, e.g. `env_id("Imagined", "box_close")` is `RiseImagined-BoxClose-v0`."""
    return f"Rise{backend}-{TASKS[task].title}-v0"


def register_all() -> tuple[str, ...]:
    """Register every task with every backend, once a process; returns the ids."""
    return tuple(_register(backend, task) for backend in BACKENDS for task in list(TASKS))


def register_task(task: TaskCard | str | Path) -> TaskCard:
    """Make a task of your own known: its name wherever a task is named, and `RiseImagined-<Title>-v0`, `RiseReal-…`.

    It has no replica. Registering the same card again changes nothing. To have it in every process, worker processes
    included, name the file in the environment variable `RISE_GYM_TASKS`.

    Args:
        task: a card; a task file (TOML or JSON, see `rise_gym.task_files`); or the folder of a dataset or of a
            checkpoint made for it.

    Raises:
        InvalidTask: if the card contradicts itself, or another task has its name.
    """
    card = add_task(checked_task(task) if isinstance(task, TaskCard) else find_task(task))
    for backend in ("Imagined", "Real"):
        _register(backend, card.name)
    return card


def register_listed() -> None:
    """Register the task files that `RISE_GYM_TASKS` names.

    Raises:
        InvalidTask: if one of them is missing or wrong.
    """
    for path in filter(None, os.environ.get(TASKS_VARIABLE, "").split(os.pathsep)):
        register_task(path)


def _register(backend: str, task: str) -> str:
    """No `max_episode_steps`: the horizon depends on the chunk, so each env truncates by itself, single and vector."""
    name = env_id(backend, task)
    if name not in registry:
        register(name, kwargs={"task": task}, **BACKENDS[backend])
    return name
