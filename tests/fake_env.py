"""A tiny environment with the contracts of DESIGN, and who acts in it; imported by name, also in spawned processes."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.envs.registration import register, registry
from gymnasium.vector import SyncVectorEnv

from rise_gym.spaces import action_space, checked_actions, observation_space
from rise_gym.tasks import task_card

SINGLE_ID, VECTOR_ID, BRICK_ID = "RiseFake-BoxClose-v0", "RiseFakeBatched-BoxClose-v0", "RiseFake-BrickSort-v0"
HORIZON_TICKS = 25


@dataclass(frozen=True)
class FakeState:
    """A moment of a `FakeEnv`."""

    progress: float
    tick: int


class FakeEnv(gymnasium.Env[Any, Any]):
    """The mean of the first action is what every tick adds to the progress, times 0.1; the start is random."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012

    def __init__(
        self, task: str = "box_close", chunk: int = 10, record_ticks: bool = False, render_mode: str | None = None
    ) -> None:
        self.task, self.chunk, self.record_ticks, self.render_mode = task_card(task), chunk, record_ticks, render_mode
        self.observation_space = observation_space(self.task)
        self.action_space = action_space(self.task, chunk)
        self._max_episode_steps = -(-HORIZON_TICKS // chunk)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.progress, self.tick = float(self.np_random.uniform(0, 0.2)), 0
        return self._observation(), {**self._info(), "instruction": self.task.instruction}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        before, rows = self.progress, []
        for target in checked_actions(action, self.action_space.shape):
            self.tick += 1
            self.progress = float(np.clip(self.progress + 0.1 * target[0], 0, 1))
            rows.append({**self._observation(), "progress": self.progress, "physics_state": np.full(2, self.progress)})
            if self.progress >= 1 or self.tick >= HORIZON_TICKS:
                break
        progress = [row["progress"] for row in rows] + [self.progress] * (self.chunk - len(rows))
        info = {**self._info(), "progress": np.array(progress, np.float32)}
        if self.record_ticks:
            info["ticks"] = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        done = self.progress >= 1
        return self._observation(), self.progress - before, done, not done and self.tick >= HORIZON_TICKS, info

    def measured_progress(self) -> float:
        return self.progress

    def get_state(self) -> FakeState:
        return FakeState(self.progress, self.tick)

    def set_state(self, state: FakeState) -> Any:
        self.progress, self.tick = state.progress, state.tick
        return self._observation()

    def render(self) -> Any:
        return np.concatenate([self._observation()[camera] for camera in self.task.cameras], axis=1)

    def _observation(self) -> dict[str, Any]:
        shade = np.full((*self.task.image_size, 3), round(200 * self.progress) + 20, np.uint8)
        proprio = np.full(len(self.task.proprio_names), 0.05 * self.progress, np.float32)
        return {**{camera: shade.copy() for camera in self.task.cameras}, "proprio": proprio}

    def _info(self) -> dict[str, Any]:
        return {
            "is_success": self.progress >= 1,
            "score": 10 * self.progress,
            "physics_state": np.full(2, self.progress),
        }


def make_vector(num_envs: int, autoreset_mode: str, **arguments: Any) -> SyncVectorEnv:
    return SyncVectorEnv([lambda: FakeEnv(**arguments) for _ in range(num_envs)], autoreset_mode=autoreset_mode)


if SINGLE_ID not in registry:
    register(SINGLE_ID, entry_point=FakeEnv)
    register(BRICK_ID, entry_point=FakeEnv, kwargs={"task": "brick_sort"})
    register(VECTOR_ID, entry_point=FakeEnv, vector_entry_point=make_vector)


class FakeActor:
    """Moves on by a random amount every tick, and means to move a little further; can be slow, and tell its process."""

    def __init__(self, *, seconds: float = 0.0, pid_folder: str | None = None) -> None:
        self.seconds = seconds
        if pid_folder is not None:
            (Path(pid_folder) / str(os.getpid())).touch()

    def reset(self, env: Any, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def act(self, env: Any, observation: Any) -> tuple[Any, Any]:
        time.sleep(self.seconds)
        executed = self.random.uniform(0, 0.9, env.action_space.shape).astype(np.float32)
        return executed + np.float32(0.05), executed


class StuckAgent:
    """Moves on for two chunks of three ticks, and no further; `forever` never stops."""

    def __init__(self, *, forever: bool = False) -> None:
        self.forever = forever

    def seed(self, seed: int) -> None:
        self.acted = 0

    def act(self, observation: Any, instruction: Any, advantage: Any = 1.0) -> Any:
        self.acted += 1
        return np.full((1, 3, 14), 0.6 if self.forever or self.acted <= 2 else 0.0, np.float32)


class FakeAgent:
    """Moves on by a random amount, less where less advantage is asked for."""

    def __init__(self, chunk: int | None = None) -> None:
        if chunk is not None:
            self.chunk = chunk
        self.batches: list[int] = []

    def act(self, observation: Any, instruction: Any, advantage: Any = 1.0, *, generator: Any = None) -> Any:
        self.batches.append(len(instruction))
        assert observation["head"].shape == (len(instruction), 64, 64, 3)
        shape = (getattr(self, "chunk", 10), 14)
        return np.stack([0.7 * advantage * torch.rand(shape, generator=row).numpy() for row in generator])

    def loss(self, batch: Any) -> torch.Tensor:
        return torch.zeros(())
