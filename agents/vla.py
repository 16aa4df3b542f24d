"""A vision-language-action policy of SmolVLA's kind: a public backbone sees and reads, a flow-matching expert acts.

The three pictures and the prompt, into which the advantage is written as the paper does it, go through the backbone
once; the expert, a smaller transformer, flows from noise to an action chunk while it looks at the hidden states. The
backbone stays as it was pre-trained, unless it is told to learn as well (`frozen=False`).
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from rise_gym.agents.action_scales import Scales
from rise_gym.agents.flow_agent import FlowAgent
from rise_gym.agents.prompts import PROMPT, prompts_of
from rise_gym.agents.vla_backbone import Backbone, fetch_backbone, require_packages
from rise_gym.agents.vla_expert import ActionExpert, Perception
from rise_gym.errors import InvalidCheckpoint
from rise_gym.tasks import TaskCard, task_card
from rise_gym.training import TrainingConfig

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BACKBONE = "HuggingFaceTB/SmolVLM2-500M-Video-Instruct"
"""What SmolVLA is built on."""
BACKBONE_LAYERS = 16
"""Of its 32: SmolVLA acts on the first half."""
VLA_TRAINING = TrainingConfig(
    steps=20_000, batch_size=64, learning_rate=1e-4, warmup_steps=1000, weight_decay=1e-3, ema_decay=0.998
)
"""SmolVLA's learning rate and batch for fine-tuning; averaged as the compact policy is."""

_TOKENIZER = "tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class VlaConfig:
    """Size and sampling of a `VisionLanguagePolicy`; see `FlowPolicyConfig` for what both have.

    Attributes:
        image_px: see `Backbone`.
        expert_width, expert_heads: of the action expert; SmolVLA's is three quarters as wide as the backbone.
        expert_blocks: how many; None for one to every second layer of the backbone.
        frozen: the backbone stays as it is; only the expert learns, as in the paper's loop.
        prompt: how instruction and advantage become one text.
        temperature: a large policy samples what it saw; 0 takes the middle.
        noise_draws: noise levels per row and loss; the backbone, which costs most, runs only once.
    """

    image_px: int | None = None
    expert_width: int = 720
    expert_heads: int = 12
    expert_blocks: int | None = None
    frozen: bool = True
    prompt: str = PROMPT
    bins: int = 10
    flow_steps: int = 5
    temperature: float = 1.0
    noise_draws: int = 2
    relative: bool = False
    shift_px: int = 1
    light_jitter: float = 0.15
    proprio_noise: float = 0.0


