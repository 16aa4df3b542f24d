"""One episode of somebody else's dataset as one of ours: at the task's rate, in its units, with its cameras."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rise_gym._guessing import place_of
from rise_gym._lerobot_source import LeRobotSource, SourceEpisode
from rise_gym._outcome_checks import progress_of, success_of
from rise_gym._pictures import shaped
from rise_gym._resampling import Times, between, in_force, tick_times
from rise_gym.errors import InvalidDataset
from rise_gym.mapping import CameraMapping, DatasetMapping, JointMapping
from rise_gym.tasks import TaskCard
from rise_gym.types import Episode


def translated(source: LeRobotSource, episode: SourceEpisode, mapping: DatasetMapping, task: TaskCard) -> Episode:
    """One episode at the task's rate, in its units, with its cameras.

    Raises:
        InvalidDataset: if something is missing or can't be read; what lies outside the task's ranges is cut off.
    """
    times, state, action = numbers(source, episode, mapping)
    ticks = tick_times(times, task.control_hz)
    resampled = in_force if mapping.targets == "held" else between
    scaled = np.clip(task.scale_action(resampled(times, action, ticks)), -1, 1)
    scaled[-1] = scaled[-2] if len(scaled) > 1 else scaled[-1]  # the last row is what was seen at the end
    success, measured = success_of(source, episode, mapping), progress_of(source, episode, mapping)
    progress = None
    if measured is not None:
        progress = between(times, measured[:, None], ticks)[:, 0].clip(0, 1).astype(np.float32)
    return Episode(
        task=task.name, instruction=mapping.instruction or source.instruction_of(episode) or task.instruction,
        frames={name: _frames(source, episode, entry, times, ticks, mapping, task)
                for name, entry in mapping.cameras.items()},
        proprio=between(times, state, ticks).astype(np.float32), actions=scaled, progress=progress, success=success,
        score=10.0 if success else 0.0 if progress is None else 10 * float(progress[-1]),
        source=mapping.source, policy=source.identity, seed=episode.index,
    )  # fmt: skip


def chosen(source: LeRobotSource, mapping: DatasetMapping) -> Iterator[SourceEpisode]:
    """The episodes that the mapping does not skip."""
    return (episode for episode in source.episodes if episode.index not in mapping.skip)


def numbers(
    source: LeRobotSource, episode: SourceEpisode, mapping: DatasetMapping
) -> tuple[Times, NDArray[np.float64], NDArray[np.float64]]:
    """Times (N,) in s from the episode's beginning on, measured joints and targets (N, A) in rad and m."""
    columns = source.numbers(episode, ("timestamp", *mapping.columns()))
    times = columns["timestamp"].reshape(-1)

    def joined(joints: tuple[JointMapping, ...]) -> NDArray[np.float64]:
        parts = []
        for joint in joints:
            matrix = columns[joint.column].reshape(len(times), -1)
            parts.append(joint.ours(matrix[:, place_of(source, joint.column, joint.source)]))
        return np.stack(parts, axis=-1)

    return times, joined(mapping.state), joined(mapping.action)


def _frames(
    source: LeRobotSource,
    episode: SourceEpisode,
    entry: CameraMapping,
    times: Times,
    ticks: Times,
    mapping: DatasetMapping,
    task: TaskCard,
) -> NDArray[np.uint8]:
    """One camera's pictures at every tick, uint8 (n, H, W, 3)."""
    frames: list[NDArray[np.uint8]] = []
    last: NDArray[np.uint8] | None = None
    for picture, off_s in source.pictures(episode, entry.source, times, ticks):
        if off_s > mapping.largest_gap_s:
            raise InvalidDataset(
                f"{source.name}, camera {entry.source!r}, episode {episode.index}: the picture nearest to "
                f"{ticks[len(frames)]:.2f} s is {off_s:.2f} s off, {mapping.largest_gap_s:.2f} s are allowed; leave "
                "the episode out with `skip` in the mapping, or raise `largest_gap_s`"
            )
        if picture is not last:
            fresh = shaped(picture, task.image_size, crop=entry.crop, fit=entry.fit)
        frames.append(fresh)
        last = picture
    return np.stack(frames)
