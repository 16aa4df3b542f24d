"""Task-centric batches: of two tasks, half of the rows each, drawn anew for every batch, the same for a seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator

from rise_gym._batch_moments import TASKS_A_BATCH, BatchMoments
from rise_gym._dreamt_history import DreamtHistory
from rise_gym.dynamics import VideoDynamicsConfig
from rise_gym.recordings import Recordings
from rise_gym.tasks import BOX_CLOSE, TASKS
from rise_gym.types import Episode

NAMES = sorted(TASKS)


def recordings(tasks: list[str], length: int = 9) -> Recordings:
    """An episode each of these tasks."""
    frames = {camera: np.zeros((length, 2, 2, 3), np.uint8) for camera in BOX_CLOSE.cameras}
    rows = np.zeros((length, 14), np.float32)
    return Recordings.of(
        [
            Episode(
                task=task, instruction=task, frames=frames, proprio=rows, actions=rows, success=True, score=10.0,
                source="rollout", policy="test", seed=0,
            )
            for task in tasks
        ],
        BOX_CLOSE,
    )  # fmt: skip


def batches(flat: Recordings, *, task_centric: bool = True, share: float = 0.0, progress: str = "") -> BatchMoments:
    """`progress` names the task in whose last three rows it changes."""
    moments, changing = torch.arange(len(flat)), torch.zeros(len(flat))
    if progress:
        ours = torch.tensor([task == progress for task in flat.tasks])[flat.episode]
        changing[ours & (moments > flat.last - 3)] = 1.0
    return BatchMoments(flat, moments, changing, eventful_share=share, task_centric=task_centric)


several = st.lists(st.sampled_from(NAMES), min_size=2, max_size=7).filter(lambda names: len(set(names)) > 1)


@settings(deadline=None, max_examples=30)
@given(tasks=several, rows=st.integers(2, 17), share=st.sampled_from([0.0, 0.5, 1.0]), seed=st.integers(0, 999))
def test_a_batch_is_of_two_tasks_half_of_the_rows_each(tasks: list[str], rows: int, share: float, seed: int) -> None:
    flat = recordings(tasks)
    drawn, again = (batches(flat, share=share).draw(rows, Generator().manual_seed(seed)) for _ in range(2))
    assert all(torch.equal(one, two) for one, two in zip(drawn, again, strict=True))
    found = [Counter(flat.tasks[episode] for episode in flat.episode[part].tolist()) for part in drawn]
    assert len(found) == len({name for part in found for name in part}) == TASKS_A_BATCH
    counts = [count for part in found for count in part.values()]
    assert sum(counts) == rows
    assert max(counts) - min(counts) <= 1


def test_tasks_change_from_batch_to_batch_and_each_has_its_turn() -> None:
    flat = recordings(NAMES * 2)
    source = batches(flat)
    pairs = {
        frozenset(flat.tasks[int(flat.episode[part[0]])] for part in source.draw(4, Generator().manual_seed(seed)))
        for seed in range(30)
    }
    assert pairs == {frozenset(NAMES) - {name} for name in NAMES}


def test_of_one_task_a_batch_is_what_it_was() -> None:
    flat = recordings(["brick_sort"] * 3)
    (drawn,) = batches(flat, share=0.5).draw(10, Generator().manual_seed(3))
    (mixed,) = batches(flat, share=0.5, task_centric=False).draw(10, Generator().manual_seed(3))
    generator = Generator().manual_seed(3)
    plain = torch.cat([flat.draw(5, generator, among=torch.arange(len(flat))) for _ in range(2)])
    assert torch.equal(drawn, mixed)
    assert torch.equal(drawn, plain)


def test_without_task_centric_batches_all_tasks_are_in_one() -> None:
    flat = recordings(NAMES)
    (drawn,) = batches(flat, task_centric=False).draw(60, Generator().manual_seed(0))
    assert set(flat.episode[drawn].tolist()) == {0, 1, 2}


def test_eventful_moments_are_found_within_each_task() -> None:
    """Of one task only the end of its episodes is eventful; of the others nothing is, and all is drawn from."""
    flat = recordings(["box_close", "brick_sort", "box_close"], length=60)
    for seed in range(5):
        parts = batches(flat, share=1.0, progress="box_close").draw(20, Generator().manual_seed(seed))
        for part in parts:
            left = flat.last[part] - part
            if flat.tasks[int(flat.episode[part[0]])] == "box_close":
                assert bool((left <= 42).all())
            else:
                assert bool((left > 42).any())


def test_dreams_that_a_batch_goes_on_from_are_of_its_tasks() -> None:
    flat = recordings(NAMES)
    flat = flat.with_latents(torch.zeros(len(flat), 3, 1, 1, 1))
    dreamt = DreamtHistory(9, VideoDynamicsConfig(history=2, stride=1, chunk=2), flat)
    dreamt.keep(torch.arange(0, 27, 3), torch.zeros(9, 2, 3, 1, 1, 1), torch.ones(9, dtype=torch.bool))
    assert len(dreamt.draw(9, Generator())) == 6
    source = batches(flat)
    for seed in range(10):
        generator = Generator().manual_seed(seed)
        parts = source.draw(8, generator)
        drawn, replaced, kept = dreamt.mixed_in(parts, 0.5, generator)
        assert len(replaced) == len(kept) == 4
        assert torch.equal(flat.episode[drawn], flat.episode[torch.cat(parts)])
        assert torch.equal(drawn[replaced], dreamt.moment[kept])
