"""Which recorded moment an imagined episode starts from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rise_gym.errors import InvalidStart
from rise_gym.starts import StartKind, Starts, check_start_kind
from rise_gym.tasks import TaskCard

OPTIONS = ("start", "start_kind")
OWN_START = ("frames", "proprio", "instruction", "seed", "tick")


def chosen_start(
    starts: Starts, task: TaskCard, generator: np.random.Generator, options: Mapping[str, Any], kind: StartKind
) -> Starts:
    """What `reset(options=...)` asks for, or else one of the env's own `kind`: `Starts` of length one.

    Raises:
        InvalidStart: if the options name a start that does not exist or does not fit the task.
    """
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise InvalidStart(f"reset options are {', '.join(OPTIONS)}, got {', '.join(unknown)}")
    start = options.get("start")
    if isinstance(start, Mapping):
        return _brought_along(start, task)
    if start is None:
        pool = _pool(starts, options.get("start_kind", kind))
        start = pool[int(generator.integers(len(pool)))]
    if isinstance(start, bool) or not isinstance(start, int | np.integer) or not 0 <= start < len(starts):
        raise InvalidStart(f"options['start'] is an index from 0 to {len(starts) - 1} or a dict, got {start!r}")
    return starts.rows([int(start)])


def _pool(starts: Starts, kind: object) -> NDArray[np.int64]:
    check_start_kind(kind)
    every = np.arange(len(starts))
    pool = {"initial": starts.initial, "any": every, "mid_episode": np.setdiff1d(every, starts.initial)}[str(kind)]
    if not len(pool):
        raise InvalidStart(f"none of the {len(starts)} start windows is {kind!r}; give another start_kind or file")
    return pool


def _brought_along(start: Mapping[str, Any], task: TaskCard) -> Starts:
    """A start of the caller's own: `frames` (ticks, V, H, W, 3) or {camera: (ticks, H, W, 3)}, and `proprio` (P,)."""
    missing = sorted({"frames", "proprio"} - set(start))
    if missing:
        raise InvalidStart(f"a start needs frames and proprio, it lacks {', '.join(missing)}")
    if unknown := sorted(set(start) - set(OWN_START)):
        raise InvalidStart(f"a start of your own has {', '.join(OWN_START)}, got {', '.join(map(str, unknown))}")
    frame_shape = (len(task.cameras), *task.image_size, 3)
    proprio_shape = (len(task.proprio_names),)
    frames = start["frames"]
    if isinstance(frames, dict):
        absent = sorted(set(task.cameras) - set(frames))
        if absent:
            raise InvalidStart(f"a start needs frames of {', '.join(task.cameras)}, it lacks {', '.join(absent)}")
        views = [np.asarray(frames[camera]) for camera in task.cameras]
        if len({view.shape for view in views}) > 1:
            shapes = {camera: view.shape for camera, view in zip(task.cameras, views, strict=True)}
            raise InvalidStart(f"a start has as many frames of each camera, of one size, got {shapes}")
        frames = np.stack(views, axis=-4)
    frames, proprio = np.asarray(frames), _numbers(start["proprio"])
    if frames.ndim == len(frame_shape):
        frames = frames[None]
    if frames.dtype != np.uint8 or frames.shape[1:] != frame_shape or not len(frames) or proprio.shape != proprio_shape:
        raise InvalidStart(
            f"a start has frames uint8 (ticks, {', '.join(map(str, frame_shape))}) and proprio {proprio_shape}, "
            f"got {frames.dtype} {frames.shape} and {proprio.shape}"
        )
    if not np.isfinite(proprio).all():
        raise InvalidStart(f"the proprio of a start is finite, rad and m, got {proprio.tolist()}")
    return Starts(
        task=task.name,
        frames=frames[None],
        proprio=proprio[None],
        instruction=(_instruction(start.get("instruction"), task),),
        seeds=np.array([_whole(start, "seed")], dtype=np.int64),
        tick=np.array([_whole(start, "tick")], dtype=np.int64),
    )


def _numbers(proprio: object) -> NDArray[np.float32]:
    try:
        return np.asarray(proprio, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidStart(f"the proprio of a start is numbers, rad and m, got {proprio!r}") from error


def _instruction(told: object, task: TaskCard) -> str:
    """The task's own, if none is told."""
    if told is not None and not isinstance(told, str):
        raise InvalidStart(f"the instruction of a start is text, got {told!r}")
    return task.instruction if told is None else told


def _whole(start: Mapping[str, Any], name: str) -> int:
    """A number of the start's; -1 if it has none."""
    number = start.get(name)
    if number is None:
        return -1
    if isinstance(number, bool) or not isinstance(number, int | np.integer):
        raise InvalidStart(f"the {name} of a start is an integer, got {number!r}")
    return int(number)
