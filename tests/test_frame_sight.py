"""What the robot's geometry says about one frame, against the replica's own pictures."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor

from rise_gym._frame_sight import seen, seen_channels
from rise_gym._robot_sight import RobotSight
from rise_gym.agents.scripted import expert_actor
from rise_gym.envs.mujoco.views import painter
from rise_gym.robots import TWO_PIPERS
from rise_gym.tasks import task_card

CAMERAS = task_card("box_close").cameras
SHAPES = 14  # of both arms: upper arm, forearm, wrist, flange, palm, two fingers


@pytest.fixture(scope="module")
def scene() -> Any:
    """The replica after the first ticks of an expert's episode."""
    env = gymnasium.make("RiseMujoco-BoxClose-v0", chunk=1, disable_env_checker=True)
    observation, _ = env.reset(seed=5)
    expert = expert_actor("box_close")
    expert.reset(env, 5)
    for _ in range(45):
        observation, *_ = env.step(expert.act(env, observation)[1])
    return env.unwrapped, torch.from_numpy(observation["proprio"])[None, None]


def covered_truly(env: Any, camera: str, size: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Pixels that show the arms in the replica, and those that show a base or a shoulder: bool (H, W)."""
    model = copy.copy(env.scene.model)
    bodies = [model.body(body).name for body in model.geom_bodyid]
    base = np.array([name.endswith(("_base", "_link1")) for name in bodies])
    arms = np.array([name.startswith(TWO_PIPERS.arms) and "flap" not in name for name in bodies]) & ~base

    def shown(geoms: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        pictures = []
        for color in ([1, 0, 1, 1], [0, 1, 0, 1]):
            model.geom_rgba[:] = env.scene.model.geom_rgba
            model.geom_rgba[geoms] = color
            pictures.append(painter((size, size)).paint(model, env.scene.data, (camera,))[camera].astype(int))
        return np.abs(pictures[0] - pictures[1]).max(-1) > 30

    return shown(arms), shown(base)


def test_outlines_are_those_of_the_replicas_arms(scene: Any) -> None:
    env, joints = scene
    sight = RobotSight(TWO_PIPERS, CAMERAS, 64)
    maps = seen(sight, joints.repeat(1, 2, 1), torch.zeros(1, len(CAMERAS), 4, 64, 64))
    assert maps.shape == (1, 1, len(CAMERAS), seen_channels(sight, 4), 64, 64)
    later = maps[0, 0, :, -2 * (SHAPES + 1) : -(SHAPES + 1)]
    for view, camera in enumerate(CAMERAS):
        arms, base = covered_truly(env, camera, 64)
        drawn = (later[view, :SHAPES] < 0).any(0).numpy()
        both, either = (drawn & arms & ~base).sum(), ((drawn | arms) & ~base).sum()
        assert arms.sum() > 200, camera
        assert both / either > 0.8, f"{camera}: {both} of {either} pixels"


def test_outlines_now_and_then_differ_only_if_the_joints_do(scene: Any) -> None:
    _, joints = scene
    sight = RobotSight(TWO_PIPERS, CAMERAS, 16)
    moved = joints.clone()
    moved[..., 0] += 0.3
    maps = seen(sight, torch.cat([joints, joints, moved], dim=1), torch.zeros(1, len(CAMERAS), 4, 16, 16))
    then, now = maps[:, :, :, -2 * (SHAPES + 1) : -(SHAPES + 1)], maps[:, :, :, -(SHAPES + 1) :]
    torch.testing.assert_close(then[:, 0], now[:, 0])
    assert bool((then[:, 1] - now[:, 1]).abs().amax() > 0.5)


def test_the_fingers_part_as_the_gripper_opens(scene: Any) -> None:
    _, joints = scene
    sight = RobotSight(TWO_PIPERS, CAMERAS, 64)

    def width(opening_m: float) -> float:
        posed = joints.clone()
        posed[..., 6] = opening_m
        maps = seen(sight, posed.repeat(1, 2, 1), torch.zeros(1, len(CAMERAS), 4, 64, 64))
        fingers = maps[0, 0, CAMERAS.index("left_wrist"), -2 * (SHAPES + 1) :][5:7]
        centers = [middle(finger < 0) for finger in fingers]
        return float(abs(centers[0] - centers[1]))

    assert width(0.06) > width(0.02) + 5


def middle(inside: Tensor) -> Tensor:
    """Mean column of the pixels of a mask (H, W)."""
    return inside.nonzero()[:, 1].float().mean()


def test_the_same_plane_as_the_denoisers_shows_the_same_picture(scene: Any) -> None:
    _, joints = scene
    sight = RobotSight(TWO_PIPERS, CAMERAS, 16)
    newest = torch.randn(1, len(CAMERAS), 4, 16, 16, generator=torch.Generator().manual_seed(0))
    maps = seen(sight, joints.repeat(1, 2, 1), newest)[0, 0]
    _, pictures, valid = sight(joints.repeat(1, 2, 1), newest)
    plane = TWO_PIPERS.planes_m.index(TWO_PIPERS.surface_m)
    assert sight.sources == 2
    own = maps[CAMERAS.index("left_wrist"), 4 + plane * 18 :]
    torch.testing.assert_close(own[:4], pictures[0, 0, 0, 0])
    torch.testing.assert_close(own[4:5], valid[0, 0, 0, 0])
    assert not maps[CAMERAS.index("head"), 4 : 4 + 3 * 18].any()  # its camera stands still
    turn = 2 * torch.pi * torch.arange(16.0)  # where nothing moved each pixel comes from itself
    where = valid[0, 0, 0, 0, 0].bool()
    torch.testing.assert_close(own[5][where], turn.sin().expand(16, 16)[where], atol=5e-3, rtol=0)
