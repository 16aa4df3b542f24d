"""A robot played by the replica's physics, within one process; it can be told to misbehave as real ones do."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

import mujoco
import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray

from rise_gym.envs.mujoco.robot import Proprioception, joint_targets_to_ctrl
from rise_gym.envs.mujoco.scene import scene_class
from rise_gym.envs.mujoco.views import painter
from rise_gym.envs.real.names import RobotNames
from rise_gym.tasks import task_card

_CRASH_EXIT = 70


@dataclass(frozen=True, kw_only=True)
class Faults:
    """How the robot misbehaves; the default is not at all.

    Attributes:
        latency_s, jitter_s: every observation takes so long, and up to so much longer, drawn evenly.
        command_latency_s, command_jitter_s: the same of every command.
        dropped: share of observations in which a camera repeats its last picture and time.
        dead_camera: a camera that dies, after `dead_after` commands of an episode: its picture `"freezes"` (while its
            times go on), is `"stale"` (time and all), turns `"black"` or goes `"missing"`.
        stuck_joint: key of a joint, `left_joint2.pos`, that stops moving after `stuck_after` commands.
        crash_after: commands of an episode after which the process ends as if its power was cut; None never.
        degrees: measures angles in degrees.
        blind: draws no pictures but noise: needs no OpenGL.
        seed: of jitter, drops and noise.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    command_latency_s: float = 0.0
    command_jitter_s: float = 0.0
    dropped: float = 0.0
    dead_camera: str = ""
    dead_after: int = 0
    dead_how: Literal["freezes", "stale", "black", "missing"] = "freezes"
    stuck_joint: str = ""
    stuck_after: int = 0
    crash_after: int | None = None
    degrees: bool = False
    blind: bool = False
    seed: int = 0

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class SimulatedRobot:
    """Physics goes on by one control tick with every command. Answers are plain data and uint8 arrays."""

    def __init__(self, task: str, faults: Faults) -> None:
        self.faults = faults
        self._task, self._scene_class = task_card(task), scene_class(task)
        self._names = RobotNames.of(self._task)
        self._began = time.monotonic()
        self.begin_episode(0)

    def begin_episode(self, seed: int) -> dict[str, Any]:
        """The start that the replica's `reset(seed=seed)` draws."""
        self._scene = self._scene_class.sample(seeding.np_random(seed)[0], self._scene_class.config_class())
        self._proprioception = Proprioception(self._scene.model)
        mujoco.mj_forward(self._scene.model, self._scene.data)
        self._random = np.random.default_rng([self.faults.seed, seed])
        self._sent, self._shown = 0, dict[str, Any]()
        self._held = self._measured()
        return {}

    def send_action(self, action: dict[str, float]) -> dict[str, Any]:
        """One control tick towards targets in rad and m; a joint without one keeps its last."""
        if self._sent == self.faults.crash_after:
            os._exit(_CRASH_EXIT)  # a cut cable says no goodbye
        late = self.faults.command_jitter_s and self._random.uniform(0, self.faults.command_jitter_s)
        time.sleep(self.faults.command_latency_s + late)
        asked = {key: float(action.get(key, held)) for key, held in self._held.items()}
        if self.faults.stuck_joint and self._sent >= self.faults.stuck_after:
            asked[self.faults.stuck_joint] = self._held[self.faults.stuck_joint]
        self._held = asked
        self._advance(np.array(list(asked.values())))
        self._sent += 1
        return {key: action.get(key, value) for key, value in asked.items()}

    def get_observation(self) -> dict[str, Any]:
        """Joints, pictures and their times."""
        time.sleep(self.faults.latency_s + self._random.uniform(0, 1) * self.faults.jitter_s)
        measured = self._measured()
        if self.faults.degrees:
            measured = {key: value if "gripper" in key else math.degrees(value) for key, value in measured.items()}
        return {**measured, **self._pictures()}

    def misbehave(self, faults: dict[str, Any]) -> dict[str, Any]:
        """Other faults from now on; commands are counted from here."""
        self.faults, self._sent = Faults(**faults), 0
        return {}

    def stages(self) -> dict[str, Any]:
        """What the physics says about the task."""
        scene = self._scene
        stages = {name: bool(held) for name, held in scene.stages().items()}
        return {"stages": stages, "score": float(scene.score()), "progress": float(scene.progress())}

    def _advance(self, target: NDArray[np.float64]) -> None:
        """One control tick, as the replica steps it."""
        model, data = self._scene.model, self._scene.data
        servos = joint_targets_to_ctrl(target)
        data.ctrl[: len(servos)] = servos
        mujoco.mj_step(model, data, round(1 / (self._task.control_hz * model.opt.timestep)))
        mujoco.mj_kinematics(model, data)

    def _measured(self) -> dict[str, float]:
        joints = self._proprioception(self._scene.data.qpos)
        return {key: float(value) for key, value in zip(self._names.joints, joints, strict=True)}

    def _pictures(self) -> dict[str, Any]:
        now, drawn = time.monotonic() - self._began, self._draw()
        for name, stamp in zip(self._names.cameras, self._names.stamps, strict=True):
            if self._shown.get(name) is None or self._random.uniform() >= self.faults.dropped:
                dead = name == self.faults.dead_camera and self._sent >= self.faults.dead_after
                self._shown |= self._dying(name, stamp, now) if dead else {name: drawn[name], stamp: now}
        return {key: value for key, value in self._shown.items() if value is not None}

    def _dying(self, name: str, stamp: str, now: float) -> dict[str, Any]:
        how = self.faults.dead_how
        if how == "missing":
            return {name: None, stamp: None}
        if how == "black":
            return {name: np.zeros((*self._task.image_size, 3), np.uint8), stamp: now}
        return {} if how == "stale" else {stamp: now}

    def _draw(self) -> dict[str, Any]:
        task, model, data = self._task, self._scene.model, self._scene.data
        if not self.faults.blind:
            mujoco.mj_kinematics(model, data)
            mujoco.mj_camlight(model, data)
            return dict(painter(task.image_size).paint(model, data, task.cameras))
        shape = (*task.image_size, 3)
        return {camera: self._random.integers(0, 256, shape, dtype=np.uint8) for camera in task.cameras}
