"""Dreams of recorded actions drift by what a world does otherwise than it was recorded, and by nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from rise_gym.drift import drift_figures, drift_moments, drift_rows, joined
from rise_gym.recordings import Recordings
from rise_gym.reliability import progress_figures
from rise_gym.tasks import BOX_CLOSE
from rise_gym.types import Episode
from rise_gym.world_model import CompositionalWorldModel

World = Callable[..., CompositionalWorldModel]


def episode(ticks: int, *, success: bool, faster: int = 1) -> Episode:
    """Every tick is `faster` brighter than the last; a dream gets one brighter."""
    brightness = (faster * np.arange(ticks, dtype=np.uint8))[:, None, None, None]
    views = np.broadcast_to(brightness, (ticks, 64, 64, 3)).copy()
    return Episode(
        task="box_close",
        instruction=BOX_CLOSE.instruction,
        frames=dict.fromkeys(BOX_CLOSE.cameras, views),
        proprio=np.full((ticks, 14), 0.01, np.float32),
        actions=np.zeros((ticks, 14), np.float32),
        success=success,
        score=10.0,
        source="rollout",
        policy="test",
        seed=0,
        progress=faster * np.arange(ticks, dtype=np.float32) / 100,
    )


def recordings(*faster: int, ticks: int = 36) -> Recordings:
    return Recordings.of([episode(ticks, success=pace == 1, faster=pace) for pace in faster], BOX_CLOSE)


def test_a_world_that_is_right_does_not_drift(counting_world: World) -> None:
    one = recordings(1)
    rows = drift_rows(counting_world(), one, drift_moments(one, every_ticks=10), chunks=3)
    assert rows.picture_error.shape == (3, 3)  # from ticks 0, 10 and 20 on
    there = np.isfinite(rows.picture_error)
    assert there.tolist() == [[True] * 3, [True, True, False], [True, False, False]]  # 35 is the last tick
    for column in (rows.picture_error, rows.joint_error_rad, rows.gripper_error_m, rows.gain_error):
        np.testing.assert_allclose(column[there], 0, atol=1e-6)
    np.testing.assert_allclose(rows.imagined_progress[there], rows.true_progress[there], atol=1e-6)
    figures = drift_figures(rows)
    assert list(figures) == ["success"]
    assert figures["success"]["count"] == [3, 2, 1]
    assert progress_figures(rows)["chunks_3"]["calibration_error"] == pytest.approx(0, abs=1e-6)


def test_doubts_of_chunks_that_follow_each_other_add_up_as_chance_does(counting_world: World) -> None:
    model, one = counting_world(), recordings(1)
    moments = drift_moments(one, every_ticks=100)
    assert np.isnan(drift_rows(model, one, moments, chunks=3).progress_uncertainty).all()
    model.progress_uncertainty = lambda claim: torch.full_like(claim.progress, 0.1)
    rows = drift_rows(model, one, moments, chunks=3)
    np.testing.assert_allclose(rows.progress_uncertainty, [[0.1, 0.1 * 2**0.5, 0.1 * 3**0.5]], atol=1e-6)


def test_errors_grow_by_what_is_missed(counting_world: World) -> None:
    both = recordings(1, 2)
    rows = drift_rows(counting_world(), both, drift_moments(both, every_ticks=100), chunks=3)
    failure = drift_figures(rows)["failure"]
    np.testing.assert_allclose(failure["progress"]["value"], [0.1, 0.2, 0.3], atol=1e-5)
    np.testing.assert_allclose(failure["progress_bias"]["value"], [-0.1, -0.2, -0.3], atol=1e-5)
    np.testing.assert_allclose(rows.gain_error, [[0, 0, 0], [0.1, 0.2, 0.3]], atol=1e-5)
    squares = [np.mean(np.arange(first, first + 10) ** 2) for first in (1, 11, 21)]
    np.testing.assert_allclose(failure["psnr_db"]["value"], 10 * np.log10(255**2 / np.array(squares)), atol=1e-4)
    low, high = failure["progress"]["ci95"][0]
    assert low == high  # of one episode there is nothing to resample
    assert drift_figures(rows)["success"]["progress"]["value"][2] == pytest.approx(0, abs=1e-5)


def test_batches_change_nothing(counting_world: World) -> None:
    both = recordings(1, 2)
    model, moments = counting_world(noise=3.0), drift_moments(both, every_ticks=10)
    whole = drift_rows(model, both, moments, chunks=2)
    parts = joined([drift_rows(model, both, torch.atleast_1d(moment), chunks=2) for moment in moments])
    for name in ("episode", "success", "picture_error", "imagined_progress"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), atol=1e-4)
    again = drift_rows(model, both, moments, chunks=2, seed=1)
    assert not np.allclose(again.picture_error, whole.picture_error, equal_nan=True)
