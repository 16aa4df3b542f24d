"""What the backpack scene is made of, as MJCF: the bag, its zip, the garment. `backpack_pack` says what it means.

In the frame of the bag x points along the mouth (away from the robot), y to the robot's left, z up; the origin is in
the middle of its underside. The stiff back is on the right, the soft front on the left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rise_gym.envs.mujoco import robot, room

SEGMENTS = 5  # of the garment; the middle one carries the others
FOLD = 0.47  # height of the fold between the two front panels, as a fraction of the bag's
PANEL_M = 0.003  # thickness of the soft panels
RIM_INSET_M = 0.035  # the back leans in by so much at its rim
BACK_SPAN_M = 0.012  # the cord's eyelet lies so far below the back's rim
TRAVEL_M = 0.085  # of the zip's slider
SHUT_M = 0.018  # between the rims once the slider has arrived
GRIP_HALF_M = (0.012, 0.020, 0.014)
GRIP_X_M = -0.066  # of the grip, along the mouth
TRACK_X_M = 0.066  # where the zip begins


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What the seed decided: everything that makes one episode's model and start differ from another's."""

    bag_xy_m: tuple[float, float]
    bag_yaw_rad: float
    bag_size_m: tuple[float, float, float]  # length (x), depth (y), height
    bag_mass_kg: float
    bag_friction: float
    front_stiffness_nm: float
    sag_rad: tuple[float, float]  # rest angles of lower and upper front panel
    garment_xy_m: tuple[float, float]
    garment_yaw_rad: float
    garment_size_m: tuple[float, float, float]  # length (x), width (y), thickness
    garment_mass_kg: float
    garment_stiffness_nm: float
    touch_friction: float
    grip_friction: float
    zip_friction_n: float
    zip_start_m: float
    colors: tuple[tuple[float, float, float], ...]
    light: tuple[float, float, float, float]  # x, y, diffuse, ambient
    home_joints: tuple[float, ...]


COLORS = {  # so far apart that 64 x 64 pixels show every stage
    "table": (0.36, 0.42, 0.46),
    "back": (0.12, 0.22, 0.50),
    "base": (0.10, 0.10, 0.14),
    "front": (0.25, 0.55, 0.85),
    "end": (0.18, 0.38, 0.66),
    "grip": (0.90, 0.20, 0.20),
    "slider": (0.97, 0.85, 0.20),
    "garment": (0.95, 0.55, 0.62),
}


def _box(name: str, center: tuple[float, ...], half: tuple[float, ...], mass: float, extra: str = "") -> str:
    numbers = " ".join(f"{value:.5f}" for value in center)
    sizes = " ".join(f"{value:.5f}" for value in half)
    return f'<geom class="{name}" type="box" pos="{numbers}" size="{sizes}" mass="{mass:.6f}" {extra}/>'


def _hinge(name: str, axis: str, limits: str, stiffness: float, rest_rad: float) -> str:
    return (
        f'<joint name="{name}" axis="{axis}" range="{limits}" limited="true" armature="0.0001" damping="0.003"'
        f' stiffness="{stiffness:.5f}" springref="{rest_rad:.5f}" frictionloss="0.001" solreflimit="0.012 1"/>'
    )


def _front(start: Draw) -> str:
    """Two panels, one above the other, that sag over the mouth."""
    length, depth, height = start.bag_size_m
    low, high, mass = FOLD * height, (1 - FOLD) * height, 0.07 * start.bag_mass_kg
    half, thin = length / 2 - 0.004, PANEL_M / 2
    return f"""
<body name="front" pos="0 {depth / 2} 0.004">
  {_hinge("front", "1 0 0", "-0.4 0.6", 1.5 * start.front_stiffness_nm, start.sag_rad[0])}
  {_box("front", (0, 0, low / 2), (half, thin, low / 2), mass)}
  <body name="flap" pos="0 0 {low}">
    {_hinge("flap", "1 0 0", "-0.6 0.7", start.front_stiffness_nm, start.sag_rad[1])}
    {_box("front", (0, 0, high / 2), (half, thin, high / 2), mass)}
    {_box("rim", (0, 0, high - 0.004), (half + 0.001, thin + 0.0015, 0.0055), 0.001)}
    <site name="front_rim" pos="0 0 {high}"/>
  </body>
</body>"""


