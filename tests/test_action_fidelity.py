"""A gate on every bundled world model: what one arm is told shows where that arm is, and nowhere else.

From the beginnings of recorded episodes, where neither arm is in the other's sight, each is dreamt twice with the same
noise: everything held still, and one thing commanded otherwise. The limits, in words:

- An arm told to move by a quarter of a radian in two joints is expected to have moved them by 0.15 rad at least, and
  its wrist's picture changes by 4 grey levels of 255 at least. The other arm's joints move by 0.02 rad at most, and its
  wrist's picture changes by at most a fifth as much.
- A gripper told to open to 8 cm, or to shut, is expected within 1 cm of that, the other stays within 0.5 cm. Its own
  wrist's picture changes by half a grey level at least, the other's by at most half as much as its own.
- What such a command changes in its own wrist's picture goes together with what it truly changes in the replica, at a
  correlation of 0.5 at least (only where OpenGL is there).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Generator

from rise_gym.errors import InvalidCheckpoint, RenderingUnavailable
from rise_gym.locations import resolve
from rise_gym.metrics import difference_correlation
from rise_gym.starts import Starts
from rise_gym.tasks import ARMS, TASKS
from rise_gym.world_model import CompositionalWorldModel

STARTS, TRUE_STARTS = 8, 3
MOVED_RAD, OPEN_M = 0.25, 0.08
LEFT_HAND = (
    "the bundled box dream draws commands to the left gripper in the right wrist's picture as well: that gripper is "
    "never wide open in its recordings but for 40 episodes of random targets, and all views hear of it through the one "
    "embedding of all actions"
)
KNOWN_FAILURES = {("box_close", "left", "open"): LEFT_HAND, ("box_close", "left", "shut"): LEFT_HAND}


def bundled_tasks() -> list[str]:
    """Tasks that a world model is bundled for."""
    found = []
    for task in TASKS:
        try:
            resolve(f"bundled:{task}/world_model")
        except InvalidCheckpoint:
            continue
        found.append(task)
    return found


@dataclass(frozen=True, kw_only=True)
class Dreams:
    """What a world model dreams in one chunk from each start; `moved` by names of commands."""

    model: CompositionalWorldModel
    starts: Starts

    def commanded(self, targets: dict[str, float], *, by: bool = False) -> NDArray[np.float32]:
        """Chunks (S, K, A) that hold still but for joints led to `targets`, or on `by` so much, within half of it."""
        card, pose = self.model.task, self.starts.proprio.astype(np.float64)
        chunks = np.repeat(pose[:, None], card.chunk, axis=1)
        share = np.minimum(1, np.arange(1, card.chunk + 1) / (card.chunk / 2))
        for name, target in targets.items():
            joint = card.action_names.index(name)
            goal = np.clip(pose[:, joint] + target if by else target, card.action_low[joint], card.action_high[joint])
            chunks[:, :, joint] += share * (goal - pose[:, joint])[:, None]
        return card.scale_action(chunks).clip(-1, 1)

    def dreamt(self, chunks: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Last frames (S, V, H, W, 3) and proprioception (S, P), always of the same noise."""
        begun = self.model.begin(
            torch.from_numpy(self.starts.frames), torch.from_numpy(self.starts.proprio), self.starts.instruction
        )
        noise = [Generator().manual_seed(1) for _ in chunks]
        _, imagined = self.model.imagine(begun, torch.from_numpy(chunks), generator=noise)
        frames = self.model.decode(imagined.latents[:, -1]).numpy()
        return frames.astype(np.float64), imagined.proprio[:, -1].numpy()


@cache
def dreams_of(task: str) -> Dreams:
    env: Any = gymnasium.make(f"RiseImagined-{TASKS[task].title}-v0").unwrapped
    rows = env.starts.initial[:STARTS]
    return Dreams(model=env.world_model, starts=env.starts.rows(rows))


@cache
def still(task: str) -> tuple[NDArray[Any], NDArray[Any]]:
    dreams = dreams_of(task)
    return dreams.dreamt(dreams.commanded({}))


def other_than(arm: str) -> str:
    return next(one for one in ARMS if one != arm)


def command(task: str, arm: str, hand: str) -> NDArray[np.float32]:
    return dreams_of(task).commanded({f"{arm}_gripper_m": OPEN_M if hand == "open" else 0.0})


def wrist_changes(task: str, arm: str, frames: NDArray[Any]) -> tuple[float, float]:
    """Grey levels by which the wrist pictures of that arm and of the other differ from those of a robot held still."""
    cameras = TASKS[task].cameras
    apart = np.abs(frames - still(task)[0]).mean((0, 2, 3, 4))  # (V,)
    own, others = (float(apart[cameras.index(f"{one}_wrist")]) for one in (arm, other_than(arm)))
    return own, others


