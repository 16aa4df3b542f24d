"""Weights of others for the full-size world model: LTX-Video's, as diffusers stores them, and RISE's dynamics.

RISE's file holds, under their names in diffusers, all weights of LTX-Video's transformer, and beside them `view_embed`,
`view_ada.1` (views) and `act_vit_in` (the action encoder), which are renamed here. `act_in`, 69 632 numbers that its
code never uses, is left out. The names are those of the published code; counted from its sizes its model has
1 990 672 572 parameters, which is what it logs. The file itself was never at hand when this was written: a key without
a place, or a place without a key, is an error that names it.

Under its actions RISE's model sees what T5 makes of an empty text. That is no part of the file: see `empty_text`.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLLTXVideo
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rise_gym.errors import InvalidCheckpoint, MissingPackage
from rise_gym.locations import HUB_ID, downloaded
from rise_gym.ltx_codec import LTXCodec
from rise_gym.ltx_dynamics import LTXDynamics, LTXDynamicsConfig
from rise_gym.tasks import TaskCard

WEIGHTS_NAME = "diffusion_pytorch_model.safetensors"
RISE_FOLDER = "dynamics_model/pretrained"
"""Where RISE's hub repository keeps the file."""

_RENAMED = (
    (r"view_embed", r"network.view_embedding"),
    (r"view_ada\.1\.(\w+)", r"network.view_modulation.\1"),
    (r"act_vit_in\.to_patch_embedding\.(.+)", r"action_encoder.enter.\1"),
    (r"act_vit_in\.cls_token", r"action_encoder.chunk_token"),
    (r"act_vit_in\.transformer\.layers\.(\d+)\.0\.norm\.(\w+)", r"action_encoder.attention.\1.norm.\2"),
    (r"act_vit_in\.transformer\.layers\.(\d+)\.0\.to_qkv\.(\w+)", r"action_encoder.attention.\1.asked.\2"),
    (r"act_vit_in\.transformer\.layers\.(\d+)\.0\.to_out\.(.+)", r"action_encoder.attention.\1.leave.\2"),
    (r"act_vit_in\.transformer\.layers\.(\d+)\.1\.net\.(.+)", r"action_encoder.feed_forward.\1.\2"),
    (r"act_vit_in\.mlp_head\.(.+)", r"action_encoder.leave.\1"),
)
_UNUSED = re.compile(r"act_in\.(weight|bias)")
_TRANSFORMER = ("LTXVideoTransformer3DModel", "a transformer of LTX-Video")  # its class, and what that is
_OURS = ("network.view_", "action_encoder.", "empty_text")  # what LTX-Video has nothing of


def public_codec(name: str | Path) -> LTXCodec:
    """LTX-Video's autoencoder: a folder with `vae/` in it, that folder itself, or a hub id (`Lightricks/LTX-Video`).

    Raises:
        InvalidCheckpoint: if none is there, or the hub can't be reached.
    """
    root = _root(name, ["vae/*.json", "vae/*.safetensors"])
    folder = root / "vae" if (root / "vae").is_dir() else root
    _require_class(folder, "AutoencoderKLLTXVideo", "an autoencoder of LTX-Video (a folder with vae/ in it)")
    try:
        autoencoder = AutoencoderKLLTXVideo.from_pretrained(folder, local_files_only=True, torch_dtype=torch.float32)
    except (OSError, ValueError, RuntimeError) as error:
        raise InvalidCheckpoint(f"{folder} can't be loaded as an AutoencoderKLLTXVideo ({error})") from error
    with torch.device("meta"):
        codec = LTXCodec(settings=_plain(autoencoder.config))
    codec.autoencoder = autoencoder
    return codec.eval()


