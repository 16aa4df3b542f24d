"""DSRL (Wagenmaker et al. 2025, arXiv 2506.15799): soft actor-critic over the noise that a frozen policy starts from.

The policy's weights stay; what is learnt is which noise leads to good chunks. The learner is Stable-Baselines3's SAC on
`NoiseSteering`. It is driven episode by episode rather than by its own `learn`, so that every episode has its seed
and a run can be interrupted anywhere; SB3's own files, which are pickles, are neither written nor read.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import set_random_seed
from torch import Tensor, nn

from rise_gym.agents.flow_policy import FlowPolicy
from rise_gym.agents.interaction import Curves, OnEpisode, RunState, episode_figures, training_seeds
from rise_gym.agents.steering import NoiseSteering, SteeredPolicy
from rise_gym.collection import AnyEnv
from rise_gym.errors import InvalidTraining
from rise_gym.training import fingerprint


@dataclass(frozen=True, kw_only=True)
class DsrlConfig:
    """The constants.

    Attributes:
        episodes, first_seed: the budget of interaction, one env seed an episode, all below 100 000.
        seed_fraction: of the episodes, played with N(0, I) noise before anything is learnt; the paper's 10 of 80.
        noise_bound, noise_ticks: see `NoiseSteering`.
        updates_per_episode: gradient steps after each episode from the last of those on. An episode has some 25
            chunks, so 500 are 20 for each.
        entropy_start: weight of the entropy at first; it adapts. Rewards of an episode add up to 1 at most.
        widths: hidden layers of actor and critics.
    """

    episodes: int = 80
    first_seed: int = 60_000
    seed_fraction: float = 0.125
    noise_bound: float = 1.5
    noise_ticks: int = 1
    updates_per_episode: int = 500
    batch_size: int = 128
    learning_rate: float = 3e-4
    discount: float = 0.99
    target_rate: float = 0.005
    entropy_start: float = 0.001
    widths: tuple[int, ...] = (256, 256)
    seed: int = 0

    def __post_init__(self) -> None:
        training_seeds(self.first_seed, self.episodes)
        if not 0 < self.seed_fraction <= 1:
            raise InvalidTraining(f"seed_fraction is above 0 and at most 1, got {self.seed_fraction}")
        if min(self.episodes, self.updates_per_episode, self.batch_size) < 1 or self.entropy_start <= 0:
            raise InvalidTraining(f"episodes, updates and batches are at least 1, entropy_start positive, got {self}")

    @property
    def seed_episodes(self) -> int:
        """How many are played with N(0, I) noise."""
        return math.ceil(self.seed_fraction * self.episodes)

    @property
    def training_stages(self) -> int:
        """How often `updates_per_episode` gradient steps are taken."""
        return self.episodes - self.seed_episodes + 1


@contextmanager
def _randomness(seed: int) -> Iterator[None]:
    """SB3 draws from the global generators: they are seeded here, and put back afterwards."""
    before = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        set_random_seed(seed % 2**32)  # numpy takes no larger ones
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002


class _Learner:
    """SAC in the noise space; one episode or one training stage at a time."""

    def __init__(self, policy: FlowPolicy, env: AnyEnv, config: DsrlConfig) -> None:
        self.policy, self.config = policy, config
        self.env = NoiseSteering(env, policy, noise_bound=config.noise_bound, noise_ticks=config.noise_ticks)
        with _randomness(config.seed):
            self.sac = SAC(
                "MlpPolicy",
                self.env,
                learning_rate=config.learning_rate,
                buffer_size=config.episodes * policy.card.horizon_steps(policy.chunk) + 1,  # never full
                batch_size=config.batch_size,
                tau=config.target_rate,
                gamma=config.discount,
                ent_coef=f"auto_{config.entropy_start}",
                policy_kwargs={"net_arch": list(config.widths)},
                device="cpu",  # small networks, and few rows
            )
        self.sac.set_logger(Logger(folder=None, output_formats=[]))
        nn.init.zeros_(self.sac.actor.mu.weight)  # it begins where the policy acts at temperature 0
        nn.init.zeros_(self.sac.actor.mu.bias)

    def episode(self, seed: int, *, explore: bool) -> dict[str, float]:
        """Act until it ends, with N(0, I) noise (`explore`) or as the actor draws it; everything is remembered."""
        seen, info = self.env.reset(seed=seed)
        total, over = 0.0, False
        while not over:
            noise = self._standard_noise() if explore else self.sac.predict(seen)[0]
            following, reward, terminated, truncated, info = self.env.step(noise)
            over, total = terminated or truncated, total + reward
            # SAC knows actions scaled to [-1, 1], and that an end by the clock is none
            self.sac.replay_buffer.add(
                seen, following, self.sac.policy.scale_action(noise), np.array([reward]), np.array([over]),
                [{"TimeLimit.truncated": truncated and not terminated}],
            )  # fmt: skip
            seen = following
        return episode_figures(total, info)

    def _standard_noise(self) -> NDArray[np.float32]:
        space = self.env.action_space
        drawn = torch.randn(space.shape or ()).numpy()
        return np.clip(drawn, space.low, space.high)  # type: ignore[attr-defined]  # it is a Box

    def train(self) -> dict[str, float]:
        self.sac.train(gradient_steps=self.config.updates_per_episode, batch_size=self.config.batch_size)
        return {
            name: float(value)
            for name, value in self.sac.logger.name_to_value.items()
            if "loss" in name or "coef" in name
        }

    def steered(self) -> SteeredPolicy:
        """The policy with the actor's mean as its noise."""
        config, actor = self.config, self.sac.actor
        agent = SteeredPolicy.on(
            self.policy,
            widths=list(config.widths),
            noise_bound=config.noise_bound,
            noise_ticks=config.noise_ticks,
        )
        learnt = (*actor.latent_pi.parameters(), *actor.mu.parameters())
        with torch.no_grad():
            for mine, theirs in zip(agent.steering.parameters(), learnt, strict=True):
                mine.copy_(theirs)
        return agent

    # -- what a run remembers ---------------------------------------------------------------------------------------

    def state(self, folder: Path) -> RunState:
        sac = self.sac
        return RunState(
            folder,
            {"policy": fingerprint(self.policy), **asdict(self.config)},
            {"sac": sac.policy},
            {"actor": sac.actor.optimizer, "critic": sac.critic.optimizer, "entropy": sac.ent_coef_optimizer},
        )

    def memory(self) -> dict[str, Tensor]:
        """What is neither module nor optimizer: the weight of the entropy and the replay buffer."""
        rows = {
            name: torch.from_numpy(getattr(self.sac.replay_buffer, name)[: self.sac.replay_buffer.pos])
            for name in _COLUMNS
        }
        return {"log_entropy_weight": self.sac.log_ent_coef, **rows}

    def remember(self, memory: dict[str, Tensor]) -> None:
        buffer = self.sac.replay_buffer
        self.sac.log_ent_coef.data.copy_(memory["log_entropy_weight"])
        for name in _COLUMNS:
            getattr(buffer, name)[: len(memory[name])] = memory[name].numpy()
        buffer.pos = len(memory["rewards"])


