"""How somebody else's recordings are read: their cameras, columns and units as those of a task card.

```toml
instruction = "Put the cube in the bowl."  # for all episodes; default: the dataset's own
success = "next.success"                   # a column or a fact of each episode, true or false (1 or 0); or one for all
progress = "progress"                      # a column, 0 to 1, if something measured it
source = "demonstration"                   # or "rollout", "correction"
targets = "held"                           # between rows: the one in force, or "interpolated"
skip = [3, 17]                             # episodes to leave out
largest_gap_s = 0.2                        # between rows; default: two control ticks
clip = false                               # cut targets to the card's ranges, however far outside

[cameras.front]                            # of the task card
from = "observation.images.cam_high"
crop = [0, 80, 480, 480]                   # top, left, height, width in pixels, first of all
fit = "crop"                               # then: the middle; "pad": all of it, with black; "stretch"
check = true                               # that its name and pictures are not another camera's; false: it is meant so

[state]                                    # what was measured; [action] is what was commanded: absolute joint targets
column = "observation.state"
unit = "deg"                               # of its angles: rad or deg; or of its lengths: m or mm

[joints.gripper_m]                         # of the task card; what is said here goes for state and action alike
from = "gripper.pos"                       # a name of the column's numbers, or their index
unit = "range"                             # or rad, deg; m, mm
range = [0, 100]                           # of theirs, and what its ends are in rad or m:
to = [0.0, 0.08]
sign = -1                                  # then: turned round
offset = 0.1                               # then: moved, in rad or m
action = { column = "gripper", from = 0 }  # what is other for the action alone; so `state`
```
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from rise_gym._mapping_entries import check_entries
from rise_gym.errors import InvalidMapping
from rise_gym.joint_units import ANGLES, LENGTHS, JointUnit, four_ends
from rise_gym.tasks import TaskCard
from rise_gym.types import Source

Fit = Literal["crop", "pad", "stretch"]
Targets = Literal["held", "interpolated"]
Content = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class CameraMapping:
    """Where a camera's pictures come from, and how they get the task's size.

    `crop` (top, left, height, width) in pixels comes first; then `fit` makes the shape the task's. Without `check` its
    name may say, and its pictures may look like, another camera's.
    """

    source: str
    crop: tuple[int, int, int, int] | None = None
    fit: Fit = "crop"
    check: bool = True


@dataclass(frozen=True, kw_only=True)
class JointMapping(JointUnit):
    """Where a joint's number is, and what it means.

    Attributes:
        column: of the dataset. source: name or index of the number in it.
    """

    column: str
    source: str | int

    @property
    def named(self) -> str:
        return f"{self.source}: "


@dataclass(frozen=True, kw_only=True)
class DatasetMapping:
    """How a dataset is read for a task: `state` and `action` in the order of the card's joints. See the module."""

    cameras: dict[str, CameraMapping]
    state: tuple[JointMapping, ...]
    action: tuple[JointMapping, ...]
    targets: Targets = "held"
    instruction: str | None = None
    success: str | bool = True
    progress: str | None = None
    source: Source = "demonstration"
    skip: tuple[int, ...] = ()
    largest_gap_s: float = 0.2
    clip: bool = False
    content: Content = field(default_factory=dict, compare=False)
    """What it was read from."""

    def columns(self) -> tuple[str, ...]:
        """Of the dataset, that have to be there."""
        flags = [name for name in (self.progress,) if name]
        return tuple(dict.fromkeys([*(joint.column for joint in (*self.state, *self.action)), *flags]))


def read_mapping(path: str | Path) -> Content:
    """What a mapping file says, as plain data for `mapping_of`.

    Raises:
        InvalidMapping: if it can't be read.
    """
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidMapping(f"{path} can't be read as a mapping ({error}); see `rise_gym.mapping`") from error


