"""What a dataset keeps of its imports: how each source was read, and which rows were missing there.

What is imported has a row every control tick, whatever the times were before; so the gaps are written down beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rise_gym import _lerobot as layout
from rise_gym._timing_checks import Timing
from rise_gym.errors import InvalidDataset
from rise_gym.mapping import DatasetMapping

_MAPPINGS_PATH = "meta/rise_gym_import.json"
_GAPS_PATH = "meta/rise_gym_import_gaps.json"
_REFUSING = ("skip", "largest_gap_s")
_GAP = ("missing", "twice", "longest_s")  # of a `Timing`


def remember_mapping(folder: Path, name: str, mapping: DatasetMapping, *, begun: Callable[[str], bool]) -> None:
    """How a source is read, so that all of it is read alike; `begun` tells of which ones there are episodes.

    Raises:
        InvalidDataset: if a part of it was read otherwise before, or it is there under another name.
    """
    path = folder / _MAPPINGS_PATH
    known = _known(path)
    twins = [one for one in known if one != name and _digest(one) == _digest(name) and begun(one)]
    if twins:
        raise InvalidDataset(
            f"{folder} holds episodes of {twins[0]} whose first one has the very same numbers as that of {name}: the "
            "same recordings would be there twice; give the data by its name of then, or import into another folder"
        )
    plain = json.loads(json.dumps(mapping.content))
    before, now = _reading(known.get(name, plain)), _reading(plain)
    if before != now and begun(name):
        odd = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
        raise InvalidDataset(
            f"{folder} holds episodes of {name} that were read with another mapping ({', '.join(odd)}); import into "
            "another folder"
        )
    if known.get(name) != plain:
        layout.write_atomically(path, layout.json_bytes({**known, name: plain}))


def _digest(name: str) -> str:
    """What `LeRobotSource.identity` ends with: of the first episode's numbers."""
    return name.rpartition("-")[2]


def _reading(content: dict[str, Any]) -> dict[str, Any]:
    """Of a mapping, what changes how an episode is read; the rest only says which ones are refused."""
    kept = {key: value for key, value in content.items() if key not in _REFUSING}
    cameras = {name: {**camera, "check": True} for name, camera in content.get("cameras", {}).items()}
    return {**kept, "cameras": cameras}


def remember_gaps(folder: Path, name: str, timings: Iterable[Timing], largest_gap_s: float) -> None:
    """Rows that are missing or twice in episodes of a source, and how long a gap its mapping allows."""
    path = folder / _GAPS_PATH
    known = _known(path)
    before = known.get(name, {}).get("episodes", {})
    odd = {
        str(one.episode): {key: value for key, value in asdict(one).items() if key in _GAP}
        for one in timings
        if one.missing or one.twice
    }
    told = {"largest_gap_s": largest_gap_s, "episodes": {**before, **odd}}
    if told["episodes"] and known.get(name) != told:
        layout.write_atomically(path, layout.json_bytes({**known, name: told}))


class RecordedGaps:
    """The gaps that the sources of a dataset had; none for one that was not imported."""

    def __init__(self, folder: Path) -> None:
        self._sources = _known(folder / _GAPS_PATH)

    @property
    def largest_gap_s(self) -> float:
        """The longest that a mapping allowed; 0 without imports that had some."""
        return max((float(one["largest_gap_s"]) for one in self._sources.values()), default=0.0)

    def added(self, timing: Timing, policy: object, seed: object) -> Timing:
        """The timing of an episode's own rows, and what was missing where it came from: its `policy` and `seed`."""
        gap = self._sources.get(str(policy), {}).get("episodes", {}).get(str(seed))
        if gap is None:
            return timing
        return replace(
            timing, missing=timing.missing + gap["missing"], twice=timing.twice + gap["twice"],
            longest_s=max(timing.longest_s, gap["longest_s"]),
        )  # fmt: skip


def _known(path: Path) -> dict[str, Any]:
    return layout.read_json(path, "what was imported before") if path.exists() else {}
