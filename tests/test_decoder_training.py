"""A decoder learns to show what is imagined; what the encoder makes of frames stays as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from rise_gym.codec import FrameCodec, FrameCodecConfig
from rise_gym.decoder_training import DecoderTraining, train_decoder
from rise_gym.dynamics import VideoDynamics, VideoDynamicsConfig
from rise_gym.errors import InvalidDataset
from rise_gym.recordings import Recordings
from rise_gym.tasks import BOX_CLOSE
from rise_gym.training import TrainingConfig
from rise_gym.types import Episode

CHUNK = 4
CODEC = FrameCodecConfig(width=16, encoder_blocks=(1, 1), decoder_blocks=(1, 1))
DYNAMICS = VideoDynamicsConfig(
    latent_size=8, widths=(16, 32, 32), embedding_width=64, chunk=CHUNK, gain=False, later=(), sight=False
)
SETTINGS = DecoderTraining(
    training=TrainingConfig(steps=120, batch_size=8, learning_rate=4e-3, warmup_steps=5, ema_decay=0.9), ticks=2
)


@pytest.fixture(scope="module")
def codec() -> FrameCodec:
    torch.manual_seed(0)
    return FrameCodec.of(CODEC).eval()


@pytest.fixture(scope="module")
def dynamics() -> VideoDynamics:
    torch.manual_seed(1)
    return VideoDynamics.of(DYNAMICS, BOX_CLOSE).eval()


def flickering(codec: FrameCodec, episodes: int, seed: int) -> Recordings:
    """Floors that are dark or bright at random at every tick: the best guess at the next one is neither."""
    rng = np.random.default_rng(seed)

    def episode() -> Episode:
        light = rng.choice([60, 180], (12, 1, 1, 1))
        frames = np.broadcast_to(light, (12, 32, 32, 3)).astype(np.uint8)
        zeros = np.zeros((12, 14), np.float32)
        return Episode(
            task="box_close", instruction="close", frames=dict.fromkeys(BOX_CLOSE.cameras, frames), proprio=zeros,
            actions=zeros, success=True, score=10.0, source="rollout", policy="test", seed=0,
        )  # fmt: skip

    return Recordings.of([episode() for _ in range(episodes)], BOX_CLOSE).encoded(codec)


def error(codec: FrameCodec, dynamics: VideoDynamics, recordings: Recordings) -> float:
    """Mean squared error of imagined frames, from the fourth moment of every episode."""
    moments = torch.arange(len(recordings))[recordings.first + 3 == torch.arange(len(recordings))]
    assert recordings.latents is not None
    history: Tensor = recordings.latents[recordings.history(moments, DYNAMICS.history, DYNAMICS.stride)].float()
    still = torch.zeros(len(moments), CHUNK, 14)
    imagined = dynamics.sample(history, recordings.proprio[moments], still, generator=Generator().manual_seed(0))
    after, _ = recordings.future(moments, CHUNK)
    return float((codec.decode(imagined.latents).float() - recordings.frames[after].float()).square().mean())


def test_imagined_frames_become_truer_and_latents_stay(
    codec: FrameCodec, dynamics: VideoDynamics, tmp_path: Path
) -> None:
    before = {name: weight.clone() for name, weight in codec.state_dict().items()}
    recordings, held_out = flickering(codec, 12, seed=0), flickering(codec, 12, seed=1)
    refined = train_decoder(codec, dynamics, recordings, SETTINGS, tmp_path / "imagined")
    control = replace(SETTINGS, recorded_share=1.0)
    plain = train_decoder(codec, dynamics, recordings, control, tmp_path / "recorded")
    assert error(refined, dynamics, held_out) < 0.7 * error(plain, dynamics, held_out)
    assert torch.equal(refined.encode(held_out.frames[:4]), codec.encode(held_out.frames[:4]))
    assert all(torch.equal(weight, before[name]) for name, weight in codec.state_dict().items())


def test_recordings_without_frames_are_refused(codec: FrameCodec, dynamics: VideoDynamics, tmp_path: Path) -> None:
    recordings = flickering(codec, 2, seed=0).without_frames()
    with pytest.raises(InvalidDataset, match="still have frames"):
        train_decoder(codec, dynamics, recordings, SETTINGS, tmp_path)
