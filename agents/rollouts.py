"""The rollout stage of RISE: propose chunks from recorded moments, imagine what they lead to, evaluate it.

No simulator is anywhere near: states come from recordings, what follows from the world model.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Generator, Tensor

from rise_gym.advantage import rank_among
from rise_gym.agents.flow_policy import FlowPolicy
from rise_gym.collection import ExplorationNoise
from rise_gym.protocols import Generators, Value
from rise_gym.recordings import Recordings
from rise_gym.tasks import TaskCard
from rise_gym.types import Imagination, WorldState


class Imaginer(Protocol):
    """What the loop needs of a world model: one whose states can be built from recorded latents."""

    @property
    def value(self) -> Value:
        """What judges imagined frames."""

    @property
    def device(self) -> torch.device:
        """Where states live."""

    @property
    def history_ticks(self) -> int:
        """W: ticks of history in a state."""

    def imagine(self, state: WorldState, actions: Tensor, *, generator: Generators) -> tuple[WorldState, Imagination]:
        """As in `rise_gym.protocols.WorldModel`."""

    def decode_newest(self, state: WorldState) -> Tensor:
        """What the cameras show now: uint8 (B, V, H, W, 3)."""


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """How chunks are proposed and judged; the paper's constants unless said otherwise.

    Attributes:
        rollout_batch: recorded moments that a rollout stage starts from.
        proposals_per_state: chunks proposed from each of them.
        proposal_temperature: of the proposing policy's sampling, see `FlowPolicyConfig.temperature`; 1 in the paper.
        exploration: smooth deviations added to what is proposed, as to a policy's rollouts; None, as in the paper, adds
            none. A small policy's own samples differ by jitter from tick to tick, which an arm hardly follows.
        max_imagined_chunks: consecutive imagined chunks before going back to a recorded moment.
        prompt_advantage: what the proposing policy is asked for.
        next_proprio: proprioception after an imagined chunk: the last commanded target, as in the paper, or what the
            dynamics predicts.
        spread: "uniform" trains on the evaluated advantage itself, as in the paper; "quantile" on its rank, from -1 to
            1, among all that the same rollout stage imagined. Label recorded rollouts the same way.
        sibling_baseline: judge a chunk against the mean of all chunks proposed from its moment instead of against the
            value there; needs `proposals_per_state` of at least 2. They are dreamt with the same noise, so that only
            their actions differ. Not in the paper.
        uncertainty_limit: imagined chunks less certain than this are not learnt from; None takes all, as in the paper.
    """

    rollout_batch: int = 64
    proposals_per_state: int = 1
    proposal_temperature: float = 1.0
    exploration: ExplorationNoise | None = None
    max_imagined_chunks: int = 2
    prompt_advantage: float = 1.0
    next_proprio: Literal["commanded", "predicted"] = "commanded"
    spread: Literal["uniform", "quantile"] = "uniform"
    sibling_baseline: bool = False
    uncertainty_limit: float | None = None

    def __post_init__(self) -> None:
        if min(self.rollout_batch, self.proposals_per_state, self.max_imagined_chunks) < 1:
            raise ValueError(f"the sizes of the rollout stage must be at least 1, got {self}")
        if not 0 <= self.proposal_temperature <= 1:
            raise ValueError(f"proposal_temperature is from 0 to 1, got {self.proposal_temperature}")
        if self.proposal_temperature == 0 and self.exploration is None and self.proposals_per_state > 1:
            raise ValueError("all proposals are the same: set exploration, or proposal_temperature above 0")
        if self.sibling_baseline and self.proposals_per_state < 2:
            raise ValueError("sibling_baseline compares proposals from one state: set proposals_per_state to 2 or more")

    @property
    def imagined_samples(self) -> int:
        """Chunks that one rollout stage imagines."""
        return self.rollout_batch * self.proposals_per_state * self.max_imagined_chunks


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Imagined chunks to learn from, S rows.

    Attributes:
        moment: (S,) recorded moment that each goes back to. pixels: uint8 (S, V, H, W, 3) and proprio: (S, P), what was
            seen when the chunk was proposed. actions: (S, K, A). evaluated: (S,) the advantage that the world model
            found, in [-1, 1]. advantage: (S,) what the chunk is learnt with: that, or as `RolloutConfig` spreads it.
        trusted: bool (S,), whether to learn from it.
    """

    moment: Tensor
    pixels: Tensor
    proprio: Tensor
    actions: Tensor
    evaluated: Tensor
    advantage: Tensor
    trusted: Tensor


