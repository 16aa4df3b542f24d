"""`rise-gym inspect`: what a dataset covers, and what looks wrong, before anything is trained on it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from rise_gym.commands._shared import known_task
from rise_gym.errors import RiseGymError

if TYPE_CHECKING:
    from rise_gym.coverage import CoverageReport
    from rise_gym.types import Episode


def inspect(
    folder: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    task: str | None = None,
    limit: int | None = None,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Say how much a dataset holds of what, and what looks wrong; exits with 1 if there are errors.

    Episodes, hours, successes and progress; what targets cover of the task card's ranges; missing and repeated rows;
    brightness, black and frozen pictures of every camera; cameras that look swapped; starts that are nearly alike.

    Args:
        folder: a dataset, collected or imported.
        task: name of the task, or its file; default: the one that the dataset is of.
        limit: at most so many episodes, the first ones.
        json_file: also write what was found there.
    """
    from rise_gym._lerobot import CARD_PATH
    from rise_gym._timing_checks import Timing
    from rise_gym.coverage import coverage
    from rise_gym.episodes import iterate_episodes, stored_task
    from rise_gym.evaluation import write_report_json
    from rise_gym.importing import open_source

    source = open_source(folder)
    if task is None and not (folder / CARD_PATH).is_file():
        raise RiseGymError(f"{folder} is somebody else's dataset; look at it with: rise-gym import ... --show")
    card = stored_task(folder) if task is None else known_task(task)

    def episodes() -> Iterator[Episode]:
        """With the numbers that they have in this dataset, whatever their seeds."""
        for number, episode in enumerate(iterate_episodes(folder, task=card, limit=limit)):
            yield replace(episode, seed=number)

    timings = [
        Timing.of(one.index, source.columns(one, ("timestamp",))["timestamp"], source.fps)
        for one in source.episodes[:limit]
    ]
    report = coverage(episodes(), card, timings, fps=source.fps)
    _print(report, folder)
    if json_file is not None:
        write_report_json(json_file, report.to_dict())
    if report.errors:
        sys.exit(1)


def _print(report: CoverageReport, folder: Path) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    progress = {0: "unknown", report.episodes: "measured"}.get(report.progress, f"measured in {report.progress}")
    console.print(
        f"{folder}: {report.episodes} episodes of {report.task}, {report.hours:.2f} h, {report.successes} successful, "
        f"progress {progress}, {', '.join(f'{count} {name}s' for name, count in report.sources.items())}",
        markup=False,
    )
    joints = Table("joint", "card", "targets", "of the range", "at its ends", "measured", "outside")
    for joint in report.joints:
        joints.add_row(
            joint.name, *(f"{low:.3g} to {high:.3g}" for low, high in (
                (joint.card_low, joint.card_high), (joint.action_low, joint.action_high))),
            f"{joint.used:.0%}", f"{joint.at_limit:.1%}", f"{joint.state_low:.3g} to {joint.state_high:.3g}",
            f"{joint.outside:.1%}",
        )  # fmt: skip
    console.print(joints)
    cameras = Table("camera", "brightness", "black", "frozen")
    for camera in report.cameras:
        cameras.add_row(camera.name, f"{camera.brightness:.0f} of 255", f"{camera.black:.1%}", f"{camera.frozen:.1%}")
    console.print(cameras)
    console.print(
        f"rows: {report.missing_rows} missing, {report.repeated_rows} twice, longest gap {report.longest_gap_s:.2f} s; "
        f"{len(report.near_duplicate_starts)} pairs of starts nearly alike",
        markup=False,
    )
    for finding in report.findings:
        colour = "red" if finding.level == "error" else "yellow"
        console.print(f"[{colour}]{finding.level}[/{colour}] {escape(str(finding))}")
    if not report.findings:
        console.print("nothing looks wrong")
