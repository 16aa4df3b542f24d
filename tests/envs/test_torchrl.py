"""TorchRL's `GymWrapper` around the dream, single and batched: what a person who trains with TorchRL does first."""

from __future__ import annotations

import importlib
import multiprocessing
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from rise_gym.envs.imagined import ImaginedEnv
from rise_gym.envs.vector import ImaginedVectorEnv
from rise_gym.starts import Starts

DREAM_ID = "RiseImagined-BoxClose-v0"
HORIZON_S = 2.0  # two steps


@pytest.fixture(scope="module")
def torchrl() -> Iterator[Any]:
    """`torchrl.envs`; importing it sets how new processes start, which is put back for the tests that follow."""
    before = multiprocessing.get_start_method(allow_none=True)
    yield importlib.import_module("torchrl.envs")
    multiprocessing.set_start_method(before, force=True)


def numbers(rollout: Any, name: str) -> Any:
    """A column of what each step gave, without TorchRL's last axis of length 1."""
    return rollout["next", name].squeeze(-1)


def still(*observation: torch.Tensor) -> torch.Tensor:
    """A policy that asks for the middle of all ranges; TorchRL hands it each part of the observation."""
    return torch.zeros(10, 14)


def test_specs_and_a_rollout_to_the_horizon(torchrl: Any, tiny_kwargs: dict[str, Any]) -> None:
    env = torchrl.GymWrapper(gymnasium.make(DREAM_ID, **tiny_kwargs, horizon_s=HORIZON_S))
    torchrl.check_env_specs(env)
    assert (env.action_spec.shape, env.action_spec.dtype) == ((10, 14), torch.float32)
    assert (env.action_spec.space.low.unique().tolist(), env.action_spec.space.high.unique().tolist()) == ([-1], [1])
    assert set(env.observation_spec.keys()) == {"head", "left_wrist", "right_wrist", "proprio"}
    rollout = env.rollout(5)
    assert rollout["action"].shape == (2, 10, 14)
    assert (rollout["next", "head"].shape, rollout["next", "head"].dtype) == ((2, 64, 64, 3), torch.uint8)
    assert numbers(rollout, "truncated").tolist() == [False, True]
    assert not rollout["next", "terminated"].any()  # the horizon is no death


def test_success_is_an_end(torchrl: Any, counting_world: Callable[..., Any], counting_starts: Starts) -> None:
    starts = counting_starts.rows([6])  # of progress 0.6, and a step gains 0.1
    env = torchrl.GymWrapper(ImaginedEnv(world_model=counting_world(), starts=starts, horizon_s=10.0))
    rollout = env.rollout(10, still)
    assert numbers(rollout, "terminated").tolist() == [False, False, False, True]
    assert not rollout["next", "truncated"].any()
    torch.testing.assert_close(numbers(rollout, "reward"), torch.full((4,), 0.1))


def test_frames_and_rewards_are_those_without_it_beyond_a_reset(torchrl: Any, tiny_kwargs: dict[str, Any]) -> None:
    wrapped, plain = (gymnasium.make(DREAM_ID, **tiny_kwargs, horizon_s=HORIZON_S) for _ in range(2))
    env = torchrl.GymWrapper(wrapped)
    env.set_seed(3)  # TorchRL resets with it, and once more when a rollout begins
    rollout = env.rollout(5, break_when_any_done=False)
    assert numbers(rollout, "done").tolist() == [False, True, False, True, False]
    plain.reset(seed=3)
    observation, _ = plain.reset()
    for step in rollout:
        np.testing.assert_array_equal(step["head"].numpy(), observation["head"])
        observation, reward, _, _, _ = plain.step(step["action"].numpy())
        np.testing.assert_array_equal(step["next", "head"].numpy(), observation["head"])
        assert float(step["next", "reward"]) == np.float32(reward)
        if step["next", "done"]:
            observation, _ = plain.reset()


def batch_of(world: Any, starts: Starts, mode: str) -> ImaginedVectorEnv:
    """Two rows; those that begin at progress 0.6 succeed before the horizon, others do not."""
    return ImaginedVectorEnv(2, world_model=world, starts=starts, horizon_s=5.0, autoreset_mode=mode)


def test_rows_of_a_batch_end_and_begin_apart(
    torchrl: Any, counting_world: Callable[..., Any], counting_starts: Starts
) -> None:
    world, starts = counting_world(noise=1.0), counting_starts.rows([0, 6])
    env, plain = torchrl.GymWrapper(batch_of(world, starts, "Disabled")), batch_of(world, starts, "Disabled")
    torchrl.check_env_specs(env)
    env.set_seed(1)
    rollout = env.rollout(12, break_when_any_done=False)
    assert (numbers(rollout, "terminated") != numbers(rollout, "terminated")[[1, 0]]).any()  # one ends, one goes on
    assert numbers(rollout, "truncated").any()
    plain.reset(seed=1)
    observation, _ = plain.reset()
    for step in rollout.unbind(1):
        np.testing.assert_array_equal(step["head"].numpy(), observation["head"])
        observation, reward, terminated, truncated, _ = plain.step(step["action"].numpy())
        np.testing.assert_array_equal(numbers(step, "reward").numpy(), reward.astype(np.float32))
        assert numbers(step, "terminated").tolist() == terminated.tolist()
        assert numbers(step, "truncated").tolist() == truncated.tolist()
        if (ended := terminated | truncated).any():
            observation, _ = plain.reset(options={"reset_mask": ended})


def test_torchrl_refuses_a_batch_that_resets_at_the_next_step(
    torchrl: Any, counting_world: Callable[..., Any], counting_starts: Starts
) -> None:
    with pytest.raises(RuntimeError, match="SAME_STEP or DISABLED"):
        torchrl.GymWrapper(batch_of(counting_world(), counting_starts, "NextStep"))
