"""Puts an `Episode` together while an environment of any backend is stepped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from rise_gym.errors import RiseGymError
from rise_gym.tasks import TaskCard
from rise_gym.types import Episode, Source

Columns = dict[str, NDArray[Any]]


class EpisodeRecorder:
    """Collects rows, one a control tick, from `begin` to `finish`.

    An env whose step is longer than a tick has to tell what happened in between: as `info["ticks"]` (the replica, when
    built with `record_ticks=True`), or through `chunk_frames()` and `chunk_proprio()` (imagination).
    """

    def __init__(self, env: gymnasium.Env[Any, Any], *, source: Source, policy: str) -> None:
        self.env, self.source, self.policy = env, source, policy
        self.task: TaskCard = env.unwrapped.task  # type: ignore[attr-defined]  # contract 11
        self._rows: dict[str, list[NDArray[Any]]] = {}
        self._actions: list[NDArray[np.float32]] = []
        self._clean: list[NDArray[np.float32]] = []
        self._seed, self._instruction = -1, self.task.instruction

    def begin(self, observation: Mapping[str, Any], info: Mapping[str, Any], seed: int | None) -> None:
        """What `reset` returned; an episode under way is forgotten. Unseeded episodes have seed -1."""
        self._rows, self._actions, self._clean = {}, [], []
        self._seed = -1 if seed is None else seed
        self._instruction = info.get("instruction", self.task.instruction)
        first = {name: np.asarray(value)[None] for name, value in observation.items()}
        progress = info.get("progress", info.get("score", np.nan) / 10)
        first["progress"] = np.reshape(np.asarray(progress, np.float32), -1)[-1:]
        if "physics_state" in info:
            first["physics_state"] = np.asarray(info["physics_state"])[None]
        self._append(first)

    def add(
        self,
        executed: NDArray[np.float32],
        clean: NDArray[np.float32] | None,
        observation: Mapping[str, Any],
        info: Mapping[str, Any],
    ) -> None:
        """What `step(executed)` led to; `clean` (K, A) is what was meant, if that is another thing.

        Where an env tells what it made of the action, as `info["sent"]` (a real robot's limits), that was executed.

        Raises:
            RiseGymError: if the env does not tell what happened within its step.
        """
        executed = info.get("sent", executed)
        ticks = self._ticks(observation, info, len(executed))
        happened = len(ticks["proprio"])  # fewer than asked for where the episode ended within the chunk
        self._append(ticks)
        self._actions.append(np.array(executed[:happened], np.float32))
        if clean is not None:
            self._clean.append(np.array(clean[:happened], np.float32))

    def finish(self, info: Mapping[str, Any]) -> Episode:
        """The episode; `info` is that of its last step."""
        columns = {name: np.concatenate(parts) for name, parts in self._rows.items()}
        progress = columns["progress"].astype(np.float32)
        complete = len(columns.get("physics_state", ())) == len(progress)
        return Episode(
            task=self.task.name,
            instruction=self._instruction,
            frames={camera: columns[camera] for camera in self.task.cameras},
            proprio=columns["proprio"].astype(np.float32),
            actions=_with_last_repeated(self._actions),
            clean_actions=_with_last_repeated(self._clean) if len(self._clean) == len(self._actions) else None,
            progress=None if np.isnan(progress).any() else progress,
            physics_state=columns["physics_state"].astype(np.float64) if complete else None,
            success=bool(info["is_success"]),
            score=float(info["score"]),
            source=self.source,
            policy=self.policy,
            seed=self._seed,
        )

    def _append(self, columns: Columns) -> None:
        for name, values in columns.items():
            self._rows.setdefault(name, []).append(values)

    def _ticks(self, observation: Mapping[str, Any], info: Mapping[str, Any], chunk: int) -> Columns:
        if "ticks" in info:
            ticks = {name: np.asarray(values) for name, values in info["ticks"].items()}
            return {"progress": self._progress(info, len(ticks["proprio"])), **ticks}
        env = self.env.unwrapped
        if hasattr(env, "chunk_frames"):
            frames = env.chunk_frames()  # (K, V, H, W, 3)
            views = {camera: frames[:, view] for view, camera in enumerate(self.task.cameras)}
            return {**views, "proprio": env.chunk_proprio(), "progress": self._progress(info, len(frames))}  # type: ignore[attr-defined]
        if chunk > 1:
            raise RiseGymError(
                f"an episode has every control tick, but {type(env).__name__} was stepped {chunk} ticks at a time "
                'without info["ticks"]; build it with `record_ticks=True`, or with `chunk=1`'
            )
        seen = {name: np.asarray(value)[None] for name, value in observation.items()}
        if "physics_state" in info:
            seen["physics_state"] = np.asarray(info["physics_state"])[None]
        return {**seen, "progress": self._progress(info, 1)}

    @staticmethod
    def _progress(info: Mapping[str, Any], ticks: int) -> NDArray[np.float32]:
        found = np.asarray(info.get("progress", np.nan), np.float32).reshape(-1)
        return found[:ticks] if len(found) >= ticks else np.full(ticks, np.nan, np.float32)


def _with_last_repeated(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The terminal row has no action of its own."""
    joined = np.concatenate(parts)
    return np.concatenate([joined, joined[-1:]])
