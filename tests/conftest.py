"""Shared fixtures: world models of arithmetic one can follow, and a tiny one of the real classes, random weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor, nn

from rise_gym.dynamics import Prediction
from rise_gym.starts import Starts
from rise_gym.tasks import BOX_CLOSE, TASKS, TaskCard
from rise_gym.world_model import CompositionalWorldModel, WorldModelConfig

HISTORY, STRIDE, CHUNK = 4, 2, 10


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny models gain nothing from a second thread, and other tests may run beside this one."""
    torch.set_num_threads(1)


class BrightnessCodec(nn.Module):
    """One latent a view: the brightness of its frame."""

    def encode(self, frames: Tensor) -> Tensor:
        return frames[..., :1, :1, 0].float()[..., None].movedim(-1, -3)

    def decode(self, latents: Tensor) -> Tensor:
        frame = latents.round().clamp(0, 255).to(torch.uint8).expand(*latents.shape[:-2], 64, 64)
        return frame.expand(*frame.shape[:-3], 3, 64, 64).movedim(-3, -1)


class CountingDynamics(nn.Module):
    """Each tick is one brighter than the last, plus the first joint's target, plus noise; remembers its history."""

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.config = SimpleNamespace(history=HISTORY, stride=STRIDE, chunk=CHUNK, later=(20, 40))
        self.noise, self.history, self.expects_gain = noise, torch.empty(0), False
        self.gain: Tensor | None = None
        self.later: Tensor | None = None
        self.device = torch.device("cpu")

    def sample(
        self,
        history: Tensor,
        proprio: Tensor,
        actions: Tensor,
        *,
        generator: Sequence[Generator],
        drawn: bool = True,
        instruction: Sequence[str] | None = None,
    ) -> Prediction:
        self.history = history[:, :, 0, 0, 0, 0]
        jumps = 1 + actions[..., 0].cumsum(1) * 0
        noise = torch.stack([torch.randn((actions.shape[1],), generator=one) for one in generator]) * self.noise
        latents = history[:, -1:] + (jumps.cumsum(1) + actions[..., 0] + noise)[:, :, None, None, None, None]
        uncertainty = actions.abs().amax((1, 2))
        return Prediction(latents, proprio[:, None] + actions, uncertainty, self.gain, self.later)


class BrightnessValue(nn.Module):
    """Done at brightness 100, lost below 0."""

    config = SimpleNamespace(success_threshold=0.9)

    def progress(self, latents: Tensor, instruction: Sequence[str]) -> Tensor:
        assert len(instruction) == len(latents)
        sign = torch.tensor([-1.0 if "lost" in text else 1.0 for text in instruction])
        return (latents.mean((1, 2, 3, 4)) / 100).clamp(-1, 1) * sign


@pytest.fixture(scope="session")
def counting_world() -> Callable[..., CompositionalWorldModel]:
    """Builds world models in which every tick is one brighter, and brightness 100 is all of the progress."""

    def build(noise: float = 0.0, **config: Any) -> CompositionalWorldModel:
        parts: dict[str, Any] = {
            "codec": BrightnessCodec(),
            "dynamics": CountingDynamics(noise),
            "value": BrightnessValue(),
        }
        return CompositionalWorldModel(**parts, task=BOX_CLOSE, config=WorldModelConfig(**config))

    return build


@pytest.fixture(scope="session")
def counting_starts() -> Starts:
    """Eight windows of brightness 0, 10, ... 70 throughout; the even ones are beginnings."""
    brightness = np.arange(8, dtype=np.uint8) * 10
    return Starts(
        task=BOX_CLOSE.name,
        frames=np.broadcast_to(brightness[:, None, None, None, None, None], (8, 7, 3, 64, 64, 3)).copy(),
        proprio=np.zeros((8, 14), np.float32),
        instruction=tuple(f"close box {n}" for n in range(8)),
        seeds=np.arange(100, 108),
        tick=np.array([0, 30] * 4),
    )


