"""Whether a checkpoint folder is what was written: every file there, unchanged, none of it pickle, the task known."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from rise_gym.errors import InvalidCheckpoint
from rise_gym.tasks import TASKS, TaskCard, add_task

MANIFEST_NAME = "rise_gym.json"
_PICKLE_SUFFIXES = {".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"}


def file_names(folder: Path) -> list[str]:
    """Every file in a folder, relative to it."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(folder: Path, wanted: object) -> None:
    """Compare the files of a folder with the wanted digests, by name.

    Raises:
        InvalidCheckpoint: if a file is missing, changed, may be a pickle, or if there are weights that nobody listed.
    """
    if not isinstance(wanted, dict) or not wanted:
        raise InvalidCheckpoint(f"{folder}: {MANIFEST_NAME} lists no files; get the checkpoint anew")
    present = set(file_names(folder))
    pickles = sorted(name for name in {*present, *wanted} if Path(name).suffix in _PICKLE_SUFFIXES)
    if pickles:
        raise InvalidCheckpoint(
            f"{folder}: {pickles[0]} may be a pickle, which is never loaded; save it as safetensors"
        )
    missing = sorted(set(wanted) - present)
    changed = sorted(name for name in set(wanted) & present if wanted[name] != digest(folder / name))
    stray = sorted(name for name in present - set(wanted) if name.endswith(".safetensors"))
    for what, names in (
        ("missing", missing),
        ("truncated or changed since it was written", changed),
        ("not listed", stray),
    ):
        if names:
            raise InvalidCheckpoint(f"{folder}: {', '.join(names)} is {what}; get the checkpoint anew")


def read_card(folder: Path) -> TaskCard:
    """The task card in the folder, which has to mean the same as the card of that name, if one is known."""
    try:
        card = TaskCard.from_dict(read_json(folder / "task.json"))
    except (KeyError, TypeError) as error:
        raise InvalidCheckpoint(f"{folder}: task.json is no task card ({error})") from error
    known = TASKS.get(card.name, card)
    for field in card.differences(known):
        raise InvalidCheckpoint(
            f"{folder}: task {card.name!r} with {field} {getattr(known, field)} was wanted, "
            f"it was made for {getattr(card, field)}; train it anew for this task"
        )
    if card.name not in TASKS:
        add_task(card)  # the parts that are loaded next look it up by its name
    return card


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidCheckpoint(f"{path} can't be read ({error}); get the checkpoint anew") from error
    if not isinstance(data, dict):
        raise InvalidCheckpoint(f"{path} must hold a JSON object, it holds a {type(data).__name__}")
    return data
