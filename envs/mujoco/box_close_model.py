"""What stands in the box-closing scene: how hard it is, what a seed decides, and the MJCF of both.

The box is free, its flaps and lid are on hinges. A crease is a spring that pulls to both sides of its crease angle.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rise_gym.envs.mujoco import robot, room

FLAPS = ("left", "right", "rear")
WALL_M = 0.004
RIM_STAGGER_M = 0.003  # hinges of rear flap and lid lie above each other, as layers of cardboard do


@dataclass(frozen=True, kw_only=True)
class BoxCloseConfig:
    """How hard the task is. Widths are half-widths of uniform draws; wider is harder.

    Raises:
        ValueError: for a negative width.
    """

    box_center_m: tuple[float, float] = (0.325, 0.03)
    box_shift_m: float = 0.03
    box_yaw_rad: float = 0.28
    cup_center_m: tuple[float, float] = (0.31, -0.195)
    cup_shift_m: float = 0.04
    size_spread: float = 0.06  # fraction of box and cup sizes
    friction_spread: float = 0.3  # fraction
    mass_spread: float = 0.25  # fraction
    color_spread: float = 0.06  # added to each colour channel
    light_spread: float = 0.25
    home_spread_rad: float = 0.03

    box_mass_kg: float = 0.9
    box_friction: float = 0.9
    cup_radius_m: float = 0.026
    cup_height_m: float = 0.062
    cup_mass_kg: float = 0.08

    flap_crease_nm: float = 0.022  # torque amplitude of a crease: larger springs back harder
    flap_crease_rad: float = 0.35  # folded less than this, a flap springs open again: smaller is harder
    lid_crease_rad: float = 0.0
    lid_crease_nm: float = 0.03
    hinge_friction_nm: float = 0.004
    tab_rest_rad: float = 0.65  # bend of the free tab below the lid's plane: smaller is harder to tuck
    tab_stiffness_nm: float = 0.012
    slot_m: float = 0.03  # between rear wall and rear flap: smaller is harder
    tab_length_m: float = 0.032

    folded_rad: float = 0.24  # a flap counts as folded below this
    closed_rad: float = 0.14  # and so does the lid
    tucked_depth_m: float = 0.006  # of the tab's edge below the rim
    hold_ticks: int = 3  # success is a score of 10 for this long

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name.endswith(("spread", "shift_m", "yaw_rad")) and value < 0:
                raise ValueError(f"{name} is the half-width of a draw and cannot be negative, got {value}")


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What the seed decided: everything that makes one episode's model and start differ from another's."""

    box_xy_m: tuple[float, float]
    box_yaw_rad: float
    box_size_m: tuple[float, float, float]  # depth (x), width (y), height, inside
    box_mass_kg: float
    box_friction: float
    cup_xy_m: tuple[float, float]
    cup_radius_m: float
    cup_height_m: float
    cup_mass_kg: float
    touch_friction: float
    flap_open_rad: tuple[float, float, float]  # left, right, rear
    lid_open_rad: float
    colors: tuple[tuple[float, float, float], ...]
    light: tuple[float, float, float, float]  # x, y, diffuse, ambient
    home_joints: tuple[float, ...]


_COLORS = {  # so far apart that 64 x 64 pixels show every stage
    "table": (0.36, 0.42, 0.46),
    "wall": (0.72, 0.53, 0.33),
    "inside": (0.22, 0.15, 0.12),
    "left": (0.95, 0.80, 0.25),
    "right": (0.95, 0.80, 0.25),
    "rear": (0.25, 0.65, 0.35),
    "lid": (0.93, 0.90, 0.84),
    "tab": (0.86, 0.15, 0.20),
    "cup": (0.15, 0.35, 0.90),
}


def draw(config: BoxCloseConfig, generator: np.random.Generator) -> Draw:
    """One start of the task."""

    def around(center: Any, width: float) -> tuple[float, ...]:
        return tuple((np.asarray(center) + generator.uniform(-width, width, np.shape(center))).tolist())

    def scaled(center: float, fraction: float) -> float:
        return float(center * generator.uniform(1 - fraction, 1 + fraction))

    return Draw(
        box_xy_m=around(config.box_center_m, config.box_shift_m),  # type: ignore[arg-type]
        box_yaw_rad=float(generator.uniform(-config.box_yaw_rad, config.box_yaw_rad)),
        box_size_m=tuple(scaled(size, config.size_spread) for size in (0.12, 0.15, 0.075)),  # type: ignore[arg-type]
        box_mass_kg=scaled(config.box_mass_kg, config.mass_spread),
        box_friction=scaled(config.box_friction, config.friction_spread),
        cup_xy_m=around(config.cup_center_m, config.cup_shift_m),  # type: ignore[arg-type]
        cup_radius_m=scaled(config.cup_radius_m, config.size_spread),
        cup_height_m=scaled(config.cup_height_m, config.size_spread),
        cup_mass_kg=scaled(config.cup_mass_kg, config.mass_spread),
        touch_friction=scaled(1.0, config.friction_spread),
        flap_open_rad=around((2.0, 2.0, 1.9), 0.15),  # type: ignore[arg-type]
        lid_open_rad=float(generator.uniform(1.55, 1.7)),
        colors=tuple(around(color, config.color_spread) for color in _COLORS.values()),  # type: ignore[misc]
        light=(
            *generator.uniform(-0.6, 0.6, 2).tolist(),
            scaled(0.55, config.light_spread),
            scaled(0.38, config.light_spread),
        ),
        home_joints=(
            *around(robot.home_joints(), config.home_spread_rad)[:6],
            robot.HOME_OPENING_M,
            *around(robot.home_joints(), config.home_spread_rad)[:6],
            robot.HOME_OPENING_M,
        ),
    )


