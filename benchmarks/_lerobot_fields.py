"""What lerobot's published layout v3.0 says of a dataset, field by field, and whether it holds of one written here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from rise_gym.tasks import BOX_CLOSE

DEFAULTS = {
    "timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64", "task_index": "int64",
}  # fmt: skip
PATHS = {
    "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
    "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
}


def fields(folder: Path, lengths: Sequence[int], instructions: int) -> dict[str, bool]:
    """Whether each field of a dataset of `BOX_CLOSE` is as it should be.

    Args:
        folder: the dataset. lengths: rows of each episode. instructions: how many different ones there are.
    """
    info = json.loads((folder / "meta/info.json").read_text())
    data = pq.read_table(folder / PATHS["data_path"].format(chunk_index=0, file_index=0))
    episodes = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet")
    stats = json.loads((folder / "meta/stats.json").read_text())
    found = {
        "codebase_version": info["codebase_version"] == "v3.0",
        "fps is a whole number": isinstance(info["fps"], int),
        "totals": (info["total_episodes"], info["total_frames"], info["total_tasks"])
        == (len(lengths), sum(lengths), instructions),
        "names of features have no slash": not any("/" in name for name in info["features"]),
    }
    found |= {name: info[name] == path for name, path in PATHS.items()}
    found |= {f"default feature {name}": _fits(info["features"], name, kind) for name, kind in DEFAULTS.items()}
    for name, feature in info["features"].items():
        if feature["dtype"] == "video":
            found |= _video_fields(folder, name, episodes, sum(lengths))
        else:
            found[f"column {name}"] = _typed(data.schema.field(name).type, feature)
    for name in ("observation.state", "action", *(f"observation.images.{camera}" for camera in BOX_CLOSE.cameras)):
        found[f"statistics of {name}"] = {"min", "max", "mean", "std", "count"} <= set(stats.get(name, ()))
    tasks = pq.read_table(folder / "meta/tasks.parquet")
    described = json.loads((tasks.schema.metadata or {}).get(b"pandas", b"{}"))
    found["the text is the index of tasks"] = described.get("index_columns") == ["task"]
    wanted = ("episode_index", "tasks", "length", "dataset_from_index", "dataset_to_index", "data/chunk_index",
              "data/file_index", "meta/episodes/chunk_index", "meta/episodes/file_index")  # fmt: skip
    found |= {f"meta/episodes has {name}": name in episodes.column_names for name in wanted}
    ends = np.cumsum(lengths).tolist()
    found["rows of episodes"] = episodes["dataset_to_index"].to_pylist() == ends
    return found


def _fits(features: dict[str, Any], name: str, kind: str) -> bool:
    return {key: features[name][key] for key in ("dtype", "shape", "names")} == {
        "dtype": kind, "shape": [1], "names": None
    }  # fmt: skip


def _typed(stored: Any, feature: dict[str, Any]) -> bool:
    """Whether a column is stored as lerobot casts its feature: a number, or a list of as many."""
    kind = {"float32": "float", "float64": "double"}.get(feature["dtype"], feature["dtype"])
    width = feature["shape"][0]
    return str(stored) == kind if width == 1 else str(stored) in (
        f"fixed_size_list<element: {kind}>[{width}]", f"fixed_size_list<item: {kind}>[{width}]"
    )  # fmt: skip


def _video_fields(folder: Path, name: str, episodes: Any, rows: int) -> dict[str, bool]:
    key = f"videos/{name}"
    path = folder / PATHS["video_path"].format(video_key=name, chunk_index=0, file_index=0)
    columns = [f"{key}/{part}" for part in ("chunk_index", "file_index", "from_timestamp", "to_timestamp")]
    spans = [(row[columns[2]], row[columns[3]]) for row in episodes.to_pylist()]
    whole = np.isclose(spans[-1][1], rows / BOX_CLOSE.control_hz) and spans[0][1] == spans[1][0]
    return {f"file of {name}": path.is_file(), f"spans of {name}": all(c in episodes.column_names for c in columns) and
            bool(whole)}  # fmt: skip
