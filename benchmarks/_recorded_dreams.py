"""Held-out episodes dreamt with the actions that were executed: of drift, calibration and uncertainty."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import _common as common
import numpy as np
import torch
from _kept import Kept
from rich.progress import track

from rise_gym.drift import DriftRows, drift_moments, drift_rows, joined
from rise_gym.recordings import Recordings
from rise_gym.types import Episode
from rise_gym.world_model import CompositionalWorldModel

BATCH = 32


@dataclass(frozen=True, kw_only=True)
class RecordedDreams:
    """The dreams, and what they are made of; each is read or made when it is asked for first.

    Attributes:
        task: its name.
        world_model: a folder or bundled name. base: whose episodes are played if none are there.
        data: the held-out episodes, played anew if the folder is not there. episodes: how many.
        every_ticks: a dream begins in them every so many ticks. chunks: how far it goes.
        keep: folder of the parts that are measured.
    """

    task: str
    world_model: str
    base: str
    data: Path | None
    episodes: int
    every_ticks: int
    chunks: int
    keep: Path

    @cached_property
    def model(self) -> CompositionalWorldModel:
        """What dreams."""
        return CompositionalWorldModel.from_pretrained(self.world_model, task=self.task)

    @cached_property
    def _held_out(self) -> list[Episode]:
        folder = self.data or common.held_out_folder(self.task, self.episodes)
        return common.held_out_episodes(folder, self.episodes, policy=self.base, task=self.task)

    @cached_property
    def recordings(self) -> Recordings:
        """The episodes, laid end to end."""
        return Recordings.of(self._held_out, self.model.task)

    @property
    def described(self) -> dict[str, Any]:
        """What a record says of them."""
        seeds = [self._held_out[0].seed, self._held_out[-1].seed]
        return {"seeds": seeds, "episodes": self.episodes, "chunk": self.model.task.chunk}

    def kept(self, folder: Path, name: str, settings: Any) -> Kept:
        """Where parts of something measured on the same episodes are kept."""
        name = f"{name}{common.of_task(self.task)}"  # tasks can share seeds and a world model
        return Kept(folder, name, [self.world_model, self.base], (self.described["seeds"], *settings))

    def rows(self) -> DriftRows:
        """All dreams, batch by batch, those that are kept among them."""
        kept = self.kept(self.keep, "recorded_actions", (self.every_ticks, self.chunks))
        batches = drift_moments(self.recordings, every_ticks=self.every_ticks).split(BATCH)
        parts = []
        for number, moments in enumerate(track(batches, "dreaming recorded actions")):

            def measure(moments: torch.Tensor = moments) -> dict[str, Any]:
                found = asdict(drift_rows(self.model, self.recordings, moments, chunks=self.chunks))
                return {name: column.tolist() for name, column in found.items()}

            columns = kept.of(f"moments_{number:03}", measure)
            parts.append(
                DriftRows(**{name: np.array([_numbers(row) for row in column]) for name, column in columns.items()})
            )
        return joined(parts)


def _numbers(row: Any) -> Any:
    """JSON has no NaN: it is written as null."""
    return [np.nan if value is None else value for value in row] if isinstance(row, list) else row
