"""Slow moves between episodes, behind all limits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rise_gym.envs.real.link import RobotLink
from rise_gym.errors import RobotFault

_SLOW_SHARE = 0.25  # of the velocity limits
_ARRIVED = 0.03  # rad, m


def move_to(link: RobotLink, joints: NDArray[np.floating]) -> None:
    """From where the robot is to joint targets (A,) in rad and m, in a straight line of joint space.

    Raises:
        RobotFault: if the robot does not arrive, can't be reached, or the targets are none.
        OperatorStop: if the operator stops it.
    """
    link.check_targets(joints)
    link.rest()  # a move before that failed half-way may have left it moving
    seen, period_s = link.observe().joints, link.filter.period_s
    link.begin(seen)
    fastest = _SLOW_SHARE * np.array(link.filter.limits.velocity) * period_s
    commands = 1 + int(np.ceil(np.max(np.abs(joints - seen) / fastest)))
    for target in np.linspace(seen, joints, commands + 1)[1:]:
        link.check_stop()
        link.send(target)
        link.clock.wait(link.stopped, link.clock.now() + period_s)
        link.observe()  # gripper forces are limited by what is measured
    for _ in range(link.filter.braking_commands):  # to arrive where the limits let it lag
        link.send(joints)
    link.rest()
    link.check_stop()  # it may be what kept the robot from arriving
    left = np.abs(link.observe().joints - joints)
    if left.max() > _ARRIVED:
        name = link.task.action_names[int(left.argmax())]
        raise RobotFault(
            f"the move ended {left.max():.3f} away from its goal at {name} (allowed: {_ARRIVED}); something is in the "
            "way, or the goal lies outside the limits"
        )
