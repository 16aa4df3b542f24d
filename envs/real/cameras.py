"""Pictures that can be trusted: none missing, none of one colour, none stale, none frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rise_gym._pictures import Picture, fitted
from rise_gym.errors import InvalidRobot, RobotFault


class CameraFault(RobotFault):
    """A camera that shows nothing, or nothing new."""


@dataclass(frozen=True, kw_only=True)
class CameraLimits:
    """How bad a camera may be.

    Attributes:
        bad_ticks: ticks in a row without a usable picture (missing, of one colour, or its time standing still) that are
            bridged with the last good one; one more is refused.
        frozen_rad: a picture that stays the same for more than `bad_ticks` ticks counts as frozen once the joints have
            moved, all together, further than this: pictures of a robot at rest may well be the same, of a moving one
            they are not.

    Raises:
        InvalidRobot: if there can't be so few.
    """

    bad_ticks: int = 3
    frozen_rad: float = 0.3

    def __post_init__(self) -> None:
        if not (self.bad_ticks >= 0 and self.frozen_rad > 0):
            raise InvalidRobot(f"bad_ticks from 0 and frozen_rad above 0 were wanted of a camera's limits, got {self}")


@dataclass
class _Camera:
    """What is known of one camera."""

    good: Picture | None = None
    raw: Picture | None = None
    stamp: float | None = None
    bad: int = 0
    why: str = ""
    same: int = 0
    moved_rad: float = 0.0


class CameraWatch:
    """Looks at every picture of one episode, in the order in which they come.

    Args:
        cameras: names for messages. size: (H, W) that pictures are shrunk to.
    """

    def __init__(self, cameras: Sequence[str], size: tuple[int, int], limits: CameraLimits) -> None:
        self.limits, self._size = limits, size
        self._cameras = {name: _Camera() for name in cameras}
        self._joints: NDArray[np.float64] | None = None

    def look(
        self, pictures: Mapping[str, Any], stamps: Mapping[str, float | None], joints: NDArray[np.float64]
    ) -> dict[str, Picture]:
        """What each camera shows, uint8 (H, W, 3); `joints` (P,) in rad say how far the robot has moved meanwhile.

        Raises:
            CameraFault: if a camera can't be trusted any more.
        """
        moved = 0.0 if self._joints is None else float(np.abs(joints - self._joints).sum())
        self._joints = joints
        for name, camera in self._cameras.items():
            self._judge(camera, pictures.get(name), stamps.get(name), moved)
        for name, camera in self._cameras.items():
            if camera.good is None or camera.bad > self.limits.bad_ticks:
                raise CameraFault(
                    f"camera {name!r} {camera.why}, {camera.bad} times in a row (allowed: {self.limits.bad_ticks}); "
                    "check its cable and driver, then reset"
                )
            if camera.same > self.limits.bad_ticks and camera.moved_rad > self.limits.frozen_rad:
                raise CameraFault(
                    f"camera {name!r} is frozen: its picture stayed the same while joints moved {camera.moved_rad:.2f} "
                    f"rad (allowed: {self.limits.frozen_rad:g}); restart its driver, then reset"
                )
        return {name: camera.good.copy() for name, camera in self._cameras.items() if camera.good is not None}

    def newest(self) -> dict[str, Picture]:
        """The last good pictures once more."""
        return {name: camera.good.copy() for name, camera in self._cameras.items() if camera.good is not None}

    def _judge(self, camera: _Camera, raw: Any, stamp: float | None, moved_rad: float) -> None:
        why = _trouble(raw) or _trouble_with_time(stamp, camera.stamp)
        camera.stamp = stamp
        if why:
            camera.bad, camera.why = camera.bad + 1, why
            return
        picture = np.asarray(raw)
        same = camera.raw is not None and np.array_equal(picture, camera.raw)
        camera.same, camera.moved_rad = (camera.same + 1, camera.moved_rad + moved_rad) if same else (0, 0.0)
        camera.bad, camera.raw = 0, picture.copy()
        camera.good = fitted(picture, self._size)


def _trouble(raw: Any) -> str:
    """Why something is no picture at all, or an empty text."""
    if raw is None:
        return "sent no picture"
    try:
        picture = np.asarray(raw)
    except (TypeError, ValueError, RuntimeError) as error:  # rows of different lengths, a tensor of a GPU
        return f"sent a {type(raw).__name__} that is no uint8 (H, W, 3) picture ({error})"
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] != 3 or not picture.size:
        return f"sent no uint8 (H, W, 3) picture but {picture.dtype} {picture.shape}"
    return "shows a single colour" if picture.min() == picture.max() else ""


def _trouble_with_time(stamp: Any, last: Any) -> str:
    """Why a picture's time says that it is old, or nothing; or an empty text, also where its driver gives none."""
    if stamp is None:
        return ""
    if np.ndim(stamp):
        return f"gives its picture the time {stamp!r:.80}, one number of seconds was wanted"
    return "shows an old picture" if stamp == last else ""
