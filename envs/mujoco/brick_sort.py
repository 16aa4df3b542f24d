"""The brick-sorting scene: a running belt carries bricks of two colours past two bins, one a colour.

The belt is a heavy slab on a slide joint, kept at its speed by a motor of its own; friction carries the bricks, and a
gripper takes them off by friction too. It runs from the robot's right to its left and never stops: a brick that nobody
takes is carried out of reach. The slab is long enough for the whole episode; what is to come lies upstream on it from
the beginning, out of sight.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from rise_gym.envs.mujoco import robot
from rise_gym.envs.mujoco.scene import Scene
from rise_gym.tasks import ARMS, task_card

Vector = NDArray[np.float64]

BRICKS = 4
GRASPED, SORTED, WRONG_BIN, LOST = 1.0, 2.5, -1.0, -0.5  # points of one brick
NEAR_SHARE, RAISED_SHARE, CARRIED_SHARE = 0.4, 0.4, 1.2  # points of progress on the way: to a grasp, to its bin
APPROACH_M, TOUCH_M = 0.30, 0.03  # from here on a tool counts as coming near, and as being there
HELD_M, LIFTED_M = 0.035, 0.010  # of a held brick: at most so far from the tool, at least so far above the belt
PLAY_M = 0.006  # fingers further apart than a brick is long, and this, do not hold it
CARRY_M = 0.35  # so far from its bin a held brick is not yet carried at all
BELT_TOP_M, BELT_HALF_WIDTH_M, STRIPE_EVERY_M = 0.025, 0.065, 0.15
SEEN_FROM_Y_M, BELT_END_Y_M = -0.28, 0.60  # where bricks arrive in the head camera's view; the slab's front at the start
BIN_HALF_M, BIN_HEIGHT_M, WALL_M = (0.055, 0.07), 0.06, 0.004  # inside; a brick on top of another is still in


@dataclass(frozen=True, kw_only=True)
class BrickSortConfig:
    """How hard the task is. Widths are half-widths of uniform draws; wider is harder.

    Raises:
        ValueError: for a negative width, or bricks so close to each other that no hand comes between.
    """

    belt_x_m: float = 0.27
    belt_speed_m_s: float = 0.05
    speed_spread: float = 0.25  # fraction
    first_arrival_s: float = 2.0  # when the first brick comes into view
    first_arrival_spread_s: float = 1.0
    gap_s: float = 4.2  # from one brick's arrival to the next one's
    gap_spread_s: float = 0.9
    brick_shift_m: float = 0.028  # across the belt
    brick_yaw_rad: float = 1.57
    bins_center_m: tuple[float, float] = (0.435, -0.025)  # between the two bins
    bins_apart_m: float = 0.28
    bin_shift_m: float = 0.01
    size_spread: float = 0.06  # fraction of brick sizes
    friction_spread: float = 0.25  # fraction
    mass_spread: float = 0.25  # fraction
    color_spread: float = 0.06  # added to each colour channel
    light_spread: float = 0.25
    home_spread_rad: float = 0.03

    brick_size_m: tuple[float, float, float] = (0.054, 0.034, 0.034)  # length, width, height
    brick_mass_kg: float = 0.05
    brick_friction: float = 1.0
    lost_y_m: float = 0.32  # carried past this a brick is out of reach
    hold_ticks: int = 3  # success is a score of 10 for this long

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name.endswith(("spread", "spread_s", "spread_rad", "shift_m", "yaw_rad")) and value < 0:
                raise ValueError(f"{name} is the half-width of a draw and cannot be negative, got {value}")
        closest = (self.gap_s - self.gap_spread_s) * self.belt_speed_m_s * (1 - self.speed_spread)
        if closest < 2 * self.brick_size_m[0]:
            raise ValueError(f"bricks would follow each other by {closest:.3f} m; make gap_s or belt_speed_m_s larger")


@dataclass(frozen=True, kw_only=True)
class Brick:
    """One brick as the seed drew it. `home` is the arm at whose side its bin stands, which is also its colour's name.

    Yaw is that of its length against x.
    """

    home: str
    arrival_s: float
    x_m: float
    yaw_rad: float
    size_m: tuple[float, float, float]
    mass_kg: float


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What the seed decided: everything that makes one episode's model and start differ from another's."""

    bricks: tuple[Brick, ...]
    belt_speed_m_s: float
    brick_friction: float
    bins_xy_m: tuple[tuple[float, float], ...]  # left, right
    colors: tuple[tuple[float, float, float], ...]
    light: tuple[float, float, float, float]  # x, y, diffuse, ambient
    home_joints: tuple[float, ...]


