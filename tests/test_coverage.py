"""The coverage report: how much of what a dataset holds, and what looks wrong with it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from own_tasks import CARD, episode

from rise_gym._timing_checks import Timing
from rise_gym._video import encode_clips
from rise_gym.commands.inspect import inspect
from rise_gym.coverage import coverage
from rise_gym.episodes import EpisodeWriter, write_episodes
from rise_gym.errors import InvalidDataset, RiseGymError
from rise_gym.locations import resolve
from rise_gym.starts import load_starts
from rise_gym.tasks import BOX_CLOSE
from rise_gym.types import Episode


def varied(count: int = 5) -> list[Episode]:
    """Episodes that begin elsewhere each, some of them failures."""
    found = []
    for number in range(count):
        one = episode(CARD, number, success=number % 2 == 0)
        frames = {name: np.clip(video + 5 * number, 0, 255).astype(np.uint8) for name, video in one.frames.items()}
        found.append(replace(one, frames=frames))
    return found


def texts(episodes: list[Episode], timings: list[Timing] | None = None) -> list[str]:
    return [f"{one.level} {one}" for one in coverage(episodes, CARD, timings or []).findings]


def test_a_sound_dataset_is_counted() -> None:
    episodes = varied()
    report = coverage(episodes, CARD)
    assert (report.episodes, report.successes, report.progress) == (5, 3, 0)
    assert report.hours == pytest.approx(5 * 24 / 10 / 3600)
    assert report.sources == {"demonstration": 3, "rollout": 2}
    actions = CARD.unscale_action(np.concatenate([one.actions for one in episodes]))
    for number, joint in enumerate(report.joints):
        assert joint.action_low == pytest.approx(actions[:, number].min())
        assert (joint.card_low, joint.card_high) == (CARD.action_low[number], CARD.action_high[number])
        assert 0 < joint.used < 1
        assert joint.outside == joint.at_limit == 0
    assert [camera.black for camera in report.cameras] == [0, 0]
    assert report.near_duplicate_starts == ()
    assert report.findings == ()
    assert json.loads(json.dumps(report.to_dict()))["task"] == "cube_in_bowl"


def test_starts_that_are_alike_are_paired() -> None:
    episodes = varied(4)
    again = replace(episodes[1], seed=9)
    assert coverage([*episodes, again], CARD).near_duplicate_starts == ((1, 9),)
    alike = [replace(episodes[1], seed=number) for number in range(4)]
    assert any("4 of 4 begin nearly alike" in text for text in texts(alike))


def test_many_starts_that_are_alike_are_all_counted() -> None:
    one = episode(CARD, 1, rows=3)
    report = coverage([replace(one, seed=number) for number in range(120)], CARD)
    assert any("120 of 120 begin nearly alike" in str(finding) for finding in report.findings)
    assert len(report.near_duplicate_starts) == 200  # the first ones


def test_several_instructions_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    episodes = varied(3)
    write_episodes(
        tmp_path, [*episodes, *(replace(one, seed=9, instruction="Räum auf.") for one in episodes[:1])], CARD
    )
    with contextlib.suppress(SystemExit):
        inspect(tmp_path)
    shown = " ".join(capsys.readouterr().out.split())
    assert "asked for: 3 times 'Put the cube in the bowl.', 1 times 'Räum auf.'" in shown


def test_what_cameras_do_not_show_is_found() -> None:
    episodes = varied()
    dark = {**episodes[1].frames, "wrist": np.zeros_like(episodes[1].frames["wrist"])}
    hung = {**episodes[2].frames, "front": np.repeat(episodes[2].frames["front"][:1], 24, axis=0)}
    swapped = {"front": episodes[3].frames["wrist"], "wrist": episodes[3].frames["front"]}
    spoilt = [episodes[0], *(replace(e, frames=f) for e, f in zip(episodes[1:4], (dark, hung, swapped), strict=True))]
    found = texts([*spoilt, episodes[4]])
    assert any("error camera wrist: black pictures in episode 1;" in text for text in found)
    assert any("camera front: the same picture again while the joints moved in episode 2;" in text for text in found)
    assert any("cameras front and wrist: they look swapped in episode 3;" in text for text in found)
    same = [replace(e, frames=dict.fromkeys(CARD.cameras, e.frames["front"])) for e in episodes]
    assert any("both show the same pictures" in text for text in texts(same))


def bundled_starts(camera_order: tuple[str, ...]) -> list[Episode]:
    """Short episodes that begin as those of the bundled dream do, with their cameras in another order."""
    starts = load_starts(resolve("bundled:box_close/world_model") / "starts.npz")
    found = []
    for number, row in enumerate(starts.initial[:8]):
        views = dict(zip(BOX_CLOSE.cameras, np.moveaxis(starts.frames[row], 1, 0), strict=True))
        frames = {camera: views[shown] for camera, shown in zip(BOX_CLOSE.cameras, camera_order, strict=True)}
        rows = len(starts.frames[row])
        path = np.linspace(0, 0.5 * (-1) ** number, rows)[:, None] * np.ones(14)
        found.append(
            Episode(
                task="box_close", instruction=BOX_CLOSE.instruction, frames=frames, success=number % 2 == 0,
                proprio=BOX_CLOSE.unscale_action(path).astype(np.float32), actions=path.astype(np.float32),
                score=0.0, source="rollout", policy="test", seed=number,
            )
        )  # fmt: skip
    return found


@pytest.mark.parametrize(
    ("order", "told"),
    [
        (("head", "left_wrist", "right_wrist"), None),
        (("head", "right_wrist", "left_wrist"), "cameras left_wrist, right_wrist: they look exchanged"),
        (("left_wrist", "right_wrist", "head"), "cameras head, left_wrist, right_wrist: they look exchanged"),
    ],
)
def test_cameras_that_are_swapped_in_all_episodes_are_told_from_the_bundled_ones(
    order: tuple[str, ...], told: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_episodes(tmp_path / "set", bundled_starts(order), BOX_CLOSE)
    with contextlib.suppress(SystemExit):  # windows of starts are too short to be sound
        inspect(tmp_path / "set", json_file=tmp_path / "report.json")
    found = [
        f"{one['field']}: {one['found']}" for one in json.loads((tmp_path / "report.json").read_text())["findings"]
    ]
    assert [text for text in found if "exchanged" in text][:1] == [text for text in found if told and told in text]
    if told:
        assert "in bundled:box_close/world_model" in " ".join(capsys.readouterr().out.split())
        with pytest.raises(SystemExit, match="1"):
            inspect(tmp_path / "set", like="bundled:box_close/world_model")


def test_joints_in_degrees_are_found() -> None:
    episodes = [replace(one, proprio=np.rad2deg(one.proprio)) for one in varied()]
    assert any("error state joint" in text and "looks like degrees" in text for text in texts(episodes))


def test_rollouts_may_all_fail() -> None:
    failures = [replace(one, source="rollout") for one in varied() if not one.success]
    assert any("warning success: none" in text for text in texts(failures))
    mixed = [*failures, replace(failures[0], source="demonstration", seed=99)]
    assert any("error success: none" in text for text in texts(mixed))


def test_one_outcome_is_told() -> None:
    assert any("every episode is a success" in text for text in texts([one for one in varied() if one.success]))
    failures = [replace(one, source="demonstration") for one in varied() if not one.success]
    assert any("error success: none" in text for text in texts(failures))
    assert any("there are none" in text for text in texts([]))


def test_times_are_looked_at() -> None:
    times = np.arange(24) / 10
    lost = np.delete(times, [5, 6, 7])
    timings = [Timing.of(0, times, 10), Timing.of(1, lost, 10), Timing.of(2, np.delete(times, 4), 10)]
    report = coverage(varied(), CARD, timings)
    assert (report.missing_rows, report.repeated_rows) == (4, 0)
    assert report.longest_gap_s == pytest.approx(0.4)
    found = texts(varied(), timings)
    assert any("error timestamp: gaps of up to 0.40 s" in text and "episode 1" in text for text in found)
    assert any("warning timestamp: 4 rows missing" in text and "episode 2" in text for text in found)
    slow = [Timing.of(number, 2 * times, 10) for number in range(3)]
    assert any("fps: 10 rows a second are stated, times say 5" in text for text in texts(varied(), slow))


def test_the_command_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_episodes(tmp_path / "set", varied(), CARD)
    inspect(tmp_path / "set", json_file=tmp_path / "report.json")
    shown = " ".join(capsys.readouterr().out.split())
    assert "5 episodes of cube_in_bowl" in shown
    assert "nothing looks wrong" in shown
    report: dict[str, Any] = json.loads((tmp_path / "report.json").read_text())
    assert len(report["joints"]) == 7
    failures = [replace(one, source="demonstration") for one in varied() if not one.success]
    write_episodes(tmp_path / "failures", failures, CARD)
    with pytest.raises(SystemExit, match="1"):
        inspect(tmp_path / "failures")
    (tmp_path / "set/meta/rise_gym_task.json").unlink()
    with pytest.raises(RiseGymError, match=r"rise-gym import .* --show"):
        inspect(tmp_path / "set")


@pytest.fixture
def six(tmp_path: Path) -> Path:
    """Six episodes, two a file."""
    with EpisodeWriter(tmp_path / "set", CARD, episodes_per_file=2) as writer:
        for one in varied(6):
            writer.append(replace(one, seed=10 + one.seed))
    return tmp_path / "set"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def inspected(folder: Path) -> dict[str, Any]:
    """The report of a dataset with errors."""
    with pytest.raises(SystemExit, match="1"):
        inspect(folder, json_file=folder.parent / "report.json")
    return dict(json.loads((folder.parent / "report.json").read_text()))


def test_all_that_is_damaged_is_told_in_one_go_and_the_rest_is_looked_at(six: Path) -> None:
    cut(six / "data/chunk-000/file-000.parquet")
    cut(six / "videos/observation.images.wrist/chunk-000/file-001.mp4")
    (six / "videos/observation.images.front/chunk-000/file-001.mp4").unlink()
    report = inspected(six)
    assert report["episodes"] == 2
    assert report["joints"][0]["used"] > 0
    found = [(one["found"], one["episodes"]) for one in report["findings"] if one["field"] == "data"]
    for name, episodes in (("file-000.parquet", [0, 1]), ("front/chunk", [2, 3]), ("wrist/chunk", [2, 3])):
        assert [numbers for text, numbers in found if name in text] == [episodes]
    assert len(found) == 3


def test_one_damaged_episode_spoils_no_other_of_its_files(six: Path) -> None:
    frames = [one.frames["front"] for one in varied(6)[2:4]]
    path = six / "videos/observation.images.front/chunk-000/file-001.mp4"
    path.write_bytes(encode_clips([frames[0], frames[1][:5]], 10))
    still = six / "data/chunk-000/file-002.parquet"
    table = pq.read_table(still)
    state = table["observation.state"].to_pylist()
    state[-1][0] = float("nan")  # of episode 5
    column = pa.array(state, table["observation.state"].type)
    pq.write_table(table.set_column(table.column_names.index("observation.state"), "observation.state", column), still)
    report = inspected(six)
    assert report["episodes"] == 5
    (short,) = [one for one in report["findings"] if one["field"] == "data"]
    assert (short["episodes"], short["advice"]) == ([3], "copy the dataset again")
    (odd,) = [one for one in report["findings"] if one["field"] == "state"]
    assert odd["episodes"] == [5]


def test_descriptions_that_are_lost_are_told_and_damaged_ones_all_named(six: Path) -> None:
    (six / "meta/episodes/chunk-000/file-001.parquet").unlink()
    report = inspected(six)
    assert report["episodes"] == 4
    assert [one["episodes"] for one in report["findings"] if "meta/episodes describes 4" in one["found"]] == [[2, 3]]
    for number in (0, 2):
        cut(six / f"meta/episodes/chunk-000/file-00{number}.parquet")
    with pytest.raises(InvalidDataset, match=r"(?s)file-000\.parquet can't be read.*file-002\.parquet can't be read"):
        inspect(six)


def test_without_any_episode_that_can_be_read_what_is_wrong_is_told(six: Path) -> None:
    for path in six.glob("data/*/*.parquet"):
        cut(path)
    report = inspected(six)
    assert report["episodes"] == 0
    assert [one["episodes"] for one in report["findings"] if one["field"] == "data"] == [[0, 1], [2, 3], [4, 5]]
