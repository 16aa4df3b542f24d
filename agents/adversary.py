"""An adversary that looks for what a world model promises too much: how large is the gap to what is true?

From one start it dreams many whole dreams of a policy whose chunks are bent, and keeps the one of the largest imagined
return (the cross-entropy method; the policy alone is among those it tries). The same chunks are then executed in the
replica. What is imagined beyond what is true was exploited, not earned. With the uncertainty counted, less of it should
be left.

All dreams of a search have the same noise, so that only their actions tell them apart. What was picked may owe some of
its return to just that noise, which is no belief of the model: the chunks found are dreamt again, in noise that the
search never saw, and what is reported as imagined is the mean of that. What the search had picked them for is told
beside it, as `selected`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from rise_gym._one_task import check_one_task, task_if_told
from rise_gym.collection import ExplorationNoise, act_with
from rise_gym.metrics import bootstrap_interval
from rise_gym.protocols import Agent, Generators
from rise_gym.starts import Starts, require_task
from rise_gym.tasks import TaskCard
from rise_gym.types import Imagination, Observation, WorldState


class Dreamer(Protocol):
    """What the probe needs of a world model."""

    task: TaskCard

    def begin(self, frames: Tensor, proprio: Tensor, instruction: Sequence[str]) -> WorldState:
        """As in `rise_gym.protocols.WorldModel`."""

    def imagine(self, state: WorldState, actions: Tensor, *, generator: Generators) -> tuple[WorldState, Imagination]:
        """As in `rise_gym.protocols.WorldModel`."""

    def decode_newest(self, state: WorldState) -> Tensor:
        """What the cameras show now: uint8 (B, V, H, W, 3)."""


@dataclass(frozen=True, kw_only=True)
class AdversaryConfig:
    """How hard the adversary searches, and what it is charged for.

    Attributes:
        chunks: how far it goes.
        candidates, elites, rounds: of the cross-entropy method: whole dreams a round, and how many of the best decide
            around what the next round searches. `rounds` 0 plays the policy's own chunks.
        spread: how far the ends of chunks are bent in the first round: standard deviations of `ExplorationNoise`, from
            0 for the first candidate to this for the last; half as far in each further round.
        fresh_dreams: how often what was found is dreamt again, each time in other noise.
        uncertainty_limit: what is more uncertain is charged for; None charges nothing. Of the progress gained, if the
            model knows how far off that may be, else of the frames.
        penalty: progress that each time as much uncertainty as the limit again costs, in every chunk.
    """

    chunks: int = 12
    candidates: int = 16
    elites: int = 4
    rounds: int = 3
    spread: float = 0.6
    fresh_dreams: int = 4
    uncertainty_limit: float | None = None
    penalty: float = 0.1

    def __post_init__(self) -> None:
        if min(self.chunks, self.elites, self.fresh_dreams) < 1 or self.candidates < self.elites:
            raise ValueError(
                f"at least one chunk, elite and fresh dream, and as many candidates as elites, were wanted, got {self}"
            )
        if self.rounds < 0 or self.spread <= 0 or self.penalty < 0:
            raise ValueError(f"rounds and a penalty of 0 or more, and a spread above 0, were wanted, got {self}")
        if self.uncertainty_limit is not None and self.uncertainty_limit <= 0:
            raise ValueError(f"an uncertainty limit is above 0, got {self.uncertainty_limit}")


@dataclass(frozen=True, kw_only=True)
class Exploit:
    """What was found from one start: executed chunks (H, K, A), and of each the progress gained and its uncertainty.

    All are (H,): `imagined` and `uncertainty`, the means over fresh dreams of these chunks; `selected`, progress gained
    in the dream that the search picked, flattered by the picking; `true`, in the replica.
    """

    actions: NDArray[np.float32]
    imagined: NDArray[np.float64]
    uncertainty: NDArray[np.float64]
    selected: NDArray[np.float64]
    true: NDArray[np.float64]


def exploited(
    model: Dreamer, agent: Agent, replica: gymnasium.Env[Any, Any], starts: Starts, row: int, config: AdversaryConfig
) -> Exploit:
    """Look for the largest imagined return from a start, dream it again, and execute it in the replica.

    Args:
        model: what is exploited. agent: around whose chunks.
        replica: the truth; it is reset with the start's seed, so starts are beginnings of its episodes.
        starts: of which `row` is taken; its seed is that of all chance.
        config: how hard.

    Raises:
        UnsuitableEnv: if the agent is of another task than world model or replica.
        InvalidDataset: if the starts are.
    """
    check_one_task(agent, world_model=model, replica=replica)
    for card in (model.task, task_if_told(replica)):
        if card is not None:
            require_task(starts, card.name)
    start, random = starts.rows([row]), np.random.default_rng(int(starts.seeds[row]))
    begin = model.begin(torch.from_numpy(start.frames), torch.from_numpy(start.proprio), start.instruction)
    found = _searched(model, agent, begin, config, random)
    chunks = found.actions[0]
    fresh = _dreamt_again(model, begin, chunks, config.fresh_dreams, random)
    replica.reset(seed=int(starts.seeds[row]))
    return Exploit(
        actions=chunks,
        imagined=fresh.gained.mean(0),
        uncertainty=fresh.uncertainty.mean(0),
        selected=found.gained[0],
        true=_executed(replica, chunks),
    )


def _executed(replica: gymnasium.Env[Any, Any], chunks: NDArray[np.float32]) -> NDArray[np.float64]:
    """Progress that each of the chunks (H, K, A) truly gains, none once the episode is over: (H,)."""
    true, over = [], False
    for chunk in chunks:
        gained = 0.0
        if not over:
            _, reward, terminated, truncated, _ = replica.step(chunk)
            gained, over = float(reward), bool(terminated or truncated)
        true.append(gained)
    return np.array(true)


# -- whole dreams -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Dreams:
    """N whole dreams: their chunks (N, H, K, A), and of each the progress gained and its uncertainty, (N, H)."""

    actions: NDArray[np.float32]
    gained: NDArray[np.float64]
    uncertainty: NDArray[np.float64]

    def row(self, index: int) -> _Dreams:
        """One of them, as a batch of its own."""
        only = slice(index, index + 1)
        return _Dreams(actions=self.actions[only], gained=self.gained[only], uncertainty=self.uncertainty[only])


def _searched(
    model: Dreamer, agent: Agent, begin: WorldState, config: AdversaryConfig, random: np.random.Generator
) -> _Dreams:
    """The one dream of most worth that cross-entropy finds; that of the policy alone is the first to be beaten."""
    unit, future = ExplorationNoise().scaled(model.task), _seed(random)
    center = np.zeros((config.chunks, len(unit)))
    best = _bent_dreams(model, agent, begin, center[None], future)
    for number in range(config.rounds):
        # Elites are far too few to tell the spread of so many offsets, so that it is not fitted to them but halved.
        sizes = np.linspace(0, config.spread / 2**number, config.candidates)[:, None, None]
        offsets = center + sizes * unit * random.standard_normal((config.candidates, *center.shape))
        dreams = _bent_dreams(model, agent, begin, offsets, future)
        worth = _worth(dreams, config)
        order = np.argsort(-worth, kind="stable")
        center = offsets[order[: config.elites]].mean(0)
        if worth[order[0]] > _worth(best, config)[0]:
            best = dreams.row(int(order[0]))
    return best


def _bent_dreams(model: Dreamer, agent: Agent, begin: WorldState, offsets: NDArray[np.float64], seed: int) -> _Dreams:
    """Dreams of a policy that sees what it dreams, its chunks bent by `offsets` (N, H, A); the same noise for all."""
    rows, chunks, _ = offsets.shape
    acting = [Generator().manual_seed(seed) for _ in range(rows)]

    def chosen(number: int, state: WorldState) -> NDArray[np.float32]:
        frames = model.decode_newest(state).cpu().numpy()
        seen: Observation = {camera: frames[:, view] for view, camera in enumerate(model.task.cameras)}
        seen["proprio"] = state.proprio.cpu().numpy()
        meant = act_with(agent, seen, list(state.instruction), 1.0, acting)
        return _bent(meant, offsets[:, number])

    return _dreamt(model, begin, chunks, [seed] * rows, chosen)


def _dreamt_again(
    model: Dreamer, begin: WorldState, chunks: NDArray[np.float32], dreams: int, random: np.random.Generator
) -> _Dreams:
    """Chunks (H, K, A) as they are, whatever is seen, as the replica executes them too; other noise in every dream."""
    seeds = [_seed(random) for _ in range(dreams)]
    return _dreamt(model, begin, len(chunks), seeds, lambda number, _: np.stack([chunks[number]] * dreams))


def _dreamt(
    model: Dreamer,
    begin: WorldState,
    chunks: int,
    seeds: Sequence[int],
    chosen: Callable[[int, WorldState], NDArray[np.float32]],
) -> _Dreams:
    """A dream a seed, all from one moment, batched; `chosen` is asked for the chunks (N, K, A) of every number."""
    state = begin.rows(torch.zeros(len(seeds), dtype=torch.int64))
    noise = [Generator().manual_seed(seed) for seed in seeds]
    actions, gained, uncertainty = [], [], []
    for number in range(chunks):
        taken = chosen(number, state)
        state, imagined = model.imagine(state, torch.from_numpy(taken), generator=noise)
        actions.append(taken)
        gained.append(imagined.reward.double().cpu().numpy())
        uncertainty.append(_doubt(imagined))
    return _Dreams(
        actions=np.stack(actions, axis=1), gained=np.stack(gained, axis=1), uncertainty=np.stack(uncertainty, axis=1)
    )


def _worth(dreams: _Dreams, config: AdversaryConfig) -> NDArray[np.float64]:
    """Imagined return (N,), less what uncertainty is charged for."""
    worth = dreams.gained
    if config.uncertainty_limit is not None:
        worth = worth - config.penalty * (dreams.uncertainty / config.uncertainty_limit - 1).clip(min=0)
    returned: NDArray[np.float64] = worth.sum(axis=1)
    return returned


def _doubt(imagined: Imagination) -> NDArray[np.float64]:
    """How uncertain the progress gained is (B,), or else the frames."""
    known = imagined.uncertainty if imagined.progress_uncertainty is None else imagined.progress_uncertainty
    found: NDArray[np.float64] = known.double().cpu().numpy()
    return found


def _bent(chunks: NDArray[np.float32], offsets: NDArray[np.float64]) -> NDArray[np.float32]:
    """Chunks (N, K, A), smoothly bent so that they end `offsets` (N, A) away."""
    ticks = chunks.shape[1]
    share = np.arange(1, ticks + 1)[:, None] / ticks
    return (chunks + share * offsets[:, None]).clip(-1, 1).astype(np.float32)


def _seed(random: np.random.Generator) -> int:
    return int(random.integers(2**62))


# -- figures ----------------------------------------------------------------------------------------------------------


def usual_uncertainty(alone: Sequence[Exploit], *, share: float = 0.95) -> float:
    """What a policy's own chunks, in dreams of it alone, are less uncertain than in so many of 1."""
    own = np.concatenate([one.uncertainty for one in alone])
    return max(float(np.quantile(own, share)), 1e-9)


