"""What the robot's geometry says about one frame: outlines of its own arms, and where what it saw will be.

The outline of a link is a distance, so that a map of few pixels says where an edge lies between them. Where the rest of
a picture will be depends on how high it lies, so it is moved over several planes, with the place that each pixel comes
from.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rise_gym._robot_sight import RobotSight
from rise_gym.robots import Capsule

_NEAREST_M = 0.03  # what is nearer than this to a camera's plane is cut off
_FAR_PX = 20.0  # distance of what is not in front of a camera at all
_EDGE_PX = 1.5  # distances matter up to about this
_SHARPNESS = 3.0  # of the border of what counts as covered
_NEARNESS_M = 0.2  # of this distance is 1


def seen_channels(sight: RobotSight, latent_channels: int) -> int:
    """How many maps `seen` draws for a frame."""
    planes = len(sight.robot.planes_m) * sight.sources * (latent_channels + 5)
    return latent_channels + planes + sight.marks // sight.views + 2 * (_shapes(sight) + 1)


def seen(sight: RobotSight, joints: Tensor, newest: Tensor, still: Tensor | None = None) -> Tensor:
    """Maps for frames at n ticks: joints now and then (B, 1 + n, P) in rad and m, newest latents (B, V, c, h, w).

    `still`: what still cameras will see then (B, n, S - 1, c, h, w), if that is known to be something else than now.

    Returns (B, n, V, channels, h, w): the newest picture, what is moved over planes (zeros for a still camera), marks,
    and outlines then and now.
    """
    hands, elbows, tips = sight.arms(joints)
    cameras = sight.cameras(hands)
    marks = sight.drawn(hands, elbows, tips, cameras)[:, 1:].unflatten(2, (sight.views, -1))
    outlines = _outlines(sight, joints, cameras)
    later = outlines[:, 1:]

    def at_all_ticks(maps: Tensor) -> Tensor:
        return maps[:, None].expand(-1, later.shape[1], -1, -1, -1, -1)

    moved = _over_planes(sight, cameras, newest, still)
    return torch.cat([at_all_ticks(newest), moved, marks, later, at_all_ticks(outlines[:, 0])], dim=3)


def _over_planes(sight: RobotSight, cameras: Tensor, newest: Tensor, still: Tensor | None) -> Tensor:
    """(B, n, V, planes * S * (c + 5), h, w): pictures, whether they show anything, and places within pixels."""
    planes = []
    for height_m in sight.robot.planes_m:
        pictures, valid, places = sight.moved(cameras, newest, height_m, still)
        turn = 2 * torch.pi * places.clamp(-sight.size, 2 * sight.size)
        planes.append(torch.cat([pictures, valid, turn.sin(), turn.cos()], dim=4).flatten(3, 4))
    moved = torch.cat(planes, dim=3)
    nothing = torch.zeros_like(moved[:, :, :1])
    return torch.cat(
        [moved[:, :, [sight.moving.index(v)]] if v in sight.moving else nothing for v in range(sight.views)], dim=2
    )


def _outlines(sight: RobotSight, joints: Tensor, cameras: Tensor) -> Tensor:
    """The signed distance to the edge of every shape, from -1 inside to 1; how near: (B, n, V, shapes + 1, h, w)."""
    starts, ends, radii = _capsules(sight, joints)
    start, end, behind = _cut(_in_front(starts, cameras), _in_front(ends, cameras))
    focal = sight.focal[:, None] * sight.size

    def placed(point: Tensor) -> tuple[Tensor, ...]:
        inverse = 1 / (-point[..., 2]).clamp(min=_NEAREST_M)
        middle = sight.size / 2
        across, down = middle + focal * point[..., 0] * inverse, middle - focal * point[..., 1] * inverse
        return tuple(place[..., None, None] for place in (across, down, inverse))  # (B, n, V, shapes, 1, 1)

    (first_x, first_y, near_first), (last_x, last_y, near_last) = placed(start), placed(end)
    middles = sight.size * sight.pixels.diagonal()[0]  # of the pixels, across and down alike
    along_x, along_y = last_x - first_x, last_y - first_y
    offset_x, offset_y = middles - first_x, middles[:, None] - first_y  # one of the two axes each, for speed
    length = (along_x.square() + along_y.square()).clamp(min=1e-6)
    share = (offset_x * (along_x / length) + offset_y * (along_y / length)).clamp(0, 1)
    nearness = torch.lerp(near_first, near_last, share)  # linear in the picture, as depth is not
    radius = (focal * radii)[..., None, None] * nearness
    distance = torch.hypot(offset_x - share * along_x, offset_y - share * along_y) - radius
    distance = distance.masked_fill(behind[..., None, None], _FAR_PX)
    covered = torch.sigmoid(-_SHARPNESS * distance)
    near = _NEARNESS_M * (covered * nearness).amax(3, keepdim=True)
    return torch.cat([torch.tanh(distance / _EDGE_PX), near], dim=3)


def _in_front(points: Tensor, cameras: Tensor) -> Tensor:
    """World points (B, n, k, 3) in the frames of cameras (B, n, V, 4, 4): (B, n, V, k, 3)."""
    return (points[:, :, None] - cameras[..., None, :3, 3]) @ cameras[..., :3, :3]


def _cut(start: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Segments without what lies behind the camera (..., 3), and whether nothing is left (...)."""
    before, after = -start[..., 2] < _NEAREST_M, -end[..., 2] < _NEAREST_M
    share = ((_NEAREST_M + start[..., 2]) / (start[..., 2] - end[..., 2] + 1e-9)).clamp(0, 1)[..., None]
    edge = torch.lerp(start, end, share)
    return torch.where(before[..., None], edge, start), torch.where(after[..., None], edge, end), before & after


def _capsules(sight: RobotSight, joints: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All shapes of all arms: starts, ends (B, n, arms * k, 3) in the world, radii (arms * k,) in m."""
    robot, links = sight.robot, sight.link_poses(joints)
    hand = links[..., -1, :, :]
    shapes = [(link.shape, links[..., i, :, :]) for i, link in enumerate(robot.links) if link.shape is not None]
    shapes += [(shape, hand) for shape in robot.hand]
    half = joints.unflatten(-1, (len(robot.arms), -1))[..., -1] / 2

    def point(pose: Tensor, place: tuple[float, ...]) -> Tensor:
        return pose[..., :3, :3] @ pose.new_tensor(place) + pose[..., :3, 3]

    def fingers(place: tuple[float, ...]) -> list[Tensor]:
        aside = half[..., None] * hand[..., :3, 1]  # they part along y
        mirrored = (place[0], -place[1], place[2])
        return [point(hand, place) + aside, point(hand, mirrored) - aside]

    starts = [point(pose, shape.start) for shape, pose in shapes] + fingers(robot.finger.start)
    ends = [point(pose, shape.end) for shape, pose in shapes] + fingers(robot.finger.end)
    radii = [shape.radius_m for shape in _of_an_arm(sight)]
    start, end = (torch.stack(part, dim=-2).flatten(2, 3) for part in (starts, ends))
    return start, end, joints.new_tensor(radii * len(robot.arms))


def _of_an_arm(sight: RobotSight) -> list[Capsule]:
    robot = sight.robot
    return [*(link.shape for link in robot.links if link.shape is not None), *robot.hand, robot.finger, robot.finger]


def _shapes(sight: RobotSight) -> int:
    return len(sight.robot.arms) * len(_of_an_arm(sight))
