"""Who says how far along a real task is: a value model, the operator, or both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rise_gym.envs.real.contract import Judge, Judgement, Operator, imported
from rise_gym.envs.real.people import NoOperator


class NoJudge:
    """Nobody looks: progress stays 0 and nothing is ever decided."""

    def begin(self) -> None:
        """Nothing to forget."""

    def look(self, frames: NDArray[np.uint8], instruction: str) -> Judgement:
        return Judgement(0.0, None)


class ValueJudge:
    """The value of a world model, on real pictures: done when the newest `success_ticks` pictures look done."""

    def __init__(self, world_model: Any) -> None:
        self.world_model = world_model
        self._done_ticks = 0

    def begin(self) -> None:
        self._done_ticks = 0

    def look(self, frames: NDArray[np.uint8], instruction: str) -> Judgement:
        import torch  # only who judges by a model waits for it

        model = self.world_model
        with torch.no_grad():
            latents = model.codec.encode(torch.from_numpy(frames[None]).to(model.device))
            value = float(model.value.progress(latents, (instruction,))[0])
        # the value's own threshold is that of recorded, so of real, frames; the world model's is that of dreams
        self._done_ticks = self._done_ticks + 1 if value >= model.value.config.success_threshold else 0
        done = self._done_ticks >= model.config.success_ticks
        return Judgement(min(max(value, 0.0), 1.0), True if done else None)


class OperatorJudge:
    """The operator's verdict goes before whatever another judge says; progress is the other's until it is done."""

    def __init__(self, operator: Operator, other: Judge) -> None:
        self.operator, self.other = operator, other

    def begin(self) -> None:
        self.operator.begin()
        self.other.begin()

    def look(self, frames: NDArray[np.uint8], instruction: str) -> Judgement:
        told, verdict = self.other.look(frames, instruction), self.operator.verdict()
        if verdict is None:
            return told
        return Judgement(1.0 if verdict else min(told.progress, 1.0), verdict)


def judges_named(judge: Judge) -> str:
    """Who says that an episode has succeeded, in words; empty if nobody does."""
    if not isinstance(judge, OperatorJudge):
        return type(judge).__name__
    operator = "" if isinstance(judge.operator, NoOperator) else "the operator"
    kinds = {NoJudge: "", ValueJudge: "the value model"}
    other = kinds.get(type(judge.other), type(judge.other).__name__)
    return ", else ".join(filter(None, (operator, other)))


def judge_of(judge: str | Path | Judge | None, operator: Operator, task: str, device: str) -> Judge:
    """The judge that a name stands for, with the operator's word above it.

    Raises:
        InvalidCheckpoint: if a world model is of another task. InvalidRobot: if an import string names nothing.
    """
    if judge is None:
        return OperatorJudge(operator, NoJudge())
    if isinstance(judge, str) and ":" in judge and not judge.startswith("bundled:"):
        return OperatorJudge(operator, imported(judge, "a judge"))
    if not isinstance(judge, str | Path):
        return OperatorJudge(operator, judge)
    from rise_gym.world_model import CompositionalWorldModel

    model = CompositionalWorldModel.from_pretrained(judge).for_task(task)
    return OperatorJudge(operator, ValueJudge(model.to(device)))
