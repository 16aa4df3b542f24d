"""LeRobot's policies as agents: SmolVLA, pi0 and pi0.5, ACT, diffusion; nothing of lerobot is imported to use one.

What is relied on is the shape of lerobot's `PreTrainedPolicy` and of the two processors that belong to it: a batch of
`observation.images.<camera>`, `observation.state` and `task` goes through the pre-processor (names, normalisation,
tokens, device), chunks come out of the policy and through the post-processor (units). Padding of states and actions to
a policy's own width happens inside of it.
"""

from __future__ import annotations

import copy
import inspect
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Generator, Tensor, nn

from rise_gym.agents.flow_layers import draw_noise, shift_randomly
from rise_gym.agents.lerobot_shape import (
    ACTION,
    STATE,
    LerobotConfig,
    LerobotPolicy,
    Processor,
    check_features,
    lerobot_parts,
    matched_cameras,
)
from rise_gym.agents.prompts import prompts_of
from rise_gym.agents.trainable import TrainableAgent, observed
from rise_gym.errors import NotTrainable
from rise_gym.protocols import Generators
from rise_gym.tasks import TaskCard, task_card

_AGENT = "agent.json"


class LerobotAgent(TrainableAgent):
    """An `Agent` that acts as a policy of lerobot does; RISE trains it if that is a flow policy which reads its task.

    Joints are absolute, in rad, and grippers in m, as in the datasets that this package writes: a policy that was
    trained on one of them fits as it is.

    Policies that look back (diffusion) are shown the present several times, for agents keep no history. What draws
    without being given noise (diffusion) draws for the whole batch from the generator of its first row.

    Args:
        policy: in lerobot's shape, and a `torch.nn.Module`.
        preprocess, postprocess: what `make_pre_post_processors` made for it.
        task: its card.
        config: how to speak with it.

    Raises:
        InvalidCheckpoint: if it wants cameras, states or actions that the task does not have, or plans shorter chunks.
    """

    def __init__(
        self,
        policy: LerobotPolicy,
        preprocess: Processor,
        postprocess: Processor,
        task: TaskCard,
        config: LerobotConfig | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(policy, nn.Module):
            raise TypeError(f"a torch.nn.Module was wanted, as lerobot's policies are, got {type(policy).__name__}")
        self.card, self.settings = task, config or LerobotConfig()
        self.policy: Any = policy
        self.preprocess, self.postprocess = preprocess, postprocess
        self.cameras = matched_cameras(policy.config, task, self.settings)
        self.chunk = self.settings.chunk or task.chunk
        check_features(policy.config, task, self.chunk)

    @property
    def bins(self) -> int:
        """How many parts of [-1, 1] it tells advantages apart by."""
        return self.settings.bins

    @property
    def temperature(self) -> float:
        """Of `act`: how much noise it samples with, if it is a flow policy."""
        return self.settings.temperature

    @property
    def reads(self) -> bool:
        """Whether the policy is told the task in words, and so can be told an advantage: lerobot's have a tokenizer."""
        return hasattr(self.policy.config, "tokenizer_max_length")

    @property
    def flows(self) -> bool:
        """Whether its chunks start from noise that can be given: lerobot's flow policies pad it to a width."""
        named = inspect.signature(self.policy.predict_action_chunk).parameters.values()
        takes = any(one.name == "noise" or one.kind is inspect.Parameter.VAR_KEYWORD for one in named)
        return takes and hasattr(self.policy.config, "max_action_dim")

    def twin(self, **settings: Any) -> Self:
        """An independent one with the same weights; what is frozen is shared. `settings` of `LerobotConfig` change."""
        shared: dict[int, Any] = {id(weights): weights for weights in self.parameters() if not weights.requires_grad}
        shared |= {id(part): part for part in (self.preprocess, self.postprocess)}
        twin = copy.deepcopy(self, shared)
        twin.settings = replace(self.settings, **settings)
        twin.seed(0)
        return twin

    def save_pretrained(self, save_directory: str | os.PathLike[str], **_: Any) -> None:
        """Write policy and processors as lerobot does, and how it is spoken with beside them."""
        for part in (self.policy, self.preprocess, self.postprocess):
            part.save_pretrained(save_directory)  # type: ignore[union-attr]  # lerobot's processors have it
        spoken = {"task": self.card.name, "settings": asdict(self.settings)}
        (Path(save_directory) / _AGENT).write_text(json.dumps(spoken, indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], **_: Any) -> Self:
        """Load what `save_pretrained` wrote into a folder.

        Raises:
            MissingPackage: without lerobot.
        """
        spoken = json.loads((Path(folder) / _AGENT).read_text())
        cameras = spoken["settings"].pop("cameras")
        settings = LerobotConfig(cameras=cameras and tuple(map(tuple, cameras)), **spoken["settings"])
        return cls(*lerobot_parts(os.fspath(folder)), task_card(spoken["task"]), settings)

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
        """`act` on tensors; see `TrainableAgent.propose`. At `temperature` 0 only flow policies leave their noise out.

        Targets beyond a joint's range are clipped: they mean its limit.
        """
        learning = self.training
        batch = self._ready(self._batch(pixels, proprio, self._texts(instruction, advantage)))
        try:
            planned = self._planned(batch, len(pixels), generator, temperature)
        finally:
            self.train(learning)  # lerobot's policies switch themselves to acting
        targets = self.postprocess(planned)[:, : self.chunk].float().cpu()
        return torch.from_numpy(self.card.scale_action(targets.numpy())).clamp(-1, 1)

    def _planned(self, batch: dict[str, Any], rows: int, generator: Generators, temperature: float) -> Tensor:
        """Chunks (B, at least K, A) in the policy's own units."""
        config = self.policy.config
        if self.flows:
            noise = temperature * draw_noise((rows, config.chunk_size, config.max_action_dim), generator)
            chunk: Tensor = self.policy.predict_action_chunk(batch, noise=noise.to(_device_of(batch)))
            return chunk
        with _drawing(generator):
            if hasattr(config, "chunk_size"):
                alone: Tensor = self.policy.predict_action_chunk(batch)
                return alone
            self.policy.reset()
            return torch.stack([self.policy.select_action(dict(batch)) for _ in range(self.chunk)], dim=1)

    def _texts(self, instruction: Sequence[str], advantage: Tensor) -> list[str]:
        if not self.reads or not self.settings.advantage_in_prompt:
            return list(instruction)
        return prompts_of(instruction, advantage, template=self.settings.prompt, bins=self.settings.bins)

    def _batch(self, pixels: Tensor, proprio: Tensor, texts: list[str]) -> dict[str, Any]:
        """As lerobot's loader gives it: pictures float (B, 3, H, W) in [0, 1], states in rad and m, and the task."""
        views = {
            feature: pixels[:, self.card.cameras.index(camera)].permute(0, 3, 1, 2).float() / 255
            for camera, feature in self.cameras
        }
        return {**views, STATE: proprio.float(), "task": texts}

    def _ready(self, told: dict[str, Any]) -> dict[str, Any]:
        """Through the pre-processor, and to where the policy is: a run may have moved it from its config's device."""
        device = next(self.policy.parameters()).device
        ready = self.preprocess(told)
        return {name: part.to(device) if isinstance(part, Tensor) else part for name, part in ready.items()}

    # -- learning ---------------------------------------------------------------------------------------------------

    def check_trainable(self) -> None:
        """Refuse what reads no text; see `TrainableAgent.check_trainable`."""
        if not self.reads:
            raise NotTrainable(
                f"{type(self.policy).__name__} reads no text, so it can't be told how good a chunk was: it acts here, "
                "and is trained by lerobot"
            )

    def losses(self, batch: dict[str, Any], *, generator: Generator | None = None) -> Tensor:
        """The policy's own loss with the advantage in the task's text; see `TrainableAgent.losses`.

        Actions beyond our chunk repeat its last one and are marked as padding, which SmolVLA leaves out and pi0 learns:
        best give the policy our chunk's length. A policy whose loss has no rows gives each row the mean.

        Raises:
            NotTrainable: if the policy is told no text: all chunks would be learnt as if they were good.
        """
        self.check_trainable()
        pixels, proprio = observed(batch["observation"], self.card.cameras)
        advantage = torch.as_tensor(batch["advantage"], dtype=torch.float32)
        generator = generator or Generator().manual_seed(int(torch.randint(2**62, ())))
        if self.training and self.settings.shift_px:
            pixels = shift_randomly(pixels, self.settings.shift_px, generator)
        told = self._batch(pixels, proprio, self._texts(batch["instruction"], advantage))
        targets, padding = self._targets(batch)
        ready = self._ready({**told, ACTION: targets, f"{ACTION}_is_pad": padding})
        ready["actions_id_pad"] = padding.to(_device_of(ready))  # what lerobot 0.4's SmolVLA looks for
        with _drawing(generator):
            if "reduction" in inspect.signature(self.policy.forward).parameters:
                rows: Tensor = self.policy.forward(ready, reduction="none")[0]
                return rows
            return self.policy.forward(ready)[0].expand(len(pixels))

    def _targets(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Joint targets (B, chunk_size, A) in rad and m, and which are padding, bool (B, chunk_size)."""
        actions = torch.as_tensor(batch["actions"], dtype=torch.float32)
        happened = torch.as_tensor(batch.get("mask", torch.ones(actions.shape[:2])), dtype=torch.bool)
        more = self.policy.config.chunk_size - actions.shape[1]
        targets = torch.from_numpy(self.card.unscale_action(actions.cpu().numpy())).float()
        targets = torch.cat([targets, targets[:, -1:].expand(-1, more, -1)], dim=1)
        return targets, torch.cat([~happened.cpu(), torch.ones(len(actions), more, dtype=torch.bool)], dim=1)


def load_lerobot(name: str, task: TaskCard, config: LerobotConfig | None = None) -> LerobotAgent:
    """An agent of a policy that lerobot trained: a folder or a hub id; for its errors see `lerobot_parts`."""
    return LerobotAgent(*lerobot_parts(name), task, config).eval()


def _device_of(batch: Mapping[str, Any]) -> torch.device:
    device: torch.device = batch[STATE].device
    return device


@contextmanager
def _drawing(generator: Generators) -> Iterator[None]:
    """What draws from torch's global generators draws from this one, and they go on as if nothing had been."""
    source = generator if isinstance(generator, Generator) else generator[0]
    seed = int(torch.randint(2**62, (), generator=source))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
