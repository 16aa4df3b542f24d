"""Writing episodes as a LeRobot v3.0 dataset, file by file, so that nothing written is ever lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from rise_gym import _lerobot as layout
from rise_gym._folder_lock import alone
from rise_gym._statistics import Pooled, pooled_statistics, statistics_of
from rise_gym._video import encode_clips
from rise_gym.errors import InvalidDataset, SaveFailed
from rise_gym.tasks import TaskCard
from rise_gym.types import Episode

_PARTS = ("data", "meta", "videos", "README.md")  # of a dataset, the card being what a hub's copy comes with


class EpisodeWriter:
    """Appends episodes to a dataset folder, new or begun before.

    Every `episodes_per_file` episodes become one file a camera and one parquet; closing (also by Ctrl-C) writes the
    rest. Whatever happens, what was written stays readable, and another writer on the folder goes on after it, also one
    that writes at the same time.

    Args:
        folder: the dataset.
        task: whose episodes these are.
        robot_type: for the dataset's description.
        episodes_per_file: how many episodes a hard kill may lose at most.
        once: leave out episodes of a policy and seed that another writer has written meanwhile.

    Raises:
        InvalidDataset: if the folder holds a dataset of another task or layout, one without its description, or
            something that is no dataset.
    """

    def __init__(
        self,
        folder: str | Path,
        task: TaskCard,
        *,
        robot_type: str = "piper_bimanual",
        episodes_per_file: int = 10,
        once: bool = False,
    ) -> None:
        self.folder, self.task, self.robot_type = Path(folder), task, robot_type
        self.episodes_per_file, self._once = episodes_per_file, once
        self._waiting: list[Episode] = []
        self._look()

    def _look(self) -> None:
        """Take in what the folder holds."""
        self._rows: list[layout.Row] = []
        self._files = self._files_there()
        self._features: dict[str, Any] | None = None
        self._pooled: Pooled = {}
        self._counted = 0  # episodes whose statistics are pooled
        self._told = 0  # episodes that the description counts: fewer than there are if the last writer was killed
        if (self.folder / layout.INFO_PATH).exists():
            info = layout.checked_info(self.folder, self.task)
            self._features, self._told = info["features"], info.get("total_episodes", 0)
            self._rows = layout.read_episode_rows(self.folder)
        elif self._files:
            raise InvalidDataset(
                f"{self.folder} holds episodes but no {layout.INFO_PATH}, without which they would be numbered anew; "
                "get that file back, or use another folder"
            )
        elif foreign := self._foreign():
            raise InvalidDataset(
                f"{self.folder} is no dataset and not empty, it holds {', '.join(foreign[:3])}: use a folder of its own"
            )

    def _foreign(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        names = (path.name for path in self.folder.iterdir() if not path.name.startswith("."))
        return sorted(name for name in names if name not in _PARTS)

    def _files_there(self) -> int:
        return len(list(self.folder.glob("meta/episodes/*/*.parquet")))

    def __len__(self) -> int:
        return len(self._rows) + len(self._waiting)

    def seeds(self, policy: str | None = None) -> frozenset[int]:
        """Environment seeds of the episodes so far, of one policy or of all."""
        found = [(row["policy"], row["seed"]) for row in self._rows]
        found += [(episode.policy, episode.seed) for episode in self._waiting]
        return frozenset(seed for name, seed in found if policy in (None, name))

    def require_writable(self) -> None:
        """Make the folder if it is not there, before hours go into what could not be kept in it.

        Raises:
            SaveFailed: if that can't be.
        """
        with alone(self.folder):
            pass

    def append(self, episode: Episode) -> None:
        """Add an episode; it is on disk at the latest when the writer closes.

        Raises:
            InvalidDataset: if the episode does not fit the task; nothing is added.
            SaveFailed: if the disk is full; the episodes that could not be written wait for the next `flush`.
        """
        _check_episode(episode, self.task, f"episode {len(self)} (seed {episode.seed})")
        self._waiting.append(episode)
        if len(self._waiting) >= self.episodes_per_file:
            self.flush()

    def flush(self) -> None:
        """Write the episodes that wait; a file's description comes last and makes it part of the dataset.

        Raises:
            InvalidDataset: if another writer made another dataset of the folder meanwhile.
            SaveFailed: if the disk is full; the episodes that could not be written wait for the next `flush`.
        """
        if not self._waiting:
            return
        with alone(self.folder):
            if self._files != self._files_there():  # another writer was faster: go on after it
                self._look()
                if self._once:
                    there = {(row["policy"], row["seed"]) for row in self._rows}
                    self._waiting = [one for one in self._waiting if (one.policy, one.seed) not in there]
            if self._waiting:
                self._write()

    def _write(self) -> None:
        if self._features is None:
            self._begin()
        where = layout.file_number(self._files)
        rows, parts = self._describe(where)
        for camera in self.task.cameras:
            clips = [episode.frames[camera] for episode in self._waiting]
            path = layout.VIDEO_PATH.format(video_key=layout.video_key(camera), **where)
            layout.write_atomically(self.folder / path, encode_clips(clips, self.task.control_hz))
        layout.write_atomically(
            self.folder / layout.DATA_PATH.format(**where), layout.parquet_bytes(layout.table(parts))
        )
        described = pa.table({key: [row[key] for row in rows] for key in rows[0]})
        layout.write_atomically(self.folder / layout.EPISODES_PATH.format(**where), layout.parquet_bytes(described))
        # In one go: an interruption must not count the file without its episodes, or it would be written twice.
        self._files, self._rows, self._waiting = self._files + 1, self._rows + rows, []
        self._summarise()

    def close(self) -> None:
        """Write what waits, and what a writer that was killed left unsaid of the whole."""
        self.flush()
        if self._told < len(self._rows):
            with alone(self.folder):
                self._summarise()

    def __enter__(self) -> EpisodeWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, SaveFailed):  # the disk that was full a moment ago still is
            self.close()

    def _begin(self) -> None:
        first = self._waiting[0].physics_state
        self._features = layout.features(self.task, 0 if first is None else first.shape[1])
        layout.write_atomically(self.folder / layout.CARD_PATH, layout.json_bytes(self.task.to_dict()))
        self._summarise()

    def _describe(self, where: dict[str, int]) -> tuple[list[layout.Row], list[layout.Row]]:
        """Descriptions and columns of the episodes that wait, as they will stand in file `where`."""
        rows: list[layout.Row] = []
        parts: list[layout.Row] = []
        instructions = _instructions(self._rows)
        index = self._rows[-1]["dataset_to_index"] if self._rows else 0
        seconds = 0.0
        for number, episode in enumerate(self._waiting, start=len(self._rows)):
            if episode.instruction not in instructions:
                instructions.append(episode.instruction)
            columns = layout.columns_of(
                episode,
                self.task,
                episode_index=number,
                first_index=index,
                task_index=instructions.index(episode.instruction),
            )
            self._check_columns(columns, number)
            parts.append(columns)
            duration = len(episode) / self.task.control_hz
            rows.append(_description(episode, number, index, where, self.task.cameras, seconds, duration))
            rows[-1] |= statistics_of(columns, episode)
            index, seconds = index + len(episode), seconds + duration
        return rows, parts

    def _check_columns(self, columns: layout.Row, number: int) -> None:
        wanted = {name: tuple(f["shape"]) for name, f in (self._features or {}).items() if f["dtype"] != "video"}
        found = {name: values.shape[1:] or (1,) for name, values in columns.items()}
        if wanted != found:
            odd = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
            raise InvalidDataset(
                f"{self.folder} has columns {[(name, wanted.get(name)) for name in odd]}, episode {number} has "
                f"{[(name, found.get(name)) for name in odd]}; episodes with and without physics states go to "
                "datasets of their own"
            )

    def _summarise(self) -> None:
        """Description, tasks and statistics of the whole dataset."""
        info = {
            "codebase_version": layout.VERSION,
            "robot_type": self.robot_type,
            "total_episodes": len(self._rows),
            "total_frames": sum(row["length"] for row in self._rows),
            "total_tasks": len(_instructions(self._rows)),
            "chunks_size": layout.FILES_PER_CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": int(self.task.control_hz) if self.task.control_hz.is_integer() else self.task.control_hz,
            "splits": {"train": f"0:{len(self._rows)}"},
            "data_path": layout.DATA_PATH,
            "video_path": layout.VIDEO_PATH,
            "features": self._features,
        }
        tasks = layout.tasks_table(_instructions(self._rows))
        layout.write_atomically(self.folder / layout.TASKS_PATH, layout.parquet_bytes(tasks))
        self._pool()
        layout.write_atomically(self.folder / layout.STATS_PATH, layout.json_bytes(self._pooled))
        layout.write_atomically(self.folder / layout.INFO_PATH, layout.json_bytes(info))
        self._told = len(self._rows)

    def _pool(self) -> None:
        """Add the statistics of new episodes to those of all; of each episode they are kept on disk only."""
        fresh = self._rows[self._counted :]
        self._pooled = pooled_statistics(fresh, self._pooled)
        kept = [{key: value for key, value in row.items() if not key.startswith("stats/")} for row in fresh]
        self._rows, self._counted = self._rows[: self._counted] + kept, len(self._rows)


def write_episodes(folder: str | Path, episodes: Iterable[Episode], task: TaskCard) -> None:
    """Append `episodes` to the dataset in `folder`, which is begun if there is none.

    Raises:
        InvalidDataset: if an episode does not fit the task, or the folder holds another task's dataset.
        SaveFailed: if the disk is full; what was saved before is kept.
    """
    with EpisodeWriter(folder, task) as writer:
        for episode in episodes:
            writer.append(episode)


def _description(
    episode: Episode,
    number: int,
    index: int,
    where: dict[str, int],
    cameras: Sequence[str],
    seconds: float,
    duration: float,
) -> layout.Row:
    row: layout.Row = {
        "episode_index": number,
        "tasks": [episode.instruction],
        "length": len(episode),
        "dataset_from_index": index,
        "dataset_to_index": index + len(episode),
        "success": bool(episode.success),
        "score": float(episode.score),
        "source": episode.source,
        "policy": episode.policy,
        "seed": int(episode.seed),
    }
    keys = {f"videos/{layout.video_key(camera)}" for camera in cameras}
    for place in ("data", "meta/episodes", *sorted(keys)):
        row |= {f"{place}/{name}": value for name, value in where.items()}
    for key in sorted(keys):
        row |= {f"{key}/from_timestamp": seconds, f"{key}/to_timestamp": seconds + duration}
    return row


def _instructions(rows: Iterable[layout.Row]) -> list[str]:
    return list(dict.fromkeys(text for row in rows for text in row["tasks"]))


def _check_episode(episode: Episode, task: TaskCard, name: str) -> None:
    if episode.task != task.name:
        raise InvalidDataset(f"{name} is of task {episode.task!r}; the dataset is of {task.name!r}: use another folder")
    rows = len(episode)
    for camera in task.cameras:
        if camera not in episode.frames:
            raise InvalidDataset(
                f"{name} lacks camera {camera!r}; it has {', '.join(sorted(episode.frames)) or 'none'}"
            )
        found = episode.frames[camera]
        if found.shape != (rows, *task.image_size, 3) or found.dtype != np.uint8:
            raise InvalidDataset(
                f"{name}, camera {camera!r}: uint8 frames of shape {(rows, *task.image_size, 3)} were wanted, "
                f"{found.dtype} of shape {found.shape} came"
            )
    width = len(task.action_names)
    for column, values in (("actions", episode.actions), ("clean_actions", episode.clean_actions)):
        if values is not None and values.shape != (rows, width):
            raise InvalidDataset(f"{name}: {column} of shape {(rows, width)} were wanted, {values.shape} came")
        if values is not None and not np.abs(values).max(initial=0.0) <= 1.0:
            raise InvalidDataset(f"{name}: {column} must be finite and in [-1, 1]; use `task.scale_action` on targets")
