"""Parts of a measurement, each in a JSON file, so that an interrupted run goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from improvement import fingerprint

from rise_gym.evaluation import write_report_json


class Kept:
    """A folder of parts that were measured with the same weights, the same replica and the same settings.

    Args:
        folder: where. name: of what is measured.
        checkpoints: folders or bundled names of all weights that matter. settings: whatever else does, plain data.
    """

    def __init__(self, folder: Path, name: str, checkpoints: Iterable[str], settings: Any) -> None:
        marks = [fingerprint(None if one == "random" else one) for one in checkpoints]
        mark = hashlib.blake2b(repr((marks, settings)).encode(), digest_size=8).hexdigest()
        self.folder = folder / f"{name}_{mark}"

    def has(self, part: str) -> bool:
        return self._path(part).is_file()

    def of(self, part: str, measure: Callable[[], Any]) -> Any:
        """That part, measured now or before, as JSON gives it back."""
        if not self.has(part):
            write_report_json(self._path(part), {"part": measure()})
        return json.loads(self._path(part).read_text())["part"]

    def _path(self, part: str) -> Path:
        return self.folder / f"{part}.json"
