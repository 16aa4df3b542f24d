"""Public weights for the full-size world model: LTX-Video's folders and RISE's file, tiny, under their own names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel
from safetensors.torch import load_file, save_file
from tiny_ltx import AUTOENCODER, CONFIG, TRANSFORMER, tiny_codec, tiny_dynamics
from torch import Tensor

from rise_gym.errors import InvalidCheckpoint, MissingPackage
from rise_gym.ltx_dynamics import LTXDynamics
from rise_gym.ltx_weights import RISE_FOLDER, WEIGHTS_NAME, empty_text, public_codec, public_dynamics, renamed
from rise_gym.tasks import BOX_CLOSE

NAMES = (  # of RISE's code -> ours; all others are diffusers' own names
    ("view_embed", "network.view_embedding"),
    ("view_ada.1.weight", "network.view_modulation.weight"),
    ("act_vit_in.to_patch_embedding.1.weight", "action_encoder.enter.1.weight"),
    ("act_vit_in.cls_token", "action_encoder.chunk_token"),
    ("act_vit_in.transformer.layers.1.0.norm.bias", "action_encoder.attention.1.norm.bias"),
    ("act_vit_in.transformer.layers.1.0.to_qkv.weight", "action_encoder.attention.1.asked.weight"),
    ("act_vit_in.transformer.layers.1.0.to_out.0.bias", "action_encoder.attention.1.leave.0.bias"),
    ("act_vit_in.transformer.layers.0.1.net.4.weight", "action_encoder.feed_forward.0.4.weight"),
    ("act_vit_in.mlp_head.1.weight", "action_encoder.leave.1.weight"),
    ("transformer_blocks.3.attn2.norm_q.weight", "network.ltx.transformer_blocks.3.attn2.norm_q.weight"),
)


@pytest.fixture(scope="module")
def ltx_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as LTX-Video's: `transformer/` and `vae/`."""
    folder = tmp_path_factory.mktemp("ltx_video")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        LTXVideoTransformer3DModel(**TRANSFORMER).save_pretrained(folder / "transformer", max_shard_size="20KB")
        AutoencoderKLLTXVideo(**AUTOENCODER).save_pretrained(folder / "vae")
    assert len(list((folder / "transformer").glob("*.safetensors"))) > 1  # in several files, as the real one
    return folder


def theirs_of(model: LTXDynamics) -> dict[str, Tensor]:
    """Its weights under the names of RISE's code, with the layer there that this uses nowhere."""
    found = {"act_in.weight": torch.zeros(4, 2), "act_in.bias": torch.zeros(4)}
    for name, weight in model.state_dict().items():
        if name == "empty_text":
            continue
        theirs = name.removeprefix("network.ltx.")
        for pattern, name_there in (
            (r"network\.view_embedding", "view_embed"),
            (r"network\.view_modulation\.(\w+)", r"view_ada.1.\1"),
            (r"action_encoder\.enter\.(.+)", r"act_vit_in.to_patch_embedding.\1"),
            (r"action_encoder\.chunk_token", "act_vit_in.cls_token"),
            (r"action_encoder\.attention\.(\d+)\.norm\.(\w+)", r"act_vit_in.transformer.layers.\1.0.norm.\2"),
            (r"action_encoder\.attention\.(\d+)\.asked\.(\w+)", r"act_vit_in.transformer.layers.\1.0.to_qkv.\2"),
            (r"action_encoder\.attention\.(\d+)\.leave\.(.+)", r"act_vit_in.transformer.layers.\1.0.to_out.\2"),
            (r"action_encoder\.feed_forward\.(\d+)\.(.+)", r"act_vit_in.transformer.layers.\1.1.net.\2"),
            (r"action_encoder\.leave\.(.+)", r"act_vit_in.mlp_head.\1"),
        ):
            if match := re.fullmatch(pattern, name):
                theirs = match.expand(name_there)
        found[theirs] = weight.contiguous()
    return found


@pytest.fixture
def rise(tmp_path: Path) -> tuple[LTXDynamics, Path, dict[str, Tensor]]:
    """A model, a repository as RISE's with its weights, and these."""
    model = tiny_dynamics(tiny_codec(), seed=3)
    weights, file = theirs_of(model), tmp_path / "assets" / RISE_FOLDER / WEIGHTS_NAME
    file.parent.mkdir(parents=True)
    save_file(weights, file)
    return model, tmp_path / "assets", weights


def test_the_names_of_rises_code() -> None:
    assert all(renamed(theirs) == ours for theirs, ours in NAMES)
    assert renamed("act_in.bias") is None


def test_rises_file_becomes_the_same_model(rise: tuple[LTXDynamics, Path, dict[str, Tensor]]) -> None:
    model, assets, _ = rise
    empty = torch.randn(26, 12)
    found = public_dynamics(assets, BOX_CLOSE, tiny_codec(), config=CONFIG, empty=empty)
    want = model.state_dict() | {"empty_text": empty[:18]}  # seventeen frames here, and one token before them
    torch.testing.assert_close(dict(found.state_dict()), dict(want))
    alone = public_dynamics(assets / RISE_FOLDER / WEIGHTS_NAME, BOX_CLOSE, tiny_codec(), config=CONFIG, empty=empty)
    torch.testing.assert_close(dict(alone.state_dict()), dict(want))
    with pytest.raises(InvalidCheckpoint, match=r"at least \(18, 12\) was wanted, got \(5, 12\)"):
        public_dynamics(assets, BOX_CLOSE, tiny_codec(), config=CONFIG, empty=empty[:5])


