"""Latents kept on disk: the same numbers as encoding, made anew for other frames, another codec, a damaged file."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from rise_gym._latent_cache import encoded_dataset, encoded_once
from rise_gym.codec import FrameCodec, FrameCodecConfig
from rise_gym.episodes import read_episodes, write_episodes
from rise_gym.recordings import Recordings
from rise_gym.tasks import BOX_CLOSE
from rise_gym.types import Episode


def recordings(*seeds: int) -> Recordings:
    return Recordings.of([episode(seed) for seed in seeds], BOX_CLOSE)


def episode(seed: int) -> Episode:
    random = np.random.default_rng(seed)
    frames = {camera: random.integers(0, 256, (3, 64, 64, 3), dtype=np.uint8) for camera in BOX_CLOSE.cameras}
    return Episode(
        task="box_close", instruction="close the box", frames=frames, proprio=np.zeros((3, 14), np.float32),
        actions=np.zeros((3, 14), np.float32), success=True, score=10.0, source="rollout", policy="test", seed=seed,
    )  # fmt: skip


def codec(seed: int) -> FrameCodec:
    torch.manual_seed(seed)
    return FrameCodec.of(FrameCodecConfig(width=8)).eval()


def test_the_second_time_latents_are_read_not_encoded(tmp_path: Path) -> None:
    first = encoded_once(recordings(0), codec(0), tmp_path)
    with patch.object(FrameCodec, "encode", side_effect=AssertionError("encoded again")):
        second = encoded_once(recordings(0), codec(0), tmp_path)
    assert first.latents is not None
    assert second.latents is not None
    assert torch.equal(first.latents, second.latents)


@pytest.mark.parametrize(("frames", "weights"), [(1, 0), (0, 1)])
def test_other_frames_or_another_codec_are_encoded_anew(tmp_path: Path, frames: int, weights: int) -> None:
    encoded_once(recordings(0), codec(0), tmp_path)
    other = encoded_once(recordings(frames), codec(weights), tmp_path).latents
    wanted = recordings(frames).encoded(codec(weights)).latents
    assert other is not None
    assert wanted is not None
    assert torch.equal(other, wanted)


def test_latents_outlive_another_decoder(tmp_path: Path) -> None:
    encoded_once(recordings(0), codec(0), tmp_path)
    refined = codec(0)
    refined.autoencoder.decoder.load_state_dict(codec(1).autoencoder.decoder.state_dict())
    with patch.object(FrameCodec, "encode", side_effect=AssertionError("encoded again")):
        encoded_once(recordings(0), refined, tmp_path)


def test_an_episode_that_is_added_is_the_only_one_encoded(tmp_path: Path) -> None:
    wanted = recordings(0, 1, 2).encoded(codec(0)).latents
    encoded_once(recordings(0, 2), codec(0), tmp_path)
    with patch.object(FrameCodec, "encode", autospec=True, side_effect=FrameCodec.encode) as encode:
        found = encoded_once(recordings(0, 1, 2), codec(0), tmp_path).latents
    assert encode.call_count == 1
    assert wanted is not None
    assert found is not None
    assert torch.equal(found, wanted)


def test_a_damaged_file_is_made_anew(tmp_path: Path) -> None:
    good = encoded_once(recordings(0), codec(0), tmp_path).latents
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    again = encoded_once(recordings(0), codec(0), tmp_path).latents
    assert good is not None
    assert again is not None
    assert torch.equal(good, again)


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert encoded_once(recordings(0), codec(0), tmp_path / "file" / "below").latents is not None


def test_latents_of_other_moments_are_refused() -> None:
    with pytest.raises(ValueError, match="latents of 3 moments"):
        recordings(0).with_latents(torch.zeros(2, 3, 4, 16, 16))


class Reads:
    """A dataset on disk, and how often its videos were decoded."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.decoded = folder, 0

    def __call__(self, *, with_frames: bool) -> Recordings:
        self.decoded += with_frames
        return Recordings.of(read_episodes(self.folder, with_frames=with_frames), BOX_CLOSE)


def test_videos_of_a_dataset_are_decoded_once(tmp_path: Path) -> None:
    dataset, latents = tmp_path / "dataset", tmp_path / "latents"
    write_episodes(dataset, [episode(0), episode(1)], BOX_CLOSE)
    load = Reads(dataset)
    first = encoded_dataset(dataset, load, codec(0), latents)
    again = encoded_dataset(dataset, load, codec(0), latents)
    assert load.decoded == 1
    assert first.latents is not None
    assert again.latents is not None
    assert torch.equal(first.latents, again.latents)
    assert len(first.frames) == len(again.frames) == 0
    for column in ("proprio", "actions", "first", "last", "episode", "success"):
        assert torch.equal(getattr(first, column), getattr(again, column))
    encoded_dataset(dataset, load, codec(1), latents)
    assert load.decoded == 2


@pytest.mark.parametrize("damage", ["episode added", "latents damaged", "latents gone", "list damaged"])
def test_what_is_not_as_it_was_is_decoded_anew(tmp_path: Path, damage: str) -> None:
    dataset, latents = tmp_path / "dataset", tmp_path / "latents"
    write_episodes(dataset, [episode(0)], BOX_CLOSE)
    load = Reads(dataset)
    encoded_dataset(dataset, load, codec(0), latents)
    if damage == "episode added":
        write_episodes(tmp_path / "longer", [episode(0), episode(1)], BOX_CLOSE)
        dataset = load.folder = tmp_path / "longer"
    elif damage == "list damaged":
        (names,) = (path for path in latents.rglob("*.json") if path.read_text().startswith("["))
        names.write_text("[")
    else:
        kept = next(latents.rglob("*.safetensors"))
        kept.write_bytes(b"short") if damage == "latents damaged" else kept.unlink()
    found = encoded_dataset(dataset, load, codec(0), latents).latents
    assert load.decoded == 2
    wanted = Recordings.of(read_episodes(dataset), BOX_CLOSE).encoded(codec(0)).latents
    assert found is not None
    assert wanted is not None
    assert torch.equal(found, wanted)


def test_a_dataset_whose_latents_cannot_be_written_is_encoded_all_the_same(tmp_path: Path) -> None:
    write_episodes(tmp_path / "dataset", [episode(0)], BOX_CLOSE)
    (tmp_path / "file").write_text("in the way")
    load = Reads(tmp_path / "dataset")
    for _ in range(2):
        assert encoded_dataset(tmp_path / "dataset", load, codec(0), tmp_path / "file" / "below").latents is not None
    assert load.decoded == 2
