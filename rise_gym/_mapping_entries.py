"""Whether what a mapping file says has the types that its entries want, before anything is made of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rise_gym.errors import InvalidMapping

Rule = tuple[Callable[[Any], bool], str]


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _list_of(fine: Callable[[Any], bool], count: int | None = None) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, list | tuple) and count in (None, len(value)) and all(fine(one) for one in value)
    )


_TABLE: Rule = (lambda value: isinstance(value, Mapping), "a table")
_FLAG: Rule = (lambda value: isinstance(value, bool), "true or false")
_TEXT: Rule = (_text, "a text")
_TOP: dict[str, Rule] = {
    "cameras": _TABLE, "state": _TABLE, "action": _TABLE, "joints": _TABLE, "instruction": _TEXT, "progress": _TEXT,
    "success": (lambda value: isinstance(value, str | bool), "a name or true or false"), "clip": _FLAG,
    "skip": (_list_of(_whole), "a list of numbers of episodes"),
    "largest_gap_s": (lambda value: _number(value) and value > 0, "a number of seconds above 0"),
}  # fmt: skip
_CAMERA: dict[str, Rule] = {
    "from": (_text, "the name of a feature"), "check": _FLAG,
    "crop": (_list_of(_whole, 4), "[top, left, height, width] in pixels"),
}  # fmt: skip
_JOINT: dict[str, Rule] = {
    "column": (_text, "the name of a column"), "from": (lambda value: _text(value) or _whole(value), "a name or index"),
    "range": (_list_of(_number), "[low, high]"), "to": (_list_of(_number), "[low, high]"),
    "sign": (_number, "1 or -1"), "offset": (_number, "a number"), "state": _TABLE, "action": _TABLE,
}  # fmt: skip


def check_entries(content: Mapping[str, Any]) -> None:
    """Look at all entries that are known; what is unknown, missing or no choice is found where they are used.

    Raises:
        InvalidMapping: naming the entry, what was wanted and what came.
    """
    for path, value, (fine, wanted) in _entries(content):
        if not fine(value):
            raise InvalidMapping(f"{path} is {wanted}, got {value!r}; see `rise_gym.mapping`")


def _entries(content: Mapping[str, Any]) -> Iterator[tuple[str, Any, Rule]]:
    """Every entry with its path and rule; a table is seen before what is in it."""
    yield from _of("", content, _TOP)
    for side in ("state", "action"):
        yield from _of(f"{side}.", content.get(side, {}), _JOINT)
    for name, camera in content.get("cameras", {}).items():
        yield f"cameras.{name}", camera, (_TABLE[0], f'a table, `[cameras.{name}]` with `from = "..."`')
        yield from _of(f"cameras.{name}.", camera, _CAMERA)
    for name, joint in content.get("joints", {}).items():
        yield f"joints.{name}", joint, (_TABLE[0], f"a table, `[joints.{name}]` with `from = ...`")
        yield from _of(f"joints.{name}.", joint, _JOINT)
        for side in ("state", "action"):
            yield from _of(f"joints.{name}.{side}.", joint.get(side, {}), _JOINT)


def _of(prefix: str, entries: Mapping[str, Any], rules: Mapping[str, Rule]) -> Iterator[tuple[str, Any, Rule]]:
    return ((f"{prefix}{name}", entries[name], rule) for name, rule in rules.items() if name in entries)
