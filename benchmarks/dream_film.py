"""A dream beside the truth: an episode of a policy in the replica, and below it the same actions, dreamt.

    python benchmarks/dream_film.py

The dream is shown where the episode begins and nothing of what follows. The README's film.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _common as common
import gymnasium
import imageio.v3 as imageio
import numpy as np
import tyro
from numpy.typing import NDArray
from torch import Generator

from rise_gym._report_films import grid
from rise_gym.agents.trainable import load_trainable
from rise_gym.collection import AgentActor
from rise_gym.registration import env_id
from rise_gym.report import Dream
from rise_gym.report_material import imagine_beside, play_and_record
from rise_gym.tasks import TaskCard, task_card
from rise_gym.types import Episode
from rise_gym.world_model import CompositionalWorldModel

EVERY_TICKS = 2
FRAMES_A_SECOND = 12
HOLD_S = 1.5  # the last picture


def main(
    *,
    folder: Path = common.RESULTS,
    task: str = "box_close",
    policy: str | None = None,
    world_model: str | None = None,
    seed: int = 100_000,
) -> None:
    """Play, dream and draw.

    Args:
        folder: where `dream_<task>.webp` goes.
        task: its name.
        policy: who acts; default: the task's bundled RISE.
        world_model: who dreams; default: the task's bundled one.
        seed: of the episode, from 100000 on: what no world model learnt from.
    """
    model = CompositionalWorldModel.from_pretrained(world_model or f"bundled:{task}/world_model", task=task)
    episode = played(task, policy or f"bundled:{task}/rise", seed)
    chunks = (len(episode) - 1) // model.longest_chunk
    dream = imagine_beside(model, episode, 0, chunks=chunks, generator=Generator().manual_seed(seed), title="")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"dream_{task}.webp"
    path.write_bytes(film(dream, task_card(task)))
    print(f"{path}: {chunks} chunks, {'solved' if episode.success else 'not solved'}, {path.stat().st_size} bytes")


def played(task: str, policy: str, seed: int) -> Episode:
    """One episode, every tick of it."""
    env: Any = gymnasium.make(env_id("Mujoco", task), record_ticks=True, disable_env_checker=True)
    episode = play_and_record(env, AgentActor(load_trainable(policy, task=task)), seed, policy=policy)
    env.close()
    return episode


def film(dream: Dream, task: TaskCard) -> bytes:
    """The true views above the imagined ones, with the progress of both, as an animated WebP."""
    ticks = [*range(0, len(dream.true), EVERY_TICKS)]
    pictures = [_picture(dream, tick, task) for tick in ticks]
    still = round(HOLD_S * FRAMES_A_SECOND)
    return _animated([*pictures, *[pictures[-1]] * still])


def _picture(dream: Dream, tick: int, task: TaskCard) -> NDArray[np.uint8]:
    rows = [
        (f"physics\nprogress {dream.true_progress[tick]:.2f}", list(dream.true[tick])),
        (f"dream\nprogress {dream.imagined_progress[tick]:.2f}", list(dream.imagined[tick])),
    ]
    return grid(rows, [camera.replace("_", " ") for camera in task.cameras], scale=3)


def _animated(pictures: Sequence[NDArray[np.uint8]]) -> bytes:
    animated = imageio.imwrite(
        "<bytes>", np.stack(pictures), extension=".webp", plugin="pillow", duration=1000 / FRAMES_A_SECOND, loop=0,
        quality=70, method=6,
    )  # fmt: skip
    assert isinstance(animated, bytes)
    return animated


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
