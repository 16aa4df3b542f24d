"""DSRL: the noise space, that steering is learnt and the policy left alone, and that runs and checkpoints come back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_env import SINGLE_ID, FakeEnv
from stable_baselines3.common.env_checker import check_env

from rise_gym.agents.dsrl import DsrlConfig, learn_dsrl
from rise_gym.agents.flow_policy import FlowPolicy, FlowPolicyConfig, load_policy, save_policy
from rise_gym.agents.steering import NoiseSteering, SteeredPolicy, held_noise, load_agent
from rise_gym.collection import ReservedSeed
from rise_gym.errors import InvalidCheckpoint, StepOutOfOrder, UnsuitableEnv
from rise_gym.evaluation import evaluate
from rise_gym.protocols import Agent
from rise_gym.tasks import BOX_CLOSE

NARROW = FlowPolicyConfig(channels=(2, 4, 4), grid_channels=2, context_width=16, head_width=32, head_blocks=1)
TEXT = [BOX_CLOSE.instruction]


def narrow_policy(chunk: int | None = None) -> FlowPolicy:
    """Untrained: where its flow leads is about the noise itself."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FlowPolicy.of(NARROW, BOX_CLOSE, chunk=chunk).eval()


def config(episodes: int = 4, **changes: Any) -> DsrlConfig:
    small = {"updates_per_episode": 3, "batch_size": 8, "widths": (16,), "seed_fraction": 0.25}
    return DsrlConfig(**{"episodes": episodes, **small, **changes})


def start() -> dict[str, Any]:
    observation, _ = FakeEnv().reset(seed=0)
    return {name: value[None] for name, value in observation.items()}


def test_the_noise_space() -> None:
    env = NoiseSteering(FakeEnv(), narrow_policy(), noise_bound=1.5, noise_ticks=2)
    assert env.action_space.shape == (28,)
    assert float(env.action_space.high.max()) == 1.5
    assert float(env.action_space.low.min()) == -1.5
    assert env.observation_space.shape == (16 + 14,)
    with pytest.raises(StepOutOfOrder, match="reset"):
        env.step(np.zeros(28, np.float32))
    seen, _ = env.reset(seed=0)
    assert seen in env.observation_space
    check_env(NoiseSteering(FakeEnv(), narrow_policy(), noise_bound=1.0), warn=False)


def test_each_noise_vector_is_held_for_its_part_of_the_chunk() -> None:
    held = held_noise(torch.arange(4.0)[None], chunk=6, noise_ticks=2)
    assert held[0].tolist() == [[0, 1]] * 3 + [[2, 3]] * 3


def test_no_noise_is_what_the_policy_does_by_itself() -> None:
    policy, alone, steered = narrow_policy(), FakeEnv(), NoiseSteering(FakeEnv(), narrow_policy())
    with torch.no_grad():
        policy.head.leave[1].bias.fill_(-0.7)
        steered.policy.load_state_dict(policy.state_dict())
    observation, _ = alone.reset(seed=3)
    steered.reset(seed=3)
    chunk = policy.act({name: value[None] for name, value in observation.items()}, TEXT)[0]
    _, reward, *_ = alone.step(chunk)
    assert steered.step(np.zeros(14, np.float32))[1] == pytest.approx(float(reward))
    agent = SteeredPolicy.on(policy, widths=[8], noise_bound=1.5, noise_ticks=1)
    assert isinstance(agent, Agent)
    np.testing.assert_array_equal(agent.act(start(), TEXT), policy.act(start(), TEXT))


def test_steering_is_learnt_and_the_policy_left_alone(tmp_path: Path) -> None:
    """In this env the first joint's target is what an episode gains, and here that is about its noise."""
    policy = narrow_policy(chunk=2)
    weights = {name: value.clone() for name, value in policy.state_dict().items()}
    constants = config(12, updates_per_episode=30, batch_size=64, learning_rate=3e-3, discount=0.9)
    agent = learn_dsrl(policy, FakeEnv(chunk=2), constants, tmp_path)
    noise = agent.noise(torch.cat([policy.perceived(start(), TEXT)[0], policy.scales.proprio(torch.zeros(1, 14))], 1))
    assert float(noise.detach().abs().max()) <= 1.5
    assert agent.act(start(), TEXT)[0, :, 0].mean() > policy.act(start(), TEXT)[0, :, 0].mean() + 0.3
    for one in (policy, agent.policy):
        torch.testing.assert_close(dict(one.state_dict()), weights, rtol=0, atol=0)
    assert not any(parameter.requires_grad for parameter in agent.policy.parameters())


def test_a_killed_run_comes_to_the_same_weights(tmp_path: Path, dying_after: Callable[[int], Any]) -> None:
    policy = narrow_policy()
    global_state = torch.get_rng_state()
    whole = learn_dsrl(policy, FakeEnv(), config(), tmp_path / "whole")
    assert torch.equal(torch.get_rng_state(), global_state)
    with pytest.raises(RuntimeError, match="killed"):
        learn_dsrl(policy, FakeEnv(), config(), tmp_path / "killed", on_episode=dying_after(3))
    seen: list[int] = []
    resumed = learn_dsrl(
        policy, FakeEnv(), config(), tmp_path / "killed", on_episode=lambda count, _: seen.append(count)
    )
    assert seen == [3, 4]
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)
    with pytest.raises(InvalidCheckpoint, match="other settings"):
        learn_dsrl(policy, FakeEnv(), config(noise_bound=1.0), tmp_path / "killed")


def test_a_large_seed_is_one_too(tmp_path: Path) -> None:
    learn_dsrl(narrow_policy(), FakeEnv(), config(1, seed=5000, updates_per_episode=1), tmp_path)


def test_checkpoints_come_back_and_can_be_evaluated(tmp_path: Path) -> None:
    agent = learn_dsrl(narrow_policy(), FakeEnv(), config(2), tmp_path / "run")
    save_policy(tmp_path / "checkpoint", agent, card="steered", extra={"replica_episodes": 2})
    assert not list(tmp_path.rglob("*.zip")) + list(tmp_path.rglob("*.p*kl"))
    loaded = load_agent(tmp_path / "checkpoint", task="box_close")
    assert isinstance(loaded, SteeredPolicy)
    assert loaded.chunk == agent.chunk
    np.testing.assert_allclose(loaded.act(start(), TEXT), agent.act(start(), TEXT), atol=5e-3)
    result = evaluate(SINGLE_ID, loaded, 2, 100_000)
    assert result["episodes"] == 2
    with pytest.raises(InvalidCheckpoint, match="can be trained was wanted"):  # it would play unsteered
        load_policy(tmp_path / "checkpoint")
    assert isinstance(load_agent(save_policy(tmp_path / "plain", narrow_policy())), FlowPolicy)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UnsuitableEnv, match="make it with chunk=5"):
        NoiseSteering(FakeEnv(), narrow_policy(chunk=5))
    with pytest.raises(ValueError, match="divides"):
        NoiseSteering(FakeEnv(), narrow_policy(), noise_ticks=3)
    other = FakeEnv()
    other.task = None  # type: ignore[assignment]
    with pytest.raises(UnsuitableEnv, match="without a task card"):
        NoiseSteering(other, narrow_policy())
    with pytest.raises(ReservedSeed):
        DsrlConfig(first_seed=99_999, episodes=2)
    with pytest.raises(ValueError, match="seed_fraction"):
        DsrlConfig(seed_fraction=0.0)
