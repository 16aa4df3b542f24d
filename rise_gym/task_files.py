"""Tasks of your own: a card in a file, TOML or JSON.

```toml
name = "cube_in_bowl"                       # snake case; its title, CubeInBowl, names the environments
instruction = "Put the cube in the bowl."
cameras = ["front", "wrist"]
image_size = [64, 64]                       # pixels: a square, a multiple of 16; full size also [192, 256]
control_hz = 10                             # actions a second
chunk = 10                                  # actions in a step of the environment
horizon_s = 20
# robot = "my_arm.toml"                     # a file beside this one, see rise_gym.robot_files; or a card's name

[joints]                                    # in the order of an action: joint targets and their ranges, in rad or m
shoulder_rad = [-2.6, 2.6]
gripper_m = [0.0, 0.08]

[stages]                                    # optional: the score, up to 10, that each stage is worth
grasped = 5
done = 10
```

A JSON file holds the same, or what `TaskCard.to_dict` gives.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rise_gym.errors import InvalidTask
from rise_gym.joint_units import FURTHEST, reachable
from rise_gym.robot_files import read_plain, read_robot
from rise_gym.robots import ROBOTS, RobotArms, RobotCard, known_arms
from rise_gym.tasks import TaskCard

SUFFIXES = (".toml", ".json")
CARD_NAMES = ("meta/rise_gym_task.json", "task.json", "checkpoint/task.json")
"""Where a dataset, a checkpoint, and a run's folder keep the card of their task."""

PIXELS_MULTIPLE = 16
"""Of an image side: the codec makes a quarter of it, and the networks halve that twice."""
FULL_SIZE_MULTIPLE = 32
"""Of an image side, which may be any other's: LTX-Video's codec makes one of so many pixels."""

_TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "name": (str, "a text"), "instruction": (str, "a text"), "cameras": (list, "a list of names"),
    "image_size": (list, "[height, width] in pixels"), "control_hz": ((int, float), "a number of actions a second"),
    "chunk": ((int, float), "a number of ticks"), "horizon_s": ((int, float), "a number of seconds"),
    "joints": (dict, "a table of ranges, `name_rad = [low, high]`"), "title": (str, "a text"),
    "stages": (dict, "a table of scores"), "robot": ((str, type(None)), "the name of a robot file or card"),
}  # fmt: skip
_OPTIONAL = ("title", "stages", "robot")
_WANTED = tuple(name for name in _TYPES if name not in _OPTIONAL)


