"""Pushing to the hub and back, against a small hub on this machine; and the cards, which never invent a figure."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from local_hub import TOKEN, LocalHub, local_hub

from rise_gym import WorldModel
from rise_gym.agents.flow_policy import FlowPolicy, FlowPolicyConfig, load_policy, save_policy
from rise_gym.cli import main
from rise_gym.episodes import dataset_summary, read_episodes, write_episodes
from rise_gym.errors import HubFault, InvalidCheckpoint, InvalidDataset, InvalidResults
from rise_gym.hub import push_to_hub, to_push
from rise_gym.locations import resolve
from rise_gym.tasks import BOX_CLOSE
from rise_gym.types import Episode

EVALUATION = {
    "env_id": "rise_gym:RiseMujoco-BoxClose-v0",
    "policy": "bundled:box_close/base",
    "episodes": 30,
    "seed": 100_000,
    "success_rate": 0.4,
    "success_ci95": [0.246, 0.577],
    "score_mean": 7.75,
    "score_ci95": [7.0, 8.4],
    "return_mean": 0.81,
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """The one that the hub's client talks to, with a token and an empty cache."""
    from huggingface_hub import constants

    with local_hub() as server:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


def written(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def recorded() -> Episode:
    rng = np.random.default_rng(0)
    low, high = np.array(BOX_CLOSE.action_low), np.array(BOX_CLOSE.action_high)
    return Episode(
        task="box_close",
        instruction=BOX_CLOSE.instruction,
        frames={camera: rng.integers(0, 255, (5, 64, 64, 3), dtype=np.uint8) for camera in BOX_CLOSE.cameras},
        proprio=rng.uniform(low, high, (5, 14)).astype(np.float32),
        actions=rng.uniform(-1, 1, (5, 14)).astype(np.float32),
        success=True,
        score=10.0,
        source="demonstration",
        policy="person",
        seed=3,
    )


def test_a_world_model_goes_there_and_back(hub: LocalHub, tiny_world: Path) -> None:
    world = WorldModel.from_pretrained(tiny_world)
    address = world.push_to_hub("lab/box-dream", private=True)
    assert address.startswith(hub.address)
    assert hub.private == {"models/lab/box-dream"}
    card = hub.repositories["models/lab/box-dream"]["README.md"].decode()
    assert card.endswith("## Measured\n\nNothing has been measured yet.\n")
    back = WorldModel.from_pretrained("lab/box-dream")
    for name, weights in world.dynamics.state_dict().items():
        assert torch.equal(weights, back.dynamics.state_dict()[name]), name


def test_a_policy_goes_there_and_back_with_its_figures(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = written(tmp_path / "evaluation.json", EVALUATION)
    command = ["rise-gym", "push", "bundled:box_close/base", "lab/base", "--results", str(results)]
    monkeypatch.setattr(sys, "argv", command)
    main()
    assert f"pushed: {hub.address}" in capsys.readouterr().out
    files = hub.repositories["models/lab/base"]
    assert set(files) == {".gitattributes", *to_push(resolve("bundled:box_close/base"))[1]}
    card = files["README.md"].decode()
    assert "`RiseMujoco-BoxClose-v0`, 30 episodes from seed 100000:" in card
    assert "| success | 40.0% | 24.6% to 57.7% |" in card
    manifest = json.loads(files["rise_gym.json"])
    manifest["sha256"]["policy/old.safetensors"] = "0" * 64
    files["rise_gym.json"] = json.dumps(manifest).encode()
    files["policy/old.safetensors"] = b"of an earlier push"
    files["pictures/robot.png"] = b"somebody's own"
    push_to_hub(resolve("bundled:box_close/base"), "lab/base", results=[results])
    assert "policy/old.safetensors" not in hub.repositories["models/lab/base"]
    assert hub.repositories["models/lab/base"]["pictures/robot.png"] == b"somebody's own"
    ours, theirs = load_policy("bundled:box_close/base").state_dict(), load_policy("lab/base").state_dict()
    assert all(torch.equal(weights, theirs[name]) for name, weights in ours.items())


def test_a_policy_pushes_itself_as_a_whole(hub: LocalHub, tmp_path: Path) -> None:
    policy = FlowPolicy.of(FlowPolicyConfig(channels=(4, 4, 8), context_width=16, head_width=16), BOX_CLOSE).eval()
    address = policy.push_to_hub("lab/small", private=True)
    assert address.startswith(hub.address)
    assert hub.private == {"models/lab/small"}
    files = hub.repositories["models/lab/small"]
    saved = save_policy(tmp_path / "small", policy)
    assert set(files) == {".gitattributes", *to_push(saved)[1]}
    card = files["README.md"].decode()
    assert "# Policy for BoxClose" in card
    assert card.endswith("## Measured\n\nNothing has been measured yet.\n")
    back = load_policy("lab/small", task="box_close").state_dict()
    for name, weights in policy.state_dict().items():
        torch.testing.assert_close(back[name], weights, atol=1e-3, rtol=1e-3)
    results = written(tmp_path / "evaluation.json", {**EVALUATION, "policy": str(saved)})
    policy.push_to_hub("lab/small", card="# Mine", results=[results])
    card = hub.repositories["models/lab/small"]["README.md"].decode()
    assert card.startswith("# Mine")
    assert "| success | 40.0% | 24.6% to 57.7% |" in card


def test_a_dataset_goes_there_and_back(hub: LocalHub, tmp_path: Path) -> None:
    write_episodes(tmp_path / "demos", [recorded()], BOX_CLOSE)
    (tmp_path / "demos" / "notes.txt").write_text("not a part of it")
    push_to_hub(tmp_path / "demos", "lab/demos")
    files = hub.repositories["datasets/lab/demos"]
    files["data/chunk-000/file-007.parquet"] = b"of an earlier push"
    push_to_hub(tmp_path / "demos", "lab/demos")
    files = hub.repositories["datasets/lab/demos"]
    assert "data/chunk-000/file-007.parquet" not in files
    assert {name.split("/")[0] for name in files} == {".gitattributes", "README.md", "data", "meta", "videos"}
    assert "| episodes | 1 |\n| successful | 1 |" in files["README.md"].decode()
    (there,) = read_episodes("lab/demos")
    (here,) = read_episodes(tmp_path / "demos")
    np.testing.assert_array_equal(there.actions, here.actions)
    np.testing.assert_array_equal(there.frames["head"], here.frames["head"])
    assert dataset_summary("lab/demos").seeds == (3,)


def test_a_licence_is_who_pushes_to_name(tmp_path: Path, tiny_world: Path) -> None:
    """Nobody else's recordings, nor what was made from weights under another licence, are said to be Apache's."""
    write_episodes(tmp_path, [recorded()], BOX_CLOSE)
    for folder in (tmp_path, tiny_world):
        assert b"license" not in to_push(folder)[1]["README.md"]  # type: ignore[operator]  # a card is bytes
        card = to_push(folder, licence="cc-by-nc-sa-4.0")[1]["README.md"]
        assert isinstance(card, bytes)
        assert card.startswith(b"---\nlicense: cc-by-nc-sa-4.0\n")
        assert card.count(b"\n---\n") == 1
    with pytest.raises(HubFault, match=r"named as the hub does, .* got 'CC BY\\n'"):
        to_push(tmp_path, licence="CC BY\n")
    bundled = to_push(resolve("bundled:box_close/base"), licence="mit")[1]["README.md"]
    assert isinstance(bundled, bytes)
    assert bundled.startswith(b"---\nlicense: mit\nlibrary_name")
    assert bundled.count(b"license:") == 1


def test_what_a_killed_writer_left_is_not_pushed(tmp_path: Path) -> None:
    """It is no part of the dataset, but lerobot, which reads all files there are, would take it for episodes."""
    write_episodes(tmp_path, [recorded()], BOX_CLOSE)
    whole = set(to_push(tmp_path)[1])
    for name in ("data/chunk-000/file-000.parquet", "videos/observation.images.head/chunk-000/file-000.mp4"):
        path = tmp_path / name
        path.with_name(path.name.replace("000", "001")).write_bytes(path.read_bytes())
        path.with_name(f".{path.name}.partial").write_bytes(b"")
    (tmp_path / "meta/.info.json.partial").write_bytes(b"")
    assert set(to_push(tmp_path)[1]) == whole
    (tmp_path / "data/chunk-000/file-000.parquet").unlink()
    with pytest.raises(InvalidDataset, match=r"lacks data/chunk-000/file-000.parquet, which meta/episodes names"):
        to_push(tmp_path)


def test_a_dataset_is_tagged_as_lerobot_wants_it(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import HfApi

    write_episodes(tmp_path / "demos", [recorded()], BOX_CLOSE)
    push_to_hub(tmp_path / "demos", "lab/demos")
    tags = HfApi().list_repo_refs("lab/demos", repo_type="dataset").tags  # what lerobot looks its versions up in
    assert [(tag.name, tag.target_commit) for tag in tags] == [("v3.0", hub.revision("datasets/lab/demos"))]
    write_episodes(tmp_path / "demos", [replace(recorded(), seed=4)], BOX_CLOSE)
    push_to_hub(tmp_path / "demos", "lab/demos")
    assert hub.tags == {"datasets/lab/demos": {"v3.0": hub.revision("datasets/lab/demos")}}
    assert dataset_summary("lab/demos@v3.0").seeds == (3, 4)

    def refused(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("gone")

    monkeypatch.setattr(HfApi, "create_tag", refused)
    with pytest.raises(HubFault, match=r"was pushed but could not be tagged v3\.0 .*gone.*push again"):
        push_to_hub(tmp_path / "demos", "lab/demos")


def test_what_is_bundled_comes_with_what_was_recorded() -> None:
    results = Path(__file__).parents[1] / "benchmarks" / "results"
    found = json.loads((results / "main_table" / "box_close_rise_0.json").read_text())
    card = pushed_card("bundled:box_close/rise")
    low, high = found["success_ci95"]
    assert f"| success | {found['success_rate']:.1%} | {low:.1%} to {high:.1%} |" in card
    assert found["commit"][:12] in card
    assert card.count("| success |") == 1
    value = json.loads((results / "value.json").read_text())["auroc_last_40_percent"]
    of_world_model = pushed_card("bundled:box_close/world_model")
    assert f"| auroc last 40 percent | {value['value']:.3g} |" in of_world_model
    ranked = json.loads((results / "imagined_vs_real.json").read_text())["tasks"]["BoxClose"]
    low, high = ranked["pearson_ci95"]
    assert f"Imagined vs real of BoxClose, {ranked['starts']} starts" in of_world_model
    assert f"| success, pearson | {ranked['pearson']:.3g} | {low:.3g} to {high:.3g} |" in of_world_model


def test_each_bundled_world_model_shows_the_figures_of_its_task() -> None:
    results = Path(__file__).parents[1] / "benchmarks" / "results"
    for task, title in (("brick_sort", "BrickSort"), ("backpack_pack", "BackpackPack")):
        card = pushed_card(f"bundled:{task}/world_model")
        found = json.loads((results / f"value_{task}.json").read_text())
        value = found["auroc_last_40_percent"]["value"]
        told = card.split(f"Value of {title}, {found['episodes']} episodes, measured at commit {found['commit'][:12]}")[
            1
        ]
        assert f"| auroc last 40 percent | {value:.3g} |" in told
        dynamics = json.loads((results / f"dynamics_{task}.json").read_text())
        decibels = dynamics["quality"]["success"]["imagined"]["chunk_1"]["psnr_db"]["mean"]
        assert f"| PSNR of a chunk in dB, success, imagined | {decibels:.3g} | |" in card
        assert "Nothing has been measured" not in card
        assert ("BrickSort" in card, "BackpackPack" in card) == (title == "BrickSort", title == "BackpackPack")
    assert "BrickSort" not in pushed_card("bundled:box_close/world_model")


def pushed_card(name: str, *results: Path) -> str:
    content = to_push(resolve(name), results)[1]["README.md"]
    assert isinstance(content, bytes)
    return content.decode()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"policy": "bundled:box_close/rise"}, "which is not what lies in"),
        ({"policy": "runs/gone"}, "'runs/gone'"),
        ({"seed": None}, "lacks seed"),
    ],
)
def test_figures_of_something_else_are_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    figures = {key: value for key, value in {**EVALUATION, **change}.items() if value is not None}
    with pytest.raises(InvalidResults, match=told):
        pushed_card("bundled:box_close/base", written(tmp_path / "evaluation.json", figures))


