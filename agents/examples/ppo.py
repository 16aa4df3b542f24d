"""PPO in one file on the batched dream, images and all: what it learns is where to bend a policy's chunks to.

The env is Gymnasium's `VectorEnv` and resets rows in the step in which they end. A horizon is no end of the task: the
value of what was seen there is added to its reward; only success ends a return.

    python -m rise_gym.agents.examples.ppo --iterations 4
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
import tyro
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Normal

from rise_gym.agents.flow_policy import load_policy


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """How long, how much at once, how fast.

    Attributes:
        env_id: what is dreamt. world_model: default, the bundled one. seed: row i begins with `seed + i`.
        policy: whose chunks are bent; "" bends holding still, that is, learns from scratch, which takes long.
        num_envs: rows of the batch. num_steps: chunks of each between two updates. iterations: updates.
        epochs, minibatches: of an update. learning_rate: of Adam.
        gamma, gae_lambda: of the advantage estimate. clip: of the ratio. value_weight: of the value's loss.
        spread: standard deviation of where chunks end, in scaled targets (a joint's range is 2).
        measured_chunks: of each row, to tell what was gained.
    """

    env_id: str = "RiseImagined-BoxClose-v0"
    world_model: str | None = None
    policy: str = "bundled:box_close/base"
    seed: int = 0
    num_envs: int = 8
    num_steps: int = 8
    iterations: int = 4
    epochs: int = 4
    minibatches: int = 4
    learning_rate: float = 3e-4
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.2
    value_weight: float = 0.5
    spread: float = 0.03
    measured_chunks: int = 4


class ActorCritic(nn.Module):
    """Three pictures, the joints and the proposal's end -> how far to bend, in units of the spread, and a value."""

    def __init__(self, views: int, joints: int) -> None:
        super().__init__()
        self.pictures = nn.Sequential(
            nn.Conv2d(3 * views, 16, 8, stride=4), nn.ReLU(), nn.Conv2d(16, 32, 4, stride=2), nn.ReLU(), nn.Flatten()
        )
        self.joined = nn.Sequential(nn.LazyLinear(64), nn.Tanh())
        self.mean, self.value = nn.Linear(64, joints), nn.Linear(64, 1)
        nn.init.zeros_(self.mean.weight)  # begins as the policy itself
        nn.init.zeros_(self.mean.bias)

    def forward(self, pictures: Tensor, numbers: Tensor) -> tuple[Normal, Tensor]:
        """uint8 (B, H, W, 3 views) and (B, 2 A) -> a distribution over (B, A), values (B,)."""
        seen = self.pictures(pictures.movedim(-1, 1).float() / 255)
        hidden = self.joined(torch.cat([seen, numbers], dim=1))
        return Normal(self.mean(hidden), 1.0), self.value(hidden)[:, 0]


class Chunks:
    """The dream as the network meets it: observations become tensors, and small actions (A,) become chunks (K, A)."""

    def __init__(self, dreams: Any, policy: Any, spread: float) -> None:
        self.dreams, self.policy, self.spread = dreams, policy, spread
        self.task, self.chunk = dreams.unwrapped.task, dreams.unwrapped.chunk

    def look(self, observation: dict[str, NDArray[Any]]) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (B, H, W, 3 views), numbers (B, 2 A) and proposed chunks (B, K, A)."""
        pictures = np.concatenate([observation[camera] for camera in self.task.cameras], axis=-1)
        joints = self.task.scale_action(observation["proprio"]).clip(-1, 1)
        chunks = np.repeat(joints[:, None], self.chunk, axis=1)
        if self.policy is not None:
            chunks = self.policy.act(observation, [self.task.instruction] * len(joints))[:, : self.chunk]
        numbers = np.concatenate([joints, chunks[:, -1]], axis=1)
        return torch.from_numpy(pictures), torch.from_numpy(numbers), torch.from_numpy(chunks)

    def step(self, chunks: Tensor, actions: Tensor) -> Any:
        share = torch.linspace(1 / self.chunk, 1, self.chunk)[:, None]
        return self.dreams.step((chunks + share * self.spread * actions[:, None]).clamp(-1, 1).numpy())


@torch.no_grad()
def collected(
    chunks: Chunks, network: ActorCritic, observation: Any, config: PPOConfig
) -> tuple[dict[str, Tensor], Any]:
    """One rollout, (T, N, ...) each, with advantages and returns; and where it stands."""
    steps: list[dict[str, Tensor]] = []
    for _ in range(config.num_steps):
        pictures, numbers, proposal = chunks.look(observation)
        distribution, value = network(pictures, numbers)
        action = distribution.sample()
        observation, reward, terminated, truncated, info = chunks.step(proposal, action)
        reward = torch.from_numpy(reward).float()
        for row in np.flatnonzero(truncated):
            last = {name: array[None] for name, array in info["final_obs"][row].items()}
            reward[row] += config.gamma * network(*chunks.look(last)[:2])[1][0]
        steps.append(
            {
                "pictures": pictures,
                "numbers": numbers,
                "action": action,
                "log_prob": distribution.log_prob(action).sum(1),
                "value": value,
                "reward": reward,
                "goes_on": torch.from_numpy(~(terminated | truncated)).float(),
            }
        )
    rollout = {name: torch.stack([step[name] for step in steps]) for name in steps[0]}
    following = network(*chunks.look(observation)[:2])[1]
    rollout["advantage"] = estimated(rollout, following, config)
    rollout["return"] = rollout["advantage"] + rollout["value"]
    return rollout, observation


def estimated(rollout: dict[str, Tensor], following: Tensor, config: PPOConfig) -> Tensor:
    """Generalized advantage estimates (T, N), from the last step to the first."""
    advantage = torch.zeros_like(rollout["reward"])
    later = torch.zeros_like(following)
    for step in reversed(range(len(advantage))):
        surprise = (
            rollout["reward"][step] + config.gamma * rollout["goes_on"][step] * following - rollout["value"][step]
        )
        later = surprise + config.gamma * config.gae_lambda * rollout["goes_on"][step] * later
        advantage[step], following = later, rollout["value"][step]
    return advantage


def update(
    network: ActorCritic, optimizer: torch.optim.Optimizer, rollout: dict[str, Tensor], config: PPOConfig
) -> None:
    """Clipped policy gradient and value regression on shuffled minibatches."""
    rows = {name: values.flatten(0, 1) for name, values in rollout.items()}
    for _ in range(config.epochs):
        for part in torch.randperm(len(rows["return"])).chunk(config.minibatches):
            batch = {name: values[part] for name, values in rows.items()}
            distribution, value = network(batch["pictures"], batch["numbers"])
            ratio = (distribution.log_prob(batch["action"]).sum(1) - batch["log_prob"]).exp()
            advantage = (batch["advantage"] - batch["advantage"].mean()) / (batch["advantage"].std() + 1e-8)
            clipped = ratio.clamp(1 - config.clip, 1 + config.clip)
            loss = -torch.minimum(ratio * advantage, clipped * advantage).mean()
            loss = loss + config.value_weight * (value - batch["return"]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 0.5)
            optimizer.step()


@torch.no_grad()
def measured(chunks: Chunks, network: ActorCritic, config: PPOConfig) -> NDArray[np.float64]:
    """Progress gained by each row (N,) without exploring, from starts not learnt from; the same at every call."""
    observation, _ = chunks.dreams.reset(seed=10_000)
    gained = np.zeros(config.num_envs)
    for _ in range(config.measured_chunks):
        pictures, numbers, proposal = chunks.look(observation)
        observation, reward, *_ = chunks.step(proposal, network(pictures, numbers)[0].mean)
        gained += reward
    return gained


def main(config: PPOConfig) -> None:
    torch.manual_seed(config.seed)
    dreams: Any = gymnasium.make_vec(
        config.env_id, num_envs=config.num_envs, autoreset_mode="SameStep", world_model=config.world_model
    )
    policy = load_policy(config.policy, task=dreams.task.name) if config.policy else None
    chunks = Chunks(RecordEpisodeStatistics(dreams), policy, config.spread)
    network = ActorCritic(len(chunks.task.cameras), len(chunks.task.action_names))
    before = measured(chunks, network, config)  # the first forward also sizes the network
    optimizer = torch.optim.Adam(network.parameters(), config.learning_rate)
    observation, _ = chunks.dreams.reset(seed=config.seed)
    for iteration in range(config.iterations):
        rollout, observation = collected(chunks, network, observation, config)
        update(network, optimizer, rollout, config)
        print(f"update {iteration}: progress gained a chunk {rollout['reward'].mean():+.4f}", flush=True)
    gained = measured(chunks, network, config) - before
    error = gained.std() / np.sqrt(len(gained))
    print(
        f"imagined progress in {config.measured_chunks} chunks: {before.mean():+.4f}, and {gained.mean():+.4f} "
        f"± {error:.4f} by learning from {config.iterations * config.num_steps * config.num_envs} chunks"
    )


if __name__ == "__main__":
    main(tyro.cli(PPOConfig, description=__doc__))
