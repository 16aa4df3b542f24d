"""Windows of recordings: in temporal order, rightly spaced, and never across two episodes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rise_gym.errors import InvalidDataset
from rise_gym.recordings import Recordings, shared_moments
from rise_gym.tasks import BOX_CLOSE, BRICK_SORT
from rise_gym.types import Episode


def episode(length: int, **changes: object) -> Episode:
    fields: dict = {
        "task": "box_close",
        "instruction": "close the box",
        "frames": {camera: np.zeros((length, 2, 2, 3), np.uint8) for camera in BOX_CLOSE.cameras},
        "proprio": np.zeros((length, 14), np.float32),
        "actions": np.arange(length, dtype=np.float32)[:, None].repeat(14, 1),
        "success": True,
        "score": 10.0,
        "source": "demonstration",
        "policy": "test",
        "seed": 0,
    }
    return Episode(**{**fields, **changes})


def recordings(*lengths: int) -> Recordings:
    return Recordings.of([episode(length) for length in lengths], BOX_CLOSE)


lengths = st.lists(st.integers(2, 12), min_size=1, max_size=4)


def test_history_is_oldest_first_at_the_asked_spacing() -> None:
    three = recordings(20, 20, 20)
    assert three.history(torch.tensor([30, 59]), ticks=4, stride=2).tolist() == [[24, 26, 28, 30], [53, 55, 57, 59]]


def test_parts_joined_are_what_all_episodes_at_once_would_have_been() -> None:
    episodes = [episode(5), episode(3, source="rollout", success=False), episode(4, instruction="close it")]
    whole = Recordings.of(episodes, BOX_CLOSE)
    parts = [Recordings.of(episodes[:2], BOX_CLOSE), Recordings.of(episodes[2:], BOX_CLOSE)]
    joined = Recordings.joined(parts)
    for name, column in whole.__dict__.items():
        if isinstance(column, Tensor):
            torch.testing.assert_close(getattr(joined, name), column, equal_nan=True)
        else:
            assert getattr(joined, name) == column
    encoded = [part.with_latents(torch.zeros(len(part), 3, 1, 1, 1)).without_frames() for part in parts]
    assert Recordings.joined(encoded).frames.shape == (0, *whole.frames.shape[1:])
    assert len(Recordings.joined(encoded).latents) == len(whole)  # type: ignore[arg-type]


def test_some_episodes_alone_are_what_they_would_have_been_laid_out_alone() -> None:
    parts = [recordings(4), recordings(2, 7), recordings(3)]
    whole = Recordings.joined(parts)
    some, alone = whole.only([3, 0]), Recordings.joined([parts[2], parts[0]])
    for name, column in alone.__dict__.items():
        if isinstance(column, Tensor):
            torch.testing.assert_close(getattr(some, name), column, equal_nan=True)
        else:
            assert getattr(some, name) == column
    bare = whole.with_latents(torch.rand(16, 3, 1, 2, 2)).without_frames()
    assert bare.only([1]).latents.tolist() == bare.latents[4:6].tolist()  # type: ignore[union-attr,index]


def test_history_before_the_beginning_repeats_the_first_row() -> None:
    assert recordings(5, 5).history(torch.tensor([6]), ticks=4, stride=2).tolist() == [[5, 5, 5, 6]]


def test_future_after_the_end_repeats_the_last_row_and_says_so() -> None:
    index, happened = recordings(5, 5).future(torch.tensor([2]), ticks=4)
    assert index.tolist() == [[3, 4, 4, 4]]
    assert happened.tolist() == [[True, True, False, False]]


def test_a_chunk_begins_with_the_moments_own_action_and_has_none_in_the_terminal_row() -> None:
    index, happened = recordings(5, 5).chunk(torch.tensor([2, 4]), ticks=3)
    assert index.tolist() == [[2, 3, 4], [4, 4, 4]]
    assert happened.tolist() == [[True, True, False], [False, False, False]]


@settings(deadline=None, max_examples=30)
@given(lengths=lengths, ticks=st.integers(1, 9), stride=st.integers(1, 3), seed=st.integers(0, 99))
def test_no_window_joins_two_episodes(lengths: list[int], ticks: int, stride: int, seed: int) -> None:
    flat = recordings(*lengths)
    moments = flat.draw(16, torch.Generator().manual_seed(seed))
    windows: list[Tensor] = [
        flat.history(moments, ticks, stride),
        flat.future(moments, ticks)[0],
        flat.chunk(moments, ticks)[0],
    ]
    for window in windows:
        assert bool((flat.episode[window] == flat.episode[moments][:, None]).all())
        assert bool((window.diff(dim=1) >= 0).all())


@settings(deadline=None, max_examples=20)
@given(lengths=lengths, seed=st.integers(0, 99))
def test_what_happened_is_what_lies_between_moment_and_end(lengths: list[int], seed: int) -> None:
    flat = recordings(*lengths)
    moments = flat.draw(8, torch.Generator().manual_seed(seed))
    left = flat.last[moments] - moments
    assert torch.equal(flat.future(moments, 12)[1].sum(1), left)
    assert torch.equal(flat.chunk(moments, 12)[1].sum(1), left)


def test_draw_is_reproducible_and_stays_among_the_given() -> None:
    flat, among = recordings(30), torch.tensor([3, 7, 21])
    drawn = [flat.draw(50, torch.Generator().manual_seed(4), among=among) for _ in range(2)]
    assert torch.equal(drawn[0], drawn[1])
    assert set(drawn[0].tolist()) == {3, 7, 21}


def test_what_was_not_measured_is_nan_and_intentions_default_to_what_was_executed() -> None:
    flat = Recordings.of([episode(3), episode(4, progress=np.linspace(0, 1, 4, dtype=np.float32))], BOX_CLOSE)
    assert flat.progress.isnan().tolist() == [True] * 3 + [False] * 4
    assert torch.equal(flat.clean_actions, flat.actions)


def test_encoded_keeps_row_order_over_batches() -> None:
    class Counter:
        def encode(self, frames: Tensor) -> Tensor:
            return frames[..., :1, :1, :1].float().movedim(-1, -3)

        def decode(self, latents: Tensor) -> Tensor:
            raise NotImplementedError

    numbered = {c: np.arange(7, dtype=np.uint8)[:, None, None, None].repeat(3, 3) for c in BOX_CLOSE.cameras}
    flat = Recordings.of([episode(7, frames=numbered)], BOX_CLOSE).encoded(Counter(), batch_size=3)
    assert flat.latents is not None
    assert flat.latents.dtype == torch.float16
    assert flat.latents[:, 0].flatten().tolist() == list(range(7))


def test_each_moment_knows_its_instruction() -> None:
    flat = Recordings.of([episode(2, instruction="fold"), episode(2, instruction="close")], BOX_CLOSE)
    assert flat.instruction_of(torch.tensor([3, 0])) == ("close", "fold")


@pytest.mark.parametrize("column", ["proprio", "actions", "progress", "first", "last", "episode"])
def test_every_column_has_every_row(column: str) -> None:
    assert len(getattr(recordings(3, 5, 2), column)) == 10


def test_recordings_of_several_tasks_know_each_episodes_task() -> None:
    bricks = Recordings.of([episode(3, task="brick_sort")], BRICK_SORT)
    joined = Recordings.joined([recordings(4, 2), bricks])
    assert joined.tasks == ("box_close", "box_close", "brick_sort")
    assert joined.task == BOX_CLOSE
    assert joined.only([2, 0]).tasks == ("brick_sort", "box_close")
    at_once = Recordings.of([episode(4), episode(2), episode(3, task="brick_sort")], BOX_CLOSE)
    assert at_once.tasks == joined.tasks


def test_tasks_that_another_robot_does_are_not_joined() -> None:
    card = replace(BRICK_SORT, name="fast_sort", control_hz=30.0)
    fast = Recordings.of([episode(3, task="fast_sort")], card)
    with pytest.raises(InvalidDataset, match=r"'box_close' were wanted, control_hz 10.0.*'fast_sort' have 30.0"):
        Recordings.joined([recordings(4), fast])
    with pytest.raises(InvalidDataset, match="control_hz"):
        Recordings.of([episode(4)], card)


@given(lengths=st.lists(st.integers(2, 12), min_size=2, max_size=5), share=st.floats(0.05, 0.95))
@settings(deadline=None, max_examples=30)
def test_chosen_episodes_have_their_share_and_no_moment_is_left_out(lengths: list[int], share: float) -> None:
    flat = recordings(*lengths)
    newest = torch.arange(len(lengths)) == len(lengths) - 1
    moments = shared_moments(flat, torch.arange(len(flat)), newest, share)
    assert sorted(set(moments.tolist())) == list(range(len(flat)))
    assert float(newest[flat.episode[moments]].float().mean()) == pytest.approx(share, abs=0.5 / min(lengths))
    times = moments.bincount()
    for side in (newest, ~newest):  # each moment of a side as often as any other, or once more
        own = times[side[flat.episode]]
        assert int(own.max() - own.min()) <= 1


def test_a_share_of_what_is_not_there_changes_nothing_and_all_is_no_share() -> None:
    flat = recordings(3, 4)
    assert shared_moments(flat, torch.tensor([0, 1]), torch.tensor([False, True]), 0.5).tolist() == [0, 1]
    with pytest.raises(ValueError, match="between 0 and 1"):
        shared_moments(flat, torch.tensor([0, 1]), torch.tensor([False, True]), 1.0)


def test_no_episodes_are_no_recordings() -> None:
    with pytest.raises(InvalidDataset, match="there are none; record or import some"):
        Recordings.of([], BOX_CLOSE)
