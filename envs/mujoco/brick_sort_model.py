"""What stands in the brick-sorting scene: how hard it is, what a seed decides, and the MJCF of both.

The belt is a heavy slab on a slide joint, kept at its speed by a motor of its own. It runs from the robot's right to
its left. The slab is long enough for the whole episode; what is to come lies upstream on it from the beginning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rise_gym.envs.mujoco import robot, room
from rise_gym.tasks import ARMS, BRICK_SORT

BRICKS = 4
BELT_TOP_M, BELT_HALF_WIDTH_M, STRIPE_EVERY_M = 0.025, 0.065, 0.15
SEEN_FROM_Y_M, BELT_END_Y_M = (
    -0.28,
    0.60,
)  # where bricks arrive in the head camera's view; the slab's front at the start
BIN_HALF_M, BIN_HEIGHT_M, WALL_M = (0.055, 0.07), 0.06, 0.004  # inside; a brick on top of another is still in


@dataclass(frozen=True, kw_only=True)
class BrickSortConfig:
    """How hard the task is. Widths are half-widths of uniform draws; wider is harder.

    Raises:
        ValueError: for a negative width, or bricks so close to each other that no hand comes between.
    """

    belt_x_m: float = 0.27
    belt_speed_m_s: float = 0.09
    speed_spread: float = 0.15  # fraction
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
        bins_xy_m=tuple(dice.around((x, y + sign * config.bins_apart_m / 2), config.bin_shift_m) for sign in (1, -1)),
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
    travel = start.belt_speed_m_s * BRICK_SORT.horizon_s
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


def _defaults(start: Draw, colors: Mapping[str, str]) -> str:
    """Looks and contact of each kind of thing."""
    dark = {arm: " ".join(f"{0.6 * float(c):.3f}" for c in colors[arm].split()) for arm in ARMS}
    fixed, seen = 'contype="1" conaffinity="0" friction="0.3 0.005 0.0001"', 'contype="0" conaffinity="0" mass="0"'
    free = f'contype="2" conaffinity="3" friction="{start.brick_friction} 0.01 0.001"'
    rows = {
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
    colors = room.rgb_texts(_COLORS, start.colors)
    return f"""
<mujoco model="brick_sort">
<compiler angle="radian"/>
<option timestep="0.004" integrator="implicitfast" jacobian="dense" cone="pyramidal" iterations="30" ls_iterations="20"/>
{room.visual(start.light)}
<statistic extent="1" center="0.3 0 0"/>
<default>
  <geom solref="0.01 1"/><site rgba="0 0 0 0" size="0.002"/>
  {_defaults(start, colors)}
  {robot.DEFAULTS}
</default>
<worldbody>
  {room.lamp_and_table(start.light, colors["table"], friction=0.3)}
  {robot.camera("head")}
  {robot.arm_body("left")}{robot.arm_body("right")}
  {_belt(start, config)}
  {"".join(_bin(arm, center) for arm, center in zip(ARMS, start.bins_xy_m, strict=True))}
  {"".join(_brick(index, start) for index in range(len(start.bricks)))}
</worldbody>
<contact>{robot.contact_excludes()}</contact>
<actuator>
{robot.actuators()}
<velocity name="belt" joint="belt" kv="200000"/>
</actuator>
</mujoco>"""
