"""The backpack scene: a soft bag that stands half shut, a folded garment, and a zip along the mouth.

Everything that happens is contact physics. The bag is a chain of compliant panels, not a flex: a stiff back and bottom,
as backpacks have, a front of two sprung panels that sags over the mouth, and two sprung ends. A flex of that size would
have some hundred degrees of freedom more (an estimate, not tried) in a solver that is to run many times faster than
time. The garment is a row of five segments on sprung joints that bend and twist.

The zip is a slider on a track along the back's rim, with dry friction. It acts on the mouth as a cord laced through
both rims: the further the slider has run, the less the rims can part (a tendon's length limit, always there). So it
does not run while something holds the mouth open, be it a hand or a garment that sticks out.

Lifted means held in the air, by a padded grip at the near end: the bag hangs from one hand while the other zips, and
a grip that slips loses the stage.

In the frame of the bag x points along the mouth (away from the robot), y to the robot's left, z up; the origin is in
the middle of its underside. The stiff back is on the right, the soft front on the left; a front panel's angle is 0
when upright and grows inward.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from rise_gym.envs.mujoco import robot
from rise_gym.envs.mujoco.backpack_model import COLORS, FOLD, SEGMENTS, TRAVEL_M, Draw, mjcf
from rise_gym.envs.mujoco.scene import StagedScene

APPROACH_M, TOUCH_M = 0.30, 0.03  # from here on a tool counts as coming near, and as being there
AJAR_M, WIDE_M = 0.055, 0.085  # a mouth that nobody holds is at most ajar
FASTEST_SPIN_RAD_S = 60.0  # of the garment in air; demonstrations and policies' episodes reach 38


@dataclass(frozen=True, kw_only=True)
class BackpackPackConfig:
    """How hard the task is. Widths are half-widths of uniform draws; wider is harder.

    Raises:
        ValueError: for a negative width.
    """

    bag_center_m: tuple[float, float] = (0.335, 0.04)
    bag_shift_m: float = 0.025
    bag_yaw_rad: float = 0.2
    garment_center_m: tuple[float, float] = (0.31, -0.17)
    garment_shift_m: float = 0.035
    garment_yaw_rad: float = 0.35
    size_spread: float = 0.06  # fraction of bag and garment sizes
    friction_spread: float = 0.25  # fraction
    mass_spread: float = 0.2  # fraction
    stiffness_spread: float = 0.25  # fraction of springs in bag and garment
    color_spread: float = 0.06  # added to each colour channel
    light_spread: float = 0.25
    home_spread_rad: float = 0.03
    sag_spread_rad: float = 0.03

    bag_mass_kg: float = 0.32
    bag_friction: float = 0.5
    front_stiffness_nm: float = 0.045  # of each front panel, per rad: larger is harder to hold open
    sag_rad: tuple[float, float] = (0.14, 0.13)  # rest angles of lower and upper front panel: larger shuts the mouth
    garment_mass_kg: float = 0.05
    garment_stiffness_nm: float = 0.004  # per rad, of each joint between two segments
    zip_friction_n: float = 1.3

    lifted_m: float = 0.02  # the bag's lowest corner, above the table
    sunk_m: float = 0.012  # a garment is inside once all of it is so far below the back's rim
    half_zipped: float = 0.5  # fraction of the slider's travel
    zipped: float = 0.95
    shut_m: float = 0.03  # the zipped mouth's rims are less far apart
    hold_ticks: int = 3  # success is a score of 10 for this long

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name.endswith(("spread", "spread_rad", "shift_m", "yaw_rad")) and value < 0:
                raise ValueError(f"{name} is the half-width of a draw and cannot be negative, got {value}")


def draw(config: BackpackPackConfig, generator: np.random.Generator) -> Draw:
    """One start of the task."""

    def around(center: Any, width: float) -> tuple[float, ...]:
        return tuple((np.asarray(center) + generator.uniform(-width, width, np.shape(center))).tolist())

    def scaled(center: float, fraction: float) -> float:
        return float(center * generator.uniform(1 - fraction, 1 + fraction))

    def home() -> tuple[float, ...]:
        return (*around(robot.HOME_JOINTS, config.home_spread_rad), robot.HOME_OPENING_M)

    size, friction, mass = config.size_spread, config.friction_spread, config.mass_spread
    stiffness, light = config.stiffness_spread, config.light_spread
    return Draw(
        bag_xy_m=around(config.bag_center_m, config.bag_shift_m),  # type: ignore[arg-type]
        bag_yaw_rad=float(generator.uniform(-config.bag_yaw_rad, config.bag_yaw_rad)),
        bag_size_m=tuple(scaled(length, size) for length in (0.16, 0.10, 0.092)),  # type: ignore[arg-type]
        bag_mass_kg=scaled(config.bag_mass_kg, mass),
        bag_friction=scaled(config.bag_friction, friction),
        front_stiffness_nm=scaled(config.front_stiffness_nm, stiffness),
        sag_rad=around(config.sag_rad, config.sag_spread_rad),  # type: ignore[arg-type]
        garment_xy_m=around(config.garment_center_m, config.garment_shift_m),  # type: ignore[arg-type]
        garment_yaw_rad=float(generator.uniform(-config.garment_yaw_rad, config.garment_yaw_rad)),
        garment_size_m=tuple(scaled(length, size) for length in (0.09, 0.042, 0.024)),  # type: ignore[arg-type]
        garment_mass_kg=scaled(config.garment_mass_kg, mass),
        garment_stiffness_nm=scaled(config.garment_stiffness_nm, stiffness),
        touch_friction=scaled(1.0, friction),
        grip_friction=scaled(1.2, friction),
        zip_friction_n=scaled(config.zip_friction_n, friction),
        zip_start_m=float(generator.uniform(0, 0.006)),
        colors=tuple(around(color, config.color_spread) for color in COLORS.values()),  # type: ignore[misc]
        light=(*generator.uniform(-0.6, 0.6, 2).tolist(), scaled(0.55, light), scaled(0.38, light)),
        home_joints=(*home(), *home()),
    )


class BackpackPackScene(StagedScene):
    """One episode's model, asked in the task's own words. Angles in rad, lengths in m, positions in the world frame."""

    task = "backpack_pack"
    config_class = BackpackPackConfig

    def __init__(self, start: Draw, config: BackpackPackConfig) -> None:
        self.start, self.config = start, config
        self.model = mujoco.MjModel.from_xml_string(mjcf(start))
        self.data = mujoco.MjData(self.model)
        self._garment = [self.model.site(f"garment{number}").id for number in range(SEGMENTS)]
        first = self.model.joint("garment").dofadr[0]
        self._spin = slice(first + 3, first + 6)  # of the whole; what follows are its folds
        self._cloth = slice(first, first + 6 + 2 * (SEGMENTS - 1))
        self._corners = [self.model.site(f"corner{number}").id for number in range(6)]
        self._place()

    def _place(self) -> None:
        joints = np.array(self.start.home_joints)
        robot.home_qpos(self.model, self.data.qpos, joints)
        self.data.ctrl[:] = robot.joint_targets_to_ctrl(joints)
        for name, angle in zip(("front", "flap"), self.start.sag_rad, strict=True):
            self.data.joint(name).qpos[0] = angle
        self.data.joint("slider").qpos[0] = self.start.zip_start_m

    @classmethod
    def sample(cls, generator: np.random.Generator, config: BackpackPackConfig) -> BackpackPackScene:
        """A new start, drawn from `generator`."""
        return cls(draw(config, generator), config)

    def settle(self) -> None:
        """Air slows a garment that is flung: spinning ever faster, it would burst the integrator's small steps."""
        velocity = self.data.qvel
        spin = float(np.linalg.norm(velocity[self._spin]))
        if spin > FASTEST_SPIN_RAD_S:
            velocity[self._cloth] *= FASTEST_SPIN_RAD_S / spin

    @property
    def bag_size_m(self) -> tuple[float, float, float]:
        """Length along the mouth (x), depth (y) and height."""
        return self.start.bag_size_m

    def bag_pose(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Position (3,) of the bag's origin and its rotation matrix (3, 3)."""
        body = self.data.body("bag")
        return body.xpos.copy(), body.xmat.reshape(3, 3).copy()

    def in_bag(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """World points (..., 3) in the frame of the bag."""
        position, rotation = self.bag_pose()
        return (points - position) @ rotation

    def bag_point(self, x: float, y: float, z: float) -> NDArray[np.float64]:
        """The world position (3,) of a point of the bag's frame."""
        position, rotation = self.bag_pose()
        return position + rotation @ np.array([x, y, z])

    def spot(self, name: str) -> NDArray[np.float64]:
        """World position (3,) of the `grip`, the zip's `puller`, or the middle of the `front_rim`."""
        return self.data.site(name).xpos.copy()

    def garment(self) -> NDArray[np.float64]:
        """World positions (5, 3) of the middles of its segments."""
        return self.data.site_xpos[self._garment].copy()

    def garment_across(self) -> NDArray[np.float64]:
        """The direction (3,) of its width."""
        return self.data.body(f"garment{SEGMENTS // 2}").xmat.reshape(3, 3)[:, 1].copy()

    def garment_inside(self) -> NDArray[np.bool_]:
        """Which of its segments (5,) are between the walls and below the rim."""
        length, depth, height = self.bag_size_m
        points = self.garment()
        x, y, z = self.in_bag(points).T
        behind_front = [self._beside(name, points) < 0 for name in ("front", "flap")]
        within = (abs(x) < length / 2) & (y > -depth / 2) & np.where(z < FOLD * height, *behind_front)
        return within & (z > 0) & (z < height - self.config.sunk_m)

    def _beside(self, panel: str, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance of world points (N, 3) from a front panel, negative towards the inside of the bag."""
        body = self.data.body(panel)
        return (points - body.xpos) @ body.xmat.reshape(3, 3)[:, 1]

    def clearance_m(self) -> float:
        """Height of the bag's lowest corner above the table."""
        return float(self.data.site_xpos[self._corners, 2].min())

    def mouth_m(self) -> float:
        """Between the front's rim and the back's."""
        return float(np.linalg.norm(self.spot("front_rim") - self.spot("eyelet")))

    @property
    def zip_travel_m(self) -> float:
        """Of the slider, from the far end to the near one."""
        return TRAVEL_M

    def zip_fraction(self) -> float:
        """How much of its travel the slider has done, 0 to 1."""
        return float(np.clip(self.data.joint("slider").qpos[0] / TRAVEL_M, 0, 1))

    def stages(self) -> dict[str, bool]:
        """Which stages hold now, each by itself."""
        run = self.zip_fraction()
        return {
            "inserted": bool(self.garment_inside().all()),
            "lifted": self.clearance_m() > self.config.lifted_m,
            "half_zipped": run >= self.config.half_zipped,
            "zipped": run >= self.config.zipped and self.mouth_m() < self.config.shut_m,
        }

    def fraction(self, stage: str) -> float:
        """How far a stage that does not hold yet has come, 0 to 1."""
        return float(np.clip(getattr(self, f"_{stage}_fraction")(), 0.0, 1.0))

    def kept(self, stage: str) -> float:
        """A bag that sinks stays as far zipped as it was; a garment that peeps out of the bag spoils what follows."""
        return {"inserted": self._kept_inside(), "lifted": 1.0}.get(stage, 0.0)

    # Each fraction rises from the first move of a hand on: a chunk that only approaches is told from one that does not.

    def _near(self, arm: str, point: NDArray[np.float64]) -> float:
        """1 where the tool of an arm is at a world point (3,), 0 from `APPROACH_M` on."""
        distance = np.linalg.norm(self.data.site(f"{arm}_tool").xpos - point)
        return float(np.clip((APPROACH_M - distance) / (APPROACH_M - TOUCH_M), 0, 1))

    def _inserted_fraction(self) -> float:
        """The right hand comes to the garment, the left to the mouth and opens it; the garment is carried and sinks in."""
        height = self.bag_size_m[2]
        middle = self.garment()[SEGMENTS // 2]
        way = np.subtract(self.start.garment_xy_m, self.start.bag_xy_m)
        carried = np.clip(1 - np.linalg.norm((middle - self.bag_pose()[0])[:2]) / np.linalg.norm(way), 0, 1)
        lifted = np.clip((middle[2] - self.start.garment_size_m[2] / 2) / height, 0, 1)
        inside = self.garment_inside().mean()
        opened = np.clip((self.mouth_m() - AJAR_M) / (WIDE_M - AJAR_M), 0, 1)
        hands = 0.15 * self._near("right", middle) + 0.1 * self._near("left", self.spot("front_rim"))
        held = 0.1 * float(max(opened, inside)) + 0.15 * float(max(lifted, inside))
        return hands + held + 0.3 * float(carried) + 0.2 * float(inside)

    def _kept_inside(self) -> float:
        """1 with the whole garment inside, half with one of its five segments out, 0 with two."""
        return float(np.clip(1 - 0.5 * (~self.garment_inside()).sum(), 0, 1))

    def _risen(self) -> float:
        return float(np.clip(self.clearance_m() / self.config.lifted_m, 0, 1))

    def _at_puller(self) -> float:
        """How near the right hand is to the zip of a bag that is off the table: before that it has no business there."""
        return self._near("right", self.spot("puller")) * self._risen()

    def _lifted_fraction(self) -> float:
        return 0.5 * self._near("left", self.spot("grip")) + 0.5 * self._risen()

    def _half_zipped_fraction(self) -> float:
        return 0.35 * self._at_puller() + 0.65 * self.zip_fraction() / self.config.half_zipped

    def _zipped_fraction(self) -> float:
        half = self.config.half_zipped
        shut = np.clip((0.06 - self.mouth_m()) / (0.06 - self.config.shut_m), 0, 1)
        run = np.clip((self.zip_fraction() - half) / (self.config.zipped - half), 0, 1)
        return 0.2 * self._at_puller() + 0.6 * float(run) + 0.2 * float(shut)
