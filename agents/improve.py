"""RISE: the policy improves inside the world model's imagination, and no simulator is anywhere near.

Rollout stage: from recorded moments a slowly following copy of the policy, asked for the best advantage, proposes
chunks; the world model imagines what they lead to and evaluates their advantage (paper, equations 2 and 7).
Training stage: flow matching towards those chunks *given the evaluated advantage*, never the one that was asked for
(equation 8), mixed with recorded chunks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Generator, Tensor, nn

from rise_gym.advantage import advantage_bin
from rise_gym.agents.cloning import (
    acting_moments,
    averaged,
    check_off_the_clock,
    observation_of,
    offline_batch,
)
from rise_gym.agents.flow_policy import FlowPolicy
from rise_gym.protocols import Generators, Value
from rise_gym.recordings import Recordings
from rise_gym.training import Trainer, TrainingConfig
from rise_gym.types import Imagination, WorldState


class Imaginer(Protocol):
    """What the loop needs of a world model: one whose states can be built from recorded latents."""

    value: Value

    @property
    def history_ticks(self) -> int:
        """W: ticks of history in a state."""

    def imagine(self, state: WorldState, actions: Tensor, *, generator: Generators) -> tuple[WorldState, Imagination]:
        """As in `rise_gym.protocols.WorldModel`."""

    def decode_newest(self, state: WorldState) -> Tensor:
        """What the cameras show now: uint8 (B, V, H, W, 3)."""


@dataclass(frozen=True, kw_only=True)
class ImproveConfig:
    """The constants of RISE; the paper's unless said otherwise.

    Attributes:
        training: batch 64 and learning rate 1e-4, cosine to a tenth, are the paper's; it takes 10 000 steps.
        offline_ratio: probability that a row of a batch is recorded rather than imagined; 1 imagines nothing at all.
        rollout_batch: recorded moments that a rollout stage starts from.
        proposals_per_state: chunks proposed from each of them.
        max_imagined_chunks: consecutive imagined chunks before going back to a recorded moment.
        update_epochs: how often an imagined sample is used, on average.
        rollout_decay: how slowly the proposing copy follows the policy in training.
        prompt_advantage: what the proposing copy is asked for.
        next_proprio: proprioception after an imagined chunk: the last commanded target, as in the paper, or what the
            dynamics predicts.
        spread: "uniform" trains on the evaluated advantage itself, as in the paper; "quantile" on its rank, from -1 to
            1, among all that the same rollout stage imagined. Label recorded rollouts the same way.
        sibling_baseline: judge a chunk against the mean of all chunks proposed from its moment instead of against the
            value there; needs `proposals_per_state` of at least 2. Not in the paper.
        uncertainty_limit: imagined chunks less certain than this are not learnt from; None takes all, as in the paper.
        clean_targets: for recorded demonstrations, imitate the expert's intention rather than the executed noise.
    """

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            steps=3000, batch_size=64, learning_rate=1e-4, learning_rate_floor=0.1, weight_decay=1e-3, ema_decay=0.995
        )
    )
    offline_ratio: float = 0.6
    rollout_batch: int = 64
    proposals_per_state: int = 1
    max_imagined_chunks: int = 2
    update_epochs: int = 4
    rollout_decay: float = 0.995
    prompt_advantage: float = 1.0
    next_proprio: Literal["commanded", "predicted"] = "commanded"
    spread: Literal["uniform", "quantile"] = "uniform"
    sibling_baseline: bool = False
    uncertainty_limit: float | None = None
    clean_targets: bool = True
    check_every_steps: int = 1000

    def __post_init__(self) -> None:
        if not 0 <= self.offline_ratio <= 1 or not 0 <= self.rollout_decay <= 1:
            raise ValueError(f"offline_ratio and rollout_decay are fractions from 0 to 1, got {self}")
        if min(self.rollout_batch, self.proposals_per_state, self.max_imagined_chunks, self.update_epochs) < 1:
            raise ValueError(f"the sizes of the rollout stage must be at least 1, got {self}")
        if self.sibling_baseline and self.proposals_per_state < 2:
            raise ValueError("sibling_baseline compares proposals from one state: set proposals_per_state to 2 or more")

    @property
    def imagined_samples(self) -> int:
        """Chunks that one rollout stage imagines."""
        return self.rollout_batch * self.proposals_per_state * self.max_imagined_chunks

    @property
    def updates_per_rollout(self) -> int:
        """Gradient updates of a training stage: each imagined sample is drawn `update_epochs` times on average."""
        rows = self.training.batch_size * (1 - self.offline_ratio)
        return max(1, round(self.update_epochs * self.imagined_samples / rows)) if rows else 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Imagined chunks to learn from, S rows.

    Attributes:
        moment: (S,) recorded moment that each goes back to. pixels: uint8 (S, V, H, W, 3) and proprio: (S, P), what was
            seen when the chunk was proposed. actions: (S, K, A). advantage: (S,) evaluated, in [-1, 1].
        trusted: bool (S,), whether to learn from it.
    """

    moment: Tensor
    pixels: Tensor
    proprio: Tensor
    actions: Tensor
    advantage: Tensor
    trusted: Tensor


