"""The scripted expert for packing the backpack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rise_gym.agents.scripted import ScriptedExpert, Vector, Waypoint

LIFT_M = 0.065  # to be held so high
RUN_M = 0.08  # of the zip's slider
STEEP = 0.12  # lean of both hands at the mouth, where there is little room between them
WIDE_M, PINCH_M, SHUT_M = 0.08, 0.04, 0.0  # of a gripper before and in a grasp
GAIN, MOST_M = 0.7, 0.02  # where it matters, a hand aims beyond its goal by this share of what it misses


class BackpackPackExpert(ScriptedExpert):
    """Holds the mouth open with the left hand while the right inserts; lifts with the left while the right zips."""

    def across(self) -> Vector:
        side: Vector = self.scene.bag_pose()[1][:, 1]
        return side

    def choose(self) -> None:
        if any(script.plan for script in self.arms.values()):
            return
        stages, run = self.scene.stages(), self.scene.zip_fraction()
        if not stages["inserted"]:
            if stages["lifted"]:
                plans = {"left": self._put_down()}
            elif run > 0.2:
                plans = {"left": [*self._grasp_grip(), self._hold()], "right": self._run_zip(0.0)}
            else:
                plans = {"left": self._open_mouth(), "right": self._insert()}
        elif not stages["lifted"]:
            plans = {"left": self._lift()}
        else:
            plans = {"left": [self._hold()], "right": self._run_zip(1.0)}
        for arm, script in self.arms.items():
            script.begin(plans.get(arm, []))

    def _at(self, x: float, y: float, z: float, **how: Any) -> Waypoint:
        """A waypoint in the frame of the bag."""
        return Waypoint(position=lambda: self.scene.bag_point(x, y, z), **how)

    def _there(self, x: float, y: float, z: float, **how: Any) -> Waypoint:
        """A waypoint where a point of the bag is now: what is pulled along is not to be followed."""
        place = self.scene.bag_point(x, y, z)
        return Waypoint(position=lambda: place, **how)

    def _fine(self, arm: str, position: Callable[[], Vector]) -> Callable[[], Vector]:
        """Where to aim for a hand to come to a position although something pushes it aside."""

        def aim() -> Vector:
            place = position()
            missed = GAIN * (place - self.scene.data.site(f"{arm}_tool").xpos)
            return place + np.clip(missed, -MOST_M, MOST_M)

        return aim

    def _tool(self, arm: str) -> Vector:
        """Where a hand was last told to be."""
        script = self.arms[arm]
        return script.ik.tool(script.joints)

    def _holds_grip(self) -> bool:
        """The left hand has the bag in the air."""
        away = np.linalg.norm(self.scene.data.site("left_tool").xpos - self.scene.spot("grip"))
        return bool(away < 0.04 and self.scene.clearance_m() > 0.004)

    def _open_mouth(self) -> list[Waypoint]:
        """Left hand: takes the front's rim between its fingers, pulls it out and waits there for the other hand."""
        scene = self.scene
        _, depth, height = scene.bag_size_m
        x, out = -0.02, depth / 2 + 0.015

        def rim(above: float) -> Callable[[], Vector]:
            def place() -> Vector:
                _, y, z = scene.in_bag(scene.spot("front_rim"))
                return scene.bag_point(x, y, z + above)

            return place

        grasp = self._fine("left", rim(-0.018))
        return [
            Waypoint(position=self._fine("left", rim(0.05)), opening_m=PINCH_M, lean=STEEP),
            Waypoint(position=grasp, opening_m=PINCH_M, tolerance_m=0.012, speed_m_s=0.2, lean=STEEP),
            self._there(x, depth / 2 - 0.04, height - 0.02, opening_m=SHUT_M, wait_ticks=2, lean=STEEP),
            self._there(x, out, height - 0.022, tolerance_m=0.012, speed_m_s=0.15, meet=1, lean=STEEP),
            self._there(x, out, height - 0.022, tolerance_m=0.012, meet=2, lean=STEEP),
            self._there(x, depth / 2, height - 0.015, opening_m=PINCH_M, speed_m_s=0.2, wait_ticks=1, lean=STEEP),
            self._there(x, depth / 2, height + 0.08, opening_m=PINCH_M, tolerance_m=0.03),
            self.home("left"),
        ]

    def _insert(self) -> list[Waypoint]:
        """Right hand: grasp the garment by its middle, carry it over the mouth, let it sink in."""
        scene = self.scene
        _, depth, height = scene.bag_size_m
        squeezed = max(0.0, scene.start.garment_size_m[1] - 0.03)
        x, y = 0.03, 0.02
        away = np.linalg.norm(scene.data.site("right_tool").xpos - self._garment())
        held = away < 0.03 and self._garment()[2] > 0.05  # who takes over from another is not to let it fall

        def over(z: float, opening_m: float = squeezed, **how: Any) -> Waypoint:
            aim = self._fine("right", lambda: scene.bag_point(x, y, height + z))
            return Waypoint(position=aim, opening_m=opening_m, lean=STEEP, **how)

        return [
            *([] if held else self._grasp_garment(squeezed)),
            self._above(0.18, squeezed),
            over(0.08, meet=1),
            over(-0.01, tolerance_m=0.015, wait_ticks=1, speed_m_s=0.2),
            over(-0.01, opening_m=0.062, wait_ticks=2),
            over(0.08, opening_m=0.062, tolerance_m=0.03, meet=2),
            self.home("right"),
        ]

    def _garment(self) -> Vector:
        """Its middle, where it is grasped."""
        middle: Vector = self.scene.garment()[2]
        return middle

    def _grasp_garment(self, squeezed: float) -> list[Waypoint]:
        def garment(height: float, **how: Any) -> Waypoint:
            place = np.array([0, 0, height])
            aim = self._fine("right", lambda: self._garment() + place)
            return Waypoint(position=aim, across=self.scene.garment_across, **how)

        return [
            garment(0.07, opening_m=WIDE_M),
            garment(-0.004, opening_m=WIDE_M, tolerance_m=0.012, speed_m_s=0.25),
            garment(-0.004, opening_m=squeezed, wait_ticks=3, speed_m_s=0.1),
        ]

    def _above(self, height: float, opening_m: float) -> Waypoint:
        """The right hand rises to a height above the table."""
        here = self._garment()
        lifted = np.array([here[0], here[1], max(height, here[2])])
        return Waypoint(position=lambda: lifted, opening_m=opening_m, tolerance_m=0.03)

    def _grasp_grip(self) -> list[Waypoint]:
        def grip(height: float, **how: Any) -> Waypoint:
            aim = self._fine("left", lambda: self.scene.spot("grip") + np.array([0, 0, height]))
            return Waypoint(position=aim, **how)

        return [
            grip(0.07, opening_m=WIDE_M),
            grip(-0.016, opening_m=WIDE_M, tolerance_m=0.012, speed_m_s=0.2),
            grip(-0.016, opening_m=SHUT_M, wait_ticks=3, speed_m_s=0.1),
        ]

    def _lift(self) -> list[Waypoint]:
        """Left hand: by the grip, straight up."""
        scene = self.scene
        held = self._holds_grip()
        begin = self._tool("left") if held else scene.spot("grip") - np.array([0, 0, 0.016])
        lifted = begin + np.array([0, 0, LIFT_M - scene.clearance_m()])
        return [
            *([] if held else self._grasp_grip()),
            Waypoint(position=lambda: lifted, opening_m=SHUT_M, tolerance_m=0.012, speed_m_s=0.12, wait_ticks=1),
        ]

    def _put_down(self) -> list[Waypoint]:
        here = self._tool("left")
        down = here - np.array([0, 0, self.scene.clearance_m()])
        return [
            Waypoint(position=lambda: down, opening_m=SHUT_M, tolerance_m=0.01, speed_m_s=0.12, wait_ticks=2),
            Waypoint(position=lambda: down, opening_m=WIDE_M, wait_ticks=2),
            Waypoint(position=lambda: here + np.array([0, 0, 0.06]), opening_m=WIDE_M),
            self.home("left"),
        ]

    def _hold(self) -> Waypoint:
        """The left hand stays where it is, shut, until the right one is done."""
        here = self._tool("left")
        return Waypoint(position=lambda: here, opening_m=SHUT_M, meet=2)

    def _run_zip(self, end: float) -> list[Waypoint]:
        """Right hand: take the puller and run the slider to a fraction of its travel."""
        scene = self.scene
        x, y, z = scene.in_bag(scene.spot("puller"))
        goal = x - (end - scene.zip_fraction()) * RUN_M
        past = goal - 0.006 if end > 0.5 else goal + 0.006

        def puller(height: float, **how: Any) -> Waypoint:
            aim = self._fine("right", lambda: scene.spot("puller") + np.array([0, 0, height]))
            return Waypoint(position=aim, **how)

        def pulled(height: float, opening_m: float, **how: Any) -> Waypoint:
            aim = self._fine("right", lambda: scene.bag_point(past, y, z + height))
            return Waypoint(position=aim, opening_m=opening_m, **how)

        return [
            puller(0.06, opening_m=0.06, tolerance_m=0.03),
            puller(-0.006, opening_m=0.06, tolerance_m=0.012, speed_m_s=0.2),
            puller(-0.006, opening_m=SHUT_M, wait_ticks=2, speed_m_s=0.1),
            pulled(-0.006, SHUT_M, tolerance_m=0.012, speed_m_s=0.1, wait_ticks=4),
            pulled(-0.006, 0.05, wait_ticks=1),
            pulled(0.08, 0.05, tolerance_m=0.03, meet=2),
        ]