def test_a_world_model_takes_what_compare_wrote(tmp_path: Path, tiny_world: Path) -> None:
    pearson = {"pearson": {"value": 0.9, "ci95": [0.7, 0.97]}}
    figures = {"world_model": str(tiny_world), "episodes": 50, "agreement": {"success": pearson}}
    card = to_push(tiny_world, [written(tmp_path / "a.json", figures)])[1]["README.md"]
    assert isinstance(card, bytes)
    assert "| agreement, success, pearson | 0.9 | 0.7 to 0.97 |" in card.decode()
    with pytest.raises(InvalidResults, match="compare --json"):
        to_push(tiny_world, [written(tmp_path / "b.json", EVALUATION)])


def test_two_policies_have_no_interval(tmp_path: Path, tiny_world: Path) -> None:
    agreement = {"pearson": {"value": 1.0, "ci95": [None, None]}, "spearman": {"value": None, "ci95": [None, None]}}
    figures = {"world_model": str(tiny_world), "commit": None, "agreement": {"success": agreement}}
    card = to_push(tiny_world, [written(tmp_path / "a.json", figures)])[1]["README.md"]
    assert isinstance(card, bytes)
    assert "| agreement, success, pearson | 1 |  |" in card.decode()
    assert "spearman" not in card.decode()


