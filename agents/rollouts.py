"""The rollout stage of RISE: propose chunks from recorded moments, imagine what they lead to, evaluate it.

No simulator is anywhere near: states come from recordings, what follows from the world model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Generator, Tensor

from rise_gym.advantage import rank_among
from rise_gym.agents.trainable import TrainableAgent
from rise_gym.collection import ExplorationNoise
from rise_gym.errors import InvalidTraining
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

    def imagine(
        self, state: WorldState, actions: Tensor, *, generator: Generators, drawn: bool = True
    ) -> tuple[WorldState, Imagination]:
        """As in `rise_gym.protocols.WorldModel`; without `drawn` only the advantage matters."""

    def advantage_slope(self, state: WorldState, actions: Tensor, *, generator: Generators) -> tuple[Tensor, Tensor]:
        """Advantage (B,) of chunks (B, K, A), and the slope at which it changes with their actions, (B, K, A)."""

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
        ascent: 0, as in the paper, learns from every proposal. Otherwise the policy's own chunk is moved to where the
            imagined advantage rises most steeply, by at most so many standard deviations of `exploration`: as many
            where the slope is as steep as the root of its mean square or steeper, fewer where it is gentler, since what
            gains nothing should stay as it is. The slope is the mean over all proposals of the state. Learnt from is
            what the own chunk was moved to, as the best there is (1) where the dream finds it better than the own chunk
            and as the worst (-1) where it finds it worse; both are dreamt with the same noise.
        steady: leave out of the ascent what playing the same chunk faster would do: any movement gains sooner if it is
            hurried, and a policy that learns to hurry misses its grasps.
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
    ascent: float = 0.0
    steady: bool = False
    uncertainty_limit: float | None = None

    def __post_init__(self) -> None:
        if min(self.rollout_batch, self.proposals_per_state, self.max_imagined_chunks) < 1:
            raise InvalidTraining(
                "rollout_batch, proposals_per_state and max_imagined_chunks from 1 were wanted, got "
                f"{self.rollout_batch}, {self.proposals_per_state} and {self.max_imagined_chunks}"
            )
        if not 0 <= self.proposal_temperature <= 1:
            raise InvalidTraining(f"proposal_temperature is from 0 to 1, got {self.proposal_temperature}")
        if self.proposal_temperature == 0 and self.exploration is None and self.proposals_per_state > 1:
            raise InvalidTraining("all proposals are the same: set exploration, or proposal_temperature above 0")
        if self.ascent < 0 or (self.ascent and self.exploration is None):
            raise InvalidTraining(
                "ascent from 0 was wanted, in standard deviations of exploration, which has to be set for it; got "
                f"{self.ascent} of {self.exploration}"
            )

    @property
    def imagined_samples(self) -> int:
        """Chunks to learn from that one rollout stage gives."""
        rows_per_state = 1 if self.ascent else self.proposals_per_state
        return self.rollout_batch * rows_per_state * self.max_imagined_chunks


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Imagined chunks to learn from, S rows.

    Attributes:
        moment: (S,) recorded moment that each goes back to. pixels: uint8 (S, V, H, W, 3) and proprio: (S, P), what was
            seen when the chunk was proposed. actions: (S, K, A). evaluated: (S,) the advantage that the world model
            found, in [-1, 1]. advantage: (S,) what the chunk is learnt with: that, or a rank, see `RolloutConfig`.
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
    policy: TrainableAgent,
    world_model: Imaginer,
    recordings: Recordings,
    moments: Tensor,
    config: RolloutConfig,
    generator: Generator,
) -> Samples:
    """One rollout stage: `policy` proposes from recorded moments (R,), the world model imagines and evaluates."""
    rows = moments if config.ascent else moments.repeat_interleave(config.proposals_per_state)
    instruction = recordings.instruction_of(rows)
    state = recorded_state(world_model, recordings, rows)
    pixels, proprio = recordings.frames[rows], recordings.proprio[rows]
    asked = torch.full((len(rows),), config.prompt_advantage)
    trusted = torch.ones(len(rows), dtype=torch.bool)
    parts: list[Samples] = []
    for ahead in reversed(range(config.max_imagined_chunks)):
        meant = policy.propose(
            pixels, proprio, instruction, asked, generator=generator, temperature=config.proposal_temperature
        ).cpu()
        dream = _climbed if config.ascent else _dreamt
        found = dream(world_model, state, meant, recordings.task, config, generator, drawn=ahead > 0)
        trusted = trusted & found.trusted  # once a dream has gone astray, so has everything that follows
        parts.append(
            Samples(
                moment=rows, pixels=pixels, proprio=proprio, actions=found.actions, evaluated=found.evaluated,
                advantage=found.advantage, trusted=trusted,
            )
        )  # fmt: skip
        if ahead > 0:
            state = found.state
            pixels = world_model.decode_newest(state).cpu()
            proprio = _next_proprio(state, found.actions, recordings, config)
    columns = {field.name: torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Samples)}
    samples = Samples(**columns)
    if config.spread == "quantile" and not config.ascent:
        return replace(samples, advantage=rank_among(samples.advantage, samples.advantage))
    return samples


class _Found(NamedTuple):
    """A chunk a state (R, K, A), what the dream found it worth (R,) and what it is learnt with (R,); where it led.

    `trusted` (R,) says which dreams to believe.
    """

    actions: Tensor
    evaluated: Tensor
    advantage: Tensor
    state: WorldState
    trusted: Tensor


def _dreamt(
    world_model: Imaginer,
    state: WorldState,
    meant: Tensor,
    task: TaskCard,
    config: RolloutConfig,
    generator: Generator,
    *,
    drawn: bool,
) -> _Found:
    """What was meant (R, K, A), with its deviations if there are to be any, and what becomes of it."""
    actions = _explored(meant, task, config, generator)
    following, imagined = world_model.imagine(state, actions, generator=generator, drawn=drawn)
    evaluated = imagined.advantage.cpu()
    return _Found(actions, evaluated, evaluated, following, _trusted(imagined, config))


def _climbed(
    world_model: Imaginer,
    state: WorldState,
    meant: Tensor,
    task: TaskCard,
    config: RolloutConfig,
    generator: Generator,
    *,
    drawn: bool,
) -> _Found:
    """What was meant (R, K, A) moved to where it is better, and judged beside it."""
    states, tries = len(meant), config.proposals_per_state
    tried = _explored(meant.repeat_interleave(tries, dim=0), task, config, generator).unflatten(0, (states, tries))
    tried = torch.cat([meant[:, None], tried[:, 1:]], dim=1)  # (R, N, K, A), the policy's own chunk first
    seeds = torch.randint(2**62, (states,), generator=generator).tolist()

    def noise(copies: int) -> list[Generator]:
        return [Generator().manual_seed(seed) for seed in seeds for _ in range(copies)]

    repeated = state.rows(torch.arange(states).repeat_interleave(tries))
    advantage, slope = world_model.advantage_slope(repeated, tried.flatten(0, 1), generator=noise(tries))
    evaluated = advantage.cpu().view(states, tries)
    step = _step(slope.cpu().unflatten(0, (states, tries)).mean(1), task, config)
    if config.steady:
        step = _unhurried(step, meant, state.proprio.cpu(), task, config)
    refined = (meant + step).clamp(-1, 1)
    following, imagined = world_model.imagine(state, refined, generator=noise(1), drawn=drawn)
    worth = imagined.advantage.cpu()
    return _Found(refined, worth, (worth - evaluated[:, 0]).sign(), following, _trusted(imagined, config))


def _step(slope: Tensor, task: TaskCard, config: RolloutConfig) -> Tensor:
    """How far and where to go from each chunk, by its slope (R, K, A): deviations (R, K, A).

    With the exploration's covariance C and slope g, the deviation of one standard deviation that gains most is
    C g / s, where s = sqrt(g' C g) is what it gains: smooth, and as large for each joint as the joint is explored.
    """
    assert config.exploration is not None  # checked by RolloutConfig
    ticks = torch.arange(slope.shape[1])
    alike = config.exploration.kept(task) ** (ticks[:, None] - ticks).abs()  # (K, K)
    deviation = torch.from_numpy(config.exploration.scaled(task)).to(slope)
    smooth = torch.einsum("kl,rla->rka", alike.to(slope), slope) * deviation.square()
    gained = (slope * smooth).sum((1, 2), keepdim=True).clamp(min=0).sqrt()
    steep = torch.maximum(gained, gained.square().mean().sqrt())
    return torch.where(steep > 0, config.ascent * smooth / steep, 0.0)


def _unhurried(step: Tensor, meant: Tensor, proprio: Tensor, task: TaskCard, config: RolloutConfig) -> Tensor:
    """Deviations (R, K, A) without the part that would play the chunk a(t) faster: d a((1 + e) t) / d e = t a'(t).

    Deviations are measured in standard deviations of the exploration. Who hardly moves cannot hurry: movements below
    one standard deviation a tick count less. Slowing down is left in.
    """
    assert config.exploration is not None  # checked by RolloutConfig
    begun = torch.from_numpy(task.scale_action(proprio.numpy())).to(meant)  # (R, A)
    (velocity,) = torch.gradient(torch.cat([begun[:, None], meant], dim=1), dim=1)
    hurry = velocity[:, 1:] * torch.arange(1, meant.shape[1] + 1).view(1, -1, 1)  # (R, K, A)
    unit = torch.from_numpy(config.exploration.scaled(task)).to(meant)
    along = (step * hurry / unit.square()).sum((1, 2), keepdim=True)
    length = (hurry / unit).square().sum((1, 2), keepdim=True)
    return step - (along / (length + meant.shape[1])).clamp(min=0) * hurry


def _trusted(imagined: Imagination, config: RolloutConfig) -> Tensor:
    uncertainty = imagined.uncertainty.cpu()
    limit = torch.inf if config.uncertainty_limit is None else config.uncertainty_limit
    return uncertainty <= limit


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


def own_chunks(policy: TrainableAgent, recordings: Recordings) -> Callable[[Tensor], Tensor]:
    """What a policy that asks for the best means at recorded moments (B,): chunks (B, K, A) without any chance."""

    def meant(moments: Tensor) -> Tensor:
        told = recordings.instruction_of(moments)
        return policy.propose(
            recordings.frames[moments], recordings.proprio[moments], told, torch.ones(len(moments)),
            generator=Generator(), temperature=0.0,
        )  # fmt: skip

    return meant


def _explored(actions: Tensor, task: TaskCard, config: RolloutConfig, generator: Generator) -> Tensor:
    """Proposals (B, K, A) with their deviations, which every one has of its own from the first tick on."""
    if config.exploration is None:
        return actions
    random = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    begun = random.standard_normal(actions[:, 0].shape)
    offsets = config.exploration.offsets(begun, actions.shape[1], task, random).swapaxes(0, 1)
    return (actions + torch.from_numpy(offsets * config.exploration.scaled(task)).to(actions)).clamp(-1, 1)


def _next_proprio(state: WorldState, actions: Tensor, recordings: Recordings, config: RolloutConfig) -> Tensor:
    if config.next_proprio == "predicted":
        return state.proprio.cpu()
    targets = recordings.task.unscale_action(actions[:, -1].numpy())
    return torch.from_numpy(targets).to(recordings.proprio)
