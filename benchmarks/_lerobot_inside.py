"""Runs in lerobot's own environment, with nothing of this project: what lerobot reads and writes, as plain arrays.

    python _lerobot_inside.py read DATASET ARRAYS DECODER...   # a folder, which gets an .npz a decoder
    python _lerobot_inside.py write EPISODES DATASET      # EPISODES: a folder with dataset.json and an .npz an episode

Arrays are named as the features are; pictures are uint8 (N, H, W, 3), `task` is a text a row.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

NAME = "somebody/dataset"


def read(dataset: str, arrays: str, *decoders: str) -> dict[str, Any]:
    """Every row of a dataset as lerobot gives it to a policy's training, once by each decoder of videos."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    Path(arrays).mkdir(parents=True)
    for decoder in decoders:
        found = LeRobotDataset(NAME, root=dataset, video_backend=decoder)
        rows = [found[number] for number in range(len(found))]
        columns: dict[str, Any] = {name: np.stack([_plain(row[name]) for row in rows]) for name in rows[0]}
        np.savez(Path(arrays) / f"{decoder}.npz", **columns)
    return _versions()


def write(episodes: str, dataset: str) -> dict[str, Any]:
    """Record episodes as a robot's recording script does."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    described = json.loads((Path(episodes) / "dataset.json").read_text())
    for feature in described["features"].values():
        feature["shape"] = tuple(feature["shape"])  # which JSON does not know
    target: Any = LeRobotDataset.create(NAME, root=dataset, **described)
    task_apart = "task" in inspect.signature(target.add_frame).parameters  # until 0.3
    for path in sorted(Path(episodes).glob("*.npz")):
        columns = np.load(path)
        kept = {name: columns[name] for name in columns.files}
        for row in range(len(kept["task"])):
            frame = {name: values[row] for name, values in kept.items()}
            task = str(frame.pop("task"))
            if task_apart:
                target.add_frame(frame, task)
            else:
                target.add_frame({**frame, "task": task})
        target.save_episode()
    if hasattr(target, "finalize"):  # since 0.4
        target.finalize()
    layout = json.loads((Path(dataset) / "meta/info.json").read_text())["codebase_version"]
    return {"layout": layout, **_versions()}


def _plain(value: Any) -> Any:
    """A row's value as an array; pictures come as floats (3, H, W) from 0 to 1."""
    if isinstance(value, str):
        return value
    array = value.numpy()
    if array.ndim == 3:
        return np.round(255 * array.transpose(1, 2, 0)).astype(np.uint8)
    return array


def _versions() -> dict[str, Any]:
    names = ("lerobot", "torch", "torchvision", "torchcodec", "av", "datasets", "numpy")
    return {"versions": {"python": sys.version.split()[0], **{name: version(name) for name in names}}}


if __name__ == "__main__":
    work: dict[str, Callable[..., dict[str, Any]]] = {"read": read, "write": write}
    print(json.dumps(work[sys.argv[1]](*sys.argv[2:])))
