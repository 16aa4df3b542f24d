"""Does the real lerobot open what this project writes? And if it can't be had, does the layout hold field by field?

    python benchmarks/lerobot_roundtrip.py              # the fields, against the layout that lerobot 0.4.4 publishes
    python benchmarks/lerobot_roundtrip.py --install    # lerobot itself, in an environment of its own

lerobot cannot be installed beside this project. Of its own it wants torch below 2.11, which registries have only with
CUDA libraries: several gigabytes. On the machine of the recorded result, finding out what to install (`pip install
--dry-run`) was given up after nine minutes: nothing was installed, the layout was read in the wheel of lerobot instead.
`--install` gives up after `--minutes`, and says so in the result.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import _common as common
import numpy as np
import pyarrow.parquet as pq
import tyro

from rise_gym.episodes import write_episodes
from rise_gym.evaluation import write_report_json
from rise_gym.tasks import BOX_CLOSE
from rise_gym.types import Episode

LEROBOT = "lerobot==0.4.4"
ROWS = (12, 7)
DEFAULTS = {
    "timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64", "task_index": "int64",
}  # fmt: skip
PATHS = {
    "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
    "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
}
OPENED = """
import json, sys
from lerobot.datasets.lerobot_dataset import LeRobotDataset
data = LeRobotDataset("rise_gym/roundtrip", root=sys.argv[1], video_backend="pyav")
row = data[len(data) - 1]
print(json.dumps({"episodes": data.num_episodes, "frames": len(data), "task": row["task"],
                  "pictures": list(row["observation.images.head"].shape), "action": row["action"].tolist()}))
"""


def main(*, output: Path | None = None, install: bool = False, minutes: float = 10.0) -> None:
    """Write a dataset and look at it as lerobot does.

    Args:
        output: the result; default: `benchmarks/results/lerobot_roundtrip.json`.
        install: try with lerobot itself, in an environment of its own.
        minutes: to give up installing after.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "dataset"
        write_episodes(folder, [_episode(number, rows) for number, rows in enumerate(ROWS)], BOX_CLOSE)
        checks = fields(folder)
        opened = _opened(folder, Path(scratch) / "venv", minutes) if install else "not tried: see the docstring"
    wrong = sorted(name for name, holds in checks.items() if not holds)
    result: dict[str, Any] = {"lerobot": LEROBOT, "opened_by_lerobot": opened, "fields": len(checks), "wrong": wrong}
    write_report_json(output or common.RESULTS / "lerobot_roundtrip.json", result)
    print(json.dumps(result, indent=2))
    if wrong:
        sys.exit(1)


def fields(folder: Path) -> dict[str, bool]:
    """What the published layout says of a v3.0 dataset, and whether it holds."""
    info = json.loads((folder / "meta/info.json").read_text())
    data = pq.read_table(folder / PATHS["data_path"].format(chunk_index=0, file_index=0))
    episodes = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet")
    stats = json.loads((folder / "meta/stats.json").read_text())
    found = {
        "codebase_version": info["codebase_version"] == "v3.0",
        "fps is a whole number": isinstance(info["fps"], int),
        "totals": (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (len(ROWS), sum(ROWS), 1),
        "names of features have no slash": not any("/" in name for name in info["features"]),
    }
    found |= {name: info[name] == path for name, path in PATHS.items()}
    found |= {f"default feature {name}": _fits(info["features"], name, kind) for name, kind in DEFAULTS.items()}
    for name, feature in info["features"].items():
        if feature["dtype"] == "video":
            found |= _video_fields(folder, name, episodes)
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
    ends = np.cumsum(ROWS).tolist()
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


def _video_fields(folder: Path, name: str, episodes: Any) -> dict[str, bool]:
    key = f"videos/{name}"
    path = folder / PATHS["video_path"].format(video_key=name, chunk_index=0, file_index=0)
    columns = [f"{key}/{part}" for part in ("chunk_index", "file_index", "from_timestamp", "to_timestamp")]
    spans = [(row[columns[2]], row[columns[3]]) for row in episodes.to_pylist()]
    whole = np.isclose(spans[-1][1], sum(ROWS) / BOX_CLOSE.control_hz) and spans[0][1] == spans[1][0]
    return {f"file of {name}": path.is_file(), f"spans of {name}": all(c in episodes.column_names for c in columns) and
            bool(whole)}  # fmt: skip


def _episode(number: int, rows: int) -> Episode:
    rng = np.random.default_rng(number)
    frames = rng.integers(0, 255, (rows, *BOX_CLOSE.image_size, 3), dtype=np.uint8)
    actions = rng.uniform(-1, 1, (rows, len(BOX_CLOSE.action_names))).astype(np.float32)
    return Episode(
        task=BOX_CLOSE.name, instruction=BOX_CLOSE.instruction, frames=dict.fromkeys(BOX_CLOSE.cameras, frames),
        proprio=actions, actions=actions, success=True, score=10.0, source="demonstration", policy="test", seed=number,
    )  # fmt: skip


def _opened(folder: Path, place: Path, minutes: float) -> dict[str, Any] | str:
    """What lerobot itself reads, or why it could not be asked."""
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    try:
        subprocess.run([python, "-m", "pip", "install", "-q", LEROBOT], check=True, timeout=60 * minutes)
        done = subprocess.run([python, "-c", OPENED, folder], check=True, timeout=300, capture_output=True, text=True)
    except subprocess.TimeoutExpired:
        return f"given up: {LEROBOT} was not installed after {minutes:g} minutes"
    except subprocess.CalledProcessError as error:
        return f"failed with {error.returncode}: {str(error.stderr or '')[-300:]}"
    read: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return read


if __name__ == "__main__":
    tyro.cli(main)
