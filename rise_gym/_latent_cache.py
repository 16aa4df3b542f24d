"""Latents of recordings kept on disk: encoding an hour of frames takes minutes, reading them back a second.

Each episode's are named after its frames, so that they serve whatever dataset it lies in. A list of those names, named
after a dataset's files, saves decoding its videos.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Protocol

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
    return _encoded(recordings, codec, folder / _name_of(codec))[0]


class Load(Protocol):
    """Reads a dataset."""

    def __call__(self, *, with_frames: bool) -> Recordings:
        """All of it, or all but its frames."""


def encoded_dataset(dataset: Path, load: Load, codec: FrameCodec, folder: Path) -> Recordings:
    """What `load` reads of `dataset`, with latents and without frames; as `encoded_once` keeps them in `folder`.

    Videos are decoded only if a file of the dataset, or the codec, is not what it was.
    """
    kept = folder / _name_of(codec)
    names_file = kept / f"{_mark_of(dataset)}.json"
    latents = [_kept(kept / f"{name}.safetensors") for name in _listed(names_file)]
    found = [part for part in latents if part is not None]
    if found and len(found) == len(latents):
        return load(with_frames=False).with_latents(torch.cat(found))
    recordings, names = _encoded(load(with_frames=True), codec, kept)
    with suppress(OSError):
        names_file.write_text(json.dumps(names))
    return recordings.without_frames()


def _encoded(recordings: Recordings, codec: FrameCodec, folder: Path) -> tuple[Recordings, list[str]]:
    """With latents, and under which names in `folder` these are kept."""
    lengths = recordings.episode.bincount(minlength=len(recordings.sources)).tolist()
    episodes = recordings.frames.split(lengths)
    names = [hashlib.blake2b(part.contiguous().numpy().data, digest_size=12).hexdigest() for part in episodes]
    latents = [_of_episode(part, codec, folder, name) for part, name in zip(episodes, names, strict=True)]
    return recordings.with_latents(torch.cat(latents)), names


def _of_episode(frames: Tensor, codec: FrameCodec, folder: Path, name: str) -> Tensor:
    """Latents float16 of the frames (n, V, H, W, 3) of one episode."""
    path = folder / f"{name}.safetensors"
    latents = _kept(path)
    if latents is not None and len(latents) == len(frames):
        return latents
    with suppress(OSError):
        path.unlink()
    latents = torch.cat([codec.encode(part).half().cpu() for part in frames.split(_AT_ONCE)])
    with suppress(SaveFailed):  # a full disk costs time here, nothing else
        save_atomically(folder, name, {"latents": latents}, {})
    return latents


def _kept(path: Path) -> Tensor | None:
    """Latents of a file, if it can be read."""
    try:
        return load_file(path)["latents"]
    except (OSError, SafetensorError, KeyError):
        return None


def _listed(names_file: Path) -> list[str]:
    """The names in a file; none if it is not there, or damaged."""
    try:
        names = json.loads(names_file.read_text())
    except (OSError, ValueError):
        return []
    return names if isinstance(names, list) else []


def _mark_of(dataset: Path) -> str:
    """Changes with whatever file of the videos, or with what tells where an episode lies in them."""
    digest = hashlib.blake2b(digest_size=12)
    for part in ("meta", "videos"):
        for path in sorted((dataset / part).rglob("*")):
            if path.is_file():
                digest.update(str(path.relative_to(dataset)).encode())
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


def _name_of(codec: FrameCodec) -> str:
    """Changes with whatever latents depend on; the decoder is no part of it."""
    digest = hashlib.blake2b(digest_size=12)
    for key, weight in sorted(codec.state_dict().items()):
        if key.startswith("autoencoder.decoder."):
            continue
        digest.update(key.encode())
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
