"""`rise-gym push`: a world model, a policy or a dataset onto the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro


def push(
    folder: Annotated[str, tyro.conf.Positional],
    repo_id: Annotated[str, tyro.conf.Positional],
    /,
    *,
    private: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    results: tuple[Path, ...] = (),
    licence: str | None = None,
) -> None:
    """Push a checkpoint or a dataset to the Hugging Face hub, with a card that says what was measured.

    Args:
        folder: a checkpoint (`bundled:<task>/<name>` too) or a dataset.
        repo_id: `owner/name`; made if it is not there. All commands take it where they take a checkpoint.
        private: make it a private one.
        licence: what the card names, as the hub calls it (cc-by-4.0); default: what it names already, if any.
        results: JSON files that `evaluate --json` (of a policy) or `compare --json` (of a world model) wrote.
    """
    from rise_gym.hub import push_to_hub
    from rise_gym.locations import resolve

    source = Path(folder) if Path(folder).is_dir() else resolve(folder)
    print(f"pushed: {push_to_hub(source, repo_id, private=private, results=results, licence=licence)}")
