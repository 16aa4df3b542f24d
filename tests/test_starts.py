"""Start windows: cut from episodes, kept exactly, refused when damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rise_gym.errors import InvalidDataset, SaveFailed
from rise_gym.starts import Starts, load_starts, save_starts
from rise_gym.tasks import BOX_CLOSE
from rise_gym.types import Episode


def episode(length: int, seed: int) -> Episode:
    """Every pixel of a frame is the number of its tick, so windows can be read off."""
    ticks = np.arange(length)
    frame = np.broadcast_to(ticks[:, None, None, None].astype(np.uint8), (length, 64, 64, 3))
    return Episode(
        task="box_close",
        instruction=f"episode {seed}",
        frames=dict.fromkeys(BOX_CLOSE.cameras, frame),
        proprio=np.tile(ticks[:, None], (1, 14)).astype(np.float32),
        actions=np.zeros((length, 14), np.float32),
        success=True,
        score=10.0,
        source="demonstration",
        policy="scripted",
        seed=seed,
        physics_state=ticks[:, None].astype(np.float64),
    )


@given(length=st.integers(3, 30), window=st.integers(1, 9), mid=st.integers(0, 4), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_windows_end_at_their_tick_and_never_leave_the_episode(length: int, window: int, mid: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    episodes = [episode(length, seed), episode(length + 1, seed + 1)]
    starts = Starts.from_episodes(episodes, BOX_CLOSE, window=window, mid_episode=mid, generator=generator)
    assert len(starts) == 2 * (1 + mid)
    for n, tick in enumerate(starts.tick):
        wanted = np.maximum(np.arange(tick - window + 1, tick + 1), 0)
        np.testing.assert_array_equal(starts.frames[n, :, 0, 0, 0, 0], wanted)
        assert starts.proprio[n, 0] == tick == starts.physics_state[n, 0]
        assert starts.instruction[n] == f"episode {starts.seeds[n]}"
    assert set(starts.seeds[starts.initial]) == {seed, seed + 1}


def test_later_moments_can_be_those_before_something_happens() -> None:
    still, moving = episode(30, 1), episode(30, 2)
    moving = replace(moving, progress=np.repeat(np.float32([0.0, 0.5]), 15))
    still = replace(still, progress=np.zeros(30, np.float32))
    starts = Starts.from_episodes(
        [still, moving], BOX_CLOSE, window=2, mid_episode=20, generator=np.random.default_rng(0), eventful_ticks=3
    )
    assert set(starts.tick[starts.seeds == 2]) == {0, 12, 13, 14}
    assert len(set(starts.tick[starts.seeds == 1])) > 10  # nothing ever happens there: anywhere


@pytest.fixture
def starts() -> Starts:
    rng = np.random.default_rng(0)
    return Starts(
        task="box_close",
        frames=rng.integers(0, 256, (3, 4, 3, 64, 64, 3), dtype=np.uint8),
        proprio=rng.normal(size=(3, 14)).astype(np.float32),
        instruction=("close it", "close it", "leave it"),
        seeds=np.array([5, 6, 7]),
        tick=np.array([0, 9, 0]),
        physics_state=rng.normal(size=(3, 5)),
    )


def test_what_is_saved_is_what_is_loaded(starts: Starts, tmp_path: Path) -> None:
    save_starts(starts, tmp_path / "starts.npz")
    loaded = load_starts(tmp_path / "starts.npz", task="box_close")
    for name, value in vars(starts).items():
        np.testing.assert_array_equal(getattr(loaded, name), value)
    assert loaded.frames.dtype == np.uint8
    assert loaded.instruction == starts.instruction


def test_a_missing_damaged_or_foreign_file_is_refused(starts: Starts, tmp_path: Path) -> None:
    path = tmp_path / "starts.npz"
    with pytest.raises(InvalidDataset, match="can't be read"):
        load_starts(path)
    save_starts(starts, path)
    with pytest.raises(InvalidDataset, match=r"'brick_sort' were wanted.*'box_close'"):
        load_starts(path, task="brick_sort")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InvalidDataset, match="can't be read"):
        load_starts(path)
    np.savez(path, task=np.array({"pickled": "object"}, dtype=object), allow_pickle=True)
    with pytest.raises(InvalidDataset, match="can't be read"):
        load_starts(path)


def test_a_failed_save_keeps_the_earlier_file(starts: Starts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "starts.npz"
    save_starts(starts, path)
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(SaveFailed, match="No space left"):
        save_starts(starts.rows([0]), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["starts.npz"]
