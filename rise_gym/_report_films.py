"""The report's strips of frames (PNG) and films (MP4, which every browser plays), with a label before each row."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import imageio.v3 as imageio
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from rise_gym.tasks import TaskCard

if TYPE_CHECKING:
    from rise_gym.report import Clip, Dream, Example

Pixels = NDArray[np.uint8]

_INK, _FAINT, _PAPER = (31, 41, 51), (97, 110, 124), (255, 255, 255)
_LABEL_PX, _HEADER_PX, _GAP_PX = 160, 26, 4
_FILM_SPEED = 2.0  # examples are played at twice the robot's speed
_COLUMNS = 8


def dream_film(dream: Dream, task: TaskCard) -> bytes:
    """The true views above the imagined ones, at half speed, the last frame held for a moment."""
    rows = [("true", dream.true), ("imagined", dream.imagined)]
    frames = [
        grid([(label, list(views[tick])) for label, views in rows], _titles(task), scale=3)
        for tick in range(len(dream.true))
    ]
    return _film([*frames, *[frames[-1]] * round(task.control_hz / 2)], task.control_hz / 2)


def dream_strip(dream: Dream, task: TaskCard) -> bytes:
    """Every camera's true frames above its imagined ones, in columns of equal distance in time."""
    ticks = _spread(len(dream.true))
    rows = []
    for view, camera in enumerate(task.cameras):
        name = camera.replace("_", " ")
        rows.append((f"{name}, true", [dream.true[tick, view] for tick in ticks]))
        rows.append((f"{name}, imagined", [dream.imagined[tick, view] for tick in ticks]))
    return png(grid(rows, _times(ticks, task), scale=2))


def example_film(example: Example, task: TaskCard) -> bytes:
    """The clips one above the other, all cameras; a clip that is over holds its last frame."""
    length = max(len(clip.frames) for clip in example.clips)
    frames = [
        grid(
            [(_label(clip), list(clip.frames[min(tick, len(clip.frames) - 1)])) for clip in example.clips],
            _titles(task),
            scale=3,
        )
        for tick in range(length)
    ]
    speed = task.control_hz * _FILM_SPEED
    return _film([*frames, *[frames[-1]] * round(speed)], speed)


def example_strip(example: Example, task: TaskCard) -> bytes:
    """The first camera of each clip in columns of equal distance in time."""
    ticks = _spread(max(len(clip.frames) for clip in example.clips))
    rows = [
        (_label(clip), [clip.frames[min(tick, len(clip.frames) - 1), 0] for tick in ticks]) for clip in example.clips
    ]
    return png(grid(rows, _times(ticks, task), scale=2))


def _label(clip: Clip) -> str:
    return f"{clip.label}\n{'succeeds' if clip.success else 'fails'}, score {clip.score:g}"


def _spread(count: int) -> list[int]:
    return np.unique(np.linspace(0, count - 1, _COLUMNS).round().astype(int)).tolist()


def _titles(task: TaskCard) -> list[str]:
    return [camera.replace("_", " ") for camera in task.cameras]


def _times(ticks: Sequence[int], task: TaskCard) -> list[str]:
    return [f"{tick / task.control_hz:.1f} s" for tick in ticks]


def grid(rows: Sequence[tuple[str, Sequence[Pixels]]], titles: Sequence[str], *, scale: int) -> Pixels:
    """Rows of frames (H, W, 3), `scale` times as large, with a label before each row and a title above each column."""
    height, width = (scale * size for size in rows[0][1][0].shape[:2])
    size = (
        _even(_LABEL_PX + len(titles) * (width + _GAP_PX)),
        _even(_HEADER_PX + len(rows) * (height + _GAP_PX)),
    )
    paper = Image.new("RGB", size, _PAPER)
    pen, font = ImageDraw.Draw(paper), ImageFont.load_default(15)
    for column, title in enumerate(titles):
        place = _LABEL_PX + column * (width + _GAP_PX)
        pen.text((place, 4), title, fill=_FAINT, font=font)
        for row, (_, frames) in enumerate(rows):
            image = Image.fromarray(frames[column]).resize((width, height), Image.Resampling.BICUBIC)
            paper.paste(image, (place, _HEADER_PX + row * (height + _GAP_PX)))
    for row, (label, _) in enumerate(rows):
        middle = _HEADER_PX + row * (height + _GAP_PX) + height // 2
        pen.text((2, middle - 9 * (1 + label.count("\n"))), label, fill=_INK, font=font)
    return np.asarray(paper)


def _even(size: int) -> int:
    """h264 with halved chroma wants even sizes."""
    return size + size % 2


def _film(frames: Sequence[Pixels], fps: float) -> bytes:
    film = imageio.imwrite(
        "<bytes>",
        np.stack(frames),
        extension=".mp4",
        plugin="pyav",
        codec="libx264",
        fps=round(fps, 3),
        out_pixel_format="yuv420p",
    )
    assert isinstance(film, bytes)
    return film


def png(image: Pixels) -> bytes:
    target = io.BytesIO()
    Image.fromarray(image).save(target, format="PNG", optimize=True)
    return target.getvalue()
