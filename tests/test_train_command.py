"""`rise-gym train`: parts that lie in one folder become a world model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rise_gym.codec import FrameCodec, FrameCodecConfig
from rise_gym.commands.train import train
from rise_gym.dynamics import VideoDynamics, VideoDynamicsConfig
from rise_gym.episodes import write_episodes
from rise_gym.errors import RiseGymError
from rise_gym.tasks import BOX_CLOSE
from rise_gym.types import Episode
from rise_gym.value import ProgressValue, ProgressValueConfig
from rise_gym.world_model import CompositionalWorldModel


def episode(number: int) -> Episode:
    rng = np.random.default_rng(number)
    frames = {camera: rng.integers(0, 256, (20, 64, 64, 3), dtype=np.uint8) for camera in BOX_CLOSE.cameras}
    return Episode(
        task="box_close", instruction=BOX_CLOSE.instruction, frames=frames, proprio=np.full((20, 14), 0.01, np.float32),
        actions=np.zeros((20, 14), np.float32), success=number == 0, score=10.0, source="rollout", policy="test",
        seed=number, progress=np.linspace(0, 1, 20, dtype=np.float32),
    )  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_episodes(tmp_path / "data", [episode(number) for number in range(2)], BOX_CLOSE)
    return tmp_path / "data"


def test_a_decoder_goes_on_from_what_lies_there_and_the_model_is_sealed(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    out, codec = tmp_path / "out", FrameCodec.of(FrameCodecConfig(width=8)).eval()
    small = VideoDynamicsConfig(widths=(16, 32, 32), embedding_width=32, gain=False, later=(), sight=False)
    codec.save_pretrained(out / "codec")
    VideoDynamics.of(small, BOX_CLOSE).save_pretrained(out / "dynamics")
    ProgressValue.of(ProgressValueConfig(widths=(16, 16), hidden=16), BOX_CLOSE).save_pretrained(out / "value")
    train("decoder", out, data=[data], steps=2, learning_rate=1.0)
    model = CompositionalWorldModel.from_pretrained(out / "checkpoint")
    frames = torch.from_numpy(episode(0).views(BOX_CLOSE.cameras))[:2]
    torch.testing.assert_close(model.codec.encode(frames), codec.encode(frames), atol=2e-2, rtol=0)  # half precision
    before, after = codec.autoencoder.decoder.state_dict(), model.codec.autoencoder.decoder.state_dict()
    assert any(not torch.equal(before[name].half(), after[name].half()) for name in before)


def test_a_renderer_becomes_part_of_the_dynamics(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    out = tmp_path / "out"
    FrameCodec.of(FrameCodecConfig(width=8)).save_pretrained(out / "codec")
    small = VideoDynamicsConfig(widths=(16, 32, 32), embedding_width=32, gain=False, later=())
    VideoDynamics.of(small, BOX_CLOSE).save_pretrained(out / "dynamics")
    ProgressValue.of(ProgressValueConfig(widths=(16, 16), hidden=16), BOX_CLOSE).save_pretrained(out / "value")
    train("renderer", out, data=[data], steps=1)
    model = CompositionalWorldModel.from_pretrained(out / "checkpoint")
    assert model.dynamics.renderer is not None
    assert VideoDynamics.from_pretrained(out / "dynamics").renderer is not None


def test_a_part_that_is_missing_is_named(data: Path, tmp_path: Path) -> None:
    FrameCodec.of(FrameCodecConfig(width=8)).save_pretrained(tmp_path / "out" / "codec")
    with pytest.raises(RiseGymError, match="rise-gym train dynamics"):
        train("decoder", tmp_path / "out", data=[data], steps=2)
