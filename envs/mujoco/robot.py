"""Two Piper-proportioned arms drawn from primitives, as MJCF, and the map between their joints and the task's numbers.

Units are metres, radians, kilograms and seconds. x points away from the robot, y to its left, z up; z = 0 is the table.
"""

from __future__ import annotations

import math

import mujoco
import numpy as np
from numpy.typing import NDArray

from rise_gym.robots import TWO_PIPERS, Camera, Link
from rise_gym.tasks import ARMS

HOME_JOINTS = (0.0, 1.02, -1.02, 0.0, 1.1, 0.0)  # rad: above the near edge of the table, gripper down
HOME_OPENING_M = 0.02
JOINTS_PER_ARM = 7  # six hinges and the gripper

# range in rad, mass in kg, servo stiffness in N m / rad of each link
_DRIVES = {
    "link1": ("-2.618 2.618", 0.098, 240),
    "link2": ("0 3.14", 0.291, 240),
    "link3": ("-2.697 0", 0.291, 240),
    "link4": ("-1.832 1.832", 0.127, 60),
    "link5": ("-1.22 1.22", 0.145, 60),
    "link6": ("-3.14 3.14", 0.35, 40),
}
# beside the shapes on the robot's card
_SHAPES = {
    "link1": '<geom class="shell" type="cylinder" size="0.035 0.03"/>',
    "link4": '<geom class="dark" type="sphere" size="0.026"/>',
}
_PAINTS = {"link2": "shell", "link3": "shell", "link5": "dark"}

DEFAULTS = """
<default class="arm">
  <joint damping="0.5" frictionloss="0.05" armature="0.06"/>
  <geom contype="0" conaffinity="0" mass="0"/>
  <default class="shell"><geom rgba="0.93 0.93 0.95 1"/></default>
  <default class="dark"><geom rgba="0.20 0.21 0.24 1"/></default>
  <default class="touch">
    <geom contype="4" conaffinity="7" condim="4" friction="1.0 0.02 0.0005" rgba="0.10 0.10 0.12 1"/>
  </default>
</default>
"""


def _gripper(arm: str) -> str:
    """Palm, camera and two fingers that slide along y of the flange; the tool site lies between the fingertips."""
    fingers = "".join(
        f"""
<body name="{arm}_finger_{side}" pos="0 0 0.08">
  <inertial pos="0 0 0.03" mass="0.03" diaginertia="1e-5 1e-5 1e-5"/>
  <joint name="{arm}_finger_{side}" type="slide" axis="0 {sign} 0" range="0 0.05" limited="true" damping="2" armature="0.05"
    frictionloss="0.05"/>
  <geom class="touch" type="box" pos="0 {sign * 0.0055} 0.026" size="0.008 0.0055 0.026"/>
  <geom class="touch" type="sphere" pos="0 {sign * 0.0055} 0.053" size="0.0075" rgba="0.15 0.15 0.18 1"/>
</body>"""
        for side, sign in (("a", 1), ("b", -1))
    )
    return f"""
<geom class="dark" type="cylinder" pos="0 0 0.015" size="0.024 0.02"/>
<geom class="touch" type="box" pos="0 0 0.055" size="0.017 0.040 0.022" rgba="0.30 0.31 0.34 1"/>
{camera(f"{arm}_wrist")}
<site name="{arm}_tool" pos="0 0 {TWO_PIPERS.finger_reach_m}" size="0.002" rgba="0 0 0 0"/>
{fingers}"""


def camera(name: str) -> str:
    """MJCF of one of the robot's cameras, to be placed in its mount."""
    seeing: Camera = next(camera for camera in TWO_PIPERS.cameras if camera.name == name)
    axes = _numbers(*seeing.right, *seeing.up)
    return (
        f'<camera name="{name}" pos="{_numbers(*seeing.position)}" xyaxes="{axes}"'
        f' fovy="{_numbers(math.degrees(seeing.fovy_rad))}"/>'
    )


def _numbers(*values: float) -> str:
    return " ".join(f"{value:g}" for value in values)