def mapping_of(content: Mapping[str, Any], task: TaskCard) -> DatasetMapping:
    """The mapping that plain data describes; every camera and joint of the card has to be there.

    Raises:
        InvalidMapping: naming the entry that is missing, unknown or wrong.
    """
    check_entries(content)
    simple = {one.name for one in fields(DatasetMapping)} - {"cameras", "state", "action", "content"}
    _known("the mapping", content, simple | {"cameras", "state", "action", "joints"})
    given = {name: _tuple(content[name]) for name in simple if name in content}
    _one_of("targets", given.get("targets", "held"), get_args(Targets))
    _one_of("source", given.get("source", "demonstration"), get_args(Source)[:3])
    given.setdefault("largest_gap_s", 2 / task.control_hz)
    return DatasetMapping(
        cameras=_cameras(content.get("cameras", {}), task),
        state=_joints(content, "state", task),
        action=_joints(content, "action", task),
        **given,
        content=dict(content),
    )


def _cameras(content: Mapping[str, Any], task: TaskCard) -> dict[str, CameraMapping]:
    if missing := [name for name in task.cameras if name not in content]:
        raise InvalidMapping(f"cameras {', '.join(missing)} of {task.name!r} are not mapped: [cameras.{missing[0]}]")
    _known("cameras", content, task.cameras)
    found = {}
    for name in task.cameras:
        entry = dict(content[name])
        _known(f"cameras.{name}", entry, ("from", "crop", "fit", "check"))
        if "from" not in entry:
            raise InvalidMapping(f"cameras.{name}: `from`, the name of a feature, was wanted")
        _one_of(f"cameras.{name}.fit", entry.get("fit", "crop"), get_args(Fit))
        crop = entry.get("crop")
        if crop is not None and (min(crop[:2]) < 0 or min(crop[2:]) < 1):
            raise InvalidMapping(f"cameras.{name}.crop is [top, left, height, width] in pixels, got {crop}")
        found[name] = CameraMapping(
            source=entry["from"], crop=None if crop is None else tuple(crop), fit=entry.get("fit", "crop"),
            check=entry.get("check", True),
        )  # fmt: skip
    return found


def _joints(content: Mapping[str, Any], side: Literal["state", "action"], task: TaskCard) -> tuple[JointMapping, ...]:
    shared, joints = dict(content.get(side, {})), content.get("joints", {})
    _known(side, shared, ("column", "unit"))
    _known("joints", joints, task.action_names)
    found = []
    for name in task.action_names:
        own = dict(joints.get(name, {}))
        special = {one: own.pop(one, {}) for one in ("state", "action")}[side]
        length = name.endswith("_m")
        fitting = {key: value for key, value in shared.items() if key != "unit" or (value in LENGTHS) == length}
        entry = {**fitting, **own, **special}
        _known(f"joints.{name}", entry, ("column", "unit", "from", "range", "to", "sign", "offset"))
        unit = entry.get("unit", "m" if length else "rad")
        _one_of(f"joints.{name}.unit", unit, (*(LENGTHS if length else ANGLES), "range"))
        if missing := [key for key in ("column", "from") if key not in entry]:
            raise InvalidMapping(f"joints.{name}: {' and '.join(missing)} of the {side} was wanted")
        found.append(
            JointMapping(
                column=entry["column"], source=entry["from"], unit=unit,
                span=four_ends(f"joints.{name}", entry) if unit == "range" else None,
                sign=entry.get("sign", 1.0), offset=entry.get("offset", 0.0),
            )
        )  # fmt: skip
    return tuple(found)


def _known(where: str, entries: Mapping[str, Any], wanted: Any) -> None:
    if strange := sorted(set(entries) - set(wanted)):
        raise InvalidMapping(f"{where}: unknown entries {', '.join(strange)}; known are {', '.join(sorted(wanted))}")


def _one_of(where: str, value: object, wanted: tuple[str, ...]) -> None:
    if value not in wanted:
        raise InvalidMapping(f"{where}: one of {', '.join(wanted)} was wanted, got {value!r}")


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
