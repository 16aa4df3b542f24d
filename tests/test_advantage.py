"""Advantages of chunks, their bins, and the labels of recordings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rise_gym.advantage import (
    AdvantageConfig,
    advantage_bin,
    chunk_advantage,
    judged_episodes,
    label_recordings,
    rank_among,
    smoothed,
    values_of,
)
from rise_gym.recordings import Recordings
from rise_gym.tasks import BOX_CLOSE
from rise_gym.types import Episode, Source


class Mean:
    """A value that is the mean of the latents."""

    def progress(self, latents: Tensor, instruction: Sequence[str]) -> Tensor:
        assert len(instruction) == len(latents)
        return latents.mean((1, 2, 3, 4))


def recordings(*episodes: tuple[Source, Sequence[float]]) -> Recordings:
    """Episodes whose value at every tick is given."""

    def episode(source: Source, length: int) -> Episode:
        return Episode(
            task="box_close", instruction="close", source=source, success=True, score=10.0, policy="test", seed=0,
            frames={camera: np.zeros((length, 2, 2, 3), np.uint8) for camera in BOX_CLOSE.cameras},
            proprio=np.zeros((length, 14), np.float32), actions=np.zeros((length, 14), np.float32),
        )  # fmt: skip

    flat = Recordings.of([episode(source, len(values)) for source, values in episodes], BOX_CLOSE)
    values = torch.tensor([value for _, values in episodes for value in values])
    latents = values.half().view(-1, 1, 1, 1, 1).expand(-1, 3, 1, 1, 1)
    return Recordings(**{**flat.__dict__, "latents": latents})


def failed(flat: Recordings, *episodes: int) -> Recordings:
    """The same with some episodes failed."""
    success = flat.success.clone()
    success[list(episodes)] = False
    return Recordings(**{**flat.__dict__, "success": success})


PLAIN = AdvantageConfig(scale=1.0, smoothing_ticks=1)


def test_equation_2() -> None:
    values = torch.tensor([[0.2, 0.4], [0.1, 0.1], [1.0, 1.0]])
    advantage = chunk_advantage(torch.tensor([0.2, 0.2, 0.0]), values, scale=2.0)
    torch.testing.assert_close(advantage, torch.tensor([0.2, -0.2, 1.0]))  # the last is clamped


@settings(deadline=None, max_examples=50)
@given(now=st.floats(-1, 1), values=st.lists(st.floats(-1, 1), min_size=1, max_size=8), scale=st.floats(0.1, 50))
def test_advantages_stay_in_range_and_keep_their_sign(now: float, values: list[float], scale: float) -> None:
    advantage = float(chunk_advantage(torch.tensor([now]), torch.tensor([values]), scale)[0])
    assert -1 <= advantage <= 1
    if abs(np.mean(values) - now) > 1e-3:
        assert np.sign(advantage) == np.sign(np.mean(values) - now)


def test_bins_are_closed_on_the_left() -> None:
    edges = torch.tensor([-1.0, -0.8, -0.21, 0.0, 0.19, 0.99, 1.0, 7.0, -7.0])
    assert advantage_bin(edges).tolist() == [0, 1, 3, 5, 5, 9, 9, 9, 0]


@settings(deadline=None, max_examples=50)
@given(advantages=st.lists(st.floats(-2, 2), min_size=2, max_size=9), bins=st.integers(2, 20))
def test_better_is_never_in_a_lower_bin(advantages: list[float], bins: int) -> None:
    found = advantage_bin(torch.tensor(sorted(advantages)), bins)
    assert bool((found.diff() >= 0).all())
    assert 0 <= int(found.min()) <= int(found.max()) < bins


@pytest.mark.parametrize("bins", [2, 5, 10])
def test_every_bin_is_equally_wide(bins: int) -> None:
    counts = torch.bincount(advantage_bin(torch.linspace(-1, 1, 20_001), bins), minlength=bins)
    assert int(counts.max() - counts.min()) <= 2


def test_a_rollout_is_judged_by_the_frames_that_follow() -> None:
    flat = recordings(("rollout", [0.0, 0.25, 0.5, 0.75]))
    # mean of the next two minus now; at the end fewer, and then none at all
    torch.testing.assert_close(label_recordings(flat, Mean(), 2, PLAIN), torch.tensor([0.375, 0.375, 0.25, 0.0]))


def test_demonstrations_and_corrections_are_top_and_never_judged() -> None:
    flat = recordings(("demonstration", [0.5, 0.0]), ("rollout", [0.5, 0.0]), ("correction", [0.5, 0.0]))
    assert label_recordings(flat, Mean(), 1, PLAIN).tolist() == [1, 1, -0.5, 0, 1, 1]


def test_labels_never_look_into_the_next_episode() -> None:
    apart = label_recordings(recordings(("rollout", [0.0, 0.1, 0.2])), Mean(), 5)
    beside = label_recordings(recordings(("rollout", [0.0, 0.1, 0.2]), ("rollout", [1.0, 1.0])), Mean(), 5)
    torch.testing.assert_close(beside[:3], apart)


def test_values_are_smoothed_within_an_episode_only() -> None:
    flat = recordings(("rollout", [0.0, 1.0, 0.0, 0.0]), ("rollout", [1.0, 1.0]))
    found = smoothed(flat, values_of(flat, Mean()), 3)
    torch.testing.assert_close(found, torch.tensor([1 / 2, 1 / 3, 1 / 3, 0.0, 1.0, 1.0]))


def test_offline_and_imagined_labels_are_the_same_function() -> None:
    values = [0.1, 0.2, 0.15, 0.3, 0.25]
    flat = recordings(("rollout", values))
    label = label_recordings(flat, Mean(), 4, AdvantageConfig(smoothing_ticks=1))[0]
    imagined = chunk_advantage(torch.tensor([values[0]]), torch.tensor([values[1:]]))[0]
    torch.testing.assert_close(label, imagined, atol=2e-3, rtol=0)  # latents are stored as float16


def test_ranks_spread_labels_over_all_bins() -> None:
    rng = np.random.default_rng(0)
    flat = recordings(("rollout", rng.normal(0, 1e-2, 200).tolist()), ("demonstration", [0.0, 0.0]))
    plain = label_recordings(flat, Mean(), 5, AdvantageConfig(smoothing_ticks=1))
    ranked = label_recordings(flat, Mean(), 5, AdvantageConfig(smoothing_ticks=1, spread="quantile"))
    assert len(advantage_bin(plain[:200]).unique()) < 6
    assert torch.bincount(advantage_bin(ranked[:200]), minlength=10).min() >= 18
    assert ranked[200:].tolist() == [1.0, 1.0]
    torch.testing.assert_close(rank_among(torch.tensor([-9.0, 9.0]), plain), torch.tensor([-1.0, 1.0]))


def test_recordings_without_latents_are_refused() -> None:
    flat = recordings(("rollout", [0.0, 0.1]))
    with pytest.raises(ValueError, match="encoded"):
        label_recordings(Recordings(**{**flat.__dict__, "latents": None}), Mean(), 2)


def test_impossible_constants_are_refused() -> None:
    with pytest.raises(ValueError, match="scale"):
        AdvantageConfig(scale=0.0)


def test_what_was_shown_and_failed_is_judged_like_a_rollout() -> None:
    flat = failed(
        recordings(("demonstration", [0.0, 0.0]), ("demonstration", [0.0, 0.5, 0.0]), ("correction", [0.0])), 1, 2
    )
    assert judged_episodes(flat).tolist() == [False, True, True]
    labels = label_recordings(flat, Mean(), 1, PLAIN)
    assert labels[:2].tolist() == [1.0, 1.0]
    assert labels[2:5].tolist() == [0.5, -0.5, 0.0]
    assert labels[5] == 0.0
