"""Where the robot's hands are in its own pictures, and what its moving cameras will see.

Joints decide both exactly, so a network need not guess them from numbers: it is shown. For every predicted tick and
view: marks where fingertips and forearms will be, and what a moving camera will see as far as the newest pictures, its
own and those of the cameras that stand still, show it, as if all of it lay on one plane.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rise_gym.robots import Camera, RobotCard

_SHARED_MARKS = 2  # beside the fingertips of each arm: their heights, and hands with forearms
_HEIGHT_SCALE = 5.0  # per metre: about 1 at the height of work
_SPREAD = 0.045  # of a mark, as a fraction of the picture: about three pixels of 64
_NEAREST_M = 0.01  # what is nearer than this to a camera's plane is not drawn


class RobotSight(nn.Module):
    """Draws marks and moves pictures; it learns nothing.

    Args:
        robot: whose geometry. views: cameras to draw for, of `robot.cameras`. size: h = w of the maps.
    """

    links: Tensor
    bases: Tensor
    mounted: Tensor
    focal: Tensor
    pixels: Tensor

    def __init__(self, robot: RobotCard, views: tuple[str, ...], size: int) -> None:
        super().__init__()
        cameras = {camera.name: camera for camera in robot.cameras}
        self.robot, self.size = robot, size
        self.mounts = [cameras[view].mount for view in views]
        self.moving = [view for view, mount in enumerate(self.mounts) if mount is not None]
        self.still = [view for view, mount in enumerate(self.mounts) if mount is None]

        def keep(name: str, value: Tensor) -> None:
            self.register_buffer(name, value, persistent=False)

        keep("links", torch.stack([_pose(link.position, _rotation(link.quaternion)) for link in robot.links]))
        keep("bases", torch.stack([_pose(base, torch.eye(3)) for base in robot.bases]))
        keep("mounted", torch.stack([_camera_pose(cameras[view]) for view in views]))
        focal = [0.5 / torch.tan(torch.tensor(cameras[view].fovy_rad / 2)) for view in views]
        keep("focal", torch.stack(focal))
        middle = (torch.arange(size) + 0.5) / size
        keep("pixels", torch.stack(torch.meshgrid(middle, middle, indexing="xy"), dim=-1))  # (h, w, 2) as (u, v)

    @property
    def views(self) -> int:
        return len(self.mounts)

    @property
    def marks(self) -> int:
        """Maps of one tick, all views together."""
        return self.views * (len(self.robot.arms) + _SHARED_MARKS)

    @property
    def sources(self) -> int:
        """Newest pictures that what a moving camera will see is taken from: its own first, then the still cameras'."""
        return 1 + len(self.still)

    def forward(self, joints: Tensor, newest: Tensor, still: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Joints now and at K ticks (B, 1 + K, P) in rad and m, newest latents (B, V, c, h, w) -> marks, moved, valid.

        `still`: what the S - 1 still cameras will see (B, K, S - 1, c, h, w), if that is known to be something else
        than what they see now.

        Marks are (B, K, marks, h, w); pictures moved are (B, K, M, S, c, h, w), for the M views whose camera moves and
        from S `sources`, and valid (B, K, M, S, 1, h, w) is 1 where they show anything, else 0.
        """
        hands, elbows, tips = self.arms(joints)
        cameras = self.cameras(hands)
        moved, valid, _ = self.moved(cameras, newest, self.robot.surface_m, still)
        return self.drawn(hands, elbows, tips, cameras)[:, 1:], moved, valid

    def link_poses(self, joints: Tensor) -> Tensor:
        """Where all links are: joints (B, n, P) in rad and m -> (B, n, arms, links, 4, 4) in the world."""
        angles = joints.unflatten(-1, (len(self.robot.arms), -1))
        pose, poses = self.bases.expand(*angles.shape[:-1], 4, 4), []
        for index, link in enumerate(self.links):
            pose = pose @ link @ _about_z(angles[..., index])
            poses.append(pose)
        return torch.stack(poses, dim=-3)

    def arms(self, joints: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, n, P) -> poses of the hands (B, n, arms, 4, 4), elbows (B, n, arms, 3), both tips (B, n, arms, 2, 3)."""
        links = self.link_poses(joints)
        pose, elbow = links[..., -1, :, :], links[..., 2, :3, 3]
        half = joints.unflatten(-1, (len(self.robot.arms), -1))[..., -1] / 2
        reach = torch.full_like(half, self.robot.finger_reach_m)
        zero, one = torch.zeros_like(half), torch.ones_like(half)
        tips = torch.stack(
            [torch.stack([zero, side * half, reach, one], dim=-1) for side in (1.0, -1.0)], dim=-2
        )  # (B, n, arms, 2, 4)
        return pose, elbow, (pose[..., None, :, :] @ tips[..., None])[..., :3, 0]

    def cameras(self, hands: Tensor) -> Tensor:
        """World poses of the cameras: (B, n, arms, 4, 4) -> (B, n, V, 4, 4)."""
        poses = []
        for view, mount in enumerate(self.mounts):
            own = self.mounted[view]
            moving = None if mount is None else hands[:, :, self.robot.arms.index(mount)]
            poses.append(own.expand(*hands.shape[:2], 4, 4) if moving is None else moving @ own)
        return torch.stack(poses, dim=2)

    def _seen(self, points: Tensor, cameras: Tensor) -> tuple[Tensor, Tensor]:
        """World points (B, n, k, 3) by cameras (B, n, V, 4, 4) -> places (B, n, V, k, 2) in [0, 1], depths."""
        offset = points[:, :, None] - cameras[..., None, :3, 3]
        local = offset @ cameras[..., :3, :3]  # (B, n, V, k, 3)
        depth = -local[..., 2]
        scale = self.focal[:, None] / depth.clamp(min=_NEAREST_M)
        return torch.stack([0.5 + scale * local[..., 0], 0.5 - scale * local[..., 1]], dim=-1), depth

    def drawn(self, hands: Tensor, elbows: Tensor, tips: Tensor, cameras: Tensor) -> Tensor:
        """(B, n, marks, h, w)."""
        palms = hands[..., :3, 3]
        along = torch.linspace(0, 0.8, 5, device=palms.device)[:, None]
        forearm = palms[..., None, :] + along * (elbows - palms)[..., None, :]
        points = torch.cat([tips, tips.mean(-2, keepdim=True), forearm], dim=-2)  # (B, n, arms, k, 3)
        arms, kinds = points.shape[2:4]
        places, depth = self._seen(points.flatten(2, 3), cameras)
        offset = (self.pixels.diagonal().mT - places[..., None, :]) / _SPREAD  # (B, n, V, arms * k, h, 2)
        across, down = torch.exp(-0.5 * offset.square()).unbind(-1)
        down = down * (depth > _NEAREST_M)[..., None]
        down, across = (part.unflatten(3, (arms, kinds)) for part in (down, across))
        height = _HEIGHT_SCALE * points[..., 2, 2][:, :, None, :, None]  # (B, n, 1, arms, 1)
        fingers = torch.einsum("...akh,...akw->...ahw", down[..., :2, :], across[..., :2, :])
        heights = torch.einsum("...ah,...aw->...hw", down[..., 2, :] * height, across[..., 2, :])
        rest = torch.einsum("...akh,...akw->...hw", down[..., 3:, :], across[..., 3:, :])
        return torch.cat([fingers, heights[:, :, :, None], rest[:, :, :, None]], dim=3).flatten(2, 3)

    def moved(
        self, cameras: Tensor, newest: Tensor, height_m: float, still: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What moving cameras will see as far as it lies on a plane and is seen now.

        cameras (B, 1 + K, V, 4, 4), now and at K ticks; newest latents (B, V, c, h, w); `still` as for `forward`.
        Pictures (B, K, M, S, c, h, w); where they show anything (B, K, M, S, 1, h, w), 1 or 0; and from where in the
        picture that shows it each pixel comes, (B, K, M, S, 2, h, w) in pixels, (0, 0) being the middle of the first.
        """
        points, facing = self._plane_points(cameras[:, 1:, self.moving], height_m)
        at_all_ticks = newest[:, None].expand(-1, points.shape[1], -1, -1, -1, -1)
        found = [self._seen_at(points, cameras, at_all_ticks[:, :, self.moving], self.moving)]
        for index, view in enumerate(self.still):
            views, there = [view] * len(self.moving), [index] * len(self.moving)
            source = at_all_ticks[:, :, views] if still is None else still[:, :, there]
            found.append(self._seen_at(points, cameras, source, views))
        pictures, inside, places = (torch.stack(part, dim=3) for part in zip(*found, strict=True))
        valid = (inside & facing[:, :, :, None, None]).to(pictures)
        return pictures * valid, valid, places

    def _plane_points(self, cameras: Tensor, height_m: float) -> tuple[Tensor, Tensor]:
        """Where each pixel's ray meets a plane: cameras (B, K, M, 4, 4) -> (B, K, M, h * w, 3), bool (.., h, w)."""
        focal = self.focal[self.moving][:, None, None]
        flat = torch.stack([(self.pixels[..., 0] - 0.5) / focal, (0.5 - self.pixels[..., 1]) / focal], dim=-1)
        rays = torch.cat([flat, -torch.ones_like(flat[..., :1])], dim=-1)  # (M, h, w, 3) in the camera's frame
        way = (cameras[..., :3, :3] @ rays.flatten(1, 2).mT).mT  # (B, K, M, h * w, 3) in the world
        origin = cameras[..., None, :3, 3]
        reach = (height_m - origin[..., 2]) / way[..., 2].clamp(max=-1e-3)
        facing = (way[..., 2] < -1e-3).unflatten(-1, (self.size, self.size))
        return origin + reach.clamp(max=1.5)[..., None] * way, facing

    def _seen_at(
        self, points: Tensor, cameras: Tensor, source: Tensor, views: list[int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What pictures of M `views`, from where these are now, show at points (B, K, M, h * w, 3).

        source (B, K, M, c, h, w) -> pictures like it, whether they show the point, and from which pixel.
        """
        now = cameras[:, :1, views]
        local = (points - now[..., None, :3, 3]) @ now[..., :3, :3]
        depth = -local[..., 2]
        scale = self.focal[views][:, None] / depth.clamp(min=_NEAREST_M)
        place = torch.stack([2 * scale * local[..., 0], -2 * scale * local[..., 1]], dim=-1)  # in [-1, 1]
        inside = (place.abs() <= 1).all(-1) & (depth > _NEAREST_M)
        shape, source = place.shape[:3], source.flatten(0, 2)
        grid = place.flatten(0, 2).view(-1, self.size, self.size, 2)
        picture = nn.functional.grid_sample(source, grid, padding_mode="border", align_corners=False)
        square = (self.size, self.size)
        pixel = (self.size * (place + 1) - 1) / 2
        return picture.unflatten(0, shape), inside.unflatten(-1, square)[:, :, :, None], pixel.mT.unflatten(-1, square)


def _rotation(quaternion: tuple[float, ...]) -> Tensor:
    """Of a quaternion (w, x, y, z), of any length: (3, 3)."""
    w, x, y, z = (torch.tensor(quaternion) / torch.tensor(quaternion).norm()).tolist()
    return torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _pose(position: tuple[float, ...], rotation: Tensor) -> Tensor:
    pose = torch.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, torch.tensor(position, dtype=torch.float32)
    return pose


def _camera_pose(camera: Camera) -> Tensor:
    right = torch.tensor(camera.right, dtype=torch.float32)
    right = right / right.norm()
    up = torch.tensor(camera.up, dtype=torch.float32)
    up = up - right * (right @ up)
    up = up / up.norm()
    return _pose(camera.position, torch.stack([right, up, torch.linalg.cross(right, up)], dim=1))


def _about_z(angle: Tensor) -> Tensor:
    """Rotations about z: (...) -> (..., 4, 4)."""
    turn = torch.zeros(*angle.shape, 4, 4, dtype=angle.dtype, device=angle.device)
    sine, cosine = angle.sin(), angle.cos()
    turn[..., 0, 0], turn[..., 0, 1], turn[..., 1, 0], turn[..., 1, 1] = cosine, -sine, sine, cosine
    turn[..., 2, 2] = turn[..., 3, 3] = 1
    return turn
