"""How good imagined pictures, rankings and success rates are. Images are uint8; only numpy is imported at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rise_gym.errors import MissingPackage

Images = NDArray[np.uint8]


def psnr(predicted: Images, true: Images) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio of each view in dB: uint8 (..., V, H, W, 3) -> (V,).

    From the mean squared error over all frames, so that frames where nothing moves (an infinite ratio) don't decide it.
    """
    _check(predicted, true)
    error = predicted.astype(np.float32) - true.astype(np.float32)
    mean = (error**2).reshape(-1, *error.shape[-4:]).mean(axis=(0, 2, 3, 4))  # (V,)
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255.0**2 / mean)


def ssim(predicted: Images, true: Images) -> NDArray[np.float64]:
    """Mean structural similarity of each view: uint8 (..., V, H, W, 3) -> (V,), 1 is equal."""
    import torch
    from torchmetrics.functional.image import structural_similarity_index_measure

    _check(predicted, true)
    views = []
    for view in range(predicted.shape[-4]):
        pair = (np.ascontiguousarray(images[..., view, :, :, :]) for images in (predicted, true))
        images = [torch.from_numpy(i.reshape(-1, *i.shape[-3:])).permute(0, 3, 1, 2).float() for i in pair]
        views.append(float(structural_similarity_index_measure(images[0], images[1], data_range=255.0)))
    return np.array(views)


def flow_error(start: Images, predicted: Images, true: Images) -> NDArray[np.float64]:
    """End-point error of optical flow in pixels, for each view (V,): whether things move where and as far as they do.

    Flow (Farneback) from frame to frame within the predicted video against that within the true one, averaged over
    pixels: start (B, V, H, W, 3), predicted and true (B, F, V, H, W, 3).

    Raises:
        ImportError: if OpenCV is not installed.
    """
    _check(predicted, true)
    ours = np.concatenate([start[:, None], predicted], axis=1)
    theirs = np.concatenate([start[:, None], true], axis=1)
    batch, frames, views = ours.shape[:3]
    total = np.zeros(views)
    for view in range(views):
        for row in range(batch):
            moved = [
                _flow(video[row, i, view], video[row, i + 1, view])
                for video in (ours, theirs)
                for i in range(frames - 1)
            ]
            half = len(moved) // 2
            total[view] += np.mean(
                [np.linalg.norm(a - b, axis=-1).mean() for a, b in zip(moved[:half], moved[half:], strict=True)]
            )
    return total / batch


def _flow(before: Images, after: Images) -> NDArray[np.float32]:
    try:
        import cv2
    except ImportError as error:
        raise MissingPackage("optical flow needs OpenCV: pip install 'rise-gym[benchmarks]'") from error
    first, second = (cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY) for image in (before, after))
    flow: Any = cv2.calcOpticalFlowFarneback(first, second, None, 0.5, 3, 9, 3, 5, 1.1, 0)
    return np.asarray(flow, dtype=np.float32)


def frechet_distance(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Fréchet distance of two clouds of features (n, D) and (m, D), each taken for normally distributed; 0 is equal.

    |mean difference|^2 + trace(A + B - 2 (A B)^(1/2)), A and B the covariances. With few samples it is too large, the
    more so the more features there are: compare distances of equally many only.

    Raises:
        ValueError: if they are not two tables of equally many features, of two rows at least.
    """
    ours, theirs = (np.asarray(x, dtype=np.float64) for x in (first, second))
    if ours.ndim != 2 or ours.shape[1:] != theirs.shape[1:] or min(len(ours), len(theirs)) < 2:
        raise ValueError(
            f"features (n, D) and (m, D) of 2 rows at least were wanted, got {ours.shape} and {theirs.shape}"
        )
    one, two = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (ours, theirs))
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    # the product of two covariances is not symmetric, this one is, and has the same eigenvalues
    common = np.sqrt(np.linalg.eigvalsh(root @ two @ root).clip(min=0)).sum()
    apart = float(((ours.mean(0) - theirs.mean(0)) ** 2).sum())
    return max(0.0, apart + float(np.trace(one) + np.trace(two) - 2 * common))


def difference_correlation(predicted: NDArray[Any], true: NDArray[Any]) -> float:
    """Whether a model knows what different actions change: futures (C, ...) of C chunks from the *same* state.

    Pearson correlation of the predicted with the true futures, each relative to the mean of its C, which is what all
    pairwise differences together amount to: what the chunks have in common counts for nothing. NaN if nothing differs.
    """
    ours, theirs = (np.asarray(x, dtype=np.float64) for x in (predicted, true))
    if ours.shape != theirs.shape:
        raise ValueError(f"equal shapes were wanted, got {ours.shape} and {theirs.shape}")
    if not np.ptp(ours, axis=0).any() or not np.ptp(theirs, axis=0).any():  # a mean would leave rounding errors
        return math.nan
    return pearson((ours - ours.mean(0)).ravel(), (theirs - theirs.mean(0)).ravel())


def pearson(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Linear correlation of two (n,); NaN if one of them is constant."""
    a, b = (np.asarray(x, dtype=np.float64) for x in (first, second))
    if not np.ptp(a) or not np.ptp(b):
        return math.nan
    a, b = a - a.mean(), b - b.mean()
    norm = math.sqrt(float(a @ a)) * math.sqrt(float(b @ b))
    return float(a @ b) / norm if norm else math.nan


def spearman(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Rank correlation of two (n,), ties sharing their mean rank; NaN if one of them is constant."""
    return pearson(_ranks(first), _ranks(second))


def mean_rank_violation(imagined: NDArray[Any], true: NDArray[Any]) -> float:
    """Mean maximum rank violation (MMRV) of policies (p,): what trusting the imagined ranking costs; 0 is best.

    MMRV = 1/p sum_i max_j |R_i - R_j| [(S_i < S_j) != (R_i < R_j)], with R true and S imagined: for every policy the
    largest true difference to one that it is ranked on the wrong side of, in the unit of `true` (Li et al. 2024).
    """
    ours, theirs = (np.asarray(x, dtype=np.float64) for x in (imagined, true))
    swapped = (ours[:, None] < ours) != (theirs[:, None] < theirs)
    return float((np.abs(theirs[:, None] - theirs) * swapped).max(axis=1).mean())


def auroc(score: NDArray[Any], positive: NDArray[np.bool_]) -> float:
    """Chance that a positive scores above a negative, ties counting half: score (n,), positive bool (n,).

    Raises:
        ValueError: if there are not both positives and negatives.
    """
    positive = np.asarray(positive, dtype=bool)
    count = int(positive.sum())
    if not 0 < count < len(positive):
        raise ValueError(f"positives and negatives were wanted, got {count} positives of {len(positive)}")
    above = float(_ranks(score)[positive].sum()) - count * (count + 1) / 2
    return above / (count * (len(positive) - count))


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Ranks from 1, equal values sharing the mean of theirs."""
    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2)[place.ravel()]


def bootstrap_interval(
    values: NDArray[Any],
    statistic: Callable[[NDArray[Any]], float],
    generator: np.random.Generator,
    *,
    level: float = 0.95,
    resamples: int = 2000,
) -> tuple[float, float]:
    """Percentile bootstrap of `statistic` over the rows of `values` (n, ...); resamples that give NaN are left out."""
    rows = np.asarray(values)
    picks = generator.integers(len(rows), size=(resamples, len(rows)))
    found = np.array([statistic(rows[pick]) for pick in picks], dtype=np.float64)
    if np.isnan(found).all():
        return math.nan, math.nan
    low, high = np.nanquantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def grouped_bootstrap(
    rows: NDArray[Any], groups: NDArray[Any], statistic: Callable[[NDArray[Any]], float], *, draws: int = 300
) -> tuple[float, list[float]]:
    """A statistic of rows (n, ...), and its 95 % interval from a bootstrap over groups (n,), episodes say."""
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]

    def of(picked: NDArray[Any]) -> float:
        return statistic(rows[np.concatenate([members[int(group)] for group in picked])])

    index = np.arange(len(members))
    return of(index), list(bootstrap_interval(index, of, np.random.default_rng(0), resamples=draws))


