"""The environment ids: one row a task and backend, entry points as strings, so that nothing heavy is imported."""

from __future__ import annotations

from typing import Any

from gymnasium.envs.registration import register, registry

from rise_gym.tasks import TASKS

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
    """Register every task with every backend, once a process; returns the ids.

    No `max_episode_steps`: the horizon depends on the chunk, so each env truncates by itself, single and vector alike.
    """
    ids = []
    for backend, entry_points in BACKENDS.items():
        for task in TASKS:
            ids.append(env_id(backend, task))
            if ids[-1] not in registry:
                register(ids[-1], kwargs={"task": task}, **entry_points)
    return tuple(ids)
