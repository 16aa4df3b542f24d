"""What is drawn for the networks of `rise_gym.dynamics`: what the robot's geometry and what motion say about frames.

Nothing here learns. What is drawn is shown as channels; and by gates, which the denoiser finds, it is carried over into
the frames themselves, since a network would have to press tens of pictures through the width of one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rise_gym._frame_sight import seen, seen_channels
from rise_gym._motion_sight import MotionSight
from rise_gym._robot_sight import RobotSight
from rise_gym.robots import RobotCard


class Shown(NamedTuple):
    """What is drawn for a chunk.

    By `RobotSight`: marks (B, K, marks, h, w), moved (B, K, M, S, c, h, w), valid (B, K, M, S, 1, h, w). By
    `MotionSight`, if there is one: by how much what the S - 1 still cameras will see differs from their newest pictures
    (B, K, S - 1, c, h, w), and how sure that is (B, K, S - 1, 1, h, w).
    """

    marks: Tensor
    moved: Tensor
    valid: Tensor
    going_on: Tensor | None
    sure: Tensor | None

    def maps(self) -> list[Tensor]:
        """All of it as channels: (B, any, h, w) each."""
        robot = [self.marks.flatten(1, 2), self.moved.flatten(1, 4)]
        if self.going_on is None or self.sure is None:
            return robot
        return [*robot, self.going_on.flatten(1, 3), self.sure.flatten(1, 3)]


class Sights(nn.Module):
    """Draws for one robot and its cameras.

    Args:
        robot: whose. views: its cameras. channels, size: c and h = w of latents. history, stride: T frames, so many
            ticks apart. ticks: K of a chunk. motion: whether to move on what still cameras see moving by itself.
    """

    def __init__(
        self,
        robot: RobotCard,
        views: tuple[str, ...],
        *,
        channels: int,
        size: int,
        history: int,
        stride: int,
        ticks: int,
        motion: bool,
    ) -> None:
        super().__init__()
        self.views, self.channels, self.ticks = len(views), channels, ticks
        self.robot = RobotSight(robot, views, size)
        told = motion and history > 1 and self.robot.still  # one frame tells of no motion, nor does a moving camera's
        self.motion = MotionSight(size, history, stride, ticks) if told else None

    @property
    def shown_channels(self) -> int:
        """How many maps `Shown.maps` has."""
        still = 0 if self.motion is None else len(self.robot.still)
        return self.ticks * (self.robot.marks + self._sources * self.channels + still * (self.channels + 1))

    @property
    def gates(self) -> int:
        """How many `carried` takes: of the cameras' sources for each tick, then of what moves for each tick."""
        return self.ticks * (self._sources + (0 if self.motion is None else len(self.robot.still)))

    @property
    def frame_channels(self) -> int:
        """How many maps `of_frames` draws of each frame."""
        return seen_channels(self.robot, self.channels) + (0 if self.motion is None else self.channels + 1)

    @property
    def _sources(self) -> int:
        return len(self.robot.moving) * self.robot.sources

    def forward(self, history: Tensor, joints: Tensor) -> Shown:
        """For a chunk: history (B, T, V, c, h, w), oldest first, joints now and then (B, 1 + K, P) in rad and m."""
        newest, still, going_on, sure = history[:, -1], None, None, None
        if self.motion is not None:
            still, sure = self.motion(history[:, :, self.robot.still])
            going_on = still - newest[:, None, self.robot.still]
        marks, moved, valid = self.robot(joints, newest, still)
        return Shown(marks, moved, valid, going_on, sure)

    def carried(self, newest: Tensor, gates: Tensor, shown: Shown) -> Tensor:
        """By how much frames change because cameras or things move, as far as gates (B, `gates`, h, w) let it.

        newest (B, V, c, h, w) -> (B, K, V, c, h, w). Of a moving camera's sources the gates are a softmax's.
        """
        moving, still, sources = self.robot.moving, self.robot.still, self.ticks * self._sources
        share = gates[:, :sources].unflatten(1, shown.valid.shape[1:4])
        share = torch.cat([torch.zeros_like(share[:, :, :, :1]), share], dim=3).softmax(dim=3)[:, :, :, 1:]
        gate = shown.valid * share[:, :, :, :, None]  # (B, K, M, S, 1, h, w); what no source gets stays as it was
        carried = newest.new_zeros(len(newest), self.ticks, *newest.shape[1:])
        carried[:, :, moving] = (gate * (shown.moved - newest[:, None, moving][:, :, :, None])).sum(3)
        if shown.going_on is not None:
            carried[:, :, still] = gates[:, sources:].unflatten(1, (self.ticks, -1, 1)) * shown.going_on
        return carried

    def of_frames(self, history: Tensor, joints: Tensor, ticks: Tensor) -> Tensor:
        """For single frames at `ticks` (B, n) from 0 of a chunk: (B, n, V, `frame_channels`, h, w).

        history (B, T, V, c, h, w), joints now and at those ticks (B, 1 + n, P) in rad and m.
        """
        newest = history[:, -1]
        if self.motion is None:
            return seen(self.robot, joints, newest)
        row, views = torch.arange(len(ticks), device=ticks.device)[:, None], self.robot.still
        still, sure = (part[row, ticks] for part in self.motion(history[:, :, views]))
        motion = still.new_zeros(*ticks.shape, self.views, self.channels + 1, *still.shape[4:])
        motion[:, :, views] = torch.cat([still - newest[:, None, views], sure], dim=3)
        return torch.cat([seen(self.robot, joints, newest, still), motion], dim=3)
