"""How an openpi server names, orders and scales what it is shown and what it answers; from ours to theirs and back.

openpi fixes the encoding of messages but not what is in them: each of its robots has its own keys. Three are known
here, `LAYOUTS`; one's own is another `Layout`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rise_gym.errors import InvalidMessage, UnsuitableEnv
from rise_gym.tasks import TaskCard
from rise_gym.types import Observation


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Keys, order and units of a server's observations and actions. Joints are absolute and in rad in all of them.

    Attributes:
        name: what `LAYOUTS` and the command line call it.
        cameras: pairs of our camera's name and its key there; without any, all of the task's, under "observation/".
        images_under: the key of a dict that holds the pictures; "" if they lie beside the rest.
        channels_first: pictures are (3, H, W) instead of (H, W, 3).
        state: the key of the proprioception, in the task's order; or two, of all joints and of all grippers. Actions
            are in the same order: with two keys all joints come first.
        gripper: openings in m; or as the fraction of the task's range that it is open; or closed.
    """

    name: str
    cameras: tuple[tuple[str, str], ...] = ()
    images_under: str = ""
    channels_first: bool = False
    state: tuple[str] | tuple[str, str] = ("state",)
    gripper: Literal["metres", "open", "closed"] = "metres"

    def cameras_of(self, task: TaskCard) -> tuple[tuple[str, str], ...]:
        """Pairs of the task's camera and its key there."""
        return self.cameras or tuple((name, f"observation/{name}") for name in task.cameras)

    def check_cameras(self, task: TaskCard, *, all_seen: bool) -> None:
        """Refuse a task that lacks one of the cameras, or if `all_seen`, has one more.

        Raises:
            UnsuitableEnv: names both.
        """
        ours = {name for name, _ in self.cameras_of(task)}
        if ours - set(task.cameras) or (all_seen and set(task.cameras) - ours):
            raise UnsuitableEnv(
                f"layout {self.name!r} has pictures of {', '.join(sorted(ours))}, the task {task.name!r} has "
                f"{', '.join(task.cameras)}: use the layout 'rise', which takes all of them, or in Python a Layout of "
                "your own"
            )

    def order(self, names: Sequence[str]) -> list[int]:
        """Which of our columns stands where in theirs."""
        if len(self.state) == 1:
            return list(range(len(names)))
        return sorted(range(len(names)), key=lambda column: is_gripper(names[column]))  # which is stable

    def to_wire(self, values: NDArray[np.floating], task: TaskCard) -> NDArray[np.float64]:
        """Joints and grippers (..., A) in rad and m, in the task's order -> theirs (..., A)."""
        theirs = np.array(values, dtype=np.float64)
        for column, low, high in self._fractions(task):
            open_part = (theirs[..., column] - low) / (high - low)
            theirs[..., column] = open_part if self.gripper == "open" else 1 - open_part
        return theirs[..., self.order(task.action_names)]

    def from_wire(self, values: NDArray[np.floating], task: TaskCard) -> NDArray[np.float64]:
        """Theirs (..., A) -> joints and grippers (..., A) in rad and m, in the task's order."""
        ours = np.empty(values.shape, dtype=np.float64)
        ours[..., self.order(task.action_names)] = values
        for column, low, high in self._fractions(task):
            open_part = ours[..., column] if self.gripper == "open" else 1 - ours[..., column]
            ours[..., column] = low + open_part * (high - low)
        return ours

    def request(self, observation: Observation, prompt: str, task: TaskCard, resize_px: int | None) -> dict[str, Any]:
        """One observation (cameras uint8 (H, W, 3), `proprio` (P,) in rad and m) -> the message that they want.

        `resize_px` is the side that pictures are brought to with `resized`, or None to leave them as they are.
        """
        pictures = {}
        for ours, theirs in self.cameras_of(task):
            picture = np.asarray(observation[ours], dtype=np.uint8)
            if resize_px is not None:
                picture = resized(picture, (resize_px, resize_px))
            pictures[theirs] = np.moveaxis(picture, -1, 0) if self.channels_first else picture
        state = self.to_wire(np.asarray(observation["proprio"]), task)
        joints = sum(not is_gripper(name) for name in task.proprio_names)
        parts = dict(zip(self.state, np.split(state, [joints]) if len(self.state) == 2 else [state], strict=True))
        return {**({self.images_under: pictures} if self.images_under else pictures), **parts, "prompt": prompt}

    def observation(self, request: Mapping[str, Any], task: TaskCard) -> Observation:
        """The reverse: cameras uint8 (H, W, 3) of the task's size, `proprio` float32 (P,) in rad and m.

        Pictures of another size are resized with padding; (3, H, W) is understood as well, as openpi does.

        Raises:
            InvalidMessage: if something is missing, has another type, shape or width, or is in other units.
        """
        pictures = _found(request, self.images_under, self.name) if self.images_under else request
        if not isinstance(pictures, Mapping):
            raise InvalidMessage(f"{self.images_under!r} has to hold the pictures by name")
        seen: Observation = {
            ours: _picture(_found(pictures, theirs, self.name), theirs, task.image_size)
            for ours, theirs in self.cameras_of(task)
        }
        parts = [np.ravel(_numbers(_found(request, key, self.name), key)) for key in self.state]
        state, width = np.concatenate(parts), len(task.proprio_names)
        if len(state) != width:
            raise InvalidMessage(
                f"{width} numbers of proprioception were wanted in {' and '.join(map(repr, self.state))}, "
                f"{len(state)} came; they are {', '.join(task.proprio_names)}"
            )
        if not np.isfinite(state).all():
            raise InvalidMessage("the proprioception has to be finite, NaN or infinite numbers came")
        proprio = self.from_wire(state, task)
        self._check_units(proprio, task)
        return {**seen, "proprio": proprio.astype(np.float32)}

    def _check_units(self, proprio: NDArray[np.float64], task: TaskCard) -> None:
        """Refuse what no joint can measure: further beyond its range than half of that."""
        low, high = np.array(task.action_low), np.array(task.action_high)
        place = np.abs((proprio - low) / (high - low) - 0.5)
        column = int(place.argmax())
        if place[column] > 1:
            raise InvalidMessage(
                f"{task.proprio_names[column]} has to be from {low[column]:g} to {high[column]:g}, what came for it "
                f"means {proprio[column]:.4g}: is it in degrees, or are the grippers not as in layout {self.name!r}?"
            )

    def _fractions(self, task: TaskCard) -> list[tuple[int, float, float]]:
        """Our columns, with their ranges, that they give as fractions."""
        if self.gripper == "metres":
            return []
        ranges = zip(task.action_names, task.action_low, task.action_high, strict=True)
        return [(column, low, high) for column, (name, low, high) in enumerate(ranges) if is_gripper(name)]


