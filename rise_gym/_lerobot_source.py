"""Anybody's LeRobot dataset, v2.0, v2.1 or v3.0, as it lies: columns and pictures of one episode at a time."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rise_gym import _lerobot as layout
from rise_gym._video import frames_near
from rise_gym.errors import InvalidDataset, InvalidMapping
from rise_gym.locations import in_a_line

PREFIX = "observation.images."
_PER_EPISODE_VERSIONS = ("v2.0", "v2.1")  # a file an episode
VERSIONS = (*_PER_EPISODE_VERSIONS, layout.VERSION)


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Where a camera's pictures of one episode lie: a file, and the seconds in it."""

    path: Path
    start_s: float = 0.0
    end_s: float = float("inf")


@dataclass(frozen=True, kw_only=True)
class SourceEpisode:
    """One episode as the dataset describes it.

    Attributes:
        index: its number there. length: rows that it should have. instructions: what was asked for, if it says so.
        data: its parquet. clips: of each camera kept as video. facts: what else is said of it.
    """

    index: int
    length: int
    instructions: tuple[str, ...]
    data: Path
    clips: dict[str, Clip]
    facts: dict[str, Any] = field(default_factory=dict)


class LeRobotSource:
    """A dataset in a folder.

    Attributes:
        name: for people. fps: rows a second. features: as `meta/info.json` has them. episodes: all, in order.

    Raises:
        InvalidDataset: if its description is missing, damaged, or of another version.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.info = layout.read_json(folder / layout.INFO_PATH, "the description of a LeRobot dataset")
        self.version = self.info.get("codebase_version")
        if self.version not in VERSIONS:
            raise InvalidDataset(
                f"{name} is a LeRobot dataset of version {self.version}; {', '.join(VERSIONS)} can be read: convert it "
                "with lerobot's own scripts"
            )
        _check_info(self.info, name)
        self.fps, self.features = float(self.info["fps"]), dict(self.info["features"])
        try:
            self.episodes = _per_episode_files(self) if self.version in _PER_EPISODE_VERSIONS else _shared_files(self)
            self._tasks = _tasks_of(folder)
        except InvalidDataset:
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise InvalidDataset(
                f"{name}: what meta says of its episodes and tasks can't be used ({type(error).__name__}: {error}); "
                "copy the dataset again"
            ) from error
        if not self.episodes:
            raise InvalidDataset(f"{name} has no episodes; record some, or copy it again")
        counts = Counter(episode.index for episode in self.episodes)
        if twice := [index for index, count in counts.items() if count > 1]:
            raise InvalidDataset(
                f"{name}: meta describes episodes {', '.join(map(str, twice))} more than once; leave one description "
                "of each"
            )

    @property
    def cameras(self) -> tuple[str, ...]:
        """Features that are pictures."""
        return tuple(name for name, what in self.features.items() if what.get("dtype") in ("video", "image"))

    def names_of(self, column: str) -> tuple[str, ...]:
        """What the numbers of a column are called, or 0, 1, ... where nobody said.

        Raises:
            InvalidMapping: if there is no such column.
        """
        if column not in self.features:
            have = ", ".join(name for name in self.features if name not in self.cameras)
            raise InvalidMapping(f"{self.name} has no column {column!r}; it has {have}")
        feature = self.features[column]
        width = self.width_of(column)
        names = _flat(feature.get("names"))
        return tuple(names) if len(names) == width else tuple(map(str, range(width)))

    def columns(self, episode: SourceEpisode, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Columns of an episode, (N,) or (N, D), in the order of its rows.

        Raises:
            InvalidDataset: if one is missing, is not as it is described, or the episode has another number of rows.
        """
        table = _table_of(episode.data)
        if missing := [name for name in names if name not in table.column_names]:
            raise InvalidDataset(
                f"{self.name}, episode {episode.index}: {episode.data.name} lacks the columns {', '.join(missing)}; "
                f"it has {', '.join(table.column_names)}"
            )
        rows = self._rows(table, episode)
        return {name: self._column(table, name, rows, episode) for name in names}

    def numbers(self, episode: SourceEpisode, names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """As `columns`, of numbers; NaN where a row says nothing.

        Raises:
            InvalidDataset: as `columns`, or if one holds something else.
        """
        found = {}
        for name, values in self.columns(episode, names).items():
            try:
                found[name] = values.astype(np.float64)
            except (TypeError, ValueError) as error:
                raise InvalidDataset(
                    f"{self.name}, episode {episode.index}: numbers were wanted in column {name!r} ({error}); correct "
                    "it, or name another in the mapping"
                ) from error
        return found

    def _column(self, table: pa.Table, name: str, rows: NDArray[np.integer], episode: SourceEpisode) -> NDArray[Any]:
        where = f"{self.name}, episode {episode.index}: column {name!r}"
        try:
            values = layout.array_of(table[name], rows)
        except (ValueError, pa.ArrowException) as error:
            raise InvalidDataset(f"{where} can't be read ({error}); correct it") from error
        width = values.size // len(rows)
        if name in self.features and width != (described := self.width_of(name)):
            raise InvalidDataset(
                f"{where} has {width} numbers a row, meta/info.json says {described}; correct one of them"
            )
        return values

    def width_of(self, column: str) -> int:
        """How many numbers a row of a column has, as it is described."""
        return int(np.prod(self.features[column].get("shape") or [1]))

    def _rows(self, table: pa.Table, episode: SourceEpisode) -> NDArray[np.integer]:
        rows = np.arange(len(table))
        if "episode_index" in table.column_names:
            rows = np.flatnonzero(table["episode_index"].to_numpy() == episode.index)
        if len(rows) != episode.length or not len(rows):
            raise InvalidDataset(
                f"{self.name}, episode {episode.index}: {episode.length} rows were wanted, {len(rows)} are there; "
                "copy it again, or leave it out (`skip` in the mapping)"
            )
        return rows

    def instruction_of(self, episode: SourceEpisode) -> str:
        """What was asked for in an episode; empty if the dataset does not say."""
        if episode.instructions:
            return str(episode.instructions[0])
        if "task_index" not in self.features or not self._tasks:
            return ""
        number = int(self.columns(episode, ("task_index",))["task_index"][0])
        return self._tasks.get(number, "")

    def pictures(
        self, episode: SourceEpisode, camera: str, times: NDArray[np.floating], wanted: NDArray[np.floating]
    ) -> Iterator[tuple[NDArray[np.uint8], float]]:
        """The picture nearest to each `wanted` second (n,), uint8 (H, W, 3), and by how much it is off, in s.

        `times` (N,) are those of the episode's rows; both rise, and are counted from the episode's beginning.

        Raises:
            InvalidDataset: if the pictures can't be read.
        """
        where = f"{self.name}, camera {camera!r}, episode {episode.index}"
        try:
            if camera in episode.clips:
                clip = episode.clips[camera]
                yield from frames_near(clip.path, clip.start_s, clip.end_s, wanted, self.fps)
            else:
                yield from self._stills(episode, camera, times, wanted)
        except (OSError, ValueError, av.FFmpegError, IndexError) as error:
            if isinstance(error, InvalidDataset):
                raise
            raise InvalidDataset(
                f"{where}: pictures can't be decoded ({error}); copy it again, or leave it out (`skip` in the mapping)"
            ) from error

    def _stills(
        self, episode: SourceEpisode, camera: str, times: NDArray[np.floating], wanted: NDArray[np.floating]
    ) -> Iterator[tuple[NDArray[np.uint8], float]]:
        import imageio.v3 as imageio

        table = _table_of(episode.data)
        if camera not in table.column_names:
            raise ValueError(f"there is no column of that name in {episode.data.name}")
        stored = table[camera].take(pa.array(self._rows(table, episode)))
        nearest = np.abs(times[:, None] - wanted).argmin(0)
        for row, second in zip(nearest, wanted, strict=True):
            entry = stored[int(row)].as_py() or {}
            if not (entry.get("bytes") or entry.get("path")):
                raise ValueError(f"row {row} has none")
            found = imageio.imread(entry.get("bytes") or (self.folder / entry["path"]).read_bytes())
            yield _rgb(found), abs(float(times[row] - second))

    @cached_property
    def identity(self) -> str:
        """The dataset's name with what tells it from another of the same name, also when episodes are added to it."""
        names = [name for name in ("observation.state", "action", "timestamp") if name in self.features]
        columns = self._first_readable(names)
        digest = hashlib.blake2b(digest_size=3)
        for name in names:
            digest.update(np.ascontiguousarray(columns[name]).tobytes())
        return f"{self.name}-{digest.hexdigest()}"

    def _first_readable(self, names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Columns of the first episode, or, where that is broken and may be left out, of the first that is not."""
        for episode in self.episodes:
            try:
                return self.columns(episode, names)
            except InvalidDataset as error:
                broken = error
        raise broken


def open_source(name: str | Path) -> LeRobotSource:
    """A dataset by its folder, or, as a text, by its hub id `owner/name`, optionally with `@revision`.

    Raises:
        InvalidDataset: if nothing is there, it can't be read, or the hub can't be reached.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return LeRobotSource(folder, folder.resolve().name)
    if isinstance(name, Path) or str(name).count("/") != 1 or str(name).startswith((".", "/", "~")):
        raise InvalidDataset(f"{name} is no folder; a dataset is a folder or a hub id `owner/name`")
    return LeRobotSource(downloaded_dataset(str(name)), str(name))


def downloaded_dataset(hub_id: str) -> Path:
    """The folder of a dataset on the hub, `owner/name`, optionally with `@revision`.

    Raises:
        InvalidDataset: if it can't be had.
    """
    way_out = "check the spelling and the connection, or give the folder of a copy"
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise InvalidDataset(f"{hub_id!r} is no folder here; to look on the hub, install huggingface_hub") from error
    repository, _, revision = hub_id.partition("@")
    try:
        return Path(snapshot_download(repository, repo_type="dataset", revision=revision or None))
    except Exception as error:  # the hub client raises errors of several libraries, by what went wrong
        raise InvalidDataset(
            f"{hub_id!r} is no folder here, and could not be had from the hub either ({in_a_line(error)}); {way_out}"
        ) from error


def _per_episode_files(source: LeRobotSource) -> list[SourceEpisode]:
    """Episodes of v2.0 and v2.1, where each has files of its own."""
    info, folder = source.info, source.folder
    size, found = int(info.get("chunks_size") or 1000), []
    for row in _json_lines(folder / "meta/episodes.jsonl"):
        index = int(row["episode_index"])
        where = {"episode_chunk": index // size, "episode_index": index}
        clips = {
            camera: Clip(path=folder / str(info["video_path"]).format(video_key=camera, **where))
            for camera in source.cameras
            if source.features[camera]["dtype"] == "video"
        }
        data = folder / str(info["data_path"]).format(**where)
        texts = tuple(row.get("tasks") or ())
        facts = {name: value for name, value in row.items() if name not in ("episode_index", "length", "tasks")}
        found.append(
            SourceEpisode(
                index=index, length=int(row["length"]), instructions=texts, data=data, clips=clips, facts=facts
            )
        )
    return sorted(found, key=lambda episode: episode.index)


def _shared_files(source: LeRobotSource) -> list[SourceEpisode]:
    """Episodes of v3.0, where many share a file and `meta/episodes` says where each begins."""
    info, folder, found = source.info, source.folder, []
    for row in layout.read_episode_rows(folder):
        clips = {}
        for camera in source.cameras:
            if source.features[camera]["dtype"] == "video":
                key = f"videos/{camera}"
                numbers = {name: row[f"{key}/{name}"] for name in ("chunk_index", "file_index")}
                path = folder / str(info["video_path"]).format(video_key=camera, **numbers)
                clips[camera] = Clip(path=path, start_s=row[f"{key}/from_timestamp"], end_s=row[f"{key}/to_timestamp"])
        numbers = {name: row[f"data/{name}"] for name in ("chunk_index", "file_index")}
        facts = {name: value for name, value in row.items() if "/" not in name}
        found.append(
            SourceEpisode(
                index=int(row["episode_index"]), length=int(row["length"]), instructions=tuple(row.get("tasks") or ()),
                data=folder / str(info["data_path"]).format(**numbers), clips=clips, facts=facts,
            )
        )  # fmt: skip
    return found


def _check_info(info: dict[str, Any], name: str) -> None:
    """Raises InvalidDataset: naming what `meta/info.json` lacks."""
    fps, columns = info.get("fps"), info.get("features")
    described = isinstance(columns, dict) and all(isinstance(what, dict) for what in columns.values())
    filmed = isinstance(columns, dict) and described and any(what.get("dtype") == "video" for what in columns.values())
    for entry, fine, wanted in (
        ("fps", isinstance(fps, int | float) and not isinstance(fps, bool) and 0 < fps < float("inf"), "rows a second"),
        ("features", described, "a description of each column"),
        ("data_path", isinstance(info.get("data_path"), str), "where the rows of an episode are"),
        ("video_path", isinstance(info.get("video_path"), str) or not filmed, "where videos are, as it has some"),
    ):
        if not fine:
            raise InvalidDataset(
                f"{name}: `{entry}` of meta/info.json, {wanted}, was wanted, got {info.get(entry)!r}; correct it, or "
                "copy the dataset again"
            )
    for column, what in info["features"].items():
        shape = what.get("shape", [1])
        sizes = shape if isinstance(shape, list) else [shape]
        if not all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in sizes):
            raise InvalidDataset(
                f"{name}: `shape` of {column!r} in meta/info.json, a list of sizes, was wanted, got {shape!r}; correct "
                "it, or copy the dataset again"
            )


def _json_lines(path: Path) -> list[dict[str, Any]]:
    try:  # lines end with \n only: `splitlines` would also cut texts at the line separators of Unicode
        return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line.strip()]
    except (OSError, ValueError) as error:
        raise InvalidDataset(f"{path} can't be read ({error}); copy the dataset again") from error


def _tasks_of(folder: Path) -> dict[int, str]:
    """Instructions by their number, from `meta/tasks.jsonl` or `meta/tasks.parquet`."""
    if (folder / "meta/tasks.jsonl").is_file():
        return {int(row["task_index"]): str(row["task"]) for row in _json_lines(folder / "meta/tasks.jsonl")}
    if not (folder / layout.TASKS_PATH).is_file():
        return {}
    table = layout.read_parquet(folder / layout.TASKS_PATH)
    texts = [name for name in ("task", "__index_level_0__") if name in table.column_names]
    numbers = table["task_index"].to_pylist()
    return dict(zip(numbers, map(str, table[texts[0]].to_pylist()), strict=True)) if texts else {}


def _table_of(path: Path) -> pa.Table:
    """A parquet file, read once for all episodes in it."""
    return _read_once(path, path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache(maxsize=2)
def _read_once(path: Path, stamp: int) -> pa.Table:
    return layout.read_parquet(path)


def _flat(names: Any) -> list[str]:
    """Names of a feature; some recorders put them under a word, `{"motors": [...]}`."""
    if isinstance(names, dict):
        return [text for part in names.values() for text in _flat(part)]
    return [str(name) for name in names] if isinstance(names, list) else []


def _rgb(picture: NDArray[Any]) -> NDArray[np.uint8]:
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    if picture.dtype != np.uint8 or picture.ndim != 3:
        raise ValueError(f"a picture of uint8 (H, W, 3) was wanted, got {picture.dtype} {picture.shape}")
    return np.ascontiguousarray(picture[..., :3])
