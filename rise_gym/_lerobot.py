"""The LeRobot v3.0 layout: names and types of files, columns and statistics. No lerobot needed.

A dataset is a sequence of *files* (a parquet, and an mp4 a camera, of some episodes each) that
`meta/episodes` describes; a file belongs to the dataset once its description is there.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rise_gym._video import CODEC, PIXEL_FORMAT
from rise_gym.errors import InvalidDataset, SaveFailed
from rise_gym.tasks import TaskCard
from rise_gym.types import Episode

VERSION = "v3.0"
FILES_PER_CHUNK = 1000
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
INFO_PATH, STATS_PATH, TASKS_PATH = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
CARD_PATH = "meta/rise_gym_task.json"

Row = dict[str, Any]


def video_key(camera: str) -> str:
    return f"observation.images.{camera}"


def file_number(number: int) -> dict[str, int]:
    """Chunk and file index of the `number`-th file."""
    return {"chunk_index": number // FILES_PER_CHUNK, "file_index": number % FILES_PER_CHUNK}


# -- columns ----------------------------------------------------------------------------------------------------------


def features(task: TaskCard, physics_size: int) -> dict[str, Any]:
    """The `features` of `meta/info.json`; `physics_size` 0 is a dataset without physics states."""
    height, width = task.image_size
    video = {"video.height": height, "video.width": width, "video.codec": CODEC, "video.pix_fmt": PIXEL_FORMAT}
    video |= {"video.is_depth_map": False, "video.fps": task.control_hz, "video.channels": 3, "has_audio": False}
    names = ["height", "width", "channels"]
    columns: dict[str, Any] = {
        video_key(camera): {"dtype": "video", "shape": [height, width, 3], "names": names, "info": video}
        for camera in task.cameras
    }
    vectors = {"observation.state": task.proprio_names, "action": task.action_names, "action.clean": task.action_names}
    for name, parts in vectors.items():
        columns[name] = {"dtype": "float32", "shape": [len(parts)], "names": list(parts)}
    if physics_size:
        columns["physics_state"] = {"dtype": "float64", "shape": [physics_size], "names": None}
    scalars = {"progress": "float32", "next.reward": "float32", "next.done": "bool", "next.success": "bool"}
    scalars |= {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64"}
    scalars |= {"task_index": "int64"}
    return columns | {name: {"dtype": kind, "shape": [1], "names": None} for name, kind in scalars.items()}


def columns_of(episode: Episode, task: TaskCard, *, episode_index: int, first_index: int, task_index: int) -> Row:
    """The parquet columns of one episode as arrays (N,) or (N, D); NaN stands for what was not measured."""
    rows = len(episode)
    unmeasured = np.full(rows, np.nan, np.float32)
    progress = unmeasured if episode.progress is None else np.asarray(episode.progress, np.float32)
    clean = np.full_like(episode.actions, np.nan) if episode.clean_actions is None else episode.clean_actions
    last = np.arange(rows) == rows - 1
    columns: Row = {
        "observation.state": np.asarray(episode.proprio, np.float32),
        "action": task.unscale_action(episode.actions).astype(np.float32),
        "action.clean": task.unscale_action(clean).astype(np.float32),
        "progress": progress,
        "next.reward": np.diff(progress, append=progress[-1:]),
        "next.done": last,
        "next.success": last & bool(episode.success),
        "timestamp": (np.arange(rows) / task.control_hz).astype(np.float32),
        "frame_index": np.arange(rows),
        "episode_index": np.full(rows, episode_index),
        "index": np.arange(first_index, first_index + rows),
        "task_index": np.full(rows, task_index),
    }
    if episode.physics_state is not None:
        columns["physics_state"] = np.asarray(episode.physics_state, np.float64)
    return columns


def table(parts: Sequence[Row]) -> pa.Table:
    """One parquet table from the columns of some episodes."""
    arrays = {}
    for name in parts[0]:
        values = np.concatenate([part[name] for part in parts])
        flat = pa.array(values.ravel())
        arrays[name] = flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    return pa.table(arrays)


def array_of(column: pa.ChunkedArray, rows: NDArray[np.integer]) -> NDArray[Any]:
    """Some rows of a column as an array (N,) or (N, D).

    Raises:
        ValueError: if rows of a vector are empty, or not equally long.
    """
    chosen = column.take(pa.array(rows)).combine_chunks()
    if pa.types.is_list(chosen.type) or pa.types.is_fixed_size_list(chosen.type):
        if chosen.null_count:  # flattened, they would be left out, and those after them move up
            raise ValueError(f"{chosen.null_count} of {len(rows)} rows are empty")
        if len(lengths := chosen.value_lengths().unique()) > 1:
            raise ValueError(f"its rows have {' or '.join(map(str, sorted(lengths.to_pylist())))} numbers")
        flat: NDArray[Any] = chosen.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(len(rows), -1).copy()
    return np.array(chosen.to_numpy(zero_copy_only=False))


# -- files ------------------------------------------------------------------------------------------------------------


def tasks_table(instructions: Sequence[str]) -> pa.Table:
    """`meta/tasks.parquet` with the metadata by which pandas takes the text as index, as lerobot reads it."""
    columns = [
        {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"},
        {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object"},
    ]
    described = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [{**column, "metadata": None} for column in columns],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    plain = pa.table({"task_index": pa.array(range(len(instructions)), pa.int64()), "task": list(instructions)})
    return plain.replace_schema_metadata({"pandas": json.dumps(described)})


def parquet_bytes(content: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(content, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def json_bytes(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        SaveFailed: if the disk is full or the folder can't be written; what was there before is untouched.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        _forget(partial)
        raise SaveFailed(
            f"could not write {path} ({error}); what was saved before is untouched: free some space (or make the "
            "folder writable) and start the same command again"
        ) from error
    except BaseException:  # Ctrl-C
        _forget(partial)
        raise


def _forget(partial: Path) -> None:
    with contextlib.suppress(OSError):
        partial.unlink(missing_ok=True)


def read_parquet(path: Path) -> pa.Table:
    """Raises InvalidDataset: if the file is missing or damaged."""
    try:
        return pq.read_table(path)
    except FileNotFoundError as error:
        raise InvalidDataset(f"{path} is missing although the dataset's description names it; copy it again") from error
    except (pa.ArrowException, OSError) as error:
        raise InvalidDataset(f"{path} can't be read as parquet ({error}); copy the dataset again") from error


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Raises InvalidDataset: if the file is missing, damaged, or no JSON object."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidDataset(
            f"{what} was wanted at {path}, which can't be read ({error}); name another folder, or copy that one again"
        ) from error
    if not isinstance(content, dict):
        raise InvalidDataset(f"{what} was wanted at {path}, which holds no JSON object; copy the folder again")
    return content


def read_info(folder: Path) -> dict[str, Any]:
    """`meta/info.json` of a dataset in this layout.

    Raises:
        InvalidDataset: if there is none, or it is of another version of the layout.
    """
    info = read_json(folder / INFO_PATH, "the description of a LeRobot dataset")
    if (version := info.get("codebase_version")) != VERSION:
        raise InvalidDataset(
            f"{folder} is a LeRobot dataset of version {version}; {VERSION} was wanted: read it into another folder "
            "with `rise-gym import`"
        )
    return info


def stored_task(folder: str | Path) -> TaskCard:
    """The card of the task that a dataset is of.

    Raises:
        InvalidDataset: if the folder has none.
    """
    path = Path(folder) / CARD_PATH
    content = read_json(path, "the task card of a rise_gym dataset")
    try:
        return TaskCard.from_dict(content)
    except (TypeError, KeyError) as error:
        raise InvalidDataset(f"{path} is no task card ({error}); copy the dataset again") from error


def checked_info(folder: Path, task: TaskCard) -> dict[str, Any]:
    """The dataset's description, if it is of this layout and task."""
    info = read_info(folder)
    foreign = (
        "" if (folder / CARD_PATH).exists() else "; it is somebody else's: `rise-gym import` makes one of ours of it"
    )
    if (folder / CARD_PATH).exists() and (name := stored_task(folder).name) != task.name:
        raise InvalidDataset(f"a dataset of task {task.name!r} was wanted, {folder} is of {name!r}; use another folder")
    found = info.get("features", {})
    if missing := [camera for camera in task.cameras if video_key(camera) not in found]:
        have = sorted(name for name, feature in found.items() if feature.get("dtype") == "video")
        raise InvalidDataset(
            f"{folder} lacks cameras {', '.join(missing)}; it has {', '.join(have) or 'none'}: record them, or use a "
            f"task whose cameras it has{foreign}"
        )
    for name, width in (("observation.state", len(task.proprio_names)), ("action", len(task.action_names))):
        if (shape := found.get(name, {}).get("shape")) != [width]:
            raise InvalidDataset(f"{folder}: column {name!r} of shape [{width}] was wanted, {shape} came{foreign}")
    if info.get("fps") != task.control_hz:
        raise InvalidDataset(
            f"{folder} has {info.get('fps')} frames a second; {task.name!r} wants {task.control_hz}{foreign}"
        )
    return info


def read_episode_rows(folder: Path) -> list[Row]:
    """What `meta/episodes` says, one row an episode, in order.

    Raises:
        InvalidDataset: if files of it are damaged, naming all of them.
    """
    rows: list[Row] = []
    damaged: list[str] = []
    for path in sorted(folder.glob("meta/episodes/*/*.parquet")):
        try:
            rows += read_parquet(path).to_pylist()
        except InvalidDataset as error:
            damaged.append(str(error))
    if damaged:
        raise InvalidDataset("\n".join(damaged))
    return sorted(rows, key=lambda row: row["episode_index"])
