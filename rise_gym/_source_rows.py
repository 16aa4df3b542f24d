"""The numbers of all episodes of a source, read once, and what is wrong with them; pictures are not decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rise_gym._joint_checks import joint_findings
from rise_gym._lerobot_source import LeRobotSource, SourceEpisode
from rise_gym._outcome_checks import outcome_findings
from rise_gym._timing_checks import Timing, timing_findings
from rise_gym._translation import chosen, numbers
from rise_gym._video_checks import video_findings
from rise_gym.errors import InvalidDataset
from rise_gym.findings import Finding
from rise_gym.mapping import DatasetMapping
from rise_gym.tasks import TaskCard


@dataclass(frozen=True, kw_only=True)
class SourceRows:
    """What all chosen episodes hold but pictures: timings, and joints of all of them end to end, (N, A).

    `episodes` are those that can be read, `timings` theirs; `following` (N - 1,) says whether a row and the next are of
    one episode, `broken` what can't be read.
    """

    episodes: list[SourceEpisode]
    timings: list[Timing]
    state: NDArray[np.float64]
    action: NDArray[np.float64]
    following: NDArray[np.bool_]
    broken: list[Finding]

    @classmethod
    def of(cls, source: LeRobotSource, mapping: DatasetMapping, limit: int | None = None) -> SourceRows:
        """Those that the mapping does not skip, at most `limit`, the first ones."""
        readable, timings, states, actions, following, broken = [], [], [], [], [], []
        for episode in list(chosen(source, mapping))[:limit]:
            try:
                times, state, action = numbers(source, episode, mapping)
            except InvalidDataset as error:
                broken.append(broken_episode(error, episode))
                continue
            readable.append(episode)
            timings.append(Timing.of(episode.index, times, source.fps))
            states.append(state)
            actions.append(action)
            following.append(np.arange(len(times)) < len(times) - 1)
        nothing = np.empty((0, len(mapping.state)))
        return cls(
            episodes=readable,
            timings=timings,
            state=np.concatenate([nothing, *states]),
            action=np.concatenate([nothing, *actions]),
            following=np.concatenate([np.empty(0, bool), *following])[:-1],
            broken=broken,
        )

    def findings(self, source: LeRobotSource, mapping: DatasetMapping, task: TaskCard) -> list[Finding]:
        """What is wrong or odd."""
        if not self.timings:
            return self.broken
        allowed = {"largest_gap_s": mapping.largest_gap_s, "shortest_s": 1 / task.control_hz}
        found = self.broken + timing_findings(self.timings, source.fps, **allowed)
        found += video_findings(source, mapping, self.episodes, self.timings)
        found += outcome_findings(source, mapping, self.episodes) + _instruction_findings(self.episodes, mapping)
        known = [episode.index for episode in self.episodes]
        return found + joint_findings(self.state, self.action, self.following, task, clip=mapping.clip, episodes=known)


def _instruction_findings(episodes: Sequence[SourceEpisode], mapping: DatasetMapping) -> list[Finding]:
    """Episodes in which several things were asked for, one after the other perhaps; ours have one instruction."""
    several = [episode for episode in episodes if len(set(episode.instructions)) > 1]
    if not several or mapping.instruction:
        return []
    return [
        Finding(
            level="warning", field="tasks", found=f"several are named, {', '.join(map(repr, several[0].instructions))} "
            "for example, of which the first is taken",
            advice="leave these out with `skip`, or say `instruction` in the mapping",
            episodes=tuple(episode.index for episode in several),
        )
    ]  # fmt: skip


def broken_episode(error: InvalidDataset, episode: SourceEpisode) -> Finding:
    """An episode that can't be read."""
    return Finding(
        level="error", field="data", found=str(error), advice="copy it anew, or leave it out: `skip` in the mapping",
        episodes=(episode.index,),
    )  # fmt: skip