_COLORS = {
    "table": (0.50, 0.50, 0.46),
    "belt": (0.17, 0.19, 0.20),
    "stripe": (0.42, 0.45, 0.46),
    "frame": (0.62, 0.64, 0.66),
    "left": (0.90, 0.22, 0.14),
    "right": (0.13, 0.38, 0.92),
}


class _Dice:
    """Uniform draws from one generator."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator

    def around(self, center: Any, width: float) -> Any:
        """Like `center`, each number shifted by up to `width`."""
        return tuple((np.asarray(center) + self.generator.uniform(-width, width, np.shape(center))).tolist())

    def near(self, center: float, width: float) -> float:
        return float(center + self.generator.uniform(-width, width))

    def scaled(self, center: float, fraction: float) -> float:
        return float(center * self.generator.uniform(1 - fraction, 1 + fraction))


def _draw_bricks(config: BrickSortConfig, dice: _Dice) -> tuple[Brick, ...]:
    """In the order of their arrival, of each colour at least one."""
    homes = [*ARMS, *dice.generator.choice(ARMS, BRICKS - len(ARMS)).tolist()]
    dice.generator.shuffle(homes)
    arrival, bricks = dice.near(config.first_arrival_s, config.first_arrival_spread_s), []
    for home in homes:
        length, side, _ = config.brick_size_m
        scale = dice.scaled(1.0, config.size_spread)
        bricks.append(
            Brick(
                home=home,
                arrival_s=arrival,
                x_m=dice.near(config.belt_x_m, config.brick_shift_m),
                yaw_rad=dice.near(0.0, config.brick_yaw_rad),
                size_m=(dice.scaled(length, config.size_spread), scale * side, scale * config.brick_size_m[2]),
                mass_kg=dice.scaled(config.brick_mass_kg, config.mass_spread),
            )
        )
        arrival += dice.near(config.gap_s, config.gap_spread_s)
    return tuple(bricks)


def draw(config: BrickSortConfig, generator: np.random.Generator) -> Draw:
    """One start of the task."""
    dice = _Dice(generator)
    x, y = config.bins_center_m
    return Draw(
        belt_speed_m_s=dice.scaled(config.belt_speed_m_s, config.speed_spread),
        bricks=_draw_bricks(config, dice),
        brick_friction=dice.scaled(config.brick_friction, config.friction_spread),
        bins_xy_m=tuple(
            dice.around((x, y + sign * config.bins_apart_m / 2), config.bin_shift_m) for sign in (1, -1)
        ),
        colors=tuple(dice.around(color, config.color_spread) for color in _COLORS.values()),
        light=(
            *dice.around((0.0, 0.0), 0.6),
            dice.scaled(0.55, config.light_spread),
            dice.scaled(0.38, config.light_spread),
        ),
        home_joints=tuple(
            joint
            for arm in np.split(robot.home_joints(), 2)
            for joint in (*dice.around(arm[:6], config.home_spread_rad), robot.HOME_OPENING_M)
        ),
    )


def _box(name: str, center: tuple[float, ...], half: tuple[float, ...], extra: str = "") -> str:
    numbers = " ".join(f"{value:.5f}" for value in center)
    sizes = " ".join(f"{value:.5f}" for value in half)
    return f'<geom class="{name}" type="box" pos="{numbers}" size="{sizes}" {extra}/>'


def belt_span_m(start: Draw) -> tuple[float, float]:
    """Where the slab's rear and front ends are in y at the start, such that bricks and hands never meet an end."""
    travel = start.belt_speed_m_s * task_card(BrickSortScene.task).horizon_s
    last = SEEN_FROM_Y_M - start.belt_speed_m_s * max(brick.arrival_s for brick in start.bricks)
    return min(last - 0.2, -BELT_END_Y_M - travel), BELT_END_Y_M


