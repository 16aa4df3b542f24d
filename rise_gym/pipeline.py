"""A world-model checkpoint as a diffusers pipeline: the same folder, for people who think in pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from diffusers.utils import BaseOutput
from torch import Tensor

from rise_gym.codec import FrameCodec
from rise_gym.dynamics import VideoDynamics
from rise_gym.ltx_codec import LTXCodec
from rise_gym.ltx_dynamics import LTXDynamics
from rise_gym.progress_uncertainty import ProgressUncertainty
from rise_gym.protocols import Generators
from rise_gym.starts import StartKind
from rise_gym.tasks import task_card
from rise_gym.value import ProgressValue
from rise_gym.world_model import CompositionalWorldModel, WorldModelConfig


@dataclass
class RisePipelineOutput(BaseOutput):
    """What a chunk is imagined to lead to.

    Attributes:
        frames: uint8 (B, K, V, H, W, 3). proprio: (B, K, P) in rad and m. progress: (B, K) in [-1, 1].
        advantage: (B,) in [-1, 1]. uncertainty: (B,) 0 and up.
        progress_uncertainty: (B,) expected absolute error of the progress gained; None if the model does not know.
    """

    frames: Tensor
    proprio: Tensor
    progress: Tensor
    advantage: Tensor
    uncertainty: Tensor
    progress_uncertainty: Tensor | None = None


class RisePipeline(DiffusionPipeline):
    """`RisePipeline.from_pretrained(folder)` on what `WorldModel.save_pretrained` wrote; called, it imagines one chunk.

    The task's name and the settings lie in `model_index.json`; `WorldModel.from_pretrained` verifies the folder too.
    """

    _optional_components = ["progress_uncertainty"]  # noqa: RUF012 - diffusers' declaration

    def __init__(
        self,
        dynamics: VideoDynamics | LTXDynamics,
        autoencoder: FrameCodec | LTXCodec,
        value: ProgressValue,
        scheduler: FlowMatchEulerDiscreteScheduler,
        progress_uncertainty: ProgressUncertainty | None = None,
        task: str = "box_close",
        advantage_scale: float = 5.0,
        expected_share: float = 0.75,
        later_share: float = 0.75,
        outcome_ticks: int = 50,
        success_threshold: float | None = None,
        success_ticks: int = 3,
        uncertainty_limit: float | None = None,
        start_kind: StartKind = "initial",
    ) -> None:
        super().__init__()
        self.register_modules(
            dynamics=dynamics, autoencoder=autoencoder, value=value, scheduler=scheduler,
            progress_uncertainty=progress_uncertainty,
        )  # fmt: skip
        config = WorldModelConfig(
            advantage_scale=advantage_scale,
            expected_share=expected_share,
            later_share=later_share,
            outcome_ticks=outcome_ticks,
            success_threshold=success_threshold,
            success_ticks=success_ticks,
            uncertainty_limit=uncertainty_limit,
            start_kind=start_kind,
        )
        self.register_to_config(task=task, **asdict(config))
        self.world_model = CompositionalWorldModel(
            codec=autoencoder,
            dynamics=dynamics,
            value=value,
            progress_uncertainty=progress_uncertainty,
            task=task_card(task),
            config=config,
        )

    @torch.no_grad()
    def __call__(
        self,
        frames: Tensor,
        proprio: Tensor,
        actions: Tensor,
        instruction: Sequence[str] | None = None,
        generator: Generators | None = None,
    ) -> RisePipelineOutput:
        """Imagine one chunk from recorded windows.

        Args:
            frames: uint8 (B, ticks, V, H, W, 3), one a tick, oldest first.
            proprio: (B, P), newest, in rad and m.
            actions: (B, K, A) in [-1, 1].
            instruction: one a row; default: the task's.
            generator: one for the batch, or one a row.
        """
        texts = [self.world_model.task.instruction] * len(frames) if instruction is None else instruction
        state = self.world_model.begin(frames, proprio, texts)
        _, imagined = self.world_model.imagine(state, actions, generator=generator or torch.Generator())
        return RisePipelineOutput(
            frames=self.world_model.decode(imagined.latents),
            proprio=imagined.proprio,
            progress=imagined.progress,
            advantage=imagined.advantage,
            uncertainty=imagined.uncertainty,
            progress_uncertainty=imagined.progress_uncertainty,
        )
