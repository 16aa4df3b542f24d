"""What a real robot, its resetter, its operator and its judge have to offer. Nothing needs to inherit.

`Robot` is the shape of LeRobot's `Robot`: anything built for LeRobot fits, and LeRobot need not be installed.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rise_gym.errors import InvalidRobot

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Made = TypeVar("Made", bound=DataclassInstance)


@runtime_checkable
class Robot(Protocol):
    """LeRobot's `Robot`, as far as it is used here; checked by its shape, for LeRobot is not imported.

    Calls may block for a while but should give up by themselves (raise) when the robot does not answer. They come from
    two threads, never at the same time. `connect` is called without arguments, so LeRobot's own may calibrate; its
    `is_calibrated`, `calibrate` and `configure` are the driver's affair, before the robot is handed over.

    LeRobot leaves units to each robot, and many measure degrees or per cent: here angles are rad and openings of
    grippers m, both ways, or the first reset refuses it. Keys are LeRobot's flat ones, by default `left_joint1.pos`,
    `head` and so on (see `RobotNames`).
    """

    @property
    def observation_features(self) -> Mapping[str, Any]:
        """Flat: `float` for a joint, a shape (H, W, 3) for a camera. Known without a connection, as are actions."""

    @property
    def action_features(self) -> Mapping[str, Any]:
        """Flat: `float` for each joint that can be commanded."""

    @property
    def is_connected(self) -> bool: ...

    def connect(self) -> None: ...

    def disconnect(self) -> None: ...

    def get_observation(self) -> Mapping[str, Any]:
        """Measured joints as numbers and pictures as uint8 (H, W, 3)."""

    def send_action(self, action: dict[str, Any]) -> Mapping[str, Any] | None:
        """Command joints; returns what was really sent."""


@dataclass(frozen=True, kw_only=True)
class ResetHelp:
    """What a resetter may use.

    Attributes:
        robot: the robot itself, for what only it can do. seed: of the episode.
        move_to: moves slowly to joint targets (A,) in rad and m, behind all limits; returns when there.
        stopped: whether the operator wants everything to stop; look at it in long work.
    """

    robot: Robot
    seed: int
    move_to: Callable[[NDArray[np.floating]], None]
    stopped: Callable[[], bool]


class Resetter(Protocol):
    """Prepares the next episode: a person who lays things out, or a script that moves the arms.

    One that asks in the terminal does so by `rise_gym.envs.real.terminal.terminal_of().ask`, for an operator's stop may
    be typed there.

    One with a true attribute `as_replica` promises that an episode begins where the replica's does with the same seed,
    so that reports may pair them; a scene that hands lay out never does.
    """

    def reset(self, help: ResetHelp) -> None:
        """Returns when the scene and the robot are ready; raises if they can't be made so."""


class Operator(Protocol):
    """Who watches. Asked many times a second, from a thread of its own: answers must come at once."""

    def begin(self) -> None:
        """A new episode: forget the last verdict."""

    def stop_requested(self) -> bool:
        """Whether the robot has to stop now."""

    def verdict(self) -> bool | None:
        """True: the task is done. False: it has failed. None: go on."""


class Judgement(NamedTuple):
    """How far along, in [0, 1], and whether it is decided: done, failed, or None."""

    progress: float
    success: bool | None


class Judge(Protocol):
    """Says from the newest pictures how far along the task is."""

    def begin(self) -> None:
        """A new episode."""

    def look(self, frames: NDArray[np.uint8], instruction: str) -> Judgement:
        """Newest pictures of the task's cameras uint8 (V, H, W, 3)."""


def imported(name: str, what: str, arguments: Mapping[str, Any] | None = None) -> Any:
    """What `"module:callable"` returns when called; how plain data names a live thing.

    Raises:
        InvalidRobot: if there is no such callable.
    """
    module, colon, attribute = name.partition(":")
    try:
        if not colon:
            raise ImportError("there is no colon in it")
        call = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidRobot(
            f'{what} should be an import string "module:callable" whose call makes it, got {name!r}: {error}'
        ) from error
    return call(**(arguments or {}))


def made_of(kind: type[Made], fields: Mapping[str, Any]) -> Made:
    """A dataclass from plain data.

    Raises:
        InvalidRobot: naming the fields that there are, if these are others.
    """
    fields_of = dataclasses.fields(kind)
    needed = {one.name for one in fields_of if one.default is one.default_factory is dataclasses.MISSING}
    names = [one.name for one in fields_of]
    if not needed <= set(fields) <= set(names):
        odd = sorted(set(fields) - set(names)) or sorted(fields)
        raise InvalidRobot(
            f"{kind.__name__} has {', '.join(names)}, got {odd}: give these names, and all without default"
        )
    return kind(**fields)
