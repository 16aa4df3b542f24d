"""Episodes on disk and back: LeRobot v3.0 datasets (parquet and mp4) that lerobot's own tools can open.

`action` is the executed joint target in rad and m (gripper opening), `action.clean` what the expert meant; in memory
both are scaled to [-1, 1]. The last row of an episode is its terminal observation. What was not measured is NaN.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rise_gym import _lerobot as layout
from rise_gym._episode_writer import EpisodeWriter, write_episodes
from rise_gym._lerobot import stored_task
from rise_gym._lerobot_source import downloaded_dataset
from rise_gym._video import decode_clips
from rise_gym.errors import InvalidDataset
from rise_gym.locations import HUB_ID
from rise_gym.tasks import TaskCard
from rise_gym.types import Episode

__all__ = [
    "DatasetSummary",
    "EpisodeWriter",
    "dataset_summary",
    "iterate_episodes",
    "read_episodes",
    "stored_task",
    "write_episodes",
]

_PER_EPISODE = ("success", "score", "source", "policy", "seed")
_ROUNDING = 1e-4  # how far rounding to float32 may carry a scaled action out of [-1, 1]

OnDamage = Callable[[int, InvalidDataset], object]  # the number of an episode, and why it can't be read


@dataclass(frozen=True, kw_only=True)
class DatasetSummary:
    """What a dataset holds, without reading its frames."""

    task: str
    episodes: int
    frames: int
    successes: int
    sources: dict[str, int]
    policies: dict[str, int]
    seeds: tuple[int, ...]
    size_bytes: int


def dataset_summary(folder: str | Path) -> DatasetSummary:
    """Look at a dataset without reading its frames.

    Raises:
        InvalidDataset: if there is none, or its description is damaged.
    """
    root = _local(folder)
    card = stored_task(root)
    rows = _checked_rows(root, layout.read_info(root))
    return DatasetSummary(
        task=card.name,
        episodes=len(rows),
        frames=sum(row["length"] for row in rows),
        successes=sum(row["success"] for row in rows),
        sources=dict(Counter(row["source"] for row in rows)),
        policies=dict(Counter(row["policy"] for row in rows)),
        seeds=tuple(row["seed"] for row in rows),
        size_bytes=sum(path.stat().st_size for path in root.rglob("*") if path.is_file()),
    )


def read_episodes(
    folder: str | Path,
    *,
    task: TaskCard | None = None,
    limit: int | None = None,
    where: Callable[[Mapping[str, Any]], bool] | None = None,
    with_frames: bool = True,
) -> list[Episode]:
    """Read a dataset; `iterate_episodes` in a list."""
    return list(iterate_episodes(folder, task=task, limit=limit, where=where, with_frames=with_frames))


def iterate_episodes(
    folder: str | Path,
    *,
    task: TaskCard | None = None,
    limit: int | None = None,
    where: Callable[[Mapping[str, Any]], bool] | None = None,
    with_frames: bool = True,
    on_damage: OnDamage | None = None,
) -> Iterator[Episode]:
    """Read a dataset, a file of some episodes at a time.

    Args:
        folder: the dataset; as a text also a hub id `owner/name`, optionally with `@revision`.
        task: the task it has to be of; by default the one stored with it.
        limit: at most so many episodes, the first ones.
        where: which episodes, by `episode_index`, `length`, `success`, `score`, `source`, `policy` and `seed`.
        with_frames: False leaves videos unread and every camera's frames empty, (0, H, W, 3); it takes a fraction of
            the time.
        on_damage: called with the number of an episode that can't be read and why, once for each damaged part of it;
            it is left out then. By default that is raised.

    Raises:
        InvalidDataset: if a camera, a frame or a column is missing, a file is damaged, or it is another task's.
    """
    root = _local(folder)
    card = stored_task(root) if task is None else task
    info = layout.checked_info(root, card)
    rows = [row for row in _checked_rows(root, info, on_damage) if where is None or where(row)][:limit]
    for _, group in groupby(rows, key=lambda row: (row["data/chunk_index"], row["data/file_index"])):
        members = list(group)
        try:
            episodes = _episodes_of_file(root, info, members, card, with_frames)
        except InvalidDataset:
            if on_damage is None:
                raise
            episodes = _whole_ones(root, info, members, card, with_frames, on_damage)
        yield from episodes


def _local(folder: str | Path) -> Path:
    """Only a text is looked for on the hub: a path is meant to lie here."""
    on_hub = isinstance(folder, str) and HUB_ID.fullmatch(folder) and not folder.startswith(".")
    return downloaded_dataset(folder) if on_hub and not Path(folder).is_dir() else Path(folder)  # type: ignore[arg-type]


def _checked_rows(folder: Path, info: dict[str, Any], on_damage: OnDamage | None = None) -> list[layout.Row]:
    rows = layout.read_episode_rows(folder)
    if len(rows) < (wanted := info.get("total_episodes", 0)):
        error = InvalidDataset(
            f"{folder} should have {wanted} episodes, meta/episodes describes {len(rows)}; copy it again"
        )
        if on_damage is None:
            raise error
        for number in sorted(set(range(wanted)) - {row["episode_index"] for row in rows}):
            on_damage(number, error)
    if rows and (missing := [name for name in _PER_EPISODE if name not in rows[0]]):
        raise InvalidDataset(
            f"{folder}: meta/episodes lacks {', '.join(missing)}; each episode needs them: read it into another folder "
            "with `rise-gym import`, or build `Episode`s yourself and write them with `write_episodes`"
        )
    return rows


def _episodes_of_file(
    folder: Path, info: dict[str, Any], rows: list[layout.Row], task: TaskCard, with_frames: bool
) -> list[Episode]:
    """Those that share a parquet."""
    path = _data_path(folder, info, rows[0])
    data = _read_columns(path)
    frames = {camera: _frames(folder, info, camera, rows, task, with_frames) for camera in task.cameras}
    return [
        _episode(data, row, task, path, {camera: clips[place] for camera, clips in frames.items()})
        for place, row in enumerate(rows)
    ]


def _whole_ones(
    folder: Path, info: dict[str, Any], rows: list[layout.Row], task: TaskCard, with_frames: bool, on_damage: OnDamage
) -> list[Episode]:
    """The episodes of a damaged file that are whole; of the others all that is wrong is told."""
    whole = []
    for row in rows:
        frames: dict[str, NDArray[np.uint8]] = {}
        errors: list[InvalidDataset] = []
        for camera in task.cameras:
            try:
                [frames[camera]] = _frames(folder, info, camera, [row], task, with_frames)
            except InvalidDataset as error:
                errors.append(error)
        try:
            path = _data_path(folder, info, row)
            episode = _episode(_read_columns(path), row, task, path, frames)
        except InvalidDataset as error:
            errors.append(error)
        for problem in errors:
            on_damage(row["episode_index"], problem)
        whole += [] if errors else [episode]
    return whole


def _data_path(folder: Path, info: dict[str, Any], row: layout.Row) -> Path:
    name = str(info["data_path"]).format(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])
    return folder / name


def _read_columns(path: Path) -> pa.Table:
    data = layout.read_parquet(path)
    wanted = {"observation.state", "action", "frame_index", "episode_index"}
    if missing := wanted - set(data.column_names):
        raise InvalidDataset(f"{path} lacks the columns {', '.join(sorted(missing))}; copy the dataset again")
    return data


def _frames(
    folder: Path, info: dict[str, Any], camera: str, rows: list[layout.Row], task: TaskCard, with_frames: bool
) -> list[NDArray[np.uint8]]:
    """One camera's frames of each episode (all of one parquet, but perhaps of several mp4)."""
    if not with_frames:
        return [np.empty((0, *task.image_size, 3), np.uint8)] * len(rows)
    key = layout.video_key(camera)
    clips: list[NDArray[np.uint8]] = []
    for (chunk, file), group in groupby(
        rows, lambda r: (r[f"videos/{key}/chunk_index"], r[f"videos/{key}/file_index"])
    ):
        path = folder / info["video_path"].format(video_key=key, chunk_index=chunk, file_index=file)
        members = list(group)
        spans = [(round(row[f"videos/{key}/from_timestamp"] * info["fps"]), row["length"]) for row in members]
        try:
            found = list(decode_clips(path, spans))
        except (OSError, av.FFmpegError, IndexError) as error:
            raise InvalidDataset(
                f"camera {camera!r}: {path} can't be decoded ({error}); copy the dataset again"
            ) from error
        for row, clip in zip(members, found, strict=True):
            if clip.shape != (row["length"], *task.image_size, 3):
                raise InvalidDataset(
                    f"camera {camera!r}, episode {row['episode_index']}: {row['length']} frames of {task.image_size} "
                    f"were wanted, {path} has {len(clip)} of {clip.shape[1:3]}; copy the dataset again"
                )
        clips += found
    return clips


