"""Episodes go to disk and come back, nothing written is lost, and a dataset that does not fit is refused."""

from __future__ import annotations

import json
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rise_gym._video import encode_clips
from rise_gym.episodes import EpisodeWriter, dataset_summary, read_episodes, stored_task, write_episodes
from rise_gym.errors import InvalidDataset, SaveFailed
from rise_gym.tasks import BOX_CLOSE, TaskCard
from rise_gym.types import Episode

TASK = BOX_CLOSE


def make_episode(
    seed: int, rows: int = 8, *, task: TaskCard = TASK, rollout: bool = False, physics: int = 5
) -> Episode:
    """Coloured, sharp-edged shapes that move, in every camera another."""
    random = np.random.default_rng(seed)
    height, width = task.image_size
    frames = {}
    for camera in task.cameras:
        y, x = np.mgrid[:height, :width]
        video = np.repeat(np.stack([2 * x + 60, y + 70, x + y + 50], -1)[None], rows, axis=0)
        for n in range(rows):
            top = (n + 5 * random.integers(8)) % (height - 12)
            video[n, top : top + 12, 20:32] = random.integers(0, 255, 3)
        frames[camera] = video.clip(0, 255).astype(np.uint8)
    width = len(task.action_names)
    actions = random.uniform(-1, 1, (rows, width)).astype(np.float32)
    return Episode(
        task=task.name,
        instruction=task.instruction,
        frames=frames,
        proprio=random.normal(size=(rows, width)).astype(np.float32),
        actions=actions,
        clean_actions=None if rollout else np.clip(actions + 0.01, -1, 1),
        progress=np.linspace(0, 1, rows, dtype=np.float32),
        physics_state=random.normal(size=(rows, physics)) if physics else None,
        success=bool(seed % 2),
        score=2.5 * (seed % 4),
        source="rollout" if rollout else "demonstration",
        policy="base" if rollout else "scripted",
        seed=seed,
    )


def psnr(seen: np.ndarray, true: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((seen.astype(float) - true) ** 2)))


def assert_same(found: Episode, wanted: Episode) -> None:
    for name in ("task", "instruction", "success", "score", "source", "policy", "seed"):
        assert getattr(found, name) == getattr(wanted, name), name
    for name in ("proprio", "actions", "clean_actions", "progress", "physics_state"):
        here, there = getattr(found, name), getattr(wanted, name)
        assert (here is None) == (there is None), name
        if here is not None:
            assert here.dtype == there.dtype, name
            np.testing.assert_allclose(here, there, atol=1e-6, err_msg=name)
    for camera, frames in wanted.frames.items():
        assert psnr(found.frames[camera], frames) >= 38


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "set"
    with EpisodeWriter(folder, TASK, episodes_per_file=2) as writer:
        for seed, rows in enumerate((8, 5, 1, 12, 3)):
            writer.append(make_episode(seed, rows, rollout=seed > 2))
    return folder


def copied(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "copy"))


def test_what_is_written_comes_back(written: Path) -> None:
    episodes = read_episodes(written)
    assert [len(episode) for episode in episodes] == [8, 5, 1, 12, 3]
    for seed, (rows, episode) in enumerate(zip((8, 5, 1, 12, 3), episodes, strict=True)):
        assert_same(episode, make_episode(seed, rows, rollout=seed > 2))


@given(rows=st.lists(st.integers(1, 6), min_size=1, max_size=4), per_file=st.integers(1, 3), measured=st.booleans())
@settings(deadline=None, max_examples=8)
def test_any_lengths_and_file_sizes(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int], per_file: int, measured: bool
) -> None:
    folder = tmp_path_factory.mktemp("any")
    wanted = [make_episode(seed, n, rollout=not measured, physics=3 * measured) for seed, n in enumerate(rows)]
    wanted = [episode if measured else replace(episode, progress=None) for episode in wanted]
    with EpisodeWriter(folder, TASK, episodes_per_file=per_file) as writer:
        for episode in wanted:
            writer.append(episode)
    for found, episode in zip(read_episodes(folder), wanted, strict=True):
        assert_same(found, episode)