_COLUMNS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def learn_dsrl(
    policy: FlowPolicy, env: AnyEnv, config: DsrlConfig, folder: str | Path, *, on_episode: OnEpisode | None = None
) -> SteeredPolicy:
    """Learn to steer a policy by acting in an env; a run in `folder` goes on after its last finished episode.

    Args:
        policy: whose noise is chosen; stays as it is.
        env: of the policy's task, whose steps are its chunks.
        config: the constants.
        folder: the run's state and TensorBoard curves, a point an episode.
        on_episode: called with the number of episodes and figures of the last one.

    Returns:
        The policy, steered by what the actor finds best.

    Raises:
        UnsuitableEnv: if the env is another task's or takes other chunks.
        InvalidCheckpoint: if the folder holds another run.
    """
    learner = _Learner(policy, env, config)
    state = learner.state(Path(folder))
    done, memory = state.restore()
    if memory:
        learner.remember(memory)
    seeds = training_seeds(config.first_seed, config.episodes)
    with Curves(folder, on_episode) as curves:
        for episode in range(done, config.episodes):
            with _randomness(config.seed * 1_000_003 + episode + 1):
                curves.episode(episode + 1, learner.episode(seeds[episode], explore=episode < config.seed_episodes))
                if episode + 1 >= config.seed_episodes:
                    curves.training(episode + 1, learner.train())
            state.save(episode + 1, learner.memory())
    return learner.steered()
