"""The scripted expert for box closing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rise_gym.agents.scripted import ScriptedExpert, Vector, Waypoint
from rise_gym.tasks import ARMS

FINGER_HALF_M = 0.013  # from the middle of the closed fingers to their outside


class BoxCloseExpert(ScriptedExpert):
    """Loads the cup with the right arm, folds the side flaps with both, the rear flap, then lid and tab together."""

    def across(self) -> Vector:
        side: Vector = self.scene.box_pose()[1][:, 1]
        return side

    def choose(self) -> None:
        if any(script.plan for script in self.arms.values()):
            return
        stages = self.scene.stages()
        if not stages["cup_loaded"]:
            plans = {"right": self._load_cup()}
        elif not stages["side_flaps_folded"]:
            open_sides = [side for side in ARMS if self.scene.flap_angle(side) >= self.scene.config.folded_rad]
            plans = {side: self._fold_side(side) for side in open_sides}
        elif not stages["rear_flap_folded"]:
            plans = {"right": self._fold_rear()}
        else:
            plans = {"left": self._close_lid(), "right": self._tuck_tab()}
        for arm, script in self.arms.items():
            script.begin(plans.get(arm, []))

    def _at(self, x: float, y: float, z: float, **how: Any) -> Waypoint:
        """A waypoint in the frame of the box."""
        return Waypoint(position=lambda: self.scene.box_point(x, y, z), **how)

    def _load_cup(self) -> list[Waypoint]:
        scene = self.scene
        squeezed = max(0.0, 2 * scene.start.cup_radius_m - 0.03)
        inside = scene.start.cup_height_m / 2 + 0.03
        above_table = scene.cup_position()[2] - scene.start.cup_height_m / 2
        lifted = scene.cup_position() + np.array([0, 0, max(0.0, 0.17 - above_table)])

        def cup(height: float) -> Callable[[], Vector]:
            return lambda: scene.cup_position() + np.array([0, 0, height])

        grasp = [
            Waypoint(position=cup(0.10), opening_m=0.09),
            Waypoint(position=cup(0.004), opening_m=0.09, tolerance_m=0.008, speed_m_s=0.25),
            Waypoint(position=cup(0.004), opening_m=squeezed, wait_ticks=3, speed_m_s=0.1),
        ]
        away = np.linalg.norm(scene.data.site("right_tool").xpos - scene.cup_position())
        if above_table > 0.01 and away < 0.03:  # who takes over from another is not to let it fall
            grasp = []
        return [
            *grasp,
            Waypoint(position=lambda: lifted, opening_m=squeezed, tolerance_m=0.03),
            self._at(0, 0, 0.20, opening_m=squeezed, wait_ticks=1),
            self._at(0, 0, inside, opening_m=squeezed, tolerance_m=0.012, wait_ticks=1, speed_m_s=0.2),
            self._at(0, 0, inside, opening_m=0.09, wait_ticks=2),
            self._at(0, 0, 0.2, opening_m=0.09, tolerance_m=0.03),
            self.home("right"),
        ]

    def _fold_side(self, side: str) -> list[Waypoint]:
        """From outside, along the arc of the flap's outer face, over its crease."""
        _, width, height = self.scene.box_size_m
        sign = 1 if side == "left" else -1
        x, along, off = -self.scene.config.slot_m / 2, 0.036, FINGER_HALF_M + 0.001
        arc = [
            self._at(
                x,
                sign * (width / 2 - along * np.cos(a) + off * np.sin(a)),
                height + along * np.sin(a) + off * np.cos(a),
            )
            for a in (2.0, 1.5, 1.0, 0.6, 0.3, 0.05, -0.05)
        ]  # fmt: skip
        return [
            self._at(x, sign * (width / 2 + 0.09), height + 0.12),
            self._at(x, sign * (width / 2 + 0.075), height + 0.02),
            *arc,
            self._at(x, sign * (width / 2 - along), height + 0.006, wait_ticks=1),
            self._at(x, sign * (width / 2 - 0.02), height + 0.13, tolerance_m=0.03),
            self.home(side),
        ]

    def _fold_rear(self) -> list[Waypoint]:
        depth, _, height = self.scene.box_size_m
        along, off = 0.044, FINGER_HALF_M - 0.001
        arc = [
            self._at(
                depth / 2 - along * np.cos(a) + off * np.sin(a),
                0,
                height + 0.003 + along * np.sin(a) + off * np.cos(a),
            )
            for a in (2.0, 1.5, 1.0, 0.6, 0.3, 0.05)
        ]  # fmt: skip
        return [
            self._at(depth / 2 + 0.06, 0, height + 0.15),
            self._at(depth / 2 + 0.075, 0, height + 0.03),
            *arc,
            self._at(depth / 2 - along, 0, height + 0.008, wait_ticks=1),
            self._at(depth / 2 - along, 0, height + 0.13, tolerance_m=0.03),
            self.home("right"),
        ]

    def _close_lid(self) -> list[Waypoint]:
        """Left arm: bring the lid half down, hold it while the other arm bends the tab, then press it shut."""
        depth, _, height = self.scene.box_size_m
        along, off, side = 0.085, FINGER_HALF_M - 0.001, 0.03
        angle = self.scene.lid_angle()

        def lid(a: float, **how: Any) -> Waypoint:
            x = -depth / 2 + along * np.cos(a) - off * np.sin(a)
            return self._at(x, side, height + 0.006 + along * np.sin(a) + off * np.cos(a), **how)

        above = [self._at(-depth / 2 + 0.05, side, height + 0.12, tolerance_m=0.03)]
        before = [
            self._at(-depth / 2 - 0.07, side, height + 0.20, tolerance_m=0.03),
            self._at(-depth / 2 - 0.055, side, height + 0.065),
        ]
        return [
            *(before if angle > 0.7 else above),
            *(lid(a, tolerance_m=0.03) for a in (1.6, 1.2, 0.9, 0.65) if a < angle + 0.3),
            lid(0.5, meet=1),
            lid(0.5, meet=2),
            lid(0.35, speed_m_s=0.12),
            lid(0.2, speed_m_s=0.12),
            lid(0.13, speed_m_s=0.12, meet=3),
            lid(0.0, speed_m_s=0.12, meet=4),
            lid(-0.08, wait_ticks=3, speed_m_s=0.12, meet=5),
            self._at(-depth / 2 + along, side, height + 0.14, tolerance_m=0.03),
            self.home("left"),
        ]

    def _tuck_tab(self) -> list[Waypoint]:
        """Right arm: bend the tab down from above, keep it bent while the lid comes down, then press on the edge."""
        depth, _, height = self.scene.box_size_m
        x, y, lean = depth / 2 - 0.008, -0.018, 0.12
        return [
            self._at(depth / 2 + 0.02, y, height + 0.16, tolerance_m=0.03, meet=1),
            self._at(x, y, height + 0.10, lean=lean),
            self._at(x, y, height + 0.032, tolerance_m=0.008, wait_ticks=1, speed_m_s=0.15, lean=lean, meet=2),
            self._at(x - 0.003, y, height + 0.02, speed_m_s=0.12, lean=lean),
            self._at(x - 0.003, y, height + 0.02, speed_m_s=0.12, lean=lean, meet=3),
            self._at(x + 0.012, y, height + 0.09, tolerance_m=0.03, speed_m_s=0.3, lean=lean, meet=4),
            self._at(depth / 2 - 0.03, y, height + 0.03, speed_m_s=0.3, lean=lean),
            self._at(depth / 2 - 0.03, y, height + 0.004, wait_ticks=3, speed_m_s=0.12, lean=lean, meet=5),
            self._at(depth / 2, y, height + 0.14, tolerance_m=0.03),
            self.home("right"),
        ]
