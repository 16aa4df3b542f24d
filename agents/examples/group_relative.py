"""GRPO in the dream: a group of chunks branched from one moment is judged against itself; no critic is needed.

It learns where to bend a policy's chunks to. Run it by `python -m rise_gym.agents.examples.group_relative`.
"""

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.distributions import Normal

from rise_gym.agents.flow_policy import load_policy


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """`group` branches of each of `moments`, with a new start after `chunks` of them; the rest is as in PPO."""

    env_id: str = "RiseImagined-BoxClose-v0"
    world_model: str | None = None  # the bundled one
    policy: str = "bundled:box_close/base"
    seed: int = 0
    group: int = 16
    moments: int = 12
    chunks: int = 3
    spread: float = 0.03  # of where chunks end: standard deviation in scaled targets, a joint's range is 2
    epochs: int = 4
    learning_rate: float = 0.002
    clip: float = 0.2


def proposed(dreams: Any, policy: Any, observation: Any) -> tuple[Tensor, Tensor]:
    """The policy's chunks (N, K, A), and what the bend is a function of: scaled joints and proposed end (N, 2 A)."""
    chunks = policy.act(observation, [dreams.task.instruction] * dreams.num_envs)[:, : dreams.chunk]
    joints = dreams.task.scale_action(observation["proprio"])
    return torch.from_numpy(chunks), torch.from_numpy(np.concatenate([joints, chunks[:, -1]], axis=1))


def bent(chunks: Tensor, ends: Tensor) -> np.ndarray:
    """Chunks (N, K, A) that end `ends` (N, A) away from where they did."""
    share = torch.linspace(1 / chunks.shape[1], 1, chunks.shape[1])[:, None]
    return (chunks + share * ends.detach()[:, None]).clamp(-1, 1).numpy()


def learn(dreams: Any, policy: Any, bend: nn.Linear, config: Grouping) -> None:
    """All rows are one world, as they begin with one seed; `set_state` brings them back to it."""
    optimizer, over = torch.optim.Adam(bend.parameters(), config.learning_rate), True
    for moment in range(config.moments):
        if over or moment % config.chunks == 0:
            observation, _ = dreams.reset(seed=[config.seed + moment] * config.group)
        (chunks, seen), root = proposed(dreams, policy, observation), dreams.get_state()
        drawn = Normal(bend(seen), 1.0).sample()
        *_, info = dreams.step(bent(chunks, config.spread * drawn))  # one noise for all: what they do tells them apart
        judged = torch.from_numpy(info["advantage"]).float()
        advantage = (judged - judged.mean()) / (judged.std() + 1e-6)
        before = Normal(bend(seen), 1.0).log_prob(drawn).sum(1).detach()
        for _ in range(config.epochs):
            ratio = (Normal(bend(seen), 1.0).log_prob(drawn).sum(1) - before).exp()
            clipped = ratio.clamp(1 - config.clip, 1 + config.clip)
            optimizer.zero_grad()
            (-torch.minimum(ratio * advantage, clipped * advantage).mean()).backward()
            optimizer.step()
        dreams.set_state(root)
        observation, _, terminated, truncated, _ = dreams.step(bent(chunks, config.spread * bend(seen)))
        over = bool((terminated | truncated).any())
        print(f"moment {moment}: advantage of its branches {judged.mean():+.3f} ± {judged.std():.3f}", flush=True)


def measured(dreams: Any, policy: Any, bend: nn.Linear, config: Grouping) -> Any:
    """Mean advantage of the chunks of each row (N,), from starts that were not learnt from, the same at every call."""
    observation, total = dreams.reset(seed=10_000)[0], 0.0
    for _ in range(config.chunks):
        chunks, seen = proposed(dreams, policy, observation)
        observation, *_, info = dreams.step(bent(chunks, config.spread * bend(seen)))
        total = total + info["advantage"] / config.chunks
    return total


def main(config: Grouping) -> None:
    torch.manual_seed(config.seed)
    dreams: Any = gymnasium.make_vec(config.env_id, num_envs=config.group, world_model=config.world_model)
    bend = nn.Linear(2 * len(dreams.task.action_names), len(dreams.task.action_names))
    bend.load_state_dict({name: torch.zeros_like(values) for name, values in bend.state_dict().items()})
    policy = load_policy(config.policy, task=dreams.task.name)
    before = measured(dreams, policy, bend, config)
    learn(dreams, policy, bend, config)
    gained = measured(dreams, policy, bend, config) - before
    change = f"{gained.mean():+.4f} ± {gained.std() / np.sqrt(len(gained)):.4f}"
    print(f"imagined advantage of a chunk: {before.mean():+.4f}, and {change} by learning")


if __name__ == "__main__":
    main(tyro.cli(Grouping, description=__doc__))
