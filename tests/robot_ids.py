"""Env ids as a lab registers its robot, to be named on the command line as `robot_ids:<id>`; imported by name."""

from __future__ import annotations

from typing import Any, ClassVar

import fake_env
import numpy as np
from gymnasium.envs.registration import register, registry

from rise_gym.envs.real.contract import Judgement
from rise_gym.envs.real.replica_robot import ReplicaRobot
from rise_gym.errors import RobotFault
from rise_gym.robot_envs import RobotFacts

REAL = "rise_gym.envs.real.env:RealEnv"
WIDE = {"velocity_rad_s": 100.0, "acceleration_rad_s2": 1e6, "gripper_velocity_m_s": 100.0}
WIDE |= {"gripper_acceleration_m_s2": 1e6, "gripper_force_n": 1e3}


class SeenRobot(ReplicaRobot):
    """The replica in a process of its own; a judge of the same process can ask it for what physics says."""

    made: ClassVar[list[SeenRobot]] = []

    def __init__(self) -> None:
        super().__init__()
        self.made.append(self)


class Physics:
    """A judge that looks at the physics instead of the pictures."""

    def begin(self) -> None: ...

    def look(self, frames: np.ndarray, instruction: str) -> Judgement:
        told = SeenRobot.made[-1].stages()
        return Judgement(float(told["progress"]), True if told["score"] >= 10 else None)


class Unreachable(ReplicaRobot):
    """Its cable is out."""

    def connect(self) -> None:
        raise ConnectionError("no answer from 192.168.1.10")


class FakeRobot(fake_env.FakeEnv):
    """An env that says that it is a robot's; can be told to fail, and counts who holds it."""

    held: ClassVar[int] = 0
    most_held: ClassVar[int] = 0
    played: ClassVar[list[int]] = []
    fails_after: ClassVar[int | None] = None
    facts: ClassVar[RobotFacts] = RobotFacts(judged_by="the operator")

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        FakeRobot.held += 1
        FakeRobot.most_held = max(FakeRobot.most_held, FakeRobot.held)

    @property
    def robot_facts(self) -> RobotFacts:
        return FakeRobot.facts

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if len(FakeRobot.played) == FakeRobot.fails_after:
            raise RobotFault("the operator has stopped the robot")
        assert seed is not None
        FakeRobot.played.append(seed)
        return super().reset(seed=seed, options=options)

    def close(self) -> None:
        FakeRobot.held -= 1

    @classmethod
    def forget(cls, fails_after: int | None = None, facts: RobotFacts | None = None) -> None:
        """As if nothing had been played yet."""
        cls.held, cls.most_held, cls.fails_after = 0, 0, fails_after
        cls.played.clear()
        cls.facts = facts or RobotFacts(judged_by="the operator")


def make_fake(**arguments: Any) -> FakeRobot:
    return FakeRobot(**arguments)


def make_simulator(**arguments: Any) -> fake_env.FakeEnv:
    return fake_env.FakeEnv(**arguments)


def _register(name: str, entry_point: Any, max_episode_steps: int | None = None, **arguments: Any) -> None:
    if name not in registry:
        kwargs = {"task": "box_close", **arguments}
        register(name, entry_point=entry_point, max_episode_steps=max_episode_steps, kwargs=kwargs)


_register(
    "SeenBoxClose-v0", REAL, robot="robot_ids:SeenRobot", judge="robot_ids:Physics", clock="instant", limits=WIDE,
    resetter="rise_gym.envs.real.replica_robot:make_resetter",
)  # fmt: skip
_register(
    "RecordedBoxClose-v0", REAL, robot="recording_robot:make_robot", operator="recording_robot:make_operator",
)  # fmt: skip
_register("CountedBoxClose-v0", REAL, max_episode_steps=30, robot="recording_robot:make_robot", limits=WIDE)
_register("UnreachableBoxClose-v0", REAL, robot="robot_ids:Unreachable")
_register("OtherTask-v0", REAL, task="brick_sort", robot="robot_ids:Unreachable")
_register("FakeRobot-v0", FakeRobot)
_register("Misspelt-v0", "robot_ids:FakeRobt")
_register("FakeRobotByFunction-v0", make_fake)
_register("SimulatorByFunction-v0", make_simulator)
_register("Simulator-v0", fake_env.FakeEnv)
if "NoTask-v0" not in registry:
    register("NoTask-v0", entry_point=FakeRobot)
