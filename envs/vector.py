"""Many dreams in one model call: `gym.make_vec("RiseImagined-BoxClose-v0", num_envs=32)`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from rise_gym.envs._rows import ImaginedRows, ImaginedState, RowsConfig
from rise_gym.spaces import action_space, checked_actions, observation_space
from rise_gym.starts import StartKind, Starts
from rise_gym.types import Observation
from rise_gym.world_model import CompositionalWorldModel


class ImaginedVectorEnv(VectorEnv[Observation, NDArray[np.float32], NDArray[Any]]):
    """N rows of `ImaginedEnv` in one batch; see there for spaces, reward, starts, ends and info.

    Row i has its own generators and dreams what a single env seeded with `seed + i` dreams. Truncation is done here,
    for there is no TimeLimit around a vector env. `vectorization_mode="async"` would copy the model N times: avoid it.

    Args:
        num_envs: N.
        autoreset_mode: `"NextStep"` (default; the step after the end resets, with reward 0), `"SameStep"` (`final_obs`
            and `final_info` hold the end), or `"Disabled"` (reset with `options={"reset_mask": bool (N,)}`).
        max_episode_steps: steps until truncation; wins over `horizon_s`.

    The other arguments are those of `ImaginedEnv`. `options["start"]` may be a list with one start a row.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - gymnasium's declaration
        "render_modes": ["rgb_array"],
        "render_fps": 1,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int = 1,
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
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        self._rows = ImaginedRows(
            num_envs,
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
        if max_episode_steps is not None:
            if max_episode_steps < 1:
                raise ValueError(f"max_episode_steps must be at least 1, got {max_episode_steps}")
            self._rows.horizon_steps = max_episode_steps
        self.num_envs, self.render_mode = num_envs, render_mode
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.task = self._rows.task
        self.task_description = self.task.instruction
        self.chunk = self._rows.chunk
        self._max_episode_steps = self._rows.horizon_steps  # LeRobot reads this name
        self.world_model, self.starts = self._rows.model, self._rows.starts
        self.single_observation_space = observation_space(self.task)
        self.single_action_space = action_space(self.task, self.chunk)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        fps = max(1, round(self.task.control_hz / self.chunk))
        self.metadata = {**type(self).metadata, "render_fps": fps, "autoreset_mode": self.autoreset_mode}
        self._draws: list[tuple[np.random.Generator, int]] = [seeding.np_random(None) for _ in range(num_envs)]
        self._ended = np.zeros(num_envs, np.bool_)

    @property  # type: ignore[misc]  # read-only, as in gymnasium's SyncVectorEnv
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """One generator a row."""
        return tuple(generator for generator, _ in self._draws)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """One seed a row."""
        return tuple(seed for _, seed in self._draws)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin N dreams: an int seeds row i with `seed + i`, a list gives one a row.

        Raises:
            InvalidStart: if the options name a start that does not exist or does not fit the task.
        """
        options = dict(options or {})
        rows = np.flatnonzero(self._reset_mask(options.pop("reset_mask", None))).tolist()
        seeds = self._seeds(seed)
        for row in rows:
            if seeds[row] is not None:
                self._draws[row] = seeding.np_random(seeds[row])
        infos = self._rows.reset(rows, [self._draws[row][0] for row in rows], self._row_options(options, rows))
        self._rows.forget_chunk()
        self._ended[rows] = False
        return self._rows.observation(), self._gathered({}, rows, infos)

    def step(
        self, actions: NDArray[np.float32]
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Imagine one chunk in every row: actions float32 (N, K, A) in [-1, 1].

        Raises:
            InvalidAction: if any chunk has the wrong shape, or numbers that are not finite or outside [-1, 1].
            StepOutOfOrder: before `reset`, or, with autoreset disabled, after an episode's end.
        """
        checked = checked_actions(actions, self.action_space.shape or ())
        resting = self._ended if self.autoreset_mode is AutoresetMode.NEXT_STEP else np.zeros_like(self._ended)
        moving, waiting = np.flatnonzero(~resting).tolist(), np.flatnonzero(resting).tolist()
        reward = np.zeros(self.num_envs, np.float64)
        terminated, truncated = np.zeros_like(self._ended), np.zeros_like(self._ended)
        info: dict[str, Any] = {}
        if moving:
            moved = self._rows.step(moving, checked[moving])
            reward[moving], terminated[moving], truncated[moving] = moved.reward, moved.terminated, moved.truncated
            info = self._finished(info, moving, moved.infos, terminated | truncated)
        else:
            self._rows.forget_chunk()  # that was the step before
        if waiting:
            info = self._gathered(info, waiting, self._begin_anew(waiting))
        same_step = self.autoreset_mode is AutoresetMode.SAME_STEP
        self._ended = np.zeros_like(terminated) if same_step else terminated | truncated
        return self._rows.observation(), reward, terminated, truncated, info

    def advantages_of(self, actions: NDArray[np.float32]) -> NDArray[np.float32]:
        """What `step` would tell as the advantages of these chunks (N, K, A), float32 (N,); nothing moves.

        Raises:
            InvalidAction: as `step`.
            StepOutOfOrder: before `reset`, or where an episode has ended.
        """
        checked = checked_actions(actions, self.action_space.shape or ())
        return self._rows.advantages_of(range(self.num_envs), checked)

    def _finished(
        self, info: dict[str, Any], rows: list[int], infos: list[dict[str, Any]], ended: NDArray[np.bool_]
    ) -> dict[str, Any]:
        """The step's infos; under SAME_STEP the rows that ended begin anew and their end moves to `final_*`."""
        over = np.flatnonzero(ended).tolist() if self.autoreset_mode is AutoresetMode.SAME_STEP else []
        if not over:
            return self._gathered(info, rows, infos)
        seen = self._rows.observation()
        last = [{name: array[row].copy() for name, array in seen.items()} for row in over]
        final = [{"final_obs": obs, "final_info": infos[rows.index(row)]} for row, obs in zip(over, last, strict=True)]
        info = self._gathered(info, over, final)
        going = [row for row in rows if row not in over]
        info = self._gathered(info, going, [infos[rows.index(row)] for row in going])
        return self._gathered(info, over, self._begin_anew(over))

    def _begin_anew(self, rows: list[int]) -> list[dict[str, Any]]:
        return self._rows.reset(rows, [self._draws[row][0] for row in rows], [{} for _ in rows])

    def _gathered(self, info: dict[str, Any], rows: Iterable[int], infos: list[dict[str, Any]]) -> dict[str, Any]:
        for row, row_info in zip(rows, infos, strict=True):
            info = self._add_info(info, row_info, row)
        return info

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if seed is None or isinstance(seed, int | np.integer):
            return [None if seed is None else int(seed) + row for row in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(f"one seed a row was wanted ({self.num_envs}), got {len(seed)}")
        return list(seed)

    def _reset_mask(self, mask: object) -> NDArray[np.bool_]:
        if mask is None:
            return np.ones(self.num_envs, np.bool_)
        if (
            not isinstance(mask, np.ndarray)
            or mask.dtype != np.bool_
            or mask.shape != (self.num_envs,)
            or not mask.any()
        ):
            raise ValueError(
                f"options['reset_mask'] is a bool array ({self.num_envs},) with at least one True, got {mask!r}"
            )
        return mask

    def _row_options(self, options: dict[str, Any], rows: list[int]) -> list[dict[str, Any]]:
        start = options.get("start")
        if not isinstance(start, list | tuple | np.ndarray):
            return [options for _ in rows]
        if len(start) != self.num_envs:
            raise ValueError(f"options['start'] has one start a row ({self.num_envs}), got {len(start)}")
        return [{**options, "start": start[row]} for row in rows]

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """The newest frames of each row side by side, uint8 (H, V * W, 3) each, or None without a render mode."""
        return None if self.render_mode is None else tuple(self._rows.images())

    def chunk_frames(self) -> dict[int, NDArray[np.uint8]]:
        """Every tick of the last step, decoded on demand: row -> uint8 (K, V, H, W, 3), for the rows that moved."""
        return self._rows.chunk_frames()

    def chunk_proprio(self) -> dict[int, NDArray[np.float32]]:
        """Proprioception at every tick of the last step: row -> float32 (K, P), for the rows that moved."""
        return self._rows.chunk_proprio()

    def get_state(self) -> ImaginedState:
        """A snapshot of all rows that `set_state` branches from."""
        return self._rows.get_state(self.np_random)

    def set_state(self, state: ImaginedState, *, seed: int | None = None) -> Observation:
        """Go on from a snapshot; with a `seed`, into another future that could be (row i takes `seed + i`).

        Raises:
            InvalidStart: if it is no snapshot of this task's dreams, with as many rows.
        """
        self._rows.set_state(state, self.np_random, seed)
        self._ended = ~self._rows.running
        return self._rows.observation()

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """An attribute of every row, as gymnasium's own vector envs give it; but for `np_random` all rows share it."""
        attribute = getattr(self, f"single_{name}" if name in ("action_space", "observation_space") else name)
        if name in ("np_random", "np_random_seed"):
            return tuple(attribute)
        value = attribute(*args, **kwargs) if callable(attribute) else attribute
        return value if name == "render" and value is not None else (value,) * self.num_envs

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """The same as `call` without arguments."""
        return self.call(name)
