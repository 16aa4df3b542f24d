"""What scripted experts are made of: they see the physics state, use both arms, and retry what failed.

Each tick an expert moves the tool of each arm a step along a short list of waypoints, whose places are looked up anew
at every tick. When the lists are done it asks the scene what comes next; so it can take over at any moment of any
episode. What comes next is a task's own: `agents/experts/<task>.py` with a class `<Title>Expert`, found by its name.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from rise_gym.errors import UnsuitableEnv
from rise_gym.tasks import ARMS, TaskCard, task_card

Vector = NDArray[np.float64]
TICK_S = 0.1


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
        across: the direction (3,) along which the fingers open, asked at every tick; default: the expert's.
        opening_m: of the gripper.
        tolerance_m: how near the measured tool has to come; after `patience_ticks` it goes on all the same.
        wait_ticks: how long to stay. speed_m_s: on the way there.
        lean: forward tilt of the gripper, as the x part of its direction over the z part.
        meet: number of a rendezvous: go on only when the other arm has come to it too; 0 for none.
    """

    position: Callable[[], Vector]
    across: Callable[[], Vector] | None = None
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
        across = across if goal.across is None else goal.across()
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


class ScriptedExpert(ABC):
    """An `Actor` for the replica, one tick at a time (`chunk` 1).

    Args:
        noise: what to execute on top.
    """

    chunk = 1

    def __init__(self, noise: ExpertNoise | None = None) -> None:
        self.noise = noise or ExpertNoise()

    @abstractmethod
    def choose(self) -> None:
        """Ask the scene what comes next and let arms that have nothing to do begin; called at every tick."""

    def across(self) -> Vector:
        """The direction (3,) along which fingers open where a waypoint does not say."""
        return np.array([0.0, 1.0, 0.0])

    def reset(self, env: Any, seed: int) -> None:
        """Take over the episode of `env` where it stands.

        Raises:
            UnsuitableEnv: if it is no replica, whose physics an expert looks at.
        """
        replica = env.unwrapped
        if not hasattr(replica, "scene"):
            raise UnsuitableEnv(
                f"a replica (RiseMujoco-…) was wanted, whose physics the scripted expert looks at, got a "
                f"{type(replica).__name__}: play it there, or take a policy that looks at pictures"
            )
        self.scene = replica.scene
        self.task: TaskCard = replica.task
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
        self.choose()
        across = self.across()
        tools = {arm: self.scene.data.site(f"{arm}_tool").xpos for arm in ARMS}
        targets = np.concatenate(
            [left.advance(tools["left"], across, right), right.advance(tools["right"], across, left)]
        )
        clean = np.clip(self.task.scale_action(targets), -1, 1)
        return clean[None], np.clip(self.task.scale_action(targets + self._next_offset()), -1, 1)[None]

    def home(self, arm: str) -> Waypoint:
        """Where an arm's tool was when the expert took over."""
        rest = self.arms[arm].rest
        return Waypoint(position=lambda: rest, tolerance_m=0.03, speed_m_s=0.5)

    def _next_offset(self) -> Vector:
        kept = np.exp(-TICK_S / self.noise.correlation_s)
        fresh = self._random.standard_normal(14) * self.noise.joint_rad
        fresh[[6, 13]] *= 0.1  # grippers: metres
        self._offset = kept * self._offset + np.sqrt(1 - kept**2) * fresh
        return self._offset


def expert_actor(task: str, noise: float = 0.0) -> ScriptedExpert:
    """A task's expert with `noise` times the usual noise: 0 is clean, 1 gives near-misses, failures, recoveries."""
    module = importlib.import_module(f"rise_gym.agents.experts.{task}")
    expert: type[ScriptedExpert] = getattr(module, f"{task_card(task).title}Expert")
    return expert(ExpertNoise(joint_rad=0.03 * noise, waypoint_m=0.006 * noise))
