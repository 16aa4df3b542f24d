"""What every task looks like: an episode of the scripted expert as all cameras see it, a picture a task.

    python benchmarks/contact_sheets.py

Drawn larger than the policies see it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import _common as common
import gymnasium
import numpy as np
import tyro
from numpy.typing import NDArray

from rise_gym._report_films import grid, png
from rise_gym.agents.scripted import expert_actor
from rise_gym.envs.mujoco.views import painter
from rise_gym.registration import env_id
from rise_gym.tasks import TASKS

COLUMNS = 8
SIZE_PX = (144, 144)
Moment = tuple[int, float, list[NDArray[np.uint8]]]


def main(*, folder: Path = common.RESULTS, tasks: tuple[str, ...] = tuple(TASKS), seed: int = 1) -> None:
    """Play and draw.

    Args:
        folder: where `contact_sheet_<task>.png` goes.
        tasks: names of tasks.
        seed: of the episode.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        path = folder / f"contact_sheet_{task}.png"
        path.write_bytes(sheet(task, played(task, seed)))
        print(path)


def played(task: str, seed: int) -> list[Moment]:
    """The expert's episode, tick by tick: the tick, the score, a picture (H, W, 3) a camera."""
    env: Any = gymnasium.make(f"rise_gym:{env_id('Mujoco', task)}", chunk=1, disable_env_checker=True).unwrapped
    _, info = env.reset(seed=seed)
    expert = expert_actor(task)
    expert.reset(env, seed)
    moments, over = [_moment(env, 0, info)], False
    while not over:
        _, _, terminated, truncated, info = env.step(expert.act(env)[1])
        moments.append(_moment(env, len(moments), info))
        over = terminated or truncated
    env.close()
    return moments


def _moment(env: Any, tick: int, info: dict[str, Any]) -> Moment:
    drawn = painter(SIZE_PX).paint(env.scene.model, env.scene.data, env.task.cameras)
    return tick, info["score"], [drawn[camera] for camera in env.task.cameras]


def sheet(task: str, moments: list[Moment]) -> bytes:
    """Some of the moments at equal distances in time as PNG, a row a camera."""
    card = TASKS[task]
    columns = [moments[tick] for tick in np.linspace(0, len(moments) - 1, COLUMNS).round().astype(int)]
    titles = [f"{tick / card.control_hz:.1f} s, {score:g}" for tick, score, _ in columns]
    rows = [(name.replace("_", " "), [seen[view] for *_, seen in columns]) for view, name in enumerate(card.cameras)]
    return png(grid(rows, titles, scale=1))


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
