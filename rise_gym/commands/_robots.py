"""What the command line needs to know of a robot, and how a policy drives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rise_gym.errors import RiseGymError

if TYPE_CHECKING:
    from gymnasium.envs.registration import EnvSpec

    from rise_gym.collection import ExplorationNoise, Factory


@dataclass(frozen=True, kw_only=True)
class RobotOptions:
    """A robot of your own; the same as the arguments of `gym.make("RiseReal-...")`.

    Attributes:
        robot: what makes it, an import string "my_lab.arms:make_robot".
        resetter: an import string of what prepares an episode; "rise_gym.envs.real.people:AskedPerson" asks in the
            terminal, where go and Enter goes on, q ends.
        operator: "keyboard" (Enter alone stops at any moment, y and Enter is done, n failed), or an import string: who
            can stop it and say whether the task is done.
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

    def require_verdicts(self, registered: Mapping[str, Any]) -> None:
        """Raises `RiseGymError` if nobody could say that an episode succeeds, here or where the id was registered."""
        known = {**registered, **self.env_arguments(registered)}
        if known.get("judge") is None and known.get("operator") is None:
            raise RiseGymError(
                "nobody says when the task is done on the robot, so no episode could succeed: pass --operator keyboard "
                "(y and Enter is done, n failed, Enter alone stops), or --judge with a world model"
            )


@dataclass(frozen=True, kw_only=True)
class ExecutionOptions:
    """How a policy drives a robot, the same in every command.

    Attributes:
        execution: "asynchronous": the policy thinks while the robot executes its last plan, and the next one is
            cross-faded into it; "synchronous": the robot holds until it has answered, as dream and replica wait.
            Default: asynchronous, unless the robot's id has `clock="instant"` or `max_episode_steps`, or is of no
            `RealEnv`.
        execute_ticks: asynchronously, ticks of a plan before the policy is shown what it led to; default: half.
        fade_ticks: asynchronously, ticks over which the next plan is faded in at least; default: 3.

    Raises:
        RiseGymError: if there can't be so few ticks, or if the robot is to hold and ticks are given.
    """

    execution: Literal["asynchronous", "synchronous"] | None = None
    execute_ticks: int | None = None
    fade_ticks: int | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in self._ticks().items() if value is not None}
        if given and self.execution == "synchronous":
            names = " and ".join(f"--{name.replace('_', '-')}" for name in given)
            raise RiseGymError(f"{names} say how plans overlap, --execution synchronous that none do: leave one out")
        if given.get("execute_ticks", 1) < 1 or given.get("fade_ticks", 0) < 0:
            raise RiseGymError(f"--execute-ticks from 1 and --fade-ticks from 0 were wanted, got {given}")

    def _ticks(self) -> dict[str, int | None]:
        return {"execute_ticks": self.execute_ticks, "fade_ticks": self.fade_ticks}

    def actor_arguments(self) -> dict[str, int]:
        """Those of `AsynchronousActor` that were given."""
        return {name: value for name, value in self._ticks().items() if value is not None}

    def told(self, asynchronous: bool) -> dict[str, Any]:
        """As reports record it; `execute_ticks` None is half of each plan."""
        if not asynchronous:
            return {"execution": "synchronous"}
        from rise_gym.envs.real.asynchronous import FADE_TICKS

        fade_ticks = FADE_TICKS if self.fade_ticks is None else self.fade_ticks
        return {"execution": "asynchronous", "execute_ticks": self.execute_ticks, "fade_ticks": fade_ticks}


NO_ROBOT, AS_USUAL = RobotOptions(), ExecutionOptions()