def _belt(start: Draw, config: BrickSortConfig) -> str:
    """The slab with stripes across it, further apart than it runs in a second, and the frame it runs in."""
    rear, front = belt_span_m(start)
    half = (front - rear) / 2
    stripes = "".join(
        _box("stripe", (0, y, BELT_TOP_M / 2), (BELT_HALF_WIDTH_M, 0.007, 0.0004))
        for y in np.arange(-half + STRIPE_EVERY_M / 2, half, STRIPE_EVERY_M)
    )
    frame = "".join(
        _box("frame", (config.belt_x_m + side * (BELT_HALF_WIDTH_M + 0.006), 0, 0.011), (0.005, 0.8, 0.011))
        for side in (1, -1)
    )
    return f"""
<body name="belt" pos="{config.belt_x_m} {(front + rear) / 2} {BELT_TOP_M / 2}">
  <joint name="belt" type="slide" axis="0 1 0"/>
  {_box("belt", (0, 0, 0), (BELT_HALF_WIDTH_M, half, BELT_TOP_M / 2), 'mass="50"')}
  {stripes}
</body>
{frame}"""


def _bin(arm: str, center: tuple[float, float]) -> str:
    """A floor and four walls, fixed to the table."""
    (x, y), (depth, width), half = center, BIN_HALF_M, WALL_M / 2
    middle = BIN_HEIGHT_M / 2
    return "".join(
        (
            _box(f"{arm}_floor", (x, y, half), (depth, width, half)),
            *(_box(arm, (x + s * (depth + half), y, middle), (half, width + WALL_M, middle)) for s in (1, -1)),
            *(_box(arm, (x, y + s * (width + half), middle), (depth, half, middle)) for s in (1, -1)),
        )
    )


def _brick(index: int, start: Draw) -> str:
    brick = start.bricks[index]
    y = SEEN_FROM_Y_M - start.belt_speed_m_s * brick.arrival_s
    length, width, height = (size / 2 for size in brick.size_m)
    return f"""
<body name="brick_{index}" pos="{brick.x_m} {y} {BELT_TOP_M + height}" euler="0 0 {brick.yaw_rad}">
  <freejoint name="brick_{index}"/>
  <geom class="{brick.home}_brick" type="box" size="{length} {width} {height}" mass="{brick.mass_kg}"/>
</body>"""


def _defaults(start: Draw) -> str:
    """Looks and contact of each kind of thing."""
    colors = {
        name: " ".join(f"{max(0.02, min(1, c)):.3f}" for c in rgb)
        for name, rgb in zip(_COLORS, start.colors, strict=True)
    }
    dark = {arm: " ".join(f"{0.6 * float(c):.3f}" for c in colors[arm].split()) for arm in ARMS}
    fixed, seen = 'contype="1" conaffinity="0" friction="0.3 0.005 0.0001"', 'contype="0" conaffinity="0" mass="0"'
    free = f'contype="2" conaffinity="3" friction="{start.brick_friction} 0.01 0.001"'
    rows = {
        "table": f'{seen} rgba="{colors["table"]} 1"',
        "belt": f'{fixed} rgba="{colors["belt"]} 1"',
        "stripe": f'{seen} rgba="{colors["stripe"]} 1"',
        "frame": f'{fixed} rgba="{colors["frame"]} 1"',
        **{arm: f'{fixed} rgba="{colors[arm]} 1"' for arm in ARMS},
        **{f"{arm}_floor": f'{fixed} rgba="{dark[arm]} 1"' for arm in ARMS},
        **{f"{arm}_brick": f'{free} rgba="{colors[arm]} 1"' for arm in ARMS},
    }
    return "".join(f'<default class="{name}"><geom {how}/></default>' for name, how in rows.items())