def _end(name: str, sign: int, start: Draw) -> str:
    """The near (-1) or far (1) end, sagging inward a little."""
    length, depth, height = start.bag_size_m
    half, tall = 0.3 * depth, 0.84 * height
    return f"""
<body name="{name}" pos="{sign * length / 2} 0.004 0.004">
  {_hinge(name, f"0 {-sign} 0", "-0.25 0.5", 1.2 * start.front_stiffness_nm, 0.1)}
  {_box("end", (0, 0, tall / 2), (PANEL_M / 2, half, tall / 2), 0.06 * start.bag_mass_kg)}
</body>"""


def _grip(start: Draw) -> str:
    """A padded grip on a strap from the back's rim: a neck with a wider pad, under which fingertips find a hold."""
    _, depth, height = start.bag_size_m
    y, mass, neck = RIM_INSET_M - depth / 2, start.bag_mass_kg, 0.024
    strap = _box("grip", (GRIP_X_M, y / 2, height - 0.004), (0.012, -y / 2 + 0.004, 0.004), 0.03 * mass)
    stem = _box("grip", (GRIP_X_M, 0, height + neck / 2), (0.012, 0.009, neck / 2), 0.02 * mass)
    middle = height + neck + GRIP_HALF_M[2]
    pad = _box("grip", (GRIP_X_M, 0, middle), GRIP_HALF_M, 0.05 * mass)
    return f'{strap}{stem}{pad}<site name="grip" pos="{GRIP_X_M} 0 {height + neck}"/>'


def _zip(start: Draw) -> str:
    """The slider and its puller; it starts at the far end and runs to the near one."""
    _, depth, height = start.bag_size_m
    y = RIM_INSET_M - depth / 2
    return f"""
<body name="slider" pos="{TRACK_X_M} {y} {height + 0.004}">
  <joint name="slider" type="slide" axis="-1 0 0" range="0 {TRAVEL_M}" limited="true" armature="0.02" damping="1.5"
    frictionloss="{start.zip_friction_n}" solimpfriction="0.99 0.999 0.001" solreflimit="0.012 1"/>
  {_box("slider", (0, 0, 0), (0.013, 0.008, 0.005), 0.004)}
  {_box("slider", (0, 0, 0.020), (0.010, 0.008, 0.016), 0.004)}
  <site name="puller" pos="0 0 0.022"/><site name="cord_end" pos="0 0 0"/>
</body>
<site name="eyelet" pos="0 {y} {height - BACK_SPAN_M}"/>
<site name="cord_turn" pos="{TRACK_X_M + 0.004} {y} {height + 0.004}"/>"""


def _bag(start: Draw) -> str:
    length, depth, height = start.bag_size_m
    x, y = start.bag_xy_m
    mass, lean = start.bag_mass_kg, np.arctan2(RIM_INSET_M, height)
    back = _box(
        "back",
        (0, -depth / 2 + RIM_INSET_M / 2, height / 2),
        (length / 2, 0.0025, height / 2),
        0.2 * mass,
        f'euler="{-lean:.5f} 0 0"',
    )
    feet = "".join(
        f'<geom class="foot" type="sphere" size="0.004" pos="{sx * length * 0.47} {sy * depth * 0.5} 0.0035" mass="0.001"/>'
        for sx, sy in ((1, 1), (1, -1), (-1, 1), (-1, -1))
    )
    corners: list[tuple[float, float, float]] = [
        (sx * length / 2, sy * depth / 2, 0) for sx in (1, -1) for sy in (1, -1)
    ]
    corners += [(sx * length / 2, RIM_INSET_M - depth / 2, height) for sx in (1, -1)]
    sites = "".join(f'<site name="corner{n}" pos="{x} {y} {z}"/>' for n, (x, y, z) in enumerate(corners))
    return f"""
<body name="bag" pos="{x} {y} 0.0005" euler="0 0 {start.bag_yaw_rad}">
  <freejoint name="bag"/>
  {back}{_box("base", (0, 0, 0.0035), (length / 2, depth / 2, 0.0025), 0.3 * mass)}
  {feet}{sites}{_grip(start)}{_front(start)}{_end("near_end", -1, start)}{_end("far_end", 1, start)}{_zip(start)}
</body>"""


