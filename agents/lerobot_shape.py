"""What is known of lerobot: the shape of its policies, what an agent asks of them, and how they are loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from rise_gym.agents.prompts import PROMPT
from rise_gym.errors import InvalidCheckpoint, MissingPackage
from rise_gym.tasks import TaskCard

IMAGES, STATE, ACTION = "observation.images.", "observation.state", "action"

INSTALL = (
    "on Python 3.12, `pip install 'rise-gym[lerobot]'`; on 3.11 give an earlier lerobot an environment of its own, as "
    "`benchmarks/lerobot_policies.py --release 0.4.4` does, or serve the policy by openpi's protocol"
)
Processor = Callable[[Any], Any]
"""A batch, or actions, to what comes next; lerobot's pipelines are that."""


class LerobotPolicy(Protocol):
    """What is used of lerobot's `PreTrainedPolicy`, which is an `nn.Module` as well."""

    config: Any

    def reset(self) -> None:
        """Forget the episode."""

    def select_action(self, batch: dict[str, Any]) -> Tensor:
        """The next action (B, A), of a chunk that was planned when none was left."""

    def predict_action_chunk(self, batch: dict[str, Any]) -> Tensor:
        """A chunk (B, chunk_size, A)."""

    def forward(self, batch: dict[str, Any]) -> tuple[Tensor, Any]:
        """Training loss, and what to log."""


@dataclass(frozen=True, kw_only=True)
class LerobotConfig:
    """How an agent speaks with its policy.

    Attributes:
        cameras: pairs of our camera's name and the policy's feature; None for `observation.images.<our name>` each.
        chunk: ticks of a chunk that are used; None for the task's own. The policy may plan more.
        advantage_in_prompt: write the advantage into the task's text, as RISE does; a policy that was not trained so
            is better asked without.
        prompt: how; bins: one of so many.
        temperature: how much noise a flow policy samples with; others draw as they do.
        shift_px: pictures are shifted at random by up to so many pixels while it learns.
    """

    cameras: tuple[tuple[str, str], ...] | None = None
    chunk: int | None = None
    advantage_in_prompt: bool = True
    prompt: str = PROMPT
    bins: int = 10
    temperature: float = 1.0
    shift_px: int = 0


def matched_cameras(config: Any, task: TaskCard, settings: LerobotConfig) -> tuple[tuple[str, str], ...]:
    """Pairs of our camera and the policy's feature."""
    cameras = settings.cameras or tuple((name, f"{IMAGES}{name}") for name in task.cameras)
    wanted = {name for name, feature in config.input_features.items() if _kind(feature) == "VISUAL"}
    offered = {feature for _, feature in cameras}
    unknown = sorted({ours for ours, _ in cameras} - set(task.cameras))
    if unknown or (settings.cameras is None and wanted != offered) or not offered <= wanted:
        raise InvalidCheckpoint(
            f"the policy looks at {', '.join(sorted(wanted)) or 'no camera'}, the task has {', '.join(task.cameras)}: "
            f"say which is which, LerobotConfig(cameras=(({task.cameras[0]!r}, {min(wanted, default='...')!r}), ...)); "
            f"got {cameras}"
        )
    return cameras


def check_features(config: Any, task: TaskCard, chunk: int) -> None:
    for where, features, name, names in (
        ("input", config.input_features, STATE, task.proprio_names),
        ("output", config.output_features, ACTION, task.action_names),
    ):
        shape = tuple(features[name].shape) if name in features else None
        if shape != (len(names),):
            raise InvalidCheckpoint(
                f"{where} feature {name!r} of shape ({len(names)},) was wanted, for {', '.join(names)}; the policy has "
                f"{'none' if shape is None else shape}: it is for another robot"
            )
    planned = getattr(config, "chunk_size", config.n_action_steps)
    if chunk > planned:
        raise InvalidCheckpoint(
            f"chunks of {chunk} ticks were wanted, the policy plans {planned}: make the agent with a smaller "
            "LerobotConfig.chunk, and the env with the same"
        )


def _kind(feature: Any) -> str:
    """VISUAL, STATE or ACTION; lerobot's type is an enum of texts."""
    return str(getattr(feature.type, "value", feature.type))


def lerobot_parts(name: str) -> tuple[Any, Processor, Processor]:
    """A policy of lerobot's, a folder or a hub id, with its two processors.

    Raises:
        MissingPackage: without lerobot. InvalidCheckpoint: if the policy can't be had.
    """
    try:
        from lerobot.configs.policies import PreTrainedConfig
        from lerobot.policies.factory import get_policy_class, make_pre_post_processors
    except ImportError as error:
        raise MissingPackage(f"lerobot can't be imported here ({error}): {INSTALL}") from error
    try:
        config = PreTrainedConfig.from_pretrained(name)
        policy = get_policy_class(config.type).from_pretrained(name, config=config)
        device = {"device_processor": {"device": config.device}}
        preprocess, postprocess = make_pre_post_processors(config, pretrained_path=name, preprocessor_overrides=device)
    except (OSError, ValueError, RuntimeError) as error:
        raise InvalidCheckpoint(
            f"lerobot could not load {name!r} ({error}); check the spelling and the connection, or give a folder that "
            "its save_pretrained wrote, the processors' files with it"
        ) from error
    return policy, preprocess, postprocess