def test_episodes_are_chosen_without_decoding_the_others(written: Path, tmp_path: Path) -> None:
    folder = copied(written, tmp_path)
    (folder / "videos/observation.images.head/chunk-000/file-000.mp4").unlink()
    assert [e.seed for e in read_episodes(folder, where=lambda row: row["source"] == "rollout")] == [3, 4]
    assert [e.seed for e in read_episodes(folder, where=lambda row: row["seed"] >= 2, limit=1)] == [2]


def test_all_but_the_frames_is_read_without_the_videos(written: Path, tmp_path: Path) -> None:
    folder = copied(written, tmp_path)
    shutil.rmtree(folder / "videos")
    for found, whole in zip(read_episodes(folder, with_frames=False), read_episodes(written), strict=True):
        assert {camera: frames.shape for camera, frames in found.frames.items()} == {
            camera: (0, *frames.shape[1:]) for camera, frames in whole.frames.items()
        }
        for column in ("proprio", "actions", "progress", "physics_state"):
            np.testing.assert_array_equal(getattr(found, column), getattr(whole, column))


def test_the_description_is_lerobots(written: Path) -> None:
    info = json.loads((written / "meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["splits"]) == ("v3.0", 10, {"train": "0:5"})
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (5, 29, 1)
    data = pq.read_table(written / info["data_path"].format(chunk_index=0, file_index=0))
    stored = {name for name, feature in info["features"].items() if feature["dtype"] != "video"}
    assert set(data.column_names) == stored
    assert data["index"].to_pylist() == list(range(13))
    assert data["frame_index"].to_pylist() == [*range(8), *range(5)]
    assert data["next.done"].to_pylist() == [n in (7, 12) for n in range(13)]
    low, high = np.array(TASK.action_low), np.array(TASK.action_high)
    actions = np.array(data["action"].to_pylist())
    assert ((actions >= low - 1e-6) & (actions <= high + 1e-6)).all()  # rad and m, not scaled
    assert pq.read_table(written / "meta/tasks.parquet").to_pydict() == {"task_index": [0], "task": [TASK.instruction]}


def test_offsets_lead_to_each_episode(written: Path) -> None:
    rows = [r for path in sorted(written.glob("meta/episodes/*/*.parquet")) for r in pq.read_table(path).to_pylist()]
    assert [(r["dataset_from_index"], r["dataset_to_index"]) for r in rows] == [
        (0, 8),
        (8, 13),
        (13, 14),
        (14, 26),
        (26, 29),
    ]
    key = "videos/observation.images.left_wrist"
    assert [r[f"{key}/file_index"] for r in rows] == [0, 0, 1, 1, 2]
    spans = [(r[f"{key}/from_timestamp"], r[f"{key}/to_timestamp"]) for r in rows]
    np.testing.assert_allclose(spans, [(0, 0.8), (0.8, 1.3), (0, 0.1), (0.1, 1.3), (0, 0.3)])


def test_statistics_are_those_of_all_rows(written: Path) -> None:
    stats = json.loads((written / "meta/stats.json").read_text())
    proprio = np.concatenate([episode.proprio for episode in read_episodes(written)])
    for measure in ("min", "max", "mean", "std"):
        np.testing.assert_allclose(
            stats["observation.state"][measure], getattr(proprio, measure)(0), rtol=1e-4, atol=1e-5
        )
    assert stats["observation.state"]["count"] == [29]
    assert stats["action.clean"]["count"] == [14]  # rollouts have no intention to count
    assert np.shape(stats["observation.images.head"]["mean"]) == (3, 1, 1)


def test_a_summary_reads_no_frames(written: Path) -> None:
    summary = dataset_summary(written)
    assert (summary.task, summary.episodes, summary.frames, summary.successes) == ("box_close", 5, 29, 2)
    assert summary.sources == {"demonstration": 3, "rollout": 2}
    assert summary.policies == {"scripted": 3, "base": 2}
    assert summary.seeds == (0, 1, 2, 3, 4)
    assert stored_task(written) == TASK


def test_writing_goes_on_after_an_interruption(tmp_path: Path) -> None:
    def interrupted() -> None:
        with EpisodeWriter(tmp_path, TASK, episodes_per_file=2) as writer:
            for seed in range(3):
                writer.append(make_episode(seed))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    writer = EpisodeWriter(tmp_path, TASK, episodes_per_file=2)
    assert writer.seeds() == writer.seeds("scripted") == {0, 1, 2}
    for seed in (3, 4, 5):
        writer.append(make_episode(seed))
    del writer  # killed: the sixth episode never reached the disk
    write_episodes(tmp_path, [make_episode(9)], TASK)
    found = read_episodes(tmp_path)
    assert [episode.seed for episode in found] == [0, 1, 2, 3, 4, 9]
    assert_same(found[3], make_episode(3))


def test_an_episode_decodes_the_same_whatever_file_it_is_in(tmp_path: Path) -> None:
    episodes = [make_episode(seed) for seed in range(3)]
    for name, per_file in (("one", 1), ("many", 3)):
        with EpisodeWriter(tmp_path / name, TASK, episodes_per_file=per_file) as writer:
            for episode in episodes:
                writer.append(episode)
    for apart, together in zip(read_episodes(tmp_path / "one"), read_episodes(tmp_path / "many"), strict=True):
        np.testing.assert_array_equal(apart.views(TASK.cameras), together.views(TASK.cameras))


def test_a_full_disk_loses_nothing_saved(tmp_path: Path) -> None:
    write_episodes(tmp_path, [make_episode(0)], TASK)
    writer = EpisodeWriter(tmp_path, TASK)
    writer.append(make_episode(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(SaveFailed, match="saved before is untouched"):
            writer.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [episode.seed for episode in read_episodes(tmp_path)] == [0]
    writer.close()  # some space was freed: what waited is written now
    assert [episode.seed for episode in read_episodes(tmp_path)] == [0, 1]
    assert not list(tmp_path.rglob("*.partial"))


def test_an_episode_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    writer, episode = EpisodeWriter(tmp_path, TASK), make_episode(0)
    without = {camera: frames for camera, frames in episode.frames.items() if camera != "head"}
    with pytest.raises(InvalidDataset, match="lacks camera 'head'; it has left_wrist, right_wrist"):
        writer.append(replace(episode, frames=without))
    short = {**episode.frames, "head": episode.frames["head"][:-1]}
    with pytest.raises(InvalidDataset, match=r"camera 'head': uint8 frames of shape \(8, 64, 64, 3\) were wanted"):
        writer.append(replace(episode, frames=short))
    with pytest.raises(InvalidDataset, match=r"actions must be finite and in \[-1, 1\]"):
        writer.append(replace(episode, actions=30 * episode.actions))
    with pytest.raises(InvalidDataset, match="is of task 'other'"):
        writer.append(replace(episode, task="other"))
    assert len(writer) == 0
    write_episodes(tmp_path, [episode], TASK)
    with pytest.raises(InvalidDataset, match="with and without physics states"):
        write_episodes(tmp_path, [make_episode(1, physics=0)], TASK)


def test_another_task_is_refused(written: Path) -> None:
    other = replace(TASK, name="brick_sort")
    with pytest.raises(InvalidDataset, match="'brick_sort' was wanted"):
        read_episodes(written, task=other)
    with pytest.raises(InvalidDataset, match="use another folder"):
        EpisodeWriter(written, other)


def test_another_layout_is_refused_with_a_way_out(written: Path, tmp_path: Path) -> None:
    folder = copied(written, tmp_path)
    info = json.loads((folder / "meta/info.json").read_text())
    (folder / "meta/info.json").write_text(json.dumps({**info, "codebase_version": "v2.1"}))
    with pytest.raises(InvalidDataset, match=r"version v2\.1; v3\.0 was wanted: .* `rise-gym import`"):
        read_episodes(folder)


def test_missing_cameras_are_named(written: Path, tmp_path: Path) -> None:
    folder = copied(written, tmp_path)
    info = json.loads((folder / "meta/info.json").read_text())
    del info["features"]["observation.images.head"]
    (folder / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(InvalidDataset, match="lacks cameras head"):
        read_episodes(folder)


def test_somebody_elses_dataset_is_to_be_imported(written: Path, tmp_path: Path) -> None:
    folder = copied(written, tmp_path)
    (folder / "meta/rise_gym_task.json").unlink()
    for changed in ({"fps": 30}, {"features": {}}):
        info = json.loads((written / "meta/info.json").read_text())
        (folder / "meta/info.json").write_text(json.dumps(info | changed))
        with pytest.raises(InvalidDataset, match="`rise-gym import` makes one of ours of it"):
            read_episodes(folder, task=TASK)


def test_missing_frames_are_counted(written: Path, tmp_path: Path) -> None:
    folder = copied(written, tmp_path)
    path = folder / "videos/observation.images.right_wrist/chunk-000/file-000.mp4"
    path.write_bytes(encode_clips([make_episode(0).frames["head"], make_episode(1, 3).frames["head"]], 10))
    with pytest.raises(InvalidDataset, match=r"'right_wrist', episode 1: 5 frames of .* were wanted, .* has 3"):
        read_episodes(folder)


@pytest.mark.parametrize(
    "name",
    [
        "videos/observation.images.head/chunk-000/file-001.mp4",
        "data/chunk-000/file-001.parquet",
        "meta/episodes/chunk-000/file-001.parquet",
        "meta/info.json",
        "meta/rise_gym_task.json",
    ],
)
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damage_is_refused(written: Path, tmp_path: Path, name: str, damage: str) -> None:
    path = copied(written, tmp_path) / name
    whole = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidDataset, match=r"head|file-001|meta"):
        read_episodes(tmp_path / "copy")


def test_degrees_are_refused(written: Path, tmp_path: Path) -> None:
    path = copied(written, tmp_path) / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    degrees = pa.array(np.rad2deg(table["action"].to_pylist()).tolist(), pa.list_(pa.float32()))
    pq.write_table(table.set_column(table.column_names.index("action"), "action", degrees), path)
    with pytest.raises(InvalidDataset, match="degrees"):
        read_episodes(tmp_path / "copy")


def test_two_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    one, two = (EpisodeWriter(tmp_path, TASK, episodes_per_file=2) for _ in range(2))
    for seed in range(3):
        one.append(make_episode(seed))
        two.append(replace(make_episode(10 + seed), policy="other"))
    one.close()
    two.close()
    assert sorted(episode.seed for episode in read_episodes(tmp_path)) == [0, 1, 2, 10, 11, 12]
    rows = [
        row for path in sorted(tmp_path.glob("meta/episodes/*/*.parquet")) for row in pq.read_table(path).to_pylist()
    ]
    assert [row["episode_index"] for row in rows] == [0, 1, 2, 3, 4, 5]
    assert [row["dataset_from_index"] for row in rows[1:]] == [row["dataset_to_index"] for row in rows[:-1]]
    assert json.loads((tmp_path / "meta/info.json").read_text())["total_episodes"] == 6


def test_what_a_killed_writer_left_unsaid_is_said_when_the_next_one_closes(tmp_path: Path) -> None:
    told = [tmp_path / name for name in ("meta/info.json", "meta/stats.json", "meta/tasks.parquet")]
    write_episodes(tmp_path, [make_episode(0)], TASK)
    before = [path.read_bytes() for path in told]
    write_episodes(tmp_path, [replace(make_episode(1), instruction="Again.")], TASK)
    after = [path.read_bytes() for path in told]
    for path, content in zip(told, before, strict=True):
        path.write_bytes(content)
    with EpisodeWriter(tmp_path, TASK):
        pass
    assert [path.read_bytes() for path in (told[0], told[2])] == [after[0], after[2]]
    found, wanted = json.loads(told[1].read_bytes()), json.loads(after[1])
    np.testing.assert_allclose(found["action"]["std"], wanted["action"]["std"])
    assert found["action"]["count"] == wanted["action"]["count"]


def test_episodes_without_their_description_are_not_numbered_anew(tmp_path: Path) -> None:
    write_episodes(tmp_path, [make_episode(0)], TASK)
    (tmp_path / "meta/info.json").unlink()
    with pytest.raises(InvalidDataset, match=r"holds episodes but no meta/info.json, .* get that file back"):
        EpisodeWriter(tmp_path, TASK)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".hidden").touch()
    EpisodeWriter(tmp_path, TASK)
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InvalidDataset, match=r"no dataset and not empty, it holds thesis.tex: use a folder of its own"):
        EpisodeWriter(tmp_path, TASK)


def test_ctrl_c_leaves_no_partial_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_episodes(tmp_path, [make_episode(0)], TASK)
    assert not list(tmp_path.rglob("*.partial"))
    write_episodes(tmp_path, [make_episode(0)], TASK)
    assert len(read_episodes(tmp_path)) == 1
