"""Reward: progress gained. With it an undiscounted return is last progress minus first, whatever happened between."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_Number = TypeVar("_Number", float, Tensor, NDArray[np.floating])


def progress_gain(before: _Number, after: _Number) -> _Number:
    """Reward of a step: progress after it minus progress before, any shape.

    A gain is neither clipped nor shaped: progress lost is a negative reward of the same size, so nothing can be earned
    by undoing and redoing a stage.
    """
    return after - before
