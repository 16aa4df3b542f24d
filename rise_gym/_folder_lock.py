"""One process at a time in a folder, where the system has locks of files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rise_gym.errors import SaveFailed

try:
    import fcntl
except ImportError:  # Windows: two writers at the same time are not kept apart there
    fcntl = None  # type: ignore[assignment]  # looked at before it is used

_LOCK = ".rise_gym.lock"  # hidden, and never removed: another process may be waiting for it


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process is in such a block of the folder; a process that dies leaves it.

    Raises:
        SaveFailed: if the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / _LOCK).open("ab")
    except OSError as error:
        raise SaveFailed(
            f"could not write to {folder} ({error}); make it writable, or choose another folder"
        ) from error
    with file:
        if fcntl is not None:
            _wait(file.fileno())
        yield


def _wait(number: int) -> None:
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
    except OSError:  # a network's file system without locks
        return