def probe_figures(alone: Sequence[Exploit], free: Sequence[Exploit], charged: Sequence[Exploit]) -> dict[str, Any]:
    """All of a probe, from the same starts: `uncertainty_limit`, and `settings_measured` by who was at work.

    Args:
        alone: the policy by itself. free: the adversary. charged: the same, charged for what is more uncertain than
            `usual_uncertainty` of the first.
    """
    limit = usual_uncertainty(alone)
    return {
        "uncertainty_limit": limit,
        "settings_measured": {
            "policy alone": exploit_figures(alone),
            "adversary": exploit_figures(free),
            "charged for uncertainty": exploit_figures(charged),
            "truncated when uncertain": exploit_figures(free, truncate_above=limit),
        },
    }


def exploit_figures(found: Sequence[Exploit], *, truncate_above: float | None = None) -> dict[str, Any]:
    """Mean imagined and true progress gained over starts, and the gap between them, with bootstrap intervals.

    `imagined` is that of fresh dreams, so that the gap is what the model believes and not what a search was lucky with;
    that of the picked dreams is told as `selected`.

    Args:
        found: one a start.
        truncate_above: believe no dream further than to before its first chunk that is more uncertain; what is true is
            counted as far.
    """
    limit = np.inf if truncate_above is None else truncate_above
    lengths = [int(np.argmax(one.uncertainty > limit)) if (one.uncertainty > limit).any() else len(one.true)
               for one in found]  # fmt: skip
    sides = ("imagined", "true", "selected")
    measures = {
        side: np.array([getattr(one, side)[:n].sum() for one, n in zip(found, lengths, strict=True)]) for side in sides
    }
    measures["gap"] = measures["imagined"] - measures["true"]
    random = np.random.default_rng(0)
    return {
        "starts": len(found),
        "chunks": float(np.mean(lengths)),
        **{
            name: {
                "value": float(values.mean()),
                "ci95": list(bootstrap_interval(values, lambda rows: float(rows.mean()), random)),
            }
            for name, values in measures.items()
        },
    }