def _box(name: str, center: tuple[float, ...], half: tuple[float, ...], mass: float, extra: str = "") -> str:
    numbers = " ".join(f"{value:.5f}" for value in center)
    sizes = " ".join(f"{value:.5f}" for value in half)
    return f'<geom class="{name}" type="box" pos="{numbers}" size="{sizes}" mass="{mass}" {extra}/>'


def _hinge(name: str, axis: str, stop_rad: float, config: BoxCloseConfig) -> str:
    return (
        f'<joint name="{name}" axis="{axis}" range="-0.03 {stop_rad}" limited="true" armature="0.0006" damping="0.003"'
        f' frictionloss="{config.hinge_friction_nm}" solreflimit="0.012 1"/>'
    )


def _side_flap(side: str, start: Draw, config: BoxCloseConfig) -> str:
    depth, width, height = start.box_size_m
    sign = 1 if side == "left" else -1
    length, half_depth = 0.33 * width, (depth - config.slot_m - 0.014) / 2
    middle = -config.slot_m / 2
    return f"""
<body name="{side}_flap" pos="0 {sign * width / 2} {height}">
  {_hinge(f"{side}_flap", f"{-sign} 0 0", 2.2, config)}
  {_box(f"{side}_paper", (middle, -sign * length / 2, 0), (half_depth, length / 2, 0.002), 0.008)}
  <site name="{side}_flap_edge" pos="{middle} {-sign * length} 0"/>
  <site name="{side}_crease" pos="0 {-sign * 0.02} 0"/>
</body>"""


def _rear_flap(start: Draw, config: BoxCloseConfig) -> str:
    depth, width, height = start.box_size_m
    slot, length, half_width = config.slot_m, 0.058, width / 2 - 0.006
    panel = (length - slot) / 2
    strips = "".join(
        _box("rear_paper", (-slot / 2, y * (half_width - 0.006), 0), (slot / 2, 0.006, 0.002), 0.001) for y in (1, -1)
    )
    return f"""
<body name="rear_flap" pos="{depth / 2} 0 {height + RIM_STAGGER_M}">
  {_hinge("rear_flap", "0 1 0", 2.2, config)}
  {_box("rear_paper", (-slot - panel, 0, 0), (panel, half_width, 0.002), 0.007)}
  {strips}
  <site name="rear_flap_edge" pos="{-length} 0 0"/>
  <site name="rear_crease" pos="-0.02 0 0"/>
</body>"""


def _lid(start: Draw, config: BoxCloseConfig) -> str:
    depth, width, height = start.box_size_m
    length, tab = depth - config.slot_m * 0.5, config.tab_length_m
    return f"""
<body name="lid" pos="{-depth / 2} 0 {height + 2 * RIM_STAGGER_M}">
  {_hinge("lid", "0 -1 0", 1.75, config)}
  {_box("lid_paper", (length / 2, 0, 0), (length / 2, width / 2 - 0.004, 0.002), 0.014)}
  <site name="lid_edge" pos="{length} 0 0"/>
  <site name="lid_crease" pos="0.02 0 0"/>
  <body name="tab" pos="{length} 0 0">
    <joint name="tab" axis="0 1 0" range="-0.4 1.75" limited="true" armature="0.0003" damping="0.0012"
      stiffness="{config.tab_stiffness_nm}" springref="{config.tab_rest_rad}" frictionloss="0.0005"/>
    {_box("tab_paper", (tab / 2, 0, 0), (tab / 2, width * 0.28, 0.0018), 0.003)}
    <site name="tab_edge" pos="{tab} 0 0"/>
  </body>
</body>"""


def _creases(config: BoxCloseConfig) -> str:
    """Zero-length springs from flap to box: torque amplitude * sin(angle - crease angle), bistable about the crease."""
    arm = 0.02
    rows = []
    for name in (*FLAPS, "lid"):
        torque = config.lid_crease_nm if name == "lid" else config.flap_crease_nm
        rows.append(
            f'<spatial name="{name}_crease" springlength="0" stiffness="{torque / arm**2}">'
            f'<site site="{name}_anchor"/><site site="{name}_crease"/></spatial>'
        )
    return "".join(rows)


