"""The compact vision-language-action policy: three views, proprioception, instruction and advantage in, a chunk out.

It samples chunks by flow matching, see `flow_agent`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from rise_gym.advantage import advantage_bin
from rise_gym.agents.action_scales import Scales
from rise_gym.agents.flow_agent import FlowAgent
from rise_gym.agents.flow_layers import ChunkHead, ViewEncoder
from rise_gym.agents.trainable import load_trainable
from rise_gym.agents.trainable import save_policy as save_policy
from rise_gym.errors import InvalidCheckpoint, UnsuitableEnv
from rise_gym.instruction import InstructionEncoder
from rise_gym.tasks import TaskCard, task_card


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


class FlowPolicy(FlowAgent[Tensor]):
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

    @classmethod
    def of(cls, config: FlowPolicyConfig, task: TaskCard, *, chunk: int | None = None) -> FlowPolicy:
        """An untrained policy for a task."""
        return cls(task=task.name, chunk=chunk, **asdict(config))

    def twin(self, **settings: Any) -> Self:
        """An independent policy with the same weights and scales; `settings` without weights of their own change."""
        with torch.random.fork_rng(devices=[]):
            twin = type(self).from_config({**self.config, **settings})
        twin.load_state_dict(self.state_dict())
        return twin.to(self.device).train(self.training)

    def context(self, images: Tensor, proprio: Tensor, instruction: Sequence[str], advantage: Tensor) -> Tensor:
        """All that a chunk depends on: images (B, V, 3, H, W), normalised proprio (B, P), advantage (B,) -> (B, D).

        An advantage that is NaN was not told.
        """
        wanted, came = (" x ".join(map(str, size)) for size in (self.card.image_size, images.shape[-2:]))
        if wanted != came:
            raise UnsuitableEnv(
                f"pictures of {wanted} pixels, as task {self.card.name!r} has them, were wanted, {came} came: make the "
                "env without an image_size of its own, or resize them"
            )
        seen = torch.stack([encoder(images[:, view]) for view, encoder in enumerate(self.views)]).sum(0)
        fused = self.fuse(seen + self.proprio(proprio) + self.instruction(list(instruction)))
        return fused + self.advantage(self._bins(advantage))

    def _bins(self, advantage: Tensor) -> Tensor:
        told = advantage_bin(advantage.nan_to_num(0.0), self.config.bins)
        return torch.where(advantage.isnan(), self.config.bins, told)

    def velocity(self, noisy: Tensor, sigma: Tensor, context: Tensor) -> Tensor:
        """Noisy chunk (B, K, A), noise level (B,) in [0, 1], context (B, D) -> velocity (B, K, A)."""
        predicted: Tensor = self.head(noisy, sigma, context)
        return predicted

    def repeated(self, context: Tensor, times: int) -> Tensor:
        """Context (B, D) -> (times · B, D)."""
        return context.repeat(times, 1)


def load_policy(name: str | Path, *, task: str | None = None, temperature: float | None = None) -> FlowPolicy:
    """Load a policy in eval mode from a folder, `bundled:<task>/<name>`, or a hub id.

    Args:
        name: where it is.
        task: the task that it has to be made for.
        temperature: of `act`, instead of the policy's own; see `FlowPolicyConfig`.

    Raises:
        InvalidCheckpoint: if it is missing, damaged, no flow policy, or made for another task than `task`.
    """
    policy = load_trainable(name, task=task, temperature=temperature)
    if not isinstance(policy, FlowPolicy):
        raise InvalidCheckpoint(
            f"{name}: a FlowPolicy was wanted, it holds a {type(policy).__name__}: "
            "use rise_gym.agents.trainable.load_trainable"
        )
    return policy
