"""Whether the cameras show at reset what they are known to show when an episode begins, each in its own place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rise_gym.envs.real.cameras import CameraFault
from rise_gym.errors import InvalidDataset
from rise_gym.tasks import TaskCard

if TYPE_CHECKING:
    from rise_gym._known_pictures import KnownPictures


class FamiliarCameras:
    """Refuses cameras that look exchanged; what can't be told apart, or looks like nothing known, is let through.

    Args:
        starts: a dataset, a world model or a file of starts; True: those of the judge, if it is a world model that has
            some; False: nothing is compared. judge: as the env takes it. task: the env's.

    Raises:
        InvalidDataset: if `starts` names something that has no first pictures of the task.
    """

    def __init__(self, starts: str | Path | bool, judge: Any, task: TaskCard) -> None:
        self._known: KnownPictures | None = None
        if isinstance(starts, bool):
            named = isinstance(judge, Path) or (isinstance(judge, str) and _is_checkpoint(judge))
            if not (starts and named):
                return
        from rise_gym._known_pictures import known_pictures  # only who compares waits for it

        try:
            self._known = known_pictures(judge if starts is True else starts, task)
        except InvalidDataset:
            if starts is not True:
                raise

    def check(self, views: NDArray[np.uint8]) -> None:
        """First pictures uint8 (V, H, W, 3) of an episode.

        Raises:
            CameraFault: if they are those of other cameras.
        """
        if self._known is None:
            return
        from rise_gym._known_pictures import small_pictures

        moved = self._known.exchanged(small_pictures(views)[None])
        if moved:
            pairs = ", ".join(f"{camera!r} shows what {other!r} shows" for camera, other in moved.items())
            raise CameraFault(
                f"cameras look exchanged: {pairs} in {self._known.name}; exchange their cables, or their keys in "
                "`names`; if it is meant so, compare with other starts (`starts=...`) or with none (`starts=False`)"
            )


def _is_checkpoint(judge: str) -> bool:
    """Whether a judge's name is a world model's and no import string."""
    return ":" not in judge or judge.startswith("bundled:")
