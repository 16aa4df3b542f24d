"""Latents of recordings kept on disk: encoding an hour of frames takes minutes, reading them back a second."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from rise_gym.codec import FrameCodec
from rise_gym.errors import SaveFailed
from rise_gym.recordings import Recordings
from rise_gym.training import save_atomically


def encoded_once(recordings: Recordings, codec: FrameCodec, folder: Path) -> Recordings:
    """`recordings.encoded(codec)`, from a file in `folder` if the same frames met the same codec before.

    A file that cannot be read is made anew; where none can be written the latents are used all the same.
    """
    name = _fingerprint(recordings, codec)
    path = folder / f"{name}.safetensors"
    if path.exists():
        try:
            return recordings.with_latents(load_file(path)["latents"])
        except (SafetensorError, KeyError, ValueError):
            path.unlink()
    encoded = recordings.encoded(codec)
    assert encoded.latents is not None
    with suppress(SaveFailed):  # a full disk costs time here, nothing else
        save_atomically(folder, name, {"latents": encoded.latents}, {})
    return encoded


def _fingerprint(recordings: Recordings, codec: FrameCodec) -> str:
    digest = hashlib.blake2b(digest_size=12)
    digest.update(recordings.frames.contiguous().numpy().data)
    for key, weight in sorted(codec.state_dict().items()):
        digest.update(key.encode())
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
