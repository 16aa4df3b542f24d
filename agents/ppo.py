"""PPO (Schulman et al. 2017) for the flow policy, from episodes in an env that it is handed: the replica, or a robot.

A step is a chunk. The policy of the gradient is a Gaussian around the chunk that the flow policy acts with, the flow
from noise 0, with the smooth exploration that recorded rollouts have:

    a = mu(s) + sigma · L e,   e ~ N(0, I),   L L' = C,   C[k, l] = kept^|k - l|          (K ticks, alike in all joints)
    log pi(a | s) = -|z|^2 / 2 + constant,   z = L^-1 (a - mu(s)) / sigma

The paper injects noise into the denoising steps (flow-SDE), which samples what the flow samples at temperature 1.
That is no use here: a policy this small holds far more possible than its teacher did and solves no episode at
temperature 1, so nothing could be learnt from its successes. The Gaussian starts from what is deployed, its
likelihood and its KL divergence |z_new - z_old|^2 / 2 are exact, and the result is an ordinary `FlowPolicy`.

Only the head learns, as in the paper's code; so a context (B, D) is all that has to be kept of an observation.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from rise_gym.agents.flow_policy import FlowPolicy
from rise_gym.agents.interaction import (
    Curves,
    OnEpisode,
    RunState,
    check_fits,
    episode_figures,
    row_of,
    training_seeds,
)
from rise_gym.agents.policy_gradient import ChunkGaussian, clipped_surrogate, generalised_advantages
from rise_gym.agents.steering import feature_count, features_of
from rise_gym.collection import AnyEnv, ExplorationNoise
from rise_gym.errors import InvalidTraining
from rise_gym.training import fingerprint


@dataclass(frozen=True, kw_only=True)
class PpoConfig:
    """The constants.

    Attributes:
        episodes, first_seed: the budget of interaction, one env seed an episode, all below 100 000.
        episodes_per_rollout: between two training stages.
        critic_rollouts: the first rollouts teach the critic alone; advantages from none would be returns.
        exploration: standard deviations and smoothness of the Gaussian; they stay.
        discount, trace_decay: a chunk, gamma and lambda of generalised advantage estimation.
        clip: of the likelihood ratio.
        kl_limit: a training stage stops changing the policy once it has gone so far from the one that acted, in nats
            a chunk. A chunk has K · A dimensions: without it, some large steps would leave the policy far away.
        updates: gradient steps of a training stage; with 250 chunks in it 40 are ten passes. Many more only learn the
            exploration noise by heart (after 87 every ratio was clipped).
        critic_width: of its one hidden layer.
    """

    episodes: int = 80
    first_seed: int = 60_000
    episodes_per_rollout: int = 10
    critic_rollouts: int = 1
    exploration: ExplorationNoise = field(default_factory=lambda: ExplorationNoise().times(0.25))
    discount: float = 0.99
    trace_decay: float = 0.95
    clip: float = 0.2
    kl_limit: float = 0.05
    updates: int = 40
    batch_size: int = 64
    learning_rate: float = 1e-6
    critic_learning_rate: float = 1e-3
    critic_width: int = 128
    gradient_clip: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        training_seeds(self.first_seed, self.episodes)
        if min(self.episodes_per_rollout, self.updates, self.batch_size) < 1 or self.critic_rollouts < 0:
            raise InvalidTraining(f"rollouts, updates and batches are at least 1, got {self}")
        if not 0 < self.discount <= 1 or not 0 <= self.trace_decay <= 1 or self.clip <= 0 or self.kl_limit <= 0:
            raise InvalidTraining(f"discount and trace_decay are fractions, clip and kl_limit positive, got {self}")

    @property
    def rollouts(self) -> int:
        """How many training stages there are."""
        return math.ceil(self.episodes / self.episodes_per_rollout)


@dataclass(frozen=True)
class _Rollout:
    """Chunks that were taken: context (N, D), proprio (N, P), actions and deviations in their unit (N, K, A)."""

    context: Tensor
    proprio: Tensor
    actions: Tensor
    standard: Tensor
    advantages: Tensor
    returns: Tensor

    @classmethod
    def joined(cls, parts: list[_Rollout]) -> _Rollout:
        return cls(*(torch.cat(column) for column in zip(*(vars(part).values() for part in parts), strict=True)))

    def rows(self, index: Tensor) -> _Rollout:
        return _Rollout(*(column[index] for column in vars(self).values()))


class _Learner(nn.Module):
    """The policy that learns, and its critic."""

    def __init__(self, policy: FlowPolicy, config: PpoConfig) -> None:
        super().__init__()
        self.settings = config
        self.policy = policy.twin().eval().requires_grad_(False)
        self.policy.head.requires_grad_(True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            first, last = nn.Linear(feature_count(policy), config.critic_width), nn.Linear(config.critic_width, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.critic = nn.Sequential(first, nn.SiLU(), last)
        self.gaussian = ChunkGaussian(config.exploration, policy.card, policy.chunk)
        self.policy_optimizer = torch.optim.Adam(self.policy.head.parameters(), lr=config.learning_rate)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), lr=config.critic_learning_rate)

    def chunk(self, context: Tensor, proprio: Tensor) -> Tensor:
        """mu: (B, K, A), as `act` clips it."""
        noise = torch.zeros(len(context), self.policy.chunk, self.policy.actions)
        return self.policy.flowed(noise, context, proprio).clamp(-1, 1)

    def value(self, context: Tensor, proprio: Tensor) -> Tensor:
        """The critic's discounted return (B,)."""
        return self.critic(features_of(self.policy, context, proprio))[:, 0]

    @torch.no_grad()
    def episode(self, env: AnyEnv, seed: int, generator: Generator) -> tuple[_Rollout, dict[str, float]]:
        """Act until it ends, with exploration."""
        observation, info = env.reset(seed=seed)
        instruction = [info.get("instruction", self.policy.card.instruction)]
        seen, taken, rewards = [self.policy.perceived(row_of(observation), instruction)], [], []
        terminated = truncated = False
        while not (terminated or truncated):
            standard = torch.randn(1, self.policy.chunk, self.policy.actions, generator=generator)
            actions = self.chunk(*seen[-1]) + self.gaussian.deviation(standard)
            observation, reward, terminated, truncated, info = env.step(actions[0].clamp(-1, 1).numpy())
            seen.append(self.policy.perceived(row_of(observation), instruction))
            taken.append((actions, standard))
            rewards.append(float(reward))
        context, proprio = (torch.cat(column) for column in zip(*seen, strict=True))
        values = self.value(context, proprio)
        values[-1] *= not terminated
        config = self.settings
        advantages = generalised_advantages(torch.tensor(rewards), values, config.discount, config.trace_decay)
        actions, standard = (torch.cat(column) for column in zip(*taken, strict=True))
        rollout = _Rollout(context[:-1], proprio[:-1], actions, standard, advantages, advantages + values[:-1])
        return rollout, episode_figures(sum(rewards), info)

    def train_on(self, rollout: _Rollout, critic_only: bool, generator: Generator) -> dict[str, float]:
        """A training stage; both see the same batches."""
        config, count = self.settings, len(rollout.returns)
        spread = rollout.advantages.std(correction=0).clamp(min=1e-6)
        normal = (rollout.advantages - rollout.advantages.mean()) / spread
        moving, figures = not critic_only, dict[str, float]()
        for _ in range(config.updates):
            index = torch.randint(count, (min(config.batch_size, count),), generator=generator)
            batch = rollout.rows(index)
            error = (self.value(batch.context, batch.proprio) - batch.returns).square().mean()
            _descend(error, self.critic, self.critic_optimizer, config.gradient_clip)
            figures["loss/critic"] = float(error.detach())
            if moving:
                moving = self._improve(batch, normal[index], figures)
        return {**figures, "policy/updates": figures.get("policy/updates", 0.0)}

    def _improve(self, batch: _Rollout, advantages: Tensor, figures: dict[str, float]) -> bool:
        """One step of the policy, unless it has gone far enough; says whether it has not."""
        now = self.gaussian.standard(batch.actions - self.chunk(batch.context, batch.proprio))
        log_ratio = (batch.standard.square() - now.square()).sum((1, 2)) / 2
        figures["policy/kl"] = float((now - batch.standard).square().sum((1, 2)).mean().detach()) / 2
        figures["policy/clipped"] = float(((log_ratio.exp() - 1).abs() > self.settings.clip).float().mean())
        if figures["policy/kl"] > self.settings.kl_limit:
            return False
        loss = clipped_surrogate(log_ratio, advantages, self.settings.clip)
        _descend(loss, self.policy.head, self.policy_optimizer, self.settings.gradient_clip)
        figures["policy/updates"] = figures.get("policy/updates", 0.0) + 1
        return True


