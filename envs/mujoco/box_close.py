"""The box-closing scene: a cup, a free cardboard box with two side flaps, a rear flap, and a lid with a tuck tab.

Everything that happens is contact physics. A crease is bistable, as in cardboard: a flap folded past its crease angle
stays, one folded less springs open again. The lid's own crease always opens; only the tab, sprung against the inside of
the rear wall, keeps it shut. The tab rests at a shallow angle and has to be bent down while the lid comes down, or it
ends on top of the wall.

In the frame of the box x points to its rear (away from the robot), y to the robot's left, z up; the origin is in the
middle of its underside. A flap's angle is 0 when folded flat and grows as it opens.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from rise_gym.envs.mujoco import robot, room
from rise_gym.envs.mujoco.scene import StagedScene

FLAPS = ("left", "right", "rear")
WALL_M = 0.004
HALF_SHUT_RAD = 0.5  # of the lid: here the tab is bent inside
APPROACH_M, TOUCH_M = 0.30, 0.03  # from here on a tool counts as coming near, and as being there
TAB_MARGIN_M = 0.008  # so far from the rear wall the tab is surely on one side of it
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


class BoxCloseScene(StagedScene):
    """One episode's model, asked in the task's own words. Angles in rad, lengths in m, positions in the world frame."""

    task = "box_close"
    config_class = BoxCloseConfig

    def __init__(self, start: Draw, config: BoxCloseConfig) -> None:
        self.start, self.config = start, config
        self.model = mujoco.MjModel.from_xml_string(mjcf(start, config))
        self.data = mujoco.MjData(self.model)
        self._place()

    def _place(self) -> None:
        joints = np.array(self.start.home_joints)
        robot.home_qpos(self.model, self.data.qpos, joints)
        self.data.ctrl[:] = robot.joint_targets_to_ctrl(joints)
        for name, angle in zip(FLAPS, self.start.flap_open_rad, strict=True):
            self.data.joint(f"{name}_flap").qpos[0] = angle
        self.data.joint("lid").qpos[0] = self.start.lid_open_rad
        self.data.joint("tab").qpos[0] = self.config.tab_rest_rad

    @classmethod
    def sample(cls, generator: np.random.Generator, config: BoxCloseConfig) -> BoxCloseScene:
        """A new start, drawn from `generator`."""
        return cls(draw(config, generator), config)

    @property
    def box_size_m(self) -> tuple[float, float, float]:
        """Inside depth (x), width (y) and height."""
        return self.start.box_size_m

    def box_pose(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Position (3,) of the box's origin and its rotation matrix (3, 3)."""
        body = self.data.body("box")
        return body.xpos.copy(), body.xmat.reshape(3, 3).copy()

    def in_box(self, point: NDArray[np.float64]) -> NDArray[np.float64]:
        """A world point (3,) in the frame of the box."""
        position, rotation = self.box_pose()
        return (point - position) @ rotation

    def box_point(self, x: float, y: float, z: float) -> NDArray[np.float64]:
        """The world position (3,) of a point of the box's frame."""
        position, rotation = self.box_pose()
        return position + rotation @ np.array([x, y, z])

    def cup_position(self) -> NDArray[np.float64]:
        """The middle of the cup (3,)."""
        return self.data.body("cup").xpos.copy()

    def cup_tilt_rad(self) -> float:
        """Between the cup's axis and the vertical, 0 to pi / 2."""
        return float(np.arccos(np.clip(abs(self.data.body("cup").xmat[8]), 0, 1)))

    def cup_in_box(self) -> bool:
        """The middle of the cup is inside the walls and below the rim."""
        depth, width, height = self.box_size_m
        x, y, z = self.in_box(self.cup_position())
        return bool(abs(x) < depth / 2 and abs(y) < width / 2 and z < height * 0.75)

    def flap_angle(self, name: str) -> float:
        """Of the `"left"`, `"right"` or `"rear"` flap; 0 is folded."""
        return float(self.data.joint(f"{name}_flap").qpos[0])

    def lid_angle(self) -> float:
        """0 is closed."""
        return float(self.data.joint("lid").qpos[0])

    def tab_angle(self) -> float:
        """Bend of the tab below the plane of the lid."""
        return float(self.data.joint("tab").qpos[0])

    def edge(self, name: str) -> NDArray[np.float64]:
        """World position (3,) of the middle of a free edge: `left_flap`, `right_flap`, `rear_flap`, `lid`, `tab`."""
        return self.data.site(f"{name}_edge").xpos.copy()

    def tab_depth_m(self) -> float:
        """How far the tab's edge is below the rim, if it is inside of the rear wall; else minus its distance."""
        depth, _, height = self.box_size_m
        x, _, z = self.in_box(self.edge("tab"))
        return float(height - z) if x < depth / 2 + 0.001 else -float(np.hypot(x - depth / 2, max(0.0, z - height)))

    def tab_tucked(self) -> bool:
        """The lid is shut and the tab is behind the rear wall."""
        return self.lid_angle() < self.config.closed_rad and self.tab_depth_m() > self.config.tucked_depth_m

    def stages(self) -> dict[str, bool]:
        """Which stages hold now, each by itself."""
        folded = self.config.folded_rad
        return {
            "cup_loaded": self.cup_in_box(),
            "side_flaps_folded": self.flap_angle("left") < folded and self.flap_angle("right") < folded,
            "rear_flap_folded": self.flap_angle("rear") < folded,
            "tab_tucked": self.tab_tucked(),
        }

    def fraction(self, stage: str) -> float:
        """How far a stage that does not hold yet has come, 0 to 1."""
        return float(np.clip(getattr(self, f"_{stage}_fraction")(), 0.0, 1.0))

    # Each fraction rises from the first move of a hand on: a chunk that only approaches is told from one that does not.

    def _near(self, arm: str, point: NDArray[np.float64]) -> float:
        """1 where the tool of an arm is at a world point (3,), 0 from `APPROACH_M` on."""
        distance = np.linalg.norm(self.data.site(f"{arm}_tool").xpos - point)
        return float(np.clip((APPROACH_M - distance) / (APPROACH_M - TOUCH_M), 0, 1))

    def _cup_loaded_fraction(self) -> float:
        start = np.subtract(self.start.cup_xy_m, self.start.box_xy_m)
        now = (self.cup_position() - self.box_pose()[0])[:2]
        carried = np.clip(1 - np.linalg.norm(now) / np.linalg.norm(start), 0, 1)
        lifted = np.clip((self.cup_position()[2] - self.start.cup_height_m / 2) / self.box_size_m[2], 0, 1)
        upright = np.clip(1 - self.cup_tilt_rad(), 0, 1)  # a toppled cup is hard to get hold of
        return 0.25 * self._near("right", self.cup_position()) + float(upright * (0.5 * carried + 0.2 * lifted))

    def _folded_fraction(self, name: str, arm: str) -> float:
        opened, folded = self.start.flap_open_rad[FLAPS.index(name)], self.config.folded_rad
        if self.flap_angle(name) < folded:
            return 1.0
        turned = float(np.clip((opened - self.flap_angle(name)) / (opened - folded), 0, 1))
        return 0.3 * self._near(arm, self.edge(f"{name}_flap")) + 0.65 * turned

    def _side_flaps_folded_fraction(self) -> float:
        return 0.49 * (self._folded_fraction("left", "left") + self._folded_fraction("right", "right"))

    def _rear_flap_folded_fraction(self) -> float:
        return self._folded_fraction("rear", "right")

    def _tab_tucked_fraction(self) -> float:
        """The hands come, the lid is half shut, the tab bent inside of the wall, then both go down.

        A lid shut on a tab that lies on the wall is worth less than one that is half open: it is a way back.
        """
        opened, closed, angle = self.start.lid_open_rad, self.config.closed_rad, self.lid_angle()
        lowered = float(np.clip((opened - angle) / (opened - HALF_SHUT_RAD), 0, 1))
        shut = float(np.clip((HALF_SHUT_RAD - angle) / (HALF_SHUT_RAD - closed), 0, 1))
        margin = self.box_size_m[0] / 2 - self.in_box(self.edge("tab"))[0]  # of the tab's edge to the rear wall
        inside = float(np.clip(0.5 + margin / (2 * TAB_MARGIN_M), 0, 1))
        hands = self._near("left", self.edge("lid")) + self._near("right", self.edge("tab"))
        return 0.1 * hands + 0.25 * lowered + inside * (0.2 * lowered + 0.3 * shut)
