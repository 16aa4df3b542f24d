"""Rows of imagined worlds: everything that the single and the vector environment share. Always batched."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rise_gym.envs._choosing import chosen_start
from rise_gym.envs._sharing import shared_starts, shared_world_model
from rise_gym.errors import InvalidStart, StepOutOfOrder
from rise_gym.spaces import proprio_bounds
from rise_gym.starts import StartKind, Starts, check_start_kind, require_task
from rise_gym.tasks import TaskCard, task_card
from rise_gym.types import Imagination, WorldState
from rise_gym.world_model import CompositionalWorldModel

_NOISE_SEEDS = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class RowsConfig:
    """How imagined worlds are built and when they end. See `ImaginedEnv` for what the arguments mean."""

    task: str
    world_model: str | Path | CompositionalWorldModel
    starts: str | Path | Starts | None = None
    start_kind: StartKind | None = None
    chunk: int | None = None
    horizon_s: float | None = None
    uncertainty_limit: float | None = None
    uncertainty_charge: float = 0.0
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class ImaginedState:
    """A snapshot to branch from: plain arrays, tensors and generator states. Never edited.

    Attributes:
        task: whose dreams these are. world: the model's state, N rows.
        frames: newest, uint8 (N, V, H, W, 3). proprio: newest, float32 (N, P).
        steps: int64 (N,) since reset. running: bool (N,). noise: one torch generator state a row.
        draws: one state of the env's NumPy generator a row, from which later resets draw.
    """

    task: str
    world: WorldState
    frames: NDArray[np.uint8]
    proprio: NDArray[np.float32]
    steps: NDArray[np.int64]
    running: NDArray[np.bool_]
    noise: tuple[torch.Tensor, ...]
    draws: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Moved:
    """One step of n rows: reward float64 (n,), terminated and truncated bool (n,), one info a row."""

    reward: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    infos: list[dict[str, Any]]


class ImaginedRows:
    """`count` imagined worlds side by side; any of them can be reset or stepped, each with its own generators."""

    def __init__(self, count: int, config: RowsConfig) -> None:
        self.count = count
        self.task = task_card(config.task)
        self.model = _model_of(config)
        self.starts = _starts_of(config)
        self.start_kind = self.model.config.start_kind if config.start_kind is None else config.start_kind
        check_start_kind(self.start_kind)
        self.chunk = self.task.chunk if config.chunk is None else config.chunk
        if not 1 <= self.chunk <= self.model.longest_chunk:
            raise ValueError(
                f"chunk must be 1 to {self.model.longest_chunk} ticks, what this world model was trained for, "
                f"got {config.chunk}"
            )
        horizon_s = self.task.horizon_s if config.horizon_s is None else _checked_horizon(config.horizon_s, self.task)
        self.horizon_steps = max(1, math.ceil(round(horizon_s * self.task.control_hz) / self.chunk))
        limit = config.uncertainty_limit
        self.uncertainty_limit = self.model.config.uncertainty_limit if limit is None else _checked_limit(limit)
        self._charge = _checked_charge(config.uncertainty_charge, self.model)
        self.low, self.high = proprio_bounds(self.task)
        self._world: WorldState | None = None
        self._imagined: tuple[list[int], Imagination] | None = None
        self._frames = np.zeros((count, len(self.task.cameras), *self.task.image_size, 3), np.uint8)
        self._proprio = np.zeros((count, len(self.task.proprio_names)), np.float32)
        self._steps = np.zeros(count, np.int64)
        self.running = np.zeros(count, np.bool_)
        self._noise = [torch.Generator() for _ in range(count)]

    # -- reset ------------------------------------------------------------------------------------------------------

    def reset(
        self, rows: Sequence[int], draws: Sequence[np.random.Generator], options: Sequence[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Draw a start for each of `rows` from its generator (or take the one in its options); returns their infos."""
        if self._world is None and len(rows) < self.count:
            raise StepOutOfOrder(f"the first reset must be of all {self.count} environments, got {list(rows)}")
        chosen = [
            chosen_start(self.starts, self.task, generator, option, self.start_kind)
            for generator, option in zip(draws, options, strict=True)
        ]
        for row, generator in zip(rows, draws, strict=True):
            self._noise[row].manual_seed(int(generator.integers(_NOISE_SEEDS)))
        frames = _stacked([start.frames[0] for start in chosen])
        proprio = np.concatenate([start.proprio for start in chosen]).clip(self.low, self.high)
        instruction = [start.instruction[0] for start in chosen]
        begun = self.model.begin(torch.from_numpy(frames), torch.from_numpy(proprio), instruction)
        self._place(rows, begun)
        self._frames[rows], self._proprio[rows] = frames[:, -1], proprio
        self._steps[rows], self.running[rows] = 0, True
        progress = begun.progress.clamp(0, 1).tolist()
        return [self._reset_info(start, gone) for start, gone in zip(chosen, progress, strict=True)]

    def _reset_info(self, start: Starts, progress: float) -> dict[str, Any]:
        return {
            "instruction": start.instruction[0],
            "start_seed": int(start.seeds[0]),
            "start_tick": int(start.tick[0]),
            "score": 10.0 * progress,
            "is_success": False,
        }

    # -- step -------------------------------------------------------------------------------------------------------

    def step(self, rows: Sequence[int], actions: NDArray[np.float32]) -> Moved:
        """One chunk for each of `rows`: actions (n, K, A), checked by the caller."""
        after, imagined = self.model.imagine(
            self._standing(rows), torch.from_numpy(actions), generator=[self._noise[row] for row in rows]
        )
        self._place(rows, after)
        self._imagined = (list(rows), imagined)
        self._frames[rows] = self.model.decode_newest(after).cpu().numpy()
        self._proprio[rows] = after.proprio.cpu().numpy().clip(self.low, self.high)
        self._steps[rows] += 1
        return self._judged(rows, imagined)

    def advantages_of(self, rows: Sequence[int], actions: NDArray[np.float32]) -> NDArray[np.float32]:
        """What a step with these actions (n, K, A) would tell as their advantage, float32 (n,); nothing moves."""
        noise = [torch.Generator() for _ in rows]
        for copied, row in zip(noise, rows, strict=True):
            copied.set_state(self._noise[row].get_state())
        _, imagined = self.model.imagine(self._standing(rows), torch.from_numpy(actions), generator=noise, drawn=False)
        found: NDArray[np.float32] = self._advantage(imagined)
        return found

    def _standing(self, rows: Sequence[int]) -> WorldState:
        """Where `rows` are."""
        waiting = [row for row in rows if not self.running[row]]
        if self._world is None or waiting:
            raise StepOutOfOrder(f"call reset first: episode {waiting or list(rows)} has not begun, or has ended")
        return self._world if len(rows) == self.count else self._world.rows(torch.as_tensor(rows))

    def _place(self, rows: Sequence[int], world: WorldState) -> None:
        """Put `rows` where `world` is."""
        if self._world is not None and len(rows) < self.count:
            world = _merged(self._world, rows, world)
        self._world = world

    def _judged(self, rows: Sequence[int], imagined: Imagination) -> Moved:
        """Success ends an episode; the horizon, or too little trust in the dream, only cuts it off."""
        value = imagined.progress.cpu().numpy()  # (n, K) in [-1, 1]
        uncertainty = imagined.uncertainty.cpu().numpy()
        last = value[:, -self.model.config.success_ticks :]
        terminated: NDArray[np.bool_] = np.all(last >= self.model.success_threshold, axis=1)
        limit = math.inf if self.uncertainty_limit is None else self.uncertainty_limit
        reasons = np.where(uncertainty > limit, "uncertainty", "")
        reasons = np.where(self._steps[rows] >= self.horizon_steps, "horizon", reasons)
        reasons = np.where(terminated, "", reasons)
        self.running[rows] = ~terminated & (reasons == "")
        advantage, doubt = self._advantage(imagined), imagined.progress_uncertainty
        infos = [
            {
                "progress": value[n].clip(0, 1),
                "value": value[n].copy(),
                "advantage": float(advantage[n]),
                "uncertainty": float(uncertainty[n]),
                **({} if doubt is None else {"progress_uncertainty": float(doubt[n])}),
                "score": float(10 * value[n, -1].clip(0, 1)),
                "is_success": bool(terminated[n]),
                "truncation": str(reasons[n]),
            }
            for n in range(len(rows))
        ]
        reward = (imagined.reward - self._charged(imagined)).cpu().numpy().astype(np.float64)
        return Moved(reward=reward, terminated=terminated, truncated=reasons != "", infos=infos)

    def _advantage(self, imagined: Imagination) -> NDArray[np.float32]:
        """That of the model, less what uncertainty is charged for, float32 (n,) in [-1, 1]."""
        scale = self.model.config.advantage_scale
        found: NDArray[np.float32] = (imagined.advantage - scale * self._charged(imagined)).clamp(-1, 1).cpu().numpy()
        return found

    def _charged(self, imagined: Imagination) -> torch.Tensor:
        """Progress (n,) that uncertainty costs."""
        doubt = imagined.progress_uncertainty
        return torch.zeros_like(imagined.reward) if doubt is None else self._charge * doubt

    # -- what is seen -----------------------------------------------------------------------------------------------

    def observation(self) -> dict[str, NDArray[Any]]:
        """Newest observation of all rows, fresh arrays: cameras uint8 (N, H, W, 3), proprio float32 (N, P)."""
        cameras = {camera: self._frames[:, view].copy() for view, camera in enumerate(self.task.cameras)}
        return {**cameras, "proprio": self._proprio.copy()}

    def images(self) -> NDArray[np.uint8]:
        """Cameras side by side, uint8 (N, H, V * W, 3)."""
        return np.concatenate(list(self._frames.swapaxes(0, 1)), axis=2)

    def forget_chunk(self) -> None:
        """After a reset that the caller asked for there is no last step."""
        self._imagined = None

    def chunk_frames(self) -> dict[int, NDArray[np.uint8]]:
        """Every tick of the last step, decoded on demand: row -> uint8 (K, V, H, W, 3); empty after a reset."""
        if self._imagined is None:
            return {}
        rows, imagined = self._imagined
        return dict(zip(rows, self.model.decode(imagined.latents).cpu().numpy(), strict=True))

    def chunk_proprio(self) -> dict[int, NDArray[np.float32]]:
        """Proprioception at every tick of the last step: row -> float32 (K, P); empty after a reset."""
        if self._imagined is None:
            return {}
        rows, imagined = self._imagined
        return dict(zip(rows, imagined.proprio.cpu().numpy().clip(self.low, self.high), strict=True))

    # -- snapshots --------------------------------------------------------------------------------------------------

    def get_state(self, draws: Sequence[np.random.Generator]) -> ImaginedState:
        if self._world is None:
            raise StepOutOfOrder("call reset first: there is no state to take a snapshot of yet")
        return ImaginedState(
            task=self.task.name,
            world=self._world,
            frames=self._frames.copy(),
            proprio=self._proprio.copy(),
            steps=self._steps.copy(),
            running=self.running.copy(),
            noise=tuple(generator.get_state() for generator in self._noise),
            draws=tuple(generator.bit_generator.state for generator in draws),
        )

    def set_state(self, state: ImaginedState, draws: Sequence[np.random.Generator], seed: int | None = None) -> None:
        self._check_snapshot(state)
        first = None if seed is None else _checked_seed(seed)
        self._world, self._imagined = state.world, None
        self._frames, self._proprio = state.frames.copy(), state.proprio.copy()
        self._steps, self.running = state.steps.copy(), state.running.copy()
        for row, generator in enumerate(draws):
            self._noise[row].set_state(state.noise[row])
            if first is not None:
                self._noise[row].manual_seed(first + row)
            generator.bit_generator.state = state.draws[row]

    def _check_snapshot(self, state: object) -> None:
        """Latents of another task may have the same shape, and would be dreamt on as if they were this one's."""
        if not isinstance(state, ImaginedState):
            raise InvalidStart(
                f"a snapshot was wanted, as get_state of this env gives it, got {type(state).__name__}; that of a "
                "wrapper goes back through the wrapper's own set_state"
            )
        if state.task != self.task.name:
            raise InvalidStart(f"a snapshot of task {self.task.name!r} was wanted, this one is of {state.task!r}")
        if len(state.world) != self.count:
            raise InvalidStart(f"a snapshot of {self.count} environments was wanted, this one has {len(state.world)}")


