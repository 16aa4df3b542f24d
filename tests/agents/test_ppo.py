"""PPO: its arithmetic by hand, that it learns, what it leaves alone, and that a killed run comes to the same end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_env import FakeEnv

from rise_gym.agents.flow_policy import FlowPolicy, FlowPolicyConfig, load_policy, save_policy
from rise_gym.agents.policy_gradient import ChunkGaussian, clipped_surrogate, generalised_advantages
from rise_gym.agents.ppo import PpoConfig, learn_ppo
from rise_gym.collection import ExplorationNoise, ReservedSeed
from rise_gym.errors import InvalidCheckpoint, UnsuitableEnv
from rise_gym.tasks import BOX_CLOSE

NARROW = FlowPolicyConfig(channels=(2, 4, 4), grid_channels=2, context_width=16, head_width=32, head_blocks=1)
WIDE_NOISE = ExplorationNoise(joint_rad=0.5, gripper_m=0.01)


def narrow_policy(chunk: int | None = None) -> FlowPolicy:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FlowPolicy.of(NARROW, BOX_CLOSE, chunk=chunk).eval()


def config(episodes: int = 4, **changes: Any) -> PpoConfig:
    small = {"episodes_per_rollout": 2, "updates": 3, "batch_size": 4, "learning_rate": 1e-3, "critic_width": 8}
    return PpoConfig(**{"episodes": episodes, "critic_rollouts": 0, "kl_limit": 10.0, **small, **changes})


def test_advantages_by_hand() -> None:
    rewards, values = torch.tensor([1.0, 0.0, 2.0]), torch.tensor([0.5, 1.0, 0.0, 4.0])
    # surprises with gamma 0.5: 1 + 0.5 - 0.5 = 1; 0 + 0 - 1 = -1; 2 + 2 - 0 = 4; each following counts 0.5 · 0.5
    expected = [1 + 0.25 * (-1 + 0.25 * 4), -1 + 0.25 * 4, 4.0]
    assert generalised_advantages(rewards, values, 0.5, 0.5).tolist() == pytest.approx(expected)


def test_surrogate_by_hand() -> None:
    ratio, advantages = torch.tensor([1.5, 0.5, 1.5, 0.5]), torch.tensor([1.0, 1.0, -1.0, -1.0])
    # a gain counts up to 1.2, a loss that was made likelier counts in full, one made less likely down to 0.8
    assert float(clipped_surrogate(ratio.log(), advantages, 0.2)) == pytest.approx(-(1.2 + 0.5 - 1.5 - 0.8) / 4)


def test_the_gaussian_is_smooth_and_inverts() -> None:
    gaussian = ChunkGaussian(ExplorationNoise(), BOX_CLOSE, 10)
    standard = torch.randn(20_000, 10, 14, generator=torch.Generator().manual_seed(0))
    deviation = gaussian.deviation(standard)
    torch.testing.assert_close(gaussian.standard(deviation), standard, atol=1e-4, rtol=1e-4)
    scaled = deviation / torch.from_numpy(ExplorationNoise().scaled(BOX_CLOSE)).float()
    neighbours = (scaled[:, 1:] * scaled[:, :-1]).mean()
    assert float(scaled.std()) == pytest.approx(1, abs=0.01)
    assert float(neighbours) == pytest.approx(ExplorationNoise().kept(BOX_CLOSE), abs=0.01)


def test_it_learns_what_is_rewarded(tmp_path: Path) -> None:
    """In this env the first joint's target is what an episode gains."""
    policy, returns = narrow_policy(chunk=2), list[float]()
    constants = config(
        32, episodes_per_rollout=8, updates=25, batch_size=64, learning_rate=3e-3, exploration=WIDE_NOISE,
        critic_rollouts=1,
    )  # fmt: skip
    learnt = learn_ppo(
        policy, FakeEnv(chunk=2), constants, tmp_path,
        on_episode=lambda _, figures: returns.append(figures["episode/return"]),
    )  # fmt: skip
    observation, _ = FakeEnv().reset(seed=0)
    batch = {name: value[None] for name, value in observation.items()}
    before, after = (one.act(batch, [BOX_CLOSE.instruction])[0, :, 0].mean() for one in (policy, learnt))
    assert after > before + 0.1
    assert np.mean(returns[24:]) > np.mean(returns[:8]) + 0.2


