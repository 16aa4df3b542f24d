"""Robots of your own: the arms in a file beside the task's, TOML or JSON, which names it: `robot = "my_arm.toml"`.

```toml
name = "my_arm"
finger_reach_m = 0.14                       # from the last link's origin to the fingertips, along its z
unit = "deg"                                # of its driver's angles, unless a joint says otherwise: rad or deg

[arms]                                      # where each one's base stands, in the order of the task's joints: m; x away
arm = [0.0, 0.0, 0.0]                       # from the robot, y to its left, z up, 0 is the table

[[links]]                                   # of one arm, one for each joint but the gripper's: the URDF's joint origins
position = [0.0, 0.0, 0.123]                # m, in the frame of the link before
rpy = [0.0, 0.0, -1.5708]                   # rad, as in a URDF; or quaternion = [w, x, y, z]. It turns about its own z

[joints.joint1_rad]                         # of the task; only what differs from LeRobot's `joint1.pos` and the unit
from = "shoulder_pan.pos"                   # what the driver calls it, in observations and actions alike
sign = -1                                   # ours is sign * (theirs in rad or m) + offset
offset = 0.1
limits = [-1.8, 1.8]                        # in rad or m, ours; default: the task's range

[joints.gripper_m]
unit = "range"                              # theirs goes from 0 to 100; in m that is
range = [0, 100]
to = [0.0, 0.08]

[cameras]
front = "front_cam"                         # the driver's name of a camera of the task, if that is another

[limits]                                    # what else of `rise_gym.envs.real.limits.Limits.of` is this robot's own
velocity_rad_s = 1.0
```
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from rise_gym.errors import InvalidTask
from rise_gym.joint_units import ANGLES, FURTHEST, LENGTHS, Unit, four_ends, reachable
from rise_gym.robots import DriverJoint, Link, Quaternion, RobotArms, Vector, lerobot_key

LIMIT_FIELDS = (
    "velocity_rad_s", "acceleration_rad_s2", "gripper_velocity_m_s", "gripper_acceleration_m_s2", "workspace_low_m",
    "workspace_high_m", "gripper_force_n", "gripper_stiffness_n_per_m",
)  # fmt: skip
"""What `[limits]` may say; ranges of joints stand with the joints."""

Content = Mapping[str, Any]


def read_plain(path: Path) -> dict[str, Any]:
    """The table in a TOML or JSON file.

    Raises:
        InvalidTask: if it can't be read, or holds something else.
    """
    try:
        text = path.read_text("utf-8")
        content = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise InvalidTask(f"{path} can't be read ({error})") from error
    if not isinstance(content, dict):
        raise InvalidTask(f"{path} must hold a table of entries, it holds a {type(content).__name__}")
    return content


def read_robot(path: Path, ranges: Mapping[str, Sequence[float]], cameras: Sequence[str]) -> RobotArms:
    """The arms in a robot file, for a task with these joints and their ranges, and these cameras.

    Raises:
        InvalidTask: naming the file, and the entry that is missing, unknown or wrong.
    """
    content = read_plain(path)
    try:
        return _robot(content, ranges, cameras)
    except (InvalidTask, TypeError, ValueError, AttributeError) as error:
        raise InvalidTask(f"{path}: {error}") from error


def _robot(content: Content, ranges: Mapping[str, Sequence[float]], cameras: Sequence[str]) -> RobotArms:
    wanted = ("name", "finger_reach_m", "arms", "links")
    if missing := [name for name in wanted if not content.get(name)]:
        raise InvalidTask(f"missing entries: {', '.join(missing)}; wanted are {', '.join(wanted)}")
    _known("the robot", content, (*wanted, "unit", "joints", "cameras", "limits"))
    _require_tables(content)
    joints, limits, views = (content.get(name, {}) for name in ("joints", "limits", "cameras"))
    for where, entries, known in (("joints", joints, ranges), ("limits", limits, LIMIT_FIELDS)):
        _known(where, entries, known)
    _known("cameras", views, cameras)
    unit = content.get("unit", "rad")
    if unit not in ANGLES:
        raise InvalidTask(f"unit: that of all angles, {' or '.join(ANGLES)}, was wanted, got {unit!r}")
    return RobotArms(
        name=str(content["name"]),
        arms=tuple(content["arms"]),
        bases=tuple(_vector(f"arms.{name}", place) for name, place in content["arms"].items()),
        links=tuple(_link(number, entry) for number, entry in enumerate(content["links"], 1)),
        finger_reach_m=float(content["finger_reach_m"]),
        joints=tuple(_joint(name, joints.get(name, {}), unit) for name in ranges),
        views={camera: str(key) for camera, key in views.items()},
        limits={**_numbers(limits), **_ends(joints, ranges)},
    )


def _link(number: int, entry: Content) -> Link:
    where = f"links, number {number}"
    _known(where, entry, ("name", "position", "quaternion", "rpy"))
    if ("quaternion" in entry) == ("rpy" in entry):
        raise InvalidTask(f"{where}: either `rpy` or `quaternion` was wanted")
    turned = _turned(entry["rpy"]) if "rpy" in entry else tuple(float(part) for part in entry["quaternion"])
    if len(turned) != 4 or not math.isfinite(sum(turned)) or not any(turned):
        raise InvalidTask(f"{where}: quaternion = [w, x, y, z], not all 0, was wanted, got {entry['quaternion']}")
    position = _vector(f"{where}, position", entry.get("position"))
    return Link(name=str(entry.get("name", f"link{number}")), position=position, quaternion=cast(Quaternion, turned))


def _turned(rpy: Sequence[float]) -> Quaternion:
    """Roll, pitch and yaw of a URDF, about fixed axes, as a quaternion."""
    (sr, cr), (sp, cp), (sy, cy) = ((math.sin(a / 2), math.cos(a / 2)) for a in _vector("rpy", rpy))
    return (
        cr * cp * cy + sr * sp * sy, sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
    )  # fmt: skip


def _joint(name: str, entry: Content, angles: str) -> DriverJoint:
    where, length = f"joints.{name}", name.endswith("_m")
    _known(where, entry, ("from", "unit", "range", "to", "sign", "offset", "limits"))
    unit, fitting = entry.get("unit", "m" if length else angles), (*(LENGTHS if length else ANGLES), "range")
    if unit not in fitting:
        raise InvalidTask(f"{where}.unit: one of {', '.join(fitting)} was wanted, got {unit!r}")
    if unit != "range" and {"range", "to"} & set(entry):
        raise InvalidTask(f'{where}: `range` and `to` go with unit = "range", and only with it')
    return DriverJoint(
        key=str(entry.get("from", lerobot_key(name))), unit=cast(Unit, unit),
        span=four_ends(where, entry) if unit == "range" else None, sign=float(entry.get("sign", 1)),
        offset=float(entry.get("offset", 0)),
    )  # fmt: skip


def _ends(joints: Content, ranges: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Ranges of the joints, in rad and m, where any says one."""
    ends = {name: joints.get(name, {}).get("limits", given) for name, given in ranges.items()}
    for name, pair in ends.items():
        if len(pair) != 2 or not pair[0] < pair[1]:
            raise InvalidTask(f"joints.{name}.limits: [low, high] in rad or m was wanted, got {pair}")
        if not reachable(name, *pair):
            raise InvalidTask(
                f"joints.{name}.limits: {FURTHEST} was wanted, got {pair}; limits are in rad or m, whatever the driver "
                "speaks"
            )
    if not any("limits" in entry for entry in joints.values()):
        return {}
    return {
        f"joint_{side}": tuple(float(pair[end]) for pair in ends.values()) for end, side in ((0, "low"), (1, "high"))
    }


