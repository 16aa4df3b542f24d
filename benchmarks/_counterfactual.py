"""From the same physics state, eight different chunks in the replica and in the dream: are they told apart?"""

from __future__ import annotations

from typing import Any

import _common as common
import gymnasium
import numpy as np
import torch
from _branching import FIRST_SEED, Moment, act, last_of, moments, views_of
from numpy.typing import NDArray
from rich.progress import track
from torch import Generator

from rise_gym.agents.flow_policy import FlowPolicy, load_policy
from rise_gym.collection import ExplorationNoise
from rise_gym.commands._shared import env_id_of
from rise_gym.metrics import bootstrap_interval, difference_correlation
from rise_gym.world_model import CompositionalWorldModel

CHUNKS = (
    "policy",
    "policy again",
    "policy, third sample",
    "policy asked for the worst",
    "policy with noise",
    "policy with more noise",
    "chunk of another state, begun here",
    "hold still",
)
DECISIVE_GAIN = 0.02
"""Spread of true gains (progress in [0, 1]) from which on there is a best chunk worth finding: where all eight lead to
the same progress, which of them is best is decided by the last digit."""


def counterfactual(model: CompositionalWorldModel, policy: str, states: int) -> dict[str, Any]:
    """Correlation of predicted with true differences, and how often the truly best chunk is among the dream's best."""
    task = model.task.name
    env = gymnasium.make(env_id_of("Mujoco", task), record_ticks=True, disable_env_checker=True)
    agent = load_policy(policy, task=task, temperature=1.0)  # at 0 all samples of a state are the same
    random = np.random.default_rng(FIRST_SEED)
    rows, other = [], None
    for moment in track(moments(env, agent, model, states), "branching", total=states):
        chunks = _chunks(agent, moment, model, random, other)
        other = (chunks[0], moment.observation["proprio"])
        rows.append(_compared(env, model, moment, chunks))
    env.close()
    found = _summed(rows)
    common.show(
        f"From one physics state, {len(CHUNKS)} chunks ({found['states']} states, {found['decisive_states']} decisive)",
        ("figure", "value", "95 %"),
        [
            (name.replace("_", " "), found[name]["value"], common.interval_text(found[name]["ci95"]))
            for name in _STATISTICS
        ],
    )
    return found


def _chunks(
    agent: FlowPolicy,
    moment: Moment,
    model: CompositionalWorldModel,
    random: np.random.Generator,
    other: tuple[NDArray[np.float32], NDArray[Any]] | None,
) -> NDArray[np.float32]:
    """The eight of `CHUNKS`: (8, K, A)."""
    task, seen = model.task, moment.observation
    samples = [act(agent, seen, model)[0] for _ in range(3)]
    worst = act(agent, seen, model, -1.0)[0]
    noise, width = ExplorationNoise(), len(task.action_names)
    offsets = [
        amount * noise.scaled(task) * noise.offsets(random.standard_normal(width), task.chunk, task, random)
        for amount in (1.0, 2.5)
    ]
    pose = np.clip(task.scale_action(np.asarray(seen["proprio"], np.float64)), -1, 1)
    still = np.repeat(pose[None], task.chunk, axis=0)
    borrowed = samples[0][::-1] if other is None else other[0] - task.scale_action(other[1]) + pose
    noisy = [sample + offset for sample, offset in zip(samples[:2], offsets, strict=True)]
    return np.clip(np.stack([*samples, worst, *noisy, borrowed, still]), -1, 1).astype(np.float32)


def _compared(
    env: gymnasium.Env[Any, Any], model: CompositionalWorldModel, moment: Moment, chunks: NDArray[np.float32]
) -> dict[str, Any]:
    true, true_gain = [], []
    for chunk in chunks:
        env.unwrapped.set_state(moment.state)  # type: ignore[attr-defined]
        info = env.step(chunk)[4]
        views = views_of(info["ticks"], model.task.cameras)
        true.append(views[np.minimum(np.arange(len(chunk)), len(views) - 1)])  # a chunk may end the episode early
        true_gain.append(last_of(info["progress"]) - moment.progress)
    count = len(chunks)
    state = model.begin(
        torch.from_numpy(np.repeat(moment.window[None], count, axis=0)),
        torch.from_numpy(np.repeat(moment.observation["proprio"][None], count, axis=0)),
        [model.task.instruction] * count,
    )
    noise = [Generator().manual_seed(FIRST_SEED) for _ in chunks]  # the same noise: only the actions differ
    _, imagined = model.imagine(state, torch.from_numpy(chunks), generator=noise)
    dreamt = model.decode(imagined.latents).numpy()
    value = imagined.progress.numpy()
    return {
        "by_view": [
            difference_correlation(dreamt[:, :, view], np.stack(true)[:, :, view]) for view in range(dreamt.shape[2])
        ],
        "correlation": difference_correlation(dreamt, np.stack(true)),
        "true_gain": true_gain,
        "imagined_gain": (value[:, -1] - state.progress.numpy()).tolist(),
        "imagined_advantage": imagined.advantage.tolist(),
    }


def _best_in_top(row: dict[str, Any], key: str, top: int = 3) -> float:
    """Whether a truly best chunk is among the dream's `top` best; several may be equally good."""
    gain = np.array(row["true_gain"])
    best = set(np.flatnonzero(gain >= gain.max() - 1e-6).tolist())
    return float(bool(best & set(np.argsort(-np.array(row[key]), kind="stable")[:top].tolist())))


def _decisive(row: dict[str, Any]) -> bool:
    return float(np.ptp(row["true_gain"])) >= DECISIVE_GAIN


def _mean(values: list[float]) -> float:
    found = [value for value in values if not np.isnan(value)]
    return float(np.mean(found)) if found else float("nan")


_STATISTICS = {
    "difference_correlation": lambda rows: _mean([row["correlation"] for row in rows]),
    "best_in_top_three": lambda rows: _mean([_best_in_top(row, "imagined_gain") for row in rows if _decisive(row)]),
    "best_in_top_three_by_advantage": lambda rows: _mean(
        [_best_in_top(row, "imagined_advantage") for row in rows if _decisive(row)]
    ),
    "best_in_top_three_all_states": lambda rows: _mean([_best_in_top(row, "imagined_gain") for row in rows]),
}


def _summed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    index, random = np.arange(len(rows)), np.random.default_rng(0)
    found: dict[str, Any] = {
        "states": len(rows),
        "first_seed": FIRST_SEED,
        "chunks": list(CHUNKS),
        "decisive_gain": DECISIVE_GAIN,
        "decisive_states": sum(_decisive(row) for row in rows),
        "difference_correlation_by_view": np.nanmean([row["by_view"] for row in rows], axis=0).tolist(),
        "chance_of_best_in_top_three": 3 / len(CHUNKS),
    }
    for name, statistic in _STATISTICS.items():

        def of(picked: NDArray[Any], statistic: Any = statistic) -> float:
            return float(statistic([rows[int(i)] for i in picked]))

        interval = bootstrap_interval(index, of, random, resamples=500)
        found[name] = {"value": of(index), "ci95": list(interval)}
    return found