def _episode(
    data: pa.Table, row: layout.Row, task: TaskCard, path: Path, frames: dict[str, NDArray[np.uint8]]
) -> Episode:
    found = np.flatnonzero(data["episode_index"].to_numpy() == row["episode_index"])
    name = f"episode {row['episode_index']} in {path}"
    if len(found) != row["length"]:
        raise InvalidDataset(
            f"{name}: {row['length']} rows were wanted, {len(found)} are there; copy the dataset again"
        )

    def values(key: str) -> NDArray[Any]:
        try:
            return layout.array_of(data[key], found)
        except ValueError as error:
            raise InvalidDataset(f"{name}: column {key!r} can't be read ({error}); copy the dataset again") from error

    def column(key: str) -> NDArray[Any] | None:
        """None where nothing measured it."""
        known = values(key) if key in data.column_names else None
        return None if known is None or np.isnan(known).all() else known

    actions, clean = column("action"), column("action.clean")
    if actions is None:
        raise InvalidDataset(f"{name} has no actions, all are NaN; copy the dataset again")
    return Episode(
        task=task.name,
        instruction=row["tasks"][0],
        frames=frames,
        proprio=values("observation.state").astype(np.float32),
        actions=_scaled(actions, task, name),
        clean_actions=None if clean is None else _scaled(clean, task, name),
        progress=column("progress"),
        physics_state=column("physics_state"),
        **{key: row[key] for key in _PER_EPISODE},
    )


def _scaled(targets: NDArray[Any], task: TaskCard, name: str) -> NDArray[np.float32]:
    scaled = task.scale_action(targets.astype(np.float64))
    if not np.abs(scaled).max() <= 1 + _ROUNDING:
        raise InvalidDataset(
            f"{name}: joint targets must lie in the ranges of {task.name!r}'s task card, scaled they reach from "
            f"{scaled.min():.4g} to {scaled.max():.4g}; is the dataset in degrees?"
        )
    return np.clip(scaled, -1, 1)
