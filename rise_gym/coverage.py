"""What a dataset covers, before anything is trained on it: how much of what, and what looks wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rise_gym._joint_checks import joint_findings
from rise_gym._known_pictures import KnownPictures
from rise_gym._picture_checks import CameraCoverage, PictureTally
from rise_gym._timing_checks import Timing, timing_findings
from rise_gym.findings import Finding, Level
from rise_gym.tasks import TaskCard
from rise_gym.types import Episode

_AT_LIMIT = 1 - 1e-4  # of a scaled action


@dataclass(frozen=True, kw_only=True)
class JointCoverage:
    """A joint in rad or m: the task card's range, and what targets and measurements cover of it.

    Attributes:
        used: fraction of the card's range between the 1st and 99th percentile of targets.
        at_limit: fraction of targets at an end of the range, where those outside were cut off.
        outside: fraction of measurements outside the range.
    """

    name: str
    card_low: float
    card_high: float
    action_low: float
    action_high: float
    state_low: float
    state_high: float
    used: float
    at_limit: float
    outside: float


@dataclass(frozen=True, kw_only=True)
class CoverageReport:
    """What a dataset holds.

    Attributes:
        progress: in how many episodes it was measured.
        missing_rows, repeated_rows: by the times of rows. longest_gap_s: between two of them.
        near_duplicate_starts: pairs of episodes that begin with nearly the same pictures.
    """

    task: str
    episodes: int
    hours: float
    successes: int
    progress: int
    sources: dict[str, int]
    instructions: dict[str, int]
    joints: tuple[JointCoverage, ...]
    cameras: tuple[CameraCoverage, ...]
    missing_rows: int
    repeated_rows: int
    longest_gap_s: float
    near_duplicate_starts: tuple[tuple[int, int], ...]
    findings: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What should be mended before training."""
        return tuple(finding for finding in self.findings if finding.level == "error")


def coverage(
    episodes: Iterable[Episode],
    task: TaskCard,
    timings: Iterable[Timing] = (),
    *,
    fps: float | None = None,
    largest_gap_s: float | None = None,
    numbers: Iterable[Finding] | None = None,
    like: KnownPictures | None = None,
) -> CoverageReport:
    """Look at episodes, one after the other.

    Args:
        episodes: numbered by their seeds. task: that they are of.
        timings: of the rows that they were made from, if known, `fps` a second. largest_gap_s: allowed between two of
            them; default: two control ticks.
        numbers: what was found in joints and timings already, in place of looking at them here.
        like: first pictures of the same task, which tell whether cameras are swapped in all episodes.
    """
    pictures, counts, known = PictureTally(task.cameras, like), Counter[str](), list(timings)
    texts, sources, numbered = Counter[str](), Counter[str](), list[int]()
    states: list[NDArray[Any]] = []
    actions: list[NDArray[Any]] = []
    following: list[NDArray[np.bool_]] = []
    for episode in episodes:
        pictures.look(episode)
        numbered.append(episode.seed)
        counts.update(episodes=1, rows=len(episode), successes=episode.success, progress=episode.progress is not None)
        texts[episode.instruction] += 1
        sources[episode.source] += 1
        states.append(episode.proprio)
        actions.append(episode.actions)
        following.append(np.arange(len(episode)) < len(episode) - 1)
    if not states:
        empty = Finding(
            level="error", field="episodes", found="there are none that can be read", advice="record or import some"
        )
        return _report(task, counts, sources, texts, (), pictures, known, list(numbers or ()) or [empty])
    state, scaled = (np.concatenate(part).astype(np.float64) for part in (states, actions))
    action = task.unscale_action(scaled)
    found = [] if numbers is None else list(numbers)
    if numbers is None:
        found = joint_findings(state, action, np.concatenate(following)[:-1], task, episodes=numbered)
        if known:
            gap, shortest = largest_gap_s or 2 / task.control_hz, 1 / task.control_hz
            found += timing_findings(known, fps or task.control_hz, largest_gap_s=gap, shortest_s=shortest)
    found += pictures.findings() + _outcome_findings(counts, sources)
    return _report(task, counts, sources, texts, _joints(task, state, action, scaled), pictures, known, found)


def _report(
    task: TaskCard,
    counts: Counter[str],
    sources: Counter[str],
    texts: Counter[str],
    joints: tuple[JointCoverage, ...],
    pictures: PictureTally,
    timings: list[Timing],
    findings: list[Finding],
) -> CoverageReport:
    return CoverageReport(
        task=task.name, episodes=counts["episodes"], hours=counts["rows"] / task.control_hz / 3600,
        successes=counts["successes"], progress=counts["progress"], sources=dict(sources), instructions=dict(texts),
        joints=joints, cameras=pictures.coverage(), missing_rows=sum(one.missing for one in timings),
        repeated_rows=sum(one.twice for one in timings),
        longest_gap_s=float(np.nanmax([0.0, *(one.longest_s for one in timings)])),
        near_duplicate_starts=pictures.near_duplicates(), findings=tuple(findings),
    )  # fmt: skip


def _joints(
    task: TaskCard, state: NDArray[np.float64], action: NDArray[np.float64], scaled: NDArray[np.float64]
) -> tuple[JointCoverage, ...]:
    low, high = np.asarray(task.action_low), np.asarray(task.action_high)
    used = np.ptp(np.percentile(scaled, (1, 99), axis=0), axis=0) / 2
    at_limit, outside = (np.abs(scaled) >= _AT_LIMIT).mean(0), ((state < low) | (state > high)).mean(0)
    columns = (low, high, action.min(0), action.max(0), state.min(0), state.max(0), used, at_limit, outside)
    return tuple(
        JointCoverage(
            name=name, card_low=row[0], card_high=row[1], action_low=row[2], action_high=row[3], state_low=row[4],
            state_high=row[5], used=row[6], at_limit=row[7], outside=row[8],
        )
        for name, row in zip(task.action_names, np.stack(columns, axis=1).tolist(), strict=True)
    )  # fmt: skip


def _outcome_findings(counts: Counter[str], sources: Counter[str]) -> list[Finding]:
    successes, episodes = counts["successes"], counts["episodes"]
    if successes == 0:
        level: Level = "warning" if set(sources) == {"rollout"} else "error"  # a policy may be no good yet, or babble
        text = "none of the episodes is a success"
        advice = "say what is (`success` in the mapping), or train on it beside others that are: a value needs some"
        return [Finding(level=level, field="success", found=text, advice=advice)]
    if successes == episodes:
        text = "every episode is a success"
        advice = "record failures too (a policy's rollouts): from successes alone a dream learns that all goes well"
        return [Finding(level="warning", field="success", found=text, advice=advice)]
    return []
