"""What each camera of a task is known to show when an episode begins, and whether new pictures contradict it.

Small pictures are compared, of every camera with every camera's, most of all where the known ones differ from each
other more than each of them varies. Cameras that nothing tells apart, or quite another scene, give no verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rise_gym import _lerobot as layout
from rise_gym._lerobot_source import LeRobotSource, SourceEpisode, open_source
from rise_gym._pictures import Picture, shaped, stretched
from rise_gym.errors import InvalidCheckpoint, InvalidDataset
from rise_gym.findings import Finding, Level
from rise_gym.locations import resolve
from rise_gym.mapping import CameraMapping
from rise_gym.starts import STARTS_NAME, load_starts, starts_name
from rise_gym.tasks import TaskCard

SMALL = (8, 8)
_COMPARED = 24  # episodes of a dataset, spread evenly
_NOISE = 5.0  # steps of brightness that every pixel may be off anyhow
_APART = 4.0  # steps of brightness, on average, between cameras that can be told apart
_SURE = 0.5  # of the way from the known pictures (-1) to the exchanged ones (1)
_FEW = 6  # cameras of which all orders are tried; of more only exchanges of two

Small = NDArray[np.float32]
Order = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class KnownPictures:
    """First pictures that are believed.

    Attributes:
        name: where they are from. cameras: in their order. small: float32 (S, V, h, w, 3).
        sure: whether they show the same scene as what is compared; else a contradiction is no more than a warning.
    """

    name: str
    cameras: tuple[str, ...]
    small: Small
    sure: bool = True

    def exchanged(self, small: Small) -> dict[str, str]:
        """Which known camera's pictures each camera shows, of those that show another's; `small` is (N, V, h, w, 3)."""
        best: tuple[float, Order] | None = None
        for order in _orders(len(self.cameras)):
            told = self._evidence(small, order)
            if told is not None and (best is None or told > best[0]):
                best = told, order
        if best is None:
            return {}
        moved = [(place, other) for place, other in enumerate(best[1]) if place != other]
        return {self.cameras[place]: self.cameras[other] for place, other in moved}

    def _evidence(self, small: Small, order: Order) -> float | None:
        """By how much pictures are nearer to the known ones in another order; None if they are not, clearly."""
        usual = np.median(self.small, axis=0)
        spread = (self.small - usual).var(0) + _NOISE**2
        moved, others = [place for place, other in enumerate(order) if place != other], list(order)
        weights = (2 / (spread + spread[others]))[moved]
        here, there = usual[moved], usual[others][moved]
        if np.abs(here - there).mean((1, 2, 3)).min() < _APART:
            return None
        apart = float(((here - there) ** 2 * weights).sum())

        def nearer(seen: Small) -> Small:
            """Of each start (N,): -apart where cameras are as known, apart where they are exchanged."""
            found: Small = (((seen[:, moved] - here) ** 2 - (seen[:, moved] - there) ** 2) * weights).sum((1, 2, 3, 4))
            return found

        if np.quantile(nearer(self.small), 0.9) > 0 or np.median(nearer(small)) < _SURE * apart:
            return None
        return float(np.median(nearer(small)))

    def findings(self, small: Small, unchecked: Sequence[str] = ()) -> list[Finding]:
        """What pictures (N, V, h, w, 3) contradict; an exchange of cameras that are `unchecked` is not spoken of."""
        moved = self.exchanged(small) if len(small) else {}
        if not moved or set(moved) & set(unchecked):
            return []
        text = f"they look exchanged: their first pictures are those of {', '.join(moved.values())} in {self.name}"
        advice = "exchange `from` of these in the mapping and import anew, or the cameras where they were recorded"
        if self.sure:
            advice += f"; if it is meant so, say `check = false` in `[cameras.{next(iter(moved))}]`"
        level: Level = "error" if self.sure else "warning"
        return [Finding(level=level, field=f"cameras {', '.join(moved)}", found=text, advice=advice)]


def known_pictures(name: str | Path, task: TaskCard, *, sure: bool = True) -> KnownPictures:
    """First pictures of a dataset (a folder), of a file of starts, or of the starts that a world model has.

    Raises:
        InvalidCheckpoint, InvalidDataset: if nothing is there, it has no starts, or it is of another task.
    """
    path = Path(name).expanduser()
    if (path / layout.INFO_PATH).is_file():
        return KnownPictures(name=str(name), cameras=task.cameras, small=_of_dataset(path, task), sure=sure)
    files = [path] if path.suffix == ".npz" else [resolve(name) / one for one in (starts_name(task.name), STARTS_NAME)]
    for file in files:
        if file.is_file():
            starts = load_starts(file, task=task.name)
            rows = starts.initial if len(starts.initial) else np.arange(len(starts))
            small = np.stack([small_pictures(starts.frames[row, -1]) for row in rows])
            return KnownPictures(name=str(name), cameras=task.cameras, small=small, sure=sure)
    raise InvalidDataset(
        f"{name} has no first pictures of {task.name!r} to compare with; give a dataset, a world model that was saved "
        "with its starts, or a file of starts"
    )


def bundled_pictures(task: TaskCard) -> KnownPictures | None:
    """Those of the task's bundled world model, if it has one; they are the replica's, so nothing is sure."""
    try:
        return known_pictures(f"bundled:{task.name}/world_model", task, sure=False)
    except (InvalidCheckpoint, InvalidDataset):
        return None


def first_pictures(
    source: LeRobotSource,
    cameras: Mapping[str, CameraMapping],
    episodes: Sequence[SourceEpisode],
    size: tuple[int, int],
) -> Small:
    """Small first pictures float32 (N, V, h, w, 3) of episodes, or of some, spread evenly; broken ones are left out."""
    found = []
    for episode in episodes[:: max(1, -(-len(episodes) // _COMPARED))]:
        try:
            found.append(small_pictures([_first(source, episode, entry, size) for entry in cameras.values()]))
        except InvalidDataset:
            continue  # whoever reads it as a whole says so
    return np.stack(found) if found else np.empty((0, len(cameras), *SMALL, 3), np.float32)


def small_pictures(pictures: Iterable[Picture]) -> Small:
    """Pictures uint8 (H, W, 3) of any size, one a camera, as float32 (V, h, w, 3)."""
    return np.stack([stretched(picture, SMALL) for picture in pictures]).astype(np.float32)


def _first(source: LeRobotSource, episode: SourceEpisode, entry: CameraMapping, size: tuple[int, int]) -> Picture:
    begin = np.zeros(1)
    picture, _ = next(iter(source.pictures(episode, entry.source, begin, begin)))
    return shaped(picture, size, crop=entry.crop, fit=entry.fit)


def _of_dataset(folder: Path, task: TaskCard) -> Small:
    if (name := layout.stored_task(folder).name) != task.name:
        raise InvalidDataset(f"first pictures of {task.name!r} were wanted to compare with, {folder} is of {name!r}")
    source = open_source(folder)
    cameras = {name: CameraMapping(source=layout.video_key(name)) for name in task.cameras}
    small = first_pictures(source, cameras, source.episodes, task.image_size)
    if not len(small):
        raise InvalidDataset(f"no first picture of {folder} can be read; copy it anew, or compare with another dataset")
    return small


def _orders(count: int) -> Iterator[Order]:
    """Every order of so many cameras but the usual one; of many cameras only exchanges of two."""
    usual = tuple(range(count))
    if count <= _FEW:
        yield from (order for order in permutations(usual) if order != usual)
        return
    for one, two in combinations(usual, 2):
        yield tuple({one: two, two: one}.get(place, place) for place in usual)
