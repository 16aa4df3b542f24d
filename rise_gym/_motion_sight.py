"""What still cameras will show if all that moves by itself goes on as it did: a belt, and what it carries.

Joints say nothing about it, so `rise_gym._robot_sight` can't draw it, and a network that has to carry pixels along
smears them. Here each place of the newest picture is compared, over the history, with candidate velocities; where one
explains the past better than standing still does, what lies there moves on.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_SPEEDS = (0.3, 0.5, 0.7, 1.0)  # latent pixels from a frame of the history to the next, at any control rate
_DIRECTIONS = 8
_FAINT = 0.02  # squared difference of latents that is no more than noise
_HALF_SURE = 0.5  # evidence by which the moved picture counts as much as the newest one
_SHARPNESS = -0.75  # of cubic interpolation


class MotionSight(nn.Module):
    """Moves pictures on; it learns nothing.

    Args:
        size: h = w of latents. history, stride: T frames, 2 and more, so many ticks apart. ticks: K, for each of which
            a picture.
    """

    back: Tensor
    on: Tensor

    def __init__(self, size: int, history: int, stride: int, ticks: int) -> None:
        super().__init__()
        angles = [2 * math.pi * index / _DIRECTIONS for index in range(_DIRECTIONS)]
        ways = [(speed * math.cos(angle), speed * math.sin(angle)) for speed in _SPEEDS for angle in angles]
        velocity = torch.tensor(ways, dtype=torch.float32)[..., None]  # (n, 2, 1), x and y
        before = torch.arange(1, history, dtype=torch.float32)
        after = torch.arange(1, ticks + 1, dtype=torch.float32) / stride
        # one after the other: tensors of four or five axes would be laid out as if they were pictures
        self.register_buffer("back", _shifts(velocity * before, size).flatten(0, 2), persistent=False)
        self.register_buffer("on", _shifts(velocity * after, size).flatten(0, 2), persistent=False)

    @torch.no_grad()
    def forward(self, history: Tensor) -> tuple[Tensor, Tensor]:
        """History (B, T, V, c, h, w), oldest first -> pictures (B, K, V, c, h, w), sureness (B, K, V, 1, h, w).

        Where nothing moved, or nothing tells how, pictures are the newest ones and sureness, in [0, 1), is 0.
        """
        newest = history[:, -1].flatten(0, 1)  # (N, c, h, w)
        earlier = history[:, :-1].flip(1).transpose(1, 2).flatten(0, 1)  # (N, T - 1, c, h, w)
        stood = _blurred((earlier - newest[:, None]).square().mean((1, 2)))
        moved, weight = newest.new_zeros(()), newest.new_zeros(())
        ways = len(_SPEEDS) * _DIRECTIONS
        matrices = (moves.unflatten(0, (ways, 2, -1)) for moves in (self.back, self.on))
        for back, on in zip(*matrices, strict=True):  # a velocity at a time: all at once leave the cache
            came = _moved("nkcij", earlier, back)
            missed = _blurred((came - newest[:, None]).square().mean((1, 2)))
            evidence = (stood - missed).clamp(min=0).square() / (missed + _FAINT)
            here = _moved("ncij", evidence[:, None], on).clamp(min=0)
            moved, weight = moved + here * _moved("ncij", newest, on), weight + here
        sure = weight / (weight + _HALF_SURE)
        pictures = torch.lerp(newest[:, None], moved / weight.clamp(min=1e-6), sure)
        rows = (len(history), -1)
        return pictures.unflatten(0, rows).transpose(1, 2), sure.unflatten(0, rows).transpose(1, 2)


def _moved(axes: str, maps: Tensor, shifts: Tensor) -> Tensor:
    """Maps, whose `axes` einsum would call so, moved along x and y by `shifts` (2, k, s, s): (N, k, c, h, w)."""
    across, down = shifts
    along = torch.einsum(f"kxj,{axes}->nkcix", across, maps)
    return torch.einsum("kyi,nkcix->nkcyx", down, along)


def _blurred(maps: Tensor) -> Tensor:
    """Of maps (N, h, w) the mean over each pixel and its neighbours."""
    return nn.functional.avg_pool2d(maps[:, None], 3, 1, 1)[:, 0]


def _shifts(distance: Tensor, size: int) -> Tensor:
    """Matrices that move a row of pixels by distances (...) towards higher indices, its ends repeated: (..., s, s)."""
    place = torch.arange(size, dtype=torch.float32) - distance[..., None]  # where each pixel's value comes from
    first = place.floor()
    matrix = torch.zeros(*place.shape, size)
    for offset in range(-1, 3):
        source = (first + offset).clamp(0, size - 1).long()
        matrix.scatter_add_(-1, source[..., None], _cubic((place - first - offset).abs())[..., None])
    return matrix


def _cubic(distance: Tensor) -> Tensor:
    """Weight of a pixel so far away, in pixels: cubic convolution."""
    near = ((_SHARPNESS + 2) * distance - (_SHARPNESS + 3)) * distance.square() + 1
    far = _SHARPNESS * (((distance - 5) * distance + 8) * distance - 4)
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, torch.zeros_like(distance)))
