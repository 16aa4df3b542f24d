"""Somebody else's LeRobot dataset as one of ours, episode by episode; what does not fit is refused before it begins."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rise_gym import _lerobot as layout
from rise_gym._guessing import completed, place_of
from rise_gym._joint_checks import joint_findings
from rise_gym._lerobot_source import LeRobotSource, SourceEpisode, open_source
from rise_gym._pictures import fitted, padded, stretched
from rise_gym._resampling import Times, between, in_force, tick_times
from rise_gym._timing_checks import Timing, timing_findings
from rise_gym.episodes import DatasetSummary, EpisodeWriter, dataset_summary
from rise_gym.errors import InvalidDataset, InvalidMapping
from rise_gym.findings import Finding, refuse
from rise_gym.mapping import CameraMapping, Content, DatasetMapping, JointMapping, mapping_of
from rise_gym.tasks import TaskCard
from rise_gym.types import Episode

__all__ = ["import_dataset", "mapped", "open_source", "source_findings", "translated"]

IMPORT_PATH = "meta/rise_gym_import.json"
_FITS = {"crop": fitted, "pad": padded, "stretch": stretched}


def mapped(source: LeRobotSource, task: TaskCard, content: Content) -> DatasetMapping:
    """The mapping of a dataset for a task: `content`, and what can be told from names and numbers of the rest.

    Raises:
        InvalidMapping: if it lacks something that can't be told, or names what the dataset does not have.
    """
    mapping = mapping_of(completed(source, task, content), task)
    for camera, entry in mapping.cameras.items():
        if entry.source not in source.cameras:
            have = ", ".join(source.cameras) or "none"
            raise InvalidMapping(f"cameras.{camera}: {source.name} has no pictures {entry.source!r}; it has {have}")
        _check_crop(camera, entry, source)
    for joint in (*mapping.state, *mapping.action):
        place_of(source, joint.column, joint.source)
    flags = [name for name in (mapping.success, mapping.progress) if isinstance(name, str)]
    for name in flags:
        if name not in source.features and name not in source.episodes[0].facts:
            raise InvalidMapping(f"{source.name} has no column and no fact {name!r} of its episodes")
    return mapping


def _check_crop(camera: str, entry: CameraMapping, source: LeRobotSource) -> None:
    shape = [side for side in source.features[entry.source].get("shape", []) if side > 4]  # channels first or last
    if entry.crop is None or len(shape) != 2:
        return
    top, left, height, width = entry.crop
    if top + height > shape[0] or left + width > shape[1]:
        raise InvalidMapping(f"cameras.{camera}.crop {list(entry.crop)} leaves pictures of {shape[0]} x {shape[1]} px")


def source_findings(source: LeRobotSource, mapping: DatasetMapping, task: TaskCard) -> list[Finding]:
    """What is wrong or odd with the episodes that the mapping does not skip, without looking at pictures."""
    timings, states, actions, following, broken = [], [], [], [], []
    for episode in _chosen(source, mapping):
        try:
            times, state, action = _numbers(source, episode, mapping)
        except InvalidDataset as error:
            broken.append(_broken(error, episode))
            continue
        timings.append(Timing.of(episode.index, times, source.fps))
        states.append(state)
        actions.append(action)
        following.append(np.arange(len(times)) < len(times) - 1)
    if not states:
        return broken
    found = timing_findings(timings, source.fps, largest_gap_s=mapping.largest_gap_s, shortest_s=1 / task.control_hz)
    state, action = np.concatenate(states), np.concatenate(actions)
    return broken + found + joint_findings(state, action, np.concatenate(following)[:-1], task, clip=mapping.clip)


def _broken(error: InvalidDataset, episode: SourceEpisode) -> Finding:
    return Finding(
        level="error", field="data", found=str(error), advice="copy it anew, or leave it out: `skip` in the mapping",
        episodes=(episode.index,),
    )  # fmt: skip


def translated(source: LeRobotSource, episode: SourceEpisode, mapping: DatasetMapping, task: TaskCard) -> Episode:
    """One episode at the task's rate, in its units, with its cameras.

    Raises:
        InvalidDataset: if something is missing, or targets lie outside the task's ranges.
    """
    times, state, action = _numbers(source, episode, mapping)
    ticks = tick_times(times, task.control_hz)
    resampled = in_force if mapping.targets == "held" else between
    scaled = np.clip(task.scale_action(resampled(times, action, ticks)), -1, 1)
    scaled[-1] = scaled[-2] if len(scaled) > 1 else scaled[-1]  # the last row is what was seen at the end
    success = _success(source, episode, mapping)
    progress = None
    if mapping.progress is not None:
        measured = source.columns(episode, (mapping.progress,))[mapping.progress].reshape(len(times), 1)
        progress = between(times, measured, ticks)[:, 0].clip(0, 1).astype(np.float32)
    return Episode(
        task=task.name, instruction=mapping.instruction or source.instruction_of(episode) or task.instruction,
        frames={name: _frames(source, episode, entry, times, ticks, mapping, task)
                for name, entry in mapping.cameras.items()},
        proprio=between(times, state, ticks).astype(np.float32), actions=scaled, progress=progress, success=success,
        score=10.0 if success else 0.0 if progress is None else 10 * float(progress[-1]),
        source=mapping.source, policy=source.identity, seed=episode.index,
    )  # fmt: skip


def import_dataset(
    source: LeRobotSource,
    mapping: DatasetMapping,
    task: TaskCard,
    folder: str | Path,
    *,
    limit: int | None = None,
    on_episode: Callable[[Episode], object] | None = None,
) -> DatasetSummary:
    """Append the episodes that `folder` lacks of this dataset, in their order; the same call goes on where it was.

    Ctrl-C keeps what is finished. An episode's `seed` is its number in the source, its `policy` the source's name.

    Args:
        source: what `open_source` found. mapping: what `mapped` made of it. task: for which task.
        folder: ours; may hold other episodes of the task.
        limit: at most so many, the first ones.
        on_episode: called with each new episode, for progress.

    Raises:
        InvalidDataset: if the data does not fit; then nothing is written. Or if an earlier part was read otherwise.
        SaveFailed: if the disk is full; what was saved before is kept.
    """
    root = Path(folder)
    refuse(source_findings(source, mapping, task), source.name)
    _remember(root, source.identity, mapping)
    robot = str(source.info.get("robot_type") or "unknown")
    with EpisodeWriter(root, task, robot_type=robot) as writer:
        done = writer.seeds(source.identity)
        for episode in list(_chosen(source, mapping))[:limit]:
            if episode.index not in done:
                ours = translated(source, episode, mapping, task)
                writer.append(ours)
                if on_episode is not None:
                    on_episode(ours)
    return dataset_summary(root)


def _remember(folder: Path, name: str, mapping: DatasetMapping) -> None:
    """How each source of a dataset was read, so that all of it is read alike."""
    path = folder / IMPORT_PATH
    known: dict[str, Any] = layout.read_json(path, "what was imported before") if path.exists() else {}
    plain = json.loads(json.dumps(mapping.content))
    if name in known and {**known[name], "skip": 0} != {**plain, "skip": 0}:
        odd = sorted(key for key in {*known[name], *plain} if known[name].get(key) != plain.get(key))
        raise InvalidDataset(
            f"{folder} holds episodes of {name} that were read with another mapping ({', '.join(odd)}); import into "
            "another folder"
        )
    if known.get(name) != plain:
        layout.write_atomically(path, layout.json_bytes({**known, name: plain}))


def _chosen(source: LeRobotSource, mapping: DatasetMapping) -> Iterator[SourceEpisode]:
    return (episode for episode in source.episodes if episode.index not in mapping.skip)


def _numbers(
    source: LeRobotSource, episode: SourceEpisode, mapping: DatasetMapping
) -> tuple[Times, NDArray[np.float64], NDArray[np.float64]]:
    """Times (N,) in s from the first row on, measured joints and targets (N, A) in rad and m."""
    columns = source.columns(episode, ("timestamp", *mapping.columns()))
    times = np.asarray(columns["timestamp"], np.float64).reshape(-1)

    def joined(joints: tuple[JointMapping, ...]) -> NDArray[np.float64]:
        parts = []
        for joint in joints:
            matrix = columns[joint.column].reshape(len(times), -1)
            parts.append(joint.ours(matrix[:, place_of(source, joint.column, joint.source)]))
        return np.stack(parts, axis=-1)

    return times, joined(mapping.state), joined(mapping.action)


def _success(source: LeRobotSource, episode: SourceEpisode, mapping: DatasetMapping) -> bool:
    if isinstance(mapping.success, bool):
        return mapping.success
    if mapping.success in source.features:
        return bool(np.asarray(source.columns(episode, (mapping.success,))[mapping.success]).any())
    return bool(episode.facts.get(mapping.success))


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
    shape = _FITS[entry.fit]
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
            cut = picture
            if entry.crop is not None:
                top, left, height, width = entry.crop
                cut = picture[top : top + height, left : left + width]
            fresh = shape(cut, task.image_size)
        frames.append(fresh)
        last = picture
    return np.stack(frames)
