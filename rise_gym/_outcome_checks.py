"""Whether a source says how its episodes ended: success as true or false, progress from 0 to 1. Nothing is guessed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from rise_gym._lerobot_source import LeRobotSource, SourceEpisode
from rise_gym.errors import InvalidDataset
from rise_gym.findings import Finding, Level
from rise_gym.mapping import DatasetMapping

_BEYOND = 0.01  # as far may measured progress lie outside 0 to 1, and is cut off


def success_of(source: LeRobotSource, episode: SourceEpisode, mapping: DatasetMapping) -> bool:
    """Whether an episode succeeded; in a column it did if any row says so. A row of NaN says nothing.

    Raises:
        InvalidDataset: if it does not say it, as true or false or as 1 or 0.
    """
    name = mapping.success
    if isinstance(name, bool):
        return name
    told = [episode.facts.get(name)]
    if name in source.features:
        told = np.asarray(source.columns(episode, (name,))[name]).reshape(-1).tolist()
    told = [one for one in told if one is not None and one == one]
    odd = [one for one in told if not isinstance(one, bool | int | float) or one not in (0, 1)]
    if odd or not told:
        said = repr(odd[0]) if odd else "nothing"
        raise InvalidDataset(
            f"{source.name}, episode {episode.index}: {name!r} says {said}, true or false (or 1 or 0) was wanted; "
            "correct it, name another with `success` in the mapping, or leave the episode out (`skip`)"
        )
    return any(told)


def progress_of(source: LeRobotSource, episode: SourceEpisode, mapping: DatasetMapping) -> NDArray[np.float64] | None:
    """The measured progress of each row (N,); None where it was not measured throughout."""
    if mapping.progress is None:
        return None
    measured = source.numbers(episode, (mapping.progress,))[mapping.progress].reshape(-1)
    return None if np.isnan(measured).any() else measured


def outcome_findings(
    source: LeRobotSource, mapping: DatasetMapping, episodes: Iterable[SourceEpisode]
) -> list[Finding]:
    """What is wrong or odd with success and progress of episodes that can be read otherwise."""
    silent: list[SourceEpisode] = []
    unmeasured: list[SourceEpisode] = []
    beyond: list[SourceEpisode] = []
    ends = [0.0, 1.0]
    for episode in episodes:
        try:
            success_of(source, episode, mapping)
        except InvalidDataset:
            silent.append(episode)
        progress = progress_of(source, episode, mapping)
        if progress is None:
            unmeasured += [episode] if mapping.progress else []
        elif progress.min() < -_BEYOND or progress.max() > 1 + _BEYOND:
            beyond.append(episode)
            ends = [min(ends[0], float(progress.min())), max(ends[1], float(progress.max()))]
    rows: list[tuple[Level, str, list[SourceEpisode], str, str]] = [
        (
            "error", "success", silent, f"{mapping.success!r} does not say true or false, or 1 or 0",
            "correct it, name another column or fact with `success` in the mapping, or leave these out with `skip`",
        ),
        (
            "error", "progress", beyond,
            f"{mapping.progress!r} goes from {ends[0]:.4g} to {ends[1]:.4g}, 0 to 1 was wanted",
            "bring it to 0 to 1 where it was recorded, or leave `progress` out of the mapping",
        ),
        (
            "warning", "progress", unmeasured, f"{mapping.progress!r} has rows without a number",
            "these episodes count as not measured",
        ),
    ]  # fmt: skip
    return [
        Finding(level=level, field=field, found=found, advice=advice, episodes=tuple(one.index for one in some))
        for level, field, some, found, advice in rows
        if some
    ]
