"""What learning needs of a policy: cloning, RECAP and RISE take whatever has these methods, and nothing of its insides.

A policy of one's own inherits from `TrainableAgent` and writes four things: `bins`, `twin`, `propose` and `losses`.
"""

from __future__ import annotations

import copy
import hashlib
import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from rise_gym._policy_cards import policy_card
from rise_gym._verification import MANIFEST_NAME, digest, read_json
from rise_gym.checkpoints import load_checkpoint, save_checkpoint
from rise_gym.errors import InvalidCheckpoint, RiseGymError, UnsuitableEnv
from rise_gym.locations import resolve
from rise_gym.protocols import Generators
from rise_gym.tasks import TaskCard, task_card
from rise_gym.types import Observation

LEROBOT = "lerobot:"
"""Before the folder or hub id of a policy as lerobot wrote it."""


class TrainableAgent(nn.Module, ABC):
    """An `Agent` whose trained weights are its parameters that require a gradient.

    What does not require one never changes: a run does not save it, and twins may share it.

    Attributes:
        card: the task that it is made for. chunk: ticks of an action chunk.
    """

    card: TaskCard
    chunk: int

    def __init__(self) -> None:
        super().__init__()
        self._act_seed, self._act_generators = 0, list[Generator]()

    @property
    @abstractmethod
    def bins(self) -> int:
        """How many parts of [-1, 1] it tells advantages apart by."""

    @property
    def temperature(self) -> float:
        """Of `act`: how much noise it samples with, from 0 to 1."""
        return 1.0

    @abstractmethod
    def twin(self, **settings: Any) -> Self:
        """An independent one with the same weights; `settings` of the class, without weights of their own, change."""

    @abstractmethod
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
        """Sample chunks: pixels uint8 (B, V, H, W, 3), proprio (B, P), advantage (B,) -> scaled actions (B, K, A).

        Without gradients, within [-1, 1]. At `temperature` 0 it is the middle of what it holds possible.
        """

    @abstractmethod
    def losses(self, batch: dict[str, Any], *, generator: Generator | None = None) -> Tensor:
        """Loss of every row (B,).

        Args:
            batch: `observation` (as for `act`), `instruction` (B texts), `actions` (B, K, A) scaled, `advantage` (B,)
                in [-1, 1] or NaN for "not told", and optionally `mask` bool (B, K): which actions happened.
            generator: all that is drawn.
        """

    def loss(self, batch: dict[str, Any], *, generator: Generator | None = None) -> Tensor:
        """Scalar training loss; see `losses`."""
        return self.losses(batch, generator=generator).mean()

    def check_trainable(self) -> None:
        """Asked before a run begins: whether it can be told how good a chunk was, and learn from that.

        Raises:
            NotTrainable: if it only acts.
        """

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

        Raises:
            UnsuitableEnv: if it is no such observation, or not every row has a text.
        """
        pixels, proprio = observed(observation, self.card.cameras)
        check_told(instruction, len(pixels))
        asked = torch.as_tensor(advantage, dtype=torch.float32).expand(len(pixels))
        noise = self._own_generators(len(pixels)) if generator is None else generator
        chunks = self.propose(pixels, proprio, instruction, asked, generator=noise, temperature=self.temperature)
        acted: NDArray[np.float32] = chunks.float().cpu().numpy()
        return acted

    def _own_generators(self, rows: int) -> list[Generator]:
        for row in range(len(self._act_generators), rows):
            self._act_generators.append(Generator().manual_seed(self._act_seed * 1_000_003 + row))
        return self._act_generators[:rows]


def observed(observation: Mapping[str, Any], cameras: Sequence[str]) -> tuple[Tensor, Tensor]:
    """A batched observation as pixels uint8 (B, V, H, W, 3), in the order of `cameras`, and proprio float32 (B, P).

    Raises:
        UnsuitableEnv: if something is missing, or has another type or shape.
    """
    for name in (*cameras, "proprio"):
        if name not in observation:
            raise UnsuitableEnv(f"{name!r} was wanted, {', '.join(observation)} came: is the env of another task?")
    views = [torch.as_tensor(observation[camera]) for camera in cameras]
    for camera, view in zip(cameras, views, strict=True):
        if view.dtype != torch.uint8 or view.ndim != 4 or view.shape[-1] != 3 or view.shape != views[0].shape:
            came = f"{str(view.dtype).removeprefix('torch.')} {tuple(view.shape)}"
            raise UnsuitableEnv(
                f"pictures {camera!r} uint8 (B, H, W, 3) of one size were wanted, {came} came; one picture a row, 0 to "
                "255, colours last: leave out the wrapper that changes them"
            )
    proprio = torch.as_tensor(observation["proprio"], dtype=torch.float32)
    if proprio.ndim != 2 or len(proprio) != len(views[0]):
        wanted = (len(views[0]), *proprio.shape[-1:])
        raise UnsuitableEnv(f"'proprio' {wanted} was wanted, {tuple(proprio.shape)} came: one a row, as pictures are")
    return torch.stack(views, dim=1), proprio


def check_told(instruction: Sequence[str], rows: int) -> None:
    """Refuse fewer or more texts than rows, which would be told somebody else's.

    Raises:
        UnsuitableEnv: says how many came.
    """
    if len(instruction) != rows:
        raise UnsuitableEnv(
            f"{rows} instructions were wanted, one for each row, {len(instruction)} came: a list of texts"
        )


def trained_parameters(policy: nn.Module) -> list[nn.Parameter]:
    """Those that a gradient may change, always in the same order."""
    return [parameter for parameter in policy.parameters() if parameter.requires_grad]


class _Storable(Protocol):
    """A model of rise_gym that knows its task: what can be trained, or was steered."""

    @property
    def card(self) -> TaskCard: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...


def save_policy(
    folder: str | Path, policy: _Storable, *, card: str = "", extra: Mapping[str, Any] | None = None
) -> Path:
    """Write a policy checkpoint: weights in float16 (half the size, no measurable loss), task card and README `card`.

    Raises:
        SaveFailed: if anything could not be written; what was there before is untouched.
    """
    half = copy.deepcopy(policy)
    for weights in half.parameters():  # the scales, which are buffers, keep their precision
        weights.data = weights.data.half()
    return save_checkpoint(folder, kind="policy", task=policy.card, components={"policy": half}, card=card, extra=extra)


class PushedWhole:
    """A policy that goes onto the hub as a checkpoint; diffusers' own way takes its weights alone there."""

    def push_to_hub(
        self: _Storable,
        repo_id: str,
        *,
        card: str | None = None,
        private: bool = False,
        results: Sequence[str | Path] = (),
        token: str | None = None,
    ) -> str:
        """Save as `save_policy` does, and push; returns the commit's address. `load_policy(repo_id)` brings it back.

        Args:
            repo_id, private, results, token: see `rise_gym.hub.push_to_hub`, which does it with a folder, and with all
                that lies there: how the policy was made, say.
            card: the README before its figures, Markdown; default: one that tells task and size.

        Raises:
            InvalidResults: if figures are incomplete, or of another checkpoint.
            HubFault: without a token, if the hub can't be reached, or if it refuses.
        """
        from rise_gym.hub import push_to_hub  # only who pushes waits for it

        told = policy_card(self, f"a {type(self).__name__}") if card is None else card
        with tempfile.TemporaryDirectory() as scratch:
            folder = save_policy(Path(scratch) / "policy", self, card=told)
            return push_to_hub(folder, repo_id, private=private, results=results, token=token)


