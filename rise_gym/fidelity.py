"""Whether what one arm is told shows where that arm is, and nowhere else: a gate for world models.

From the beginnings of recorded episodes, where neither arm is in the other's sight, each is dreamt twice with the same
noise: everything held still, and one thing commanded otherwise. The limits, in words:

- An arm told to move by a quarter of a radian in two joints is expected to have moved them by 0.15 rad at least, and
  its wrist's picture changes by 4 grey levels of 255 at least. The other arm's joints move by 0.02 rad at most, and its
  wrist's picture changes by at most a fifth as much.
- A gripper told to open to 8 cm, or to shut, is expected within 1 cm of that, the other stays within 0.5 cm. Its own
  wrist's picture changes by half a grey level at least, the other's by at most half as much as its own.
- What such a command changes in its own wrist's picture goes together with what it truly changes in the replica, at a
  correlation of 0.5 at least.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from rise_gym.metrics import difference_correlation
from rise_gym.starts import Starts
from rise_gym.tasks import ARMS

if TYPE_CHECKING:
    from rise_gym.world_model import CompositionalWorldModel

__all__ = [
    "HANDS",
    "CommandedDreams",
    "arm_figures",
    "fidelity_figures",
    "hand_figures",
    "replica_frames",
    "true_likeness",
]

HANDS = ("open", "shut")
TRUE_STARTS = 3
"""From so many starts the replica is asked as well."""
_MOVED_RAD, _OPEN_M = 0.25, 0.08

TrueFrames = Callable[[NDArray[np.float32]], NDArray[Any]]
"""Last frames (n, V, H, W, 3) of the replica, from the first n starts under their chunks (n, K, A)."""


@dataclass(frozen=True, kw_only=True)
class CommandedDreams:
    """What a world model dreams in one chunk from each of S starts, all beginnings of episodes."""

    model: CompositionalWorldModel
    starts: Starts

    def commanded(self, targets: Mapping[str, float], *, by: bool = False) -> NDArray[np.float32]:
        """Chunks (S, K, A) that hold still but for joints led to `targets`, or on `by` so much, within half of it."""
        card, pose = self.model.task, self.starts.proprio.astype(np.float64)
        chunks = np.repeat(pose[:, None], card.chunk, axis=1)
        share = np.minimum(1, np.arange(1, card.chunk + 1) / (card.chunk / 2))
        for name, target in targets.items():
            joint = card.action_names.index(name)
            goal = np.clip(pose[:, joint] + target if by else target, card.action_low[joint], card.action_high[joint])
            chunks[:, :, joint] += share * (goal - pose[:, joint])[:, None]
        return card.scale_action(chunks).clip(-1, 1)

    def hand(self, arm: str, hand: str) -> NDArray[np.float32]:
        """Chunks (S, K, A) that hold still but for that arm's gripper."""
        return self.commanded({f"{arm}_gripper_m": _OPEN_M if hand == "open" else 0.0})

    def dreamt(self, chunks: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Last frames (S, V, H, W, 3) and proprioception (S, P), always of the same noise."""
        begun = self.model.begin(
            torch.from_numpy(self.starts.frames), torch.from_numpy(self.starts.proprio), self.starts.instruction
        )
        noise = [Generator().manual_seed(1) for _ in chunks]
        _, imagined = self.model.imagine(begun, torch.from_numpy(chunks), generator=noise)
        frames = self.model.decode(imagined.latents[:, -1]).cpu().numpy()
        return frames.astype(np.float64), imagined.proprio[:, -1].cpu().numpy()

    @cached_property
    def still(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """What is dreamt where nothing is told to move."""
        return self.dreamt(self.commanded({}))

    def grey_levels(self, arm: str, frames: NDArray[Any]) -> tuple[float, float]:
        """By how much the wrist pictures of that arm and of the other differ from those of a robot held still."""
        cameras = self.model.task.cameras
        apart = np.abs(frames - self.still[0]).mean((0, 2, 3, 4))  # (V,)
        own, others = (float(apart[cameras.index(f"{one}_wrist")]) for one in (arm, _other_than(arm)))
        return own, others


def fidelity_figures(dreams: CommandedDreams, true_frames: TrueFrames | None = None) -> dict[str, Any]:
    """All of the gate.

    Args:
        dreams: of a task with two arms.
        true_frames: asks the replica; without it what changes is not held against the truth.

    Returns:
        `starts`, and `commands`: what `arm_figures`, `hand_figures` and `true_likeness` say of each, by its name.
    """
    commands = {f"move the {arm} arm": arm_figures(dreams, arm) for arm in ARMS}
    for arm in ARMS:
        for hand in HANDS:
            found = hand_figures(dreams, arm, hand)
            if true_frames is not None:
                likeness = true_likeness(dreams, arm, hand, true_frames)
                found = {**found, **likeness, "passed": found["passed"] | likeness["passed"]}
            commands[f"{hand} the {arm} hand"] = found
    return {"starts": len(dreams.starts), "commands": commands}


def arm_figures(dreams: CommandedDreams, arm: str) -> dict[str, Any]:
    """Of an arm that is told to move.

    Returns:
        `told_rad`, the least that a joint moved which was told to; `others_rad`, the most that a joint of the other arm
        did, both means over starts; `own_grey` and `others_grey`, by how much the wrists' pictures change, of 255; and
        whether it `passed` as `expected` (joints) and as `seen` (pictures).
    """
    outward = _MOVED_RAD if arm == "left" else -_MOVED_RAD
    moving = {f"{arm}_joint1_rad": outward, f"{arm}_joint2_rad": _MOVED_RAD}
    frames, proprio = dreams.dreamt(dreams.commanded(moving, by=True))
    apart, names = np.abs(proprio - dreams.still[1]).mean(0), dreams.model.task.proprio_names
    told = min(float(apart[names.index(name)]) for name in moving)
    other = _other_than(arm)
    others = max(float(apart[n]) for n, name in enumerate(names) if name.startswith(other) and name.endswith("_rad"))
    own_grey, others_grey = dreams.grey_levels(arm, frames)
    passed = {"expected": told >= 0.15 and others <= 0.02, "seen": own_grey >= 4 and others_grey <= own_grey / 5}
    return {
        "told_rad": told, "others_rad": others, "own_grey": own_grey, "others_grey": others_grey, "passed": passed,
    }  # fmt: skip


def hand_figures(dreams: CommandedDreams, arm: str, hand: str) -> dict[str, Any]:
    """Of a gripper that is told to open or to shut, one of `HANDS`.

    Returns:
        `off_m`, by how much it is expected elsewhere at most; `others_m`, by how much the other moves at most;
        `own_grey` and `others_grey`, by how much the wrists' pictures change, of 255; and whether it `passed` as
        `expected` (grippers) and as `seen` (pictures).
    """
    frames, proprio = dreams.dreamt(dreams.hand(arm, hand))
    names, still = dreams.model.task.proprio_names, dreams.still[1]
    own, other = (names.index(f"{one}_gripper_m") for one in (arm, _other_than(arm)))
    off = float(np.abs(proprio[:, own] - (_OPEN_M if hand == "open" else 0.0)).max())
    others = float(np.abs(proprio[:, other] - still[:, other]).max())
    own_grey, others_grey = dreams.grey_levels(arm, frames)
    passed = {"expected": off <= 0.01 and others <= 0.005, "seen": own_grey >= 0.5 and others_grey <= own_grey / 2}
    return {"off_m": off, "others_m": others, "own_grey": own_grey, "others_grey": others_grey, "passed": passed}


def true_likeness(dreams: CommandedDreams, arm: str, hand: str, true_frames: TrueFrames) -> dict[str, Any]:
    """Of a gripper that is told to open or to shut: does its wrist's picture change as it truly does?

    Returns:
        `true_correlation` of what changes, and whether that `passed` as `true`.
    """
    view = dreams.model.task.cameras.index(f"{arm}_wrist")
    chunks = [dreams.commanded({})[:TRUE_STARTS], dreams.hand(arm, hand)[:TRUE_STARTS]]
    dreamt = [dreams.still[0], dreams.dreamt(dreams.hand(arm, hand))[0]]
    ours = np.stack([frames[:TRUE_STARTS, view] for frames in dreamt])
    theirs = np.stack([true_frames(one)[:, view] for one in chunks])
    found = float(difference_correlation(ours, theirs))
    return {"true_correlation": found, "passed": {"true": found >= 0.5}}


def replica_frames(replica: gymnasium.Env[Any, Any], starts: Starts) -> TrueFrames:
    """Asks a replica what it shows after a chunk, from the beginnings of the episodes that `starts` are of."""

    def played(chunks: NDArray[np.float32]) -> NDArray[Any]:
        cameras = replica.unwrapped.task.cameras  # type: ignore[attr-defined]  # every env of the registry has it
        frames = []
        for seed, chunk in zip(starts.seeds.tolist(), chunks, strict=False):
            replica.reset(seed=seed)
            seen = replica.step(chunk)[0]
            frames.append(np.stack([seen[camera] for camera in cameras]))
        return np.stack(frames).astype(np.float64)

    return played


def _other_than(arm: str) -> str:
    return next(one for one in ARMS if one != arm)
