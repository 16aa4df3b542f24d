"""`rise-gym import`: somebody else's LeRobot dataset, as one that everything else takes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro

from rise_gym.commands._progress import progress_bar
from rise_gym.commands._shared import known_task
from rise_gym.commands._shown_coverage import show_coverage
from rise_gym.errors import RiseGymError


def import_data(
    folder: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    data: str,
    task: str,
    mapping: Path | None = None,
    limit: int | None = None,
    like: str | None = None,
    show: bool = False,
) -> None:
    """Read any LeRobot dataset (v2.0, v2.1 or v3.0) into one of this project's, at the task's rate and in its units.

    What the mapping file does not say is told from names and numbers, where they allow; the whole mapping is printed.
    Data that does not fit (degrees for radians, gaps, another robot's joints) is refused before anything is written.
    The same command goes on where it was.

    Args:
        folder: where to; another dataset of the task can be imported on top.
        data: a folder, or a hub id `owner/name`, optionally with `@revision`.
        task: name of the task, or its file.
        mapping: a TOML file, see `rise_gym.mapping`.
        limit: at most so many episodes, the first ones.
        like: a dataset or a world model of the same cameras, which tells whether they are swapped; default: the
            episodes that are in the folder already, else the world model that is bundled for the task, if any.
        show: only print the mapping, what the dataset covers (as `inspect` does once it is imported) and what is wrong
            with it; exits with 1 if there are errors.
    """
    from rise_gym._guessing import toml_text
    from rise_gym.findings import refuse
    from rise_gym.importing import (
        camera_findings,
        import_dataset,
        mapped,
        open_source,
        source_coverage,
        source_findings,
    )
    from rise_gym.mapping import read_mapping

    if limit is not None and limit < 1:
        raise RiseGymError(f"--limit of one episode or more was wanted, got {limit}")
    card, source = known_task(task), open_source(data)
    found = mapped(source, card, {} if mapping is None else read_mapping(mapping))
    print(
        f"# {source.name}: {len(source.episodes)} episodes at {source.fps:g} Hz, read as\n\n{toml_text(found.content)}"
    )
    cameras = camera_findings(source, found, card, folder=folder, like=like)
    count = min(limit or len(source.episodes), len(source.episodes) - len(found.skip))
    if show:
        with progress_bar(f"looking at {source.name}", count) as step:
            report = source_coverage(source, found, card, limit=limit, cameras=cameras, on_episode=lambda _: step())
        show_coverage(report, source.name)
        if report.errors:
            sys.exit(1)
        return
    findings = source_findings(source, found, card, limit=limit) + cameras
    for finding in findings:
        if finding.level == "warning":  # errors are said by the refusal
            print(f"{finding.level}: {finding}")
    refuse(findings, source.name)
    with progress_bar(f"importing {source.name}", count) as step:
        summary = import_dataset(source, found, card, folder, limit=limit, like=like, on_episode=lambda _: step())
    print(
        f"{folder}: {summary.episodes} episodes, {summary.frames} frames, {summary.successes} successful, "
        f"{summary.size_bytes / 1e6:.0f} MB; look at them with: rise-gym inspect {folder}"
    )
