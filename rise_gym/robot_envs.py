"""Which environments are a robot's: there is one of it, so they are built once and played one episode after the other.

An env class is a robot's if it has `robot_facts`, as `rise_gym.envs.real.env.RealEnv` has, and whatever inherits it.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from gymnasium.envs.registration import EnvSpec, load_env_creator, registry

from rise_gym.errors import RiseGymError
from rise_gym.registration import BACKENDS

__all__ = ["RobotFacts", "env_class", "facts_of", "is_robot", "one_at_a_time", "registered"]

_SIMULATED = {BACKENDS[backend]["entry_point"] for backend in ("Imagined", "Mujoco")}


@dataclass(frozen=True, kw_only=True)
class RobotFacts:
    """What is to be known of episodes on a robot, to compare them with others.

    Attributes:
        judged_by: who says that an episode has succeeded, in words; empty if nobody does, so that none ever has.
        as_replica: whether `reset(seed=...)` begins where the replica's does with the same seed.
    """

    judged_by: str
    as_replica: bool = False


def registered(env_id: str) -> EnvSpec:
    """What is registered under an id; the module of `my_lab.envs:MyBoxClose-v0` is imported for it.

    Raises:
        RiseGymError: if there is no such module or no such id.
    """
    module, _, name = env_id.rpartition(":")
    try:
        importlib.import_module(module or "rise_gym")
    except ImportError as error:
        raise RiseGymError(
            f"the environment {env_id!r} is registered by the module {module!r}, which can't be imported: {error}; "
            "install it, or name its folder in PYTHONPATH"
        ) from error
    if name not in registry:
        have = ", ".join(sorted(key for key in registry if key.startswith("Rise")))
        raise RiseGymError(f"no environment is called {env_id!r}; there are {have}")
    return registry[name]


def env_class(spec: EnvSpec) -> type | None:
    """What is built for an id; None if only building it tells, for its entry point is a function.

    Raises:
        RiseGymError: if the entry point can't be imported.
    """
    if spec.entry_point is None:
        return None
    try:
        made = load_env_creator(spec.entry_point) if isinstance(spec.entry_point, str) else spec.entry_point
    except (ImportError, AttributeError, ValueError) as error:
        raise RiseGymError(
            f"the environment {spec.id!r} is to be built by {spec.entry_point}, which can't be imported: {error}; put "
            "its entry_point right where it is registered"
        ) from error
    return made if isinstance(made, type) else None


def is_robot(spec: EnvSpec) -> bool | None:
    """Whether an id is a robot's; None if only building it tells.

    Nothing is built: building an env of somebody's own may reach for the robot.
    """
    if spec.entry_point in _SIMULATED:
        return False  # without importing the physics
    made = env_class(spec)
    return None if made is None else hasattr(made, "robot_facts")


def one_at_a_time(env_id: str) -> bool:
    """Whether no two envs of this id may exist side by side: of a robot's, and of what could be one."""
    return is_robot(registered(env_id)) is not False


def facts_of(env: object) -> RobotFacts | None:
    """Those of an env on a robot that was reset, whatever is wrapped around it; None of any other."""
    return getattr(getattr(env, "unwrapped", env), "robot_facts", None)
