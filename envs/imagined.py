"""The learned world model as a Gymnasium environment: `gym.make("RiseImagined-BoxClose-v0")`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from rise_gym.envs._rows import ImaginedRows, ImaginedState, RowsConfig
from rise_gym.spaces import action_space, checked_actions, observation_space
from rise_gym.starts import StartKind, Starts
from rise_gym.types import Observation
from rise_gym.world_model import CompositionalWorldModel


class ImaginedEnv(gymnasium.Env[Observation, NDArray[np.float32]]):
    """A task dreamt by a world model. The spaces, the reward and the task card are those of the replica and the robot.

    **Action** `Box(-1, 1, (K, A), float32)`: the next K control ticks, each the absolute joint targets (left arm first,
    gripper last in each arm) scaled by the ranges of `env.unwrapped.task`. Anything else is refused, never repaired.

    **Observation** `Dict`: each camera of the task uint8 (H, W, 3), and `proprio` float32 (P,): joint angles in rad,
    gripper openings in m. What is dreamt outside the space's proprioception bounds is shown at the bound.

    **Reward** the progress gained over the step, so a return is the last progress minus the first. Progress is the
    value model's output where that is above 0, so it lies in [0, 1]; below 0 the model holds the episode for lost.
    With `uncertainty_charge` it is less by so many times `info["progress_uncertainty"]`, and so is the advantage.

    **Start** a recorded window of history, drawn from those of `start_kind`; `reset(options=...)` can fix it:
    `{"start": index}` takes one of the env's windows, `{"start_kind": "initial" | "mid_episode" | "any"}` says what is
    drawn from this once, and `{"start": {"frames": ..., "proprio": (P,), "instruction": text}}` brings a window along:
    frames uint8 (ticks, V, H, W, 3), or `{camera: (ticks, H, W, 3)}`, or the same without ticks.

    **End** `terminated` when the value model holds the task for done over the last frames; `truncated` at the horizon,
    or when the model's uncertainty exceeds the limit: `info["truncation"]` is `"horizon"`, `"uncertainty"`, or empty.

    **Info** at reset: `instruction`, `start_seed` and `start_tick` (replica seed and tick that the window is from, -1
    where unknown), `score`, `is_success`. At a step: `progress` float32 (K,) in [0, 1] and `value` float32 (K,) in
    [-1, 1], one for each predicted frame; `advantage` (the paper's equation 2), `uncertainty` (of the frames, 0 and
    up), `progress_uncertainty` (expected absolute error of the progress gained, of a model that knows), `score` (10
    times the last progress), `is_success`, `truncation`.

    Args:
        task: snake-case name of the task.
        world_model: a folder, `bundled:<task>/<name>` or a hub id (loaded once a process); a live model only here, for
            `gym.make` copies its arguments.
        starts: a file of start windows of the task, or, only here, live ones; default: those saved with the model, else
            bundled.
        start_kind: what episodes begin from: beginnings ("initial"), other moments ("mid_episode"), or "any" window;
            default: what the model was saved with. Bricks that are not in sight yet never come in a dream, so that
            those of brick sorting begin in the middle.
        chunk: K, 1 to what the model was trained for; default: the task's.
        horizon_s: task seconds until truncation, more than 0; default: the task's.
        uncertainty_limit: truncate above it, infinite never; default: what the model was saved with.
        uncertainty_charge: what each unit of progress uncertainty costs; 1 believes a gain less its expected error.
        device: where the model runs.
        render_mode: None or `"rgb_array"`: the cameras side by side, uint8 (H, V * W, 3).

    Version history: v0.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 1}  # noqa: RUF012 - gymnasium's declaration

    def __init__(
        self,
        *,
        task: str = "box_close",
        world_model: str | Path | CompositionalWorldModel | None = None,
        starts: str | Path | Starts | None = None,
        start_kind: StartKind | None = None,
        chunk: int | None = None,
        horizon_s: float | None = None,
        uncertainty_limit: float | None = None,
        uncertainty_charge: float = 0.0,
        device: str = "cpu",
        render_mode: str | None = None,
    ) -> None:
        self._rows = ImaginedRows(
            1,
            RowsConfig(
                task=task,
                world_model=f"bundled:{task}/world_model" if world_model is None else world_model,
                starts=starts,
                start_kind=start_kind,
                chunk=chunk,
                horizon_s=horizon_s,
                uncertainty_limit=uncertainty_limit,
                uncertainty_charge=uncertainty_charge,
                device=device,
            ),
        )
        self.task = self._rows.task
        self.task_description = self.task.instruction
        self.chunk = self._rows.chunk
        self._max_episode_steps = self._rows.horizon_steps  # LeRobot reads this name
        self.world_model, self.starts = self._rows.model, self._rows.starts
        self.observation_space = observation_space(self.task)  # type: ignore[assignment]  # its arrays are our Observation
        self.action_space = action_space(self.task, self.chunk)  # type: ignore[assignment]  # Box is typed less narrowly
        self.metadata = {**type(self).metadata, "render_fps": max(1, round(self.task.control_hz / self.chunk))}
        self.render_mode = render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin a dream.

        Raises:
            InvalidStart: if the options name a start that does not exist or does not fit the task.
        """
        super().reset(seed=seed)
        (info,) = self._rows.reset([0], [self.np_random], [options or {}])
        self._rows.forget_chunk()
        return self._observation(), info

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Imagine one chunk.

        Raises:
            InvalidAction: if the chunk has the wrong shape, or numbers that are not finite or outside [-1, 1].
            StepOutOfOrder: before `reset`, or after the episode's end.
        """
        checked = checked_actions(action, self.action_space.shape or ())
        moved = self._rows.step([0], checked[None])
        return (
            self._observation(),
            float(moved.reward[0]),
            bool(moved.terminated[0]),
            bool(moved.truncated[0]),
            moved.infos[0],
        )

    def advantage_of(self, action: NDArray[np.float32]) -> float:
        """What `step` would tell as the advantage of this chunk (K, A), to the bit; nothing moves.

        Planners compare chunks so before they take one. Where the dynamics expects gains, as the bundled ones do, no
        frame is drawn, and it takes a quarter of the time.

        Raises:
            InvalidAction, StepOutOfOrder: as `step`.
        """
        checked = checked_actions(action, self.action_space.shape or ())
        return float(self._rows.advantages_of([0], checked[None])[0])

    def render(self) -> NDArray[np.uint8] | None:
        """The newest frames side by side, uint8 (H, V * W, 3), or None without a render mode."""
        return None if self.render_mode is None else self._rows.images()[0]

    def chunk_frames(self) -> NDArray[np.uint8]:
        """Every tick of the last step, uint8 (K, V, H, W, 3), decoded on demand; (0, ...) right after a reset."""
        empty = np.zeros((0, len(self.task.cameras), *self.task.image_size, 3), np.uint8)
        return self._rows.chunk_frames().get(0, empty)

    def chunk_proprio(self) -> NDArray[np.float32]:
        """Proprioception at every tick of the last step, float32 (K, P) in rad and m; (0, P) right after a reset."""
        return self._rows.chunk_proprio().get(0, np.zeros((0, len(self.task.proprio_names)), np.float32))

    def get_state(self) -> ImaginedState:
        """A snapshot that `set_state` branches from, in this or another env of the same model."""
        return self._rows.get_state([self.np_random])

    def set_state(self, state: ImaginedState, *, seed: int | None = None) -> Observation:
        """Go on from a snapshot; returns what is seen there.

        The same actions lead to the same dream again; with a `seed`, to another one that could be.

        Raises:
            InvalidStart: if it is no snapshot of this task's dreams, one row.
        """
        self._rows.set_state(state, [self.np_random], seed)
        return self._observation()

    def _observation(self) -> Observation:
        return {name: array[0] for name, array in self._rows.observation().items()}
