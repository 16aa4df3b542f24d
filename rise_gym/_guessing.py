"""What a mapping does not say, from the dataset's names and numbers; what can't be told is asked for."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rise_gym._camera_names import likeness, words
from rise_gym._lerobot_source import PREFIX, LeRobotSource
from rise_gym.errors import InvalidDataset, InvalidMapping
from rise_gym.mapping import Content
from rise_gym.tasks import TaskCard

_SUCCESS = ("next.success", "success", "is_success")
_COLUMNS = {"state": ("observation.state", "state"), "action": ("action", "actions")}
_LOOKED_AT = 5  # episodes
_OPEN_PER_CENT = 10.0  # that a gripper is opened at least by in some episode, if it is measured in per cent


def completed(source: LeRobotSource, task: TaskCard, given: Mapping[str, Any]) -> Content:
    """`given`, which wins, and what names and numbers of the dataset tell of the rest.

    Raises:
        InvalidMapping: naming the cameras and joints that can't be told, and what the dataset has.
    """
    content: Content = {}
    flags = [name for name in _SUCCESS if name in source.features or name in source.episodes[0].facts]
    content["success"] = flags[0] if flags else True
    content["cameras"] = _cameras(source, task, given.get("cameras", {}))
    for side, usual in _COLUMNS.items():
        own = dict(given.get(side, {}))
        found = [name for name in usual if name in source.features]
        if "column" not in own and not found:
            raise InvalidMapping(
                f"{source.name} has no column {usual[0]!r}: say which it is, `[{side}]` and `column = ...`, of "
                f"{', '.join(name for name in source.features if name not in source.cameras)}"
            )
        content[side] = {"column": own.get("column", found[0] if found else "")}
    content["joints"] = _joints(source, task, content, given)
    return _merged(content, given)


def toml_text(content: Mapping[str, Any]) -> str:
    """Plain data of a mapping as its file."""
    lines = [f"{_key(name)} = {_value(value)}" for name, value in content.items() if not isinstance(value, dict)]
    tables = [(name, value) for name, value in content.items() if isinstance(value, dict) and value]
    for name, table in tables:
        if all(isinstance(entry, dict) for entry in table.values()):
            for key, entry in table.items():
                lines += ["", f"[{name}.{_key(key)}]", *(f"{_key(k)} = {_value(v)}" for k, v in entry.items())]
        else:
            lines += ["", f"[{name}]", *(f"{_key(k)} = {_value(v)}" for k, v in table.items())]
    return "\n".join(lines).lstrip("\n") + "\n"


def _cameras(source: LeRobotSource, task: TaskCard, given: Mapping[str, Any]) -> Content:
    taken = {entry.get("from") for entry in given.values() if isinstance(entry, dict)}
    free = [name for name in source.cameras if name not in taken]
    wanted = [name for name in task.cameras if "from" not in given.get(name, {})]
    found: Content = {}
    scores = [(likeness(ours, theirs.removeprefix(PREFIX)), ours, theirs) for ours in wanted for theirs in free]
    for score, ours, theirs in sorted(scores, key=lambda one: -one[0]):
        if score > 0 and ours not in found and theirs not in [entry["from"] for entry in found.values()]:
            found[ours] = {"from": theirs}
    rest = [name for name in wanted if name not in found]
    left = [name for name in free if name not in [entry["from"] for entry in found.values()]]
    if len(rest) == 1 == len(left):
        found[rest[0]] = {"from": left[0]}
    elif rest:
        raise InvalidMapping(
            f"which pictures of {source.name} are {', '.join(rest)}? Say it in the mapping: `[cameras.{rest[0]}]` and "
            f'`from = "..."`, one of {", ".join(left) or "none left: the task asks for more cameras than there are"}'
        )
    return {name: found[name] for name in task.cameras if name in found}


def _joints(source: LeRobotSource, task: TaskCard, content: Content, given: Mapping[str, Any]) -> Content:
    sides: dict[str, Content] = {}
    for side in _COLUMNS:
        column, own = content[side]["column"], given.get("joints", {})
        places = _places(source, task, column, side, own)
        values = _values(source, column)
        sides[side] = {}
        for index, name in enumerate(task.action_names):
            entry: Content = {} if places[name] is None else {"from": places[name]}
            said = {**own.get(name, {}), **own.get(name, {}).get(side, {})}
            if "unit" not in said and "unit" not in given.get(side, {}) and "column" not in said and values is not None:
                number = _number(source, column, said.get("from", places[name]))
                ends = task.action_low[index], task.action_high[index]
                entry |= _unit(name, ends, values[:, number])
            sides[side][name] = entry
        if any(entry.get("unit") == "deg" for entry in sides[side].values()):  # one joint in degrees: all are
            for name, entry in sides[side].items():
                said = {**given.get(side, {}), **own.get(name, {}), **own.get(name, {}).get(side, {})}
                if name.endswith("_rad") and "unit" not in said:
                    entry["unit"] = "deg"
    joints: Content = {}
    for name in task.action_names:
        state, action = sides["state"][name], sides["action"][name]
        joints[name] = state if state == action else {"state": state, "action": action}
    return joints


def _places(
    source: LeRobotSource, task: TaskCard, column: str, side: str, given: Mapping[str, Any]
) -> dict[str, str | int | None]:
    """Where each joint of the card is in a column: its name there, or its index; None where the mapping says it."""
    names = source.names_of(column)
    said = [name for name in task.action_names if {"from"} & {*given.get(name, {}), *given.get(name, {}).get(side, {})}]
    if len(said) == len(task.action_names):
        return dict.fromkeys(task.action_names)
    found: dict[str, str | int | None] = {}
    for ours in task.action_names:
        same = [theirs for theirs in names if words(theirs) == words(ours) and words(ours)]
        if len(same) == 1:
            found[ours] = same[0]
    if len(found) < len(task.action_names):
        if len(names) != len(task.action_names):
            missing = [name for name in task.action_names if name not in found and name not in said]
            if not missing:
                return {name: found.get(name) for name in task.action_names}
            raise InvalidMapping(
                f"column {column!r} of {source.name} has {len(names)} numbers ({', '.join(names)}), {task.name!r} has "
                f"{len(task.action_names)} joints: say which is which, `[joints.{missing[0]}]` and `from = ...`"
            )
        unique = len(set(names)) == len(names) and not all(name.isdigit() for name in names)
        found = {
            ours: theirs if unique else n for n, (ours, theirs) in enumerate(zip(task.action_names, names, strict=True))
        }
    return {name: None if name in said else found[name] for name in task.action_names}


def _values(source: LeRobotSource, column: str) -> NDArray[np.float64] | None:
    """A column (N, D) of some episodes, None if it has no numbers; broken episodes and rows are left out."""
    parts = []
    for episode in source.episodes[:: max(1, len(source.episodes) // _LOOKED_AT)]:
        try:
            part = source.numbers(episode, (column,))[column]
        except InvalidDataset:
            continue
        parts.append(part.reshape(len(part), -1))
    joined = np.concatenate([np.empty((0, source.width_of(column))), *parts])
    finite = joined[np.isfinite(joined).all(1)]
    return finite if len(finite) else None


def _number(source: LeRobotSource, column: str, place: str | int | None) -> int:
    return place_of(source, column, 0 if place is None else place)


def place_of(source: LeRobotSource, column: str, place: str | int) -> int:
    """The index of a number in a column, by its name or index.

    Raises:
        InvalidMapping: if the column has none of that name or index.
    """
    names = source.names_of(column)
    if isinstance(place, int) and not isinstance(place, bool) and 0 <= place < len(names):
        return place
    if isinstance(place, str) and names.count(place) == 1:
        return names.index(place)
    if isinstance(place, str) and place in names:
        which = " or ".join(str(index) for index, name in enumerate(names) if name == place)
        raise InvalidMapping(
            f"column {column!r} of {source.name} has {names.count(place)} numbers called {place!r}; say which by its "
            f"index: `from = ...`, {which}"
        )
    raise InvalidMapping(
        f"{place!r} is no number of column {column!r} of {source.name}, which has {', '.join(names)} "
        f"(or 0 to {len(names) - 1})"
    )


def _unit(name: str, ends: tuple[float, float], values: Sequence[float] | NDArray[np.float64]) -> Content:
    """The unit that numbers seem to have, if it is not the card's."""
    size, widest = float(np.abs(values).max()), max(abs(end) for end in ends)
    if name.endswith("_m"):
        if size <= 1.5 * widest:
            return {}
        for least, top in ((0.0, 1.0), (_OPEN_PER_CENT, 100.0)):  # what lies between may be rad of a servo
            if least < size <= 1.05 * top:
                return {"unit": "range", "range": [0.0, top], "to": list(ends)}
        return {}
    degrees = size > 2 * math.pi and size > 1.5 * widest
    return {"unit": "deg"} if degrees else {}


def _merged(content: Mapping[str, Any], given: Mapping[str, Any]) -> Content:
    both = dict(content)
    for name, value in given.items():
        old = both.get(name)
        both[name] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    order = [name for name in both if not isinstance(both[name], dict)]
    return {name: both[name] for name in [*order, *(name for name in both if name not in order)]}


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(name)} = {_value(one)}" for name, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)
