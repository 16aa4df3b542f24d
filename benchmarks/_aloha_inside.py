"""Runs in gym-aloha's own environment, with nothing of this project: episodes of two simulated arms as plain arrays.

    python _aloha_inside.py EPISODES COUNT TICKS      # a folder, which gets an .npz an episode

Every joint swings around where it starts, by sines that the episode's number draws, and the grippers open and close.
Nobody hands the cube over: to swing is the task here.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ENVIRONMENT = "gym_aloha:gym_aloha/AlohaTransferCube-v0"
TASK = "Swing both arms to and fro."
GRIPPERS = (6, 13)
SWING_RAD = 0.25
CONTROL_HZ = 50


def record(folder: str, count: str, ticks: str) -> dict[str, Any]:
    """Play the episodes and write them down."""
    os.environ.setdefault("MUJOCO_GL", "egl")
    import gymnasium

    env = gymnasium.make(ENVIRONMENT, obs_type="pixels_agent_pos")
    quality = env.unwrapped._env.physics.model.vis.quality  # type: ignore[attr-defined]  # of AlohaEnv
    quality.shadowsize = quality.offsamples = 0  # shadows and smooth edges take most of the time without a GPU
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number in range(int(count)):
        np.savez(Path(folder) / f"episode_{number:03d}.npz", **_episode(env, number, int(ticks)))
    env.close()
    names = ("gym-aloha", "mujoco", "dm-control", "gymnasium")
    return {"versions": {name: version(name) for name in names}, "environment": ENVIRONMENT}


def _episode(env: Any, number: int, ticks: int) -> dict[str, Any]:
    """One episode: a row is what was seen, what was then commanded, and what came of it."""
    observation, _ = env.reset(seed=number)
    targets = _targets(np.array(observation["agent_pos"]), np.random.default_rng(number), ticks)
    columns: dict[str, list[Any]] = {}
    for tick, target in enumerate(targets):
        row = {"observation.images.top": observation["pixels"]["top"], "observation.state": observation["agent_pos"]}
        observation, reward, done, _, info = env.step(target)
        outcome = {"next.reward": [reward], "next.success": [info["is_success"]], "next.done": [tick == ticks - 1]}
        for name, value in {**row, "action": target, **outcome}.items():
            columns.setdefault(name, []).append(value)
        if done:
            break
    kinds = {"observation.state": np.float32, "action": np.float32, "next.reward": np.float32}
    arrays = {name: np.asarray(values, kinds.get(name)) for name, values in columns.items()}
    return {**arrays, "task": np.array([TASK] * len(arrays["action"]))}


def _targets(start: Any, rng: np.random.Generator, ticks: int) -> Any:
    """Absolute targets (ticks, 14): rad, and from 0 (closed) to 1 (open)."""
    times = np.arange(ticks)[:, None] / CONTROL_HZ
    middle, swing = start.copy(), np.full(start.shape, SWING_RAD)
    middle[list(GRIPPERS)], swing[list(GRIPPERS)] = 0.5, 0.4
    rate, phase = rng.uniform(1.0, 3.0, start.shape), rng.choice([-1.0, 1.0], start.shape)
    return (middle + swing * phase * np.sin(rate * times)).astype(np.float32)


if __name__ == "__main__":
    print(json.dumps(record(*sys.argv[1:])))
