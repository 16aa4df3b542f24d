"""What a robot knows of itself: how its joints move its hands, and how its cameras see. No simulator is asked.

Units are metres and radians; x points away from the robot, y to its left, z up; z = 0 is the table. A real robot's
card holds the numbers of its URDF and of its camera calibration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from rise_gym.errors import UnknownTask
from rise_gym.joint_units import JointUnit

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Capsule:
    """What a part of the robot looks like: all that lies within a radius of a segment, in the frame of its link."""

    start: Vector
    end: Vector
    radius_m: float


@dataclass(frozen=True, kw_only=True)
class Link:
    """A link's frame in its parent's: position (m) and quaternion (w, x, y, z). Its hinge turns about its z.

    `shape` is what is seen of it; None where its neighbours hide it.
    """

    name: str
    position: Vector
    quaternion: Quaternion
    shape: Capsule | None = None


@dataclass(frozen=True, kw_only=True)
class Camera:
    """How a camera sees: a pinhole that looks along -z of its own frame, x to the right and y up in the picture.

    Attributes:
        mount: None for one that stands still, else the name of the arm whose last link carries it.
        position: in the frame of the mount. right, up: the camera's x and y axes there; need not be of unit length.
        fovy_rad: vertical field of view.
    """

    name: str
    mount: str | None
    position: Vector
    right: Vector
    up: Vector
    fovy_rad: float


@dataclass(frozen=True, kw_only=True)
class DriverJoint(JointUnit):
    """A joint as the robot's driver calls it and counts it: `key` in its observations and actions alike."""

    key: str

    @property
    def named(self) -> str:
        return f"{self.key}: "


