"""What the command line needs to know of a robot, and how a policy drives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rise_gym.commands._shared import env_id_of
from rise_gym.errors import RiseGymError

if TYPE_CHECKING:
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

    def env_arguments(self) -> dict[str, Any]:
        """Those of `RealEnv` that were given."""
        named = {name: getattr(self, name) for name in ("robot", "resetter", "operator", "judge")}
        limits = {} if self.velocity_rad_s is None else {"limits": {"velocity_rad_s": self.velocity_rad_s}}
        return {name: value for name, value in named.items() if value is not None} | limits

    def env(self, task: str) -> Factory:
        """Its env, which tells every tick."""
        from rise_gym.collection import Factory

        given = {"id": env_id_of("Real", task), "chunk": 1, "record_ticks": True, "disable_env_checker": True}
        return Factory(target="gymnasium:make", arguments={**given, **self.env_arguments()})

    def require_verdicts(self) -> None:
        """Raises `RiseGymError` if nobody could say that an episode succeeds."""
        if self.judge is None and self.operator is None:
            raise RiseGymError(
                "nobody says when the task is done on the robot, so no episode could succeed: pass --operator keyboard "
                "(y and Enter is done, n failed, Enter alone stops), or --judge with a world model"
            )


NO_ROBOT = RobotOptions()


def thinking_ahead(
    agent: Factory, policy: str, *, advantage: float = 1.0, noise: ExplorationNoise | None = None
) -> Factory:
    """How a policy drives a robot: it thinks about the next plan while the last one is executed.

    Raises:
        RiseGymError: for the scripted expert, which sees what only a simulator tells.
    """
    from rise_gym.collection import Factory

    if policy == "scripted":
        raise RiseGymError("the scripted expert sees physics, which no robot tells: name a policy")
    return Factory(
        target="rise_gym.envs.real.asynchronous:AsynchronousActor",
        arguments={"agent": agent, "advantage": advantage, "noise": noise},
    )
