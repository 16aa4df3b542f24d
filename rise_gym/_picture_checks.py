"""Whether pictures show anything new: black ones, frozen ones, cameras that were swapped, starts that are all alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rise_gym._known_pictures import SMALL, KnownPictures, Small, small_pictures
from rise_gym._pictures import stretched
from rise_gym.findings import Finding
from rise_gym.types import Episode

_BLACK = 8.0  # mean brightness below which a picture shows nothing, of 255
_FROZEN_TICKS, _FROZEN_RAD = 3, 0.3  # a picture that stays longer, while joints move further, hangs; as on a robot
_SAME_START = 2.0  # root mean square difference of small pictures, in steps of brightness, of starts that are alike
_TOLD = 200  # pairs of starts that are listed
_FROZEN = 0.2  # of all pictures, from which on it is an error
_COMPARED = 2000  # starts that are compared with each other


@dataclass(frozen=True, kw_only=True)
class CameraCoverage:
    """What a camera shows: mean brightness, 0 to 255, and fractions of pictures that are black or frozen.

    A picture is frozen if it stays the same for some ticks although the joints moved.
    """

    name: str
    brightness: float
    black: float
    frozen: float


class PictureTally:
    """Looks at the pictures of one episode after the other, and keeps little of each.

    Args:
        cameras: of the task. known: first pictures of the same task that are believed.
    """

    def __init__(self, cameras: tuple[str, ...], known: KnownPictures | None = None) -> None:
        self._cameras, self._known = cameras, known
        self._numbers: list[int] = []
        self._sums = {camera: np.zeros(4) for camera in cameras}  # brightness, black, frozen, pictures
        self._dark: dict[str, list[int]] = {camera: [] for camera in cameras}
        self._frozen: dict[str, list[int]] = {camera: [] for camera in cameras}
        self._starts: list[Small] = []
        self._means: list[Small] = []
        self._compared_before: tuple[int, tuple[tuple[tuple[int, int], ...], int]] | None = None

    def look(self, episode: Episode) -> None:
        """Take in one episode, whose number is its seed."""
        moved = np.abs(np.diff(episode.proprio, axis=0)).sum(1)
        self._numbers.append(episode.seed)
        means = []
        for camera in self._cameras:
            frames = episode.frames[camera]
            brightness = frames.mean((1, 2, 3))
            black = brightness < _BLACK
            same = _hung((frames[1:] == frames[:-1]).all((1, 2, 3)), moved)
            self._sums[camera] += brightness.sum(), black.sum(), same.sum(), len(frames)
            if black.mean() > 0.1:
                self._dark[camera].append(episode.seed)
            if same.sum() > _FROZEN * len(frames):
                self._frozen[camera].append(episode.seed)
            some = frames[:: max(1, len(frames) // 5)]
            means.append(np.mean([stretched(one, SMALL) for one in some], axis=0, dtype=np.float32))
        self._starts.append(small_pictures([episode.frames[camera][0] for camera in self._cameras]))
        self._means.append(np.stack(means))

    def coverage(self) -> tuple[CameraCoverage, ...]:
        """A row a camera."""
        found = []
        for camera in self._cameras:
            brightness, black, frozen, count = self._sums[camera].tolist()
            rows = max(1.0, count)
            found.append(
                CameraCoverage(name=camera, brightness=brightness / rows, black=black / rows, frozen=frozen / rows)
            )
        return tuple(found)

    def near_duplicates(self) -> tuple[tuple[int, int], ...]:
        """Pairs of episodes whose first pictures are nearly the same, of all cameras together; the first ones."""
        return self._compared()[0]

    def _compared(self) -> tuple[tuple[tuple[int, int], ...], int]:
        """The first pairs of starts that are alike, and how many episodes have another that begins alike."""
        if len(self._starts) < 2:
            return (), 0
        if self._compared_before is not None and self._compared_before[0] == len(self._starts):
            return self._compared_before[1]
        flat = np.stack(self._starts[:_COMPARED]).reshape(min(len(self._starts), _COMPARED), -1)
        found: list[tuple[int, int]] = []
        alike = np.zeros(len(flat), bool)
        for index in range(1, len(flat)):
            near = np.flatnonzero(np.sqrt(((flat[:index] - flat[index]) ** 2).mean(1)) < _SAME_START)
            alike[near] = True
            alike[index] |= bool(len(near))
            found += [(self._numbers[other], self._numbers[index]) for other in near[: _TOLD - len(found)]]
        told = tuple(found), int(alike.sum())
        self._compared_before = len(self._starts), told
        return told

    def findings(self) -> list[Finding]:
        """What is wrong with the pictures."""
        found = []
        for camera in self._cameras:
            for episodes, text, advice in (
                (self._dark[camera], "black pictures", "look at its cable, its exposure, and at `crop` in the mapping"),
                (
                    self._frozen[camera],
                    "the same picture again while the joints moved",
                    "the camera hung, or was recorded at a lower rate: leave these episodes out",
                ),
            ):
                if episodes:
                    some = tuple(episodes) if len(episodes) < len(self._numbers) else ()
                    found.append(
                        Finding(level="error", field=f"camera {camera}", found=text, advice=advice, episodes=some)
                    )
        return found + self._swapped() + self._unlike_known() + self._alike() + self._starts_alike()

    def _unlike_known(self) -> list[Finding]:
        """Cameras that are swapped in most episodes, so that only other recordings tell."""
        return [] if self._known is None else self._known.findings(np.stack(self._starts))

    def _alike(self) -> list[Finding]:
        """Two cameras that show the same."""
        means = np.stack(self._means)
        found = []
        for one in range(len(self._cameras)):
            for two in range(one + 1, len(self._cameras)):
                if np.sqrt(((means[:, one] - means[:, two]) ** 2).mean()) < 0.5:
                    names = f"{self._cameras[one]} and {self._cameras[two]}"
                    found.append(
                        Finding(
                            level="error", field=f"cameras {names}", found="both show the same pictures",
                            advice="look at `from` of both in the mapping",
                        )
                    )  # fmt: skip
        return found

    def _swapped(self) -> list[Finding]:
        """Episodes in which two cameras look like each other's usual pictures."""
        if len(self._means) < 3:
            return []
        means = np.stack(self._means)  # (E, V, 8, 8, 3)
        usual = np.median(means, axis=0)
        distance = np.abs(means[:, :, None] - usual[None, None]).mean((3, 4, 5))  # (E, V, V)
        found = []
        for one in range(len(self._cameras)):
            for two in range(one + 1, len(self._cameras)):
                straight = distance[:, one, one] + distance[:, two, two]
                crossed = distance[:, one, two] + distance[:, two, one]
                rows = np.flatnonzero((2 * crossed < straight) & (straight > 4))
                if len(rows):
                    names = f"{self._cameras[one]} and {self._cameras[two]}"
                    found.append(
                        Finding(
                            level="error", field=f"cameras {names}", found="they look swapped",
                            advice="exchange them where they were recorded, or leave these episodes out",
                            episodes=tuple(self._numbers[row] for row in rows),
                        )
                    )  # fmt: skip
        return found

    def _starts_alike(self) -> list[Finding]:
        _, alike = self._compared()
        of = min(len(self._numbers), _COMPARED)
        if alike < 3 or alike < 0.2 * of:
            return []
        return [
            Finding(
                level="warning", field="starts", found=f"{alike} of {of} begin nearly alike",
                advice="vary where things lie: a dream begins where recordings begin",
            )
        ]  # fmt: skip


def _hung(same: NDArray[np.bool_], moved: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which of the pictures that repeat the one before (n,) belong to a hanging camera; `moved` (n,) by the joints."""
    hung = np.zeros(len(same), bool)
    edges = np.flatnonzero(np.diff(same.astype(np.int8), prepend=0, append=0))
    for first, last in edges.reshape(-1, 2):
        hung[first:last] = last - first > _FROZEN_TICKS and moved[first:last].sum() > _FROZEN_RAD
    return hung
