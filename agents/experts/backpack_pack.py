"""The scripted expert for packing the backpack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from rise_gym.agents.scripted import ExpertNoise, ScriptedExpert, Vector, Waypoint

LIFT_M = 0.05  # to be held so high
STEEP = 0.12  # lean of both hands at the mouth, where there is little room between them
UNDER_M = -0.016  # so far below the pad of the grip its middle is taken, for fingertips to find a hold under it
WIDE_M, PINCH_M, SHUT_M = 0.08, 0.03, 0.0  # of a gripper before and in a grasp
OPEN_M = 0.066  # between the rims: here the garment goes in
FAR_M = 0.08  # a bag further than this from the middle of where it may start is carried back
GAIN, MOST_M = 1.0, 0.04  # where it matters, a hand aims beyond its goal by this share of what it misses
SHARE = 0.7  # of the noise: one hand works on what the other holds in the air, so their errors add up


class BackpackPackExpert(ScriptedExpert):
    """Holds the mouth open with the left hand while the right inserts; lifts with the left while the right zips."""

    def __init__(self, noise: ExpertNoise | None = None) -> None:
        noise = noise or ExpertNoise()
        share = {name: SHARE * getattr(noise, name) for name in ("joint_rad", "waypoint_m")}
        super().__init__(replace(noise, **share))

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
            elif np.linalg.norm(self._astray()) > FAR_M:
                plans = {"left": self._lift(), "right": [self.home("right")]}
            elif run > 0.2:
                plans = {"left": [*self._grasp_grip(), self._hold(SHUT_M)], "right": self._run_zip(0.0)}
            else:
                plans = self._bring_in()
        elif not stages["lifted"]:
            plans = {"left": self._lift(), "right": [self.home("right")]}
        else:
            plans = {"left": [self._hold(SHUT_M)], "right": self._run_zip(1.0)}
        for arm, script in self.arms.items():
            script.begin(plans.get(arm, []))

    def _bring_in(self) -> dict[str, list[Waypoint]]:
        """The left hand opens the mouth and the right takes the garment; when both are done it is inserted."""
        opened, held = self._holds_rim(), self._holds_garment()
        if opened and held:
            return {"left": [self._hold(SHUT_M)], "right": self._insert()}
        squeezed = self._squeezed_m()
        return {
            "left": [self._stay("left", SHUT_M)] if opened else self._open_mouth(),
            "right": [self._stay("right", squeezed)] if held else self._take_garment(),
        }

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

    def _away(self, arm: str, point: Vector) -> float:
        """Between a hand and a point, in m."""
        return float(np.linalg.norm(self.scene.data.site(f"{arm}_tool").xpos - point))

    def _holds_grip(self) -> bool:
        """The left hand has the bag in the air."""
        return self._away("left", self.scene.spot("grip")) < 0.04 and bool(self.scene.clearance_m() > 0.004)

    def _at_rim(self) -> bool:
        """The left hand is where it takes hold of the front."""
        return self._away("left", self.scene.spot("front_rim")) < 0.045

    def _holds_rim(self) -> bool:
        """The left hand holds the mouth open."""
        return self._at_rim() and bool(self.scene.mouth_m() > OPEN_M)

    def _garment(self) -> Vector:
        """Its middle, where it is grasped."""
        middle: Vector = self.scene.garment()[2]
        return middle

    def _holds_garment(self) -> bool:
        """The right hand has it in the air."""
        return self._away("right", self._garment()) < 0.03 and bool(self._garment()[2] > 0.10)

    def _squeezed_m(self) -> float:
        """The right hand's opening with the garment in it."""
        return max(0.0, float(self.scene.start.garment_size_m[1]) - 0.03)

    def _grasp(
        self, arm: str, thing: Callable[[], Vector], height: float, open_m: float, shut_m: float, **how: Any
    ) -> list[Waypoint]:
        """A hand comes down on a thing from above and shuts where it has arrived."""

        def aim(above: float) -> Callable[[], Vector]:
            return self._fine(arm, lambda: thing() + np.array([0, 0, height + above]))

        taken = self._fine(arm, _latched(lambda: thing() + np.array([0, 0, height])))
        return [
            Waypoint(position=aim(0.07), opening_m=open_m, tolerance_m=0.015, **how),
            Waypoint(position=aim(0.0), opening_m=open_m, tolerance_m=0.012, speed_m_s=0.22, **how),
            Waypoint(position=taken, opening_m=shut_m, wait_ticks=3, **how),
        ]

    def _stay(self, arm: str, opening_m: float, meet: int = 0) -> Waypoint:
        """A hand stays where it was told to be."""
        here = self._tool(arm)
        return Waypoint(position=self._fine(arm, lambda: here), opening_m=opening_m, meet=meet, lean=self._lean(arm))

    def _lean(self, arm: str) -> float:
        """That a hand has now."""
        approach = self.scene.data.site(f"{arm}_tool").xmat.reshape(3, 3)[:, 2]
        return float(np.clip(-approach[0] / min(approach[2], -0.1), 0, 0.5))

    def _hold(self, opening_m: float) -> Waypoint:
        """The left hand stays where it is until the right one is done."""
        return self._stay("left", opening_m, meet=2)

    def _open_mouth(self) -> list[Waypoint]:
        """Left hand: takes the front's rim between its fingers and pulls it out."""
        scene = self.scene
        _, depth, height = scene.bag_size_m
        x = -0.02

        def rim(above: float) -> Vector:
            _, y, z = scene.in_bag(scene.spot("front_rim"))
            return scene.bag_point(x, y, z + above)

        def pulled(y: float) -> Waypoint:
            aim = self._fine("left", _latched(lambda: scene.bag_point(x, y, height - 0.022)))
            return Waypoint(position=aim, opening_m=SHUT_M, tolerance_m=0.012, speed_m_s=0.15, lean=STEEP)

        above, grasp = self._fine("left", lambda: rim(0.05)), self._fine("left", _latched(lambda: rim(-0.018)))
        return [
            *self._release_rim(),
            Waypoint(position=above, opening_m=PINCH_M, tolerance_m=0.012, lean=STEEP),
            Waypoint(position=grasp, opening_m=PINCH_M, tolerance_m=0.012, speed_m_s=0.2, lean=STEEP),
            Waypoint(position=grasp, opening_m=SHUT_M, wait_ticks=2, lean=STEEP),
            pulled(depth / 2 + 0.023),
        ]

    def _release_rim(self) -> list[Waypoint]:
        """Left hand: lets go of the rim if it is there."""
        if not self._at_rim():
            return []
        here, lean = self._tool("left"), self._lean("left")
        up = here + np.array([0, 0, 0.08])
        return [
            Waypoint(position=lambda: here, opening_m=PINCH_M, wait_ticks=1, lean=lean),
            Waypoint(position=lambda: up, opening_m=PINCH_M, tolerance_m=0.03, lean=lean),
        ]

    def _take_garment(self) -> list[Waypoint]:
        """Right hand: grasps the garment by its middle and lifts it."""
        squeezed = self._squeezed_m()

        lifted = _latched(lambda: np.array([*self._garment()[:2], 0.18]))
        return [
            *self._grasp("right", self._garment, -0.004, WIDE_M, squeezed, across=self.scene.garment_across),
            Waypoint(position=lifted, opening_m=squeezed, tolerance_m=0.03),
        ]

    def _insert(self) -> list[Waypoint]:
        """Right hand: carries the garment over the mouth and lets it sink in."""
        scene = self.scene
        height, squeezed = scene.bag_size_m[2], self._squeezed_m()

        def over(z: float, opening_m: float = squeezed, **how: Any) -> Waypoint:
            aim = self._fine("right", _latched(lambda: scene.bag_point(0.03, 0.030, height + z)))
            return Waypoint(position=aim, opening_m=opening_m, lean=STEEP, **how)

        return [
            over(0.08, tolerance_m=0.015),
            over(-0.01, tolerance_m=0.015, wait_ticks=1, speed_m_s=0.2),
            over(-0.01, opening_m=0.062, wait_ticks=2),
            over(0.08, opening_m=0.062, tolerance_m=0.03, meet=2),
        ]

    def _grasp_grip(self) -> list[Waypoint]:
        """Left hand: fingertips under the pad of the bag's grip."""
        return [
            *self._release_rim(),
            *self._grasp("left", lambda: self.scene.spot("grip"), UNDER_M, WIDE_M, SHUT_M),
        ]

    def _astray(self) -> Vector:
        """From where both hands reach the bag to where it is, (3,) in m along the table."""
        away: Vector = self.scene.bag_pose()[0] - np.array([*self.scene.config.bag_center_m, 0.0])
        return away * np.array([1.0, 1.0, 0.0])

    def _lift(self) -> list[Waypoint]:
        """Left hand: by the grip, straight up, and back to the middle if the bag has been dragged far from it."""
        scene = self.scene
        lifted = _latched(lambda: self._tool("left") + np.array([0, 0, LIFT_M - scene.clearance_m()]))
        back = _latched(lambda: self._tool("left") - self._astray())
        far = np.linalg.norm(self._astray()) > FAR_M
        return [
            *([] if self._holds_grip() else self._grasp_grip()),
            Waypoint(position=lifted, opening_m=SHUT_M, tolerance_m=0.012, speed_m_s=0.12, wait_ticks=1),
            *([Waypoint(position=back, opening_m=SHUT_M, speed_m_s=0.2)] if far else []),
        ]

    def _put_down(self) -> list[Waypoint]:
        down = _latched(lambda: self._tool("left") - np.array([0, 0, self.scene.clearance_m()]))
        up = _latched(lambda: self._tool("left") + np.array([0, 0, 0.06]))
        return [
            Waypoint(position=down, opening_m=SHUT_M, tolerance_m=0.01, speed_m_s=0.12, wait_ticks=2),
            Waypoint(position=down, opening_m=WIDE_M, wait_ticks=2),
            Waypoint(position=up, opening_m=WIDE_M),
        ]

    def _run_zip(self, end: float) -> list[Waypoint]:
        """Right hand: takes the puller and runs the slider to a fraction of its travel."""
        scene = self.scene

        def run() -> Vector:
            along = scene.bag_pose()[1][:, 0]
            rest = (end - scene.zip_fraction()) * scene.zip_travel_m + (0.006 if end > 0.5 else -0.006)
            return scene.spot("puller") - rest * along - np.array([0, 0, 0.006])

        pulled = self._fine("right", _latched(run))
        above = _latched(lambda: self._tool("right") + np.array([0, 0, 0.08]))
        return [
            *self._grasp("right", lambda: scene.spot("puller"), -0.006, 0.06, SHUT_M),
            Waypoint(position=pulled, opening_m=SHUT_M, tolerance_m=0.012, speed_m_s=0.1, wait_ticks=4),
            Waypoint(position=above, opening_m=0.06, tolerance_m=0.03, meet=2),
        ]


def _latched(position: Callable[[], Vector]) -> Callable[[], Vector]:
    """A position as it is when a hand sets out for it: what is pushed along is not to be followed."""
    kept: list[Vector] = []

    def place() -> Vector:
        if not kept:
            kept.append(position())
        return kept[0]

    return place
