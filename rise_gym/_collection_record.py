"""What a dataset keeps of the policies whose episodes were collected into it: which weights each had.

An episode names its policy by its path, at which other weights may lie later on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rise_gym import _lerobot as layout
from rise_gym.errors import InvalidDataset

_PATH = "meta/rise_gym_collection.json"


def check_weights(folder: Path, policy: str, fingerprint: str | None) -> None:
    """Refuse weights other than those that the policy's episodes in the dataset were played with.

    Where either is not known, nothing is refused: of a policy without weights here, of datasets of earlier versions.

    Raises:
        InvalidDataset: if they are others.
    """
    known = _known(folder).get(policy)
    if fingerprint is not None and known is not None and known != fingerprint:
        raise InvalidDataset(
            f"{folder} holds episodes of {policy} with other weights ({known}) than now ({fingerprint}): with those of "
            "another policy, or of one that was trained anew since; collect into another folder, or give a policy that "
            "was trained anew a path of its own"
        )


def remember_weights(folder: Path, policy: str, fingerprint: str | None) -> None:
    """With which weights a policy's episodes are played; None if nothing is known of them."""
    known = _known(folder)
    if fingerprint is not None and known.get(policy) != fingerprint:
        layout.write_atomically(folder / _PATH, layout.json_bytes({**known, policy: fingerprint}))


def _known(folder: Path) -> dict[str, Any]:
    path = folder / _PATH
    return layout.read_json(path, "which weights were collected with before") if path.exists() else {}
