"""Episodes that show a mistake: every row of every camera looks different; and how two sets of them are compared."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rise_gym.tasks import BOX_CLOSE, TaskCard
from rise_gym.types import Episode

LENGTHS = (12, 7, 9)
INSTRUCTIONS = (BOX_CLOSE.instruction, "Close the lid.", BOX_CLOSE.instruction)
SUCCESSES = (True, False, True)
EXACT = 1e-6
"""Numbers may differ by so much, in rad and m: they are float32 on both sides."""
PICTURE_ERROR = 6.0
"""Mean difference of a camera's pictures, of 255, that a codec may make."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """One episode in plain units: state and action (N, A) in rad and m, frames uint8 (N, H, W, 3) by camera."""

    instruction: str
    state: NDArray[np.floating]
    action: NDArray[np.floating]
    frames: dict[str, NDArray[np.uint8]]
    success: bool

    @classmethod
    def of(cls, episode: Episode, task: TaskCard) -> Rows:
        """An episode of this project."""
        return cls(
            instruction=episode.instruction, state=episode.proprio, action=task.unscale_action(episode.actions),
            frames=episode.frames, success=episode.success,
        )  # fmt: skip


def made_episodes() -> list[Episode]:
    """Episodes to write: the ground gets brighter with every row, a square wanders, colours tell episode and camera."""
    return [_episode(number, rows) for number, rows in enumerate(LENGTHS)]


def _episode(number: int, rows: int) -> Episode:
    rng, task = np.random.default_rng(number), BOX_CLOSE
    joints = rng.uniform(-0.9, 0.9, (1, 14)) * np.linspace(0.2, 1, rows)[:, None]
    actions = joints.astype(np.float32)
    actions[-1:] = actions[-2:-1]  # as every episode here ends
    return Episode(
        task=task.name, instruction=INSTRUCTIONS[number], success=SUCCESSES[number], score=10.0 * SUCCESSES[number],
        frames={camera: _pictures(rows, number, place) for place, camera in enumerate(task.cameras)},
        proprio=task.unscale_action(0.9 * joints).astype(np.float32), actions=actions,
        source="demonstration", policy="test", seed=number,
    )  # fmt: skip


def _pictures(rows: int, episode: int, camera: int) -> NDArray[np.uint8]:
    height, width = BOX_CLOSE.image_size
    video = np.zeros((rows, height, width, 3), np.uint8)
    video[..., 1], video[..., 2] = 40 + 70 * camera, 40 + 70 * episode
    for row in range(rows):
        video[row, ..., 0] = 30 + 10 * row
        video[row, 20:36, 3 * row : 3 * row + 16] = (230, 220, 40)
    return video


def save_for_lerobot(folder: Path, episodes: Sequence[Episode], still: str) -> None:
    """The same episodes as `_lerobot_inside.py` writes them; camera `still` is kept as pictures, not as video."""
    folder.mkdir(parents=True)
    task = BOX_CLOSE
    for number, episode in enumerate(episodes):
        rows, last = len(episode), np.arange(len(episode)) == len(episode) - 1
        columns: dict[str, Any] = {
            **{f"observation.images.{camera}": frames for camera, frames in episode.frames.items()},
            "observation.state": episode.proprio, "next.success": (last & episode.success)[:, None],
            "action": task.unscale_action(episode.actions).astype(np.float32),
            "task": np.array([episode.instruction] * rows),
        }  # fmt: skip
        np.savez(folder / f"episode_{number:03d}.npz", **columns)
    joints = {"dtype": "float32", "shape": [len(task.action_names)], "names": list(task.action_names)}
    features = {
        **{f"observation.images.{camera}": picture_feature(task.image_size, "image" if camera == still else "video")
           for camera in task.cameras},
        "observation.state": joints, "action": joints, "next.success": {"dtype": "bool", "shape": [1], "names": None},
    }  # fmt: skip
    described = {"fps": int(task.control_hz), "robot_type": "piper_bimanual", "features": features}
    (folder / "dataset.json").write_text(json.dumps(described))


def picture_feature(size: tuple[int, int], kind: str) -> dict[str, Any]:
    """How lerobot is told of a camera; `kind` is "video" or "image"."""
    return {"dtype": kind, "shape": [*size, 3], "names": ["height", "width", "channels"]}


def rows_of_arrays(path: Path, cameras: Iterable[str]) -> list[Rows]:
    """What `_lerobot_inside.py` read, episode by episode."""
    arrays = np.load(path)
    number = arrays["episode_index"]
    found = []
    for index in np.unique(number):
        chosen = number == index
        found.append(
            Rows(
                instruction=str(arrays["task"][chosen][0]), state=arrays["observation.state"][chosen],
                action=arrays["action"][chosen], success=bool(arrays["next.success"][chosen].any()),
                frames={name: arrays[f"observation.images.{name}"][chosen] for name in cameras},
            )
        )  # fmt: skip
    return found


def compared(found: Sequence[Rows], wanted: Sequence[Rows]) -> dict[str, Any]:
    """How episodes that came back differ from those that were written; `agrees` if only by what a codec does.

    Pictures are in place if each is more like its own original than like any other row's of its camera.
    """
    same_size = [len(one.state) for one in found] == [len(one.state) for one in wanted]
    result: dict[str, Any] = {"episodes": len(found), "frames": sum(len(one.state) for one in found)}
    if not same_size:
        return {**result, "agrees": False, "wanted_frames": sum(len(one.state) for one in wanted)}
    pairs = list(zip(found, wanted, strict=True))
    errors = {camera: _picture_errors(found, wanted, camera) for camera in wanted[0].frames}
    result |= {
        "instructions_equal": all(one.instruction == other.instruction for one, other in pairs),
        "successes_equal": all(one.success == other.success for one, other in pairs),
        "state_error": max(_error(one.state, other.state) for one, other in pairs),
        "action_error": max(_error(one.action, other.action) for one, other in pairs),
        "picture_error_mean": {camera: round(float(np.diag(matrix).mean()), 2) for camera, matrix in errors.items()},
        "picture_error_worst_frame": {
            camera: round(float(np.diag(matrix).max()), 2) for camera, matrix in errors.items()
        },
        "pictures_in_place": all(
            bool((matrix.argmin(1) == np.arange(len(matrix))).all()) for matrix in errors.values()
        ),
    }
    agrees = result["instructions_equal"] and result["successes_equal"] and result["pictures_in_place"]
    agrees = agrees and max(result["state_error"], result["action_error"]) <= EXACT
    return {**result, "agrees": agrees and max(result["picture_error_mean"].values()) <= PICTURE_ERROR}


def _error(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(np.asarray(one, np.float64) - np.asarray(other, np.float64)).max())


def _picture_errors(found: Sequence[Rows], wanted: Sequence[Rows], camera: str) -> NDArray[np.float64]:
    """Mean difference of every picture that came back from every one that was written: (rows, rows), of 255."""
    ours = np.concatenate([one.frames[camera] for one in wanted]).astype(np.int16)
    theirs = np.concatenate([one.frames[camera] for one in found]).astype(np.int16)
    return np.array([np.abs(ours - picture).mean((1, 2, 3)) for picture in theirs])
