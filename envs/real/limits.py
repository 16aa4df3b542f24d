"""What may be sent to a robot, given what was asked for and what was sent last. Pure: state in, new state out, batched.

Every command that leaves the filter keeps the ranges of the joints, their velocities and accelerations, keeps the tools
in the workspace, *and can be braked from without breaking any of it*: a command is let through only if the robot, were
it told nothing more, could come to rest within all limits. So there is a safe next command in every state: braking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rise_gym.envs.real.kinematics import Array, ToolPoints
from rise_gym.errors import InvalidRobot
from rise_gym.robots import Vector, known_arms
from rise_gym.tasks import TaskCard

LIMIT_NAMES = ("joint", "force", "velocity", "acceleration", "workspace")
"""Which limit changed a command, in the order of `Filtered.acted`."""

_SHARES = (
    1.0,
    0.5,
    0.25,
    0.125,
)  # of the way from braking to what was asked for that are tried at the workspace's edge
_CHANGED = 1e-9  # rad, m, and their rates: less is rounding
_EACH, _THREE = "one number a joint (`velocity_rad_s` and the like are one for all)", "three numbers, x, y and z in m"
_SIZES = {
    **dict.fromkeys(("joint_low", "joint_high", "velocity", "acceleration"), _EACH),
    **dict.fromkeys(("workspace_low_m", "workspace_high_m"), _THREE),
    **dict.fromkeys(("gripper_force_n", "gripper_stiffness_n_per_m"), ""),
}  # what a field of `Limits` has to be; empty: a number


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one robot, one number a joint in the order of the task card's actions; rad, m, s, N.

    The defaults are cautious for two AgileX Pipers on a table; measure before you widen them.

    Attributes:
        joint_low, joint_high: rad, and gripper openings in m. velocity: rad/s, m/s. acceleration: rad/s², m/s².
        grippers: which numbers are gripper openings.
        workspace_low_m, workspace_high_m: the box that each arm's fingertips and hand stay in; z = 0 is the table.
        gripper_force_n: what a gripper may press with. It is kept by commanding an opening no further from the measured
            one than this force takes, `gripper_force_n / gripper_stiffness_n_per_m`, so the stiffness of the gripper's
            servo (force on the object per m of opening that is missing) has to be right.
    """

    joint_low: tuple[float, ...]
    joint_high: tuple[float, ...]
    velocity: tuple[float, ...]
    acceleration: tuple[float, ...]
    grippers: tuple[int, ...]
    workspace_low_m: Vector = (-0.05, -0.55, 0.01)
    workspace_high_m: Vector = (0.60, 0.55, 0.60)
    gripper_force_n: float = 10.0
    gripper_stiffness_n_per_m: float = 250.0

    def __post_init__(self) -> None:
        self._check_numbers()
        parts = ("joint_low", "joint_high", "velocity", "acceleration")
        shapes = {part: np.shape(getattr(self, part)) for part in parts}
        if len(set(shapes.values())) != 1 or len(shapes["velocity"]) != 1:
            raise InvalidRobot(
                f"limits need one number a joint each, got shapes {shapes}; `velocity_rad_s` and the like are one "
                "number for all joints"
            )
        if not np.all(np.less(self.joint_low, self.joint_high)):
            raise InvalidRobot("joint_low must lie below joint_high for every joint")
        if not np.all(np.less(self.workspace_low_m, self.workspace_high_m)):
            raise InvalidRobot(f"the workspace is empty: {self.workspace_low_m} to {self.workspace_high_m} m")
        positive = (*self.velocity, *self.acceleration, self.gripper_force_n, self.gripper_stiffness_n_per_m)
        if not (np.isfinite(positive).all() and min(positive) > 0):
            raise InvalidRobot("velocities, accelerations, gripper force and stiffness must be positive and finite")
        if not set(self.grippers) <= set(range(len(self.velocity))):
            raise InvalidRobot(f"grippers are places from 0 to {len(self.velocity) - 1}, got {self.grippers}")

    def _check_numbers(self) -> None:
        """Refuse what is no number, and ends of joints that are infinite: room without end makes commands of NaN."""
        for name, sizes in _SIZES.items():
            value = getattr(self, name)
            numbers = value if sizes else (value,)
            if not isinstance(numbers, Sequence | np.ndarray) or not all(map(_is_number, numbers)):
                raise InvalidRobot(f"{name} is {sizes or 'a number'}, got {value!r}")
            if sizes == _THREE and len(numbers) != 3:
                raise InvalidRobot(f"{name} is {sizes}, got {value!r}")
        if not np.isfinite([*self.joint_low, *self.joint_high]).all():
            raise InvalidRobot(
                "joint_low and joint_high have to be finite, also of a joint that turns without end: give it the range "
                f"of the task card; got {self.joint_low} to {self.joint_high}"
            )

    @classmethod
    def of(
        cls,
        task: TaskCard,
        *,
        velocity_rad_s: float = 2.0,
        acceleration_rad_s2: float = 20.0,
        gripper_velocity_m_s: float = 0.5,
        gripper_acceleration_m_s2: float = 50.0,
        **fields: Any,
    ) -> Limits:
        """The task's joint ranges, and the same rates for all joints; `fields` are those of the class.

        What a robot file says is not looked at: `own_limits` gives that.

        Raises:
            InvalidRobot: for a field that there is none of, or numbers that make no sense.
        """
        if unknown := sorted(fields.keys() - cls.__dataclass_fields__.keys()):
            same = "velocity_rad_s, acceleration_rad_s2, gripper_velocity_m_s, gripper_acceleration_m_s2"
            raise InvalidRobot(f"limits are {same}, {', '.join(cls.__dataclass_fields__)}; got {unknown}: write it so")
        grippers = tuple(index for index, name in enumerate(task.action_names) if name.endswith("gripper_m"))
        velocity = [velocity_rad_s] * len(task.action_names)
        acceleration = [acceleration_rad_s2] * len(task.action_names)
        for gripper in grippers:
            velocity[gripper], acceleration[gripper] = gripper_velocity_m_s, gripper_acceleration_m_s2
        known: dict[str, Any] = {
            "joint_low": task.action_low,
            "joint_high": task.action_high,
            "velocity": tuple(velocity),
            "acceleration": tuple(acceleration),
            "grippers": grippers,
        }
        return cls(**{**known, **fields})


