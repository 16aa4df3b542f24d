"""What moves by itself moves on, what stands stays, and a dynamics that is newly shown it begins as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Generator, Tensor

from rise_gym._motion_sight import MotionSight
from rise_gym.dynamics import VideoDynamics, VideoDynamicsConfig
from rise_gym.tasks import BOX_CLOSE

SIZE, HISTORY, STRIDE, TICKS = 16, 4, 2, 10
SMALL = VideoDynamicsConfig(
    latent_channels=2, latent_size=8, widths=(8, 16, 32), embedding_width=16, map_channels=8, chunk=4, gain=False,
    later=(),
)  # fmt: skip


def blob(x: float, y: float) -> Tensor:
    """A bright spot at a place, in pixels: (1, h, w)."""
    place = torch.arange(SIZE, dtype=torch.float32)
    across, down = torch.exp(-((place - x) ** 2) / 3), torch.exp(-((place - y) ** 2) / 3)
    return 3 * down[:, None] * across


def film(
    velocity: tuple[float, float], start: tuple[float, float] = (5.0, 8.0), stride: int = STRIDE
) -> tuple[Tensor, Tensor]:
    """A spot that moves so many pixels a tick: history (1, T, 1, 1, h, w) and what follows (1, K, 1, 1, h, w)."""

    def at(tick: int) -> Tensor:
        return blob(start[0] + velocity[0] * tick, start[1] + velocity[1] * tick)[None, None]

    before = [at(-stride * back) for back in range(HISTORY - 1, -1, -1)]
    return torch.stack(before)[None], torch.stack([at(tick) for tick in range(1, TICKS + 1)])[None]


def middle(picture: Tensor) -> Tensor:
    """Where a picture (h, w) is bright, x and y."""
    weight = picture.clamp(min=0) / picture.clamp(min=0).sum()
    place = torch.arange(SIZE, dtype=torch.float32)
    return torch.stack([(weight.sum(0) * place).sum(), (weight.sum(1) * place).sum()])


@pytest.mark.parametrize("velocity", [(0.35, 0.0), (-0.25, 0.0), (0.0, 0.5), (0.25, -0.25), (0.3, 0.0)])
def test_what_moves_goes_on(velocity: tuple[float, float]) -> None:
    history, after = film(velocity, start=(8.0, 8.0))
    pictures, sure = MotionSight(SIZE, HISTORY, STRIDE, TICKS)(history)
    assert pictures.shape == after.shape
    assert sure.shape == (1, TICKS, 1, 1, SIZE, SIZE)
    for tick in (1, 4):
        missed = (pictures[0, tick] - after[0, tick]).square().mean()
        stood = (history[0, -1] - after[0, tick]).square().mean()
        assert missed < 0.5 * stood
        went = middle(pictures[0, tick, 0, 0]) - middle(history[0, -1, 0, 0])
        assert torch.dot(went, torch.tensor(velocity)) > 0.5 * (tick + 1) * torch.tensor(velocity).square().sum()


def test_it_is_the_same_at_three_times_the_control_rate() -> None:
    slow, fast = film((0.3, 0.0)), film((0.1, 0.0), stride=3 * STRIDE)
    pictures, _ = MotionSight(SIZE, HISTORY, STRIDE, TICKS)(slow[0])
    faster, _ = MotionSight(SIZE, HISTORY, 3 * STRIDE, 3 * TICKS)(fast[0])
    torch.testing.assert_close(faster[:, 2::3], pictures)


def test_one_frame_of_history_tells_of_no_motion() -> None:
    dynamics = VideoDynamics.of(replace(SMALL, history=1), BOX_CLOSE)
    assert dynamics.sights is not None
    assert dynamics.sights.motion is None
    history, proprio = torch.zeros(1, 1, 3, 2, 8, 8), torch.zeros(1, 14)
    assert dynamics.sample(history, proprio, torch.zeros(1, 4, 14), generator=Generator()).latents.isfinite().all()


def test_what_stands_stays_and_is_not_sure_to_move() -> None:
    history, _ = film((0.0, 0.0))
    pictures, sure = MotionSight(SIZE, HISTORY, STRIDE, TICKS)(history)
    torch.testing.assert_close(pictures, history[:, -1:].expand_as(pictures))
    assert float(sure.max()) == 0.0


def test_rows_and_views_do_not_know_of_each_other() -> None:
    sight, still = MotionSight(SIZE, HISTORY, STRIDE, TICKS), film((0.0, 0.0))[0]
    moving = film((0.35, 0.0))[0]
    alone, _ = sight(moving)
    together, _ = sight(torch.cat([torch.cat([moving, still], dim=2), torch.cat([still, moving], dim=2)]))
    torch.testing.assert_close(together[0, :, :1], alone[0])
    torch.testing.assert_close(together[1, :, 1:], alone[0])


def test_a_dynamics_that_is_shown_motion_dreams_otherwise_only_where_something_moved() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        dynamics = VideoDynamics.of(SMALL, BOX_CLOSE).eval()
        for parameter in dynamics.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    assert dynamics.sights is not None
    assert dynamics.sights.motion is not None
    generator = Generator().manual_seed(0)
    newest = torch.randn(1, 1, 3, 2, 8, 8, generator=generator)
    stood = newest.expand(-1, SMALL.history, -1, -1, -1, -1)
    moved = torch.cat([newest.roll(-shift, dims=5) for shift in (3, 2, 1, 0)], dim=1)
    actions, proprio = torch.zeros(1, SMALL.chunk, 14), torch.zeros(1, 14)

    def dream(history: Tensor) -> Tensor:
        return dynamics.sample(history, proprio, actions, generator=Generator().manual_seed(1)).latents

    shown, found = dream(stood), dream(moved)
    dynamics.sights.motion.on.zero_()  # it moves nothing anywhere any more
    torch.testing.assert_close(dream(stood), shown)
    assert not torch.allclose(dream(moved), found)
