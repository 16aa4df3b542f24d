"""`rise-gym inspect`: what a dataset covers, and what looks wrong, before anything is trained on it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from rise_gym.commands._shared import known_task
from rise_gym.commands._shown_coverage import show_coverage
from rise_gym.errors import InvalidDataset, RiseGymError

if TYPE_CHECKING:
    from rise_gym._import_record import RecordedGaps
    from rise_gym._lerobot_source import LeRobotSource
    from rise_gym._timing_checks import Timing
    from rise_gym.types import Episode


def inspect(
    folder: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    task: str | None = None,
    limit: int | None = None,
    like: str | None = None,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Say how much a dataset holds of what, and what looks wrong; exits with 1 if there are errors.

    Episodes, hours, successes and progress; what targets cover of the task card's ranges; missing and repeated rows (of
    what was imported, also those of its source); brightness, black and frozen pictures of every camera; cameras that
    look swapped; starts that are nearly alike. What is damaged is told, all of it, and left out of the rest.

    Args:
        folder: a dataset, collected or imported.
        task: name of the task, or its file; default: the one that the dataset is of.
        limit: at most so many episodes, the first ones.
        like: a dataset or a world model of the same cameras, which tells whether they are swapped in all episodes;
            default: the world model that is bundled for the task, if any, which gives no more than a warning.
        json_file: also write what was found there.
    """
    from rise_gym._import_record import RecordedGaps
    from rise_gym._known_pictures import bundled_pictures, known_pictures
    from rise_gym._lerobot import CARD_PATH
    from rise_gym.coverage import coverage
    from rise_gym.episodes import iterate_episodes, stored_task
    from rise_gym.evaluation import write_report_json
    from rise_gym.findings import Damage
    from rise_gym.importing import open_source

    if limit is not None and limit < 1:
        raise RiseGymError(f"--limit of one episode or more was wanted, got {limit}")
    source = open_source(folder)
    if task is None and not (folder / CARD_PATH).is_file():
        raise RiseGymError(f"{folder} is somebody else's dataset; look at it with: rise-gym import ... --show")
    card = stored_task(folder) if task is None else known_task(task)
    damage = Damage()

    def episodes() -> Iterator[Episode]:
        """With the numbers that they have in this dataset, whatever their seeds."""
        numbers = (one.index for one in source.episodes)
        for episode in iterate_episodes(folder, task=card, limit=limit, on_damage=damage.add):
            yield replace(episode, seed=next(number for number in numbers if number not in damage))

    gaps = RecordedGaps(folder)
    timings, untimed = _timings(source, gaps, limit)
    known = bundled_pictures(card) if like is None else known_pictures(like, card)
    allowed = max(2 / card.control_hz, gaps.largest_gap_s)
    report = coverage(episodes(), card, timings, fps=source.fps, largest_gap_s=allowed, like=known)
    for number, error in untimed.items():
        if number not in damage:  # else it is told already
            damage.add(number, error)
    report = replace(report, findings=(*damage.findings(), *report.findings))
    show_coverage(report, str(folder))
    if json_file is not None:
        write_report_json(json_file, report.to_dict())
    if report.errors:
        sys.exit(1)


def _timings(
    source: LeRobotSource, gaps: RecordedGaps, limit: int | None
) -> tuple[list[Timing], dict[int, InvalidDataset]]:
    """Of the episodes whose times can be read, and why those of others can't, by their numbers."""
    from rise_gym._timing_checks import Timing

    timings, untimed = [], {}
    for one in source.episodes[:limit]:
        try:
            times = source.columns(one, ("timestamp",))["timestamp"]
        except InvalidDataset as error:
            untimed[one.index] = error
            continue
        own = Timing.of(one.index, times, source.fps)
        timings.append(gaps.added(own, one.facts.get("policy"), one.facts.get("seed")))
    return timings, untimed