def test_only_the_head_of_a_copy_changes(tmp_path: Path) -> None:
    policy = narrow_policy()
    untouched = {name: value.clone() for name, value in policy.state_dict().items()}
    learnt = learn_ppo(policy, FakeEnv(), config(), tmp_path)
    changed = {name for name, value in learnt.state_dict().items() if not torch.equal(value, untouched[name])}
    assert changed
    assert all(name.startswith("head.") for name in changed)
    assert all(torch.equal(value, untouched[name]) for name, value in policy.state_dict().items())
    assert all(parameter.requires_grad for parameter in learnt.parameters())


def test_the_critic_comes_first_and_divergence_ends_a_stage(tmp_path: Path) -> None:
    policy = narrow_policy()
    weights = policy.state_dict()
    first = learn_ppo(policy, FakeEnv(), config(2, critic_rollouts=1), tmp_path / "first")
    assert all(torch.equal(value, weights[name]) for name, value in first.state_dict().items())
    short = learn_ppo(policy, FakeEnv(), config(2, kl_limit=1e-12, updates=1), tmp_path / "one")
    stopped = learn_ppo(policy, FakeEnv(), config(2, kl_limit=1e-12, updates=9), tmp_path / "nine")
    torch.testing.assert_close(stopped.head.state_dict(), short.head.state_dict(), rtol=0, atol=0)


def test_a_killed_run_comes_to_the_same_weights(tmp_path: Path, dying_after: Callable[[int], Any]) -> None:
    policy = narrow_policy()
    whole = learn_ppo(policy, FakeEnv(), config(6), tmp_path / "whole")
    with pytest.raises(RuntimeError, match="killed"):
        learn_ppo(policy, FakeEnv(), config(6), tmp_path / "killed", on_episode=dying_after(3))
    seen: list[int] = []
    resumed = learn_ppo(
        policy, FakeEnv(), config(6), tmp_path / "killed", on_episode=lambda count, _: seen.append(count)
    )
    assert seen == [3, 4, 5, 6]  # the rollout that was under way is played again
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)


def test_a_run_of_other_settings_or_another_policy_is_refused(tmp_path: Path) -> None:
    policy = narrow_policy()
    learn_ppo(policy, FakeEnv(), config(2), tmp_path)
    with pytest.raises(InvalidCheckpoint, match="other settings"):
        learn_ppo(policy, FakeEnv(), config(2, clip=0.3), tmp_path)
    with torch.no_grad():
        policy.head.gain.bias += 1
    with pytest.raises(InvalidCheckpoint, match="another policy"):
        learn_ppo(policy, FakeEnv(), config(2), tmp_path)


def test_the_result_is_an_ordinary_checkpoint(tmp_path: Path) -> None:
    learnt = learn_ppo(narrow_policy(), FakeEnv(), config(2), tmp_path / "run")
    save_policy(tmp_path / "checkpoint", learnt)
    observation, _ = FakeEnv().reset(seed=0)
    batch = {name: value[None] for name, value in observation.items()}
    acts = [one.act(batch, [BOX_CLOSE.instruction]) for one in (learnt, load_policy(tmp_path / "checkpoint"))]
    np.testing.assert_allclose(acts[0], acts[1], atol=5e-3)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsuitableEnv, match="make it with chunk=5"):
        learn_ppo(narrow_policy(chunk=5), FakeEnv(), config(), tmp_path)
    with pytest.raises(ReservedSeed):
        PpoConfig(first_seed=99_999, episodes=2)
    with pytest.raises(ValueError, match="clip"):
        PpoConfig(clip=0.0)
