"""rise_gym: robot policies that improve inside a learned world model, behind `gym.make`.

Importing this package registers the environments and loads nothing heavier than gymnasium.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rise_gym.registration import register_all, register_listed, register_task
from rise_gym.tasks import TASKS, TaskCard, task_card

if TYPE_CHECKING:
    from rise_gym.pipeline import RisePipeline
    from rise_gym.types import Episode
    from rise_gym.world_model import CompositionalWorldModel as WorldModel

__version__ = "0.1.0"
__all__ = [
    "TASKS",
    "Episode",
    "RisePipeline",
    "TaskCard",
    "WorldModel",
    "env_ids",
    "make_sb3_env",
    "register_task",
    "task_card",
]

env_ids = register_all()
register_listed()

_LAZY = {
    "Episode": ("rise_gym.types", "Episode"),
    "RisePipeline": ("rise_gym.pipeline", "RisePipeline"),
    "make_sb3_env": ("rise_gym.agents.sb3", "make_sb3_env"),
    "WorldModel": ("rise_gym.world_model", "CompositionalWorldModel"),
}


def __getattr__(name: str) -> Any:
    """Names whose modules are too heavy to import before they are asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LAZY[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