def find_task(source: str | Path) -> TaskCard:
    """The card in a task file, or that of a dataset's or a checkpoint's folder.

    Raises:
        InvalidTask: if there is none, or it contradicts itself.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        found = [path / name for name in CARD_NAMES if (path / name).is_file()]
        if not found:
            raise InvalidTask(
                f"{path} holds no task card; give a task file ({', '.join(SUFFIXES)}), or the folder of a dataset or "
                "checkpoint of rise_gym"
            )
        path = found[0]
    return read_task(path)


def read_task(path: str | Path) -> TaskCard:
    """The card in a TOML or JSON file.

    Raises:
        InvalidTask: if it can't be read, lacks an entry, has an unknown one, or contradicts itself.
    """
    source = Path(path)
    if source.suffix not in SUFFIXES:
        raise InvalidTask(f"a task file ends in {' or '.join(SUFFIXES)}, got {source}")
    content = read_plain(source)
    try:
        card = TaskCard.from_dict(content if "action_names" in content else _plain(content, source.parent))
        return checked_task(card)
    except (InvalidTask, TypeError, ValueError, KeyError, AttributeError) as error:
        raise InvalidTask(f"{source}: {error}") from error


def checked_task(card: TaskCard) -> TaskCard:
    """The same card, if everything can be built for it.

    Raises:
        InvalidTask: naming the entry that is wrong, what it is, and what was wanted.
    """
    for entry, fine, found, wanted in _rules(card):
        if not fine:
            raise InvalidTask(f"task {card.name!r}, {entry}: {wanted} was wanted, got {found}")
    return card


def _plain(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The entries of a task file as what `TaskCard.from_dict` reads; a robot file lies in the same folder."""
    missing = [name for name in _WANTED if name not in content]
    unknown = sorted(set(content) - {*_WANTED, *_OPTIONAL})
    if missing or unknown:
        raise InvalidTask(
            f"missing entries: {', '.join(missing) or 'none'}; unknown entries: {', '.join(unknown) or 'none'}; "
            f"wanted are {', '.join(_WANTED)}, and, if you like, {', '.join(_OPTIONAL)}"
        )
    for name, value in content.items():
        kind, wanted = _TYPES[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise InvalidTask(f"{name}: {wanted} was wanted, got {value!r}")
    data = {key: value for key, value in content.items() if key not in ("joints", "stages")}
    joints: dict[str, Any] = content["joints"]
    odd = [name for name, ends in joints.items() if not isinstance(ends, list) or len(ends) != 2]
    if odd:
        raise InvalidTask(f"joints: a range [low, high] was wanted for {odd[0]}, got {joints[odd[0]]}")
    data |= {"action_names": list(joints), "proprio_names": list(joints)}
    data |= {"action_low": [float(ends[0]) for ends in joints.values()]}
    data |= {"action_high": [float(ends[1]) for ends in joints.values()]}
    data["stages"] = [{"name": name, "score": float(score)} for name, score in content.get("stages", {}).items()]
    data["control_hz"], data["horizon_s"] = float(content["control_hz"]), float(content["horizon_s"])
    if str(robot := content.get("robot")).endswith(SUFFIXES):
        data["robot"] = read_robot(folder / Path(str(robot)).expanduser(), joints, content["cameras"])
    return {"title": _title(str(content["name"])), "robot": None, **data}


def _title(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _rules(card: TaskCard) -> list[tuple[str, bool, object, str]]:
    """What has to hold of a card: the entry, whether it does, what came, what was wanted."""
    size, low, high, names = card.image_size, card.action_low, card.action_high, card.action_names
    whole = len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size)
    square = whole and size[0] == size[1] and size[0] % PIXELS_MULTIPLE == 0
    oblong = whole and all(side % FULL_SIZE_MULTIPLE == 0 for side in size)
    ranged = len(low) == len(high) == len(names) and all(a < b for a, b in zip(low, high, strict=True))
    unfit = [name for name in card.cameras if not re.fullmatch(r"[A-Za-z0-9_-]+", str(name))]
    units = [name for name in names if not name.endswith(("_rad", "_m"))]
    wide = [f"{name} {a:g} to {b:g}" for name, a, b in zip(names, low, high, strict=False) if not reachable(name, a, b)]
    timed = math.isfinite(card.control_hz * card.horizon_s)
    scores = [stage.score for stage in card.stages]
    pixels = (
        f"a square of a multiple of {PIXELS_MULTIPLE} pixels, or, for the full-size world model alone, (height, width) "
        f"of multiples of {FULL_SIZE_MULTIPLE} (pictures are cut and shrunk to it)"
    )
    return [
        ("name", bool(re.fullmatch(r"[a-z][a-z0-9_]*", card.name)), card.name, "snake case"),
        ("title", bool(re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", card.title)), card.title, "letters and digits"),
        ("instruction", bool(card.instruction.strip()), repr(card.instruction), "a text"),
        ("cameras", _names(card.cameras) and "proprio" not in card.cameras, list(card.cameras), "one name a camera"),
        ("cameras", not unfit, unfit, "names of letters, digits, _ and -, by which columns and videos are called,"),
        ("image_size", square or oblong, list(size), pixels),
        ("control_hz", 0 < card.control_hz < math.inf, card.control_hz, "a rate above 0"),
        ("chunk", isinstance(card.chunk, int) and card.chunk >= 1, card.chunk, "a number of ticks, 1 or more"),
        ("horizon_s", timed and card.horizon_ticks >= card.chunk, card.horizon_s, "at least one chunk's time"),
        ("joints", _names(names), list(names), "one name a joint"),
        ("joints", not units, units, "the unit at the end of every name, `_rad` or `_m` (gripper openings)"),
        ("joints", ranged, [list(low), list(high)], "a range from low to high for each"),
        ("joints", not wide, ", ".join(wide), f"{FURTHEST} (more is in degrees, mm or per cent)"),
        ("proprio_names", card.proprio_names == names, list(card.proprio_names), "the joints, in their order"),
        ("stages", scores == sorted(scores) and all(0 < s <= 10 for s in scores), scores, "scores rising to 10"),
        *_robot_rules(card),
    ]


def _robot_rules(card: TaskCard) -> Iterator[tuple[str, bool, object, str]]:
    known = f"a robot file ({', '.join(SUFFIXES)}), one of {', '.join(ROBOTS)}, or none"
    if isinstance(card.robot, str) and card.robot not in ROBOTS:
        yield "robot", False, card.robot, known
        return
    named = not isinstance(card.robot, RobotCard)
    yield "robot", named, "a RobotCard", "the name of one that was put into rise_gym.robots.ROBOTS"
    if (robot := known_arms(card.robot)) is None:
        return
    yield from _arm_rules(card, robot)
    if isinstance(robot, RobotCard):
        strange = sorted(set(card.cameras) - {camera.name for camera in robot.cameras})
        cameras = ", ".join(camera.name for camera in robot.cameras)
        yield "robot", not strange, strange, f"cameras of {robot.name!r} ({cameras}); leave `robot` out for others"


def _arm_rules(card: TaskCard, robot: RobotArms) -> Iterator[tuple[str, bool, object, str]]:
    """Each arm's joints in turn, angles first and its gripper last: what keeps tools in a workspace counts on that."""
    arms, links, names = len(robot.arms), len(robot.links), card.action_names
    yield "robot", len(names) == arms * (links + 1), f"{len(names)} joints", f"{arms * (links + 1)} of {robot.name!r}"
    kinds = [name.endswith("gripper_m") for name in names]
    wanted = f"{links} joints in rad and then `gripper_m` in each of {arms} arms"
    yield "joints", kinds == ([False] * links + [True]) * arms, list(names), wanted
    yield "robot", robot.finger_reach_m >= 0, robot.finger_reach_m, "finger_reach_m of 0 or more"
    keys = [joint.key for joint in robot.joints]
    yield "robot", len(set(keys)) == len(keys) and len(keys) in (0, len(names)), keys, "one key of the driver a joint"
    views = [robot.views.get(camera, camera) for camera in card.cameras]
    yield "robot", len(set(views)) == len(views), views, "one key of the driver a camera"


def _names(names: tuple[str, ...]) -> bool:
    return bool(names) and len(set(names)) == len(names) and all(isinstance(n, str) and n for n in names)
