"""Episodes laid end to end in flat tensors, so that training draws random windows without Python in the loop.

A *moment* is one row of one episode, named by its index in the flat tensors. No window ever joins two episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from rise_gym.errors import InvalidDataset
from rise_gym.protocols import Codec
from rise_gym.tasks import TASKS, TaskCard
from rise_gym.types import Episode, Source


@dataclass(frozen=True, kw_only=True)
class Recordings:
    """Flat view of E episodes with N rows in all.

    Attributes:
        task: the card whose cameras, ranges and rates hold for all; where episodes are of several tasks, one of these.
        frames: uint8 (N, V, H, W, 3) in the task card's camera order; (0, V, H, W, 3) `without_frames`.
        latents: float16 (N, V, c, h, w) once `encoded`, else None.
        proprio: (N, P) in rad and m.
        actions: (N, A) executed, scaled to [-1, 1].
        clean_actions: (N, A) the expert's intention; for rollouts the executed action.
        progress: (N,) in [0, 1]; NaN where nothing measured it.
        first, last: (N,) index of the first and the last (terminal) row of the moment's episode.
        episode: (N,) which episode the moment belongs to.
        success: bool (E,). sources: one of `Source` an episode. instructions, tasks: one an episode, tasks by name.
    """

    task: TaskCard
    frames: Tensor
    latents: Tensor | None
    proprio: Tensor
    actions: Tensor
    clean_actions: Tensor
    progress: Tensor
    first: Tensor
    last: Tensor
    episode: Tensor
    success: Tensor
    sources: tuple[Source, ...]
    instructions: tuple[str, ...]
    tasks: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.proprio)

    @classmethod
    def of(cls, episodes: Sequence[Episode], task: TaskCard) -> Recordings:
        """Lay `episodes` end to end: of `task`, or of several tasks that share its cameras, ranges and rates.

        Raises:
            InvalidDataset: if there are none, or one is of a task that does not.
        """
        if not episodes:
            raise InvalidDataset(f"episodes of {task.name!r} were wanted, there are none; record or import some")
        for name in sorted({episode.task for episode in episodes} - {task.name}):
            require_alike(task, TASKS.get(name, task))
        lengths = np.array([len(episode) for episode in episodes])
        ends = np.cumsum(lengths)
        unmeasured = [np.full(len(e), np.nan, np.float32) if e.progress is None else e.progress for e in episodes]
        clean = [e.actions if e.clean_actions is None else e.clean_actions for e in episodes]

        def joined(arrays: Sequence[np.ndarray]) -> Tensor:
            return torch.from_numpy(np.concatenate(arrays))

        return cls(
            task=task,
            frames=joined([e.views(task.cameras) for e in episodes]),
            latents=None,
            proprio=joined([e.proprio for e in episodes]),
            actions=joined([e.actions for e in episodes]),
            clean_actions=joined(clean),
            progress=joined(unmeasured),
            first=torch.from_numpy(np.repeat(ends - lengths, lengths)),
            last=torch.from_numpy(np.repeat(ends - 1, lengths)),
            episode=torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)),
            success=torch.tensor([e.success for e in episodes]),
            sources=tuple(e.source for e in episodes),
            instructions=tuple(e.instruction for e in episodes),
            tasks=tuple(e.task for e in episodes),
        )

    @torch.no_grad()
    def encoded(self, codec: Codec, *, batch_size: int = 256) -> Recordings:
        """The same recordings with latents."""
        return self.with_latents(torch.cat([codec.encode(chunk).half() for chunk in self.frames.split(batch_size)]))

    def with_latents(self, latents: Tensor) -> Recordings:
        """The same recordings with these latents, float16 (N, V, c, h, w).

        Raises:
            ValueError: if there is not one row for every moment.
        """
        if len(latents) != len(self):
            raise ValueError(f"latents of {len(self)} moments were wanted, got {len(latents)}")
        return replace(self, latents=latents)

    def latent_shape(self) -> dict[str, Any]:
        """`latent_channels` c and `latent_size`, h = w or (h, w), of the latents, as a network that reads them is told.

        Raises:
            InvalidDataset: if they are not encoded.
        """
        if self.latents is None:
            raise InvalidDataset("encoded recordings were wanted; call recordings.encoded(codec) first")
        height, width = self.latents.shape[-2:]
        size = height if height == width else (height, width)
        return {"latent_channels": self.latents.shape[-3], "latent_size": size}

    def without_frames(self) -> Recordings:
        """The same recordings with latents only, in a sixth of the memory."""
        return replace(self, frames=self.frames[:0].clone())

    @classmethod
    def joined(cls, parts: Sequence[Recordings]) -> Recordings:
        """Recordings laid end to end; all encoded, or none. The first one's card is that of the whole.

        Raises:
            InvalidDataset: if they are of tasks that differ in cameras, ranges or rates.
        """
        for part in parts:
            require_alike(parts[0].task, part.task)
        rows = np.cumsum([0] + [len(part) for part in parts]).tolist()
        counts = np.cumsum([0] + [len(part.sources) for part in parts]).tolist()

        def column(name: str, shifts: Sequence[int] | None = None) -> Tensor:
            columns = [getattr(part, name) for part in parts]
            return torch.cat([one + shifts[n] for n, one in enumerate(columns)] if shifts else columns)

        return cls(
            task=parts[0].task,
            latents=None if parts[0].latents is None else column("latents"),
            first=column("first", rows),
            last=column("last", rows),
            episode=column("episode", counts),
            sources=tuple(source for part in parts for source in part.sources),
            instructions=tuple(text for part in parts for text in part.instructions),
            tasks=tuple(name for part in parts for name in part.tasks),
            **{name: column(name) for name in ("frames", "proprio", "actions", "clean_actions", "progress", "success")},
        )

    def only(self, episodes: Sequence[int]) -> Recordings:
        """The recordings of some episodes, by their index, in this order."""
        rows = [torch.nonzero(self.episode == index).flatten() for index in episodes]
        lengths = torch.tensor([len(part) for part in rows])
        ends, kept = lengths.cumsum(0), torch.cat(rows)
        columns = ("proprio", "actions", "clean_actions", "progress")
        return replace(
            self,
            frames=self.frames[kept] if len(self.frames) else self.frames,
            latents=None if self.latents is None else self.latents[kept],
            first=(ends - lengths).repeat_interleave(lengths),
            last=(ends - 1).repeat_interleave(lengths),
            episode=torch.arange(len(episodes)).repeat_interleave(lengths),
            success=self.success[list(episodes)],
            sources=tuple(self.sources[index] for index in episodes),
            instructions=tuple(self.instructions[index] for index in episodes),
            tasks=tuple(self.tasks[index] for index in episodes),
            **{name: getattr(self, name)[kept] for name in columns},
        )

    def draw(self, count: int, generator: Generator, *, among: Tensor | None = None) -> Tensor:
        """Random moments (count,), uniformly over all rows, or over the indices `among`."""
        rows = torch.randint(len(self) if among is None else len(among), (count,), generator=generator)
        return rows if among is None else among[rows]

    def history(self, moments: Tensor, ticks: int, stride: int = 1) -> Tensor:
        """Indices (B, ticks) of the rows up to each moment, oldest first, `stride` apart, the moment itself last.

        Before the episode began its first row repeats, as it does when an env resets.
        """
        back = torch.arange(ticks - 1, -1, -1) * stride
        return torch.maximum(moments[:, None] - back, self.first[moments][:, None])

    def future(self, moments: Tensor, ticks: int) -> tuple[Tensor, Tensor]:
        """Indices (B, ticks) of the rows after each moment, and which of them happened: bool (B, ticks).

        After the episode's end its last row repeats.
        """
        ahead = moments[:, None] + torch.arange(1, ticks + 1)
        last = self.last[moments][:, None]
        return torch.minimum(ahead, last), ahead <= last

    def chunk(self, moments: Tensor, ticks: int) -> tuple[Tensor, Tensor]:
        """Indices (B, ticks) of the actions executed from each moment on, and which of them were: bool (B, ticks)."""
        ahead = moments[:, None] + torch.arange(ticks)
        last = self.last[moments][:, None]
        return torch.minimum(ahead, last), ahead < last

    def instruction_of(self, moments: Tensor) -> tuple[str, ...]:
        """The instruction of each moment."""
        return tuple(self.instructions[e] for e in self.episode[moments].tolist())


def require_alike(task: TaskCard, other: TaskCard) -> None:
    """Check that recordings of two tasks can be laid end to end.

    Raises:
        InvalidDataset: if they differ in cameras, ranges or rates.
    """
    for field in task.differences(other):
        raise InvalidDataset(
            f"recordings like those of {task.name!r} were wanted, {field} {getattr(task, field)}, those of "
            f"{other.name!r} have {getattr(other, field)}; train a model for each of them"
        )


def shared_moments(recordings: Recordings, moments: Tensor, episodes: Tensor, share: float) -> Tensor:
    """`moments` (M,), among which those of the chosen `episodes`, bool (E,), have this share.

    Moments of one side are repeated, as evenly as can be; none is ever left out, of either side. Where there are only
    moments of one side, they are returned as they are.

    Raises:
        ValueError: for a share that is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"a share between 0 and 1 was wanted, so that nothing is left out, got {share}")
    inside = episodes[recordings.episode[moments]]
    chosen, others = moments[inside], moments[~inside]
    if not len(chosen) or not len(others):
        return moments
    wanted = share / (1 - share) * len(others)  # of the chosen, if the others are as many as they are
    if wanted >= len(chosen):
        return torch.cat([others, _repeated(chosen, round(wanted))])
    return torch.cat([_repeated(others, round(len(chosen) * (1 - share) / share)), chosen])


def _repeated(moments: Tensor, count: int) -> Tensor:
    """So many of them, each as often as any other or once more."""
    return moments[torch.arange(count) * len(moments) // count]


def eventful_moments(
    recordings: Recordings, moments: Tensor, progress: Tensor, *, ticks: int = 40, least: float = 0.03
) -> Tensor:
    """Those of `moments` within whose next `ticks` the progress (N,) of every recorded moment varies by `least`.

    Where a policy was stuck for good no chunk is better than another, and little is to be learnt. If there is no such
    moment, all are returned.
    """
    parts = []
    for part in moments.split(20_000):
        ahead, _ = recordings.future(part, ticks)
        low, high = progress[ahead].aminmax(dim=1)
        parts.append(part[high - low >= least])
    found = torch.cat(parts)
    return found if len(found) else moments