class VisionLanguagePolicy(FlowAgent[Perception]):
    """An `Agent` with a public vision-language backbone.

    `from_backbone` makes one of public weights; `save_policy` and `load_trainable` store and load it as a whole.

    Args:
        backbone_config: the backbone's `transformers` configuration as plain data; weights are random.
        task: name of the task, whose card gives cameras, ranges and chunk.
        chunk: ticks of an action chunk, or None for the card's own.
        The others: see `VlaConfig`.

    Raises:
        MissingPackage: without the extra `vla`. InvalidCheckpoint: for a backbone of another family.
    """

    @register_to_config
    def __init__(
        self,
        backbone_config: Mapping[str, Any],
        task: str = "box_close",
        chunk: int | None = None,
        image_px: int | None = None,
        expert_width: int = 720,
        expert_heads: int = 12,
        expert_blocks: int | None = None,
        frozen: bool = True,
        prompt: str = PROMPT,
        bins: int = 10,
        flow_steps: int = 5,
        temperature: float = 1.0,
        noise_draws: int = 2,
        relative: bool = False,
        shift_px: int = 1,
        light_jitter: float = 0.15,
        proprio_noise: float = 0.0,
    ) -> None:
        super().__init__()
        self.card = task_card(task)
        self.chunk = self.card.chunk if chunk is None else chunk
        self.actions = len(self.card.action_names)
        self.backbone = Backbone(backbone_config, image_px)
        self.expert = ActionExpert(
            chunk=self.chunk, actions=self.actions, proprio=len(self.card.proprio_names),
            prefix_width=self.backbone.width, prefix_layers=self.backbone.depth,
            width=expert_width, heads=expert_heads, blocks=expert_blocks or max(1, self.backbone.depth // 2),
        )  # fmt: skip
        self.scales = Scales(self.card, self.chunk, relative=relative)
        if frozen:
            self.backbone.requires_grad_(False).eval()

    @classmethod
    def of(
        cls,
        config: VlaConfig,
        backbone: Mapping[str, Any],
        tokenizer: Tokenizer,
        task: TaskCard,
        *,
        chunk: int | None = None,
    ) -> VisionLanguagePolicy:
        """An untrained policy for a task, its backbone of random weights too."""
        policy = cls(backbone_config=dict(backbone), task=task.name, chunk=chunk, **asdict(config))
        policy.backbone.speak(tokenizer)
        return policy

    @classmethod
    def from_backbone(
        cls,
        name: str,
        task: TaskCard,
        config: VlaConfig | None = None,
        *,
        layers: int | None = BACKBONE_LAYERS,
        chunk: int | None = None,
    ) -> VisionLanguagePolicy:
        """A public backbone and an untrained expert, for a task.

        Args:
            name: hub id of a SmolVLM or Idefics3, or the folder of a downloaded one.
            task: its card. config: size and sampling. chunk: None for the card's own.
            layers: how many of the language model's layers are kept at most; None keeps all.

        Raises:
            InvalidCheckpoint: if the backbone can't be had, or is of another family.
            MissingPackage: without the extra `vla`.
        """
        settings, weights, tokenizer = fetch_backbone(name, layers=layers)
        policy = cls.of(config or VlaConfig(), settings, tokenizer, task, chunk=chunk)
        policy.backbone.model.load_state_dict(weights)
        return policy

    def twin(self, **settings: Any) -> Self:
        """An independent policy with the same weights and scales; a frozen backbone, which never changes, is shared."""
        shared = {id(self.backbone): self.backbone} if self.config.frozen else {}
        twin = copy.deepcopy(self, shared)
        twin.seed(0)
        twin.register_to_config(**settings)
        return twin

    def train(self, mode: bool = True) -> Self:
        """Switch to training or acting; a frozen backbone always acts."""
        super().train(mode)
        if self.config.frozen:
            self.backbone.eval()
        return self

    def context(self, images: Tensor, proprio: Tensor, instruction: Sequence[str], advantage: Tensor) -> Perception:
        """All that a chunk depends on: images (B, V, 3, H, W) in [-1, 1], normalised proprio (B, P), advantage (B,)."""
        prompts = prompts_of(instruction, advantage, template=self.config.prompt, bins=self.config.bins)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.frozen):
            prefix = self.backbone(images, prompts)
        return self.expert.perceive(prefix, proprio)

    def velocity(self, noisy: Tensor, sigma: Tensor, context: Perception) -> Tensor:
        """Noisy chunk (B, K, A), noise level (B,) in [0, 1] -> velocity (B, K, A)."""
        predicted: Tensor = self.expert(noisy, sigma, context)
        return predicted

    def repeated(self, context: Perception, times: int) -> Perception:
        """The context of B rows, so many times one after the other."""
        return context.repeated(times)

    # -- on disk ----------------------------------------------------------------------------------------------------

    def save_pretrained(self, save_directory: str | os.PathLike[str], **options: Any) -> None:
        """Write configuration, weights as safetensors, and the tokenizer into a folder."""
        super().save_pretrained(save_directory, **options)
        tokenizer = self.backbone.tokenizer
        if tokenizer is None:
            raise ValueError("a policy without a tokenizer can't be used again: give its backbone one first")
        tokenizer.save(str(Path(save_directory) / _TOKENIZER))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **options: Any) -> Self:
        """Load what `save_pretrained` wrote into a folder.

        Raises:
            InvalidCheckpoint: if it has no tokenizer. MissingPackage: without the extra `vla`.
        """
        require_packages()
        from tokenizers import Tokenizer

        path = Path(pretrained_model_name_or_path) / _TOKENIZER
        if not path.is_file():
            raise InvalidCheckpoint(f"{path} is not there: the folder of a VisionLanguagePolicy was wanted")
        policy: Self = super().from_pretrained(pretrained_model_name_or_path, **options)
        policy.backbone.speak(Tokenizer.from_file(str(path)))
        return policy
