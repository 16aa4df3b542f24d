"""The replica: a task simulated by MuJoCo, behind the same spaces as the imagined and the real environment."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

from rise_gym.envs._options import refuse_options
from rise_gym.envs.mujoco import robot
from rise_gym.envs.mujoco.scene import Scene, scene_class
from rise_gym.envs.mujoco.views import painter
from rise_gym.errors import InvalidStart, StepOutOfOrder
from rise_gym.spaces import action_space, checked_actions, observation_space, proprio_bounds
from rise_gym.tasks import task_card
from rise_gym.types import Observation

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


@dataclass(frozen=True)
class MujocoState:
    """A moment of the replica that `set_state` branches from."""

    scene: Scene
    physics: NDArray[np.float64]
    tick: int
    held_ticks: int
    progress: float
    over: bool
    generator: dict[str, Any]


class MujocoEnv(gymnasium.Env[Observation, NDArray[np.float32]]):
    """A task in MuJoCo physics: contact, friction and gravity decide, nothing is scripted.

    **Action** `Box(-1, 1, (K, A), float32)`: the next K control ticks (10 Hz), each the absolute joint targets (left
    arm first, gripper last in each arm) scaled by the ranges of `env.unwrapped.task`. Anything else is refused.

    **Observation** `Dict`: each camera of the task uint8 (H, W, 3), and `proprio` float32 (P,): measured joint angles
    in rad, gripper openings in m.

    **Reward** the progress gained over the step. Progress is the stage score / 10, with the stage under way
    interpolated from the physics state, in [0, 1]; an undiscounted return is the last progress minus the first.

    **Start** drawn by the seed: poses, sizes, friction, masses, colours and light.

    **End** `terminated` once all stages have held for a moment; `truncated` at the task's horizon.

    **Info** `progress` float32 (K,) one a tick, `score` (0 to 10, whole stages only), `is_success`, `stages`,
    `physics_state` float64 (S,), which with the episode's seed is the same moment again; `instruction` at reset; with
    `record_ticks` also `ticks`: every column of an `Episode`, one row a tick.

    Args:
        task: snake-case name of the task.
        chunk: K, 1 and up; default: the task's.
        record_ticks: draw and report every tick, not only the last of a step.
        config: how hard the task is: fields of the scene's config class; default: the task's own.
        render_mode: None or `"rgb_array"`: the cameras side by side, uint8 (H, V * W, 3).

    Raises:
        RenderingUnavailable: at the first picture, if no OpenGL can be opened.

    Version history: v0.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 1}  # noqa: RUF012 - gymnasium's declaration

    def __init__(
        self,
        *,
        task: str = "box_close",
        chunk: int | None = None,
        record_ticks: bool = False,
        config: Any = None,
        render_mode: str | None = None,
    ) -> None:
        self.task = task_card(task)
        self.task_description = self.task.instruction
        self.chunk = self.task.chunk if chunk is None else chunk
        self.record_ticks, self.render_mode = record_ticks, render_mode
        self._scene_class = scene_class(task)
        kind = self._scene_class.config_class
        self.config = kind(**config) if isinstance(config, dict) else config or kind()
        self._max_episode_steps = self.task.horizon_steps(self.chunk)  # LeRobot reads this name
        self.observation_space = observation_space(self.task)  # type: ignore[assignment]  # its arrays are our Observation
        self.action_space = action_space(self.task, self.chunk)  # type: ignore[assignment]  # Box is typed less narrowly
        self.metadata = {**type(self).metadata, "render_fps": max(1, round(self.task.control_hz / self.chunk))}
        self._bounds = proprio_bounds(self.task)
        self._scene: Scene | None = None
        self._over: bool | None = None  # None: never reset

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; a seed decides everything about it.

        Raises:
            InvalidStart: if there are options.
        """
        refuse_options(options, "the seed decides everything about an episode, reset(seed=...)")
        super().reset(seed=seed)
        self._scene = self._scene_class.sample(self.np_random, self.config)
        self._proprioception = robot.Proprioception(self.scene.model)
        mujoco.mj_forward(self.scene.model, self.scene.data)
        self._tick = self._held_ticks = 0
        self._over = False
        self._progress = self.measured_progress()
        info = {**self._info(), "progress": np.full(1, self._progress, np.float32)}
        return self._observation(), {**info, "instruction": self.task.instruction}

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Execute one chunk of K control ticks.

        Raises:
            InvalidAction: if the chunk has the wrong shape, or numbers that are not finite or outside [-1, 1].
            StepOutOfOrder: before `reset`, or after the episode's end.
        """
        checked = checked_actions(action, self.action_space.shape or ())
        self._check_order()
        before, rows = self._progress, []
        for target in self.task.unscale_action(checked):
            self._advance(target)
            rows.append(self._row() if self.record_ticks else {"progress": np.float32(self._progress)})
        terminated = self._held_ticks >= self.config.hold_ticks
        truncated = not terminated and self._tick >= self.task.horizon_ticks
        self._over = terminated or truncated
        ticks = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        info = {**self._info(), "is_success": terminated, "progress": ticks["progress"].astype(np.float32)}
        if not self.record_ticks:
            return self._observation(), self._progress - before, terminated, truncated, info
        info["ticks"] = ticks
        newest = {name: ticks[name][-1].copy() for name in (*self.task.cameras, "proprio")}  # painted a tick ago
        return newest, self._progress - before, terminated, truncated, info

    @property
    def scene(self) -> Scene:
        """What is simulated in this episode.

        Raises:
            StepOutOfOrder: before the first `reset`.
        """
        if self._scene is None:
            raise StepOutOfOrder("`reset` was wanted first, which makes the scene; call env.reset(seed=...)")
        return self._scene

    def render(self) -> NDArray[np.uint8] | None:
        """The cameras side by side, uint8 (H, V * W, 3), or None without a render mode."""
        if self.render_mode is None:
            return None
        return np.concatenate([self._pictures()[camera] for camera in self.task.cameras], axis=1)

    def get_state(self) -> MujocoState:
        """A snapshot that `set_state` branches from, in this or another env of the same task.

        Raises:
            StepOutOfOrder: before the first `reset`.
        """
        return MujocoState(
            scene=self.scene,
            physics=self.physics_state(),
            tick=self._tick,
            held_ticks=self._held_ticks,
            progress=self._progress,
            over=bool(self._over),
            generator=copy.deepcopy(dict(self.np_random.bit_generator.state)),
        )

    def set_state(self, state: MujocoState) -> Observation:
        """Go on from a snapshot; returns what is seen there. The same actions lead to bit-identical observations.

        Raises:
            InvalidStart: if it is no snapshot of this task's replica.
        """
        if not isinstance(state, MujocoState) or type(state.scene) is not self._scene_class:
            kind = type(state.scene if isinstance(state, MujocoState) else state).__name__
            raise InvalidStart(
                f"a snapshot of {self._scene_class.__name__} was wanted, as get_state of a replica of task "
                f"{self.task.name!r} gives it, got one of {kind}"
            )
        self._scene = self._scene_class(state.scene.start, state.scene.config)
        self._proprioception = robot.Proprioception(self.scene.model)
        self.np_random.bit_generator.state = copy.deepcopy(state.generator)
        self.set_physics_state(state.physics)
        self._tick, self._held_ticks = state.tick, state.held_ticks
        self._progress, self._over = state.progress, state.over
        return self._observation()

    def physics_state(self) -> NDArray[np.float64]:
        """MuJoCo's full integration state (S,)."""
        state = np.empty(mujoco.mj_stateSize(self.scene.model, _STATE))
        mujoco.mj_getState(self.scene.model, self.scene.data, state, _STATE)
        return state

    def set_physics_state(self, state: NDArray[np.float64]) -> Observation:
        """Put the scene of the present episode (reset with the same seed first) into a recorded state (S,)."""
        mujoco.mj_setState(self.scene.model, self.scene.data, np.asarray(state, np.float64), _STATE)
        mujoco.mj_forward(self.scene.model, self.scene.data)
        mujoco.mj_setState(
            self.scene.model, self.scene.data, np.asarray(state, np.float64), _STATE
        )  # keeps warm starts
        self._progress = self.measured_progress()
        return self._observation()

    def joints(self) -> NDArray[np.float32]:
        """Measured joints (P,) in rad, gripper openings in m."""
        positions = self.scene.data.qpos  # first: before a reset it says so
        return self._proprioception(positions)

    def measured_progress(self) -> float:
        """How far along the task is, in [0, 1]."""
        return self.scene.progress()

    @property
    def _physics_steps(self) -> int:
        """Of one control tick."""
        return round(1 / (self.task.control_hz * self.scene.model.opt.timestep))

    def _check_order(self) -> None:
        if self._over is None:
            raise StepOutOfOrder("`reset` was wanted before the first `step`; call env.reset(seed=...)")
        if self._over:
            raise StepOutOfOrder("the episode is over (terminated or truncated); call env.reset() to begin another")

    def _advance(self, target: NDArray[np.float64]) -> None:
        """One control tick."""
        servos = robot.joint_targets_to_ctrl(target)
        self.scene.data.ctrl[: len(servos)] = servos
        mujoco.mj_step(self.scene.model, self.scene.data, self._physics_steps)
        self.scene.settle()
        mujoco.mj_kinematics(self.scene.model, self.scene.data)  # what the stages ask for follows the joints
        self._tick += 1
        self._held_ticks = self._held_ticks + 1 if all(self.scene.stages().values()) else 0
        self._progress = self.measured_progress()

    def _row(self) -> dict[str, Any]:
        return {
            **self._observation(),
            "progress": np.float32(self._progress),
            "physics_state": self.physics_state(),
        }

    def _pictures(self) -> dict[str, NDArray[np.uint8]]:
        return painter(self.task.image_size).paint(self.scene.model, self.scene.data, self.task.cameras)

    def _observation(self) -> Observation:
        mujoco.mj_kinematics(self.scene.model, self.scene.data)
        mujoco.mj_camlight(self.scene.model, self.scene.data)
        low, high = self._bounds
        return {**self._pictures(), "proprio": np.clip(self.joints(), low, high)}

    def _info(self) -> dict[str, Any]:
        return {
            "score": self.scene.score(),
            "is_success": False,
            "stages": self.scene.stages(),
            "physics_state": self.physics_state(),
        }
