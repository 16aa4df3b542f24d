"""The brick-sorting scene: a running belt carries bricks of two colours past two bins, one a colour.

Friction carries the bricks, and a gripper takes them off by friction too. The belt never stops: a brick that nobody
takes is carried out of reach.
"""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from rise_gym.envs.mujoco import robot
from rise_gym.envs.mujoco.brick_sort_model import (
    BELT_HALF_WIDTH_M,
    BELT_TOP_M,
    BIN_HALF_M,
    BIN_HEIGHT_M,
    WALL_M,
    BrickSortConfig,
    Draw,
    draw,
    mjcf,
)
from rise_gym.envs.mujoco.scene import Scene
from rise_gym.tasks import ARMS, task_card

Vector = NDArray[np.float64]

GRASPED, SORTED, WRONG_BIN, LOST = 1.0, 2.5, -1.0, -0.5  # points of one brick
NEAR_SHARE, RAISED_SHARE, CARRIED_SHARE = 0.4, 0.4, 1.2  # points of progress on the way: to a grasp, to its bin
APPROACH_M, TOUCH_M = 0.30, 0.03  # from here on a tool counts as coming near, and as being there
HELD_M, LIFTED_M = 0.035, 0.010  # of a held brick: at most so far from the tool, at least so far above the belt
PLAY_M = 0.006  # fingers further apart than a brick is long, and this, do not hold it
CARRY_M = 0.35  # so far from its bin a held brick is not yet carried at all


