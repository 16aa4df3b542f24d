"""`rise-gym import`: somebody else's LeRobot dataset, as one that everything else takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from rise_gym.commands._progress import progress_bar
from rise_gym.commands._shared import known_task


def import_data(
    folder: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    data: str,
    task: str,
    mapping: Path | None = None,
    limit: int | None = None,
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
        show: only print the mapping and what is odd about the data.
    """
    from rise_gym._guessing import toml_text
    from rise_gym.findings import refuse
    from rise_gym.importing import import_dataset, mapped, open_source, source_findings
    from rise_gym.mapping import read_mapping

    card, source = known_task(task), open_source(data)
    found = mapped(source, card, {} if mapping is None else read_mapping(mapping))
    print(
        f"# {source.name}: {len(source.episodes)} episodes at {source.fps:g} Hz, read as\n\n{toml_text(found.content)}"
    )
    findings = source_findings(source, found, card)
    for finding in findings:
        print(f"{finding.level}: {finding}")
    if show:
        return
    refuse(findings, source.name)
    count = min(limit or len(source.episodes), len(source.episodes) - len(found.skip))
    with progress_bar(f"importing {source.name}", count) as step:
        summary = import_dataset(source, found, card, folder, limit=limit, on_episode=lambda _: step())
    print(
        f"{folder}: {summary.episodes} episodes, {summary.frames} frames, {summary.successes} successful, "
        f"{summary.size_bytes / 1e6:.0f} MB; look at them with: rise-gym inspect {folder}"
    )
