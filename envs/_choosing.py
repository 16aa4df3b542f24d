"""Which recorded moment an imagined episode starts from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rise_gym.errors import InvalidStart
from rise_gym.starts import Starts
from rise_gym.tasks import TaskCard

OPTIONS = ("start", "start_kind")
OWN_START = ("frames", "proprio", "instruction", "seed", "tick")
StartKind = Literal["initial", "mid_episode", "any"]


def check_start_kind(kind: object) -> None:
    """Refuse what is none.

    Raises:
        InvalidStart: names those that there are.
    """
    if kind not in get_args(StartKind):
        raise InvalidStart(f"start_kind is one of {', '.join(get_args(StartKind))}, got {kind!r}")


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
        frames = np.stack([np.asarray(frames[camera]) for camera in task.cameras], axis=-4)
    frames, proprio = np.asarray(frames), np.asarray(start["proprio"], dtype=np.float32)
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
        instruction=(str(start.get("instruction", task.instruction)),),
        seeds=np.array([start.get("seed", -1)], dtype=np.int64),
        tick=np.array([start.get("tick", -1)], dtype=np.int64),
    )