RISE = Layout(name="rise")
ALOHA = Layout(
    name="aloha",
    cameras=(("head", "cam_high"), ("left_wrist", "cam_left_wrist"), ("right_wrist", "cam_right_wrist")),
    images_under="images",
    channels_first=True,
    gripper="open",
)
DROID = Layout(  # DROID's robot has one arm; a second one's camera is named by analogy
    name="droid",
    cameras=(
        ("head", "observation/exterior_image_1_left"),
        ("left_wrist", "observation/wrist_image_left"),
        ("right_wrist", "observation/wrist_image_right"),
    ),
    state=("observation/joint_position", "observation/gripper_position"),
    gripper="closed",
)
LAYOUTS = {layout.name: layout for layout in (RISE, ALOHA, DROID)}


def is_gripper(name: str) -> bool:
    """Whether a column of a task card is an opening in m, not an angle in rad."""
    return name.endswith("_m")


def resized(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) -> (*size, 3): bilinear, undistorted, in the middle, black around; as it is if it fits.

    As openpi does it itself: `rise_gym._pictures.padded` averages areas, which leaves blocks where pictures grow.
    """
    height, width = size
    if picture.shape[:2] == size:
        return picture
    shrink = max(picture.shape[0] / height, picture.shape[1] / width)
    inner = max(1, int(picture.shape[0] / shrink)), max(1, int(picture.shape[1] / shrink))
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    canvas = np.zeros((*size, 3), np.uint8)
    smaller = Image.fromarray(picture).resize(inner[::-1], Image.Resampling.BILINEAR)
    canvas[top : top + inner[0], left : left + inner[1]] = np.asarray(smaller)
    return canvas


def _found(holder: Mapping[str, Any], key: str, layout: str) -> Any:
    if key not in holder:
        raise InvalidMessage(
            f"{key!r} was wanted, {', '.join(sorted(map(repr, holder)))} came; the layout is {layout!r}, "
            f"there are {', '.join(LAYOUTS)} (`rise-gym serve --layout`)"
        )
    return holder[key]


def _numbers(value: Any, what: str) -> NDArray[Any]:
    try:
        return np.asarray(value).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidMessage(f"numbers were wanted in {what!r}, {type(value).__name__} came") from error


def _picture(value: Any, what: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    try:
        picture = np.asarray(value)
    except ValueError as error:  # lists of different lengths
        raise InvalidMessage(f"{what!r}: a picture uint8 (H, W, 3) was wanted, {type(value).__name__} came") from error
    if picture.ndim == 3 and picture.shape[0] == 3 != picture.shape[-1]:
        picture = np.moveaxis(picture, 0, -1)
    if picture.ndim != 3 or picture.shape[-1] != 3 or picture.dtype != np.uint8 or not picture.size:
        raise InvalidMessage(
            f"{what!r}: a picture uint8 (H, W, 3) or (3, H, W) was wanted, {picture.dtype} {picture.shape} came; one "
            "picture a message, and 0 to 255 instead of 0 to 1"
        )
    return resized(np.ascontiguousarray(picture), size)
