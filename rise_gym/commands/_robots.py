"""What the command line needs to know of a robot, and how a policy drives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rise_gym.commands._shared import env_id_of
from rise_gym.errors import RiseGymError

if TYPE_CHECKING:
    from gymnasium.envs.registration import EnvSpec

    from rise_gym.collection import ExplorationNoise, Factory


@dataclass(frozen=True, kw_only=True)
class RobotOptions:
    """A robot of your own; the same as the arguments of `gym.make("RiseReal-...")`.

    Attributes:
        robot: what makes it, an import string "my_lab.arms:make_robot".
        resetter: an import string of what prepares an episode.
        operator: "keyboard", or an import string: who can stop it and say whether the task is done.
        judge: a world model, or an import string: who says how far along the task is.
        velocity_rad_s: limit of its joints, instead of 2.
    """

    robot: str | None = None
    resetter: str | None = None
    operator: str | None = None
    judge: str | None = None
    velocity_rad_s: float | None = None

    def env_arguments(self, registered: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Those of `RealEnv` that were given: they go before those that its id was registered with.

        Raises:
            RiseGymError: if the id has limits that a velocity can't be put into.
        """
        named = {name: getattr(self, name) for name in ("robot", "resetter", "operator", "judge")}
        given = {name: value for name, value in named.items() if value is not None}
        if self.velocity_rad_s is None:
            return given
        limits = (registered or {}).get("limits") or {}
        if not isinstance(limits, Mapping):
            raise RiseGymError("--velocity-rad-s wants an id registered with limits as a dict: change it there")
        return given | {"limits": {**limits, "velocity_rad_s": self.velocity_rad_s}}

    def env(self, task: str) -> Factory:
        """Its env, which tells every tick."""
        from rise_gym.collection import Factory

        given = {"id": env_id_of("Real", task), "chunk": 1, "record_ticks": True, "disable_env_checker": True}
        return Factory(target="gymnasium:make", arguments={**given, **self.env_arguments()})

    def require_verdicts(self, registered: Mapping[str, Any]) -> None:
        """Raises `RiseGymError` if nobody could say that an episode succeeds, here or where the id was registered."""
        known = {**registered, **self.env_arguments(registered)}
        if known.get("judge") is None and known.get("operator") is None:
            raise RiseGymError(
                "nobody says when the task is done on the robot, so no episode could succeed: pass --operator keyboard "
                "(y and Enter is done, n failed, Enter alone stops), or --judge with a world model"
            )


NO_ROBOT = RobotOptions()


def driven(
    env_id: str, agent: Factory, policy: str, *, robot: RobotOptions, advantage: float
) -> tuple[Factory, dict[str, Any]]:
    """Who acts in an env of an id, and the env's further arguments.

    On a robot a policy thinks ahead, unless the id says that time stands still meanwhile (`clock="instant"`), or
    counts chunks (`max_episode_steps`).

    Raises:
        RiseGymError: for options of a robot where there is none, the scripted expert on one, or a robot that was given
            with nobody to say that an episode succeeds.
    """
    from rise_gym.robot_envs import is_robot, registered

    spec = registered(env_id)
    if is_robot(spec) is False:
        if robot != NO_ROBOT:
            raise RiseGymError(
                f"{env_id!r} is no robot's, so --robot, --judge and the like say nothing: leave them out"
            )
        return agent, {}
    arguments = robot.env_arguments(spec.kwargs)
    if robot.robot is not None:
        robot.require_verdicts(spec.kwargs)
    if is_robot(spec):
        _refuse_expert(policy)
    ahead = _passes_by_itself(spec, arguments)
    return thinking_ahead(agent, policy, advantage=advantage) if ahead else agent, arguments


def _passes_by_itself(spec: EnvSpec, arguments: Mapping[str, Any]) -> bool:
    """Whether an id's time does, tick by tick; only of a `RealEnv` is that known."""
    from rise_gym.envs.real.clock import InstantClock, clock
    from rise_gym.envs.real.env import RealEnv
    from rise_gym.robot_envs import env_class

    made, given = env_class(spec), {**spec.kwargs, **arguments}
    if made is None or not issubclass(made, RealEnv) or spec.max_episode_steps is not None:
        return False
    return not isinstance(clock(given.get("clock", "system")), InstantClock)


def thinking_ahead(
    agent: Factory, policy: str, *, advantage: float = 1.0, noise: ExplorationNoise | None = None
) -> Factory:
    """How a policy drives a robot: it thinks about the next plan while the last one is executed.

    Raises:
        RiseGymError: for the scripted expert, which sees what only a simulator tells.
    """
    from rise_gym.collection import Factory

    _refuse_expert(policy)
    return Factory(
        target="rise_gym.envs.real.asynchronous:AsynchronousActor",
        arguments={"agent": agent, "advantage": advantage, "noise": noise},
    )


def _refuse_expert(policy: str) -> None:
    if policy == "scripted":
        raise RiseGymError("the scripted expert sees physics, which no robot tells: name a policy")