def test_without_an_empty_text_it_warns(rise: tuple[LTXDynamics, Path, dict[str, Tensor]]) -> None:
    with pytest.warns(UserWarning, match="--text-encoder"):
        public_dynamics(rise[1], BOX_CLOSE, tiny_codec(), config=CONFIG)


def test_keys_that_do_not_match_are_named(rise: tuple[LTXDynamics, Path, dict[str, Tensor]]) -> None:
    _, assets, weights = rise
    changed = {**weights, "view_embed": torch.zeros(2, 16), "action_proj_in.weight": torch.zeros(3)}
    del changed["act_vit_in.cls_token"]
    save_file(changed, assets / RISE_FOLDER / WEIGHTS_NAME)
    with pytest.raises(InvalidCheckpoint) as caught:
        public_dynamics(assets, BOX_CLOSE, tiny_codec(), config=CONFIG, empty=torch.zeros(18, 12))
    text = str(caught.value)
    assert "1 keys without a place (network.ltx.action_proj_in.weight)" in text
    assert "1 missing (action_encoder.chunk_token)" in text
    assert "network.view_embedding (2, 16) for (3, 16)" in text
    (assets / RISE_FOLDER / WEIGHTS_NAME).write_bytes(b"torn")
    with pytest.raises(InvalidCheckpoint, match="copy it again"):
        public_dynamics(assets, BOX_CLOSE, tiny_codec(), config=CONFIG)


def test_ltx_videos_folder_gives_codec_and_dynamics(ltx_video: Path) -> None:
    codec = public_codec(ltx_video)
    assert codec.compression == (8, 16, 16)
    autoencoder = AutoencoderKLLTXVideo.from_pretrained(ltx_video / "vae")
    torch.testing.assert_close(dict(codec.autoencoder.state_dict()), dict(autoencoder.state_dict()))
    small = replace(CONFIG, transformer={})  # its size is that of the folder
    found = public_dynamics(ltx_video, BOX_CLOSE, codec, config=small)
    stored = [load_file(file) for file in (ltx_video / "transformer").glob("*.safetensors")]
    for name, weight in {name: weight for part in stored for name, weight in part.items()}.items():
        torch.testing.assert_close(found.state_dict()[f"network.ltx.{name}"], weight)
    history = torch.randn(1, 4, 3, 8, 4, 4)
    noisy, level = torch.randn(1, 3, 3, 8, 4, 4), torch.ones(1)
    one, other = (found(history, noisy, level, torch.full((1, 17, 14), value)) for value in (-1.0, 1.0))
    assert torch.equal(one, other)  # it begins as the video model was, which knows no actions


def test_what_is_something_else_is_refused(ltx_video: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidCheckpoint, match="a AutoencoderKLLTXVideo, it holds a LTXVideoTransformer3DModel"):
        public_codec(ltx_video / "transformer")
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InvalidCheckpoint, match=r"was wanted, it has notes\.txt"):
        public_dynamics(tmp_path, BOX_CLOSE, tiny_codec(), config=CONFIG)
    with pytest.raises(InvalidCheckpoint, match="neither a file, a folder nor a hub id"):
        public_codec(tmp_path / "gone")


@pytest.mark.parametrize(
    ("ask", "patterns"),
    [
        (lambda: public_codec("Lightricks/LTX-Video"), "vae/*.safetensors"),
        (lambda: public_dynamics("OpenDriveLab-org/RISE_Assets@main", BOX_CLOSE, tiny_codec()), f"{RISE_FOLDER}/*"),
    ],
)
def test_a_hub_that_cannot_be_reached_says_what_to_do(
    ask: Callable[[], Any], patterns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def unreachable(repository: str, **arguments: Any) -> str:
        asked.append(arguments["allow_patterns"])
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(InvalidCheckpoint, match="check the spelling and the connection, or give a local folder"):
        ask()
    assert patterns in asked[0]  # never the whole repository, which holds hundreds of gigabytes


def test_an_empty_text_is_what_the_encoder_makes_of_it(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra `ltx` is not installed")
    shape = {"d_model": 12, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 40}
    encoder = transformers.T5EncoderModel(transformers.T5Config(**shape))
    encoder.save_pretrained(tmp_path / "text_encoder")
    ids = torch.zeros(1, 128, dtype=torch.int64)  # padding, which T5 sees as well
    ids[0, 0] = 1  # the end of the text
    want = encoder.eval()(ids)[0][0, :26].detach()
    torch.testing.assert_close(empty_text(tmp_path, tokens=26), want, rtol=0.05, atol=0.05)  # in half precision
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InvalidCheckpoint, match="can't be loaded as a T5 text encoder"):
        empty_text(tmp_path / "nothing", tokens=3)


def test_the_text_encoder_needs_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingPackage, match=r"pip install 'rise-gym\[ltx\]'"):
        empty_text("Lightricks/LTX-Video", tokens=26)
