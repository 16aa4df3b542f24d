"""The observation and action spaces of a task, the same for the imagined, the simulated and the real backend."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rise_gym.errors import InvalidAction
from rise_gym.tasks import TaskCard

PROPRIO_MARGIN = 0.05
"""How far a measured joint may lie outside its commanded range, as a fraction of that range: contact and overshoot push
a joint a little past its limit."""


def proprio_bounds(task: TaskCard) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lowest and highest proprioception (P,), in rad and m."""
    low, high = np.asarray(task.action_low), np.asarray(task.action_high)
    margin = PROPRIO_MARGIN * (high - low)
    return (low - margin).astype(np.float32), (high + margin).astype(np.float32)


def observation_space(task: TaskCard) -> spaces.Dict:
    """`{camera: uint8 (H, W, 3)}` for each camera of the task, and `proprio`: float32 (P,) in rad and m."""
    low, high = proprio_bounds(task)
    cameras: dict[str, spaces.Space[Any]] = {
        camera: spaces.Box(0, 255, (*task.image_size, 3), np.uint8) for camera in task.cameras
    }
    return spaces.Dict({**cameras, "proprio": spaces.Box(low, high, dtype=np.float32)})


def action_space(task: TaskCard, chunk: int) -> spaces.Box:
    """Scaled joint targets of one chunk: float32 (K, A) in [-1, 1]; it knows its task, see `task_of_actions`."""
    space = spaces.Box(-1.0, 1.0, (chunk, len(task.action_names)), np.float32)
    space.rise_gym_task = task.name  # type: ignore[attr-defined]  # it stays with a model that is saved with its space
    return space


def task_of_actions(space: spaces.Space[Any]) -> str | None:
    """Name of the task whose actions these are, for tasks may share their shapes; None of a space made elsewhere."""
    return getattr(space, "rise_gym_task", None)


def checked_actions(actions: object, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A float32 copy of `actions` if they have the shape, are finite and lie in [-1, 1]; nothing is repaired.

    Raises:
        InvalidAction: otherwise.
    """
    try:
        array = np.array(actions, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidAction(f"an action must be numbers of shape {shape}, got {type(actions).__name__}") from error
    if array.shape != shape:
        raise InvalidAction(
            f"an action must have shape {shape} (chunk ticks and joint targets last), got {array.shape}; "
            "`chunk=` of the env sets the number of ticks"
        )
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise InvalidAction(f"an action must be finite, got {count} NaN or infinite of {array.size} numbers")
    if np.abs(array).max(initial=0.0) > 1.0:
        raise InvalidAction(
            f"actions must lie in [-1, 1], got {array.min():.4g} to {array.max():.4g}; "
            "scale joint targets with `task.scale_action`, or clip them yourself"
        )
    return array
