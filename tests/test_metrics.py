"""Measures, against values one can work out by hand or another library."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rise_gym.metrics import (
    auroc,
    bootstrap_interval,
    difference_correlation,
    flow_error,
    frechet_distance,
    pearson,
    psnr,
    spearman,
    ssim,
    wilson_interval,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (2, 4, 3, 32, 32, 3), dtype=np.uint8)


def blob(x: int) -> np.ndarray:
    """A soft blob at column x: uint8 (64, 64, 3)."""
    rows, columns = np.mgrid[:64, :64]
    picture = 200 * np.exp(-((rows - 32) ** 2 + (columns - x) ** 2) / 50)
    return picture[..., None].repeat(3, -1).astype(np.uint8)


def test_psnr_of_a_known_error_in_one_view() -> None:
    flat = np.full((2, 3, 8, 8, 3), 100, np.uint8)
    off = flat.copy()
    off[:, 1] += 16
    expected = 20 * np.log10(255 / 16)
    np.testing.assert_allclose(psnr(off, flat), [np.inf, expected, np.inf])


def test_ssim_is_one_for_equal_pictures_and_falls_with_noise() -> None:
    np.testing.assert_allclose(ssim(IMAGES, IMAGES), 1.0, atol=1e-5)
    assert ssim(IMAGES, RNG.permutation(IMAGES.ravel()).reshape(IMAGES.shape)).max() < 0.2


def test_flow_error_sees_what_moves_the_wrong_way() -> None:
    def video(*columns: int) -> np.ndarray:
        return np.stack([blob(x) for x in columns])[None, :, None]  # (1, F, 1, 64, 64, 3)

    start = video(30)[:, 0]
    right, left = video(32, 34), video(28, 26)
    assert flow_error(start, right, right)[0] == 0
    assert flow_error(start, left, right)[0] > 2 * flow_error(start, video(32, 33), right)[0] > 0


def test_flow_without_opencv_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r"rise-gym\[benchmarks\]"):
        flow_error(IMAGES[:, 0], IMAGES, IMAGES)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_pictures_that_do_not_match_are_refused(measure: object) -> None:
    assert callable(measure)
    with pytest.raises(ValueError, match="one shape"):
        measure(IMAGES, IMAGES[:1])
    with pytest.raises(ValueError, match="uint8"):
        measure(IMAGES.astype(np.float32), IMAGES)


def test_difference_correlation_ignores_what_the_chunks_share() -> None:
    background, changes = RNG.normal(0, 100, (1, 50)), RNG.normal(0, 1, (8, 50))
    assert difference_correlation(background + changes, changes) == pytest.approx(1.0)
    assert difference_correlation(background - changes, changes) == pytest.approx(-1.0)
    assert abs(difference_correlation(background + changes, RNG.normal(0, 1, (8, 50)))) < 0.2
    assert np.isnan(difference_correlation(background.repeat(8, 0), changes))  # a model that ignores actions


def test_it_is_the_correlation_of_all_pairwise_differences() -> None:
    first, second = RNG.normal(0, 1, (5, 7)), RNG.normal(0, 1, (5, 7))
    pairs = [(first[i] - first[j], second[i] - second[j]) for i in range(5) for j in range(5)]
    a, b = (np.concatenate(column) for column in zip(*pairs, strict=True))
    assert difference_correlation(first, second) == pytest.approx(np.corrcoef(a, b)[0, 1])


def test_correlations_of_known_data() -> None:
    x = np.arange(1.0, 9.0)
    assert pearson(x, -3 * x + 1) == pytest.approx(-1)
    assert spearman(x, np.exp(x)) == pytest.approx(1)
    assert spearman([1, 2, 2, 3], [1, 3, 2, 4]) == pytest.approx(0.9486833)
    assert np.isnan(pearson(x, np.ones(8)))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=20))
def test_auroc_counts_pairs(rows: list[tuple[int, bool]]) -> None:
    score, positive = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    if positive.all() or not positive.any():
        with pytest.raises(ValueError, match="positives"):
            auroc(score, positive)
        return
    pairs = score[positive][:, None] - score[~positive]
    assert auroc(score, positive) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_bootstrap_covers_the_mean_and_narrows() -> None:
    values = RNG.normal(3, 1, 400)
    low, high = bootstrap_interval(values, lambda v: float(v.mean()), np.random.default_rng(1))
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)
    again = bootstrap_interval(values, lambda v: float(v.mean()), np.random.default_rng(1))
    assert again == (low, high)


def test_bootstrap_of_a_correlation_takes_rows_together() -> None:
    x = RNG.normal(0, 1, 60)
    rows = np.stack([x, x + RNG.normal(0, 0.1, 60)], axis=1)
    low, high = bootstrap_interval(rows, lambda r: pearson(r[:, 0], r[:, 1]), np.random.default_rng(0))
    assert 0.95 < low < high <= 1


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [(8, 10, 0.490, 0.943), (0, 20, 0.0, 0.161), (20, 20, 0.839, 1.0), (0, 0, 0, 1)],
)
def test_wilson_intervals_from_the_tables(successes: int, count: int, low: float, high: float) -> None:
    assert wilson_interval(successes, count) == pytest.approx((low, high), abs=1e-3)


def test_more_successes_than_trials_are_refused() -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(3, 2)


@given(shift=st.floats(0, 3), scale=st.floats(0.5, 2), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_frechet_distance_of_clouds_that_are_moved_and_stretched(shift: float, scale: float, seed: int) -> None:
    cloud = np.random.default_rng(seed).normal(size=(200, 3))
    centred = cloud - cloud.mean(0)
    spread = np.trace(np.cov(cloud, rowvar=False))
    wanted = 3 * shift**2 + (scale - 1) ** 2 * spread
    assert frechet_distance(centred, scale * centred + shift) == pytest.approx(wanted, abs=1e-6)


def test_frechet_distance_wants_clouds_of_the_same_features() -> None:
    with pytest.raises(ValueError, match=r"2 rows at least were wanted, got \(5, 3\) and \(5, 2\)"):
        frechet_distance(np.zeros((5, 3)), np.zeros((5, 2)))
