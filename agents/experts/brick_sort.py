"""The scripted expert for brick sorting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rise_gym.agents.scripted import ArmScript, ExpertNoise, ScriptedExpert, Vector, Waypoint
from rise_gym.tasks import ARMS

LEAD_S = 0.15  # a servo follows so late: what moves is met where it will be
OPEN_M, INSIDE_OPEN_M = 0.08, 0.058  # of the gripper; between the walls of a bin there is less room
SQUEEZE_M = 0.02  # a closed gripper is asked for so much less than the brick is wide
GRIP_BELOW_M = 0.007  # of a brick's middle: the fingertips are round, and touch above their ends
IN_HAND_M, SLIPPED_M = 0.03, 0.045  # of a brick to the tool
CLEARANCE_M = 0.14  # hands work no nearer to each other than this, seen from above
REACH_Y_M = {"left": (-0.06, 0.28), "right": (-0.24, 0.10)}  # where an arm takes bricks off the belt
PASSED_Y_M = 0.03  # of a brick for the right bin that has come by the right arm: the left one may take it
MEETING_S = 1.3  # from a decision to the grasp
WAITING_M, WAITING_NEAR_M = {"left": (0.25, 0.19, 0.22), "right": (0.25, -0.22, 0.22)}, 0.03
SLOTS_M = (0.0, -0.042, 0.042)  # across a bin; out of the middle a brick can be taken again
ROOM_M = 0.07  # to the next brick; more is not needed
LEFT_OVER_Y_M, LEFT_OVER_X_M = 0.35, (0.11, 0.52)  # where what lies still can be picked up
CLOSE_X_M = 0.19  # nearer to the robot a hand has to lean


class BrickSortExpert(ScriptedExpert):
    """Each arm takes the bricks of its own bin while they move by; the left one also what the right one has missed.

    An arm goes above a brick, follows it, comes down, closes its fingers across the shorter side and lifts. What
    slipped is tried again as long as it is in reach, and so is what fell beside or into the wrong bin.
    """

    def __init__(self, noise: ExpertNoise | None = None) -> None:
        super().__init__(noise)
        self._brick: dict[str, int | None] = {}  # what an arm is busy with
        self._delivering: dict[str, bool] = {}  # and whether it has it in its hand

    def reset(self, env: Any, seed: int) -> None:
        """Take over the episode of `env` where it stands."""
        super().reset(env, seed)
        self._brick, self._delivering = dict.fromkeys(ARMS), dict.fromkeys(ARMS, False)

    def choose(self) -> None:
        for arm, script in self.arms.items():
            if self._brick[arm] is None or not script.plan or self._outdated(arm, script):
                self._begin_next(arm, script)

    def _begin_next(self, arm: str, script: ArmScript) -> None:
        """Deliver what is in the hand, else fetch a brick, else wait beside the belt."""
        held = self._in_hand(arm)
        wanted = held if held is not None else self._wanted(arm)
        delivering = held is not None and self._way_is_free(arm, held)
        if held is not None:
            script.begin(self._deliver(arm, held) if delivering else self._wait(arm, self._squeezed_m(held)))
        elif wanted is not None:
            script.begin(self.grasp(wanted))
        elif self._brick[arm] is not None or not script.plan:
            script.begin(self._wait(arm))
        self._brick[arm], self._delivering[arm] = wanted, delivering

    def _way_is_free(self, arm: str, brick: int) -> bool:
        """Whether a brick can be brought to its bin: one hand crosses to the other's side only while that one rests."""
        other = self._other(arm)
        if self._delivering[other] and self._home(self._brick[other]) != other:
            return False
        resting = self._brick[other] is None or (self._in_hand(other) is not None and not self._delivering[other])
        return self._home(brick) == arm or resting

    def _outdated(self, arm: str, script: ArmScript) -> bool:
        """What an arm is doing has lost its sense: a brick slipped, went out of reach, or is in the hand already."""
        brick = self._brick[arm]
        assert brick is not None
        if self._delivering[arm]:
            return script.opening_m < OPEN_M and self._distance(arm, brick) > SLIPPED_M
        holder = self.scene.holder(brick)
        if holder == arm:
            return self._in_hand(arm) == brick
        return holder is not None or not self.reaches(arm, brick, ahead_s=0.0)

    def _other(self, arm: str) -> str:
        return next(name for name in ARMS if name != arm)

    def _home(self, brick: int | None) -> str | None:
        """At whose side its bin stands."""
        return None if brick is None else self.scene.start.bricks[brick].home

    def _distance(self, arm: str, brick: int) -> float:
        return float(np.linalg.norm(self.scene.tool_position(arm) - self.scene.brick_position(brick)))

    def _in_hand(self, arm: str) -> int | None:
        """The brick between the fingers of an arm that squeezes."""
        data = self.scene.data
        apart = self.scene.opening_m(arm)
        asked = sum(data.actuator(f"{arm}_finger_{side}").ctrl[0] for side in "ab")
        if apart - asked < SQUEEZE_M / 4 or apart < SQUEEZE_M:
            return None
        near = [brick for brick in self.scene.bricks if self._distance(arm, brick) < IN_HAND_M]
        return min(near, key=lambda brick: self._distance(arm, brick), default=None)

    def _on_belt(self, brick: int) -> bool:
        return bool(self.scene.over_bin(brick) is None and not self.scene.lying_beside(brick))

    def reaches(self, arm: str, brick: int, ahead_s: float) -> bool:
        """An arm can fetch a brick, if it has it in its fingers so many seconds from now."""
        x, y, _ = self.scene.brick_position(brick)
        home = self._home(brick)
        if self.scene.in_its_bin(brick):
            return False
        if not self._on_belt(brick):
            low, high = LEFT_OVER_X_M
            return bool(home == arm and low < x < high and abs(y) < LEFT_OVER_Y_M)
        first, last = REACH_Y_M[arm]
        passed = arm == "left" and y > PASSED_Y_M
        met = y + ahead_s * self.scene.belt_speed_m_s()
        return bool((home == arm or passed) and y > first and met < last)

    def _wanted(self, arm: str) -> int | None:
        """The brick to fetch next: what moves before what lies still, what is soon out of reach before the rest."""
        other = self._other(arm)
        fit = [
            brick
            for brick in self.scene.bricks
            if brick != self._brick[other]
            and self.scene.holder(brick) is None
            and self.reaches(arm, brick, MEETING_S)
            and self._free(brick, other)
        ]
        return min(
            fit, key=lambda brick: (not self._on_belt(brick), -self.scene.brick_position(brick)[1]), default=None
        )

    def _free(self, brick: int, other: str) -> bool:
        """Neither hand nor destination of the other arm is where the brick will be grasped."""
        places = [self.scene.tool_position(other)]
        busy = self._brick[other]
        if busy is not None:
            places += [self._ahead(busy, MEETING_S), self.scene.bin_center(self.scene.start.bricks[busy].home)]
        here = self._ahead(brick, MEETING_S)
        return all(np.linalg.norm((place - here)[:2]) > CLEARANCE_M for place in places)

    def _ahead(self, brick: int, seconds: float) -> Vector:
        """Where a brick will be (3,), if it goes on with the belt or lies still."""
        speed = self.scene.belt_speed_m_s() if self._on_belt(brick) else 0.0
        return np.asarray(self.scene.brick_position(brick) + np.array([0.0, speed * seconds, 0.0]))

    def _narrow(self, brick: int) -> Vector:
        """The direction (3,) across the shortest level side of a brick, whichever way it lies."""
        axes = self.scene.brick_axes(brick)
        level = [side for side in range(3) if abs(axes[2, side]) < 0.7]
        return np.asarray(axes[:, min(level, key=lambda side: self.scene.start.bricks[brick].size_m[side])])

    def _squeezed_m(self, brick: int) -> float:
        return float(min(self.scene.start.bricks[brick].size_m) - SQUEEZE_M)

    def grasp(self, brick: int) -> list[Waypoint]:
        """Above a brick that moves on, down with it, and close across its narrow side."""

        def above(height_m: float) -> Callable[[], Vector]:
            return lambda: self._ahead(brick, LEAD_S) + np.array([0.0, 0.0, height_m])

        lean = 0.08 if self.scene.brick_position(brick)[0] > CLOSE_X_M else 0.35
        how: dict[str, Any] = {"across": lambda: self._narrow(brick), "lean": lean}
        wide = OPEN_M if self.scene.over_bin(brick) is None else INSIDE_OPEN_M
        return [
            Waypoint(position=above(0.07), opening_m=wide, tolerance_m=0.025, speed_m_s=0.45, **how),
            Waypoint(position=above(-GRIP_BELOW_M), opening_m=wide, tolerance_m=0.016, speed_m_s=0.25, **how),
            Waypoint(position=above(-GRIP_BELOW_M), opening_m=self._squeezed_m(brick), wait_ticks=3, **how),
        ]

    def _deliver(self, arm: str, brick: int) -> list[Waypoint]:
        """Up, over the brick's bin, down to its rim, and let go beside what is in there."""
        scene = self.scene
        drop = self._room(brick)
        lifted = scene.tool_position(arm)
        lifted[2] = max(lifted[2], 0.12)
        squeezed = self._squeezed_m(brick)

        def over(height_m: float, **how: Any) -> Waypoint:
            return Waypoint(position=lambda: drop + np.array([0.0, 0.0, height_m]), **how)

        return [
            Waypoint(position=lambda: lifted, opening_m=squeezed, tolerance_m=0.04, lean=0.15),
            over(0.13, opening_m=squeezed, tolerance_m=0.03),
            over(0.08, opening_m=squeezed, tolerance_m=0.02),
            over(0.08, opening_m=OPEN_M, wait_ticks=1),
            over(0.13, opening_m=OPEN_M, tolerance_m=0.04),
        ]

    def _room(self, brick: int) -> Vector:
        """Where in its bin (3,) there is most room beside the other bricks."""
        center = self.scene.bin_center(self.scene.start.bricks[brick].home)
        others = [self.scene.brick_position(other) for other in self.scene.bricks if other != brick]
        places = [center + np.array([0.0, shift, 0.0]) for shift in SLOTS_M]
        return max(places, key=lambda place: min(min(np.linalg.norm(place - other) for other in others), ROOM_M))

    def _wait(self, arm: str, opening_m: float = OPEN_M) -> list[Waypoint]:
        """Where the hand bars no camera's view of the belt."""
        place = np.array(WAITING_M[arm])
        if np.linalg.norm(self.scene.tool_position(arm) - place) < WAITING_NEAR_M:
            return []
        return [Waypoint(position=lambda: place, opening_m=opening_m, tolerance_m=WAITING_NEAR_M)]
