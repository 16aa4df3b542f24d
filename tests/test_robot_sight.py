"""What the robot's geometry says about pictures, against the replica's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor

from rise_gym._robot_sight import RobotSight
from rise_gym.agents.scripted import expert_actor
from rise_gym.errors import UnknownTask
from rise_gym.robots import TWO_PIPERS, robot_card
from rise_gym.tasks import task_card

CAMERAS = task_card("box_close").cameras


@pytest.fixture(scope="module")
def watched() -> tuple[Any, list[Any], Any]:
    """The first ticks of an expert's episode: the env at their end, observations, fingertip positions at the end."""
    env = gymnasium.make("RiseMujoco-BoxClose-v0", chunk=1, disable_env_checker=True)
    observation, _ = env.reset(seed=5)
    expert = expert_actor("box_close")
    expert.reset(env, 5)
    seen = [observation]
    for _ in range(60):
        observation, *_ = env.step(expert.act(env, observation)[1])
        seen.append(observation)
    return env.unwrapped, seen, [env.unwrapped.scene.data.site(f"{arm}_tool").xpos.copy() for arm in TWO_PIPERS.arms]


def joints(observations: list[Any]) -> Tensor:
    return torch.from_numpy(np.stack([seen["proprio"] for seen in observations]))[None]


def pictures(observation: Any) -> Tensor:
    """(1, V, 3, H, W)."""
    return torch.from_numpy(np.stack([observation[camera] for camera in CAMERAS]))[None].permute(0, 1, 4, 2, 3).float()


def test_marks_lie_where_the_cameras_see_the_fingertips(watched: Any) -> None:
    env, seen, tools = watched
    sight = RobotSight(TWO_PIPERS, CAMERAS, 64)
    marks, _, _ = sight(joints([seen[-1], seen[-1]]), pictures(seen[-1]))
    fingers = marks[0, 0].unflatten(0, (len(CAMERAS), -1))[:, : len(tools)]  # (V, arms, H, W)
    checked = 0
    for view, camera in enumerate(CAMERAS):
        for arm, tool in enumerate(tools):
            place = projected(env, camera, tool)
            if place is None:
                continue
            assert np.hypot(*(np.array(place) - center(fingers[view, arm]))) < 1.0
            checked += 1
    assert checked >= 2


def projected(env: Any, camera: str, point: np.ndarray[Any, Any]) -> tuple[float, float] | None:
    """Where MuJoCo's camera shows a world point, in pixels (column, row); None if well outside of the picture."""
    data, model = env.scene.data, env.scene.model
    local = (point - data.camera(camera).xpos) @ data.camera(camera).xmat.reshape(3, 3)
    scale = 32 / np.tan(np.radians(model.camera(camera).fovy[0]) / 2) / -local[2]
    column, row = 32 + scale * local[0], 32 - scale * local[1]
    return (column, row) if 10 < column < 54 and 10 < row < 54 else None


def center(mark: Tensor) -> tuple[float, float]:
    """Middle of a mark in pixels (column, row)."""
    middle = torch.arange(64) + 0.5
    return float((mark.sum(0) * middle).sum() / mark.sum()), float((mark.sum(1) * middle).sum() / mark.sum())


def test_a_picture_moves_as_its_camera_does(watched: Any) -> None:
    _, seen, _ = watched
    now, later = seen[50], seen[54]  # an empty hand goes home
    sight = RobotSight(TWO_PIPERS, CAMERAS, 64)
    _, moved, valid = sight(joints([now, later]), pictures(now))
    assert [CAMERAS[view] for view in sight.moving] == ["left_wrist", "right_wrist"]
    right = sight.moving.index(CAMERAS.index("right_wrist"))
    before, after = pictures(now)[0, CAMERAS.index("right_wrist")], pictures(later)[0, CAMERAS.index("right_wrist")]
    shown = valid[0, 0, right, 0].bool().expand_as(after)
    shown = shown & (torch.arange(64) >= 32)[:, None]  # below the gripper, which moves with the camera
    assert shown.float().mean() > 0.1
    by_moving = (moved[0, 0, right, 0] - after)[shown].square().mean()
    by_copying = (before - after)[shown].square().mean()
    assert by_moving < 0.4 * by_copying


def test_a_picture_stays_where_the_joints_stay(watched: Any) -> None:
    _, seen, _ = watched
    _, moved, valid = RobotSight(TWO_PIPERS, CAMERAS, 64)(joints([seen[40]] * 3), pictures(seen[40]))
    own, shown = moved[:, :, :, 0], valid[:, :, :, 0]
    same = pictures(seen[40])[:, None, 1:].expand_as(own)
    torch.testing.assert_close(own, same * shown, atol=0.05, rtol=0)
    assert shown.mean() > 0.5


def test_the_still_camera_shows_what_comes_into_a_moving_ones_view(watched: Any) -> None:
    _, seen, _ = watched
    sight = RobotSight(replace(TWO_PIPERS, surface_m=0.0), CAMERAS, 64)
    assert sight.sources == 2
    _, moved, valid = sight(joints([seen[0], seen[0]]), pictures(seen[0]))
    left = sight.moving.index(CAMERAS.index("left_wrist"))
    own, theirs = moved[0, 0, left]
    both = (valid[0, 0, left].prod(0).bool() & (torch.arange(64) >= 32)[:, None]).expand_as(own)
    assert both.float().mean() > 0.1
    apart = (own - theirs)[both].square().mean()
    shuffled = (own - theirs.flip(-1))[both].square().mean()
    assert apart < 0.5 * shuffled


def test_an_unknown_robot_is_named() -> None:
    with pytest.raises(UnknownTask, match="two_pipers"):
        robot_card("three_pipers")


def test_marks_tell_how_they_move_with_the_joints(watched: Any) -> None:
    """A slope of the advantage needs the gradient, here against finite differences in double precision."""
    _, seen, _ = watched
    sight = RobotSight(TWO_PIPERS, CAMERAS, 16).double()
    frames = torch.zeros(1, len(CAMERAS), 1, 16, 16, dtype=torch.float64)
    weights = torch.randn(1, 1, sight.marks, 16, 16, generator=torch.Generator().manual_seed(0)).double()

    def seen_as(later: Tensor) -> Tensor:
        return (weights * sight(torch.stack([now, later], dim=1), frames)[0]).sum()

    now = joints([seen[-1]])[0].double()
    assert torch.autograd.gradcheck(seen_as, now.clone().requires_grad_(), eps=1e-6, atol=1e-4)