def joints_of(task: str, arm: str) -> list[int]:
    names = TASKS[task].proprio_names
    return [n for n, name in enumerate(names) if name.startswith(arm) and name.endswith("_rad")]


ARM_CASES = [pytest.param(task, arm, id=f"{task}-{arm}") for task in bundled_tasks() for arm in ARMS]
HAND_CASES = [(task, arm, hand) for task in bundled_tasks() for arm in ARMS for hand in ("open", "shut")]


def hands(known_failures: dict[tuple[str, str, str], str]) -> list[Any]:
    """Every hand, open and shut; the cases that are known to fail have to go on failing until they are taken out."""
    return [
        pytest.param(
            *case,
            id="-".join(case),
            marks=[pytest.mark.xfail(strict=True, reason=known_failures[case])] if case in known_failures else [],
        )
        for case in HAND_CASES
    ]


def test_there_is_a_bundled_world_model() -> None:
    assert "box_close" in bundled_tasks()


@pytest.mark.parametrize(("task", "arm"), ARM_CASES)
def test_a_moved_arm_moves_alone(task: str, arm: str) -> None:
    outward = MOVED_RAD if arm == "left" else -MOVED_RAD
    dreams, moving = dreams_of(task), {f"{arm}_joint1_rad": outward, f"{arm}_joint2_rad": MOVED_RAD}
    frames, proprio = dreams.dreamt(dreams.commanded(moving, by=True))
    apart = np.abs(proprio - still(task)[1]).mean(0)
    told = [TASKS[task].proprio_names.index(name) for name in moving]
    assert apart[told].min() >= 0.15
    assert apart[joints_of(task, other_than(arm))].max() <= 0.02
    own, others = wrist_changes(task, arm, frames)
    assert own >= 4
    assert others <= own / 5


@pytest.mark.parametrize(("task", "arm", "hand"), HAND_CASES)
def test_a_hand_is_expected_where_it_was_told_to_be(task: str, arm: str, hand: str) -> None:
    proprio = dreams_of(task).dreamt(command(task, arm, hand))[1]
    names = TASKS[task].proprio_names
    own, others = (names.index(f"{one}_gripper_m") for one in (arm, other_than(arm)))
    assert np.abs(proprio[:, own] - (OPEN_M if hand == "open" else 0.0)).max() <= 0.01
    assert np.abs(proprio[:, others] - still(task)[1][:, others]).max() <= 0.005


@pytest.mark.parametrize(("task", "arm", "hand"), hands(KNOWN_FAILURES))
def test_a_hand_is_seen_by_its_own_wrist(task: str, arm: str, hand: str) -> None:
    own, others = wrist_changes(task, arm, dreams_of(task).dreamt(command(task, arm, hand))[0])
    assert own >= 0.5
    assert others <= own / 2


@pytest.fixture(scope="module")
def true_frames() -> Callable[[str, NDArray[np.float32]], NDArray[Any]]:
    """Last frames (n, V, H, W, 3) of the replica, from the first starts on under their chunks (n, K, A)."""
    made: dict[str, Any] = {}

    def played(task: str, chunks: NDArray[np.float32]) -> NDArray[Any]:
        starts, cameras = dreams_of(task).starts, TASKS[task].cameras
        try:
            if task not in made:
                made[task] = gymnasium.make(f"RiseMujoco-{TASKS[task].title}-v0", disable_env_checker=True)
            frames = []
            for seed, chunk in zip(starts.seeds.tolist(), chunks, strict=False):
                made[task].reset(seed=seed)
                seen = made[task].step(chunk)[0]
                frames.append(np.stack([seen[camera] for camera in cameras]))
        except RenderingUnavailable as error:
            pytest.skip(f"no OpenGL here: {error}")
        return np.stack(frames).astype(np.float64)

    return played


@pytest.mark.parametrize(("task", "arm", "hand"), hands({("box_close", "left", "open"): LEFT_HAND}))
def test_a_hand_changes_its_picture_as_it_truly_does(
    task: str, arm: str, hand: str, true_frames: Callable[[str, NDArray[np.float32]], NDArray[Any]]
) -> None:
    dreams, view = dreams_of(task), TASKS[task].cameras.index(f"{arm}_wrist")
    chunks = [dreams.commanded({})[:TRUE_STARTS], command(task, arm, hand)[:TRUE_STARTS]]
    dreamt = [still(task)[0], dreams.dreamt(command(task, arm, hand))[0]]
    ours = np.stack([frames[:TRUE_STARTS, view] for frames in dreamt])
    theirs = np.stack([true_frames(task, one)[:, view] for one in chunks])
    assert difference_correlation(ours, theirs) >= 0.5
