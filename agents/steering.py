"""A flow policy that is steered: something else chooses the noise that its chunks start from, its weights stay.

`NoiseSteering` shows an env to a learner as DSRL does (Wagenmaker et al. 2025, arXiv 2506.15799): the action is the
noise w, the observation what the frozen policy made of the pictures. `SteeredPolicy` is what comes out of it: the flow
policy and a small network that chooses w, together an `Agent`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import gymnasium
import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from numpy.typing import NDArray
from torch import Tensor, nn

from rise_gym.agents.flow_policy import FlowPolicy
from rise_gym.agents.interaction import check_fits, row_of
from rise_gym.agents.trainable import PushedWhole, TrainableAgent
from rise_gym.checkpoints import load_checkpoint
from rise_gym.collection import AnyEnv
from rise_gym.errors import InvalidCheckpoint, StepOutOfOrder
from rise_gym.locations import resolve
from rise_gym.tasks import TaskCard
from rise_gym.types import Observation


def feature_count(policy: FlowPolicy) -> int:
    """How many numbers a learner sees: D of the policy's context and P of its proprioception."""
    return int(policy.config.context_width) + len(policy.card.proprio_names)


def features_of(policy: FlowPolicy, context: Tensor, proprio: Tensor) -> Tensor:
    """Context (B, D) and proprio (B, P), rad and m -> what a learner sees (B, D + P), of about unit variance."""
    return torch.cat([context, policy.scales.proprio(proprio)], dim=1)