def coloured_noise(task: TaskCard) -> Starts:
    """Four windows of it, around plausible joint angles."""
    rng = np.random.default_rng(0)
    low, high = np.array(task.action_low), np.array(task.action_high)
    return Starts(
        task=task.name,
        frames=rng.integers(0, 256, (4, 7, len(task.cameras), *task.image_size, 3), dtype=np.uint8),
        proprio=rng.uniform(low, high, (4, len(low))).astype(np.float32),
        instruction=(task.instruction,) * 4,
        seeds=np.arange(4),
        tick=np.array([0, 0, 0, 12]),
    )


@pytest.fixture(scope="session")
def random_starts() -> Starts:
    """Windows of noise for box closing."""
    return coloured_noise(BOX_CLOSE)


@pytest.fixture(scope="session")
def tiny_world_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The checkpoint folder of a task: the real classes, tiny, with random weights, and start windows in it."""
    folder = tmp_path_factory.mktemp("worlds")
    return cache(lambda task: _tiny_world(TASKS[task], folder / task))


@pytest.fixture(scope="session")
def tiny_world_for() -> Callable[[TaskCard, Path], Path]:
    """Writes one of any registered card into a folder."""
    return _tiny_world


@pytest.fixture(scope="session")
def tiny_world(tiny_world_of: Callable[[str], Path]) -> Path:
    """That of box closing."""
    return tiny_world_of(BOX_CLOSE.name)


def _tiny_world(task: TaskCard, folder: Path) -> Path:
    from rise_gym.codec import FrameCodec
    from rise_gym.dynamics import VideoDynamics
    from rise_gym.value import ProgressValue

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        codec = FrameCodec(latent_channels=2, width=8, encoder_blocks=(1, 1), decoder_blocks=(1, 1), patch=4)
        latents: dict[str, Any] = {"task": task.name, "latent_channels": 2, "latent_size": task.image_size[0] // 8}
        dynamics = VideoDynamics(**latents, widths=(8, 16, 32), blocks=1, embedding_width=16, map_channels=8)
        value = ProgressValue(**latents)
        for parameter in dynamics.parameters():  # untrained it would predict that nothing moves
            torch.nn.init.normal_(parameter, std=0.1)
    world = CompositionalWorldModel(codec=codec, dynamics=dynamics, value=value, task=task)
    return world.save_pretrained(folder, starts=coloured_noise(task))


@pytest.fixture(scope="session")
def tiny_kwargs(tiny_world: Path) -> dict[str, Any]:
    """`gym.make` arguments of an imagined env with the tiny world model."""
    return {"world_model": str(tiny_world)}


@pytest.fixture(scope="session")
def imagined_kwargs_of(tiny_world_of: Callable[[str], Path]) -> Callable[[str], dict[str, Any]]:
    """`gym.make` arguments of a task's imagined env: the bundled world model where there is one, else the tiny one."""
    from rise_gym.errors import InvalidCheckpoint
    from rise_gym.locations import resolve

    def arguments(task: str) -> dict[str, Any]:
        try:
            resolve(f"bundled:{task}/world_model")
        except InvalidCheckpoint:
            return {"world_model": str(tiny_world_of(task))}
        return {}

    return arguments


@pytest.fixture(scope="session")
def imagined_kwargs(imagined_kwargs_of: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """Those of box closing."""
    return imagined_kwargs_of(BOX_CLOSE.name)


class Blind:
    """Stands in for the painter: an expert looks at the physics, so its tests need neither OpenGL nor its time."""

    def paint(self, model: Any, data: Any, cameras: tuple[str, ...]) -> dict[str, np.ndarray]:
        return {camera: np.zeros((64, 64, 3), np.uint8) for camera in cameras}


@pytest.fixture
def blind_replica(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes the replica of a task, tick by tick, that draws no pictures; further arguments go to `gym.make`."""
    import gymnasium

    monkeypatch.setattr("rise_gym.envs.mujoco.env.painter", lambda size: Blind())
    return lambda task, **how: gymnasium.make(f"RiseMujoco-{TASKS[task].title}-v0", chunk=1, **how).unwrapped