def _model_of(config: RowsConfig) -> CompositionalWorldModel:
    if isinstance(config.world_model, str | Path):
        return shared_world_model(str(config.world_model), config.task, config.device)
    return config.world_model.for_task(config.task)


def _checked_horizon(horizon_s: float, task: TaskCard) -> float:
    if not 0 < horizon_s < math.inf:
        raise ValueError(
            f"horizon_s is how many task seconds an episode may take, more than 0 and finite, got {horizon_s}; leave "
            f"it out for the {task.horizon_s:g} of task {task.name!r}"
        )
    return horizon_s


def _checked_seed(seed: object) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**62:
        raise ValueError(f"a seed from 0 to below 2**62, one integer, was wanted, got {seed!r}")
    return int(seed)


def _checked_limit(limit: float) -> float:
    """NaN would never end a dream, and less than 0 every one in its first step, without a word."""
    if not limit >= 0:
        raise ValueError(f"uncertainty_limit must be 0 or more, infinite to end no dream for it, got {limit}")
    return limit


def _checked_charge(charge: float, model: CompositionalWorldModel) -> float:
    if charge < 0 or not math.isfinite(charge):
        raise ValueError(f"uncertainty_charge must be 0 or more, got {charge}")
    if charge and model.progress_uncertainty is None:
        raise ValueError(
            "uncertainty_charge wants a world model that knows how far off its progress may be, this one does not; "
            "train its last part, `rise-gym train uncertainty`, or leave the charge at 0"
        )
    return charge


def _starts_of(config: RowsConfig) -> Starts:
    if isinstance(config.starts, Starts):
        require_task(config.starts, config.task)
        return config.starts
    model = str(config.world_model) if isinstance(config.world_model, str | Path) else None
    return shared_starts(None if config.starts is None else str(config.starts), config.task, model)


def _stacked(windows: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Windows of different lengths (W, ...) -> (n, longest, ...); the oldest frame of a short one repeats."""
    longest = max(len(window) for window in windows)
    return np.stack([window[np.maximum(np.arange(-longest, 0) + len(window), 0)] for window in windows])


def _merged(state: WorldState, rows: Sequence[int], new: WorldState) -> WorldState:
    """`state` with its `rows` replaced."""
    index = torch.as_tensor(rows, device=state.proprio.device)
    instruction = list(state.instruction)
    for row, text in zip(rows, new.instruction, strict=True):
        instruction[row] = text
    return replace(
        state,
        latents=state.latents.index_copy(0, index, new.latents),
        proprio=state.proprio.index_copy(0, index, new.proprio),
        progress=state.progress.index_copy(0, index, new.progress),
        instruction=tuple(instruction),
    )
