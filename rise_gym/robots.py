"""What a robot knows of itself: how its joints move its hands, and how its cameras see. No simulator is asked.

Units are metres and radians; x points away from the robot, y to its left, z up; z = 0 is the table. A real robot's
card holds the numbers of its URDF and of its camera calibration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rise_gym.errors import UnknownTask

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
class RobotCard:
    """Arms of the same kind, and the cameras.

    Attributes:
        arms: their names, in the order of the joints. bases: where each stands, looking along x.
        links: of one arm, from the base on; a gripper's opening follows as the arm's last joint.
        hand: what is seen of it, in the frame of the last link.
        finger: the one that parts along +y, when the gripper is shut; the other is its mirror image.
        finger_reach_m: from the last link's origin to the fingertips, along its z. The fingers part along its y.
        surface_m: height at which most of what the cameras look at lies.
        planes_m: heights between which all of it lies, for what tells near from far by moving pictures over several.
    """

    name: str
    arms: tuple[str, ...]
    bases: tuple[Vector, ...]
    links: tuple[Link, ...]
    hand: tuple[Capsule, ...]
    finger: Capsule
    finger_reach_m: float
    cameras: tuple[Camera, ...]
    surface_m: float
    planes_m: tuple[float, ...]


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