def _segment(number: int, outward: int, start: Draw) -> str:
    """A segment of the garment and those beyond it; `outward` is -1, 1, or 0 for the middle one."""
    length, width, thick = start.garment_size_m
    mass, pitch = start.garment_mass_kg / SEGMENTS, length / SEGMENTS
    stiffness = start.garment_stiffness_nm
    if not outward:
        shape = _box("garment", (0, 0, 0), (pitch / 2, width / 2, thick / 2), mass)
        return f"{shape}{_segment(number + 1, 1, start)}{_segment(number - 1, -1, start)}"
    if not 0 <= number < SEGMENTS:
        return ""
    radius = thick / 2
    middle, half = outward * pitch / 2, width / 2 - radius
    return f"""
<body name="garment{number}" pos="{(0.5 if abs(number - SEGMENTS // 2) == 1 else 1) * outward * pitch} 0 0">
  <joint name="bend{number}" class="cloth" axis="0 1 0" range="-1.3 1.3" stiffness="{stiffness}"/>
  <joint name="twist{number}" class="cloth" axis="1 0 0" range="-0.8 0.8" stiffness="{1.5 * stiffness}"/>
  <geom class="garment" type="capsule" fromto="{middle} {-half} 0 {middle} {half} 0" size="{radius}" mass="{mass}"/>
  <site name="garment{number}" pos="{middle} 0 0"/>
  {_segment(number + outward, outward, start)}
</body>"""


def _garment(start: Draw) -> str:
    x, y = start.garment_xy_m
    middle = SEGMENTS // 2
    return f"""
<body name="garment{middle}" pos="{x} {y} {start.garment_size_m[2] / 2 + 0.0005}" euler="0 0 {start.garment_yaw_rad}">
  <freejoint name="garment"/><site name="garment{middle}"/>
  {_segment(middle, 0, start)}
</body>"""


def _cord() -> str:
    """From the front's rim through the back's, along the track to where the slider starts, and on to the slider."""
    along = float(np.hypot(TRACK_X_M + 0.004, BACK_SPAN_M + 0.004))
    reach = SHUT_M + along + TRAVEL_M + 0.004
    sites = "".join(f'<site site="{name}"/>' for name in ("front_rim", "eyelet", "cord_turn", "cord_end"))
    return (
        f'<spatial name="cord" limited="true" range="0 {reach}" solreflimit="0.012 1" width="0.001">{sites}</spatial>'
    )


def mjcf(start: Draw) -> str:
    """The whole scene, robot included, as MJCF."""
    colors = room.rgb_texts(COLORS, start.colors)
    # panels meet the table, hands and the garment, not each other: their joints' limits keep them apart
    panel = 'contype="2" conaffinity="5" friction="0.35 0.005 0.0001"'
    panels = "".join(
        f'<default class="{name}"><geom {panel} rgba="{colors[name]} 1"/></default>'
        for name in ("back", "base", "front", "end", "slider")
    )
    return f"""
<mujoco model="backpack_pack">
<compiler angle="radian"/>
<option timestep="0.004" integrator="implicitfast" jacobian="dense" cone="elliptic" impratio="10" iterations="30" ls_iterations="20"/>
{room.visual(start.light)}
<statistic extent="1" center="0.3 0 0"/>
<default>
  <geom solref="0.01 1"/><site rgba="0 0 0 0" size="0.002"/><tendon rgba="0 0 0 0"/>
  {panels}
  <default class="grip"><geom contype="2" conaffinity="5" priority="1" condim="4" friction="{start.grip_friction} 0.02 0.0005" rgba="{colors["grip"]} 1"/></default>
  <default class="rim"><geom contype="0" conaffinity="0" rgba="0.95 0.97 1 1"/></default>
  <default class="foot"><geom contype="0" conaffinity="1" friction="{start.bag_friction} 0.005 0.0001" rgba="0 0 0 0"/></default>
  <default class="cloth"><joint limited="true" armature="0.00002" damping="0.0004" frictionloss="0.0003"/></default>
  <default class="garment"><geom contype="8" conaffinity="7" solref="0.02 1" solimp="0.8 0.95 0.004" friction="{start.touch_friction} 0.01 0.001" rgba="{colors["garment"]} 1"/></default>
  {robot.DEFAULTS}
</default>
<worldbody>
  {room.lamp_and_table(start.light, colors["table"])}
  {robot.camera("head")}
  {robot.arm_body("left")}{robot.arm_body("right")}
  {_bag(start)}{_garment(start)}
</worldbody>
<contact>{robot.contact_excludes()}</contact>
<tendon>{_cord()}</tendon>
<actuator>{robot.actuators()}</actuator>
</mujoco>"""