def public_dynamics(
    name: str | Path,
    task: TaskCard,
    codec: LTXCodec,
    *,
    config: LTXDynamicsConfig | None = None,
    empty: Tensor | None = None,
) -> LTXDynamics:
    """A dynamics that begins from public weights, of LTX-Video or of RISE; which of them is seen from the files.

    Args:
        name: a folder with `transformer/` in it, that folder itself, RISE's `.safetensors` or the folder it lies in,
            or a hub id (`Lightricks/LTX-Video`, `OpenDriveLab-org/RISE_Assets`).
        task: which it is for.
        codec: that it predicts clips of.
        config: its size; of LTX-Video's weights their own, and by default the paper's. It is fitted to task and codec.
        empty: what a text encoder makes of an empty text (n, D), see `empty_text`.

    Raises:
        InvalidCheckpoint: if nothing is there, the hub can't be reached, or keys or shapes do not fit.
    """
    patterns = ["transformer/*.json", "transformer/*.safetensors", f"{RISE_FOLDER}/*"]
    found = _found(_root(name, patterns))
    config = (config or LTXDynamicsConfig()).fitted(task, codec.compression)
    if found.is_file():
        return _from_rise(found, task, codec, config, empty)
    config = replace(config, transformer=_plain(json.loads((found / "config.json").read_text())))
    weights = {f"network.ltx.{key}": weight for key, weight in _weights(found).items()}
    return _filled(LTXDynamics.of(config, task), weights, found, codec, empty, may_lack=_OURS)


def config_of(name: str | Path | None, config: LTXDynamicsConfig | None = None) -> LTXDynamicsConfig:
    """The size that a dynamics which begins from `name` will have, as far as local files tell, else `config`.

    By default that is the paper's. No weights are read and nothing is downloaded.

    Raises:
        InvalidCheckpoint: if `name` can't be where something is, or what is there is no transformer of LTX-Video.
    """
    config = config or LTXDynamicsConfig()
    if name is None or (local := _local(name)) is None or not (local / "transformer/config.json").is_file():
        return config
    _require_class(local / "transformer", *_TRANSFORMER)
    return replace(config, transformer=_plain(json.loads((local / "transformer/config.json").read_text())))


def empty_text(name: str | Path, tokens: int) -> Tensor:
    """What LTX-Video's text encoder (T5, 4.7 billion parameters) makes of an empty text, (tokens, D).

    RISE's code pads that text to 128 tokens and lets the first 26 of them be attended to, those that actions are added
    to; the encoder sees all. Needed once: it is saved with the model.

    Args:
        name: a folder with `text_encoder/` in it, that folder itself, or a hub id (`Lightricks/LTX-Video`).
        tokens: how many of the 128 to return: one more than the dynamics predicts frames.

    Raises:
        MissingPackage: without transformers.
        InvalidCheckpoint: if no text encoder is there, or the hub can't be reached.
    """
    try:
        from transformers import T5EncoderModel
    except ImportError as error:
        raise MissingPackage(
            f"LTX-Video's text encoder needs packages that are not installed ({error}): pip install 'rise-gym[ltx]'"
        ) from error
    root = _root(name, ["text_encoder/*"])
    folder = root / "text_encoder" if (root / "text_encoder").is_dir() else root
    try:
        encoder = T5EncoderModel.from_pretrained(folder, local_files_only=True, dtype=torch.bfloat16)
    except (OSError, ValueError) as error:
        raise InvalidCheckpoint(f"{folder} can't be loaded as a T5 text encoder ({error})") from error
    ids = torch.full((1, 128), int(encoder.config.pad_token_id))
    ids[0, 0] = int(encoder.config.eos_token_id)
    with torch.no_grad():
        found: Tensor = encoder(ids)[0]
    return found[0, :tokens].float()


def renamed(key: str) -> str | None:
    """Where a weight of RISE's file belongs in an `LTXDynamics`; None if nowhere, since nothing uses it."""
    if _UNUSED.fullmatch(key):
        return None
    for theirs, ours in _RENAMED:
        if match := re.fullmatch(theirs, key):
            return match.expand(ours)
    return f"network.ltx.{key}"


def _from_rise(
    file: Path, task: TaskCard, codec: LTXCodec, config: LTXDynamicsConfig, empty: Tensor | None
) -> LTXDynamics:
    theirs = _read(file)
    names = {key: renamed(key) for key in theirs}
    weights = {name: theirs[key] for key, name in names.items() if name is not None}
    model = LTXDynamics.of(config, task)
    views = weights.get("network.view_embedding")
    if views is not None and len(views) > model.views:
        weights["network.view_embedding"] = views[: model.views]
    _filled(model, weights, file, codec, empty, may_lack=("empty_text",))
    if empty is None:
        warnings.warn(
            "RISE's weights have learnt to see what T5 makes of an empty text under their actions; without it "
            "(`empty`, or `--text-encoder Lightricks/LTX-Video` of the command) they predict worse until fine-tuned",
            stacklevel=3,
        )
    return model


