"""What may be wrong with somebody else's dataset or mapping is named before anything is written, and never guessed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from own_tasks import CARD
from toy_dataset import NAMES, Toy, toy, write_v21, write_v30

from rise_gym._video import encode_clips
from rise_gym.episodes import read_episodes
from rise_gym.errors import InvalidDataset, InvalidMapping, RiseGymError
from rise_gym.importing import import_dataset, mapped, open_source, source_coverage, source_findings, translated

GIVEN: dict[str, Any] = {"joints": {"gripper_m": {"unit": "range", "range": [0, 100], "to": [0.0, 0.08]}}}
Table = dict[str, list[Any]]


@pytest.fixture(scope="module")
def toys() -> list[Toy]:
    return [toy(seed, seconds=1.0) for seed in range(3)]


@pytest.fixture(scope="module")
def sound(toys: list[Toy], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_v21(tmp_path_factory.mktemp("sound") / "toy", toys)


@pytest.fixture
def theirs(sound: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(sound, tmp_path / "theirs"))


def change_info(folder: Path, **changed: Any) -> None:
    path = folder / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def describe(folder: Path, **columns: dict[str, Any]) -> None:
    """Add columns to the description."""
    change_info(folder, features=json.loads((folder / "meta/info.json").read_text())["features"] | columns)


def change_lines(folder: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    path = folder / "meta/episodes.jsonl"
    rows = change([json.loads(line) for line in path.read_text().split("\n") if line])
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def change_rows(folder: Path, episode: int, change: Callable[[Table], object]) -> None:
    path = folder / f"data/chunk-000/episode_{episode:06d}.parquet"
    table = pq.read_table(path).to_pydict()
    change(table)
    pq.write_table(pa.table(table), path)


def film(folder: Path, episode: int) -> Path:
    return folder / f"videos/chunk-000/observation.images.front_cam/episode_{episode:06d}.mp4"


def refused(folder: Path, content: dict[str, Any], out: Path) -> str:
    """What import says, where it writes nothing."""
    source = open_source(folder)
    with pytest.raises(InvalidDataset) as raised:
        import_dataset(source, mapped(source, CARD, content), CARD, out)
    assert not out.exists()
    return str(raised.value)


SCALAR = {"dtype": "float32", "shape": [1], "names": None}


@pytest.mark.parametrize(
    ("entry", "value", "told"),
    [
        ("fps", 0, "`fps` of meta/info.json, rows a second, was wanted, got 0"),
        ("fps", "20", "`fps` of meta/info.json, rows a second, was wanted, got '20'"),
        ("features", {"action": 7}, "`features` of meta/info.json, a description of each column, was wanted"),
        ("data_path", None, "`data_path` of meta/info.json, where the rows of an episode are, was wanted, got None"),
        ("video_path", None, "`video_path` of meta/info.json, where videos are, as it has some, was wanted, got None"),
        (
            "features",
            {"action": {"shape": ["7"]}},
            "`shape` of 'action' in meta/info.json, a list of sizes, was wanted",
        ),
        ("features", {"action": {"shape": None}}, "`shape` of 'action' in meta/info.json, a list of sizes, was wanted"),
        ("chunks_size", "many", "what meta says of its episodes and tasks can't be used"),
    ],
)
def test_a_damaged_description_is_named(theirs: Path, entry: str, value: object, told: str) -> None:
    change_info(theirs, **{entry: value})
    with pytest.raises(InvalidDataset) as raised:
        open_source(theirs)
    assert told in str(raised.value)


def test_damaged_lists_of_episodes_are_named(theirs: Path, toys: list[Toy], tmp_path: Path) -> None:
    change_lines(theirs, lambda rows: [*rows, rows[1]])
    with pytest.raises(InvalidDataset, match="meta describes episodes 1 more than once"):
        open_source(theirs)
    change_lines(theirs, lambda rows: [{"length": 20}])
    with pytest.raises(InvalidDataset, match=r"can't be used \(KeyError: 'episode_index'\)"):
        open_source(theirs)
    shared = write_v30(tmp_path / "shared", toys[:1])
    path = shared / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns([name for name in table.column_names if name.endswith("from_timestamp")]), path)
    with pytest.raises(InvalidDataset, match=r"KeyError: 'videos/observation.images.front_cam/from_timestamp'"):
        open_source(shared)


def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(InvalidDataset, match="runs/nothing is no folder"):
        open_source(Path("runs/nothing"))


def test_texts_of_any_script_and_several_at_once(theirs: Path, tmp_path: Path) -> None:
    change_lines(theirs, lambda rows: [row | {"tasks": ["öffne die Kiste\u2028箱", "shut it"]} for row in rows])
    source = open_source(theirs)
    mapping = mapped(source, CARD, GIVEN)
    (found,) = source_findings(source, mapping, CARD)
    assert (found.level, found.field, found.episodes) == ("warning", "tasks", (0, 1, 2))
    import_dataset(source, mapping, CARD, tmp_path / "ours", limit=1)
    assert read_episodes(tmp_path / "ours")[0].instruction == "öffne die Kiste\u2028箱"


def narrow(table: Table) -> None:
    table["observation.state"] = [row[:5] for row in table["observation.state"]]


def ragged(table: Table) -> None:
    table["observation.state"][3] = [1.0]


def empty(table: Table) -> None:
    table["observation.state"][3] = None


def worded(table: Table) -> None:
    table["action"] = [["up"] * 7] * len(table["action"])


@pytest.mark.parametrize(
    ("episode", "damage", "told"),
    [
        (0, narrow, "column 'observation.state' has 5 numbers a row, meta/info.json says 7"),
        (1, ragged, "column 'observation.state' can't be read (its rows have 1 or 7 numbers)"),
        (1, empty, "column 'observation.state' can't be read (1 of 20 rows are empty)"),
        (1, worded, "numbers were wanted in column 'action' (could not convert string to float: 'up')"),
    ],
)
def test_odd_columns_are_named_and_can_be_left_out(
    theirs: Path, tmp_path: Path, episode: int, damage: Callable[[Table], None], told: str
) -> None:
    change_rows(theirs, episode, damage)
    text = refused(theirs, GIVEN, tmp_path / "ours")
    assert f"episode {episode}: {told}" in text
    source = open_source(theirs)
    assert (
        import_dataset(source, mapped(source, CARD, GIVEN | {"skip": [episode]}), CARD, tmp_path / "out").episodes == 2
    )


def test_the_first_episode_may_be_lost_and_left_out(theirs: Path, tmp_path: Path) -> None:
    (theirs / "data/chunk-000/episode_000000.parquet").unlink()
    assert "episode_000000.parquet is missing" in refused(theirs, GIVEN, tmp_path / "ours")
    source = open_source(theirs)
    mapping = mapped(source, CARD, {"skip": [0]})
    assert {joint.unit for joint in mapping.state} == {"deg", "range"}  # told from the others
    assert import_dataset(source, mapping, CARD, tmp_path / "ours").episodes == 2
    assert [episode.seed for episode in read_episodes(tmp_path / "ours")] == [1, 2]


def test_numbers_that_are_not_finite_are_named_by_episode(theirs: Path, tmp_path: Path) -> None:
    change_rows(theirs, 2, lambda table: table["action"][4].__setitem__(0, float("nan")))
    change_lines(theirs, lambda rows: rows[1:])
    told = refused(theirs, GIVEN, tmp_path / "ours")
    assert "action: 1 rows have numbers that are not finite in episode 2; leave" in told


def test_videos_are_looked_for_before_anything_is_written(theirs: Path, tmp_path: Path) -> None:
    film(theirs, 1).unlink()
    film(theirs, 2).write_bytes(film(theirs, 2).read_bytes()[:-2000])
    told = refused(theirs, GIVEN, tmp_path / "ours")
    assert "episode_000001.mp4 is missing in episode 1; copy it again" in told
    assert "episode_000002.mp4 can't be decoded" in told


def test_a_video_of_another_length_than_its_rows_is_told(theirs: Path, toys: list[Toy], tmp_path: Path) -> None:
    """Its pictures are shifted against the actions, and nothing says from where on."""
    film(theirs, 1).write_bytes(encode_clips([toys[1].frames["front_cam"][1:]], 20))
    source = open_source(theirs)
    mapping = mapped(source, CARD, GIVEN)
    (found,) = source_findings(source, mapping, CARD)
    assert (found.level, found.field, found.episodes) == ("warning", "camera front", (1,))
    assert "its video ends up to 0.05 s before the last row" in found.found
    film(theirs, 1).write_bytes(encode_clips([toys[1].frames["front_cam"][6:]], 20))
    assert "its video ends up to 0.30 s before the last row" in refused(theirs, GIVEN, tmp_path / "ours")


def test_times_that_do_not_begin_at_0_are_told(theirs: Path) -> None:
    for episode in range(3):
        change_rows(theirs, episode, lambda table: table.update(timestamp=[0.15 + t for t in table["timestamp"]]))
    source = open_source(theirs)
    found = source_findings(source, mapped(source, CARD, GIVEN), CARD)
    assert [one.field for one in found] == ["camera front", "camera wrist"]
    assert "0.15 s before the last row" in found[0].found


@pytest.mark.parametrize(
    "times", [lambda t: t[::-1], lambda t: [1e9 * one for one in t], lambda t: [float("nan")] * 20]
)
def test_show_survives_any_times(theirs: Path, times: Callable[[list[float]], list[float]]) -> None:
    change_rows(theirs, 1, lambda table: table.update(timestamp=times(table["timestamp"])))
    source = open_source(theirs)
    report = source_coverage(source, mapped(source, CARD, GIVEN), CARD)
    assert report.episodes == 2
    assert any(one.field == "timestamp" and one.episodes == (1,) for one in report.errors)


@pytest.mark.parametrize("value", [float("nan"), "false", -1])
def test_success_that_is_not_said_is_not_guessed(theirs: Path, tmp_path: Path, value: object) -> None:
    change_rows(theirs, 1, lambda table: table.update({"next.success": [value] * 20}))
    told = refused(theirs, GIVEN, tmp_path / "ours")
    assert "success: 'next.success' does not say true or false, or 1 or 0 in episode 1; correct it" in told


def test_success_as_a_fact_of_some_episodes(theirs: Path, tmp_path: Path) -> None:
    facts: list[dict[str, Any]] = [{}, {"solved": None}, {"solved": 1}]
    change_lines(theirs, lambda rows: [row | fact for row, fact in zip(rows, facts, strict=True)])
    content = GIVEN | {"success": "solved"}
    assert "'solved' does not say true or false, or 1 or 0 in episodes 0, 1" in refused(theirs, content, tmp_path / "o")
    source = open_source(theirs)
    mapping = mapped(source, CARD, content | {"skip": [0, 1]})
    assert import_dataset(source, mapping, CARD, tmp_path / "ours").successes == 1


def test_progress_is_from_0_to_1_and_measured_throughout(theirs: Path, tmp_path: Path) -> None:
    describe(theirs, done=SCALAR)
    for episode in range(3):
        change_rows(theirs, episode, lambda table: table.update(done=[5.0 * n for n in range(20)]))
    content = GIVEN | {"progress": "done"}
    assert "progress: 'done' goes from 0 to 95, 0 to 1 was wanted" in refused(theirs, content, tmp_path / "ours")
    for episode in range(3):
        change_rows(theirs, episode, lambda table: table.update(done=[float("nan")] * 2 + [0.5] * 18))
    source = open_source(theirs)
    summary = import_dataset(source, mapped(source, CARD, content), CARD, tmp_path / "ours")
    found = read_episodes(tmp_path / "ours")
    assert summary.episodes == 3
    assert [episode.progress for episode in found] == [None] * 3
    assert [episode.score for episode in found] == [10.0, 10.0, 0.0]
    with pytest.raises(InvalidMapping, match="has no column 'length'"):
        mapped(source, CARD, GIVEN | {"progress": "length"})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"cameras": {"front": "observation.images.front_cam"}}, "cameras.front is a table, `[cameras.front]` with"),
        ({"cameras": 3}, "cameras is a table, got 3"),
        ({"joints": {"joint1_rad": "joint1.pos"}}, "joints.joint1_rad is a table, `[joints.joint1_rad]` with `from"),
        ({"joints": {"joint1_rad": {"state": 3}}}, "joints.joint1_rad.state is a table, got 3"),
        ({"joints": {"joint1_rad": {"offset": "x"}}}, "joints.joint1_rad.offset is a number, got 'x'"),
        ({"joints": {"joint1_rad": {"from": True}}}, "joints.joint1_rad.from is a name or index, got True"),
        ({"state": "observation.state"}, "state is a table, got 'observation.state'"),
        ({"skip": 3}, "skip is a list of numbers of episodes, got 3"),
        ({"skip": ["3"]}, "skip is a list of numbers of episodes, got"),
        ({"largest_gap_s": "x"}, "largest_gap_s is a number of seconds above 0, got 'x'"),
        ({"instruction": 3}, "instruction is a text, got 3"),
        (
            {"cameras": {"front": {"crop": [0.5, 0, 20, 20]}}},
            "cameras.front.crop is [top, left, height, width] in pixels",
        ),
        ({"cameras": {"front": {"crop": 3}}}, "cameras.front.crop is [top, left, height, width] in pixels, got 3"),
    ],
)
def test_entries_of_a_wrong_type_are_named(sound: Path, content: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidMapping) as raised:
        mapped(open_source(sound), CARD, content)
    assert told in str(raised.value)


def test_a_name_that_is_there_twice_is_asked_for_by_index(theirs: Path, tmp_path: Path) -> None:
    names = ["joint1.pos", *NAMES[:1], *NAMES[2:]]
    describe(theirs, **{"observation.state": {"dtype": "float32", "shape": [7], "names": names}})
    source = open_source(theirs)
    with pytest.raises(InvalidMapping, match=r"has 2 numbers called 'joint1.pos'; say which by its index: .* 0 or 1"):
        mapped(source, CARD, {"joints": {"joint1_rad": {"state": {"from": "joint1.pos"}}}})


def test_an_import_that_was_refused_can_be_read_otherwise(theirs: Path, tmp_path: Path) -> None:
    """Only how episodes that are there were read is binding; what they were refused for is not."""
    source = open_source(theirs)

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    content = GIVEN | {"largest_gap_s": 0.3}
    with pytest.raises(KeyboardInterrupt):
        import_dataset(source, mapped(source, CARD, content), CARD, tmp_path / "ours", on_episode=stop)
    wider = GIVEN | {"largest_gap_s": 0.5, "cameras": {"front": {"check": False}}}
    assert import_dataset(source, mapped(source, CARD, wider), CARD, tmp_path / "ours").episodes == 3
    with pytest.raises(InvalidDataset, match=r"read with another mapping \(targets\)"):
        import_dataset(source, mapped(source, CARD, wider | {"targets": "interpolated"}), CARD, tmp_path / "ours")


def test_a_limit_looks_no_further(theirs: Path, tmp_path: Path) -> None:
    change_rows(theirs, 2, narrow)
    source = open_source(theirs)
    mapping = mapped(source, CARD, GIVEN)
    assert source_findings(source, mapping, CARD, limit=2) == []
    assert import_dataset(source, mapping, CARD, tmp_path / "ours", limit=2).episodes == 2


def test_a_folder_of_another_task_is_left_as_it_is(theirs: Path, tmp_path: Path) -> None:
    source = open_source(theirs)
    mapping = mapped(source, CARD, GIVEN)
    import_dataset(source, mapping, CARD, tmp_path / "ours", limit=1)
    record = tmp_path / "ours/meta/rise_gym_import.json"
    record.unlink()
    with pytest.raises(InvalidDataset, match="use another folder"):
        import_dataset(source, mapping, replace(CARD, name="other"), tmp_path / "ours")
    assert not record.exists()


def test_no_dataset_is_imported_into_itself(theirs: Path, tmp_path: Path) -> None:
    first = open_source(theirs)
    import_dataset(first, mapped(first, CARD, GIVEN), CARD, tmp_path / "ours", limit=1)
    source = open_source(tmp_path / "ours")
    mapping = mapped(source, CARD, {})
    with pytest.raises(InvalidDataset, match="can't be imported into itself"):
        import_dataset(source, mapping, CARD, tmp_path / "theirs/../ours")
    with pytest.raises(RiseGymError, match="a limit of one episode or more was wanted, got -1"):
        import_dataset(source, mapping, CARD, tmp_path / "more", limit=-1)
    assert len(read_episodes(tmp_path / "ours")) == 1


def test_the_same_recordings_under_another_name_are_not_there_twice(theirs: Path, tmp_path: Path) -> None:
    first = open_source(theirs)
    import_dataset(first, mapped(first, CARD, GIVEN), CARD, tmp_path / "ours", limit=1)
    moved = open_source(theirs.rename(tmp_path / "moved"))
    mapping = mapped(moved, CARD, GIVEN)
    with pytest.raises(
        InvalidDataset, match=r"episodes of theirs-.* as that of moved-.* would be there twice; give the"
    ):
        import_dataset(moved, mapping, CARD, tmp_path / "ours")
    again = open_source((tmp_path / "moved").rename(tmp_path / "theirs"))
    assert import_dataset(again, mapped(again, CARD, GIVEN), CARD, tmp_path / "ours").episodes == 3


@pytest.mark.parametrize("entry", [None, {"bytes": None, "path": None}])
def test_a_picture_that_is_not_there_is_named(toys: list[Toy], tmp_path: Path, entry: object) -> None:
    folder = write_v21(tmp_path / "stills", toys[:1], kind="image")
    change_rows(folder, 0, lambda table: table["observation.images.front_cam"].__setitem__(4, entry))
    source = open_source(folder)
    with pytest.raises(InvalidDataset, match=r"front_cam', episode 0: pictures can't be decoded \(row 4 has none\)"):
        translated(source, source.episodes[0], mapped(source, CARD, GIVEN), CARD)