@dataclass(frozen=True, kw_only=True)
class RobotArms:
    """Arms of the same kind: all that it takes to move them safely. A robot file describes them.

    What says how its driver speaks, and how far it may go, does not make it another robot: it is not compared.

    Attributes:
        arms: their names, in the order of the joints. bases: where each stands, looking along x.
        links: of one arm, from the base on; a gripper's opening follows as the arm's last joint.
        finger_reach_m: from the last link's origin to the fingertips, along its z. The fingers part along its y.
        joints: as its driver has them, in the order of the task's; empty: by LeRobot's names, in rad and m.
        views: the driver's key of each of the task's cameras that it calls otherwise.
        limits: arguments of `rise_gym.envs.real.limits.Limits.of` that are this robot's own.
    """

    name: str
    arms: tuple[str, ...]
    bases: tuple[Vector, ...]
    links: tuple[Link, ...]
    finger_reach_m: float
    joints: tuple[DriverJoint, ...] = field(default=(), compare=False)
    views: Mapping[str, str] = field(default_factory=dict, compare=False)
    limits: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `dataclasses.asdict` gives, through JSON too."""
        plain = {name: _tuples(value) for name, value in data.items()}
        plain["links"] = tuple(_link(link) for link in data["links"])
        plain["joints"] = tuple(DriverJoint(**_plain(joint)) for joint in data.get("joints", ()))
        plain["limits"] = _plain(data.get("limits", {}))
        return cls(**plain)


@dataclass(frozen=True, kw_only=True)
class RobotCard(RobotArms):
    """Arms and the cameras, with which a dream is shown where the hands will be.

    Attributes:
        hand: what is seen of it, in the frame of the last link.
        finger: the one that parts along +y, when the gripper is shut; the other is its mirror image.
        surface_m: height at which most of what the cameras look at lies.
        planes_m: heights between which all of it lies, for what tells near from far by moving pictures over several.
    """

    hand: tuple[Capsule, ...]
    finger: Capsule
    cameras: tuple[Camera, ...]
    surface_m: float
    planes_m: tuple[float, ...]


def _link(data: Mapping[str, Any]) -> Link:
    shape = data.get("shape")
    return Link(**{**_plain(data), "shape": None if shape is None else Capsule(**_plain(shape))})


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _tuples(value) for name, value in data.items()}


def _tuples(value: Any) -> Any:
    """JSON knows lists only."""
    return tuple(_tuples(one) for one in value) if isinstance(value, list | tuple) else value


# AgileX Piper, from the public model's numbers; shapes are the replica's, which a test compares with its pictures.
_PIPER_LINKS = (
    Link(name="link1", position=(0, 0, 0.123), quaternion=(0.7071, 0, 0, -0.7071)),
    Link(
        name="link2",
        position=(0, 0, 0),
        quaternion=(0.5, 0.5, -0.5, -0.5),
        shape=Capsule(start=(0, 0, 0), end=(0.28358, 0.028726, 0), radius_m=0.026),
    ),
    Link(
        name="link3",
        position=(0.28358, 0.028726, 0),
        quaternion=(0.998726, 0, 0, 0.0504536),
        shape=Capsule(start=(0, 0, 0), end=(-0.24221, 0.068514, 0), radius_m=0.022),
    ),
    Link(name="link4", position=(-0.24221, 0.068514, 0), quaternion=(0.544767, -0.544769, -0.450809, 0.450808)),
    Link(
        name="link5",
        position=(0, 0, 0),
        quaternion=(0.7071, 0.7071, 0, 0),
        shape=Capsule(start=(0, 0, 0), end=(0, 0.07, 0), radius_m=0.020),
    ),
    Link(name="link6", position=(0, 0.091, 0.0014165), quaternion=(0, 0, -0.7071, -0.7071)),
)
_PIPER_HAND = (
    Capsule(start=(0, 0, 0), end=(0, 0, 0.035), radius_m=0.024),  # flange
    Capsule(start=(0, -0.03, 0.055), end=(0, 0.03, 0.055), radius_m=0.020),  # palm
)
_PIPER_FINGER = Capsule(start=(0, 0.0055, 0.08), end=(0, 0.0055, 0.133), radius_m=0.0085)


def _wrist_camera(arm: str) -> Camera:
    return Camera(
        name=f"{arm}_wrist",
        mount=arm,
        position=(0.075, 0, 0.015),
        right=(0, -1, 0),
        up=(-0.84, 0, -0.54),
        fovy_rad=math.radians(66),
    )


TWO_PIPERS = RobotCard(
    name="two_pipers",
    arms=("left", "right"),
    bases=((0.0, 0.20, 0.04), (0.0, -0.20, 0.04)),
    links=_PIPER_LINKS,
    hand=_PIPER_HAND,
    finger=_PIPER_FINGER,
    finger_reach_m=0.14,
    cameras=(
        Camera(
            name="head",
            mount=None,
            position=(0.06, -0.03, 0.75),
            right=(0, -1, 0),
            up=(0.945, 0, 0.327),
            fovy_rad=math.radians(33),
        ),
        _wrist_camera("left"),
        _wrist_camera("right"),
    ),
    surface_m=0.09,
    planes_m=(0.01, 0.09, 0.15),
)

ROBOTS: dict[str, RobotCard] = {card.name: card for card in (TWO_PIPERS,)}


def robot_card(name: str) -> RobotCard:
    """The card of a robot.

    Raises:
        UnknownTask: if no robot has that name.
    """
    try:
        return ROBOTS[name]
    except KeyError:
        raise UnknownTask(f"no robot is called {name!r}; the robots are {', '.join(sorted(ROBOTS))}") from None


def known_arms(robot: str | RobotArms | None) -> RobotArms | None:
    """The arms that a task names, or brings along; None if nobody wrote them down.

    Raises:
        UnknownTask: if no robot has that name.
    """
    return robot_card(robot) if isinstance(robot, str) else robot


def lerobot_key(joint: str) -> str:
    """What a driver of LeRobot calls a joint of a task card: `left_joint1_rad` is its `left_joint1.pos`."""
    return f"{joint.removesuffix('_rad').removesuffix('_m')}.pos"
