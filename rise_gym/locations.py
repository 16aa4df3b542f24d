"""Where checkpoints lie: a local folder, inside this package, or on the Hugging Face hub."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from rise_gym.errors import InvalidCheckpoint
from rise_gym.tasks import TASKS

_BUNDLED = re.compile(r"bundled:(?P<task>\w+)(?:/(?P<name>[\w.-]+))?")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_SEVERAL = "several_tasks"  # beside the tasks' own folders in the package


def resolve(name: str | Path, *, default: str = "world_model") -> Path:
    """The folder that a checkpoint's name stands for.

    `name` is a local folder, `bundled:<task>/<name>` (part of this package, no download; `bundled:<task>` alone means
    `<default>`; where a task has none of its own it is the one of several tasks), the name of a task for short, or a
    hub id `owner/name`, optionally with `@revision`.

    Raises:
        InvalidCheckpoint: if nothing is there, or the hub can't be reached.
    """
    text = str(name)
    folder = Path(name).expanduser()
    if match := _BUNDLED.fullmatch(text):
        return _bundled(match["task"], match["name"] or default)
    finish_swap(folder)
    if folder.is_dir():
        return folder
    if text in TASKS:
        return _bundled(text, default)
    if isinstance(name, str) and HUB_ID.fullmatch(text) and not text.startswith("."):
        return downloaded(text, ["*.json", "*.safetensors", "*.md", "*.npz"])
    raise InvalidCheckpoint(
        f"{text!r} is no folder; a checkpoint is a folder, `bundled:<task>/<name>` or a hub id `owner/name`"
    )


def bundled_folder(task: str) -> Path:
    """Where the package keeps what is bundled for a task; the folder need not exist."""
    return Path(str(resources.files("rise_gym"))) / "bundled" / task


def _bundled(task: str, name: str) -> Path:
    for owner in (task, _SEVERAL) if task in TASKS else (task,):
        folder = bundled_folder(owner) / name
        if folder.is_dir():
            return folder
    root = bundled_folder(task).parent
    have = sorted(f"bundled:{path.parent.name}/{path.name}" for path in root.glob("*/*") if path.is_dir())
    raise InvalidCheckpoint(
        f"bundled:{task}/{name} is not part of this package; it has {', '.join(have) or 'none'}; "
        "give one of these, or the folder of one you trained"
    )


def downloaded(hub_id: str, patterns: Sequence[str]) -> Path:
    """The folder of a hub repository `owner/name`, optionally with `@revision`, with those of its files that match.

    Raises:
        InvalidCheckpoint: if the hub can't be reached, or has no such repository.
    """
    from huggingface_hub import snapshot_download

    repository, _, revision = hub_id.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(patterns)))
    except Exception as error:  # the hub client raises errors of several libraries, by what went wrong
        raise InvalidCheckpoint(
            f"{hub_id!r} is no folder here, and could not be had from the hub either ({in_a_line(error)}); "
            "check the spelling and the connection, or give a local folder or a bundled:<task>/<name>"
        ) from error


def in_a_line(error: Exception) -> str:
    """Why the hub gave nothing, without the advice that its client adds in further lines."""
    return str(error).partition("\n")[0].strip() or type(error).__name__


def previous_folder(target: Path) -> Path:
    """Where a save puts the earlier checkpoint for the moment between its two renames."""
    return target.absolute().with_name(f".{target.name}.previous")


def finish_swap(target: Path) -> None:
    """Bring back the earlier checkpoint if a save died between its two renames, else drop what it left."""
    previous = previous_folder(target)
    if not previous.exists():
        return
    if target.exists():
        shutil.rmtree(previous, ignore_errors=True)
    else:
        os.replace(previous, target.absolute())
