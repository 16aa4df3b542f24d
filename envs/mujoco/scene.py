"""What a task has to offer to be simulated: `envs/mujoco/<task>.py` with a class `<Title>Scene`, found by its name."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import mujoco
import numpy as np

from rise_gym.tasks import task_card


class Scene(ABC):
    """One episode's model and data, asked in the task's own words. Everything it says follows from the physics state.

    Attributes:
        task: the task's name. config_class: frozen dataclass that says how hard it is; it has `hold_ticks`.
        model, data: MuJoCo's; the robot's actuators come first. start: what the seed decided, all that differs between
            two episodes. config: an instance of `config_class`.
    """

    task: ClassVar[str]
    config_class: ClassVar[type[Any]]
    model: mujoco.MjModel
    data: mujoco.MjData
    start: Any
    config: Any

    @abstractmethod
    def __init__(self, start: Any, config: Any) -> None:
        """Build the model and place everything as `start` says."""

    @classmethod
    @abstractmethod
    def sample(cls, generator: np.random.Generator, config: Any) -> Scene:
        """A new start, drawn from `generator`."""

    @abstractmethod
    def stages(self) -> dict[str, bool]:
        """Which stages of the task card hold now, each by itself."""

    @abstractmethod
    def score(self) -> float:
        """Whole achievements only, 0 to 10."""

    @abstractmethod
    def progress(self) -> float:
        """The score / 10 with what is under way interpolated, in [0, 1]."""

    def settle(self) -> None:  # noqa: B027  # most scenes need nothing
        """After each control tick: hold back what no real thing would do. A scene that needs none of it does nothing."""


class StagedScene(Scene):
    """A task whose stages follow one another: the score is that of the last one reached in order."""

    @abstractmethod
    def fraction(self, stage: str) -> float:
        """How far a stage that does not hold yet has come, 0 to 1."""

    def score(self) -> float:
        stages, score = self.stages(), 0.0
        for stage in task_card(self.task).stages:
            if not stages[stage.name]:
                break
            score = stage.score
        return score

    def kept(self, stage: str) -> float:
        """What share of all that lies behind a stage counts where it does not hold, 0 to 1: 0 unless a task says else.

        A stage that is lost for a moment, and won back as easily, would throw progress down and up again: a value would
        be taught noise, and an agent rewarded for it.
        """
        return 0.0

    def progress(self) -> float:
        stages, progress, counts, reached = self.stages(), 0.0, 1.0, 0.0
        for stage in task_card(self.task).stages:
            holds = stages[stage.name]
            progress += counts * (stage.score - reached) * (1.0 if holds else self.fraction(stage.name))
            counts *= 1.0 if holds else self.kept(stage.name)
            reached = stage.score
        return progress / 10


def scene_class(task: str) -> type[Scene]:
    """The scene of a task, imported when it is first needed."""
    module = importlib.import_module(f"rise_gym.envs.mujoco.{task}")
    found: type[Scene] = getattr(module, f"{task_card(task).title}Scene")
    return found
