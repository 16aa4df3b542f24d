"""Checkpoints and datasets onto the Hugging Face hub; `resolve` and `read_episodes` bring them back by `owner/name`.

What is pushed is what was verified: the files that a checkpoint's manifest lists, or those of a dataset, and a card
(README.md) that ends with what was measured. In one commit, so that a repository is never half of each.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rise_gym import _lerobot as layout
from rise_gym._hub_cards import dataset_card, licensed, measured, with_measured
from rise_gym._verification import MANIFEST_NAME, read_json
from rise_gym.checkpoints import load_checkpoint
from rise_gym.errors import HubFault, InvalidDataset
from rise_gym.locations import HUB_ID

_OF_A_DATASET = ("data/", "meta/", "videos/")


def push_to_hub(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    results: Sequence[str | Path] = (),
    token: str | None = None,
    licence: str | None = None,
) -> str:
    """Push a world model, a policy or a dataset; what an earlier one left there and is no part of it is deleted.

    That is what the manifest there lists, or a dataset's data, meta and videos; other files there stay as they are.

    A dataset is tagged with the version of its layout, without which lerobot opens none.

    Args:
        folder: a checkpoint or a dataset.
        repo_id: `owner/name`; made if it is not there.
        private: whether a repository that is made is private; one that is there stays as it is.
        results: JSON files whose figures go on the card: of a policy what `rise-gym evaluate --json` wrote, of a world
            model what `rise-gym compare --json` wrote. For what is bundled, and from a checkout, those of
            benchmarks/results by default. Without any the card says that nothing was measured.
        licence: what the card names, by the hub's identifier, `cc-by-4.0` say; default: what it names already, if any.
            Mind that of what it was made from: of RISE's released weights it is CC BY-NC-SA 4.0.
        token: of the hub; default: the one that `hf auth login` stored, or the variable `HF_TOKEN`.

    Returns:
        Address of the commit.

    Raises:
        InvalidCheckpoint, InvalidDataset: if the folder holds neither, or is damaged.
        InvalidResults: if figures are incomplete, or of another checkpoint.
        HubFault: without a token, if the hub can't be reached, or if it refuses.
    """
    if not HUB_ID.fullmatch(repo_id) or "@" in repo_id:
        raise HubFault(f"a repository `owner/name` was wanted, got {repo_id!r}")
    kind, files = to_push(Path(folder), results, licence)
    tag = str(layout.read_info(Path(folder))["codebase_version"]) if kind == "dataset" else None
    return _commit(repo_id, kind, files, tag=tag, private=private, token=token)


def to_push(
    folder: Path, results: Sequence[str | Path] = (), licence: str | None = None
) -> tuple[str, dict[str, Path | bytes]]:
    """What `push_to_hub` uploads: `"model"` or `"dataset"`, and every file by its name there."""
    if (folder / MANIFEST_NAME).is_file():
        return "model", _checkpoint_files(folder, results, licence)
    if not (folder / layout.INFO_PATH).is_file():
        raise InvalidDataset(
            f"{folder} holds neither a checkpoint ({MANIFEST_NAME}) nor a dataset ({layout.INFO_PATH}); give the "
            "`checkpoint` folder of a run, or what `rise-gym collect` or `import` wrote"
        )
    if results:
        measured("dataset", folder, results)  # which says that a dataset has none
    card = licensed(dataset_card(folder), licence)  # which looks whether all episodes are described
    return "dataset", {**_dataset_files(folder), "README.md": card.encode()}


def _dataset_files(folder: Path) -> dict[str, Path | bytes]:
    """What is part of a dataset: not what a writer left that was killed, which lerobot would take for episodes.

    Raises:
        InvalidDataset: if a file is missing.
    """
    info, named = layout.read_info(folder), set[str]()
    for row in layout.read_episode_rows(folder):
        for key in (key.removesuffix("/chunk_index") for key in row if key.endswith("/chunk_index")):
            where = {name: row[f"{key}/{name}"] for name in ("chunk_index", "file_index")}
            if key == "data":
                named.add(str(info["data_path"]).format(**where))
            elif key.startswith("videos/"):
                named.add(str(info["video_path"]).format(video_key=key.removeprefix("videos/"), **where))
    if missing := sorted(name for name in named if not (folder / name).is_file()):
        raise InvalidDataset(f"{folder} lacks {', '.join(missing[:4])}, which meta/episodes names; copy it again")
    described = (path for path in (folder / "meta").rglob("*") if path.is_file() and not path.name.startswith("."))
    return {name: folder / name for name in sorted({*named, *(p.relative_to(folder).as_posix() for p in described)})}


def _checkpoint_files(folder: Path, results: Sequence[str | Path], licence: str | None) -> dict[str, Path | bytes]:
    """The files that the manifest lists, with a new card, and the manifest of that."""
    manifest = read_json(folder / MANIFEST_NAME)
    checkpoint = load_checkpoint(folder, kind=manifest.get("kind", "policy"))
    readme = folder / "README.md"
    card = with_measured(
        readme.read_text("utf-8") if readme.is_file() else "", measured(checkpoint.kind, folder, results)
    )
    card = licensed(card, licence)
    digests = {**manifest["sha256"], "README.md": hashlib.sha256(card.encode()).hexdigest()}
    files: dict[str, Path | bytes] = {name: folder / name for name in digests}
    told = json.dumps({**manifest, "sha256": digests}, indent=2, sort_keys=True) + "\n"
    return {**files, "README.md": card.encode(), MANIFEST_NAME: told.encode()}


def _commit(
    repo_id: str, kind: str, files: dict[str, Path | bytes], *, tag: str | None, private: bool, token: str | None
) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

    if not (token or get_token()):
        raise HubFault(
            "the hub wants to know who pushes, and there is no token: `hf auth login`, or set the environment "
            "variable HF_TOKEN to one that may write"
        )
    hub = HfApi(token=token)
    try:
        hub.create_repo(repo_id, repo_type=kind, private=private or None, exist_ok=True)
        there = _pushed_before(hub, repo_id, kind)
        changes: list[Any] = [CommitOperationAdd(name, _given(content)) for name, content in files.items()]
        changes += [CommitOperationDelete(name) for name in sorted(there - set(files))]
        pushed = hub.create_commit(repo_id, changes, commit_message="Pushed by rise_gym", repo_type=kind)
    except Exception as error:  # the hub's client raises errors of several libraries, by what went wrong
        raise HubFault(
            f"could not push to {repo_id!r} ({type(error).__name__}: {error}); check the connection, that the token "
            "may write there, and the spelling. The repository is as it was, or empty; the folder here is untouched"
        ) from error
    if tag is not None:
        _tag(hub, repo_id, tag, str(pushed.oid))
    return str(pushed.commit_url)


def _pushed_before(hub: Any, repo_id: str, kind: str) -> set[str]:
    """The files there that are of an earlier push, not what somebody laid beside them."""
    there = set(hub.list_repo_files(repo_id, repo_type=kind))
    if kind == "dataset":
        return {name for name in there if name.startswith(_OF_A_DATASET)}
    if MANIFEST_NAME not in there:
        return set()
    return there & set(read_json(Path(hub.hf_hub_download(repo_id, MANIFEST_NAME, repo_type=kind)))["sha256"])


def _tag(hub: Any, repo_id: str, tag: str, commit: str) -> None:
    """Let a dataset's tag name this commit, as lerobot does; an earlier push's is taken away."""
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        with contextlib.suppress(RevisionNotFoundError):
            hub.delete_tag(repo_id, tag=tag, repo_type="dataset")
        hub.create_tag(repo_id, tag=tag, revision=commit, repo_type="dataset")
    except Exception as error:  # as above
        raise HubFault(
            f"{repo_id!r} was pushed but could not be tagged {tag} ({type(error).__name__}: {error}), without which "
            "lerobot does not open it; push again, or tag it by hand: HfApi().create_tag(..., repo_type='dataset')"
        ) from error


def _given(content: Path | bytes) -> str | bytes:
    return content if isinstance(content, bytes) else str(content)
