"""Reward is progress gained."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rise_gym.reward import progress_gain

progresses = arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(2, 12)), elements=st.floats(-1, 1))


@settings(deadline=None, max_examples=50)
@given(progress=progresses)
def test_return_is_last_progress_minus_first(progress: np.ndarray) -> None:
    gains = progress_gain(progress[:, :-1], progress[:, 1:])
    np.testing.assert_allclose(gains.sum(1), progress[:, -1] - progress[:, 0], atol=1e-12)


@settings(deadline=None, max_examples=30)
@given(progress=progresses)
def test_undoing_what_was_gained_earns_nothing(progress: np.ndarray) -> None:
    there_and_back = np.concatenate([progress, progress[:, ::-1]], axis=1)
    gains = progress_gain(there_and_back[:, :-1], there_and_back[:, 1:])
    np.testing.assert_allclose(gains.sum(1), 0, atol=1e-12)


def test_tensors_and_numbers_alike() -> None:
    assert progress_gain(0.25, 0.75) == 0.5
    assert torch.equal(progress_gain(torch.tensor([0.0, 0.5]), torch.tensor([0.5, 0.0])), torch.tensor([0.5, -0.5]))
