"""What a task has to offer to be simulated; adding one is a file with such a class, and a row here."""

from __future__ import annotations

import importlib
from typing import Any, ClassVar, Protocol

import mujoco
import numpy as np

SCENES = {"box_close": "rise_gym.envs.mujoco.box_close:BoxCloseScene"}


class Scene(Protocol):
    """One episode's model and data, asked in the task's own words.

    Attributes:
        config_class: frozen dataclass that says how hard the task is; it has `hold_ticks`.
        model, data: MuJoCo's. start: what the seed decided. config: an instance of `config_class`.
    """

    config_class: ClassVar[type[Any]]
    model: mujoco.MjModel
    data: mujoco.MjData
    start: Any
    config: Any

    def __init__(self, start: Any, config: Any) -> None: ...

    @classmethod
    def sample(cls, generator: np.random.Generator, config: Any) -> Scene:
        """A new start, drawn from `generator`."""
        ...

    def stages(self) -> dict[str, bool]:
        """Which stages of the task card hold now, each by itself."""
        ...

    def fraction(self, stage: str) -> float:
        """How far a stage that does not hold yet has come, 0 to 1."""
        ...


def scene_class(task: str) -> type[Scene]:
    """The scene of a task, imported when it is first needed."""
    module, _, name = SCENES[task].partition(":")
    found: type[Scene] = getattr(importlib.import_module(module), name)
    return found