def _filled(
    model: LTXDynamics,
    weights: Mapping[str, Tensor],
    source: Path,
    codec: LTXCodec,
    empty: Tensor | None,
    *,
    may_lack: tuple[str, ...],
) -> LTXDynamics:
    """The model with these weights.

    Raises:
        InvalidCheckpoint: naming every key without a place, place without a key, and shape that differs.
    """
    own = model.state_dict()
    surplus = sorted(set(weights) - set(own))
    lacking = sorted(name for name in set(own) - set(weights) if not name.startswith(may_lack))
    odd = sorted(name for name in set(own) & set(weights) if own[name].shape != weights[name].shape)
    if surplus or lacking or odd:
        shapes = [f"{name} {tuple(weights[name].shape)} for {tuple(own[name].shape)}" for name in odd]
        raise InvalidCheckpoint(
            f"{source} does not fit: {_listed('keys without a place', surplus)}; {_listed('missing', lacking)}; "
            f"{_listed('of another shape', shapes)}. Names are those after renaming (rise_gym.ltx_weights.renamed); "
            "give a config of the size that the file was made for, or extend the renaming"
        )
    model.load_state_dict({**own, **weights, "empty_text": _fitting(empty, own["empty_text"])})
    model.use_codec(codec)
    return model.eval()


def _fitting(empty: Tensor | None, own: Tensor) -> Tensor:
    if empty is None:
        return own
    if len(empty) < len(own) or empty.shape[1] != own.shape[1]:
        raise InvalidCheckpoint(
            f"an empty text of at least {tuple(own.shape)} was wanted, got {tuple(empty.shape)}; make it with "
            f"empty_text(name, tokens={len(own)}) of the text encoder that the weights were trained with"
        )
    return empty[: len(own)]


def _listed(what: str, names: list[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"{len(names)} {what}" + (f" ({', '.join(names[:20])}{more})" if names else "")


def _root(name: str | Path, patterns: list[str]) -> Path:
    """A local file or folder, or what is wanted of a hub repository."""
    return _local(name) or downloaded(str(name), patterns)


def _local(name: str | Path) -> Path | None:
    """A local file or folder, or None if it is a hub repository's.

    Raises:
        InvalidCheckpoint: if it is neither.
    """
    path = Path(name).expanduser()
    if path.exists():
        return path
    if HUB_ID.fullmatch(str(name)) and not str(name).startswith("."):
        return None
    raise InvalidCheckpoint(f"{str(name)!r} is neither a file, a folder nor a hub id `owner/name`")


def _found(root: Path) -> Path:
    """The folder of LTX-Video's transformer, or RISE's file."""
    if root.is_file():
        return root
    for folder in (root / "transformer", root):
        if (folder / "config.json").is_file():
            _require_class(folder, *_TRANSFORMER)
            return folder
    for file in (root / RISE_FOLDER / WEIGHTS_NAME, root / WEIGHTS_NAME):
        if file.is_file():
            return file
    raise InvalidCheckpoint(
        f"{root}: a transformer of LTX-Video (transformer/config.json) or RISE's {RISE_FOLDER}/{WEIGHTS_NAME} was "
        f"wanted, it has {', '.join(sorted(p.name for p in root.iterdir())[:8]) or 'nothing'}"
    )


def _require_class(folder: Path, name: str, wanted: str) -> None:
    try:
        found = json.loads((folder / "config.json").read_text()).get("_class_name")
    except (OSError, ValueError, AttributeError) as error:  # the last of a list, say
        raise InvalidCheckpoint(f"{folder}: {wanted} was wanted, its config.json can't be read ({error})") from error
    if found != name:
        raise InvalidCheckpoint(f"{folder}: {wanted} was wanted, a {name}, it holds a {found}")


def _weights(folder: Path) -> dict[str, Tensor]:
    """All weights of a folder of diffusers, of one file or of several."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InvalidCheckpoint(f"{folder} has no .safetensors file; pickle is never loaded")
    return {key: weight for file in files for key, weight in _read(file).items()}


def _read(file: Path) -> dict[str, Tensor]:
    try:
        return {key: weight.float() for key, weight in load_file(file).items()}
    except (OSError, SafetensorError) as error:
        raise InvalidCheckpoint(f"{file} can't be read as safetensors ({error}); copy it again") from error


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if not key.startswith("_")}