def test_what_was_measured_outside_of_a_checkout_names_no_commit(tmp_path: Path) -> None:
    figures = written(tmp_path / "evaluation.json", {**EVALUATION, "commit": None})
    assert "30 episodes from seed 100000:" in pushed_card("bundled:box_close/base", figures)


def test_without_a_token_the_message_says_how_to_log_in(
    hub: LocalHub, tiny_world: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(HubFault, match="hf auth login"):
        push_to_hub(tiny_world, "lab/dream")
    with pytest.raises(HubFault, match="check the connection, that the token"):
        push_to_hub(tiny_world, "lab/dream", token="hf_wrong")
    assert hub.repositories == {}


def test_a_hub_that_cannot_be_reached(hub: LocalHub, tiny_world: Path) -> None:
    hub.shutdown()
    hub.server_close()
    with pytest.raises(HubFault, match="could not push to 'lab/dream'"):
        push_to_hub(tiny_world, "lab/dream")
    with pytest.raises(InvalidCheckpoint, match="could not be had from the hub"):
        resolve("lab/dream")
    with pytest.raises(InvalidDataset, match="could not be had from the hub"):
        read_episodes("lab/demos")


def test_what_is_neither_is_refused(tmp_path: Path, tiny_world: Path) -> None:
    with pytest.raises(InvalidDataset, match="neither a checkpoint"):
        to_push(tmp_path)
    with pytest.raises(HubFault, match="owner/name"):
        push_to_hub(tiny_world, "dream")
