"""What flow-matching policies share, whatever perceives and whatever predicts the velocity.

Noise level sigma goes from 1 (noise) to 0 (actions), as in `FlowMatchEulerDiscreteScheduler`:
`x = sigma · noise + (1 - sigma) · actions`, the velocity is `noise - actions`.
Each step goes by the velocity at its middle. Plain Euler steps shrink what they sample (for a Gaussian of spread 0.3,
eight of them keep 78 % of it, four midpoint steps at the same cost 98 %); a policy that learns from its own samples, as
in `improve`, would shrink again and again until nothing varies.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.models.modeling_utils import ModelMixin
from numpy.typing import NDArray
from torch import Generator, Tensor

from rise_gym.agents.action_scales import Scales
from rise_gym.agents.flow_layers import draw_noise, jitter_light, noise_levels, shift_randomly
from rise_gym.agents.trainable import PushedWhole, TrainableAgent, check_told, observed
from rise_gym.protocols import Generators

Context = TypeVar("Context")
"""What a policy makes of an observation, once, before it flows."""


class FlowAgent(PushedWhole, TrainableAgent, ModelMixin, ConfigMixin, Generic[Context]):
    """An `Agent`: `act` samples chunks, `loss` is conditional flow matching.

    Its config has `bins`, `flow_steps`, `temperature`, `noise_draws`, `shift_px`, `light_jitter` and `proprio_noise`;
    see `FlowPolicyConfig`.

    Attributes:
        actions: A, numbers of an action. scales: to unit variance and back.
    """

    actions: int
    scales: Scales
    config: Any  # of diffusers' classes, which a type checker does not see
    device: torch.device
    register_to_config: Callable[..., None]

    @abstractmethod
    def context(self, images: Tensor, proprio: Tensor, instruction: Sequence[str], advantage: Tensor) -> Context:
        """All that a chunk depends on: images (B, V, 3, H, W) in [-1, 1], normalised proprio (B, P), advantage (B,).

        An advantage that is NaN was not told.
        """

    @abstractmethod
    def velocity(self, noisy: Tensor, sigma: Tensor, context: Context) -> Tensor:
        """Noisy chunk (B, K, A), noise level (B,) in [0, 1] -> velocity (B, K, A)."""

    @abstractmethod
    def repeated(self, context: Context, times: int) -> Context:
        """The context of B rows, so many times one after the other."""

    @property
    def bins(self) -> int:
        """How many parts of [-1, 1] it tells advantages apart by."""
        return int(self.config.bins)

    @property
    def temperature(self) -> float:
        """Of `act`: how much noise it starts from."""
        return float(self.config.temperature)

    # -- acting -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def propose(
        self,
        pixels: Tensor,
        proprio: Tensor,
        instruction: Sequence[str],
        advantage: Tensor,
        *,
        generator: Generators,
        temperature: float = 1.0,
    ) -> Tensor:
        """`act` on tensors: pixels uint8 (B, V, H, W, 3), proprio (B, P), advantage (B,) -> actions (B, K, A).

        Samples leave [-1, 1] slightly now and then and are clipped: a joint target beyond its limit means the limit.
        """
        pixels, proprio, advantage = (part.to(self.device) for part in (pixels, proprio, advantage))
        context = self.context(_images(pixels), self.scales.proprio(proprio), instruction, advantage)
        noise = temperature * draw_noise((len(pixels), self.chunk, self.actions), generator).to(proprio)
        return self.flowed(noise, context, proprio).clamp(-1, 1)

    @torch.no_grad()
    def perceived(
        self, observation: Mapping[str, Any], instruction: Sequence[str], advantage: NDArray[np.floating] | float = 1.0
    ) -> tuple[Context, Tensor]:
        """What a batched observation means to the policy, without augmentation: its context, and proprio (B, P)."""
        pixels, proprio = self._tensors(observation)
        check_told(instruction, len(pixels))
        asked = torch.as_tensor(advantage, dtype=torch.float32, device=self.device).expand(len(pixels))
        return self.context(_images(pixels), self.scales.proprio(proprio), instruction, asked), proprio

    def flowed(self, noise: Tensor, context: Context, proprio: Tensor) -> Tensor:
        """Where the flow leads from noise (B, K, A): scaled actions (B, K, A), which may leave [-1, 1].

        Deterministic and differentiable. Context and proprio (B, P), rad and m, are those of `perceived`.
        """
        sample = noise

        def velocity(at: Tensor, sigma: Tensor) -> Tensor:
            return self.velocity(at, sigma.expand(len(at)).to(at), context)

        for sigma, following in itertools.pairwise(torch.linspace(1, 0, self.config.flow_steps + 1) ** 1.5):
            middle = (sigma + following) / 2
            halfway = sample + (middle - sigma) * velocity(sample, sigma)
            sample = sample + (following - sigma) * velocity(halfway, middle)
        return self.scales.actions_of(sample, proprio)

    def _tensors(self, observation: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        pixels, proprio = observed(observation, self.card.cameras)
        return pixels.to(self.device), proprio.to(self.device)

    # -- learning ---------------------------------------------------------------------------------------------------

    def losses(self, batch: dict[str, Any], *, generator: Generator | None = None) -> Tensor:
        """Flow-matching loss of every row (B,): `mean(((noise - actions) - v(x, sigma, context))^2)`, paper equation 8.

        For `batch` see `TrainableAgent.losses`; the generator draws noise, noise levels and augmentation.
        """
        pixels, proprio = self._tensors(batch["observation"])
        targets = torch.as_tensor(batch["actions"], dtype=torch.float32, device=self.device)
        advantage = torch.as_tensor(batch["advantage"], dtype=torch.float32, device=self.device)
        generator = generator or torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        images, normal = self._augmented(pixels, self.scales.proprio(proprio), generator)
        context = self.context(images, normal, batch["instruction"], advantage)
        error = self._flow_error(self.scales.normal_of(targets, proprio), context, generator)
        mask = torch.as_tensor(batch.get("mask", torch.ones(error.shape)), device=self.device).to(error)
        return (error * mask).sum(1) / mask.sum(1).clamp(min=1)

    def _flow_error(self, clean: Tensor, context: Context, generator: Generator) -> Tensor:
        """Squared error of the velocity for clean chunks (B, K, A), mean over actions and noise draws: (B, K)."""
        draws = self.config.noise_draws
        clean, context = clean.repeat(draws, 1, 1), self.repeated(context, draws)
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        sigma = noise_levels(len(clean), generator).to(clean)
        noisy = torch.lerp(clean, noise, sigma[:, None, None])
        error = (self.velocity(noisy, sigma, context) - (noise - clean)).square().mean(-1)
        return error.unflatten(0, (draws, -1)).mean(0)

    def _augmented(self, pixels: Tensor, proprio: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        if not self.training:
            return _images(pixels), proprio
        config = self.config
        moved = shift_randomly(pixels, config.shift_px, generator) if config.shift_px else pixels
        images = _images(moved)
        if config.light_jitter:
            images = jitter_light(images, config.light_jitter, generator)
        if config.proprio_noise:
            proprio = proprio + config.proprio_noise * torch.randn(proprio.shape, generator=generator).to(proprio)
        return images, proprio


def _images(pixels: Tensor) -> Tensor:
    """uint8 (B, V, H, W, 3) -> (B, V, 3, H, W) in [-1, 1]."""
    return pixels.permute(0, 1, 4, 2, 3).float() / 127.5 - 1
