"""The report of an improvement: one HTML file that opens alone, with its pictures and films beside it as well.

Everything in here is a function of arrays that somebody else measured; nothing is simulated or imagined.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rise_gym._lerobot import write_atomically
from rise_gym.tasks import TaskCard
from rise_gym.trust import TrustFigures

Views = NDArray[np.uint8]
Series = Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
"""TensorBoard tag -> steps (S,) and values (S,)."""


@dataclass(frozen=True, kw_only=True)
class PolicyResult:
    """One row of the table: what `rise_gym.evaluation.summarise` says of a policy, under a short name.

    Rates and their intervals lie in [0, 1], scores in [0, 10].
    """

    name: str
    episodes: int
    success_rate: float
    success_ci95: tuple[float, float]
    score_mean: float
    score_ci95: tuple[float, float]
    return_mean: float
    note: str = ""

    @classmethod
    def of(cls, name: str, result: Mapping[str, Any], *, note: str = "") -> PolicyResult:
        """From the dictionary of `rise_gym.evaluation.evaluate`."""
        return cls(
            name=name,
            episodes=int(result["episodes"]),
            success_rate=float(result["success_rate"]),
            success_ci95=(float(result["success_ci95"][0]), float(result["success_ci95"][1])),
            score_mean=float(result["score_mean"]),
            score_ci95=(float(result["score_ci95"][0]), float(result["score_ci95"][1])),
            return_mean=float(result["return_mean"]),
            note=note,
        )


@dataclass(frozen=True, kw_only=True)
class Dream:
    """What was imagined, beside what was true, from the same start and actions. Index 0 is the start, the same in both.

    Attributes:
        title: where it starts and who acts.
        true, imagined: uint8 (F + 1, V, H, W, 3), one a tick.
        true_progress, imagined_progress: (F + 1,) in [0, 1].
        chunk: ticks of one imagined step.
    """

    title: str
    true: Views
    imagined: Views
    true_progress: NDArray[np.floating]
    imagined_progress: NDArray[np.floating]
    chunk: int

    def __post_init__(self) -> None:
        counts = {len(self.true), len(self.imagined), len(self.true_progress), len(self.imagined_progress)}
        if self.true.shape != self.imagined.shape or len(counts) != 1:
            raise ValueError(
                f"true and imagined have to have the same ticks, got {self.true.shape} and {self.imagined.shape} with "
                f"{len(self.true_progress)} and {len(self.imagined_progress)} progress values"
            )


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One episode to show: frames uint8 (N, V, H, W, 3), one a tick."""

    label: str
    frames: Views
    success: bool
    score: float


@dataclass(frozen=True, kw_only=True)
class Example:
    """Clips to be seen beside each other, of the same seed."""

    title: str
    clips: tuple[Clip, ...]


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """All that a report shows.

    Attributes:
        task: whose card it is.
        results: rows of the table, in the order they are shown.
        before, after: names of the two rows that the report is about.
        training: the improvement's curves by TensorBoard tag; see `read_curves`.
        dreams: imagined beside true.
        better: same seed, `before` fails and `after` succeeds.
        failing: what still goes wrong.
        trust: how far its dreams can be trusted.
        facts: where the figures come from: seeds, commit, machine, timings.
    """

    task: TaskCard
    results: tuple[PolicyResult, ...]
    before: str
    after: str
    training: Series = field(default_factory=dict)
    dreams: tuple[Dream, ...] = ()
    better: tuple[Example, ...] = ()
    failing: tuple[Example, ...] = ()
    trust: TrustFigures | None = None
    facts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [result.name for result in self.results]
        if missing := {self.before, self.after} - set(names):
            raise ValueError(f"results of {' and '.join(sorted(missing))} were wanted, there are those of {names}")

    def result(self, name: str) -> PolicyResult:
        """The row of that name."""
        return next(result for result in self.results if result.name == name)


def write_report(folder: str | Path, report: ReportData) -> Path:
    """Write `report.html`, which needs no other file, and its pictures (PNG) and films (MP4) beside it.

    Returns:
        The path of `report.html`.

    Raises:
        SaveFailed: if the disk is full or the folder can't be written.
    """
    from rise_gym import _report_films, _report_page, _report_plots, _report_trust

    root = Path(folder)
    assets = {"results.png": _report_plots.results_plot(report.results, before=report.before, after=report.after)}
    if training := _report_plots.training_plot(report.training):
        assets["training.png"] = training
    for number, dream in enumerate(report.dreams, 1):
        assets[f"dream_{number}.mp4"] = _report_films.dream_film(dream, report.task)
        assets[f"dream_{number}.png"] = _report_films.dream_strip(dream, report.task)
        assets[f"progress_{number}.png"] = _report_plots.progress_plot(dream, report.task.control_hz)
    for kind, examples in (("better", report.better), ("failing", report.failing)):
        for number, example in enumerate(examples, 1):
            assets[f"{kind}_{number}.mp4"] = _report_films.example_film(example, report.task)
            assets[f"{kind}_{number}.png"] = _report_films.example_strip(example, report.task)
    if report.trust is not None:
        assets |= _report_trust.trust_assets(report.trust)
    return _written(root, assets, _report_page.page(report, assets))


def write_trust_report(
    folder: str | Path, task: TaskCard, trust: TrustFigures, *, facts: Mapping[str, str] | None = None
) -> Path:
    """Write `report.html` of nothing but how far the dream of a task can be trusted, and its pictures beside it.

    Returns:
        The path of `report.html`.

    Raises:
        SaveFailed: if the disk is full or the folder can't be written.
    """
    from rise_gym import _report_trust

    assets = _report_trust.trust_assets(trust)
    return _written(Path(folder), assets, _report_trust.trust_page(task, trust, assets, facts or {}))


def write_trust_page(path: str | Path, task: TaskCard, trust: TrustFigures) -> Path:
    """Write one HTML file, which needs no other, of all that is known about the dream of a task; what is not says so.

    Returns:
        The path.

    Raises:
        SaveFailed: if the disk is full or the file can't be written.
    """
    from rise_gym import _report_trust

    assets = _report_trust.trust_assets(trust)
    page = _report_trust.trust_page(task, trust, assets, {}, with_missing=True)
    write_atomically(Path(path), page.encode())
    return Path(path)


def _written(root: Path, assets: Mapping[str, bytes], page: str) -> Path:
    for name, content in assets.items():
        write_atomically(root / name, content)
    write_atomically(root / "report.html", page.encode())
    return root / "report.html"


def read_curves(run_folder: str | Path) -> Series:
    """The TensorBoard curves of a training run; empty where there are none.

    A resumed run logs some steps twice: the later value counts.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: dict[str, dict[int, float]] = {}
    for path in sorted(Path(run_folder).rglob("events.out.tfevents.*")):
        events = EventAccumulator(str(path), size_guidance={"scalars": 0})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            found.setdefault(tag, {}).update({event.step: event.value for event in events.Scalars(tag)})
    return {
        tag: (np.array(sorted(points), np.float64), np.array([points[step] for step in sorted(points)], np.float64))
        for tag, points in found.items()
    }
