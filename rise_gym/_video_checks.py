"""Whether videos are there and as long as the rows that they belong to; their pictures are not decoded for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av

from rise_gym._lerobot_source import Clip, LeRobotSource, SourceEpisode
from rise_gym._timing_checks import Timing
from rise_gym.findings import Finding
from rise_gym.mapping import DatasetMapping

_OFF = 0.5  # of the time between pictures, by which a video may end before or after its rows


def video_findings(
    source: LeRobotSource, mapping: DatasetMapping, episodes: Sequence[SourceEpisode], timings: Sequence[Timing]
) -> list[Finding]:
    """Videos that can't be opened, and those that have more or fewer pictures than their episodes have rows.

    Nothing tells which pictures are missing, so that those that are there may belong to other rows. `timings` are those
    of the `episodes`.
    """
    lengths: dict[Path, float | str | None] = {}
    found = []
    for camera, entry in mapping.cameras.items():
        broken: dict[str, list[int]] = {}
        off: dict[int, float] = {}
        for episode, timing in zip(episodes, timings, strict=True):
            clip = episode.clips.get(entry.source)
            if clip is None:
                continue
            if clip.path not in lengths:
                lengths[clip.path] = _length_s(clip.path)
            length_s = lengths[clip.path]
            if isinstance(length_s, str):
                broken.setdefault(f"{clip.path} {length_s}", []).append(episode.index)
            elif length_s is not None and timing.ordered:
                ends_s = _end_s(clip, length_s) - 1 / source.fps
                if abs(ends_s - timing.last_s) * source.fps > _OFF:
                    off[episode.index] = ends_s - timing.last_s
        found += [_broken(camera, text, numbers) for text, numbers in broken.items()]
        found += [_unequal(camera, off, mapping.largest_gap_s)] if off else []
    return found


def _end_s(clip: Clip, length_s: float) -> float:
    """When a clip's last picture is over, from its beginning."""
    return min(clip.end_s, length_s) - clip.start_s


def _length_s(path: Path) -> float | str | None:
    """Of a video; why it can't be opened; or None, if it does not say how long it is."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            known = stream.duration is not None and stream.time_base is not None
            return float(stream.duration * stream.time_base) if known else None
    except FileNotFoundError:
        return "is missing"
    except (OSError, av.FFmpegError, IndexError) as error:
        return f"can't be decoded ({error})"


def _broken(camera: str, text: str, episodes: list[int]) -> Finding:
    return Finding(
        level="error", field=f"camera {camera}", found=text, advice="copy it again, or leave these out with `skip`",
        episodes=tuple(episodes),
    )  # fmt: skip


def _unequal(camera: str, off: dict[int, float], largest_gap_s: float) -> Finding:
    short, long = min(off.values()), max(off.values())
    told = [f"up to {-short:.2f} s before"] * (short < 0) + [f"up to {long:.2f} s after"] * (long > 0)
    return Finding(
        level="error" if -short > largest_gap_s else "warning", field=f"camera {camera}",
        found=f"its video ends {' and '.join(told)} the last row, so that pictures may belong to other rows",
        advice="look for dropped or doubled frames in the recorder, and at `fps`, or leave these out with `skip`",
        episodes=tuple(off),
    )  # fmt: skip
