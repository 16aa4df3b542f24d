"""Anybody's LeRobot dataset becomes ours: units, order, rates, the right pictures; what does not fit is named."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_tasks import CARD, TOML, forgetting_tasks
from toy_dataset import NAMES, TASK, Toy, toy, write_v21, write_v30

from rise_gym._guessing import toml_text
from rise_gym._resampling import between, in_force, tick_times
from rise_gym._video import encode_clips, frames_near
from rise_gym.cli import main
from rise_gym.commands.inspect import inspect
from rise_gym.episodes import read_episodes
from rise_gym.errors import InvalidDataset, InvalidMapping
from rise_gym.importing import camera_findings, import_dataset, mapped, open_source, source_findings, translated
from rise_gym.joint_units import Unit
from rise_gym.mapping import JointMapping, mapping_of, read_mapping

GIVEN: dict[str, Any] = {"joints": {"gripper_m": {"unit": "range", "range": [0, 100], "to": [0.0, 0.08]}}}
ANGLES = slice(0, 6)


@pytest.fixture(scope="module")
def toys() -> list[Toy]:
    return [toy(seed) for seed in range(4)]


@pytest.fixture(scope="module", params=["v2.1", "v2.1 images", "v3.0"])
def folder(request: pytest.FixtureRequest, toys: list[Toy], tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("theirs") / "toy"
    writers: dict[str, Callable[[], Path]] = {
        "v2.1": lambda: write_v21(target, toys),
        "v2.1 images": lambda: write_v21(target, toys, kind="image"),
        "v3.0": lambda: write_v30(target, toys),
    }
    return writers[request.param]()


@pytest.fixture(scope="module")
def theirs(toys: list[Toy], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_v21(tmp_path_factory.mktemp("v21") / "toy", toys)


def ground(frames: np.ndarray) -> np.ndarray:
    """The brightness of the ground of each picture, which tells the episode."""
    return frames[:, 0, 0, 0].astype(int)


def row_of(frames: np.ndarray) -> np.ndarray:
    """Which row of the source each picture is, by its blue stripe."""
    middle = frames[:, frames.shape[1] // 2 + 4 : frames.shape[1] // 2 + 6, :, 2].mean((1, 2))
    return middle / 4


def test_every_layout_is_read(folder: Path, toys: list[Toy], tmp_path: Path) -> None:
    source = open_source(folder)
    summary = import_dataset(source, mapped(source, CARD, GIVEN), CARD, tmp_path / "ours")
    assert (summary.episodes, summary.successes) == (4, 3)
    for number, (found, wanted) in enumerate(zip(read_episodes(tmp_path / "ours"), toys, strict=True)):
        assert (found.instruction, found.seed, found.success) == (TASK, number, wanted.success)
        assert len(found) == 30 == round(len(wanted.times) / 2)
        np.testing.assert_allclose(found.proprio[:, ANGLES], np.deg2rad(wanted.state[::2, ANGLES]), atol=1e-5)
        np.testing.assert_allclose(found.proprio[:, 6], 0.0008 * wanted.state[::2, 6], atol=1e-6)
        targets = CARD.unscale_action(found.actions[:-1])
        np.testing.assert_allclose(targets[:, ANGLES], np.deg2rad(wanted.action[:-2:2, ANGLES]), atol=1e-5)
        for camera in CARD.cameras:
            assert found.frames[camera].shape == (30, 32, 32, 3)
            assert np.abs(ground(found.frames[camera]) - (40 + 15 * number)).max() <= 4
        assert np.abs(row_of(found.frames["wrist"]) - np.arange(0, 60, 2)).max() < 1


def test_what_is_guessed_is_a_mapping_that_can_be_kept(theirs: Path, tmp_path: Path) -> None:
    source = open_source(theirs)
    guessed = mapped(source, CARD, {})
    assert {name: camera.source for name, camera in guessed.cameras.items()} == {
        "front": "observation.images.front_cam",
        "wrist": "observation.images.wrist_cam",
    }
    assert [joint.source for joint in guessed.action] == list(NAMES)
    assert {joint.unit for joint in guessed.state[ANGLES]} == {"deg"}
    assert guessed.state[6].span == (0.0, 100.0, 0.0, 0.08)
    assert guessed.success == "next.success"
    (tmp_path / "mine.toml").write_text(toml_text(guessed.content))
    kept = read_mapping(tmp_path / "mine.toml")
    assert mapping_of(kept, CARD) == mapped(source, CARD, kept) == guessed


def test_a_joint_that_hardly_moves_has_the_others_unit(tmp_path: Path) -> None:
    one = toy(0)
    one.state[:, 1], one.action[:, 1] = 0.5, 0.5
    source = open_source(write_v21(tmp_path / "theirs", [one]))
    assert {joint.unit for joint in mapped(source, CARD, {}).state[ANGLES]} == {"deg"}
    kept = mapped(source, CARD, {"joints": {"joint2_rad": {"unit": "rad"}}})
    assert [joint.unit for joint in kept.action[:3]] == ["deg", "rad", "deg"]


def test_an_import_goes_on_where_it_was(theirs: Path, tmp_path: Path) -> None:
    source = open_source(theirs)
    mapping = mapped(source, CARD, GIVEN)
    seen: list[int] = []

    def interrupt(episode: Any) -> None:
        seen.append(episode.seed)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_dataset(source, mapping, CARD, tmp_path, on_episode=interrupt)
    assert import_dataset(source, mapping, CARD, tmp_path, on_episode=lambda e: seen.append(e.seed)).episodes == 4
    assert seen == [0, 1, 2, 3]
    other = mapped(source, CARD, {**GIVEN, "targets": "interpolated"})
    with pytest.raises(InvalidDataset, match=r"read with another mapping \(targets\)"):
        import_dataset(source, other, CARD, tmp_path)
    more = mapped(source, CARD, {**GIVEN, "skip": [3]})
    assert import_dataset(source, more, CARD, tmp_path).episodes == 4


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"cameras": {"front": {"from": "observation.images.side"}}}, "no pictures 'observation.images.side'; it has"),
        ({"cameras": {"front": {"from": "observation.images.front_cam", "crop": [0, 0, 99, 9]}}}, "leaves pictures"),
        ({"cameras": {"front": {"form": "x"}}}, "unknown entries form"),
        ({"cameras": {"front": {"from": "observation.images.front_cam", "check": 3}}}, "check is true or false, got 3"),
        ({"cameras": {"side": {"from": "x"}}}, "cameras: unknown entries side"),
        ({"joints": {"joint1_rad": {"from": "elbow"}}}, "'elbow' is no number of column .* has joint1.pos"),
        ({"joints": {"joint9_rad": {"from": 0}}}, "joints: unknown entries joint9_rad"),
        ({"joints": {"joint1_rad": {"unit": "mm"}}}, "one of rad, deg, range was wanted, got 'mm'"),
        ({"joints": {"gripper_m": {"unit": "range", "range": [0], "to": [0, 1]}}}, "wants `range = .low, high.`"),
        ({"joints": {"joint1_rad": {"sign": 2}}}, "sign is 1 or -1, got 2"),
        ({"state": {"column": "observation.joints"}}, "no column 'observation.joints'; it has observation.state"),
        ({"success": "done"}, "no column and no fact 'done'"),
        ({"targets": "smooth"}, "one of held, interpolated was wanted"),
        ({"speed": 3}, "unknown entries speed"),
        ({"skip": [2, 77]}, "skip: toy has no episodes 77"),
        ({"skip": [0, 1, 2, 3]}, "skip: all 4 episodes of toy are left out"),
        (
            {"joints": {"joint2_rad": {"from": "joint1.pos"}}},
            "joints.joint1_rad and joints.joint2_rad: both are 'joint1.pos' of column 'observation.state' in the state",
        ),
    ],
)
def test_a_wrong_mapping_is_refused_by_name(theirs: Path, given: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidMapping, match=told):
        mapped(open_source(theirs), CARD, given)


def test_a_gripper_in_rad_is_not_taken_for_per_cent(tmp_path: Path) -> None:
    toys = [toy(seed) for seed in range(3)]
    for one in toys:
        for part in (one.state, one.action):
            part[:, 6] *= 1.6 / 100  # up to 1.2 rad
    source = open_source(write_v21(tmp_path / "toy", toys))
    found = source_findings(source, mapped(source, CARD, {}), CARD)
    assert any(one.level == "error" and "gripper_m" in one.field for one in found), [str(one) for one in found]


def test_what_can_not_be_told_is_asked_for(theirs: Path, tmp_path: Path) -> None:
    task = replace(CARD, cameras=("left", "right"))
    with pytest.raises(InvalidMapping, match=r"which pictures of toy are left, right\?.*observation.images.front_cam"):
        mapped(open_source(theirs), task, {})
    short = replace(CARD, action_names=("lift_m",), proprio_names=("lift_m",), action_low=(0.0,), action_high=(1.0,))
    with pytest.raises(InvalidMapping, match=r"has 7 numbers \(joint1.pos, .*\), 'cube_in_bowl' has 1 joints"):
        mapped(open_source(theirs), short, {})


@pytest.mark.parametrize(
    ("given", "level", "told"),
    [
        ({"state": {"unit": "rad"}, "action": {"unit": "rad"}}, "error", 'looks like degrees: say `unit = "deg"`'),
        ({"joints": {"gripper_m": {"unit": "m"}}}, "error", "looks like 0 to 100, or mm"),
        ({"joints": {"joint1_rad": {"offset": 3.0}}}, "error", "look at `sign` and `offset`"),
        ({"joints": {"joint1_rad": {"action": {"sign": -1}}}}, "error", "targets move against the measured joint"),
        (
            {
                "joints": {
                    "joint1_rad": {"action": {"from": "joint2.pos"}},
                    "joint2_rad": {"action": {"from": "joint1.pos"}},
                }
            },
            "error",
            "move like the measured joint2_rad, not like joint1_rad",
        ),
    ],
)
def test_wrong_units_and_orders_are_found(theirs: Path, given: dict[str, Any], level: str, told: str) -> None:
    source = open_source(theirs)
    content = {**GIVEN, **given, "joints": {**GIVEN["joints"], **given.get("joints", {})}}
    found = source_findings(source, mapped(source, CARD, content), CARD)
    assert any(told in str(finding) and finding.level == level for finding in found), [str(one) for one in found]


def test_what_is_wrong_with_many_joints_is_said_once(theirs: Path) -> None:
    source = open_source(theirs)
    content = {"state": {"unit": "rad"}, "action": {"unit": "rad"}, **GIVEN}
    (found,) = source_findings(source, mapped(source, CARD, content), CARD)
    assert found.field == "action and state joint1_rad, joint2_rad, joint3_rad, joint4_rad, joint5_rad, joint6_rad"
    assert 'say `unit = "deg"` in `[action]` and `[state]` of the mapping' in found.advice
    assert "furthest off, is from -" in found.found
    content = {"joints": {"gripper_m": {"unit": "m"}}}
    (found,) = source_findings(source, mapped(source, CARD, content), CARD)
    assert found.field == "action and state gripper_m"
    assert "in `joints.gripper_m` of the mapping" in found.advice


def test_the_command_says_each_finding_once(
    theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    degrees = 'state.unit = "rad"\naction.unit = "rad"\n'
    told, status = imported(theirs, tmp_path, monkeypatch, capsys, degrees)
    assert status == 2
    assert told.count("looks like degrees") == 1
    told, status = imported(theirs, tmp_path, monkeypatch, capsys, degrees, "--show")
    assert status == 1
    assert told.count("looks like degrees") == 1


def imported(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    mapping: str,
    *options: str,
) -> tuple[str, object]:
    """What `rise-gym import` prints, in one line, where it writes nothing; and its exit status."""
    (tmp_path / "cube.toml").write_text(TOML)
    (tmp_path / "mapping.toml").write_text(mapping)
    command = ["rise-gym", "import", str(tmp_path / "ours"), "--data", str(folder), "--task"]
    command += [str(tmp_path / "cube.toml"), "--mapping", str(tmp_path / "mapping.toml"), *options]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setenv("RISE_GYM_TASKS", "")
    status: object = 0
    with forgetting_tasks():
        try:
            main()
        except SystemExit as stopped:
            status = stopped.code
    assert not (tmp_path / "ours").exists()
    printed = capsys.readouterr()
    return " ".join((printed.out + printed.err).split()), status


def test_a_plain_dataset_has_no_findings(theirs: Path) -> None:
    source = open_source(theirs)
    assert source_findings(source, mapped(source, CARD, GIVEN), CARD) == []


SWAPPED = {
    "front": {"from": "observation.images.wrist_cam"},
    "wrist": {"from": "observation.images.front_cam"},
}
MEANT = {camera: {**entry, "check": False} for camera, entry in SWAPPED.items()}


def test_cameras_whose_names_say_that_they_are_swapped_are_refused(theirs: Path, tmp_path: Path) -> None:
    source = open_source(theirs)
    mapping = mapped(source, CARD, {**GIVEN, "cameras": SWAPPED})
    with pytest.raises(InvalidDataset) as raised:
        import_dataset(source, mapping, CARD, tmp_path / "ours")
    told = str(raised.value)
    assert "cameras.front: its pictures come from 'wrist_cam', whose name says another place" in told
    assert "exchange `from` of cameras.front and cameras.wrist" in told
    assert not (tmp_path / "ours").exists()
    meant = mapped(source, CARD, {**GIVEN, "cameras": MEANT})
    assert import_dataset(source, meant, CARD, tmp_path / "ours").episodes == 4


@pytest.mark.parametrize(
    ("ours", "theirs", "level"),
    [
        (("left_wrist", "right_wrist"), ("cam_right_wrist", "cam_left_wrist"), "error"),
        (("left_wrist", "right_wrist"), ("cam_left_wrist", "cam_right_wrist"), None),
        (("head", "wrist"), ("cam_high", "gripper_rgb"), None),
        (("head", "wrist"), ("front", "gripper_rgb"), "warning"),
        (("head", "front"), ("front", "top"), "error"),
        (("one", "two"), ("front", "top"), None),
    ],
)
def test_names_of_cameras_say_where_they_are(
    ours: tuple[str, ...], theirs: tuple[str, ...], level: str | None, tmp_path: Path
) -> None:
    one = toy(0)
    one.frames = dict(zip(theirs, one.frames.values(), strict=True))
    source = open_source(write_v21(tmp_path / "theirs", [one]))
    task = replace(CARD, cameras=ours)
    cameras = {mine: {"from": f"observation.images.{other}"} for mine, other in zip(ours, theirs, strict=True)}
    found = camera_findings(source, mapped(source, task, {**GIVEN, "cameras": cameras}), task)
    assert [finding.level for finding in found[:1]] == ([level] if level else [])


def test_a_whole_dataset_with_swapped_cameras_is_found_beside_another(tmp_path: Path, theirs: Path) -> None:
    import_dataset(open_source(theirs), mapped(open_source(theirs), CARD, GIVEN), CARD, tmp_path / "ours")
    later = [toy(seed) for seed in range(4, 7)]
    for one in later:
        one.frames = dict(zip(one.frames, reversed(one.frames.values()), strict=True))
    source = open_source(write_v21(tmp_path / "later", later))
    mapping = mapped(source, CARD, GIVEN)
    assert camera_findings(source, mapping, CARD) == []  # nothing is known of the task
    with pytest.raises(InvalidDataset, match=r"cameras front, wrist: they look exchanged: .* those of wrist, front in"):
        import_dataset(source, mapping, CARD, tmp_path / "ours")
    with pytest.raises(InvalidDataset, match=r"say `check = false` in `\[cameras.front\]`"):
        import_dataset(source, mapping, CARD, tmp_path / "fresh", like=tmp_path / "ours")
    assert not (tmp_path / "fresh").exists()
    kept = mapped(source, CARD, {**GIVEN, "cameras": {"front": {"check": False}}})
    assert import_dataset(source, kept, CARD, tmp_path / "ours").episodes == 7


def test_gaps_are_named_and_can_be_left_out(tmp_path: Path) -> None:
    toys = [toy(seed) for seed in range(4)]
    toys[1].times[30:] += 0.6
    toys[2].times[30:] += 0.05  # one row lost
    toys[3].times[10:] -= 0.3
    source = open_source(write_v21(tmp_path / "theirs", toys))
    mapping = mapped(source, CARD, GIVEN)
    with pytest.raises(InvalidDataset) as raised:
        import_dataset(source, mapping, CARD, tmp_path / "ours")
    assert "gaps of up to 0.65 s between rows, 0.20 s are allowed in episode 1; leave them out" in str(raised.value)
    assert "times that go back or are no numbers in episode 3" in str(raised.value)
    assert not (tmp_path / "ours").exists()
    mapping = mapped(source, CARD, {**GIVEN, "skip": [1, 3]})
    warnings = [str(finding) for finding in source_findings(source, mapping, CARD)]
    assert any("1 rows missing" in text and "episode 2" in text for text in warnings)
    assert import_dataset(source, mapping, CARD, tmp_path / "ours").episodes == 2
    inspected = inspect_report(tmp_path / "ours", tmp_path)
    assert (inspected["missing_rows"], inspected["repeated_rows"]) == (1, 0)
    assert inspected["longest_gap_s"] == pytest.approx(0.1, abs=1e-4)
    assert [finding["episodes"] for finding in inspected["findings"] if finding["field"] == "timestamp"] == [[1]]


def inspect_report(folder: Path, scratch: Path) -> Any:
    """What `rise-gym inspect --json` writes."""
    with contextlib.suppress(SystemExit):
        inspect(folder, json_file=scratch / "report.json")
    return json.loads((scratch / "report.json").read_text())


def test_gaps_that_a_mapping_allows_stay_a_warning_and_are_kept_when_an_import_goes_on(tmp_path: Path) -> None:
    toys = [toy(seed) for seed in range(3)]
    toys[0].times[30:] += 0.3
    source = open_source(write_v21(tmp_path / "theirs", toys))
    mapping = mapped(source, CARD, {**GIVEN, "largest_gap_s": 0.5})
    import_dataset(source, mapping, CARD, tmp_path / "ours", limit=1)
    more = mapped(source, CARD, {**GIVEN, "largest_gap_s": 0.5, "skip": [0]})
    assert import_dataset(source, more, CARD, tmp_path / "ours").episodes == 3
    report = inspect_report(tmp_path / "ours", tmp_path)
    assert report["missing_rows"] == 6
    (found,) = [finding for finding in report["findings"] if finding["field"] == "timestamp"]
    assert (found["level"], found["episodes"]) == ("warning", [0])


def test_show_tells_what_a_foreign_dataset_covers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toys = [toy(seed) for seed in range(3)]
    toys[2].times[30:] += 0.05
    told, status = imported(write_v21(tmp_path / "theirs", toys), tmp_path, monkeypatch, capsys, "", "--show")
    assert status == 0
    assert "theirs: 3 episodes of cube_in_bowl" in told
    assert "rows: 1 missing, 0 twice, longest gap 0.10 s" in told
    assert "joint6_rad" in told
    assert told.count("1 rows missing and 0 twice by their times in episode 2") == 1


def test_show_tells_of_what_can_not_be_read_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toys = [toy(seed) for seed in range(4)]
    toys[1].times[30:] += 0.6
    toys[2].action[5, 0] = np.nan
    folder = write_v21(tmp_path / "theirs", toys)
    (folder / "videos/chunk-000/observation.images.front_cam/episode_000003.mp4").write_bytes(b"no film")
    told, status = imported(
        folder, tmp_path, monkeypatch, capsys, 'state.unit = "deg"\naction.unit = "deg"\n', "--show"
    )
    assert status == 1
    assert "gaps of up to 0.65 s between rows" in told
    assert "1 rows have numbers that are not finite" in told
    assert told.count("can't be decoded") == 1
    assert "in episode 3; copy it again" in told


def test_differences_are_no_targets(tmp_path: Path) -> None:
    toys = [toy(seed) for seed in range(2)]
    for one in toys:
        one.action[:-1, :6] = np.diff(one.state[:, :6], axis=0)
    source = open_source(write_v21(tmp_path / "theirs", toys))
    content = {**GIVEN, "action": {"unit": "deg"}}
    found = [str(finding) for finding in source_findings(source, mapped(source, CARD, content), CARD)]
    assert any("targets look like differences" in text for text in found), found


def test_damage_is_named(theirs: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(theirs, tmp_path / "copy"))
    (copy / "videos/chunk-000/observation.images.front_cam/episode_000001.mp4").write_bytes(b"no film")
    source = open_source(copy)
    mapping = mapped(source, CARD, GIVEN)
    with pytest.raises(InvalidDataset, match=r"front_cam', episode 1: pictures can't be decoded"):
        translated(source, source.episodes[1], mapping, CARD)
    (copy / "data/chunk-000/episode_000002.parquet").unlink()
    found = source_findings(source, mapping, CARD)
    assert [(finding.level, finding.episodes) for finding in found] == [("error", (2,)), ("error", (1,))]
    info = json.loads((copy / "meta/info.json").read_text())
    (copy / "meta/info.json").write_text(json.dumps({**info, "codebase_version": "v1.6"}))
    with pytest.raises(InvalidDataset, match=r"version v1\.6; v2\.0, v2\.1, v3\.0 can be read"):
        open_source(copy)


def test_nothing_there_and_a_silent_hub_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidDataset, match="is no folder; a dataset is a folder or a hub id"):
        open_source("./nothing/here")

    def silent(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("no answer")

    monkeypatch.setattr("huggingface_hub.snapshot_download", silent)
    with pytest.raises(InvalidDataset, match=r"could not be had from the hub either \(no answer\); check the spelling"):
        open_source("lab/cube")


units = st.sampled_from(["rad", "deg", "m", "mm", "range"])
numbers = st.floats(-500, 500)


@given(unit=units, sign=st.sampled_from([-1.0, 1.0]), offset=st.floats(-3, 3), values=st.lists(numbers, min_size=1))
@settings(deadline=None)
def test_units_invert(unit: Unit, sign: float, offset: float, values: list[float]) -> None:
    span = (0.0, 100.0, 0.08, 0.0) if unit == "range" else None
    joint = JointMapping(column="c", source=0, unit=unit, span=span, sign=sign, offset=offset)
    np.testing.assert_allclose(joint.theirs(joint.ours(np.array(values))), values, atol=1e-7)


@given(order=st.permutations(range(7)))
@settings(deadline=None, max_examples=15)
def test_order_inverts(order: list[int], theirs: Path) -> None:
    source = open_source(theirs)
    joints = {name: {"from": NAMES[place], "unit": "range", "range": [0, 1], "to": [0, 1]}
              for name, place in zip(CARD.action_names, order, strict=True)}  # fmt: skip
    mapping = mapped(source, CARD, {"joints": joints})
    values = source.columns(source.episodes[0], ("action",))["action"]
    back = np.empty_like(values)
    for joint in mapping.action:
        place = NAMES.index(str(joint.source))
        back[:, place] = joint.theirs(joint.ours(values[:, place]))
    np.testing.assert_allclose(back, values, atol=1e-5)
    assert [joint.source for joint in mapping.action] == [NAMES[place] for place in order]


@given(fps=st.sampled_from([5, 10, 15, 25, 30, 50, 60]), hz=st.sampled_from([5, 10, 20, 30]), rows=st.integers(2, 200))
def test_rates_resample_to_the_right_length(fps: int, hz: int, rows: int) -> None:
    times = (np.arange(rows) / fps).astype(np.float32)
    ticks = tick_times(times, hz)
    assert len(ticks) == (rows - 1) * hz // fps + 1
    assert ticks[-1] <= times[-1] + 1e-3 < ticks[-1] + 1 / hz + 2e-3
    values = np.arange(rows, dtype=float)[:, None]
    np.testing.assert_allclose(in_force(times, values, ticks)[:, 0], np.arange(len(ticks)) * fps // hz)
    np.testing.assert_allclose(between(times, values, ticks)[:, 0], np.arange(len(ticks)) * fps / hz, atol=1e-2)


@given(lengths=st.lists(st.integers(1, 9), min_size=2, max_size=5), hz=st.sampled_from([7.0, 10.0, 24.0]))
@settings(deadline=None, max_examples=20)
def test_no_picture_is_another_episodes(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], hz: float
) -> None:
    fps, path = 12, tmp_path_factory.mktemp("clip") / "many.mp4"
    clips = [np.full((rows, 32, 32, 3), 20 + 40 * number, np.uint8) for number, rows in enumerate(lengths)]
    path.write_bytes(encode_clips(clips, fps))
    start = 0.0
    for number, rows in enumerate(lengths):
        wanted = np.arange(int((rows / fps) * hz) + 1) / hz  # asks beyond its end
        found = list(frames_near(path, start, start + rows / fps, wanted, fps))
        assert len(found) == len(wanted)
        assert all(abs(int(picture[0, 0, 0]) - (20 + 40 * number)) <= 3 for picture, _ in found)
        start += rows / fps
