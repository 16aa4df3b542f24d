"""Checkpoint folders: config JSON + safetensors + task card + format version. Pickle is never loaded.

model_index.json     which class each part is, as a diffusers pipeline writes it
PART/               config.json and weights, what `ModelMixin.save_pretrained` writes; each loadable alone
task.json            the task card
rise_gym.json        format version, kind, extra facts, and the SHA-256 of every other file
README.md            how it was made, for people
"""

from __future__ import annotations

import copy
import importlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from rise_gym._verification import MANIFEST_NAME as MANIFEST_NAME
from rise_gym._verification import digest, file_names, read_card, read_json, verify
from rise_gym.errors import InvalidCheckpoint, SaveFailed
from rise_gym.locations import finish_swap, previous_folder
from rise_gym.locations import resolve as resolve
from rise_gym.tasks import TaskCard

FORMAT_VERSION = 1
Kind = Literal["world_model", "policy"]

_TRUSTED_LIBRARIES = ("rise_gym", "diffusers")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A verified folder: its files are those that were written, and none was read as pickle.

    Attributes:
        folder: where it lies. kind: what it holds. task: the card it was made for. extra: further plain data.
    """

    folder: Path
    kind: Kind
    task: TaskCard
    extra: dict[str, Any]

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of all parts that `component` can load."""
        return tuple(sorted(name for name, value in self._index.items() if isinstance(value, list)))

    @property
    def _index(self) -> dict[str, Any]:
        return read_json(self.folder / "model_index.json")

    def component(self, name: str) -> Any:
        """One part, loaded in eval mode by the class that `model_index.json` names.

        Raises:
            InvalidCheckpoint: if there is no such part, it is not of rise_gym or diffusers, or it can't be loaded.
        """
        library, class_name = self._class_of(name)
        try:
            cls = getattr(importlib.import_module(library), class_name)
        except (ImportError, AttributeError) as error:
            raise InvalidCheckpoint(
                f"{self.folder}: part {name!r} is a {library}.{class_name}, which this version lacks"
            ) from error
        weights = {"use_safetensors": True, "torch_dtype": torch.float32}
        options = weights if issubclass(cls, torch.nn.Module) else {}
        try:
            return cls.from_pretrained(self.folder / name, local_files_only=True, **options)
        except (OSError, ValueError, TypeError, RuntimeError, KeyError) as error:
            raise InvalidCheckpoint(
                f"{self.folder}: part {name!r} can't be loaded as {class_name} ({error})"
            ) from error

    def class_name(self, name: str) -> str:
        """Which class a part is of.

        Raises:
            InvalidCheckpoint: if there is no such part, or it is not of rise_gym or diffusers.
        """
        return self._class_of(name)[1]

    def _class_of(self, name: str) -> tuple[str, str]:
        index = self._index
        if not isinstance(index.get(name), list) or len(index[name]) != 2:
            raise InvalidCheckpoint(
                f"{self.folder}: part {name!r} was wanted, it has {', '.join(self.parts) or 'none'}"
            )
        library, class_name = index[name]
        if library.split(".")[0] not in _TRUSTED_LIBRARIES:
            raise InvalidCheckpoint(
                f"{self.folder}: part {name!r} is of {library!r}; only classes of {' and '.join(_TRUSTED_LIBRARIES)} "
                "are loaded by name, so build it yourself and hand the object over"
            )
        return library, class_name


def save_checkpoint(
    folder: str | Path,
    *,
    kind: Kind,
    task: TaskCard,
    components: Mapping[str, Any],
    extra: Mapping[str, Any] | None = None,
    card: str = "",
    files: Mapping[str, str | Path] | None = None,
    half_precision: bool = False,
) -> Path:
    """Write a checkpoint whole or not at all: an earlier one in `folder` stays until the new one is complete.

    Args:
        folder: where to; new, empty, or an earlier checkpoint (any other content is refused, so nothing gets lost).
        kind: what it holds.
        task: the card that it was made for.
        components: the parts by name, each with `save_pretrained` (models, schedulers).
        extra: further plain JSON data; scalars also become arguments of the pipeline class.
        card: the README, Markdown.
        files: further files to put in, name -> where it lies now.
        half_precision: store weights as float16, half the size; they are loaded as float32 either way.

    Raises:
        SaveFailed: if anything could not be written; what was there before is untouched.
    """
    target = Path(folder)
    _refuse_foreign_files(target)
    partial: Path | None = None
    try:
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.absolute().parent))
        partial.chmod(0o755)
        for name, component in components.items():
            _stored(component, half_precision).save_pretrained(partial / name)
            _forget_origin(partial / name)
        for name, source in (files or {}).items():
            shutil.copyfile(source, partial / name)
        (partial / "model_index.json").write_text(_to_json(_model_index(kind, task, components, extra or {})))
        (partial / "task.json").write_text(_to_json(task.to_dict()))
        (partial / "README.md").write_text(card, "utf-8")
        manifest = {"format_version": FORMAT_VERSION, "kind": kind, "task": task.name, "extra": dict(extra or {})}
        for name in file_names(partial):
            (partial / name).chmod(0o644)  # safetensors writes files that only their owner may read
        digests = {name: digest(partial / name) for name in file_names(partial)}
        (partial / MANIFEST_NAME).write_text(_to_json({**manifest, "sha256": digests}))
        _swap(partial, target)
    except Exception as error:  # a full disk comes as OSError, or as safetensors' own exception type
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
        raise SaveFailed(
            f"could not write the checkpoint {target} ({error}); what was there before is untouched: "
            "free some space or choose another folder"
        ) from error
    except BaseException:  # Ctrl-C: weights that nobody would find again
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
        raise
    return target


