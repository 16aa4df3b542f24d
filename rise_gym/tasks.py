"""Task cards: what a task is, shared by the imagined, the simulated and the real backend.

A card is plain frozen data and costs nothing to import. Adding a task adds a card to `TASKS`; a task of your own is a
file, see `rise_gym.task_files`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rise_gym.errors import InvalidTask, UnknownTask
from rise_gym.robots import RobotArms

ARMS = ("left", "right")

WORLD_FIELDS = (
    "cameras",
    "image_size",
    "control_hz",
    "action_names",
    "action_low",
    "action_high",
    "proprio_names",
    "robot",
)
"""In what the cards of several tasks have to agree for one world model to serve them all."""

# AgileX Piper: joint limits in rad; the gripper is the opening between its two fingers in m.
_PIPER_RANGES = (
    ("joint1_rad", -2.618, 2.618),
    ("joint2_rad", 0.0, 3.14),
    ("joint3_rad", -2.697, 0.0),
    ("joint4_rad", -1.832, 1.832),
    ("joint5_rad", -1.22, 1.22),
    ("joint6_rad", -3.14, 3.14),
    ("gripper_m", 0.0, 0.1),
)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a task: its name, and the score (0 to 10) once it is done."""

    name: str
    score: float


@dataclass(frozen=True, kw_only=True)
class TaskCard:
    """Everything about a task that does not depend on who simulates it.

    `image_size` is (H, W) in pixels. A *tick* is one control period (1 / `control_hz` s); an action chunk has `chunk`
    ticks by default. `action_low`/`action_high` are the joint targets (rad, gripper opening in m) that scaled
    actions -1 and +1 stand for, in the order of `action_names`; proprioception has the same order and units. `robot`
    names a card of `rise_gym.robots`, or is what a robot file says of its arms, which then goes where the card goes;
    None is a robot whose geometry nobody wrote down: dynamics does without it.
    """

    name: str
    title: str
    instruction: str
    cameras: tuple[str, ...]
    image_size: tuple[int, int]
    control_hz: float
    chunk: int
    horizon_s: float
    action_names: tuple[str, ...]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    proprio_names: tuple[str, ...]
    stages: tuple[Stage, ...]
    robot: str | RobotArms | None = "two_pipers"

    @property
    def horizon_ticks(self) -> int:
        return round(self.horizon_s * self.control_hz)

    def horizon_steps(self, chunk: int) -> int:
        """Env steps until truncation when one step is a chunk of `chunk` ticks.

        Raises:
            ValueError: for a chunk of no ticks.
        """
        if chunk < 1:
            raise ValueError(
                f"chunk must be 1 tick or more, got {chunk}; the {self.chunk} of task {self.name!r} are usual"
            )
        return math.ceil(self.horizon_ticks / chunk)

    def scale_action(self, targets: NDArray[np.floating]) -> NDArray[np.float32]:
        """Joint targets (..., A) in rad and m -> scaled actions (..., A), where the task's range is [-1, 1]."""
        low, high = np.asarray(self.action_low), np.asarray(self.action_high)
        return np.asarray(2.0 * (targets - low) / (high - low) - 1.0, dtype=np.float32)

    def unscale_action(self, actions: NDArray[np.floating]) -> NDArray[np.float64]:
        """Scaled actions (..., A) in [-1, 1] -> joint targets (..., A) in rad and m."""
        low, high = np.asarray(self.action_low), np.asarray(self.action_high)
        return np.asarray(low + (np.asarray(actions, dtype=np.float64) + 1.0) * 0.5 * (high - low))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; `from_dict` reads it back."""
        return asdict(self)

    def differences(self, other: TaskCard) -> tuple[str, ...]:
        """Of `WORLD_FIELDS` those in which two cards differ; one world model serves both if there are none."""
        return tuple(name for name in WORLD_FIELDS if getattr(self, name) != getattr(other, name))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TaskCard:
        plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
        plain["stages"] = tuple(Stage(**stage) for stage in data["stages"])
        if isinstance(data.get("robot"), dict):
            plain["robot"] = RobotArms.from_dict(data["robot"])
        return cls(**plain)


_BIMANUAL: dict[str, Any] = {
    "cameras": ("head", "left_wrist", "right_wrist"),
    "image_size": (64, 64),
    "control_hz": 10.0,
    "chunk": 10,
    "action_names": tuple(f"{arm}_{name}" for arm in ARMS for name, _, _ in _PIPER_RANGES),
    "action_low": tuple(low for _ in ARMS for _, low, _ in _PIPER_RANGES),
    "action_high": tuple(high for _ in ARMS for _, _, high in _PIPER_RANGES),
    "proprio_names": tuple(f"{arm}_{name}" for arm in ARMS for name, _, _ in _PIPER_RANGES),
}

# A task: a card here, `envs/mujoco/<name>.py`, `agents/experts/<name>.py`, a row in `tests/agents/test_scripted.py`.
BOX_CLOSE = TaskCard(
    name="box_close",
    title="BoxClose",
    instruction=(
        "Put the cup in the box, fold the side flaps and the rear flap, then close the lid and tuck in its tab."
    ),
    horizon_s=25.0,
    stages=(
        Stage(name="cup_loaded", score=2.5),
        Stage(name="side_flaps_folded", score=5.0),
        Stage(name="rear_flap_folded", score=7.5),
        Stage(name="tab_tucked", score=10.0),
    ),
    **_BIMANUAL,
)

BRICK_SORT = TaskCard(
    name="brick_sort",
    title="BrickSort",
    instruction="Pick the bricks off the running belt and put each of them into the bin of its colour.",
    horizon_s=30.0,
    stages=(
        Stage(name="one_sorted", score=2.5),
        Stage(name="two_sorted", score=5.0),
        Stage(name="three_sorted", score=7.5),
        Stage(name="four_sorted", score=10.0),
    ),
    **_BIMANUAL,
)

BACKPACK_PACK = TaskCard(
    name="backpack_pack",
    title="BackpackPack",
    instruction="Hold the backpack open, put the garment in, lift the backpack by its grip and zip it shut.",
    horizon_s=30.0,
    stages=(
        Stage(name="inserted", score=2.5),
        Stage(name="lifted", score=5.0),
        Stage(name="half_zipped", score=7.5),
        Stage(name="zipped", score=10.0),
    ),
    **_BIMANUAL,
)

TASKS: dict[str, TaskCard] = {card.name: card for card in (BOX_CLOSE, BRICK_SORT, BACKPACK_PACK)}


def add_task(card: TaskCard) -> TaskCard:
    """Make a card known by its name, once a process; the same card again changes nothing.

    Raises:
        InvalidTask: if another card has that name, or another task its title, by which environments are called.
    """
    twin = next((other.name for other in TASKS.values() if other.title == card.title), card.name)
    if twin != card.name and card.name not in TASKS:
        raise InvalidTask(
            f"task {card.name!r} has the title of task {twin!r}, {card.title!r}, by which its environments are called: "
            "give this one another title"
        )
    known = TASKS.setdefault(card.name, card)
    theirs, mine = known.to_dict(), card.to_dict()
    if theirs != mine:  # all of it: limits and units of a robot, which do not make it another, must not go unnoticed
        odd = [name for name in theirs if theirs[name] != mine[name]]
        raise InvalidTask(
            f"a task {card.name!r} with other {', '.join(odd)} is known already ({odd[0]}: {_short(theirs[odd[0]])}, "
            f"now {_short(mine[odd[0]])}); give this one another name, or start a new process"
        )
    return known


def _short(value: object) -> str:
    """As much of it as a message bears."""
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def task_card(name: str) -> TaskCard:
    """The card of a task, by its snake-case name.

    Raises:
        UnknownTask: if no task has that name.
    """
    try:
        return TASKS[name]
    except KeyError:
        raise UnknownTask(
            f"no task is called {name!r}; the tasks are {', '.join(sorted(TASKS))}; one of your own is made known with "
            "`rise_gym.register_task(file)`"
        ) from None
