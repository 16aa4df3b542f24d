"""Pictures of any size as the ones a task asks for; recordings and live cameras go the same way."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def fitted(picture: Picture, size: tuple[int, int]) -> Picture:
    """A picture's middle in another size (H, W): cut to the same shape, then averaged over areas."""
    height, width = size
    scale = min(picture.shape[0] / height, picture.shape[1] / width)
    rows, columns = round(height * scale), round(width * scale)
    top, left = (picture.shape[0] - rows) // 2, (picture.shape[1] - columns) // 2
    return stretched(picture[top : top + rows, left : left + columns], size)


def padded(picture: Picture, size: tuple[int, int]) -> Picture:
    """A whole picture in another size (H, W), with black beside it where shapes differ."""
    scale = min(size[0] / picture.shape[0], size[1] / picture.shape[1])
    inner = max(1, round(picture.shape[0] * scale)), max(1, round(picture.shape[1] * scale))
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    whole = np.zeros((*size, 3), np.uint8)
    whole[top : top + inner[0], left : left + inner[1]] = stretched(picture, inner)
    return whole


def stretched(picture: Picture, size: tuple[int, int]) -> Picture:
    """A picture averaged over areas to a size (H, W), whatever that does to its shape."""
    if picture.shape[:2] == size:
        return picture.copy()
    rows, columns = _averaging(picture.shape[0], size[0]), _averaging(picture.shape[1], size[1])
    halfway = np.tensordot(rows, picture.astype(np.float64), (1, 0))  # (h, W, 3)
    return np.asarray(np.tensordot(halfway, columns, (1, 1)).transpose(0, 2, 1).round(), np.uint8)


def shaped(
    picture: Picture, size: tuple[int, int], *, crop: tuple[int, int, int, int] | None = None, fit: str = "crop"
) -> Picture:
    """A part of a picture, `crop` (top, left, height, width) in pixels, in a size (H, W): cut, padded or stretched."""
    if crop is not None:
        top, left, height, width = crop
        picture = picture[top : top + height, left : left + width]
    return {"crop": fitted, "pad": padded, "stretch": stretched}[fit](picture, size)


@lru_cache(maxsize=32)
def _averaging(before: int, after: int) -> NDArray[np.float64]:
    """Weights (after, before) of pixels that overlap: each row averages its share of what was there before."""
    edges = np.linspace(0, before, after + 1)
    pixels = np.arange(before)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.clip(overlap, 0, None)
    return np.asarray(weights / weights.sum(1, keepdims=True))
