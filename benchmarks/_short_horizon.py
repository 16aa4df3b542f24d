"""Two chunks from states in the middle of episodes, by every policy, in the replica and in the dream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import _common as common
import gymnasium
import numpy as np
import torch
from _branching import FIRST_SEED, Moment, last_of, moments
from _policies import Quality, built
from rich.progress import track
from torch import Generator

from rise_gym.agents.flow_policy import load_policy
from rise_gym.agents.noisy import NoisyAgent
from rise_gym.world_model import CompositionalWorldModel

CHUNKS = 2


def short_horizon(
    model: CompositionalWorldModel, policies: Sequence[Quality], states: int, *, rollouts_by: str
) -> dict[str, dict[str, dict[str, float]]]:
    """Mean progress gained over two chunks: policy -> `true` and `imagined` -> `gain`.

    Args:
        model: what imagines.
        policies: who acts.
        states: how many starts, on the way of the policy `rollouts_by`.
        rollouts_by: a folder or bundled name.
    """
    agents = [built(quality, common.TASK) for quality in policies]
    env = gymnasium.make(common.REPLICA, record_ticks=True, disable_env_checker=True)
    true, dreamt = [], []
    guide = load_policy(rollouts_by, task=common.TASK)
    for number, moment in enumerate(track(moments(env, guide, model, states), "branching", total=states)):
        true.append([_true_gain(env, agent, moment, model, number) for agent in agents])
        dreamt.append(_imagined_gains(model, agents, moment, number))
    env.close()
    return {
        quality.name: {"true": {"gain": float(real)}, "imagined": {"gain": float(dream)}}
        for quality, real, dream in zip(policies, np.mean(true, axis=0), np.mean(dreamt, axis=0), strict=True)
    }


def _true_gain(
    env: gymnasium.Env[Any, Any], agent: NoisyAgent, moment: Moment, model: CompositionalWorldModel, number: int
) -> float:
    env.unwrapped.set_state(moment.state)  # type: ignore[attr-defined]  # contract 7
    noise, observation, progress = [Generator().manual_seed(FIRST_SEED + number)], moment.observation, moment.progress
    for _ in range(CHUNKS):
        row = {name: np.asarray(value)[None] for name, value in observation.items()}
        chunk = agent.act(row, [model.task.instruction], generator=noise)[0]
        observation, _, terminated, truncated, info = env.step(chunk)
        progress = last_of(info["progress"])
        if terminated or truncated:
            break
    return progress - moment.progress


def _imagined_gains(
    model: CompositionalWorldModel, agents: Sequence[NoisyAgent], moment: Moment, number: int
) -> list[float]:
    """One row an agent, all of the same dream noise."""
    count, cameras = len(agents), model.task.cameras
    state = model.begin(
        torch.from_numpy(np.repeat(moment.window[None], count, axis=0)),
        torch.from_numpy(np.repeat(moment.observation["proprio"][None], count, axis=0)),
        [model.task.instruction] * count,
    )
    dreaming = [Generator().manual_seed(FIRST_SEED) for _ in agents]
    acting = [Generator().manual_seed(FIRST_SEED + number) for _ in agents]
    before, gain = state.progress.clamp(0, 1).numpy(), np.zeros(count)
    for _ in range(CHUNKS):
        frames, proprio = model.decode_newest(state).numpy(), state.proprio.numpy()
        chunks = []
        for row, agent in enumerate(agents):
            seen: Any = {camera: frames[row, view][None] for view, camera in enumerate(cameras)}
            seen["proprio"] = proprio[row][None]
            chunks.append(agent.act(seen, [model.task.instruction], generator=[acting[row]])[0])
        state, imagined = model.imagine(state, torch.from_numpy(np.stack(chunks)), generator=dreaming)
        gain = imagined.progress[:, -1].clamp(0, 1).numpy() - before
    return gain.tolist()
