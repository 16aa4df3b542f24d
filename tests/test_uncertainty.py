"""Uncertainty is worth what it tells of true errors: which are the worst, and how large they may be."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rise_gym.drift import DriftRows
from rise_gym.uncertainty import uncertainty_figures

Rows = NDArray[np.float64]


def rows_of(uncertainty: Rows, picture: Rows, gain: Rows, of_progress: Rows | None = None) -> DriftRows:
    """Dreams (M, H), ten of each episode."""
    nothing = np.zeros_like(uncertainty)
    return DriftRows(
        episode=np.arange(len(uncertainty)) // 10,
        success=np.zeros(len(uncertainty), bool),
        picture_error=picture**2,
        joint_error_rad=nothing,
        gripper_error_m=nothing,
        imagined_progress=nothing,
        true_progress=nothing,
        gain_error=gain,
        uncertainty=uncertainty,
        progress_uncertainty=np.full_like(uncertainty, np.nan) if of_progress is None else of_progress,
    )


def test_who_knows_is_told_from_who_does_not() -> None:
    dice = np.random.default_rng(0)
    doubt, luck = dice.uniform(0.1, 1, (400, 2)), dice.uniform(0, 1, (400, 2))
    found = uncertainty_figures(rows_of(doubt, 20 * doubt, luck))["errors"]
    assert list(found["pictures"]) == ["chunks_1", "chunks_2"]
    for horizon in found["pictures"].values():
        assert horizon["count"] == 400
        assert horizon["auroc"]["value"] == 1
        assert horizon["coverage"]["value"] == 1  # in proportion: the same factor covers everything
        assert horizon["mean_bound"] < 0.7 * horizon["mean_constant_bound"]
    for horizon in found["progress_gained"].values():
        assert 0.4 < horizon["auroc"]["value"] < 0.6
        low, high = horizon["auroc"]["ci95"]
        assert low < 0.5 < high
        assert horizon["mean_bound"] > horizon["mean_constant_bound"]


def test_who_knows_how_far_off_its_progress_is_is_asked_about_that() -> None:
    dice = np.random.default_rng(0)
    doubt, own = dice.uniform(0.1, 1, (2, 400, 1))
    found = uncertainty_figures(rows_of(doubt, 20 * doubt, 0.1 * own, own), draws=20)["errors"]
    assert [found[what]["chunks_1"]["auroc"]["value"] == 1 for what in found] == [True, True, False]
    assert list(found) == ["pictures", "progress_gained", "progress_gained_told_by_frames"]
    unknowing = uncertainty_figures(rows_of(doubt, 20 * doubt, 0.1 * own), draws=20)["errors"]
    assert unknowing["progress_gained"] == found["progress_gained_told_by_frames"]


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_bounds_cover_other_episodes_as_often_as_they_are_asked_to(level: float) -> None:
    dice = np.random.default_rng(1)
    doubt = dice.uniform(0.5, 1, (2000, 1))
    error = doubt * dice.exponential(size=(2000, 1))
    horizon = uncertainty_figures(rows_of(doubt, error, error), level=level, draws=50)["errors"]["pictures"]["chunks_1"]
    assert horizon["coverage"]["value"] == pytest.approx(level, abs=0.03)
    low, high = horizon["coverage"]["ci95"]
    assert low <= level <= high


def test_a_curve_rises_from_no_alarm_to_all() -> None:
    dice = np.random.default_rng(2)
    doubt = dice.uniform(0, 1, (300, 1))
    found = uncertainty_figures(rows_of(doubt, doubt + dice.uniform(0, 1, (300, 1)), doubt))
    curve = np.array(found["errors"]["pictures"]["chunks_1"]["roc"])
    assert (np.diff(curve, axis=0) >= 0).all()
    assert curve[-1].tolist() == [1, 1]
    assert np.trapezoid(curve[:, 1], curve[:, 0]) == pytest.approx(
        found["errors"]["pictures"]["chunks_1"]["auroc"]["value"], abs=0.03
    )


def test_chunks_that_never_came_count_for_nothing() -> None:
    doubt, error = np.linspace(0.1, 1, 40)[:, None].repeat(3, 1), np.linspace(1, 2, 40)[:, None].repeat(3, 1)
    error[5:, 1] = np.nan
    error[:, 2] = np.nan
    found = uncertainty_figures(rows_of(doubt, error, error))["errors"]["pictures"]
    assert {name: horizon["count"] for name, horizon in found.items()} == {"chunks_1": 40, "chunks_2": 5}


def test_one_episode_and_equal_errors_are_no_accident() -> None:
    alike = uncertainty_figures(rows_of(np.ones((4, 1)), np.ones((4, 1)), np.ones((4, 1))))
    horizon = alike["errors"]["pictures"]["chunks_1"]
    assert np.isnan(horizon["auroc"]["value"])
    assert horizon["roc"] == []
    assert horizon["coverage"]["value"] == 1


@pytest.mark.parametrize("wrong", [{"worst_share": 0.0}, {"level": 1.0}])
def test_shares_are_fractions(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="fractions between 0 and 1"):
        uncertainty_figures(rows_of(np.ones((4, 1)), np.ones((4, 1)), np.ones((4, 1))), **wrong)
