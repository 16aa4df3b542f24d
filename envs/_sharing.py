"""World models and start windows, loaded once a process and shared by its environments."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from rise_gym.checkpoints import MANIFEST_NAME
from rise_gym.errors import InvalidStart
from rise_gym.locations import bundled_folder, resolve
from rise_gym.starts import STARTS_NAME, Starts, load_starts, starts_name
from rise_gym.world_model import CompositionalWorldModel


def shared_world_model(name: str, task: str, device: str = "cpu") -> CompositionalWorldModel:
    """The world model of that name, loaded once a process for as long as its folder stays the same."""
    folder = resolve(name).absolute()
    return _load_once(folder, _stamp(folder / MANIFEST_NAME), task, device)


def shared_starts(name: str | None, task: str, world_model: str | None) -> Starts:
    """Start windows: of the given file, else those saved with the world model for the task, else the bundled ones.

    Raises:
        InvalidStart: if there are none.
        InvalidDataset: if the file is damaged, or of another task.
    """
    candidates = [] if name is None else [Path(name)]
    if name is None:
        names = [] if world_model is None else [starts_name(task), STARTS_NAME]
        candidates = [resolve(str(world_model)) / one for one in names]
        candidates.append(bundled_folder(task) / STARTS_NAME)
    for path in candidates:
        if path.is_file():
            return _load_starts_once(path, _stamp(path), task)
    raise InvalidStart(
        f"start windows were wanted, there are none at {' or '.join(map(str, candidates))}; "
        "write some with `rise_gym.starts.save_starts` and give them as `starts=`"
    )


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


@lru_cache(maxsize=4)
def _load_once(folder: Path, stamp: int, task: str, device: str) -> CompositionalWorldModel:
    return CompositionalWorldModel.from_pretrained(folder, task=task, device=device)


@lru_cache(maxsize=4)
def _load_starts_once(path: Path, stamp: int, task: str) -> Starts:
    return load_starts(path, task=task)
