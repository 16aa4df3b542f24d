"""Latents of recordings kept on disk: encoding an hour of frames takes minutes, reading them back a second."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rise_gym.codec import FrameCodec
from rise_gym.errors import SaveFailed
from rise_gym.recordings import Recordings
from rise_gym.training import save_atomically

_AT_ONCE = 256  # moments


def encoded_once(recordings: Recordings, codec: FrameCodec, folder: Path) -> Recordings:
    """`recordings` with latents, each episode's from a file in `folder` if its frames met the same codec before.

    A file that cannot be read is made anew; where none can be written the latents are used all the same.
    """
    codec_name = _name_of(codec)
    lengths = recordings.episode.bincount(minlength=len(recordings.sources)).tolist()
    latents = [_of_episode(frames, codec, folder / codec_name) for frames in recordings.frames.split(lengths)]
    return recordings.with_latents(torch.cat(latents))


def _of_episode(frames: Tensor, codec: FrameCodec, folder: Path) -> Tensor:
    """Latents float16 of the frames (n, V, H, W, 3) of one episode."""
    name = hashlib.blake2b(frames.contiguous().numpy().data, digest_size=12).hexdigest()
    path = folder / f"{name}.safetensors"
    if path.exists():
        try:
            latents = load_file(path)["latents"]
            if len(latents) == len(frames):
                return latents
        except (SafetensorError, KeyError):
            pass
        path.unlink()
    latents = torch.cat([codec.encode(part).half().cpu() for part in frames.split(_AT_ONCE)])
    with suppress(SaveFailed):  # a full disk costs time here, nothing else
        save_atomically(folder, name, {"latents": latents}, {})
    return latents


def _name_of(codec: FrameCodec) -> str:
    """Changes with whatever latents depend on; the decoder is no part of it."""
    digest = hashlib.blake2b(digest_size=12)
    for key, weight in sorted(codec.state_dict().items()):
        if key.startswith("autoencoder.decoder."):
            continue
        digest.update(key.encode())
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