def own_limits(task: TaskCard) -> dict[str, Any]:
    """Arguments of `Limits.of` that the task's robot file says; none if it has no such file."""
    arms = known_arms(task.robot)
    return {} if arms is None else dict(arms.limits)


@dataclass(frozen=True, kw_only=True)
class Motion:
    """What was sent last: position (..., A) in rad and m, velocity (..., A) towards it in rad/s and m/s."""

    position: Array
    velocity: Array


class Filtered(NamedTuple):
    """What may be sent, and which of `LIMIT_NAMES` changed it: bool (..., 5)."""

    motion: Motion
    acted: NDArray[np.bool_]


class SafetyFilter:
    """The limits at a fixed rate of commands; holds no state of its own.

    Args:
        limits: what to keep. task: whose robot card says where joints put the tools.
        period_s: time between two commands.

    Attributes:
        braking_commands: how many it takes at most to come to rest.

    Raises:
        InvalidRobot: if the limits do not fit the task, or a gripper could not yield within one command.
    """

    def __init__(self, limits: Limits, task: TaskCard, period_s: float) -> None:
        if len(limits.joint_low) != len(task.action_names):
            raise InvalidRobot(f"{len(task.action_names)} joints were wanted, limits have {len(limits.joint_low)}")
        self.limits, self.period_s, self.names = limits, period_s, task.action_names
        if (arms := known_arms(task.robot)) is None:
            raise InvalidRobot(
                f"task {task.name!r} names no robot, without whose lengths nothing keeps the tools inside a workspace; "
                'describe its arms in a file (`rise_gym.robot_files`), and in the task say robot = "my_arm.toml"'
            )
        self._tools = ToolPoints(arms)
        self._low, self._high = np.array(limits.joint_low), np.array(limits.joint_high)
        self._velocity = np.array(limits.velocity)
        self._slowing = np.array(limits.acceleration) * period_s  # change of velocity in one command
        self._box = np.array(limits.workspace_low_m), np.array(limits.workspace_high_m)
        self._grippers = list(limits.grippers)
        self._squeeze_m = limits.gripper_force_n / limits.gripper_stiffness_n_per_m
        self.braking_commands = int(np.ceil((self._velocity / self._slowing).max()))
        if np.any(self._slowing[self._grippers] < 2 * self._velocity[self._grippers]):
            raise InvalidRobot(
                "a gripper has to be able to turn round within one command, or its force could not be limited: "
                f"acceleration of at least {2 / period_s:g} 1/s times its velocity was wanted"
            )

    def start(self, measured: NDArray[np.floating], tolerance_rad: float = 0.05) -> Motion:
        """At rest where the robot was measured to be (A,).

        Raises:
            InvalidRobot: if that is outside the limits by more than the tolerance (a tenth of it in m for grippers).
        """
        position = np.clip(np.asarray(measured, np.float64), self._low, self._high)
        allowed = np.full(position.shape, tolerance_rad)
        allowed[self._grippers] *= 0.1
        for index in np.flatnonzero(np.abs(position - measured) > allowed):
            raise InvalidRobot(
                f"the robot starts outside its limits: {self.names[index]} is {measured[index]:.3f}, allowed is "
                f"{self._low[index]:.3f} to {self._high[index]:.3f}; move it inside by hand, nothing was sent"
            )
        if not self._inside(position).all():
            tools = np.round(self._tools(position), 3).tolist()
            raise InvalidRobot(
                f"the robot starts with a tool outside the workspace {self.limits.workspace_low_m} to "
                f"{self.limits.workspace_high_m} m: tools and hands at {tools}; move them inside, nothing was sent"
            )
        return Motion(position=position, velocity=np.zeros_like(position))

    def step(self, motion: Motion, asked: NDArray[np.floating], measured: NDArray[np.floating]) -> Filtered:
        """The next command on the way to joint targets `asked` (..., A), given measured joints (..., A); rad and m."""
        acted = np.zeros((*motion.position.shape[:-1], len(LIMIT_NAMES)), bool)
        target = np.clip(asked, self._low, self._high)
        acted[..., 0] = _differ(target, asked)
        eased = self._with_force_kept(target, measured)
        acted[..., 1] = _differ(eased, target)
        wanted = (eased - motion.position) / self.period_s
        slow = np.clip(wanted, -self._velocity, self._velocity)
        acted[..., 2] = _differ(slow, wanted)
        smooth = self._smooth(motion, slow, eased - motion.position)
        acted[..., 3] = _differ(smooth, slow)
        inside = self._kept_inside(motion, smooth)
        acted[..., 4] = _differ(inside, smooth)
        position = np.clip(motion.position + inside * self.period_s, self._low, self._high)
        return Filtered(Motion(position=position, velocity=inside), acted)

    def brake(self, motion: Motion, measured: NDArray[np.floating]) -> Filtered:
        """The next command on the way to rest; once at rest, the same place again."""
        return self.step(motion, motion.position, measured)

    def at_rest(self, motion: Motion) -> bool:
        """Whether the last command moved nothing."""
        return bool(np.all(np.abs(motion.velocity) < _CHANGED))

    def _with_force_kept(self, target: Array, measured: NDArray[np.floating]) -> Array:
        """Gripper openings no further from the measured ones than the force allows; joint ranges still hold."""
        eased = target.copy()
        opening = np.asarray(measured, np.float64)[..., self._grippers]
        near = np.clip(target[..., self._grippers], opening - self._squeeze_m, opening + self._squeeze_m)
        eased[..., self._grippers] = np.clip(near, self._low[self._grippers], self._high[self._grippers])
        return eased

    def _smooth(self, motion: Motion, wanted: Array, way: Array) -> Array:
        """Velocities that acceleration allows, with room to brake before the joints' ends, and before the target."""
        arriving = self._stoppable(np.abs(way))
        wanted = np.clip(wanted, -arriving, arriving)
        lower = np.maximum(motion.velocity - self._slowing, -self._stoppable(motion.position - self._low))
        upper = np.minimum(motion.velocity + self._slowing, self._stoppable(self._high - motion.position))
        return np.asarray(np.clip(wanted, np.minimum(lower, self._braked(motion.velocity)), upper))

    def _stoppable(self, room: Array) -> Array:
        """The highest velocity of the next command from which braking ends within `room` rad (m).

        Moving at u slowing steps a command, then at u - 1, u - 2, ... goes as far as (n + 1) u - n (n + 1) / 2 of them,
        n being the whole part of u; this is its inverse.
        """
        room = np.maximum(room, 0) / (self._slowing * self.period_s)
        whole = np.floor((np.sqrt(8 * room + 1) - 1) / 2)
        return np.asarray((room + whole * (whole + 1) / 2) / (whole + 1) * self._slowing)

    def _braked(self, velocity: Array) -> Array:
        return np.asarray(np.sign(velocity) * np.maximum(np.abs(velocity) - self._slowing, 0))

    def _kept_inside(self, motion: Motion, wanted: Array) -> Array:
        """`wanted` where the tools could be braked inside the workspace, else less of it, at worst braking; by arms."""
        shape = wanted.shape
        joints = self._tools.joints_per_arm
        rest = self._braked(motion.velocity)
        # grippers move no tool point, and yield whatever their arm does
        rest[..., self._grippers] = wanted[..., self._grippers]
        chosen = rest.reshape(-1, self._tools.arms, joints).copy()
        open_question = np.ones(chosen.shape[:2], bool)
        for share in _SHARES:
            rows = np.flatnonzero(open_question.any(axis=1))
            if not len(rows):
                break
            position, slow, fast = (part.reshape(-1, shape[-1])[rows] for part in (motion.position, rest, wanted))
            candidate = fast if share == 1 else slow + share * (fast - slow)
            good = self._ends_inside(position, candidate) & open_question[rows]
            chosen[rows] = np.where(good[..., None], candidate.reshape(-1, self._tools.arms, joints), chosen[rows])
            open_question[rows] &= ~good
        return chosen.reshape(shape)

    def _ends_inside(self, position: Array, velocity: Array) -> NDArray[np.bool_]:
        """Whether moving on (n, A) and then braking stays in the workspace, half-way points too: (n, arms)."""
        inside = np.ones((len(position), self._tools.arms), bool)
        for _ in range(self.braking_commands + 1):
            for _half in range(2):
                position = position + 0.5 * self.period_s * velocity
                inside &= self._inside(position)
            velocity = self._braked(velocity)
            if not velocity.any():
                break
        return inside

    def _inside(self, position: Array) -> NDArray[np.bool_]:
        """Whether the tools are in the workspace: (..., A) -> (..., arms)."""
        points = self._tools(position)
        return np.asarray(np.all((points >= self._box[0]) & (points <= self._box[1]), axis=(-1, -2)))


def _differ(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.bool_]:
    return np.asarray(np.any(np.abs(one - other) > _CHANGED, axis=-1))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating)
