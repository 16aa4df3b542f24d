"""Tasks that nobody bundled: cards to test with, forgotten again afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from gymnasium import registry

from rise_gym.tasks import TASKS, TaskCard
from rise_gym.types import Episode

CARD = TaskCard(
    name="cube_in_bowl", title="CubeInBowl", instruction="Put the cube in the bowl.", cameras=("front", "wrist"),
    image_size=(32, 32), control_hz=10.0, chunk=10, horizon_s=20.0,
    action_names=(*(f"joint{n}_rad" for n in range(1, 7)), "gripper_m"), action_low=(*(-2.0,) * 6, 0.0),
    action_high=(*(2.0,) * 6, 0.08), proprio_names=(*(f"joint{n}_rad" for n in range(1, 7)), "gripper_m"), stages=(),
    robot=None,
)  # fmt: skip

TOML = """
name = "cube_in_bowl"
instruction = "Put the cube in the bowl."
cameras = ["front", "wrist"]
image_size = [32, 32]
control_hz = 10
chunk = 10
horizon_s = 20

[joints]
joint1_rad = [-2, 2]
joint2_rad = [-2, 2]
joint3_rad = [-2, 2]
joint4_rad = [-2, 2]
joint5_rad = [-2, 2]
joint6_rad = [-2, 2]
gripper_m = [0, 0.08]
"""


@contextmanager
def forgetting_tasks() -> Iterator[None]:
    """What is registered inside is unknown again outside."""
    tasks, ids = dict(TASKS), dict(registry)
    try:
        yield
    finally:
        for known, before in ((TASKS, tasks), (registry, ids)):
            known.clear()
            known.update(before)  # type: ignore[arg-type]  # each with its own


def episode(card: TaskCard, seed: int, rows: int = 24, *, success: bool = True) -> Episode:
    """A square that follows the first joint through every picture."""
    rng = np.random.default_rng(seed)
    path = np.linspace(0, 1, rows)[:, None] * rng.uniform(-0.8, 0.8, (1, len(card.action_names)))
    height, width = card.image_size
    frames = {}
    for number, camera in enumerate(card.cameras):
        video = np.full((rows, height, width, 3), 60 + 40 * number, np.uint8)
        for n in range(rows):
            left = round((width - 8) * (path[n, 0] + 1) / 2)
            video[n, -2:, : 1 + n] = 10 * (n % 20)
            video[n, 8:16, left : left + 8] = (220, 40 * number, 30)
        frames[camera] = video
    actions = np.vstack([path[1:], path[-1:]]).astype(np.float32)
    return Episode(
        task=card.name, instruction=card.instruction, frames=frames,
        proprio=card.unscale_action(path).astype(np.float32), actions=actions, success=success,
        score=10.0 * success, source="demonstration" if success else "rollout", policy="test", seed=seed,
    )  # fmt: skip
