"""Frames to latents and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator

from rise_gym.codec import CodecTraining, FrameCodec, FrameCodecConfig, train_codec
from rise_gym.errors import InvalidDataset
from rise_gym.metrics import psnr
from rise_gym.protocols import Codec
from rise_gym.recordings import Recordings
from rise_gym.tasks import BOX_CLOSE
from rise_gym.training import TrainingConfig
from rise_gym.types import Episode

SMALL = FrameCodecConfig(width=16, encoder_blocks=(1, 1), decoder_blocks=(1, 1))


def squares(episodes: int, seed: int = 0) -> Recordings:
    """A bright square that wanders over a grey floor, in three views."""
    rng = np.random.default_rng(seed)

    def episode() -> Episode:
        frames = {camera: np.full((12, 32, 32, 3), 90, np.uint8) for camera in BOX_CLOSE.cameras}
        for view in frames.values():
            for picture, (y, x) in zip(view, rng.integers(0, 24, (12, 2)), strict=True):
                picture[y : y + 8, x : x + 8] = (240, 180, 40)
        zeros = np.zeros((12, 14), np.float32)
        return Episode(
            task="box_close", instruction="close", frames=frames, proprio=zeros, actions=zeros, success=True,
            score=10.0, source="demonstration", policy="test", seed=0,
        )  # fmt: skip

    return Recordings.of([episode() for _ in range(episodes)], BOX_CLOSE)


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> FrameCodec:
    settings = TrainingConfig(steps=150, batch_size=8, learning_rate=4e-3, warmup_steps=10, ema_decay=0.9)
    return train_codec(squares(12), CodecTraining(training=settings, codec=SMALL), tmp_path_factory.mktemp("codec"))


def test_shapes_and_types_for_any_leading_dimensions() -> None:
    codec = FrameCodec.of(SMALL).eval()
    frames = torch.randint(0, 256, (2, 5, 3, 64, 64, 3), dtype=torch.uint8)
    latents = codec.encode(frames)
    assert (latents.shape, latents.dtype) == ((2, 5, 3, 4, 16, 16), torch.float32)
    decoded = codec.decode(latents)
    assert (decoded.shape, decoded.dtype) == (frames.shape, torch.uint8)
    assert isinstance(codec, Codec)


def test_pixels_survive_the_trip_from_uint8_and_back() -> None:
    codec = FrameCodec.of(SMALL)
    every = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(1, 16, 16, 3)
    pixels = codec.pixels_of(every)
    assert (float(pixels.min()), float(pixels.max())) == (-1.0, 1.0)
    assert torch.equal(codec.images_of(pixels), every)
    assert codec.images_of(2 * pixels).min() == 0  # out of range is cut off, never wrapped around


def test_training_learns_the_pictures_and_normalises_the_latents(codec: FrameCodec) -> None:
    held_out = squares(3, seed=1)
    latents = codec.encode(held_out.frames)
    assert psnr(codec.decode(latents).numpy(), held_out.frames.numpy()).min() > 22
    assert latents.mean().abs() < 0.1
    assert 0.8 < latents.std() < 1.2


def test_slightly_wrong_latents_decode_to_nearly_the_same(codec: FrameCodec) -> None:
    frames = squares(2, seed=2).frames
    latents = codec.encode(frames)
    noisy = latents + 0.1 * torch.randn(latents.shape, generator=Generator().manual_seed(0))
    assert psnr(codec.decode(noisy).numpy(), codec.decode(latents).numpy()).min() > 24


def test_saved_and_loaded_it_is_the_same(codec: FrameCodec, tmp_path: Path) -> None:
    codec.save_pretrained(tmp_path)
    loaded = FrameCodec.from_pretrained(tmp_path)
    latents = codec.encode(squares(1).frames)
    torch.testing.assert_close(loaded.encode(squares(1).frames), latents)
    torch.testing.assert_close(loaded.decode(latents), codec.decode(latents), atol=1, rtol=0)


def test_nothing_to_learn_from_is_refused(tmp_path: Path) -> None:
    flat = squares(1)
    empty = Recordings(**{**flat.__dict__, "proprio": flat.proprio[:0]})
    with pytest.raises(InvalidDataset, match="empty"):
        train_codec(empty, CodecTraining(), tmp_path)


def test_training_goes_on_from_another_codec_close_to_its_latents(codec: FrameCodec, tmp_path: Path) -> None:
    before = {name: weight.clone() for name, weight in codec.state_dict().items()}
    settings = TrainingConfig(steps=20, batch_size=8, learning_rate=1e-3, warmup_steps=2, ema_decay=0.9)
    config = CodecTraining(training=settings, codec=SMALL)
    further = train_codec(squares(4, seed=3), config, tmp_path, initial=codec)
    frames = squares(2, seed=4).frames
    moved = (further.encode(frames) - codec.encode(frames)).square().mean()
    assert 0 < moved < 0.1 * codec.encode(frames).square().mean()
    assert all(torch.equal(weight, before[name]) for name, weight in codec.state_dict().items())
    assert torch.equal(further.latent_scale, codec.latent_scale)
