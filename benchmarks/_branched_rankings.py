"""Sequences of chunks that branch from one physics state: for how many chunks does the dream rank them rightly?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from _branching import FIRST_SEED, Moment, last_of
from _policies import Quality, VariedAgent
from numpy.typing import NDArray
from torch import Generator

from rise_gym.metrics import bootstrap_interval, spearman
from rise_gym.world_model import CompositionalWorldModel

DECISIVE_GAIN = 0.02
"""Spread of true progress, in [0, 1], from which on there is a ranking worth finding."""
RANKING_LEVEL = 0.5
"""A mean Spearman correlation below this is a ranking that broke."""


def branches(base: str, rise: str) -> list[Quality]:
    """Who plays the sequences: good, bad and in between, since alike ones have no ranking."""
    return [
        Quality(name="rise", policy=rise),
        Quality(name="base", policy=base),
        Quality(name="base, temperature 1", policy=base, temperature=1.0),
        Quality(name="rise, noise 1", policy=rise, noise=1.0),
        Quality(name="base, noise 3", policy=base, noise=3.0),
        Quality(name="base, 4 ticks late", policy=base, late_ticks=4),
    ]


def branched(
    env: gymnasium.Env[Any, Any],
    model: CompositionalWorldModel,
    agents: Sequence[VariedAgent],
    moment: Moment,
    chunks: int,
    number: int,
) -> dict[str, Any]:
    """Progress gained after every chunk, `true` and `imagined` (N, H): each agent plays on, its chunks are dreamt."""
    played = [_played(env, agent, moment, model, chunks, number) for agent in agents]
    actions = np.stack([executed for executed, _ in played])  # (N, H, K, A)
    return {
        "true": [gains for _, gains in played],
        "imagined": _dreamt(model, moment, actions).tolist(),
    }


def _played(
    env: gymnasium.Env[Any, Any],
    agent: VariedAgent,
    moment: Moment,
    model: CompositionalWorldModel,
    chunks: int,
    number: int,
) -> tuple[NDArray[np.float32], list[float]]:
    """Executed chunks (H, K, A) and progress gained after each; after the episode's end all stays as it is."""
    env.unwrapped.set_state(moment.state)  # type: ignore[attr-defined]  # contract 7
    noise, observation, over = [Generator().manual_seed(FIRST_SEED + number)], moment.observation, False
    executed: list[NDArray[np.float32]] = []
    gains: list[float] = []
    for _ in range(chunks):
        if over:
            executed.append(np.repeat(executed[-1][-1:], len(executed[-1]), axis=0))
            gains.append(gains[-1])
            continue
        row = {name: np.asarray(value)[None] for name, value in observation.items()}
        executed.append(agent.act(row, [model.task.instruction], generator=noise)[0])
        observation, _, terminated, truncated, info = env.step(executed[-1])
        gains.append(last_of(info["progress"]) - moment.progress)
        over = terminated or truncated
    return np.stack(executed), gains


def _dreamt(model: CompositionalWorldModel, moment: Moment, actions: NDArray[np.float32]) -> NDArray[np.float64]:
    """The same chunks (N, H, K, A), all of the same noise: progress gained after each (N, H)."""
    count, gains = len(actions), []
    state = model.begin(
        torch.from_numpy(np.repeat(moment.window[None], count, axis=0)),
        torch.from_numpy(np.repeat(moment.observation["proprio"][None], count, axis=0)),
        [model.task.instruction] * count,
    )
    noise = [Generator().manual_seed(FIRST_SEED) for _ in range(count)]
    before = state.progress.clamp(0, 1)
    for chunk in actions.swapaxes(0, 1):
        state, imagined = model.imagine(state, torch.from_numpy(np.ascontiguousarray(chunk)), generator=noise)
        gains.append((imagined.progress[:, -1].clamp(0, 1) - before).numpy())
    return np.stack(gains, axis=1)


def ranking_figures(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How rankings hold over the horizon, and after how many chunks they break.

    `within_a_state`: mean Spearman over sequences from one state, of the decisive states; `over_policies`: Spearman of
    the policies' mean gains over all states. `breaks_after`: as many chunks the first stays at `RANKING_LEVEL` or
    above; None if it never falls below.
    """
    true, imagined = (np.array([state[side] for state in states]) for side in ("true", "imagined"))  # (S, N, H)
    random, within, over, counts = np.random.default_rng(0), [], [], []
    for ours, theirs in zip(np.moveaxis(imagined, 2, 0), np.moveaxis(true, 2, 0), strict=True):  # (S, N) each
        decisive = np.ptp(theirs, axis=1) >= DECISIVE_GAIN
        found = np.array([spearman(a, b) for a, b in zip(ours[decisive], theirs[decisive], strict=True)])
        found = np.nan_to_num(found)  # what the dream holds for equal is no ranking
        counts.append(len(found))
        within.append(_mean(found, random))
        pairs = np.stack([ours, theirs], axis=2)
        interval = bootstrap_interval(pairs, _over_policies, random, resamples=500)
        over.append({"value": _over_policies(pairs), "ci95": list(interval)})
    values = [one["value"] for one in within]
    broken = [n for n, value in enumerate(values) if not value >= RANKING_LEVEL]
    return {
        "states": len(states),
        "decisive_states": counts,
        "level": RANKING_LEVEL,
        "breaks_after": broken[0] if broken else None,
        "within_a_state": within,
        "over_policies": over,
    }


def _over_policies(pairs: NDArray[Any]) -> float:
    ours, theirs = pairs.mean(0).T
    return spearman(ours, theirs)


def _mean(values: NDArray[np.float64], random: np.random.Generator) -> dict[str, Any]:
    if not len(values):
        return {"value": float("nan"), "ci95": [float("nan")] * 2}
    interval = bootstrap_interval(values, lambda rows: float(rows.mean()), random, resamples=500)
    return {"value": float(values.mean()), "ci95": list(interval)}
