"""The box-closing scene: a cup, a free cardboard box with two side flaps, a rear flap, and a lid with a tuck tab.

Everything that happens is contact physics. A crease is bistable, as in cardboard: a flap folded past its crease angle
stays, one folded less springs open again. The lid's own crease always opens; only the tab, sprung against the inside of
the rear wall, keeps it shut. The tab rests at a shallow angle and has to be bent down while the lid comes down, or it
ends on top of the wall.

In the frame of the box x points to its rear (away from the robot), y to the robot's left, z up; the origin is in the
middle of its underside. A flap's angle is 0 when folded flat and grows as it opens.
"""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from rise_gym.envs.mujoco import robot
from rise_gym.envs.mujoco.box_close_model import FLAPS, Draw, draw, mjcf
from rise_gym.envs.mujoco.box_close_model import BoxCloseConfig as BoxCloseConfig
from rise_gym.envs.mujoco.scene import StagedScene

HALF_SHUT_RAD = 0.5  # of the lid: here the tab is bent inside
APPROACH_M, TOUCH_M = 0.30, 0.03  # from here on a tool counts as coming near, and as being there
TAB_MARGIN_M = 0.008  # so far from the rear wall the tab is surely on one side of it


class BoxCloseScene(StagedScene):
    """One episode's model, asked in the task's own words. Angles in rad, lengths in m, positions in the world frame."""

    task = "box_close"
    config_class = BoxCloseConfig

    def __init__(self, start: Draw, config: BoxCloseConfig) -> None:
        self.start, self.config = start, config
        self.model = mujoco.MjModel.from_xml_string(mjcf(start, config))
        self.data = mujoco.MjData(self.model)
        self._place()

    def _place(self) -> None:
        joints = np.array(self.start.home_joints)
        robot.home_qpos(self.model, self.data.qpos, joints)
        self.data.ctrl[:] = robot.joint_targets_to_ctrl(joints)
        for name, angle in zip(FLAPS, self.start.flap_open_rad, strict=True):
            self.data.joint(f"{name}_flap").qpos[0] = angle
        self.data.joint("lid").qpos[0] = self.start.lid_open_rad
        self.data.joint("tab").qpos[0] = self.config.tab_rest_rad

    @classmethod
    def sample(cls, generator: np.random.Generator, config: BoxCloseConfig) -> BoxCloseScene:
        """A new start, drawn from `generator`."""
        return cls(draw(config, generator), config)

    @property
    def box_size_m(self) -> tuple[float, float, float]:
        """Inside depth (x), width (y) and height."""
        return self.start.box_size_m

    def box_pose(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Position (3,) of the box's origin and its rotation matrix (3, 3)."""
        body = self.data.body("box")
        return body.xpos.copy(), body.xmat.reshape(3, 3).copy()

    def in_box(self, point: NDArray[np.float64]) -> NDArray[np.float64]:
        """A world point (3,) in the frame of the box."""
        position, rotation = self.box_pose()
        return (point - position) @ rotation

    def box_point(self, x: float, y: float, z: float) -> NDArray[np.float64]:
        """The world position (3,) of a point of the box's frame."""
        position, rotation = self.box_pose()
        return position + rotation @ np.array([x, y, z])

    def cup_position(self) -> NDArray[np.float64]:
        """The middle of the cup (3,)."""
        return self.data.body("cup").xpos.copy()

    def cup_tilt_rad(self) -> float:
        """Between the cup's axis and the vertical, 0 to pi / 2."""
        return float(np.arccos(np.clip(abs(self.data.body("cup").xmat[8]), 0, 1)))

    def cup_in_box(self) -> bool:
        """The middle of the cup is inside the walls and below the rim."""
        depth, width, height = self.box_size_m
        x, y, z = self.in_box(self.cup_position())
        return bool(abs(x) < depth / 2 and abs(y) < width / 2 and z < height * 0.75)

    def flap_angle(self, name: str) -> float:
        """Of the `"left"`, `"right"` or `"rear"` flap; 0 is folded."""
        return float(self.data.joint(f"{name}_flap").qpos[0])

    def lid_angle(self) -> float:
        """0 is closed."""
        return float(self.data.joint("lid").qpos[0])

    def edge(self, name: str) -> NDArray[np.float64]:
        """World position (3,) of the middle of a free edge: `left_flap`, `right_flap`, `rear_flap`, `lid`, `tab`."""
        return self.data.site(f"{name}_edge").xpos.copy()

    def tab_depth_m(self) -> float:
        """How far the tab's edge is below the rim, if it is inside of the rear wall; else minus its distance."""
        depth, _, height = self.box_size_m
        x, _, z = self.in_box(self.edge("tab"))
        return float(height - z) if x < depth / 2 + 0.001 else -float(np.hypot(x - depth / 2, max(0.0, z - height)))

    def tab_tucked(self) -> bool:
        """The lid is shut and the tab is behind the rear wall."""
        return self.lid_angle() < self.config.closed_rad and self.tab_depth_m() > self.config.tucked_depth_m

    def stages(self) -> dict[str, bool]:
        """Which stages hold now, each by itself."""
        folded = self.config.folded_rad
        return {
            "cup_loaded": self.cup_in_box(),
            "side_flaps_folded": self.flap_angle("left") < folded and self.flap_angle("right") < folded,
            "rear_flap_folded": self.flap_angle("rear") < folded,
            "tab_tucked": self.tab_tucked(),
        }

    def fraction(self, stage: str) -> float:
        """How far a stage that does not hold yet has come, 0 to 1."""
        return float(np.clip(getattr(self, f"_{stage}_fraction")(), 0.0, 1.0))

    # Each fraction rises from the first move of a hand on: a chunk that only approaches is told from one that does not.

    def _near(self, arm: str, point: NDArray[np.float64]) -> float:
        """1 where the tool of an arm is at a world point (3,), 0 from `APPROACH_M` on."""
        distance = np.linalg.norm(self.data.site(f"{arm}_tool").xpos - point)
        return float(np.clip((APPROACH_M - distance) / (APPROACH_M - TOUCH_M), 0, 1))

    def _cup_loaded_fraction(self) -> float:
        start = np.subtract(self.start.cup_xy_m, self.start.box_xy_m)
        now = (self.cup_position() - self.box_pose()[0])[:2]
        carried = np.clip(1 - np.linalg.norm(now) / np.linalg.norm(start), 0, 1)
        lifted = np.clip((self.cup_position()[2] - self.start.cup_height_m / 2) / self.box_size_m[2], 0, 1)
        upright = np.clip(1 - self.cup_tilt_rad(), 0, 1)  # a toppled cup is hard to get hold of
        return 0.25 * self._near("right", self.cup_position()) + float(upright * (0.5 * carried + 0.2 * lifted))

    def _folded_fraction(self, name: str, arm: str) -> float:
        opened, folded = self.start.flap_open_rad[FLAPS.index(name)], self.config.folded_rad
        if self.flap_angle(name) < folded:
            return 1.0
        turned = float(np.clip((opened - self.flap_angle(name)) / (opened - folded), 0, 1))
        return 0.3 * self._near(arm, self.edge(f"{name}_flap")) + 0.65 * turned

    def _side_flaps_folded_fraction(self) -> float:
        return 0.49 * (self._folded_fraction("left", "left") + self._folded_fraction("right", "right"))

    def _rear_flap_folded_fraction(self) -> float:
        return self._folded_fraction("rear", "right")

    def _tab_tucked_fraction(self) -> float:
        """The hands come, the lid is half shut, the tab bent inside of the wall, then both go down.

        A lid shut on a tab that lies on the wall is worth less than one that is half open: it is a way back.
        """
        opened, closed, angle = self.start.lid_open_rad, self.config.closed_rad, self.lid_angle()
        lowered = float(np.clip((opened - angle) / (opened - HALF_SHUT_RAD), 0, 1))
        shut = float(np.clip((HALF_SHUT_RAD - angle) / (HALF_SHUT_RAD - closed), 0, 1))
        margin = self.box_size_m[0] / 2 - self.in_box(self.edge("tab"))[0]  # of the tab's edge to the rear wall
        inside = float(np.clip(0.5 + margin / (2 * TAB_MARGIN_M), 0, 1))
        hands = self._near("left", self.edge("lid")) + self._near("right", self.edge("tab"))
        return 0.1 * hands + 0.25 * lowered + inside * (0.2 * lowered + 0.3 * shut)
