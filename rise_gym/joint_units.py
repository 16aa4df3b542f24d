"""What somebody else's number of a joint means in rad or m: that of a dataset's column, or of a robot's driver."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rise_gym.errors import InvalidMapping

Unit = Literal["rad", "deg", "m", "mm", "range"]
ANGLES, LENGTHS = ("rad", "deg"), ("m", "mm")
FURTHEST = "a range within 4 pi rad or 2 m to either side"
"""What any joint's is, in words; see `reachable`."""
_FACTORS = {"rad": 1.0, "m": 1.0, "deg": math.pi / 180, "mm": 1e-3}


@dataclass(frozen=True, kw_only=True)
class JointUnit:
    """Ours is `sign * (theirs in rad or m) + offset`.

    Attributes:
        unit: of theirs; `span` is for "range" only: their low and high end, and what these are in rad or m.
        sign: 1 or -1. offset: in rad or m.

    Raises:
        InvalidMapping: if these contradict each other.
    """

    unit: Unit = "rad"
    span: tuple[float, float, float, float] | None = None
    sign: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if abs(self.sign) != 1:
            raise InvalidMapping(f"{self.named}sign is 1 or -1, got {self.sign}")
        if (self.unit == "range") != (self.span is not None):
            raise InvalidMapping(f'{self.named}`range` and `to` go with unit = "range", and only with it')
        if not np.isfinite([self.offset, *(self.span or ())]).all():
            raise InvalidMapping(f"{self.named}finite offset, range and to were wanted, got {self.offset}, {self.span}")
        if self.span is not None and (self.span[0] == self.span[1] or self.span[2] == self.span[3]):
            raise InvalidMapping(f"{self.named}`range` and `to` need two different ends, got {self.span}")

    @property
    def named(self) -> str:
        """How an error begins: whose unit it is, if that is known."""
        return ""

    def ours(self, theirs: NDArray[np.floating] | float) -> NDArray[np.float64]:
        """Their numbers in rad or m, as the task card means it."""
        factor, shift = self._line()
        return np.asarray(self.sign * (factor * np.asarray(theirs, np.float64) + shift) + self.offset)

    def theirs(self, ours: NDArray[np.floating] | float) -> NDArray[np.float64]:
        """The inverse of `ours`."""
        factor, shift = self._line()
        return np.asarray((self.sign * (np.asarray(ours, np.float64) - self.offset) - shift) / factor)

    def _line(self) -> tuple[float, float]:
        if self.span is None:
            return _FACTORS[self.unit], 0.0
        low, high, to_low, to_high = self.span
        factor = (to_high - to_low) / (high - low)
        return factor, to_low - factor * low


def four_ends(where: str, entry: Mapping[str, object]) -> tuple[float, float, float, float]:
    """`range` and `to` of an entry in a file, one after the other.

    Raises:
        InvalidMapping: if these are no two ends each.
    """
    told = {name: entry.get(name) for name in ("range", "to")}
    ends = [end for pair in told.values() for end in _listed(pair)]
    if len(ends) != 4:
        raise InvalidMapping(f'{where}: unit = "range" wants `range = [low, high]` and `to = [low, high]`, got {told}')
    return ends[0], ends[1], ends[2], ends[3]


def reachable(name: str, low: float, high: float) -> bool:
    """Whether the range of a joint, as a task card calls it, can be in rad or m; further no joint goes."""
    furthest = 2.0 if name.endswith("_m") else 4 * math.pi
    return abs(low) <= furthest and abs(high) <= furthest


def _listed(value: object) -> list[float]:
    fine = isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(one, int | float) for one in value)
    return [float(one) for one in value] if fine else []  # type: ignore[attr-defined]  # a list, then
