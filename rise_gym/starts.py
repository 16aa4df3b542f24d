"""Recorded moments that a dream can start from: a short window of history each, a few hundred in one small file.

The file is a plain `.npz` (never pickle). Frames are stored as differences to the frame before, then deflated: exact,
and small, since little moves within a window.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rise_gym.errors import InvalidDataset, InvalidStart, SaveFailed
from rise_gym.tasks import TaskCard
from rise_gym.types import Episode

STARTS_NAME = "starts.npz"
StartKind = Literal["initial", "mid_episode", "any"]
"""What dreams begin from: beginnings of recorded episodes, other moments, or either."""
_CHANGE = 0.02
"""Of progress: less is no event."""


def check_start_kind(kind: object) -> None:
    """Refuse what is none.

    Raises:
        InvalidStart: names those that there are.
    """
    if kind not in get_args(StartKind):
        raise InvalidStart(f"start_kind is one of {', '.join(get_args(StartKind))}, got {kind!r}")


def starts_name(task: str, *, own: bool = False) -> str:
    """The file's name in a checkpoint of several tasks; of the one that is its `own`, as in one of a single task."""
    return STARTS_NAME if own else f"starts_{task}.npz"


@dataclass(frozen=True, kw_only=True)
class Starts:
    """S windows of W ticks.

    Attributes:
        task: snake-case name of the task.
        frames: uint8 (S, W, V, H, W, 3), one a tick, oldest first, cameras in the task card's order.
        proprio: float32 (S, P), newest, in rad and m.
        instruction: one a window.
        seeds: int64 (S,) environment seed of the episode that the window is from.
        tick: int64 (S,) of the newest frame in its episode; 0 is the first observation.
        physics_state: float64 (S, D) of the newest tick, or None; with the seed, it is the same moment in the replica.
    """

    task: str
    frames: NDArray[np.uint8]
    proprio: NDArray[np.float32]
    instruction: tuple[str, ...]
    seeds: NDArray[np.int64]
    tick: NDArray[np.int64]
    physics_state: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.proprio)

    @property
    def initial(self) -> NDArray[np.int64]:
        """Indices of the windows that are the beginning of an episode."""
        return np.flatnonzero(self.tick == 0)

    def rows(self, index: Sequence[int] | NDArray[np.integer]) -> Starts:
        """The windows of the given indices."""
        chosen = np.asarray(index, dtype=np.int64)
        return replace(
            self,
            frames=self.frames[chosen],
            proprio=self.proprio[chosen],
            instruction=tuple(self.instruction[i] for i in chosen),
            seeds=self.seeds[chosen],
            tick=self.tick[chosen],
            physics_state=None if self.physics_state is None else self.physics_state[chosen],
        )

    @classmethod
    def from_episodes(
        cls,
        episodes: Sequence[Episode],
        task: TaskCard,
        *,
        window: int,
        mid_episode: int,
        generator: np.random.Generator,
        eventful_ticks: int | None = None,
    ) -> Starts:
        """The first moment of every episode, and `mid_episode` later ones of each, drawn evenly over its ticks.

        Windows have `window` ticks; before an episode began its first frame repeats. With `eventful_ticks` later
        moments are those after which progress changes within so many ticks, where an episode has such.
        """
        moments = [
            (episode, int(tick))
            for episode in episodes
            for later in [_later_ticks(episode, eventful_ticks)]
            for tick in (0, *np.sort(later[generator.integers(0, len(later), mid_episode)]))
        ]
        states = [e.physics_state[n] for e, n in moments if e.physics_state is not None]
        return cls(
            task=task.name,
            frames=np.stack([_window(e.views(task.cameras), n, window) for e, n in moments]),
            proprio=np.stack([e.proprio[n] for e, n in moments]).astype(np.float32),
            instruction=tuple(e.instruction for e, _ in moments),
            seeds=np.array([e.seed for e, _ in moments], dtype=np.int64),
            tick=np.array([n for _, n in moments], dtype=np.int64),
            physics_state=np.stack(states) if len(states) == len(moments) else None,
        )


def _later_ticks(episode: Episode, eventful_ticks: int | None) -> NDArray[np.int64]:
    """From which a dream may begin, but for the first."""
    ticks = np.arange(1, max(2, len(episode) - 1))
    if eventful_ticks is None or episode.progress is None:
        return ticks
    after = episode.progress[np.minimum(ticks + eventful_ticks, len(episode.progress) - 1)]
    eventful = ticks[np.abs(after - episode.progress[ticks]) > _CHANGE]
    return eventful if len(eventful) else ticks


def _window(views: NDArray[np.uint8], tick: int, window: int) -> NDArray[np.uint8]:
    return views[np.maximum(np.arange(tick - window + 1, tick + 1), 0)]


def save_starts(starts: Starts, path: str | Path) -> None:
    """Write the windows to one file; an interrupted save leaves the earlier one whole.

    Raises:
        SaveFailed: if the disk is full or the folder can't be written.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name}.partial")
    change = np.diff(
        starts.frames, axis=1, prepend=np.zeros_like(starts.frames[:, :1])
    )  # wraps around, as decoding does
    columns: dict[str, Any] = {
        "task": np.array(starts.task),
        "change": change,
        "proprio": starts.proprio,
        "instruction": np.array(starts.instruction),
        "seeds": starts.seeds,
        "tick": starts.tick,
    }
    if starts.physics_state is not None:
        columns["physics_state"] = starts.physics_state
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            np.savez_compressed(file, **columns)
        os.replace(partial, target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise SaveFailed(f"could not write {target} ({error}); what was there before is untouched") from error


def load_starts(path: str | Path, *, task: str | None = None) -> Starts:
    """Read what `save_starts` wrote.

    Raises:
        InvalidDataset: if the file is missing, damaged, or of another task than `task`.
    """
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            columns = {name: archive[name] for name in archive.files}
        starts = Starts(
            task=str(columns["task"]),
            frames=np.cumsum(columns["change"], axis=1, dtype=np.uint8),
            proprio=columns["proprio"],
            instruction=tuple(str(text) for text in columns["instruction"]),
            seeds=columns["seeds"],
            tick=columns["tick"],
            physics_state=columns.get("physics_state"),
        )
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidDataset(
            f"{path} can't be read as start windows ({error}); write it anew with `save_starts`"
        ) from error
    if task is not None:
        require_task(starts, task, origin=f"{path} holds those")
    return starts


def require_task(starts: Starts, task: str, *, origin: str = "those given are") -> None:
    """Refuse windows of another task; cameras and arms may well be alike, so that nothing else would tell.

    Raises:
        InvalidDataset: if they are of another task than `task`.
    """
    if starts.task != task:
        raise InvalidDataset(
            f"start windows of task {task!r} were wanted, {origin} of {starts.task!r}: give windows of {task!r} ("
            f"without `starts=` a dream takes those of its world model), or make the env of {starts.task!r}"
        )
