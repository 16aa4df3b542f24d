"""`rise-gym train`: parts that lie in one folder become a world model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from rise_gym.codec import FrameCodec, FrameCodecConfig
from rise_gym.commands._shared import chosen_device
from rise_gym.commands.train import Part, train
from rise_gym.dynamics import VideoDynamics, VideoDynamicsConfig
from rise_gym.envs.imagined import ImaginedEnv
from rise_gym.episodes import write_episodes
from rise_gym.errors import InvalidCheckpoint, InvalidDataset, RiseGymError
from rise_gym.tasks import BOX_CLOSE, BRICK_SORT, TaskCard
from rise_gym.types import Episode
from rise_gym.value import ProgressValue, ProgressValueConfig
from rise_gym.world_model import CompositionalWorldModel


def episode(number: int, task: TaskCard = BOX_CLOSE) -> Episode:
    rng = np.random.default_rng(number)
    frames = {camera: rng.integers(0, 256, (20, 64, 64, 3), dtype=np.uint8) for camera in BOX_CLOSE.cameras}
    return Episode(
        task=task.name, instruction=task.instruction, frames=frames, proprio=np.full((20, 14), 0.01, np.float32),
        actions=np.zeros((20, 14), np.float32), success=number == 0, score=10.0, source="rollout", policy="test",
        seed=number, progress=np.linspace(0, 1, 20, dtype=np.float32),
    )  # fmt: skip


SMALL = VideoDynamicsConfig(widths=(16, 32, 32), embedding_width=32, gain=False, later=(), sight=False)


def small_parts(folder: Path) -> None:
    """A codec, a dynamics and a value, untrained."""
    torch.manual_seed(0)
    FrameCodec.of(FrameCodecConfig(width=8)).eval().save_pretrained(folder / "codec")
    VideoDynamics.of(SMALL, BOX_CLOSE).save_pretrained(folder / "dynamics")
    ProgressValue.of(ProgressValueConfig(widths=(16, 16), hidden=16), BOX_CLOSE).save_pretrained(folder / "value")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_episodes(tmp_path / "data", [episode(number) for number in range(2)], BOX_CLOSE)
    return tmp_path / "data"


def test_a_decoder_goes_on_from_what_lies_there_and_the_model_is_sealed(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    small_parts(out)
    codec = FrameCodec.from_pretrained(out / "codec")
    train("decoder", out, data=[data], steps=2, learning_rate=1.0)
    model = CompositionalWorldModel.from_pretrained(out / "checkpoint")
    frames = torch.from_numpy(episode(0).views(BOX_CLOSE.cameras))[:2]
    torch.testing.assert_close(model.codec.encode(frames), codec.encode(frames), atol=2e-2, rtol=0)  # half precision
    before, after = codec.autoencoder.decoder.state_dict(), model.codec.autoencoder.decoder.state_dict()
    assert any(not torch.equal(before[name].half(), after[name].half()) for name in before)


def test_where_dreams_begin_is_kept_with_the_model(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    small_parts(out)
    for given in ({"start_kind": "mid_episode"}, {}):  # said once, it stays
        train("value", out, data=[data], steps=1, **given)
        env = ImaginedEnv(world_model=out / "checkpoint")
        assert env.reset(seed=0)[1]["start_tick"] > 0
        assert env.reset(options={"start_kind": "initial"})[1]["start_tick"] == 0
        assert ImaginedEnv(world_model=out / "checkpoint", start_kind="initial").reset(seed=0)[1]["start_tick"] == 0
    train("value", out, data=[data], steps=1, start_kind="initial")
    assert CompositionalWorldModel.from_pretrained(out / "checkpoint").config.start_kind == "initial"


def test_a_renderer_becomes_part_of_the_dynamics(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    out = tmp_path / "out"
    FrameCodec.of(FrameCodecConfig(width=8)).save_pretrained(out / "codec")
    small = VideoDynamicsConfig(widths=(16, 32, 32), embedding_width=32, gain=False, later=())
    VideoDynamics.of(small, BOX_CLOSE).save_pretrained(out / "dynamics")
    ProgressValue.of(ProgressValueConfig(widths=(16, 16), hidden=16), BOX_CLOSE).save_pretrained(out / "value")
    train("renderer", out, data=[data], steps=1)
    model = CompositionalWorldModel.from_pretrained(out / "checkpoint")
    assert model.dynamics.renderer is not None
    assert VideoDynamics.from_pretrained(out / "dynamics").renderer is not None


def test_what_it_knows_of_its_errors_becomes_part_of_the_model(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    small_parts(out)
    train("uncertainty", out, data=[data], steps=2)
    model = CompositionalWorldModel.from_pretrained(out / "checkpoint")
    assert model.progress_uncertainty is not None
    learnt = model.progress_uncertainty.state_dict()["mean"]
    assert bool((learnt != 0).any())


def test_a_part_that_is_missing_is_named(data: Path, tmp_path: Path) -> None:
    FrameCodec.of(FrameCodecConfig(width=8)).save_pretrained(tmp_path / "out" / "codec")
    with pytest.raises(RiseGymError, match="rise-gym train dynamics"):
        train("decoder", tmp_path / "out", data=[data], steps=2)


def test_one_world_model_serves_all_tasks_that_it_was_trained_across(data: Path, tmp_path: Path) -> None:
    bricks, out = tmp_path / "bricks", tmp_path / "out"
    write_episodes(bricks, [episode(number, BRICK_SORT) for number in (7, 8)], BRICK_SORT)
    small_parts(out)
    train(
        "dynamics", out, data=[data, bricks], across_tasks=True, instructed=True, initial=str(out), steps=1,
        progress_from="value",
    )  # fmt: skip
    folder = out / "checkpoint"
    settings = json.loads((folder / "rise_gym.json").read_text())["extra"]["tasks"]
    assert sorted(settings) == ["box_close", "brick_sort"]
    assert settings["box_close"]["success_threshold"] is not None  # of its two episodes one succeeded
    assert settings["brick_sort"]["success_threshold"] is None
    model = CompositionalWorldModel.from_pretrained(folder, task="brick_sort")
    assert (model.task, model.tasks) == (BRICK_SORT, ("brick_sort", "box_close"))
    assert model.dynamics.config.instructed
    assert CompositionalWorldModel.from_pretrained(folder).task == BOX_CLOSE
    for name, seeds in (("BrickSort", {7, 8}), ("BoxClose", {0, 1})):
        env = gymnasium.make(f"rise_gym:RiseImagined-{name}-v0", world_model=str(folder), disable_env_checker=True)
        assert env.reset(seed=0)[1]["start_seed"] in seeds
        env.step(env.action_space.sample())
    live = ImaginedEnv(task="box_close", world_model=model, starts=str(folder / "starts.npz"))
    assert live.world_model.config.success_threshold == settings["box_close"]["success_threshold"]
    with pytest.raises(InvalidCheckpoint, match=r"'backpack_pack' was wanted.*'box_close' and 'brick_sort'"):
        CompositionalWorldModel.from_pretrained(folder, task="backpack_pack")
    with pytest.raises(InvalidCheckpoint, match="--across-tasks"):
        model.for_task("backpack_pack")


def test_a_dataset_of_the_named_task_has_to_be_there(data: Path, tmp_path: Path) -> None:
    small_parts(tmp_path / "out")
    with pytest.raises(InvalidDataset, match=r"'brick_sort' was wanted among --data, they are of box_close"):
        train("decoder", tmp_path / "out", data=[data], task="brick_sort", across_tasks=True)
    with pytest.raises(InvalidDataset, match="task 'brick_sort' was wanted"):
        train("decoder", tmp_path / "out", data=[data], task="brick_sort")


def test_a_value_that_is_to_teach_progress_has_to_be_there(data: Path, tmp_path: Path) -> None:
    FrameCodec.of(FrameCodecConfig(width=8)).save_pretrained(tmp_path / "out" / "codec")
    with pytest.raises(RiseGymError, match="rise-gym train value"):
        train("dynamics", tmp_path / "out", data=[data], progress_from="value")


def test_a_run_does_not_go_on_from_something_else(data: Path, tmp_path: Path) -> None:
    small_parts(tmp_path / "one")
    small_parts(tmp_path / "other")
    ProgressValue.of(ProgressValueConfig(widths=(16, 16), hidden=16), BOX_CLOSE).save_pretrained(
        tmp_path / "other" / "value"
    )
    small_parts(tmp_path / "out")
    for _ in range(2):  # done, and done again
        train("value", tmp_path / "out", data=[data], steps=2, initial=str(tmp_path / "one"))
    with pytest.raises(InvalidCheckpoint, match="holds a run with another value to start from"):
        train("value", tmp_path / "out", data=[data], steps=2, initial=str(tmp_path / "other"))


@pytest.mark.parametrize("left", [(), ("config.json",)])
def test_a_part_whose_save_was_cut_short_is_told(left: tuple[str, ...], data: Path, tmp_path: Path) -> None:
    small_parts(tmp_path / "out")
    for file in (tmp_path / "out" / "codec").iterdir():
        if file.name not in left:
            file.unlink()
    with pytest.raises(RiseGymError, match=r"codec can't be read .*: remove it and run `rise-gym train codec` again"):
        train("value", tmp_path / "out", data=[data], steps=1)


def test_a_value_can_be_trained_without_one_of_its_losses(data: Path, tmp_path: Path) -> None:
    small_parts(tmp_path / "out")
    train("value", tmp_path / "out", data=[data], steps=2, progress_weight=0.0, initial=str(tmp_path / "out"))
    assert (tmp_path / "out" / "checkpoint").is_dir()
    with pytest.raises(ValueError, match="one of them above it"):
        train("value", tmp_path / "out", data=[data], progress_weight=0.0, td_weight=0.0)


@pytest.mark.parametrize(
    ("part", "options", "said"),
    [
        ("codec", {"dry_run": True}, "--architecture ltx: add that"),
        ("dynamics", {"sharded": True}, "--architecture ltx: add that"),
        ("policy", {"architecture": "ltx"}, "not of a policy"),
        ("value", {"backbone": "a model"}, "--backbone is of the policy, not of the value"),
        ("policy", {"across_tasks": True}, "--across-tasks is of the codec and .*, not of the policy"),
        ("policy", {"progress_weight": 0.0}, "--progress-weight is of the value"),
        ("policy", {"initial_share": 0.5}, "--initial-share is of the dynamics and the renderer"),
        ("codec", {"check_episodes": 5}, "--check-episodes is of the policy"),
        ("value", {"world_model": "bundled:box_close"}, "--world-model is of the policy"),
        ("codec", {"progress_from": "value"}, "--progress-from is of the dynamics"),
        ("renderer", {"task_centric": False}, "--task-centric is of the dynamics"),
        ("decoder", {"initial": "a folder"}, "--initial is of the codec"),
        ("policy", {"spread": "uniform"}, "--spread is of advantages, which --world-model gives"),
        ("policy", {"demonstration_share": 0.5}, "--demonstration-share is of advantages"),
        ("value", {"motion": True}, "--motion is of the dynamics"),
        ("policy", {"start_kind": "any"}, "--start-kind is of the codec and .*, not of the policy"),
        ("policy", {"check_episodes": -5}, "--check-episodes of 0 or more was wanted, got -5"),
        ("policy", {"data": []}, "datasets were wanted after --data, none came"),
        ("codec", {"data": []}, "datasets were wanted after --data, none came"),
    ],
)
def test_an_option_of_another_part_or_architecture_is_refused(
    part: Part, options: dict[str, Any], said: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(RiseGymError, match=said):
        train(part, tmp_path / "out", **{"data": [data], **options})
    assert not (tmp_path / "out").exists()


def test_a_gpu_is_taken_if_there_is_one_and_missed_if_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, chosen in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert (chosen_device("auto"), chosen_device("cpu")) == (chosen, "cpu")
    with pytest.raises(RiseGymError, match="doctor"):
        chosen_device("cuda")