def held_noise(noise: Tensor, chunk: int, noise_ticks: int) -> Tensor:
    """Noise vectors (B, noise_ticks · A), each held for an equal part of the chunk -> (B, K, A)."""
    return noise.unflatten(1, (noise_ticks, -1)).repeat_interleave(chunk // noise_ticks, dim=1)


def check_noise(policy: FlowPolicy, noise_bound: float, noise_ticks: int) -> None:
    """Refuse a noise space that the policy's chunk can't have.

    Raises:
        ValueError: says why.
    """
    if noise_bound <= 0 or noise_ticks < 1 or policy.chunk % noise_ticks:
        raise ValueError(
            f"noise_bound is positive and noise_ticks divides the chunk of {policy.chunk}, "
            f"got {noise_bound} and {noise_ticks}"
        )


class NoiseSteering(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An env whose action is the noise that a frozen policy starts from: Box(-bound, bound, (noise_ticks · A,)).

    Observations are `features_of`: Box (D + P,). Rewards, ends and infos are the env's own. The policy is asked for
    the best advantage and otherwise as it acts alone; noise 0 is what it does at `temperature` 0.

    Args:
        env: of the policy's task and chunk.
        policy: stays as it is.
        noise_bound: how far each number of the noise may go, in standard deviations of what the policy learnt from.
        noise_ticks: noise vectors in a chunk, each held for an equal number of ticks. One, as DSRL has it for policies
            of long chunks, keeps the space small: A numbers instead of K · A.

    Raises:
        UnsuitableEnv: if the env is another task's or takes other chunks.
        ValueError: if the chunk can't be divided into `noise_ticks`.
    """

    def __init__(self, env: AnyEnv, policy: FlowPolicy, *, noise_bound: float = 1.5, noise_ticks: int = 1) -> None:
        super().__init__(env)
        check_fits(env, policy)
        check_noise(policy, noise_bound, noise_ticks)
        self.policy, self.noise_ticks = policy, noise_ticks
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (feature_count(policy),), np.float32)
        self.action_space = gymnasium.spaces.Box(-noise_bound, noise_bound, (noise_ticks * policy.actions,), np.float32)
        self._instruction = policy.card.instruction
        self._context, self._proprio = torch.zeros(1, 0), torch.zeros(1, 0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        self._instruction = info.get("instruction", self.policy.card.instruction)
        return self._seen(observation), info

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Take the chunk that the policy makes of the noise (noise_ticks · A,).

        Raises:
            StepOutOfOrder: before the first `reset`.
        """
        if not self._context.numel():
            raise StepOutOfOrder("`reset` was wanted before the first `step`; call env.reset(seed=...)")
        noise = torch.as_tensor(np.asarray(action, np.float32), device=self._context.device)[None]
        with torch.no_grad():
            noise = held_noise(noise, self.policy.chunk, self.noise_ticks)
            chunk = self.policy.flowed(noise, self._context, self._proprio).clamp(-1, 1)
        observation, reward, terminated, truncated, info = self.env.step(chunk[0].cpu().numpy())
        return self._seen(observation), float(reward), bool(terminated), bool(truncated), info

    def _seen(self, observation: Observation) -> NDArray[np.float32]:
        self._context, self._proprio = self.policy.perceived(row_of(observation), [self._instruction])
        seen: NDArray[np.float32] = features_of(self.policy, self._context, self._proprio)[0].cpu().numpy()
        return seen


class AugmentedPolicy(PushedWhole, ModelMixin, ConfigMixin):
    """A frozen flow policy of which something learnt beside it makes another `Agent`.

    Args:
        policy_config: of the `FlowPolicy`.
    """

    def __init__(self, policy_config: Mapping[str, Any]) -> None:
        super().__init__()
        self.policy = FlowPolicy(**policy_config).requires_grad_(False)

    @classmethod
    def on(cls, policy: FlowPolicy, **settings: Any) -> Self:
        """One that changes nothing yet; `policy` is copied. `settings` are of the class."""
        plain = {name: value for name, value in policy.config.items() if not name.startswith("_")}
        with torch.random.fork_rng(devices=[]):
            augmented = cls(policy_config=plain, **settings)
        augmented.policy.load_state_dict(policy.state_dict())
        return augmented.eval()

    def twin(self) -> Self:
        """An independent one with the same weights."""
        with torch.random.fork_rng(devices=[]):
            twin = type(self).from_config(self.config)
        twin.load_state_dict(self.state_dict())
        return twin.train(self.training)

    @property
    def card(self) -> TaskCard:
        """The task that it is made for."""
        return self.policy.card

    @property
    def chunk(self) -> int:
        """Ticks of an action chunk."""
        return int(self.policy.chunk)

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """Zero: what augments the policy is learnt from rewards, not from recordings."""
        return torch.zeros(())


def small_network(policy: FlowPolicy, widths: Sequence[int], outputs: int) -> nn.Sequential:
    """An MLP with ReLU on what a learner sees of the policy; untrained, its output is zero."""
    sizes = [feature_count(policy), *widths]
    hidden = [layer for wide in pairwise(sizes) for layer in (nn.Linear(*wide), nn.ReLU())]
    last = nn.Linear(sizes[-1], outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*hidden, last)


class SteeredPolicy(AugmentedPolicy):
    """An `Agent`: a frozen flow policy, and the network that chooses the noise it starts from. It acts without chance.

    The network's noise is `bound · tanh(MLP(features))`; untrained, its output is zero, so that it acts as the flow
    policy does at `temperature` 0.

    Args:
        policy_config: of the `FlowPolicy`.
        widths: hidden layers.
        noise_bound, noise_ticks: see `NoiseSteering`.
    """

    @register_to_config
    def __init__(
        self,
        policy_config: Mapping[str, Any],
        widths: Sequence[int] = (256, 256),
        noise_bound: float = 1.5,
        noise_ticks: int = 1,
    ) -> None:
        super().__init__(policy_config)
        check_noise(self.policy, noise_bound, noise_ticks)
        self.steering = small_network(self.policy, widths, noise_ticks * self.policy.actions)

    @torch.no_grad()
    def act(
        self, observation: Observation, instruction: Sequence[str], advantage: NDArray[np.floating] | float = 1.0
    ) -> NDArray[np.float32]:
        """Batched observation -> scaled actions float32 (B, K, A) in [-1, 1]; see `FlowPolicy.act`."""
        context, proprio = self.policy.perceived(observation, instruction, advantage)
        noise = self.noise(features_of(self.policy, context, proprio))
        chunks: NDArray[np.float32] = self.policy.flowed(noise, context, proprio).clamp(-1, 1).cpu().numpy()
        return chunks

    def noise(self, features: Tensor) -> Tensor:
        """The noise chosen for features (B, D + P): (B, K, A)."""
        chosen = self.config.noise_bound * self.steering(features).tanh()
        return held_noise(chosen, self.chunk, self.config.noise_ticks)


def load_agent(name: str | Path, *, task: str | None = None) -> TrainableAgent | AugmentedPolicy:
    """Load whatever agent a policy checkpoint holds, in eval mode; `load_trainable` takes those that can be trained.

    Raises:
        InvalidCheckpoint: if it is missing, damaged, holds no agent, or was made for another task than `task`.
        MissingPackage: if it needs an extra that is not installed.
    """
    agent = load_checkpoint(resolve(name, default="base"), kind="policy", task=task).component("policy")
    if not isinstance(agent, TrainableAgent | AugmentedPolicy):
        raise InvalidCheckpoint(f"{name}: an agent was wanted, it holds a {type(agent).__name__}")
    return agent.float().eval()