def mean_interval(values: NDArray[Any], *, level: float = 0.95, resamples: int = 10_000) -> tuple[float, float]:
    """Percentile bootstrap of the mean of values (n,), always with the same resamples."""
    rows = np.asarray(values)
    picks = np.random.default_rng(0).integers(len(rows), size=(resamples, len(rows)))
    low, high = np.quantile(rows[picks].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def wilson_interval(successes: int, count: int, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a success rate; (0, 1) when nothing was tried.

    Raises:
        ValueError: if there are more successes than trials.
    """
    if not 0 <= successes <= count:
        raise ValueError(f"0 to {count} successes were wanted, got {successes}")
    if count == 0:
        return 0.0, 1.0
    from statistics import NormalDist

    z = NormalDist().inv_cdf((1 + level) / 2)
    rate = successes / count
    middle = (rate + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * math.sqrt(rate * (1 - rate) / count + z**2 / (4 * count**2))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def rate_difference_interval(
    first: NDArray[np.bool_], second: NDArray[np.bool_], *, paired: bool, level: float = 0.95
) -> tuple[float, float]:
    """Newcombe's interval of one success rate less another, made of Wilson's; rows (n,) and (m,) of successes.

    Other than a bootstrap it has a width where nobody or everybody succeeds, as happens with few episodes.

    Args:
        paired: row i of both belongs together: their correlation narrows it.

    Raises:
        ValueError: if there is nothing to compare, or pairs were wanted of unequal numbers.
    """
    ours, theirs = (np.asarray(rows, bool) for rows in (first, second))
    if min(len(ours), len(theirs)) == 0 or (paired and len(ours) != len(theirs)):
        raise ValueError(f"two groups of successes were wanted, or as many of both, got {len(ours)} and {len(theirs)}")
    (one, (low, high)), (other, (low_other, high_other)) = (
        (rows.mean(), wilson_interval(int(rows.sum()), len(rows), level=level)) for rows in (ours, theirs)
    )
    alike = _phi(ours, theirs) if paired else 0.0

    def reach(down: float, up: float) -> float:
        return math.sqrt(max(0.0, down**2 - 2 * alike * down * up + up**2))

    difference = float(one - other)
    return difference - reach(one - low, high_other - other), difference + reach(high - one, other - low_other)


def _phi(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Correlation of paired successes (n,), with Newcombe's correction where it is positive; 0 if one is constant."""
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    product = math.prod(int(rows.sum()) for rows in (first, ~first, second, ~second))
    over = both * neither - only_first * only_second
    return (max(over - len(first) / 2, 0) if over > 0 else over) / math.sqrt(product) if product else 0.0


def _check(predicted: Images, true: Images) -> None:
    if predicted.shape != true.shape or predicted.dtype != np.uint8 or true.dtype != np.uint8:
        raise ValueError(
            f"two uint8 arrays of one shape were wanted, got {predicted.dtype} {predicted.shape} and "
            f"{true.dtype} {true.shape}"
        )
