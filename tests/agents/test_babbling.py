"""Motor babbling: one part of the robot at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Generator

from rise_gym.agents.babbling import BabblingAgent
from rise_gym.tasks import BACKPACK_PACK, BOX_CLOSE, BRICK_SORT, TaskCard

PARTS = {"left arm": range(6), "left hand": range(6, 7), "right arm": range(7, 13), "right hand": range(13, 14)}


def babbled(task: TaskCard, share: float, seed: int, rows: int = 1) -> tuple[NDArray[Any], NDArray[Any]]:
    """How far each joint is told to go, in its units (B, K, A), and where it was (A,)."""
    pose = task.unscale_action(np.full(14, 2 * share - 1)).astype(np.float32)
    observation = {"proprio": np.repeat(pose[None], rows, axis=0)}
    generators = [Generator().manual_seed(seed + row) for row in range(rows)]
    chunks = BabblingAgent(task).act(observation, [task.instruction] * rows, generator=generators)
    assert chunks.shape == (rows, task.chunk, 14)
    assert chunks.dtype == np.float32
    assert np.abs(chunks).max() <= 1
    return task.unscale_action(chunks) - pose, pose


def moved(told: NDArray[Any]) -> set[str]:
    joints = set(np.flatnonzero(np.abs(told).max(0) > 1e-4).tolist())
    return {name for name, part in PARTS.items() if joints & set(part)}


@given(task=st.sampled_from([BOX_CLOSE, BRICK_SORT, BACKPACK_PACK]), share=st.floats(0, 1), seed=st.integers(0, 2**31))
def test_at_most_one_part_moves_and_none_jumps_back(task: TaskCard, share: float, seed: int) -> None:
    told, _ = babbled(task, share, seed)
    assert len(moved(told[0])) <= 1
    assert (np.diff(np.abs(told[0]), axis=0) >= -1e-5).all()  # straight to the target, and held there


def test_every_part_has_its_turn_and_so_has_stillness() -> None:
    told, _ = babbled(BOX_CLOSE, 0.5, seed=0, rows=300)
    seen = [moved(one) for one in told]
    for part in PARTS:
        assert 0.1 < np.mean([part in one for one in seen]) < 0.3
    assert 0.1 < np.mean([not one for one in seen]) < 0.35


def test_hands_are_told_to_shut_and_to_open_fully() -> None:
    told, pose = babbled(BOX_CLOSE, 0.5, seed=0, rows=300)
    ends = (told + pose)[:, -1, PARTS["left hand"][0]]
    assert np.isclose(ends, BOX_CLOSE.action_low[6], atol=1e-5).any()
    assert np.isclose(ends, BOX_CLOSE.action_high[6], atol=1e-5).any()


def test_a_row_is_the_same_alone_and_in_a_batch() -> None:
    together, _ = babbled(BOX_CLOSE, 0.3, seed=5, rows=4)
    for row in range(4):
        np.testing.assert_array_equal(together[row], babbled(BOX_CLOSE, 0.3, seed=5 + row)[0][0])


def test_one_arm_without_sides_is_one_part() -> None:
    names = ("shoulder_rad", "elbow_rad", "gripper_m")
    task = TaskCard.from_dict(
        {
            **BOX_CLOSE.to_dict(), "name": "one_arm", "action_names": names, "proprio_names": names,
            "action_low": (-1.0, -1.0, 0.0), "action_high": (1.0, 1.0, 0.08),
        }
    )  # fmt: skip
    poses = {"proprio": np.tile(np.float32([0.1, -0.2, 0.04]), (200, 1))}
    chunks = BabblingAgent(task, seed=3).act(poses, [task.instruction] * 200)
    told = np.abs(task.unscale_action(chunks) - poses["proprio"][:, None]).max(1) > 1e-4
    assert not (told[:, :2].any(1) & told[:, 2]).any()
    assert told[:, :2].any()
    assert told[:, 2].any()


@pytest.mark.parametrize("seed", [0, 1])
def test_without_a_generator_its_own_seed_counts(seed: int) -> None:
    poses = {"proprio": np.zeros((3, 14), np.float32)}
    first, again, other = (
        BabblingAgent(BOX_CLOSE, seed=one).act(poses, [BOX_CLOSE.instruction] * 3) for one in (seed, seed, seed + 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_it_can_be_seeded_again() -> None:
    agent, poses = BabblingAgent(BOX_CLOSE, seed=5), {"proprio": np.zeros((3, 14), np.float32)}
    first = agent.act(poses, [BOX_CLOSE.instruction] * 3)
    agent.seed(5)
    np.testing.assert_array_equal(first, agent.act(poses, [BOX_CLOSE.instruction] * 3))
