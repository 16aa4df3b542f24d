"""The scripted expert for box closing: it sees the physics state, uses both arms, and retries what failed.

Each tick it moves the tool of each arm a step along a short list of waypoints, given in the frame of the box or of the
cup and looked up anew at every tick. When the lists are done it asks the scene which stage comes next; so it can take
over at any moment of any episode.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from rise_gym.tasks import ARMS, TaskCard

Vector = NDArray[np.float64]
TICK_S = 0.1
FINGER_HALF_M = 0.013  # from the middle of the closed fingers to their outside


@dataclass(frozen=True, kw_only=True)
class ExpertNoise:
    """What is executed on top of what is meant; 0 is the clean expert.

    Attributes:
        joint_rad: standard deviation of the joint noise, correlated over `correlation_s`.
        waypoint_m: standard deviation of a waypoint's misplacement, drawn anew for each.
    """

    joint_rad: float = 0.0
    waypoint_m: float = 0.0
    correlation_s: float = 0.6


@dataclass(frozen=True, kw_only=True)
class Waypoint:
    """Where a tool goes next.

    Attributes:
        position: world position (3,), asked at every tick.
        opening_m: of the gripper.
        tolerance_m: how near the measured tool has to come; after `patience_ticks` it goes on all the same.
        wait_ticks: how long to stay. speed_m_s: on the way there.
        lean: forward tilt of the gripper, as the x part of its direction over the z part.
        meet: number of a rendezvous: go on only when the other arm has come to it too; 0 for none.
    """

    position: Callable[[], Vector]
    opening_m: float = 0.0
    tolerance_m: float = 0.02
    wait_ticks: int = 0
    speed_m_s: float = 0.38
    lean: float = 0.35
    meet: int = 0
    patience_ticks: int = 9


class ToolIK:
    """Joint angles that bring an arm's tool somewhere, by damped least squares on a copy of the model's data."""

    def __init__(self, model: mujoco.MjModel, arm: str) -> None:
        self.model, self.data = model, mujoco.MjData(model)
        joints = [model.joint(f"{arm}_link{number}") for number in range(1, 7)]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._dofs = np.array([joint.dofadr[0] for joint in joints])
        limits = np.array([joint.range for joint in joints])
        self._low, self._high = limits[:, 0] + 0.01, limits[:, 1] - 0.01
        self._site = model.site(f"{arm}_tool").id

    def tool(self, joints_rad: Vector) -> Vector:
        """Position (3,) of the tool with these joint angles (6,)."""
        self.data.qpos[self._qpos] = joints_rad
        mujoco.mj_kinematics(self.model, self.data)
        return self.data.site_xpos[self._site].copy()

    def solve(self, joints_rad: Vector, position: Vector, approach: Vector, across: Vector) -> Vector:
        """Joint angles near `joints_rad` (6,): tool at `position`, pointing `approach`, fingers opening `across`."""
        angles = joints_rad.copy()
        for _ in range(12):
            error, jacobian = self._error(angles, position, approach, across)
            angles = np.clip(angles + self._step(angles, error, jacobian), self._low, self._high)
        return angles

    def _error(self, angles: Vector, position: Vector, approach: Vector, across: Vector) -> tuple[Vector, Vector]:
        mujoco.mj_kinematics(self.model, self.data)
        miss = position - self.tool(angles)
        mujoco.mj_comPos(self.model, self.data)
        frame = self.data.site_xmat[self._site].reshape(3, 3)
        nearer = across if across @ frame[:, 1] > 0 else -across  # the gripper is symmetrical
        turn = 0.3 * np.cross(frame[:, 2], approach) + 0.125 * np.cross(frame[:, 1], nearer)
        move, rotate = np.zeros((2, 3, self.model.nv))
        mujoco.mj_jacSite(self.model, self.data, move, rotate, self._site)
        weight = 0.15  # of orientation against position
        jacobian = np.concatenate([move[:, self._dofs], weight * rotate[:, self._dofs]])
        return np.concatenate([miss, weight * turn]), jacobian

    def _step(self, angles: Vector, error: Vector, jacobian: Vector) -> Vector:
        """Damped least squares, with joints that stand at a limit left out."""
        step = np.zeros(6)
        for _ in range(2):
            step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + 1e-4 * np.eye(6), error)
            stuck = ((angles <= self._low + 1e-6) & (step < 0)) | ((angles >= self._high - 1e-6) & (step > 0))
            if not stuck.any():
                break
            jacobian[:, stuck] = 0
        return np.clip(step, -0.3, 0.3)


class ArmScript:
    """One arm on its way along a list of waypoints."""

    def __init__(
        self, model: mujoco.MjModel, arm: str, measured: Vector, random: np.random.Generator, noise: ExpertNoise
    ):
        self.arm, self.ik = arm, ToolIK(model, arm)
        self.joints, self.opening_m = measured[:6].astype(np.float64), float(measured[6])
        self.rest = self.ik.tool(self.joints)
        self.plan: list[Waypoint] = []
        self.met = self._ticks = self._waited = 0
        self._random, self._noise = random, noise
        self._misplaced = np.zeros(3)

    def begin(self, plan: list[Waypoint]) -> None:
        """Follow another list."""
        self.plan, self.met, self._ticks, self._waited = list(plan), 0, 0, 0

    def advance(self, measured_tool: Vector, across: Vector, other: ArmScript) -> Vector:
        """Targets (7,) for the next tick, in rad and m."""
        if self.plan:
            self._move(self.plan[0], measured_tool, across, other)
        return np.append(self.joints, self.opening_m)

    def _move(self, goal: Waypoint, measured_tool: Vector, across: Vector, other: ArmScript) -> None:
        place = goal.position() + self._misplaced
        now = self.ik.tool(self.joints)
        way, reach = place - now, goal.speed_m_s * TICK_S
        distance = float(np.linalg.norm(way))
        target = place if distance <= reach else now + way * reach / distance
        approach = np.array([goal.lean, 0.0, -1.0]) / np.hypot(goal.lean, 1.0)
        self.joints = self.joints + np.clip(
            self.ik.solve(self.joints, target, approach, across) - self.joints, -0.25, 0.25
        )
        self.opening_m = goal.opening_m
        self._ticks += 1
        near = np.linalg.norm(place - measured_tool) < goal.tolerance_m or self._ticks > goal.patience_ticks
        self._waited += int(distance <= reach + 1e-3 and near)
        if self._waited > goal.wait_ticks or self._ticks > 45:
            self._arrive(goal, other)

    def _arrive(self, goal: Waypoint, other: ArmScript) -> None:
        self.met = max(self.met, goal.meet)
        if goal.meet and other.plan and other.met < goal.meet:
            return
        self.plan.pop(0)
        self._ticks = self._waited = 0
        self._misplaced = self._noise.waypoint_m * self._random.standard_normal(3)


class ScriptedExpert:
    """An `Actor` for the replica, one tick at a time (`chunk` 1).

    Args:
        noise: what to execute on top.
    """

    chunk = 1

    def __init__(self, noise: ExpertNoise | None = None) -> None:
        self.noise = noise or ExpertNoise()

    def reset(self, env: Any, seed: int) -> None:
        """Take over the episode of `env` where it stands."""
        replica = env.unwrapped
        self.scene, self.task = replica.scene, _card(replica)
        self._random = np.random.default_rng(seed)
        measured = replica.joints().astype(np.float64)
        model = self.scene.model
        self.arms = {
            arm: ArmScript(model, arm, measured[7 * side : 7 * side + 7], self._random, self.noise)
            for side, arm in enumerate(ARMS)
        }
        self._offset = np.zeros(14)
        self._replica = replica

    def act(self, env: Any, observation: Any = None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Next tick: what is meant and what is executed, both scaled float32 (1, 14)."""
        if self._replica.scene is not self.scene:  # the env was branched to another moment
            self.scene = self._replica.scene
        left, right = self.arms["left"], self.arms["right"]
        if not left.plan and not right.plan:
            self._choose()
        across = self.scene.box_pose()[1][:, 1]
        tools = {arm: self.scene.data.site(f"{arm}_tool").xpos for arm in ARMS}
        targets = np.concatenate(
            [left.advance(tools["left"], across, right), right.advance(tools["right"], across, left)]
        )
        clean = np.clip(self.task.scale_action(targets), -1, 1)
        return clean[None], np.clip(self.task.scale_action(targets + self._next_offset()), -1, 1)[None]

    def _next_offset(self) -> Vector:
        kept = np.exp(-TICK_S / self.noise.correlation_s)
        fresh = self._random.standard_normal(14) * self.noise.joint_rad
        fresh[[6, 13]] *= 0.1  # grippers: metres
        self._offset = kept * self._offset + np.sqrt(1 - kept**2) * fresh
        return self._offset

    # -- what to do next -----------------------------------------------------------------------------------------------

    def _choose(self) -> None:
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

    def _home(self, arm: str) -> Waypoint:
        rest = self.arms[arm].rest
        return Waypoint(position=lambda: rest, tolerance_m=0.03, speed_m_s=0.5)

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
            self._home("right"),
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
            self._home(side),
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
            self._home("right"),
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
            self._home("left"),
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
            self._home("right"),
        ]


def _card(replica: Any) -> TaskCard:
    card: TaskCard = replica.task
    return card


def expert_actor(noise: float = 0.0) -> ScriptedExpert:
    """The expert with `noise` times the usual noise: 0 is clean, 1 gives near-misses, failures and recoveries."""
    return ScriptedExpert(ExpertNoise(joint_rad=0.03 * noise, waypoint_m=0.006 * noise))