@torch.no_grad()
def imagine_samples(
    policy: FlowPolicy,
    world_model: Imaginer,
    recordings: Recordings,
    moments: Tensor,
    config: ImproveConfig,
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
        actions = policy.propose(pixels, proprio, instruction, asked, generator=generator)
        state, imagined = world_model.imagine(state, actions, generator=generator)
        if config.uncertainty_limit is not None:  # once a dream has gone astray, so has everything that follows
            trusted = trusted & (imagined.uncertainty <= config.uncertainty_limit)
        parts.append((moments, pixels, proprio, actions, _judged(imagined, config), trusted))
        pixels = world_model.decode_newest(state)
        proprio = _next_proprio(state, actions, recordings, config)
    moment, pixels, proprio, actions, advantage, trusted = (torch.cat(column) for column in zip(*parts, strict=True))
    if config.spread == "quantile":
        advantage = _ranks(advantage)
    return Samples(moment=moment, pixels=pixels, proprio=proprio, actions=actions, advantage=advantage, trusted=trusted)


def recorded_state(world_model: Imaginer, recordings: Recordings, moments: Tensor) -> WorldState:
    """Where the world stood at recorded moments (B,): the last ticks in temporal order, the moment itself last.

    The world model itself picks every `stride`-th of them, of recorded and of imagined ticks alike.
    """
    if recordings.latents is None:
        raise ValueError("imagination starts from latents: call recordings.encoded(codec) first")
    latents = recordings.latents[recordings.history(moments, world_model.history_ticks)].float()  # (B, W, V, c, h, w)
    instruction = recordings.instruction_of(moments)
    return WorldState(
        latents=latents,
        proprio=recordings.proprio[moments],
        progress=world_model.value.progress(latents[:, -1], instruction),
        instruction=instruction,
    )


def _judged(imagined: Imagination, config: ImproveConfig) -> Tensor:
    """The evaluated advantage (B,) of proposed chunks; never the one that they were asked for with."""
    if not config.sibling_baseline:
        return imagined.advantage
    siblings = imagined.advantage.view(-1, config.proposals_per_state)
    return (siblings - siblings.mean(dim=1, keepdim=True)).flatten().clamp(-1, 1)


def _ranks(advantage: Tensor) -> Tensor:
    """Each entry's rank among all, spread evenly over [-1, 1]; equal entries share the middle of their ranks."""
    order = advantage.sort().values
    low, high = (torch.searchsorted(order, advantage, right=right) for right in (False, True))
    return (low + high).float() / len(order) - 1


def _next_proprio(state: WorldState, actions: Tensor, recordings: Recordings, config: ImproveConfig) -> Tensor:
    if config.next_proprio == "predicted":
        return state.proprio
    targets = recordings.task.unscale_action(actions[:, -1].cpu().numpy())
    return torch.from_numpy(targets).to(recordings.proprio)


class _Memory(nn.Module):
    """What a run has to remember beside the policy: the proposing copy, and what it last imagined; saved with it."""

    policy: FlowPolicy
    moment: Tensor
    pixels: Tensor
    proprio: Tensor
    actions: Tensor
    advantage: Tensor
    trusted: Tensor

    def __init__(self, policy: FlowPolicy, recordings: Recordings, config: ImproveConfig) -> None:
        super().__init__()
        self.policy = policy.twin().eval().requires_grad_(False)
        count = config.imagined_samples
        self.register_buffer("moment", torch.zeros(count, dtype=torch.int64))
        self.register_buffer("pixels", torch.zeros(count, *recordings.frames.shape[1:], dtype=torch.uint8))
        self.register_buffer("proprio", torch.zeros(count, recordings.proprio.shape[1]))
        self.register_buffer("actions", torch.zeros(count, policy.chunk, recordings.actions.shape[1]))
        self.register_buffer("advantage", torch.zeros(count))
        self.register_buffer("trusted", torch.zeros(count, dtype=torch.bool))

    def keep(self, samples: Samples) -> None:
        for name, buffer in self.named_buffers(recurse=False):
            buffer.copy_(getattr(samples, name))

    def batch(self, rows: Tensor, recordings: Recordings) -> dict[str, Any]:
        """Rows (B,) as a batch for `FlowPolicy.loss`."""
        return {
            "observation": observation_of(recordings.task.cameras, self.pixels[rows], self.proprio[rows]),
            "instruction": recordings.instruction_of(self.moment[rows]),
            "actions": self.actions[rows],
            "advantage": self.advantage[rows],
            "mask": torch.ones(self.actions[rows].shape[:2], dtype=torch.bool),
        }

    @torch.no_grad()
    def follow(self, policy: FlowPolicy, decay: float) -> None:
        for mine, theirs in zip(self.policy.parameters(), policy.parameters(), strict=True):
            mine.lerp_(theirs, 1 - decay)

    def figures(self, bins: int) -> dict[str, float]:
        advantage, chosen = self.advantage, advantage_bin(self.advantage, bins)
        usage = torch.bincount(chosen, minlength=bins).float() / len(chosen)
        return {
            "imagined/advantage_mean": float(advantage.mean()),
            "imagined/advantage_spread": float(advantage.std(correction=0)),
            "imagined/bin_mean": 1 + float(chosen.float().mean()),
            "imagined/trusted": float(self.trusted.float().mean()),
            **{f"imagined_bins/{index + 1}": float(part) for index, part in enumerate(usage)},
        }


class _Loop:
    """Joins rollout and training stage; `loss` is what the trainer calls, once an update."""

    def __init__(
        self,
        policy: FlowPolicy,
        world_model: Imaginer,
        recordings: Recordings,
        advantages: Tensor,
        config: ImproveConfig,
        starts: Tensor,
        offline: Tensor,
    ) -> None:
        self.policy, self.world_model, self.recordings, self.advantages = policy, world_model, recordings, advantages
        self.config, self.starts, self.offline = config, starts, offline
        self.memory = _Memory(policy, recordings, config)
        self.step = 0

    def loss(self, generator: Generator) -> tuple[Tensor, dict[str, float]]:
        config = self.config
        if self.step % config.updates_per_rollout == 0 and config.offline_ratio < 1:
            drawn = self.recordings.draw(config.rollout_batch, generator, among=self.starts)
            self.memory.keep(
                imagine_samples(self.memory.policy, self.world_model, self.recordings, drawn, config, generator)
            )
        recorded = torch.rand(config.training.batch_size, generator=generator) < config.offline_ratio
        batch, offline_rows = self._mixed(int(recorded.sum()), generator)
        losses = self.policy.losses(batch, generator=generator)
        figures = {
            "batch/offline_fraction": offline_rows / len(losses),
            **self._by_source(losses.detach(), offline_rows),
        }
        return losses.mean(), {**figures, **self.memory.figures(self.policy.config.bins)}

    def _mixed(self, offline_rows: int, generator: Generator) -> tuple[dict[str, Any], int]:
        """A batch whose first `offline_rows` rows are recorded and whose others are imagined."""
        size, trusted = self.config.training.batch_size, self.memory.trusted.nonzero().flatten()
        if not len(trusted):
            offline_rows = size
        drawn = self.recordings.draw(offline_rows, generator, among=self.offline)
        batch = offline_batch(
            self.recordings, drawn, self.advantages, self.policy.chunk, clean_targets=self.config.clean_targets
        )
        if offline_rows == size:
            return batch, size
        picked = trusted[torch.randint(len(trusted), (size - offline_rows,), generator=generator)]
        return _joined(batch, self.memory.batch(picked, self.recordings)), offline_rows

    def _by_source(self, losses: Tensor, offline_rows: int) -> dict[str, float]:
        parts = {"loss/offline": losses[:offline_rows], "loss/imagined": losses[offline_rows:]}
        return {name: float(part.mean()) for name, part in parts.items() if len(part)}


def _joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    views = {name: torch.cat([column, second["observation"][name]]) for name, column in first["observation"].items()}
    tensors = {name: torch.cat([first[name], second[name]]) for name in ("actions", "advantage", "mask")}
    return {"observation": views, "instruction": first["instruction"] + second["instruction"], **tensors}


def improve(
    policy: FlowPolicy,
    world_model: Imaginer,
    recordings: Recordings,
    advantages: Tensor,
    config: ImproveConfig,
    folder: str | Path,
    *,
    start_moments: Tensor | None = None,
    offline_moments: Tensor | None = None,
    on_progress: Callable[[int, dict[str, float]], None] | None = None,
    on_check: Callable[[int, FlowPolicy], None] | None = None,
) -> FlowPolicy:
    """Improve a policy in imagination; a run in `folder` goes on where it stopped, also after `kill -9`.

    Args:
        policy: where to start from; left as it is.
        world_model: frozen; imagines and evaluates.
        recordings: encoded by the world model's codec.
        advantages: (N,) in [-1, 1], one a moment, 1.0 for demonstrations; see `rise_gym.advantage.label_recordings`.
        config: the constants.
        folder: the run's state and TensorBoard curves.
        start_moments: recorded moments to imagine from; by default every one from which an action was executed.
        offline_moments: recorded moments to learn from; by default the same.
        on_check: called every `check_every_steps` with the averaged policy in eval mode. For evaluation: what it does
            never feeds training, and its time does not count.

    Returns:
        The improved policy, averaged over the last steps, in eval mode.
    """
    acting = acting_moments(recordings)
    learner = policy.twin()
    starts = acting if start_moments is None else start_moments
    offline = acting if offline_moments is None else offline_moments
    loop = _Loop(learner, world_model, recordings, advantages, config, starts, offline)

    def after_step(step: int) -> None:
        loop.step = step
        loop.memory.follow(learner, config.rollout_decay)
        if on_check is not None and step % config.check_every_steps == 0:
            check_off_the_clock(trainer, lambda: on_check(step, averaged(trainer, learner)))

    trainer = Trainer(learner, loop.loss, config.training, folder, extra_state=loop.memory, after_step=after_step)
    loop.step = trainer.progress.step
    trainer.run(on_progress=on_progress)
    trainer.use_average()
    return learner.eval()
