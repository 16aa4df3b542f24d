"""An adversary that looks for what a world model promises too much: how large is the gap to what is true?

From one start, chunk by chunk, it tries many deviations from a policy's chunk in the world model and keeps the one of
the largest imagined advantage (the cross-entropy method; the policy's own chunk is among those it tries). The same
chunks are then executed in the replica. What is imagined beyond what is true was exploited, not earned. With the
uncertainty counted, less of it should be left.
"""

from __future__ import annotations

from collections.abc import Sequence
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

    def imagine(
        self, state: WorldState, actions: Tensor, *, generator: Generators, drawn: bool = True
    ) -> tuple[WorldState, Imagination]:
        """As in `rise_gym.protocols.WorldModel`; without `drawn` only advantage and uncertainty matter."""

    def decode_newest(self, state: WorldState) -> Tensor:
        """What the cameras show now: uint8 (B, V, H, W, 3)."""


@dataclass(frozen=True, kw_only=True)
class AdversaryConfig:
    """How hard the adversary searches, and what it is charged for.

    Attributes:
        chunks: how far it goes.
        candidates, elites, rounds: of the cross-entropy method, for every chunk. `rounds` 0 plays the policy's own.
        spread: where chunks end at first, around what the policy meant: standard deviations of `ExplorationNoise`.
        uncertainty_limit: what is more uncertain is charged for; None charges nothing. Of the progress gained, if the
            model knows how far off that may be, else of the frames.
        penalty: advantage that each time as much uncertainty as the limit again costs.
    """

    chunks: int = 12
    candidates: int = 32
    elites: int = 6
    rounds: int = 4
    spread: float = 2.0
    uncertainty_limit: float | None = None
    penalty: float = 0.5

    def __post_init__(self) -> None:
        if min(self.chunks, self.elites) < 1 or self.rounds < 0 or self.candidates < self.elites or self.spread <= 0:
            raise ValueError(f"at least one chunk, and as many candidates as elites, were wanted, got {self}")
        if self.uncertainty_limit is not None and self.uncertainty_limit <= 0:
            raise ValueError(f"an uncertainty limit is above 0, got {self.uncertainty_limit}")


@dataclass(frozen=True, kw_only=True)
class Exploit:
    """What was found from one start: executed chunks (H, K, A), and of each the progress gained and its uncertainty.

    `imagined`, `uncertainty` and `true` are (H,); `true` is empty until the chunks were executed.
    """

    actions: NDArray[np.float32]
    imagined: NDArray[np.float64]
    uncertainty: NDArray[np.float64]
    true: NDArray[np.float64]


def exploited(
    model: Dreamer, agent: Agent, replica: gymnasium.Env[Any, Any], starts: Starts, row: int, config: AdversaryConfig
) -> Exploit:
    """Look for the most imagined progress from a start, and execute what was found in the replica.

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
    found = _searched(model, agent, starts.rows([row]), config)
    replica.reset(seed=int(starts.seeds[row]))
    true, over = [], False
    for chunk in found.actions:
        gained = 0.0
        if not over:
            _, reward, terminated, truncated, _ = replica.step(chunk)
            gained, over = float(reward), bool(terminated or truncated)
        true.append(gained)
    return Exploit(actions=found.actions, imagined=found.imagined, uncertainty=found.uncertainty, true=np.array(true))


def _searched(model: Dreamer, agent: Agent, start: Starts, config: AdversaryConfig) -> Exploit:
    seed = int(start.seeds[0])
    state = model.begin(torch.from_numpy(start.frames), torch.from_numpy(start.proprio), start.instruction)
    dreaming, acting, random = Generator().manual_seed(seed), Generator().manual_seed(seed), np.random.default_rng(seed)
    actions, gained, uncertainty = [], [], []
    for _ in range(config.chunks):
        frames = model.decode_newest(state).cpu().numpy()
        seen: Observation = {camera: frames[:, view] for view, camera in enumerate(model.task.cameras)}
        seen["proprio"] = state.proprio.cpu().numpy()
        chunk = act_with(agent, seen, list(start.instruction), 1.0, [acting])[0]
        for_sure = _most_promising(model, state, chunk, config, random) if config.rounds else chunk
        state, imagined = model.imagine(state, torch.from_numpy(for_sure[None]), generator=[dreaming])
        actions.append(for_sure)
        gained.append(float(imagined.reward[0]))
        uncertainty.append(float(_doubt(imagined)[0]))
    return Exploit(
        actions=np.stack(actions), imagined=np.array(gained), uncertainty=np.array(uncertainty), true=np.empty(0)
    )


def _most_promising(
    model: Dreamer, state: WorldState, chunk: NDArray[np.float32], config: AdversaryConfig, random: np.random.Generator
) -> NDArray[np.float32]:
    """The chunk (K, A) of most worth that cross-entropy finds around one, in futures other than what is to come."""
    unit = ExplorationNoise().scaled(model.task)
    mean, spread = np.zeros(len(unit)), config.spread * unit
    tried_from = state.rows(torch.zeros(config.candidates, dtype=torch.int64))
    seed = int(random.integers(2**62))
    found, most = chunk, -np.inf
    for _ in range(config.rounds):
        offsets = random.normal(mean, spread, (config.candidates, len(unit)))
        offsets[0] = 0.0  # the policy's own is there to be taken
        noise = [Generator().manual_seed(seed) for _ in range(config.candidates)]  # one future for all
        tried = torch.from_numpy(_bent(chunk, offsets))
        _, imagined = model.imagine(tried_from, tried, generator=noise, drawn=False)
        worth = _worth(imagined, config)
        order = np.argsort(-worth, kind="stable")
        if worth[order[0]] > most:
            found, most = tried[order[0]].numpy(), worth[order[0]]
        best = offsets[order[: config.elites]]
        mean, spread = best.mean(0), best.std(0) + 0.1 * config.spread * unit
    return found


def _worth(imagined: Imagination, config: AdversaryConfig) -> NDArray[np.float64]:
    """Advantage (B,), less what uncertainty is charged for."""
    promised = imagined.advantage.double().cpu().numpy()
    if config.uncertainty_limit is None:
        return np.asarray(promised)
    excess = (_doubt(imagined) / config.uncertainty_limit - 1).clip(min=0)
    return np.asarray(promised - config.penalty * excess)


def _doubt(imagined: Imagination) -> NDArray[np.float64]:
    """How uncertain the progress gained is (B,), or else the frames."""
    known = imagined.uncertainty if imagined.progress_uncertainty is None else imagined.progress_uncertainty
    found: NDArray[np.float64] = known.double().cpu().numpy()
    return found


def _bent(chunk: NDArray[np.float32], offsets: NDArray[np.float64]) -> NDArray[np.float32]:
    """A chunk (K, A), bent so that it ends `offsets` (N, A) away: (N, K, A)."""
    share = np.arange(1, len(chunk) + 1)[:, None] / len(chunk)
    return (chunk + share * offsets[:, None]).clip(-1, 1).astype(np.float32)


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

    Args:
        found: one a start.
        truncate_above: believe no dream further than to before its first chunk that is more uncertain; what is true is
            counted as far.
    """
    limit = np.inf if truncate_above is None else truncate_above
    lengths = [int(np.argmax(one.uncertainty > limit)) if (one.uncertainty > limit).any() else len(one.true)
               for one in found]  # fmt: skip
    pairs = np.array([(one.imagined[:n].sum(), one.true[:n].sum()) for one, n in zip(found, lengths, strict=True)])
    measures = {"imagined": pairs[:, 0], "true": pairs[:, 1], "gap": pairs[:, 0] - pairs[:, 1]}
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
