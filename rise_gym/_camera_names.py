"""What names of cameras say about where they look from, and whether a mapping sends one to another's place."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rise_gym.findings import Finding

_PLACES = {
    "head": {"head", "top", "high", "overhead", "ceiling"},
    "front": {"front", "base", "exterior", "external", "scene", "third", "agentview", "main", "context"},
    "wrist": {"wrist", "hand", "gripper", "eye"},
}
_SIDES = {"left", "right"}
_EMPTY_WORDS = {"cam", "camera", "image", "images", "rgb", "observation", "pos", "rad", "m", "deg", "main", "color"}


def words(name: str) -> set[str]:
    """What tells one name from another, in lower case."""
    return set(re.findall(r"[a-z]+|\d+", name.lower())) - _EMPTY_WORDS


def likeness(ours: str, theirs: str) -> float:
    """How much two names have in common, 0 and up; 0 where one says left and the other right."""
    one, two = words(ours), words(theirs)
    if _other_side(one, two):
        return 0.0
    shared = len(one & two) + 0.5 * sum(1 for group in _PLACES.values() if one & group and two & group)
    return shared / max(1, len(one | two)) + (1.0 if one == two and one else 0.0)


def crossed(ours: str, theirs: str) -> bool:
    """Whether two names say different places (wrist, head, front) or different sides."""
    one, two = words(ours), words(theirs)
    here, there = _places(one), _places(two)
    return _other_side(one, two) or bool(here and there and not here & there)


def name_findings(sources: Mapping[str, str], checked: Sequence[str]) -> list[Finding]:
    """Cameras of a task, of those `checked`, that get the pictures of a camera whose name says another place.

    `sources` is theirs by ours. It is an error where the task has a camera of the place that the name says, for then
    they look exchanged; a warning where it has none.
    """
    found = []
    for ours in checked:
        theirs = sources[ours]
        if crossed(ours, theirs):
            fitting = [name for name in sources if name != ours and likeness(name, theirs) > 0]
            fitting = [name for name in fitting if not crossed(name, theirs)]
            found.append(_finding(ours, theirs, fitting[0] if fitting else None))
    return found


def _finding(ours: str, theirs: str, fitting: str | None) -> Finding:
    field, text = f"cameras.{ours}", f"its pictures come from {theirs!r}, whose name says another place"
    meant = f"if it is meant so, say `check = false` in `[cameras.{ours}]`"
    if fitting is None:
        return Finding(level="warning", field=field, found=text, advice=f"look at `from` in the mapping; {meant}")
    advice = f"exchange `from` of cameras.{ours} and cameras.{fitting}, which that name fits, in the mapping; {meant}"
    return Finding(level="error", field=field, found=text, advice=advice)


def _other_side(one: set[str], two: set[str]) -> bool:
    here, there = one & _SIDES, two & _SIDES
    return bool(here and there and here != there)


def _places(found: set[str]) -> set[str]:
    return {place for place, group in _PLACES.items() if found & group}