def load_trainable(name: str | Path, *, task: str | None = None, temperature: float | None = None) -> TrainableAgent:
    """Load whatever can be trained, in eval mode, from a folder, `bundled:<task>/<name>`, or a hub id.

    Args:
        name: where it is; `lerobot:<folder or hub id>` is what lerobot itself wrote.
        task: the task that it has to be made for; of lerobot's, which know none, it has to be said.
        temperature: of `act`, from 0 to 1, instead of the policy's own.

    Raises:
        RiseGymError: if there is no such temperature.
        InvalidCheckpoint: if it is missing, damaged, holds something else, or was made for another task than `task`.
        MissingPackage: if it needs an extra, or a lerobot, that is not installed.
    """
    if temperature is not None and not 0 <= temperature <= 1:
        raise RiseGymError(f"a temperature from 0 (the middle) to 1 (samples) was wanted, got {temperature:g}")
    policy = _lerobots(str(name), task) if str(name).startswith(LEROBOT) else _stored(name, task)
    policy = policy.float().eval()
    return policy if temperature is None else policy.twin(temperature=temperature)


def weights_fingerprint(name: str) -> str | None:
    """What tells the weights of a policy, by its name for `load_trainable`, from any others; they are not loaded.

    None of a policy of lerobot's that is no folder here.

    Raises:
        InvalidCheckpoint: if it is missing, damaged or holds something else.
    """
    if name.startswith(LEROBOT):
        folder = Path(name.removeprefix(LEROBOT)).expanduser()
        digests = {path.relative_to(folder).as_posix(): digest(path) for path in folder.rglob("*.safetensors")}
    else:
        folder = load_checkpoint(resolve(name, default="base"), kind="policy").folder
        listed = read_json(folder / MANIFEST_NAME)["sha256"]
        digests = {file: text for file, text in listed.items() if file.endswith(".safetensors")}
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()[:16] if digests else None


def _stored(name: str | Path, task: str | None) -> TrainableAgent:
    policy = load_checkpoint(resolve(name, default="base"), kind="policy", task=task).component("policy")
    if not isinstance(policy, TrainableAgent):
        raise InvalidCheckpoint(
            f"{name}: a policy that can be trained was wanted, it holds a {type(policy).__name__}; "
            "one that was steered, say, is made anew from the policy that it steers"
        )
    return policy


def _lerobots(name: str, task: str | None) -> TrainableAgent:
    from rise_gym.agents.lerobot_policy import load_lerobot  # which is a `TrainableAgent`, and so imports this module

    if task is None:
        raise InvalidCheckpoint(f"{name}: lerobot's policies know no task, say which it acts for: task=...")
    return load_lerobot(name.removeprefix(LEROBOT), task_card(task))
