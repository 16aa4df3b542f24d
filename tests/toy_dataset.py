"""Recordings as a lab may have them: a 7-DoF arm and two cameras in LeRobot's layouts, in degrees and percent."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rise_gym._video import encode_clips

NAMES = (*(f"joint{n}.pos" for n in range(1, 7)), "gripper.pos")
CAMERAS = {"front_cam": (48, 64), "wrist_cam": (40, 40)}
TASK = "put the cube in the bowl"


@dataclass
class Toy:
    """Episodes as arrays: `times` (N,), `state` and `action` (N, 7) in degrees and percent, `frames` by camera."""

    times: NDArray[np.float64]
    state: NDArray[np.float64]
    action: NDArray[np.float64]
    frames: dict[str, NDArray[np.uint8]]
    success: bool = True


def toy(seed: int, seconds: float = 3.0, fps: int = 20) -> Toy:
    """A square that moves with the first joint; the brightness of its ground is the episode's, its blue the row's."""
    rng = np.random.default_rng(seed)
    rows = round(seconds * fps)
    times = np.arange(rows) / fps
    goal = rng.uniform(-60, 60, 7)
    goal[6] = rng.uniform(20, 90)
    start = np.concatenate([rng.uniform(-30, 30, 6), [50.0]])
    wave = 5 * np.sin(times[:, None] * rng.uniform(1, 3, 7) + rng.uniform(0, 6, 7))
    action = start + (goal - start) * (times / times[-1])[:, None] + wave
    action[:, 6] = action[:, 6].clip(0, 100)
    state = np.vstack([action[:1], action[:-1]]) + rng.normal(0, 0.2, action.shape)
    frames = {}
    for number, (camera, (height, width)) in enumerate(CAMERAS.items()):
        video = np.full((rows, height, width, 3), 40 + 15 * (seed % 8), np.uint8)
        video[..., 1] = 30 + 90 * number
        for row in range(rows):
            left = int((width - 10) * (state[row, 0] + 90) / 180)
            video[row, 10:20, left : left + 10] = (230, 60 * number, 20)
            video[row, 24:36, :, 2] = 4 * row % 256
        frames[camera] = video
    return Toy(times, state, action, frames, success=seed % 3 != 2)


def write_v21(folder: Path, episodes: list[Toy], *, fps: int = 20, kind: str = "video", **info: Any) -> Path:
    """LeRobot v2.1: a parquet and an mp4 a camera for every episode; `kind` "image" keeps PNGs in the parquet."""
    (folder / "meta").mkdir(parents=True)
    lines, first = [], 0
    for index, episode in enumerate(episodes):
        rows = len(episode.times)
        table = _columns(episode, index, first)
        for camera, frames in episode.frames.items():
            key = f"observation.images.{camera}"
            if kind == "image":
                table[key] = [{"bytes": _png(one), "path": None} for one in frames]
            else:
                path = folder / f"videos/chunk-000/{key}/episode_{index:06d}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode_clips([frames], fps))
        path = folder / f"data/chunk-000/episode_{index:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(table), path)
        lines.append({"episode_index": index, "tasks": [TASK], "length": rows})
        first += rows
    (folder / "meta/episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "meta/tasks.jsonl").write_text(json.dumps({"task_index": 0, "task": TASK}) + "\n")
    described = _info("v2.1", episodes, fps, kind) | {
        "chunks_size": 1000,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }
    (folder / "meta/info.json").write_text(json.dumps(described | info))
    return folder


def write_v30(folder: Path, episodes: list[Toy], *, fps: int = 20) -> Path:
    """LeRobot v3.0: all episodes in one parquet and one mp4 a camera."""
    tables, rows, first, seconds = [], [], 0, 0.0
    for index, episode in enumerate(episodes):
        length = len(episode.times)
        tables.append(pa.table(_columns(episode, index, first)))
        row: dict[str, Any] = {"episode_index": index, "tasks": [TASK], "length": length, "data/chunk_index": 0}
        row |= {"data/file_index": 0, "dataset_from_index": first, "dataset_to_index": first + length}
        for camera in episode.frames:
            key = f"videos/observation.images.{camera}"
            row |= {f"{key}/chunk_index": 0, f"{key}/file_index": 0}
            row |= {f"{key}/from_timestamp": seconds, f"{key}/to_timestamp": seconds + length / fps}
        rows.append(row)
        first, seconds = first + length, seconds + length / fps
    for camera in episodes[0].frames:
        path = folder / f"videos/observation.images.{camera}/chunk-000/file-000.mp4"
        path.parent.mkdir(parents=True)
        path.write_bytes(encode_clips([episode.frames[camera] for episode in episodes], fps))
    for name, table in (
        ("data/chunk-000/file-000", pa.concat_tables(tables)),
        ("meta/episodes/chunk-000/file-000", pa.table({key: [row[key] for row in rows] for key in rows[0]})),
        ("meta/tasks", pa.table({"task_index": [0], "__index_level_0__": [TASK]})),
    ):
        path = folder / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
    described = _info("v3.0", episodes, fps, "video") | {
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }
    (folder / "meta/info.json").write_text(json.dumps(described))
    return folder


def _columns(episode: Toy, index: int, first: int) -> dict[str, Any]:
    rows = len(episode.times)
    last = np.arange(rows) == rows - 1
    return {
        "observation.state": pa.array(episode.state.astype(np.float32).tolist(), pa.list_(pa.float32())),
        "action": pa.array(episode.action.astype(np.float32).tolist(), pa.list_(pa.float32())),
        "next.success": last & episode.success,
        "timestamp": episode.times.astype(np.float32),
        "frame_index": np.arange(rows),
        "episode_index": np.full(rows, index),
        "index": np.arange(first, first + rows),
        "task_index": np.zeros(rows, np.int64),
    }


def _info(version: str, episodes: list[Toy], fps: int, kind: str) -> dict[str, Any]:
    vector = {"dtype": "float32", "shape": [len(NAMES)], "names": {"motors": list(NAMES)}}
    features: dict[str, Any] = {"observation.state": vector, "action": vector}
    for camera, frames in episodes[0].frames.items():
        features[f"observation.images.{camera}"] = {
            "dtype": kind, "shape": list(frames.shape[1:]), "names": ["height", "width", "channels"]
        }  # fmt: skip
    for name, what in (("next.success", "bool"), ("timestamp", "float32"), ("task_index", "int64")):
        features[name] = {"dtype": what, "shape": [1], "names": None}
    total = sum(len(episode.times) for episode in episodes)
    return {
        "codebase_version": version, "robot_type": "toy_arm", "fps": fps, "features": features,
        "total_episodes": len(episodes), "total_frames": total,
    }  # fmt: skip


def _png(picture: NDArray[np.uint8]) -> bytes:
    target = io.BytesIO()
    imageio.imwrite(target, picture, extension=".png")
    return target.getvalue()