@dataclass(frozen=True, kw_only=True)
class Driving:
    """How policies act in the envs of an id.

    Attributes:
        asynchronous: whether they think while the last plan is executed.
        arguments: the env's further ones.
        robot: whether it is a robot's; None if only building it tells.
        judged: whether somebody could say that an episode succeeds; only of a `RealEnv` is that known, else True.
        execution: what was asked for.
    """

    asynchronous: bool
    arguments: dict[str, Any]
    robot: bool | None
    judged: bool = True
    execution: ExecutionOptions

    @property
    def told(self) -> dict[str, Any]:
        """How a robot is driven, as reports record it."""
        return self.execution.told(self.asynchronous)

    def chunk(self, usual: int) -> int:
        """Ticks of one step of the env."""
        return 1 if self.asynchronous else usual

    def by(
        self, agent: Factory, policy: str, *, advantage: float = 1.0, noise: ExplorationNoise | None = None
    ) -> Factory:
        """Who acts: the agent itself where it is waited for and adds no noise, else an actor.

        Raises:
            RiseGymError: for the scripted expert on a robot, which sees what only a simulator tells.
        """
        from rise_gym.collection import Factory

        if policy == "scripted" and self.robot:
            raise RiseGymError("the scripted expert sees physics, which no robot tells: name a policy")
        given = {"agent": agent, "advantage": advantage, "noise": noise}
        if self.asynchronous:
            given |= self.execution.actor_arguments()
            return Factory(target="rise_gym.envs.real.asynchronous:AsynchronousActor", arguments=given)
        return agent if noise is None else Factory(target="rise_gym.collection:AgentActor", arguments=given)


def driving(env_id: str, *, robot: RobotOptions = NO_ROBOT, execution: ExecutionOptions = AS_USUAL) -> Driving:
    """How policies act in the envs of an id. Nothing is built, so nothing moves.

    On a robot a policy thinks ahead, unless it is said otherwise, or the id says that time stands still meanwhile
    (`clock="instant"`), or counts chunks (`max_episode_steps`).

    Raises:
        RiseGymError: if there is no such id; for options of a robot where there is none; for a robot that was given
            with nobody to say that an episode succeeds; for asynchronous execution where time stands still.
    """
    from rise_gym.robot_envs import is_robot, registered

    spec = registered(env_id)
    kind = is_robot(spec)
    if kind is False:
        _refuse_options(env_id, robot, execution)
        return Driving(asynchronous=False, arguments={}, robot=False, execution=execution)
    arguments = robot.env_arguments(spec.kwargs)
    if robot.robot is not None:
        robot.require_verdicts(spec.kwargs)
    real = _is_real_env(spec)
    given = {**spec.kwargs, **arguments}
    judged = not real or given.get("judge") is not None or given.get("operator") is not None
    ahead = real and _passes_by_itself(spec, given)
    if not ahead and (execution.execution == "asynchronous" or execution.actor_arguments()):
        raise RiseGymError(
            f"asynchronous execution wants a RealEnv whose time passes by itself, tick by tick, {env_id!r} is none: "
            "register it without clock='instant' and max_episode_steps, or give --execution synchronous"
        )
    ahead = ahead and execution.execution != "synchronous"
    return Driving(asynchronous=ahead, arguments=arguments, robot=kind, judged=judged, execution=execution)


def _refuse_options(what: str, robot: RobotOptions, execution: ExecutionOptions) -> None:
    """Where no robot is driven."""
    if robot != NO_ROBOT:
        raise RiseGymError(f"{what!r} is no robot's, so --robot, --judge and the like say nothing: leave them out")
    if execution != AS_USUAL:
        raise RiseGymError(
            f"{what!r} is no robot's, so --execution, --execute-ticks and --fade-ticks say nothing: leave them out"
        )


def _is_real_env(spec: EnvSpec) -> bool:
    from rise_gym.envs.real.env import RealEnv
    from rise_gym.robot_envs import env_class

    made = env_class(spec)
    return made is not None and issubclass(made, RealEnv)


def _passes_by_itself(spec: EnvSpec, arguments: Mapping[str, Any]) -> bool:
    """Whether the time of a `RealEnv` does, tick by tick."""
    from rise_gym.envs.real.clock import InstantClock, clock

    return spec.max_episode_steps is None and not isinstance(clock(arguments.get("clock", "system")), InstantClock)