def load_checkpoint(folder: str | Path, *, kind: Kind, task: str | None = None) -> Checkpoint:
    """Verify a checkpoint folder and read what describes it; `component` then loads its parts.

    Args:
        folder: a local folder (see `resolve` for names).
        kind: what is wanted.
        task: name of the wanted task, or None for any. One made for several lists them in `extra["tasks"]`; the card
            is that of the first all the same.

    Raises:
        InvalidCheckpoint: if it is missing, of another task, kind or format version, incomplete, or changed.
    """
    path = Path(folder)
    finish_swap(path)
    if not (path / MANIFEST_NAME).is_file():
        raise InvalidCheckpoint(f"a checkpoint folder was wanted, {path} has no {MANIFEST_NAME}")
    manifest = read_json(path / MANIFEST_NAME)
    version = manifest.get("format_version")
    if version != FORMAT_VERSION:
        raise InvalidCheckpoint(
            f"{path}: format version {FORMAT_VERSION} was wanted, it has {version!r}; "
            "save it anew with this version of rise_gym, or install the one that wrote it"
        )
    if manifest.get("kind") != kind:
        raise InvalidCheckpoint(f"{path}: a {kind} was wanted, it holds a {manifest.get('kind')}")
    extra = dict(manifest.get("extra", {}))
    made_for = {manifest.get("task"), *extra.get("tasks", ())}
    if task is not None and task not in made_for:
        raise InvalidCheckpoint(
            f"{path}: a checkpoint for task {task!r} was wanted, it was made for "
            f"{' and '.join(map(repr, sorted(made_for, key=str)))}"
        )
    verify(path, manifest.get("sha256"))
    return Checkpoint(folder=path, kind=kind, task=read_card(path), extra=extra)


def _stored(component: Any, half_precision: bool) -> Any:
    if not half_precision or not isinstance(component, torch.nn.Module):
        return component
    return copy.deepcopy(component).half()  # diffusers warns of `to(float16)`, whatever the model


def _forget_origin(folder: Path) -> None:
    """Diffusers notes where a part was loaded from: a path that means nothing to anybody else."""
    for path in folder.glob("*config.json"):
        config = read_json(path)
        if config.pop("_name_or_path", None) is not None:
            path.write_text(_to_json(config))


def _model_index(kind: Kind, task: TaskCard, components: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    import diffusers

    def class_of(component: Any) -> list[str]:
        module = type(component).__module__
        return ["diffusers" if module.startswith("diffusers.") else module, type(component).__name__]

    scalars = {
        name: value for name, value in extra.items() if value is None or isinstance(value, bool | int | float | str)
    }
    pipeline = {"_class_name": "RisePipeline"} if kind == "world_model" else {}
    parts = {name: class_of(component) for name, component in components.items()}
    return {**pipeline, "_diffusers_version": diffusers.__version__, "task": task.name, **scalars, **parts}


def _refuse_foreign_files(target: Path) -> None:
    """Saving replaces the whole folder, so it must hold nothing else."""
    if not target.exists():
        return
    if not target.is_dir():
        raise SaveFailed(f"a folder was wanted to save in, {target} is a file")
    known = {MANIFEST_NAME}
    if (target / MANIFEST_NAME).is_file():
        known |= set(read_json(target / MANIFEST_NAME).get("sha256", {}))
    foreign = sorted(set(file_names(target)) - known)
    if foreign:
        raise SaveFailed(
            f"{target} holds other files ({', '.join(foreign[:4])}); save to a new folder, nothing was changed"
        )


def _to_json(data: object) -> str:
    return json.dumps(data, indent=2, sort_keys=True) + "\n"


def _swap(partial: Path, target: Path) -> None:
    previous = previous_folder(target)
    finish_swap(target)
    if target.exists():
        os.replace(target, previous)
    os.replace(partial, target.absolute())
    shutil.rmtree(previous, ignore_errors=True)
