"""Somebody else's LeRobot dataset as one of ours, episode by episode; what does not fit is refused before it begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rise_gym._camera_names import name_findings
from rise_gym._guessing import completed, place_of
from rise_gym._import_record import remember_gaps, remember_mapping
from rise_gym._known_pictures import KnownPictures, bundled_pictures, first_pictures, known_pictures
from rise_gym._lerobot import checked_info
from rise_gym._lerobot_source import PREFIX, LeRobotSource, open_source
from rise_gym._mapping_entries import check_entries
from rise_gym._source_rows import SourceRows, broken_episode
from rise_gym._translation import chosen, translated
from rise_gym.coverage import CoverageReport, coverage
from rise_gym.episodes import DatasetSummary, EpisodeWriter, dataset_summary
from rise_gym.errors import InvalidDataset, InvalidMapping, RiseGymError
from rise_gym.findings import Finding, refuse
from rise_gym.mapping import CameraMapping, Content, DatasetMapping, JointMapping, mapping_of
from rise_gym.tasks import TaskCard
from rise_gym.types import Episode

__all__ = [
    "camera_findings",
    "import_dataset",
    "mapped",
    "open_source",
    "source_coverage",
    "source_findings",
    "translated",
]


def mapped(source: LeRobotSource, task: TaskCard, content: Content) -> DatasetMapping:
    """The mapping of a dataset for a task: `content`, and what can be told from names and numbers of the rest.

    Raises:
        InvalidMapping: if it lacks something that can't be told, or names what the dataset does not have.
    """
    check_entries(content)
    mapping = mapping_of(completed(source, task, content), task)
    for camera, entry in mapping.cameras.items():
        if entry.source not in source.cameras:
            have = ", ".join(source.cameras) or "none"
            raise InvalidMapping(f"cameras.{camera}: {source.name} has no pictures {entry.source!r}; it has {have}")
        _check_crop(camera, entry, source)
    for side, joints in (("state", mapping.state), ("action", mapping.action)):
        _check_joints(side, joints, source, task)
    if strange := sorted(set(mapping.skip) - {episode.index for episode in source.episodes}):
        raise InvalidMapping(f"skip: {source.name} has no episodes {', '.join(map(str, strange))}; look at the numbers")
    if not list(chosen(source, mapping)):
        raise InvalidMapping(f"skip: all {len(source.episodes)} episodes of {source.name} are left out; keep some")
    told = mapping.success
    if isinstance(told, str) and told not in source.features and not any(told in one.facts for one in source.episodes):
        raise InvalidMapping(f"success: {source.name} has no column and no fact {told!r} of its episodes")
    if mapping.progress is not None:
        if len(source.names_of(mapping.progress)) != 1:
            raise InvalidMapping(f"progress: one number a row was wanted, {mapping.progress!r} has more")
        _check_numbers(mapping.progress, source)
    return mapping


def _check_joints(side: str, joints: Sequence[JointMapping], source: LeRobotSource, task: TaskCard) -> None:
    """That each joint has a number, and one of its own: two of the same are a slip of who wrote the mapping."""
    taken: dict[tuple[str, int], str] = {}
    for name, joint in zip(task.action_names, joints, strict=True):
        place = joint.column, place_of(source, joint.column, joint.source)
        _check_numbers(joint.column, source)
        if (other := taken.setdefault(place, name)) != name:
            raise InvalidMapping(
                f"joints.{other} and joints.{name}: both are {joint.source!r} of column {joint.column!r} in the "
                f"{side}; one number a joint was wanted, look at `from` of both"
            )


def _check_numbers(column: str, source: LeRobotSource) -> None:
    if (kind := source.features[column].get("dtype")) in ("string", "video", "image"):
        raise InvalidMapping(f"column {column!r} of {source.name} holds no numbers, its dtype is {kind}")


def _check_crop(camera: str, entry: CameraMapping, source: LeRobotSource) -> None:
    shape = [side for side in source.features[entry.source].get("shape", []) if side > 4]  # channels first or last
    if entry.crop is None or len(shape) != 2:
        return
    top, left, height, width = entry.crop
    if top + height > shape[0] or left + width > shape[1]:
        raise InvalidMapping(f"cameras.{camera}.crop {list(entry.crop)} leaves pictures of {shape[0]} x {shape[1]} px")


def source_findings(
    source: LeRobotSource, mapping: DatasetMapping, task: TaskCard, *, limit: int | None = None
) -> list[Finding]:
    """What is wrong or odd with the episodes that the mapping does not skip (the first `limit`), pictures undecoded."""
    return SourceRows.of(source, mapping, limit).findings(source, mapping, task)


def source_coverage(
    source: LeRobotSource,
    mapping: DatasetMapping,
    task: TaskCard,
    *,
    limit: int | None = None,
    cameras: Iterable[Finding] = (),
    on_episode: Callable[[Episode], object] | None = None,
) -> CoverageReport:
    """What a dataset would cover once it is imported, with the gaps that it has and all that is wrong with it.

    Args:
        source, mapping, task: as for `import_dataset`. limit: at most so many episodes, the first ones.
        cameras: what `camera_findings` found. on_episode: called with each episode, for progress.
    """
    rows, unread = SourceRows.of(source, mapping, limit), list[Finding]()
    numbers = rows.findings(source, mapping, task)
    told = {number for one in numbers if one.level == "error" for number in one.episodes}

    def episodes() -> Iterator[Episode]:
        for episode in rows.episodes:
            if episode.index in told:  # their ticks or pictures would make no sense
                continue
            try:
                ours = translated(source, episode, mapping, task)
            except InvalidDataset as error:
                unread.append(broken_episode(error, episode))
                continue
            if on_episode is not None:
                on_episode(ours)
            yield ours

    report = coverage(episodes(), task, rows.timings, numbers=[*numbers, *cameras])
    return replace(report, findings=(*unread, *report.findings))


def camera_findings(
    source: LeRobotSource,
    mapping: DatasetMapping,
    task: TaskCard,
    *,
    folder: str | Path | None = None,
    like: str | Path | None = None,
) -> list[Finding]:
    """Which cameras look exchanged, by their names, and by first pictures beside those that are known of the task.

    Args:
        source: what is to be read. mapping: how. task: for which task.
        folder: where to: the episodes that are there already are known, if `like` names nothing else.
        like: a dataset or a world model of the same cameras; without both it is the task's bundled one, of the replica,
            which can give no more than a warning.

    Raises:
        InvalidCheckpoint, InvalidDataset: if `like` has no first pictures of the task, or the folder is another task's.
    """
    names = {camera: entry.source.removeprefix(PREFIX) for camera, entry in mapping.cameras.items()}
    found = name_findings(names, [camera for camera, entry in mapping.cameras.items() if entry.check])
    known = _known(task, folder, like)
    if known is None:
        return found
    small = first_pictures(source, mapping.cameras, list(chosen(source, mapping)), task.image_size)
    return found + known.findings(small, [camera for camera, entry in mapping.cameras.items() if not entry.check])


def _known(task: TaskCard, folder: str | Path | None, like: str | Path | None) -> KnownPictures | None:
    if like is not None:
        return known_pictures(like, task)
    if folder is not None and list(Path(folder).glob("meta/episodes/*/*.parquet")):
        checked_info(Path(folder), task)
        return known_pictures(folder, task)
    return bundled_pictures(task)


def import_dataset(
    source: LeRobotSource,
    mapping: DatasetMapping,
    task: TaskCard,
    folder: str | Path,
    *,
    limit: int | None = None,
    like: str | Path | None = None,
    on_episode: Callable[[Episode], object] | None = None,
) -> DatasetSummary:
    """Append the episodes that `folder` lacks of this dataset, in their order; the same call goes on where it was.

    Ctrl-C keeps what is finished. An episode's `seed` is its number in the source, its `policy` the source's name.

    Args:
        source: what `open_source` found. mapping: what `mapped` made of it. task: for which task.
        folder: ours; may hold other episodes of the task.
        limit: at most so many, the first ones; one or more.
        like: a dataset or a world model whose cameras are right, see `camera_findings`.
        on_episode: called with each new episode, for progress.

    Raises:
        InvalidDataset: if the data does not fit, an earlier part was read otherwise, or it is the folder itself; then
            nothing is written. Or if pictures can't be decoded after all; episodes before these are kept.
        SaveFailed: if the disk is full; what was saved before is kept.
    """
    root = Path(folder)
    if limit is not None and limit < 1:
        raise RiseGymError(f"a limit of one episode or more was wanted, got {limit}")
    if root.resolve() == source.folder.resolve():
        raise InvalidDataset(
            f"{root} can't be imported into itself, its episodes would be there twice; use another folder"
        )
    rows = SourceRows.of(source, mapping, limit)
    cameras = camera_findings(source, mapping, task, folder=root, like=like)
    refuse(rows.findings(source, mapping, task) + cameras, source.name)
    robot = str(source.info.get("robot_type") or "unknown")
    with EpisodeWriter(root, task, robot_type=robot) as writer:
        done = writer.seeds(source.identity)
        remember_mapping(root, source.identity, mapping, begun=lambda name: bool(writer.seeds(name)))
        remember_gaps(root, source.identity, rows.timings, mapping.largest_gap_s)
        for episode in rows.episodes:
            if episode.index not in done:
                ours = translated(source, episode, mapping, task)
                writer.append(ours)
                if on_episode is not None:
                    on_episode(ours)
    return dataset_summary(root)