def _descend(loss: Tensor, module: nn.Module, optimizer: torch.optim.Optimizer, gradient_clip: float) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(module.parameters(), gradient_clip)
    optimizer.step()


def learn_ppo(
    policy: FlowPolicy,
    env: AnyEnv,
    config: PpoConfig,
    folder: str | Path,
    *,
    on_episode: OnEpisode | None = None,
) -> FlowPolicy:
    """Improve a policy by acting in an env; a run in `folder` goes on after its last finished rollout.

    Args:
        policy: where to start from; left as it is.
        env: of the policy's task, whose steps are its chunks.
        config: the constants.
        folder: the run's state and TensorBoard curves, a point an episode.
        on_episode: called with the number of episodes and figures of the last one.

    Returns:
        The improved policy in eval mode.

    Raises:
        UnsuitableEnv: if the env is another task's or takes other chunks.
        InvalidCheckpoint: if the folder holds another run.
    """
    check_fits(env, policy)
    learner = _Learner(policy, config)
    state = RunState(
        Path(folder),
        {"policy": fingerprint(policy), **asdict(config)},
        {"learner": learner},
        {"policy": learner.policy_optimizer, "critic": learner.critic_optimizer},
    )
    done, _ = state.restore()
    with Curves(folder, on_episode) as curves:
        while done < config.episodes:
            generator = Generator().manual_seed(config.seed * 1_000_003 + done)
            seeds = training_seeds(config.first_seed, config.episodes)[done : done + config.episodes_per_rollout]
            parts = []
            for episode, seed in enumerate(seeds, start=done + 1):
                part, figures = learner.episode(env, seed, generator)
                parts.append(part)
                curves.episode(episode, figures)
            critic_only = done < config.critic_rollouts * config.episodes_per_rollout
            done += len(seeds)
            curves.training(done, learner.train_on(_Rollout.joined(parts), critic_only, generator))
            state.save(done)
    return learner.policy.requires_grad_(True).eval()
