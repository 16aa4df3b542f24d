"""World models of the table `modules` and of `dynamics_table.py`: made from scratch, each without one thing.

All have the codec of the bundled world model of several tasks, and the same number of steps. Dynamics begins on
demonstrations and play data of all tasks, goes on with the one task's demonstrations and rollouts, and expects the
progress that the value reads there, as in the paper: so the value decides what is an advantage. Without pre-training
the first of these steps are on the one task's data as well. None has a renderer, which the paper has not and RISE does
not need. What is made already is taken.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _workshop import Workshop

from rise_gym.commands._world_parts import WorldPart
from rise_gym.commands.train import train
from rise_gym.tasks import TASKS
from rise_gym.world_model import CompositionalWorldModel


@dataclass(frozen=True, kw_only=True)
class WorldVariant:
    """What a world model is made without.

    Attributes:
        pretrained: its dynamics began on all tasks. task_centric: in batches of two of them.
        value: weights of the value's losses, where not the usual ones.
    """

    pretrained: bool = True
    task_centric: bool = True
    value: dict[str, float] = field(default_factory=dict)


VARIANTS = {
    "full": WorldVariant(),
    "without pre-training": WorldVariant(pretrained=False),
    "without task-centric batching": WorldVariant(task_centric=False),
    "without progress loss": WorldVariant(value={"progress_weight": 0.0}),
    "without temporal differences": WorldVariant(value={"td_weight": 0.0}),
}
"""The rows of the paper's Table IV."""


class WorldModels:
    """Makes them in a workshop, of its task, seed and budget."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop, self.budget = workshop, workshop.budget

    def made(self, name: str) -> str:
        """The checkpoint folder of one of `VARIANTS`."""
        variant, budget = VARIANTS[name], self.budget
        place, lent = f"world_{name.replace(' ', '_')}", {"codec": self._codec(), "value": self._value(variant)}
        how: dict[str, Any] = {"data": self._own_data(), "progress_from": "value"}
        begun = str(self._begun(variant))
        made = self._part(place, "dynamics", budget.dynamics_steps, lent, initial=begun, learning_rate=5e-4, **how)
        return str(made / "checkpoint")

    def _codec(self) -> Path:
        """A folder with the bundled one that was taught on several tasks."""
        out = self.workshop.place("world_codec")
        if not (out / "codec").is_dir():
            CompositionalWorldModel.from_pretrained("bundled:brick_sort/world_model").codec.save_pretrained(
                out / "codec"
            )
        return out

    def _value(self, variant: WorldVariant) -> Path:
        name = "_".join(["world_value", *variant.value])
        lent = {"codec": self._codec()}
        return self._part(name, "value", self.budget.value_steps, lent, data=self._own_data(), **variant.value)

    def _begun(self, variant: WorldVariant) -> Path:
        """The dynamics after the first of its steps."""
        steps, lent = self.budget.pretraining_steps, {"codec": self._codec()}
        if not variant.pretrained:
            return self._part("world_begun_on_one_task", "dynamics", steps, lent, data=self._own_data())
        data = [
            folder
            for task in self._tasks()
            for folder in (self.workshop.demonstrations_of(task), *self.workshop.plays_of(task))
        ]
        name = "world_begun" if variant.task_centric else "world_begun_mixed"
        how: dict[str, Any] = {"across_tasks": True, "task_centric": variant.task_centric}
        return self._part(name, "dynamics", steps, lent, data=data, **how)

    def _tasks(self) -> list[str]:
        """All, the workshop's first."""
        return [self.workshop.task, *sorted(set(TASKS) - {self.workshop.task})]

    def _own_data(self) -> list[Path]:
        return [self.workshop.demonstrations, self.workshop.rollouts]

    def _part(self, name: str, part: WorldPart, steps: int, lent: dict[str, Path], **how: Any) -> Path:
        """A folder with that part trained in it, beside others that are lent to it from the folders they lie in."""
        out = self.workshop.place(name)
        done = out / f"{part}.done"
        if not done.is_file():
            for other, folder in lent.items():
                shutil.copytree(folder / other, out / other, dirs_exist_ok=True)
            train(part, out, task=self.workshop.task, steps=steps, seed=self.workshop.seed, **how)
            done.touch()
        return out