class BrickSortScene(Scene):
    """One episode's model, asked in the task's own words. Angles in rad, lengths in m, positions in the world frame.

    A brick is worth 1.0 point while a gripper holds it off the belt, 2.5 in the bin of its colour, -1.0 in the other
    bin, and -0.5 while it is lost: carried past `lost_y_m`, or fallen beside the belt and the bins and not picked up
    again. All else is worth nothing. The score is the sum over the bricks, in 0 to 10; progress adds up to 0.8 points
    for a hand that comes and lifts, and up to 1.2 to a grasp for the way to the bin.
    """

    task = "brick_sort"
    config_class = BrickSortConfig

    def __init__(self, start: Draw, config: BrickSortConfig) -> None:
        self.start, self.config = start, config
        self.model = mujoco.MjModel.from_xml_string(mjcf(start, config))
        self.data = mujoco.MjData(self.model)
        self._bodies = [self.model.body(f"brick_{index}").id for index in range(len(start.bricks))]
        self._tools = {arm: self.model.site(f"{arm}_tool").id for arm in ARMS}
        self._fingers = {arm: robot.joint_addresses(self.model, arm)[6:] for arm in ARMS}
        self._half_sizes = [np.array(brick.size_m) / 2 for brick in start.bricks]
        self._place()

    def _place(self) -> None:
        """Arms at home, the belt running and the bricks with it."""
        joints = np.array(self.start.home_joints)
        robot.home_qpos(self.model, self.data.qpos, joints)
        servos = robot.joint_targets_to_ctrl(joints)
        self.data.ctrl[: len(servos)] = servos
        self.data.actuator("belt").ctrl[0] = self.start.belt_speed_m_s
        self.data.joint("belt").qvel[0] = self.start.belt_speed_m_s
        for index in self.bricks:
            self.data.joint(f"brick_{index}").qvel[1] = self.start.belt_speed_m_s

    @classmethod
    def sample(cls, generator: np.random.Generator, config: BrickSortConfig) -> BrickSortScene:
        """A new start, drawn from `generator`."""
        return cls(draw(config, generator), config)

    @property
    def bricks(self) -> range:
        """Their numbers, in the order of arrival."""
        return range(len(self.start.bricks))

    def brick_position(self, brick: int) -> Vector:
        """The middle of a brick (3,)."""
        return self.data.xpos[self._bodies[brick]].copy()

    def brick_axes(self, brick: int) -> Vector:
        """The directions of its length, width and height, as columns (3, 3)."""
        return self.data.xmat[self._bodies[brick]].reshape(3, 3).copy()

    def bottom_m(self, brick: int) -> float:
        """Height of a brick's lowest point."""
        sinks = np.abs(self.data.xmat[self._bodies[brick]][6:]) @ self._half_sizes[brick]
        return float(self.data.xpos[self._bodies[brick]][2] - sinks)

    def tool_position(self, arm: str) -> Vector:
        """Between an arm's fingertips (3,)."""
        return self.data.site_xpos[self._tools[arm]].copy()

    def bin_center(self, arm: str) -> Vector:
        """The middle of a bin's floor (3,), named after the arm at its side."""
        return np.array([*self.start.bins_xy_m[ARMS.index(arm)], WALL_M])

    def belt_speed_m_s(self) -> float:
        """Measured, along y."""
        return float(self.data.joint("belt").qvel[0])

    def over_bin(self, brick: int) -> str | None:
        """Between the walls of which bin a brick's middle is, seen from above."""
        position = self.data.xpos[self._bodies[brick]]
        for arm in ARMS:
            away = np.abs(position - self.bin_center(arm))
            if away[0] < BIN_HALF_M[0] and away[1] < BIN_HALF_M[1]:
                return arm
        return None

    def binned(self, brick: int) -> str | None:
        """In which bin it is: its middle between the walls and below their rim."""
        return self.over_bin(brick) if self.data.xpos[self._bodies[brick]][2] < BIN_HEIGHT_M else None

    def holder(self, brick: int) -> str | None:
        """Which arm holds it: off the belt, at the tool, and the fingers are not apart by more than it is long."""
        if self.bottom_m(brick) < BELT_TOP_M + LIFTED_M:
            return None
        nearest = min(ARMS, key=lambda arm: self._distance(arm, brick))
        at_hand = self._distance(nearest, brick) < HELD_M
        return nearest if at_hand and self.opening_m(nearest) < 2 * self._half_sizes[brick][0] + PLAY_M else None

    def opening_m(self, arm: str) -> float:
        """Measured, between an arm's fingers."""
        return float(self.data.qpos[self._fingers[arm]].sum())

    def lost(self, brick: int) -> bool:
        """Out of reach, or fallen beside belt and bins, and not held."""
        away = self.data.xpos[self._bodies[brick]][1] > self.config.lost_y_m
        return bool(away or self.lying_beside(brick)) and self.holder(brick) is None

    def lying_beside(self, brick: int) -> bool:
        """On the table or leaning on something, neither on the belt nor in a bin."""
        x, _, z = self.data.xpos[self._bodies[brick]]
        beside = abs(x - self.config.belt_x_m) > BELT_HALF_WIDTH_M or z < BELT_TOP_M
        return bool(beside and self.bottom_m(brick) < BELT_TOP_M + LIFTED_M and self.over_bin(brick) is None)

    def in_its_bin(self, brick: int) -> bool:
        """In the bin of its colour."""
        return self.binned(brick) == self.start.bricks[brick].home

    def stages(self) -> dict[str, bool]:
        """Which stages hold now: how many bricks are in the bin of their colour."""
        count = sum(self.in_its_bin(brick) for brick in self.bricks)
        return {stage.name: count > number for number, stage in enumerate(task_card(self.task).stages)}

    def score(self) -> float:
        """The points of all bricks, 0 to 10."""
        return float(np.clip(sum(self._points(brick) for brick in self.bricks), 0, 10))

    def progress(self) -> float:
        """The score / 10 with what is under way interpolated, in [0, 1]: at least the score / 10, 1 if all is done."""
        worth = (self._points(brick) + self._points_to_come(brick) for brick in self.bricks)
        return float(np.clip(sum(worth), 0, 10) / 10)

    def _points(self, brick: int) -> float:
        where = self.binned(brick)
        if where is not None:
            return SORTED if where == self.start.bricks[brick].home else WRONG_BIN
        if self.holder(brick) is not None:
            return GRASPED
        return LOST if self.lost(brick) else 0.0

    def _points_to_come(self, brick: int) -> float:
        """What is added as a hand comes near, lifts the brick, and carries it: less than the next whole achievement."""
        if self.binned(brick) is not None or self.lost(brick):
            return 0.0
        home = self.start.bricks[brick].home
        away = float(np.linalg.norm(self.brick_position(brick)[:2] - self.bin_center(home)[:2]))
        carried = CARRIED_SHARE * float(np.clip(1 - away / CARRY_M, 0, 1))
        if self.holder(brick) is not None:
            return carried
        if self.over_bin(brick) == home:  # let go above its bin: it falls in
            return GRASPED + carried
        distance = min(self._distance(arm, brick) for arm in ARMS)
        near = float(np.clip((APPROACH_M - distance) / (APPROACH_M - TOUCH_M), 0, 1))
        raised = float(np.clip((self.bottom_m(brick) - BELT_TOP_M) / LIFTED_M, 0, 1))
        return near * (NEAR_SHARE + RAISED_SHARE * raised)

    def _distance(self, arm: str, brick: int) -> float:
        return float(np.linalg.norm(self.data.site_xpos[self._tools[arm]] - self.data.xpos[self._bodies[brick]]))
