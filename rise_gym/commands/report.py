"""`rise-gym report`: everything that was measured of a dream, as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from rise_gym.commands._shared import known_task


def report(
    results: Annotated[Path, tyro.conf.Positional] = Path("benchmarks/results"),
    /,
    *,
    out: Path | None = None,
    task: str = "box_close",
) -> None:
    """Write one page of all that was recorded about a dream, what to believe of it first; nothing is measured.

    The page needs no other file and no network. What was not recorded says so, and which command measures it.

    Args:
        results: a folder of the JSON files that the benchmarks write.
        out: the HTML file; default: `trust.html` in that folder.
        task: name of the task, or its file.
    """
    from rise_gym.report import write_trust_page
    from rise_gym.trust import read_results, verdicts

    card = known_task(task)
    trust = read_results(results, card.name)
    for verdict in verdicts(trust):
        print(f"{verdict.state}: {verdict.question} {verdict.figure}".removesuffix(" -"))
    print(f"report: {write_trust_page(out or results / 'trust.html', card, trust)}")
