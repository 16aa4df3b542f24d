"""A checkpoint is whole, verified and never pickle, or refused with one clear error."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderTiny

from rise_gym import _verification, locations
from rise_gym.checkpoints import load_checkpoint, resolve, save_checkpoint
from rise_gym.errors import InvalidCheckpoint, SaveFailed
from rise_gym.tasks import BOX_CLOSE

WEIGHTS = "autoencoder/diffusion_pytorch_model.safetensors"


def tiny_codec(seed: int = 0) -> AutoencoderTiny:
    torch.manual_seed(seed)
    return AutoencoderTiny(
        encoder_block_out_channels=(4, 4),
        decoder_block_out_channels=(4, 4),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
        latent_channels=2,
    )


def save(folder: Path, seed: int = 0, **changes: Any) -> Path:
    return save_checkpoint(
        folder,
        **{
            "kind": "world_model",
            "task": BOX_CLOSE,
            "components": {"autoencoder": tiny_codec(seed)},
            "extra": {"scale": 5.0},
            "card": "# How it was made\n",
            **changes,
        },
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path / "checkpoint")


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_saved_and_loaded_parts_are_equal(folder: Path) -> None:
    checkpoint = load_checkpoint(folder, kind="world_model", task="box_close")
    assert checkpoint.task == BOX_CLOSE
    assert checkpoint.extra == {"scale": 5.0}
    loaded = checkpoint.component("autoencoder")
    assert not loaded.training
    for name, weights in tiny_codec().state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], weights, rtol=0, atol=0)


def test_each_part_loads_alone_as_diffusers_does(folder: Path) -> None:
    assert isinstance(AutoencoderTiny.from_pretrained(folder / "autoencoder"), AutoencoderTiny)


def test_where_a_part_was_loaded_from_is_nobodys_business(folder: Path, tmp_path: Path) -> None:
    loaded = load_checkpoint(folder, kind="world_model").component("autoencoder")
    again = save(tmp_path / "again", components={"autoencoder": loaded})
    assert "checkpoint" not in (again / "autoencoder" / "config.json").read_text()
    load_checkpoint(again, kind="world_model").component("autoencoder")


def test_further_files_are_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("seen")
    folder = save(tmp_path / "checkpoint", files={"notes.txt": tmp_path / "notes.txt"})
    assert (folder / "notes.txt").read_text() == "seen"
    (folder / "notes.txt").write_text("edited")
    with pytest.raises(InvalidCheckpoint, match=r"notes\.txt is truncated or changed"):
        load_checkpoint(folder, kind="world_model")


def truncate(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])


def flip_a_bit(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(data))


def change_the_task(folder: Path) -> None:
    edit_json(folder / "rise_gym.json", task="brick_sort")


def change_the_card(folder: Path) -> None:
    edit_json(folder / "task.json", control_hz=30.0)
    digest = _verification.digest(folder / "task.json")
    manifest = json.loads((folder / "rise_gym.json").read_text())
    edit_json(folder / "rise_gym.json", sha256={**manifest["sha256"], "task.json": digest})


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "gone": (shutil.rmtree, "has no rise_gym.json"),
    "no manifest": (lambda folder: (folder / "rise_gym.json").unlink(), "has no rise_gym.json"),
    "garbled manifest": (lambda folder: (folder / "rise_gym.json").write_text("{"), "can't be read"),
    "no list of files": (lambda folder: edit_json(folder / "rise_gym.json", sha256={}), "lists no files"),
    "missing weights": (lambda folder: (folder / WEIGHTS).unlink(), r"safetensors is missing"),
    "truncated weights": (truncate, r"safetensors is truncated or changed"),
    "changed weights": (flip_a_bit, r"safetensors is truncated or changed"),
    "stray weights": (lambda folder: shutil.copy(folder / WEIGHTS, folder / "extra.safetensors"), "not listed"),
    "pickle beside it": (lambda folder: (folder / "model.bin").write_bytes(b"x"), "pickle, which is never loaded"),
    "later format": (lambda folder: edit_json(folder / "rise_gym.json", format_version=2), "version 1 was wanted.*2"),
    "another kind": (
        lambda folder: edit_json(folder / "rise_gym.json", kind="policy"),
        "world_model was wanted.*policy",
    ),
    "another task": (change_the_task, "'box_close' was wanted, it was made for 'brick_sort'"),
    "another task card": (change_the_card, r"control_hz 10\.0 was wanted, it was made for 30\.0"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_or_foreign_checkpoint_is_refused(folder: Path, damage: str) -> None:
    spoil, message = DAMAGE[damage]
    spoil(folder)
    with pytest.raises(InvalidCheckpoint, match=message):
        load_checkpoint(folder, kind="world_model", task="box_close")


def test_only_classes_of_known_libraries_are_loaded(folder: Path) -> None:
    checkpoint = load_checkpoint(folder, kind="world_model")
    edit_json(folder / "model_index.json", autoencoder=["subprocess", "Popen"])
    with pytest.raises(InvalidCheckpoint, match="only classes of rise_gym and diffusers"):
        checkpoint.component("autoencoder")
    edit_json(folder / "model_index.json", autoencoder=["rise_gym.codec_of_tomorrow", "Codec"])
    with pytest.raises(InvalidCheckpoint, match="which this version lacks"):
        checkpoint.component("autoencoder")
    with pytest.raises(InvalidCheckpoint, match="'dynamics' was wanted, it has autoencoder"):
        checkpoint.component("dynamics")


def test_saving_again_replaces_the_earlier_checkpoint(folder: Path) -> None:
    before = contents(folder)
    save(folder, seed=1)
    assert contents(folder)[WEIGHTS] != before[WEIGHTS]
    load_checkpoint(folder, kind="world_model")
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoint"]


class FullDisk:
    """A part whose save fails half-way, as on a full disk."""

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise OSError(28, "No space left on device")


def test_a_full_disk_leaves_the_earlier_checkpoint_whole(folder: Path) -> None:
    before = contents(folder)
    with pytest.raises(SaveFailed, match=r"No space left on device.*untouched"):
        save(folder, components={"autoencoder": tiny_codec(1), "value": FullDisk()})
    assert contents(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoint"]
    load_checkpoint(folder, kind="world_model")


class Interrupted:
    """Ctrl-C while a part is written."""

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt


def test_ctrl_c_leaves_the_earlier_checkpoint_and_nothing_else(folder: Path) -> None:
    before = contents(folder)
    with pytest.raises(KeyboardInterrupt):
        save(folder, components={"autoencoder": tiny_codec(1), "value": Interrupted()})
    assert contents(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoint"]


def test_a_save_that_died_between_its_renames_is_undone(folder: Path) -> None:
    before = contents(folder)
    folder.rename(locations.previous_folder(folder))
    load_checkpoint(folder, kind="world_model")
    assert contents(folder) == before


def test_a_folder_with_other_files_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SaveFailed, match=r"thesis\.txt"):
        save(tmp_path)
    with pytest.raises(SaveFailed, match="is a file"):
        save(tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_names_stand_for_folders(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert resolve(folder) == folder
    assert resolve(str(folder)) == folder
    monkeypatch.setattr(locations, "bundled_folder", lambda task: tmp_path / "bundled" / task)
    shutil.copytree(folder, tmp_path / "bundled" / "box_close" / "world_model")
    for name in ("bundled:box_close/world_model", "bundled:box_close", "box_close"):
        assert resolve(name) == tmp_path / "bundled" / "box_close" / "world_model"
    with pytest.raises(InvalidCheckpoint, match="not part of this package; it has bundled:box_close/world_model"):
        resolve("bundled:box_close/rise")
    shutil.copytree(folder, tmp_path / "bundled" / "several_tasks" / "world_model")
    assert resolve("bundled:brick_sort/world_model") == tmp_path / "bundled" / "several_tasks" / "world_model"
    assert resolve("box_close") == tmp_path / "bundled" / "box_close" / "world_model"
    with pytest.raises(InvalidCheckpoint, match="is no folder"):
        resolve("./nowhere")


def test_an_unreachable_hub_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def unreachable(repository: str, **_: Any) -> str:
        raise ConnectionError(f"no route to {repository}\nPlease read this as well.")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(InvalidCheckpoint, match=r"could not be had from the hub.*\(no route to lab/box\); check"):
        resolve("lab/box@main")


def test_a_hub_id_with_a_revision_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: dict[str, Any] = {}

    def download(repository: str, **options: Any) -> str:
        asked.update(repository=repository, **options)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve("lab/box@v2") == folder
    assert (asked["repository"], asked["revision"]) == ("lab/box", "v2")
    assert not [pattern for pattern in asked["allow_patterns"] if pattern.endswith(("bin", "pt", "pkl"))]