def _numbers(limits: Content) -> dict[str, Any]:
    return {
        name: _vector(f"limits.{name}", value) if name.startswith("workspace") else float(value)
        for name, value in limits.items()
    }


def _vector(where: str, value: Any) -> Vector:
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise InvalidTask(f"{where}: three numbers were wanted, got {value}")
    x, y, z = (float(part) for part in value)
    if not math.isfinite(x + y + z):
        raise InvalidTask(f"{where}: three finite numbers were wanted, got {value}")
    return x, y, z


def _known(where: str, entries: Content, wanted: Any) -> None:
    if strange := sorted(set(entries) - set(wanted)):
        raise InvalidTask(f"{where}: unknown entries {', '.join(strange)}; known are {', '.join(sorted(wanted))}")


def _require_tables(content: Content) -> None:
    """Name what should be a table, `[name]` in TOML, and is none."""
    tables = {name: content[name] for name in ("arms", "joints", "cameras", "limits") if name in content}
    joints = tables.get("joints")
    tables |= {f"joints.{name}": one for name, one in joints.items()} if isinstance(joints, Mapping) else {}
    for where, entries in tables.items():
        if not isinstance(entries, Mapping):
            raise InvalidTask(f"{where}: a table, `[{where}]`, was wanted, got {entries!r}")