def _shape(link: Link) -> str:
    """MJCF of what is seen of a link."""
    if link.shape is None:
        return _SHAPES.get(link.name, "")
    ends, radius = _numbers(*link.shape.start, *link.shape.end), _numbers(link.shape.radius_m)
    return f'<geom class="{_PAINTS[link.name]}" type="capsule" fromto="{ends}" size="{radius}"/>'


def arm_body(arm: str) -> str:
    """MJCF of one arm, `"left"` or `"right"`, standing at its base position and looking along x."""
    body = _gripper(arm)
    for link in reversed(TWO_PIPERS.links):
        name, (limits, mass, _) = link.name, _DRIVES[link.name]
        body = f"""
<body name="{arm}_{name}" pos="{_numbers(*link.position)}" quat="{_numbers(*link.quaternion)}" gravcomp="1">
  <inertial pos="0 0 0" mass="{mass}" diaginertia="0.001 0.001 0.001"/>
  <joint name="{arm}_{name}" axis="0 0 1" range="{limits}" limited="true"/>
  {_shape(link)}{body}
</body>"""
    x, y, z = TWO_PIPERS.bases[TWO_PIPERS.arms.index(arm)]
    return f"""
<body name="{arm}_base" pos="{x} {y} {z}" childclass="arm">
  <geom class="dark" type="cylinder" pos="0 0 {0.05 - z / 2}" size="0.045 {0.05 + z / 2}"/>{body}
</body>"""


def actuators() -> str:
    """MJCF of the position servos: for each arm six joints, then its two fingers."""
    rows = []
    for arm in ARMS:
        for name, (limits, _, stiffness) in _DRIVES.items():
            rows.append(
                f'<position name="{arm}_{name}" joint="{arm}_{name}" kp="{stiffness}" kv="{stiffness * 0.09:.2f}"'
                f' ctrlrange="{limits}" forcerange="-40 40"/>'
            )
        for side in "ab":
            rows.append(
                f'<position name="{arm}_finger_{side}" joint="{arm}_finger_{side}" kp="500" kv="25" ctrlrange="0 0.05"'
                ' forcerange="-12 12"/>'
            )
    return "\n".join(rows)


def contact_excludes() -> str:
    """The two fingers of a gripper, and a finger and its own palm, never touch each other."""
    return "".join(f'<exclude body1="{arm}_finger_a" body2="{arm}_finger_b"/>' for arm in ARMS)


def joint_targets_to_ctrl(targets: NDArray[np.floating]) -> NDArray[np.float64]:
    """Joint targets (14,) in rad and m -> servo targets (16,): each finger takes half of its gripper's opening."""
    halves = [np.concatenate([side[:6], [side[6] / 2, side[6] / 2]]) for side in np.split(np.asarray(targets), 2)]
    return np.concatenate(halves)


def joint_addresses(model: mujoco.MjModel, arm: str) -> NDArray[np.int64]:
    """Where the arm's six hinges and two fingers are in `qpos` (8,)."""
    names = [f"{arm}_{name}" for name in _DRIVES] + [f"{arm}_finger_a", f"{arm}_finger_b"]
    return np.array([model.joint(name).qposadr[0] for name in names])


def home_qpos(model: mujoco.MjModel, qpos: NDArray[np.float64], joints: NDArray[np.floating]) -> None:
    """Writes joint positions (14,) in rad and m into `qpos`, in place."""
    values = joint_targets_to_ctrl(joints)
    for index, arm in enumerate(ARMS):
        qpos[joint_addresses(model, arm)] = values[8 * index : 8 * index + 8]


def home_joints() -> NDArray[np.float64]:
    """Where both arms start (14,), in rad and m."""
    return np.tile(np.array([*HOME_JOINTS, HOME_OPENING_M]), 2)


class Proprioception:
    """Reads the 14 measured joint positions (rad, gripper opening in m) of one model."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._addresses = np.concatenate([joint_addresses(model, arm) for arm in ARMS])

    def __call__(self, qpos: NDArray[np.float64]) -> NDArray[np.float32]:
        """`qpos` of the model -> (14,) float32."""
        arms = qpos[self._addresses].reshape(2, 8)
        opening = arms[:, 6:].sum(1, keepdims=True)
        return np.concatenate([arms[:, :6], opening], axis=1).reshape(14).astype(np.float32)