def mjcf(start: Draw, config: BrickSortConfig) -> str:
    """The whole scene, robot included, as MJCF."""
    light_x, light_y, diffuse, ambient = start.light
    return f"""
<mujoco model="brick_sort">
<compiler angle="radian"/>
<option timestep="0.004" integrator="implicitfast" jacobian="dense" cone="pyramidal" iterations="30" ls_iterations="20"/>
<visual><headlight diffuse="0.25 0.25 0.25" ambient="{ambient} {ambient} {ambient}" specular="0 0 0"/><map znear="0.005" zfar="3"/></visual>
<statistic extent="1" center="0.3 0 0"/>
<default>
  <geom solref="0.01 1"/><site rgba="0 0 0 0" size="0.002"/>
  {_defaults(start)}
  {robot.DEFAULTS}
</default>
<worldbody>
  <light pos="{light_x} {light_y} 1.6" dir="{-0.4 * light_x} {-0.4 * light_y} -1" diffuse="{diffuse} {diffuse} {diffuse}" specular="0 0 0"/>
  <geom name="table" type="plane" size="1.2 1.2 0.1" contype="1" conaffinity="0" friction="0.3 0.005 0.0001" rgba="0 0 0 0"/>
  {_box("table", (0.3, 0, -0.02), (0.7, 0.8, 0.0199))}
  {robot.camera("head")}
  {robot.arm_body("left")}{robot.arm_body("right")}
  {_belt(start, config)}
  {"".join(_bin(arm, center) for arm, center in zip(ARMS, start.bins_xy_m, strict=True))}
  {"".join(_brick(index, start) for index in range(len(start.bricks)))}
</worldbody>
<contact>{robot.contact_excludes()}</contact>
<actuator>
{robot.actuators()}
<velocity name="belt" joint="belt" kv="5000"/>
</actuator>
</mujoco>"""


class BrickSortScene(Scene):
    """One episode's model, asked in the task's own words. Angles in rad, lengths in m, positions in the world frame.

    A brick is worth 1.0 point while a gripper holds it off the belt, 2.5 in the bin of its colour, -1.0 in the other
    bin, and -0.5 once it is lost: carried past `lost_y_m`, or fallen beside the belt and the bins. All else is worth
    nothing. The score is the sum over the bricks, in 0 to 10.
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

    def sorted(self, brick: int) -> bool:
        """In the bin of its colour."""
        return self.binned(brick) == self.start.bricks[brick].home

    def stages(self) -> dict[str, bool]:
        """Which stages hold now: how many bricks are in the bin of their colour."""
        count = sum(self.sorted(brick) for brick in self.bricks)
        return {stage.name: count > number for number, stage in enumerate(task_card(self.task).stages)}

    def score(self) -> float:
        """The points of all bricks, 0 to 10."""
        return float(np.clip(sum(self._points(brick) for brick in self.bricks), 0, 10))

    def progress(self) -> float:
        """The score / 10 with what is under way interpolated, in [0, 1]: at least the score's share, 1 if all is done."""
        worth = (max(self._points(brick), self._points_under_way(brick)) for brick in self.bricks)
        return float(np.clip(sum(worth), 0, 10) / 10)

    def _points(self, brick: int) -> float:
        where = self.binned(brick)
        if where is not None:
            return SORTED if where == self.start.bricks[brick].home else WRONG_BIN
        if self.holder(brick) is not None:
            return GRASPED
        return LOST if self.lost(brick) else 0.0

    def _points_under_way(self, brick: int) -> float:
        """What a brick is worth that is neither in a bin nor lost: rises as a hand comes, lifts, and carries it."""
        if self.binned(brick) is not None or self.lost(brick):
            return LOST + WRONG_BIN  # less than it is worth anyway
        home = self.start.bricks[brick].home
        if self.holder(brick) is not None or self.over_bin(brick) == home:  # let go above its bin it falls in
            away = np.linalg.norm(self.brick_position(brick)[:2] - self.bin_center(home)[:2])
            return GRASPED + CARRIED_SHARE * float(np.clip(1 - away / CARRY_M, 0, 1))
        distance = min(self._distance(arm, brick) for arm in ARMS)
        near = float(np.clip((APPROACH_M - distance) / (APPROACH_M - TOUCH_M), 0, 1))
        raised = float(np.clip((self.bottom_m(brick) - BELT_TOP_M) / LIFTED_M, 0, 1))
        return near * (NEAR_SHARE + RAISED_SHARE * raised)

    def _distance(self, arm: str, brick: int) -> float:
        return float(np.linalg.norm(self.data.site_xpos[self._tools[arm]] - self.data.xpos[self._bodies[brick]]))