def _anchors(start: Draw, config: BoxCloseConfig) -> str:
    """The box ends of the crease springs, opposite to the flap at its crease angle."""
    depth, width, height = start.box_size_m
    rows = []
    for name in (*FLAPS, "lid"):
        angle = config.lid_crease_rad if name == "lid" else config.flap_crease_rad
        along, up = -0.02 * np.cos(angle), -0.02 * np.sin(angle)
        x, y, z = {
            "left": (0, width / 2 - along, height + up),
            "right": (0, -width / 2 + along, height + up),
            "rear": (depth / 2 - along, 0, height + RIM_STAGGER_M + up),
            "lid": (-depth / 2 + along, 0, height + 2 * RIM_STAGGER_M + up),
        }[name]
        rows.append(f'<site name="{name}_anchor" pos="{x} {y} {z}"/>')
    return "".join(rows)


def _carton(start: Draw, config: BoxCloseConfig) -> str:
    depth, width, height = start.box_size_m
    x, y = start.box_xy_m
    half, mass = WALL_M / 2, start.box_mass_kg
    walls = (
        ((0, 0, half + 0.001), (depth / 2, width / 2, half), "inside_paper", 0.6),
        ((depth / 2 + half, 0, height / 2), (half, width / 2 + WALL_M, height / 2), "wall_paper", 0.1),
        ((-depth / 2 - half, 0, height / 2), (half, width / 2 + WALL_M, height / 2), "wall_paper", 0.1),
        ((0, width / 2 + half, height / 2), (depth / 2, half, height / 2), "wall_paper", 0.1),
        ((0, -width / 2 - half, height / 2), (depth / 2, half, height / 2), "wall_paper", 0.1),
    )
    feet = "".join(
        f'<geom class="foot" type="sphere" size="0.004" pos="{sx * depth * 0.42} {sy * width * 0.42} 0.0035" mass="0.001"/>'
        for sx in (1, -1)
        for sy in (1, -1)
    )
    return f"""
<body name="box" pos="{x} {y} 0.0005" euler="0 0 {start.box_yaw_rad}">
  <freejoint name="box"/>
  {"".join(_box(name, center, half_size, share * mass) for center, half_size, name, share in walls)}
  {feet}{_anchors(start, config)}
  {_side_flap("left", start, config)}{_side_flap("right", start, config)}{_rear_flap(start, config)}{_lid(start, config)}
</body>"""


def _cup(start: Draw) -> str:
    x, y = start.cup_xy_m
    radius, half = start.cup_radius_m, start.cup_height_m / 2
    return f"""
<body name="cup" pos="{x} {y} {half + 0.0005}">
  <freejoint name="cup"/>
  <geom class="cup" type="cylinder" size="{radius} {half}" mass="{start.cup_mass_kg}"/>
  <geom type="cylinder" pos="0 0 {half}" size="{radius * 0.78} 0.0006" rgba="0.06 0.10 0.30 1" contype="0" conaffinity="0" mass="0"/>
</body>"""


def mjcf(start: Draw, config: BoxCloseConfig) -> str:
    """The whole scene, robot included, as MJCF."""
    paper = 'contype="2" conaffinity="2" friction="0.4 0.005 0.0001" solref="0.01 1"'
    colors = room.rgb_texts(_COLORS, start.colors)
    papers = "".join(
        f'<default class="{name}_paper"><geom {paper} rgba="{colors[name]} 1"/></default>'
        for name in ("wall", "inside", "left", "right", "rear", "lid", "tab")
    )
    return f"""
<mujoco model="box_close">
<compiler angle="radian"/>
<option timestep="0.004" integrator="implicitfast" jacobian="dense" cone="pyramidal" iterations="30" ls_iterations="20"/>
{room.visual(start.light)}
<statistic extent="1" center="0.3 0 0"/>
<default>
  <geom solref="0.01 1"/><site rgba="0 0 0 0" size="0.002"/>
  {papers}
  <default class="foot"><geom contype="0" conaffinity="1" condim="4" friction="{start.box_friction} 0.005 0.0001" rgba="0 0 0 0"/></default>
  <default class="cup"><geom contype="2" conaffinity="3" condim="6" friction="{start.touch_friction} 0.01 0.002" rgba="{colors["cup"]} 1"/></default>
  {robot.DEFAULTS}
</default>
<worldbody>
  {room.lamp_and_table(start.light, colors["table"])}
  {robot.camera("head")}
  {robot.arm_body("left")}{robot.arm_body("right")}
  {_carton(start, config)}{_cup(start)}
</worldbody>
<contact>{robot.contact_excludes()}</contact>
<tendon>{_creases(config)}</tendon>
<actuator>{robot.actuators()}</actuator>
</mujoco>"""