@torch.no_grad()
def imagine_samples(
    policy: FlowPolicy,
    world_model: Imaginer,
    recordings: Recordings,
    moments: Tensor,
    config: RolloutConfig,
    generator: Generator,
) -> Samples:
    """One rollout stage: `policy` proposes from recorded moments (R,), the world model imagines and evaluates."""
    moments = moments.repeat_interleave(config.proposals_per_state)
    instruction = recordings.instruction_of(moments)
    state = recorded_state(world_model, recordings, moments)
    pixels, proprio = recordings.frames[moments], recordings.proprio[moments]
    asked = torch.full((len(moments),), config.prompt_advantage)
    trusted = torch.ones(len(moments), dtype=torch.bool)
    parts: list[tuple[Tensor, ...]] = []
    for _ in range(config.max_imagined_chunks):
        meant = policy.propose(
            pixels, proprio, instruction, asked, generator=generator, temperature=config.proposal_temperature
        ).cpu()
        actions = _explored(meant, recordings.task, config, generator)
        state, imagined = world_model.imagine(state, actions, generator=_dream_noise(len(actions), config, generator))
        if config.uncertainty_limit is not None:  # once a dream has gone astray, so has everything that follows
            trusted = trusted & (imagined.uncertainty.cpu() <= config.uncertainty_limit)
        evaluated = imagined.advantage.cpu()
        parts.append((moments, pixels, proprio, actions, evaluated, _judged(evaluated, config), trusted))
        pixels = world_model.decode_newest(state).cpu()
        proprio = _next_proprio(state, actions, recordings, config)
    columns = [torch.cat(column) for column in zip(*parts, strict=True)]
    samples = Samples(**dict(zip((field.name for field in fields(Samples)), columns, strict=True)))
    if config.spread == "quantile":
        return replace(samples, advantage=rank_among(samples.advantage, samples.advantage))
    return samples


def recorded_state(world_model: Imaginer, recordings: Recordings, moments: Tensor) -> WorldState:
    """Where the world stood at recorded moments (B,): the last ticks in temporal order, the moment itself last.

    The world model itself picks every `stride`-th of them, of recorded and of imagined ticks alike.
    """
    if recordings.latents is None:
        raise ValueError("imagination starts from latents: call recordings.encoded(codec) first")
    history = recordings.history(moments, world_model.history_ticks)
    latents = recordings.latents[history].to(world_model.device, torch.float32)  # (B, W, V, c, h, w)
    instruction = recordings.instruction_of(moments)
    return WorldState(
        latents=latents,
        proprio=recordings.proprio[moments].to(world_model.device),
        progress=world_model.value.progress(latents[:, -1], instruction),
        instruction=instruction,
    )


def _explored(actions: Tensor, task: TaskCard, config: RolloutConfig, generator: Generator) -> Tensor:
    """Proposals (B, K, A) with their deviations, which every one has of its own from the first tick on."""
    if config.exploration is None:
        return actions
    random = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    begun = random.standard_normal(actions[:, 0].shape)
    offsets = config.exploration.offsets(begun, actions.shape[1], task, random).swapaxes(0, 1)
    return (actions + torch.from_numpy(offsets * config.exploration.scaled(task)).to(actions)).clamp(-1, 1)


def _dream_noise(rows: int, config: RolloutConfig, generator: Generator) -> Generators:
    """Where the dream's noise comes from: siblings that are compared share theirs."""
    if not config.sibling_baseline:
        return generator
    seeds = torch.randint(2**62, (rows // config.proposals_per_state,), generator=generator)
    return [Generator().manual_seed(int(seed)) for seed in seeds.repeat_interleave(config.proposals_per_state)]


def _judged(evaluated: Tensor, config: RolloutConfig) -> Tensor:
    """What proposed chunks (B,) are learnt with: the evaluated advantage, never the one they were asked for with."""
    if not config.sibling_baseline:
        return evaluated
    siblings = evaluated.view(-1, config.proposals_per_state)
    return (siblings - siblings.mean(dim=1, keepdim=True)).flatten().clamp(-1, 1)


def _next_proprio(state: WorldState, actions: Tensor, recordings: Recordings, config: RolloutConfig) -> Tensor:
    if config.next_proprio == "predicted":
        return state.proprio.cpu()
    targets = recordings.task.unscale_action(actions[:, -1].numpy())
    return torch.from_numpy(targets).to(recordings.proprio)
