"""The compact vision-language-action policy: three views, proprioception, instruction and advantage in, a chunk out.

It samples chunks by flow matching. Noise level sigma goes from 1 (noise) to 0 (actions), as in
`FlowMatchEulerDiscreteScheduler`: `x = sigma · noise + (1 - sigma) · actions`, the velocity is `noise - actions`.
Each step goes by the velocity at its middle. Plain Euler steps shrink what they sample (for a Gaussian of spread 0.3,
eight of them keep 78 % of it, four midpoint steps at the same cost 98 %); a policy that learns from its own samples, as
in `improve`, would shrink again and again until nothing varies.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from rise_gym.advantage import advantage_bin
from rise_gym.agents.action_scales import Scales
from rise_gym.agents.flow_layers import ChunkHead, ViewEncoder, draw_noise, jitter_light, noise_levels, shift_randomly
from rise_gym.checkpoints import load_checkpoint, save_checkpoint
from rise_gym.errors import InvalidCheckpoint
from rise_gym.instruction import InstructionEncoder
from rise_gym.locations import resolve
from rise_gym.protocols import Generators
from rise_gym.tasks import TaskCard, task_card
from rise_gym.types import Observation


@dataclass(frozen=True, kw_only=True)
class FlowPolicyConfig:
    """Size and sampling of a `FlowPolicy`.

    Attributes:
        relative: the network models targets minus present joints; `act` returns absolute ones all the same. It imitates
            better (after 1500 steps on 60 demonstrations a chunk's first tick is off by 0.013, without it by 0.021, of
            [-1, 1]), and plays worse: an absolute target does not move away with an arm that went astray.
        bins: advantage bins over [-1, 1]; one more embedding stands for "not told".
        flow_steps: midpoint steps of `act`, two passes of the head each.
        temperature: how much noise `act` starts from; 0 gives the middle of what the policy holds possible, 1 samples
            it. A small network holds far more possible than its teacher does: of 40 replica episodes the same weights
            solve 17 at 0, 10 at 0.4, none of 60 at 1. What imagination is to choose from is proposed at 1.
        noise_draws: noise levels per row and loss; the cameras are encoded only once, so that more of them cost little.
        shift_px, light_jitter, proprio_noise: augmentation in training: pixels each way, fraction of contrast and
            brightness, standard deviations of noise on the normalised proprioception. Shifts keep a policy from
            learning few demonstrations by heart, and from seeing exactly where things are: two pixels are
            14 mm, by which cups were missed.
    """

    channels: tuple[int, int, int] = (32, 64, 96)
    grid_channels: int = 16
    context_width: int = 320
    head_width: int = 256
    head_blocks: int = 4
    bins: int = 10
    flow_steps: int = 4
    temperature: float = 0.0
    noise_draws: int = 4
    relative: bool = False
    shift_px: int = 1
    light_jitter: float = 0.15
    proprio_noise: float = 0.0


class FlowPolicy(ModelMixin, ConfigMixin):
    """An `Agent`: `act` samples chunks, `loss` is conditional flow matching.

    Args:
        task: name of the task, whose card gives cameras, ranges and chunk.
        chunk: ticks of an action chunk, or None for the card's own.
        The others: see `FlowPolicyConfig`.
    """

    @register_to_config
    def __init__(
        self,
        task: str = "box_close",
        chunk: int | None = None,
        channels: Sequence[int] = (32, 64, 96),
        grid_channels: int = 16,
        context_width: int = 320,
        head_width: int = 256,
        head_blocks: int = 4,
        bins: int = 10,
        flow_steps: int = 4,
        temperature: float = 0.0,
        noise_draws: int = 4,
        relative: bool = False,
        shift_px: int = 1,
        light_jitter: float = 0.15,
        proprio_noise: float = 0.0,
    ) -> None:
        super().__init__()
        self.card = task_card(task)
        self.chunk = self.card.chunk if chunk is None else chunk
        self.actions, proprio = len(self.card.action_names), len(self.card.proprio_names)
        shallow, middle, deep = channels
        self.views = nn.ModuleList(
            ViewEncoder(self.card.image_size, (shallow, middle, deep), grid_channels, context_width)
            for _ in self.card.cameras
        )
        self.proprio = nn.Sequential(
            nn.Linear(proprio, context_width), nn.SiLU(), nn.Linear(context_width, context_width)
        )
        self.instruction = InstructionEncoder(context_width)
        self.fuse = nn.Sequential(
            nn.LayerNorm(context_width),
            nn.Linear(context_width, context_width),
            nn.SiLU(),
            nn.Linear(context_width, context_width),
            nn.LayerNorm(context_width),
        )
        self.advantage = nn.Embedding(bins + 1, context_width)
        nn.init.normal_(self.advantage.weight, std=0.3)  # beside a context of unit variance
        self.head = ChunkHead(self.chunk, self.actions, head_width, context_width, head_blocks)
        self.scales = Scales(self.card, self.chunk, relative=relative)
        self._act_seed, self._act_generators = 0, list[Generator]()

    @classmethod
    def of(cls, config: FlowPolicyConfig, task: TaskCard, *, chunk: int | None = None) -> FlowPolicy:
        """An untrained policy for a task."""
        return cls(task=task.name, chunk=chunk, **asdict(config))

    def twin(self, **settings: Any) -> Self:
        """An independent policy with the same weights and scales; `settings` without weights of their own change."""
        with torch.random.fork_rng(devices=[]):
            twin = type(self).from_config({**self.config, **settings})
        twin.load_state_dict(self.state_dict())
        return twin.train(self.training)

    # -- acting -----------------------------------------------------------------------------------------------------

    def seed(self, seed: int) -> None:
        """Make the following calls of `act` reproducible: row `b` draws from its own generator, whatever the batch."""
        self._act_seed, self._act_generators = seed, []

    def act(
        self,
        observation: Observation,
        instruction: Sequence[str],
        advantage: NDArray[np.floating] | float = 1.0,
        *,
        generator: Generators | None = None,
    ) -> NDArray[np.float32]:
        """Batched observation -> scaled actions float32 (B, K, A) in [-1, 1].

        Args:
            observation: cameras uint8 (B, H, W, 3) and `proprio` (B, P), rad and m.
            instruction: B texts.
            advantage: what to ask for, one number or (B,) in [-1, 1]; 1.0 is the best.
            generator: the noise (none is left at `temperature` 0), one for the batch or one a row; by default the
                generators that `seed` set.
        """
        pixels, proprio = self._tensors(observation)
        asked = torch.as_tensor(advantage, dtype=torch.float32).expand(len(pixels))
        noise = self._own_generators(len(pixels)) if generator is None else generator
        chunks = self.propose(pixels, proprio, instruction, asked, generator=noise, temperature=self.config.temperature)
        return chunks.cpu().numpy()

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
        context = self.context(self._images(pixels), self.scales.proprio(proprio), instruction, advantage)
        noise = temperature * draw_noise((len(pixels), self.chunk, self.actions), generator).to(context.device)
        return self.flowed(noise, context, proprio).clamp(-1, 1)

    @torch.no_grad()
    def perceived(
        self, observation: Mapping[str, Any], instruction: Sequence[str], advantage: NDArray[np.floating] | float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """What a batched observation means to the policy, without augmentation: context (B, D), proprio (B, P)."""
        pixels, proprio = self._tensors(observation)
        asked = torch.as_tensor(advantage, dtype=torch.float32, device=self.device).expand(len(pixels))
        return self.context(self._images(pixels), self.scales.proprio(proprio), instruction, asked), proprio

    def flowed(self, noise: Tensor, context: Tensor, proprio: Tensor) -> Tensor:
        """Where the flow leads from noise (B, K, A): scaled actions (B, K, A), which may leave [-1, 1].

        Deterministic and differentiable. Context (B, D) and proprio (B, P), rad and m, are those of `perceived`.
        """
        sample = noise

        def velocity(at: Tensor, sigma: Tensor) -> Tensor:
            return self.head(at, sigma.expand(len(at)).to(at), context)

        for sigma, following in itertools.pairwise(torch.linspace(1, 0, self.config.flow_steps + 1) ** 1.5):
            middle = (sigma + following) / 2
            halfway = sample + (middle - sigma) * velocity(sample, sigma)
            sample = sample + (following - sigma) * velocity(halfway, middle)
        return self.scales.actions_of(sample, proprio)

    def _own_generators(self, rows: int) -> list[Generator]:
        for row in range(len(self._act_generators), rows):
            self._act_generators.append(Generator().manual_seed(self._act_seed * 1_000_003 + row))
        return self._act_generators[:rows]

    def _tensors(self, observation: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        views = [torch.as_tensor(observation[camera], device=self.device) for camera in self.card.cameras]
        proprio = torch.as_tensor(observation["proprio"], dtype=torch.float32, device=self.device)
        return torch.stack(views, dim=1), proprio

    @staticmethod
    def _images(pixels: Tensor) -> Tensor:
        """uint8 (B, V, H, W, 3) -> (B, V, 3, H, W) in [-1, 1]."""
        return pixels.permute(0, 1, 4, 2, 3).float() / 127.5 - 1

    def context(self, images: Tensor, proprio: Tensor, instruction: Sequence[str], advantage: Tensor) -> Tensor:
        """All that a chunk depends on: images (B, V, 3, H, W), normalised proprio (B, P), advantage (B,) -> (B, D).

        An advantage that is NaN was not told.
        """
        seen = torch.stack([encoder(images[:, view]) for view, encoder in enumerate(self.views)]).sum(0)
        fused = self.fuse(seen + self.proprio(proprio) + self.instruction(list(instruction)))
        return fused + self.advantage(self._bins(advantage))

    def _bins(self, advantage: Tensor) -> Tensor:
        told = advantage_bin(advantage.nan_to_num(0.0), self.config.bins)
        return torch.where(advantage.isnan(), self.config.bins, told)

    # -- learning ---------------------------------------------------------------------------------------------------

    def loss(self, batch: dict[str, Any], *, generator: Generator | None = None) -> Tensor:
        """Scalar conditional flow-matching loss; see `losses`."""
        return self.losses(batch, generator=generator).mean()

    def losses(self, batch: dict[str, Any], *, generator: Generator | None = None) -> Tensor:
        """Flow-matching loss of every row (B,): `mean(((noise - actions) - v(x, sigma, context))^2)`, paper equation 8.

        Args:
            batch: `observation` (as for `act`), `instruction` (B texts), `actions` (B, K, A) scaled, `advantage` (B,)
                in [-1, 1] or NaN for "not told", and optionally `mask` bool (B, K): which actions happened.
            generator: noise, noise levels and augmentation.
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

    def _flow_error(self, clean: Tensor, context: Tensor, generator: Generator) -> Tensor:
        """Squared error of the velocity, mean over action dimensions and noise draws: (B, K, A), (B, D) -> (B, K)."""
        draws = self.config.noise_draws
        clean, context = clean.repeat(draws, 1, 1), context.repeat(draws, 1)
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        sigma = noise_levels(len(clean), generator).to(clean)
        noisy = torch.lerp(clean, noise, sigma[:, None, None])
        error = (self.head(noisy, sigma, context) - (noise - clean)).square().mean(-1)
        return error.unflatten(0, (draws, -1)).mean(0)

    def _augmented(self, pixels: Tensor, proprio: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        if not self.training:
            return self._images(pixels), proprio
        config = self.config
        moved = shift_randomly(pixels, config.shift_px, generator) if config.shift_px else pixels
        images = self._images(moved)
        if config.light_jitter:
            images = jitter_light(images, config.light_jitter, generator)
        if config.proprio_noise:
            proprio = proprio + config.proprio_noise * torch.randn(proprio.shape, generator=generator).to(proprio)
        return images, proprio


def save_policy(
    folder: str | Path, policy: FlowPolicy, *, card: str = "", extra: Mapping[str, Any] | None = None
) -> Path:
    """Write a policy checkpoint: weights in float16 (half the size, no measurable loss), task card and README `card`.

    Raises:
        SaveFailed: if anything could not be written; what was there before is untouched.
    """
    half = policy.twin()
    for weights in half.parameters():  # the scales, which are buffers, keep their precision
        weights.data = weights.data.half()
    return save_checkpoint(folder, kind="policy", task=policy.card, components={"policy": half}, card=card, extra=extra)


def load_policy(name: str | Path, *, task: str | None = None, temperature: float | None = None) -> FlowPolicy:
    """Load a policy in eval mode from a folder, `bundled:<task>/<name>`, or a hub id.

    Args:
        name: where it is.
        task: the task that it has to be made for.
        temperature: of `act`, instead of the policy's own; see `FlowPolicyConfig`.

    Raises:
        InvalidCheckpoint: if it is missing, damaged, no flow policy, or made for another task than `task`.
    """
    policy = load_checkpoint(resolve(name, default="base"), kind="policy", task=task).component("policy")
    if not isinstance(policy, FlowPolicy):
        raise InvalidCheckpoint(f"{name}: a FlowPolicy was wanted, it holds a {type(policy).__name__}")
    if temperature is not None:
        policy.register_to_config(temperature=temperature)
    return policy.float().eval()
