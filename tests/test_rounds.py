"""Several rounds of improvement: what is made once, from what, with which seeds; and nothing is lost on the way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_env import SINGLE_ID, FakeEnv

from rise_gym.agents.flow_policy import FlowPolicy, FlowPolicyConfig, load_policy, save_policy
from rise_gym.agents.improve import ImproveConfig
from rise_gym.calibration import calibrate_dreams
from rise_gym.collection import ExplorationNoise, ReservedSeed
from rise_gym.commands import _refreshing, _rounds
from rise_gym.commands._gathering import Gathering, driving_in, gathering_from
from rise_gym.commands._refreshing import RefreshConfig, refresh_world_model
from rise_gym.commands._robots import AS_USUAL, ExecutionOptions
from rise_gym.commands.improve import improve
from rise_gym.commands.train import train
from rise_gym.dynamics import VideoDynamics
from rise_gym.envs.real.asynchronous import AsynchronousActor
from rise_gym.episodes import dataset_summary, read_episodes, write_episodes
from rise_gym.errors import RiseGymError, SaveFailed
from rise_gym.recordings import Recordings
from rise_gym.starts import load_starts
from rise_gym.tasks import BOX_CLOSE
from rise_gym.training import Trainer
from rise_gym.types import Episode
from rise_gym.world_model import CompositionalWorldModel, WorldModelConfig

NARROW = FlowPolicyConfig(channels=(2, 4, 4), grid_channels=2, context_width=16, head_width=32, head_blocks=1)
TICKS = 14


def episode(number: int) -> Episode:
    """Half of them succeed; the even ones are demonstrations."""
    rng, success = np.random.default_rng(number), number % 4 < 2
    frames = {camera: rng.integers(0, 256, (TICKS, 64, 64, 3), dtype=np.uint8) for camera in BOX_CLOSE.cameras}
    return Episode(
        task="box_close", instruction=BOX_CLOSE.instruction, frames=frames,
        proprio=np.full((TICKS, 14), 0.01, np.float32),
        actions=rng.uniform(-0.1, 0.1, (TICKS, 14)).astype(np.float32), success=success, score=10.0 * success,
        source="rollout" if number % 2 else "demonstration", policy="test", seed=number,
        progress=np.linspace(0, 1.0 if success else 0.4, TICKS, dtype=np.float32), physics_state=np.zeros((TICKS, 2)),
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _small_batches() -> Iterator[None]:
    usual = ImproveConfig.climbing().changed(rollout_batch=2, proposals_per_state=2, batch_size=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImproveConfig, "climbing", lambda: usual)
        yield


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, tiny_world: Path) -> dict[str, Any]:
    """Arguments of the command: four episodes, a policy and a world model that are tiny, a fake env, few steps."""
    folder = tmp_path_factory.mktemp("given")
    write_episodes(folder / "data", [episode(number) for number in range(4)], BOX_CLOSE)
    model = CompositionalWorldModel.from_pretrained(tiny_world)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_policy(folder / "policy", FlowPolicy.of(NARROW, BOX_CLOSE).eval())
        drawing = VideoDynamics.from_config(
            {**model.dynamics.config, "task": "box_close", "sight": True, "renderer_widths": (8, 8)}
        )
    config = WorldModelConfig(advantage_scale=3.0, success_threshold=0.875)
    parts: dict[str, Any] = {"codec": model.codec, "dynamics": drawing, "value": model.value}
    CompositionalWorldModel(**parts, task=BOX_CLOSE, config=config).save_pretrained(
        folder / "world", half_precision=True
    )
    return {
        "data": [folder / "data"], "policy": str(folder / "policy"), "world_model": str(folder / "world"), "rounds": 2,
        "round_episodes": 2, "refresh_steps": 2, "collect_from": f"fake_env:{SINGLE_ID}", "steps": 2,
    }  # fmt: skip


@pytest.fixture(scope="module")
def improvements() -> list[dict[str, Any]]:
    """What each round of `done` improved, and on what."""
    return []


@pytest.fixture(scope="module")
def done(given: dict[str, Any], improvements: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rounds, uninterrupted."""
    out = tmp_path_factory.mktemp("rounds") / "out"
    usual = _rounds.improve_policy

    def watched(recordings: Recordings, out: Path, policy: str, world_model: str, *rest: Any, **named: Any) -> Any:
        improvements.append({"episodes": len(recordings.sources), "policy": policy, "world": world_model, **named})
        return usual(recordings, out, policy, world_model, *rest, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_rounds, "improve_policy", watched)
        improve(out, **given)
    return out


def alike(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    weights = other.state_dict()
    return all(torch.equal(value, weights[name]) for name, value in one.state_dict().items())


def policy_of(out: Path, place: str = ".") -> FlowPolicy:
    return load_policy(out / place / "checkpoint")


def world_of(folder: str | Path) -> CompositionalWorldModel:
    return CompositionalWorldModel.from_pretrained(folder)


def test_each_folder_holds_what_its_name_says(done: Path, given: dict[str, Any]) -> None:
    first, second = (policy_of(done, f"round_{number}/policy") for number in (1, 2))
    assert not alike(load_policy(given["policy"]), first)
    assert not alike(first, second)
    assert alike(second, policy_of(done))
    assert not (done / "round_2" / "episodes").exists()
    episodes = dataset_summary(done / "round_1" / "episodes")
    assert (episodes.seeds, episodes.policies, episodes.sources) == ((70_000, 70_001), {"round_1": 2}, {"rollout": 2})


def test_value_and_dynamics_are_refreshed_and_the_rest_stays(done: Path, given: dict[str, Any]) -> None:
    before, after = world_of(given["world_model"]), world_of(done / "round_1" / "world_model" / "checkpoint")
    assert alike(before.codec, after.codec)
    assert alike(before.dynamics.renderer, after.dynamics.renderer)
    assert not alike(before.value, after.value)
    assert not alike(before.dynamics, after.dynamics)
    # none of the new episodes succeeded: there is nothing to calibrate on
    assert dataset_summary(done / "round_1" / "episodes").successes == 0
    assert after.config == before.config
    starts = load_starts(done / "round_1" / "world_model" / "checkpoint" / "starts.npz")
    assert set(starts.seeds.tolist()) == {70_000, 70_001}


def test_success_is_calibrated_on_the_newest_episodes(given: dict[str, Any], tmp_path: Path) -> None:
    newest = tmp_path / "newest"
    write_episodes(newest, [episode(number) for number in (11, 13)], BOX_CLOSE)  # one succeeds
    config = RefreshConfig(steps=1)
    folder = refresh_world_model(given["world_model"], BOX_CLOSE, [*given["data"], newest], tmp_path / "world", config)
    model = world_of(folder)
    episodes = read_episodes(newest)
    assert sum(one.success for one in episodes) == 1
    threshold = calibrate_dreams(model, Recordings.of(episodes, BOX_CLOSE))
    assert model.config.success_threshold == pytest.approx(threshold, abs=1e-3)  # weights were stored in half precision
    assert model.config.advantage_scale == 3.0
    assert refresh_world_model("not there", BOX_CLOSE, [newest], tmp_path / "world", config) == folder


def interrupting(patch: pytest.MonkeyPatch, owner: Any, name: str, call: int) -> None:
    """Ctrl-C at the so many-th call; of a training after its first step."""
    usual, calls = getattr(owner, name), 0

    @wraps(usual)
    def counted(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            if owner is Trainer:
                given[0].config = replace(given[0].config, steps=1)
                usual(*given)
            raise KeyboardInterrupt
        return usual(*given, **named)

    patch.setattr(owner, name, counted)


PHASES = {
    "the first improvement": (Trainer, "run", 1),
    "collecting": (FakeEnv, "step", 5),
    "the value": (Trainer, "run", 1),
    "how joints follow": (Trainer, "run", 2),
    "the dynamics": (Trainer, "run", 2),
    "sealing": (_refreshing, "seal", 1),
    "the second improvement": (Trainer, "run", 1),
    "the last copy": (_rounds, "policy_card", 1),
}
"""What is called how often when the command, given again and again, is interrupted in each."""


def test_interrupted_in_each_phase_it_comes_to_the_same(given: dict[str, Any], done: Path, tmp_path: Path) -> None:
    out, there = tmp_path / "out", []
    for owner, name, call in PHASES.values():
        with pytest.MonkeyPatch.context() as patch:
            interrupting(patch, owner, name, call)
            with pytest.raises(KeyboardInterrupt):
                improve(out, **given)
        there.append(len(list(out.glob("round_*/*"))))
    assert there == [1, 2, 3, 3, 3, 3, 4, 4]
    assert not (out / "checkpoint").exists()
    improve(out, **given)
    assert alike(policy_of(out), policy_of(done))
    for part in ("dynamics", "value"):
        mine, theirs = (world_of(one / "round_1" / "world_model" / "checkpoint") for one in (out, done))
        assert alike(getattr(mine, part), getattr(theirs, part))
    played = read_episodes(out / "round_1" / "episodes")
    assert [one.seed for one in played] == [70_000, 70_001]  # none twice
    for mine, theirs in zip(played, read_episodes(done / "round_1" / "episodes"), strict=True):
        np.testing.assert_array_equal(mine.actions, theirs.actions)


def test_what_is_done_is_not_done_again(given: dict[str, Any], done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = policy_of(done)
    for owner, name in ((Trainer, "run"), (FakeEnv, "__init__"), (_refreshing, "seal")):
        interrupting(monkeypatch, owner, name, 1)
    improve(done, **given)
    assert alike(policy_of(done), before)


def test_the_second_round_dreams_in_the_new_world_from_old_and_new_episodes(
    given: dict[str, Any], done: Path, improvements: list[dict[str, Any]]
) -> None:
    first, second = improvements
    assert (first["policy"], first["world"], first["episodes"]) == (given["policy"], given["world_model"], 4)
    assert first["newest"] is None
    assert second["policy"] == str(done / "round_1" / "policy" / "checkpoint")
    assert second["world"] == str(done / "round_1" / "world_model" / "checkpoint")
    assert second["newest"].tolist() == [False] * 4 + [True] * 2
    assert second["newest_share"] == 0.5


def test_more_rounds_go_on_after_the_last(given: dict[str, Any], done: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(done, out)
    improve(out, **{**given, "rounds": 3})
    assert dataset_summary(out / "round_2" / "episodes").seeds == (70_002, 70_003)
    assert alike(policy_of(out), policy_of(out, "round_3/policy"))
    assert not alike(policy_of(out), policy_of(done))


def test_one_round_takes_no_step_outside_of_imagination_and_is_the_first_of_several(
    given: dict[str, Any], done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("gymnasium.make", "gymnasium.make_vec", "rise_gym.collection.collect"):
        monkeypatch.setattr(place, lambda *_, **__: pytest.fail("nothing but the dream was wanted"))
    improve(tmp_path / "out", **{**given, "rounds": 1, "collect_from": "replica"})
    assert alike(policy_of(tmp_path / "out"), policy_of(done, "round_1/policy"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["checkpoint", "run"]
    with pytest.raises(RiseGymError, match="holds a run of one round"):
        improve(tmp_path / "out", **given)
    with pytest.raises(RiseGymError, match="holds several rounds"):
        improve(done, **{**given, "rounds": 1, "collect_from": "replica"})


def test_a_warm_up_learns_what_recap_learns_and_goes_on_from_there(given: dict[str, Any], tmp_path: Path) -> None:
    train(
        "policy", tmp_path / "recap", data=given["data"], initial=given["policy"], world_model=given["world_model"],
        steps=20, demonstration_share=0.5, learning_rate=1e-3, image_shift_px=0,
    )  # fmt: skip
    one = {**given, "rounds": 1, "collect_from": "replica"}
    improve(tmp_path / "cold", **one)
    improve(tmp_path / "apart", **{**one, "policy": str(tmp_path / "recap" / "checkpoint")})
    improve(tmp_path / "warm", **one, warmup_steps=20)
    cold, apart, warm = (flat(policy_of(tmp_path / name)) for name in ("cold", "apart", "warm"))
    assert (warm - apart).norm() < 0.1 * (warm - cold).norm()  # a checkpoint's weights are rounded
    improve(tmp_path / "warm", **one, warmup_steps=20)
    assert torch.equal(flat(policy_of(tmp_path / "warm")), warm)


def flat(policy: FlowPolicy) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in policy.parameters()])


def test_seeds_that_are_reserved_or_were_used_are_refused_before_anything_is_done(
    given: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ReservedSeed, match="seeds 99999 to 100000"):
        improve(tmp_path / "out", **given, first_seed=99_999)
    with pytest.raises(RiseGymError, match=r"has 1 of them.*--first-seed 4"):
        improve(tmp_path / "out", **given, first_seed=3)
    assert not (tmp_path / "out").exists()


def test_other_settings_are_refused(given: dict[str, Any], done: Path) -> None:
    with pytest.raises(RiseGymError, match=r"other settings.*'episodes', 2.*'episodes', 3"):
        improve(done, **{**given, "round_episodes": 3})
    for name, other in (("steps", 9), ("warmup_steps", 5), ("learning_rate", 0.5), ("demonstration_share", 0.1)):
        with pytest.raises(RiseGymError, match=rf"other settings.*got .*'{name}', {other}"):
            improve(done, **{**given, name: other})
    with pytest.raises(RiseGymError, match=r"other settings.*'data'"):
        improve(done, **{**given, "data": [*given["data"], given["data"][0]]})
    for wrong in ({"rounds": 0}, {"newest_share": 1.0}, {"refresh_steps": 0}):
        with pytest.raises(ValueError, match="wanted"):
            improve(done, **{**given, **wrong})


def test_a_file_in_the_place_of_the_folder_is_told(given: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveFailed, match="could not write to"):
        improve(tmp_path / "file", **given)


@pytest.mark.parametrize("wrong", [{"collect_from": "hand"}, {"execution": ExecutionOptions(fade_ticks=2)}])
def test_one_round_collects_nothing(given: dict[str, Any], tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(RiseGymError, match="one round collects nothing"):
        improve(tmp_path / "out", **{**given, "rounds": 1, "collect_from": "replica", **wrong})
    assert not (tmp_path / "out").exists()


def test_episodes_can_come_from_a_persons_hand(given: dict[str, Any], done: Path, tmp_path: Path) -> None:
    by_hand = {**given, "collect_from": "hand"}
    shutil.copytree(done / "round_1" / "policy", tmp_path / "round_1" / "policy")
    with pytest.raises(RiseGymError, match=r"2 episodes of the policy in .*round_1.*, 0 are there"):
        improve(tmp_path, **by_hand)
    recorded = [replace(episode(number), seed=-1) for number in (5, 7)]
    write_episodes(tmp_path / "round_1" / "episodes", recorded[:1], BOX_CLOSE)
    with pytest.raises(RiseGymError, match="1 are there"):
        improve(tmp_path, **by_hand)
    write_episodes(tmp_path / "round_1" / "episodes", recorded[1:], BOX_CLOSE)
    improve(tmp_path, **by_hand)
    assert "in 2 rounds" in (tmp_path / "checkpoint" / "README.md").read_text()


def test_the_replica_plays_with_noise_where_nothing_else_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("rise_gym.collection.collect", lambda *given, **_: asked.append(given) or DatasetDouble())
    wanted = Gathering(folder=tmp_path, policy="there", name="round_1", task="box_close", seeds=range(5, 8))
    gathering_from("replica", processes=2)(wanted)
    ((config, folder, env, actor),) = asked
    assert (config.seeds, config.processes, config.source, folder) == (range(5, 8), 2, "rollout", tmp_path)
    assert env.arguments["id"] == "rise_gym:RiseMujoco-BoxClose-v0"
    assert actor.arguments["noise"] == ExplorationNoise().times(0.5)
    assert actor.arguments["agent"].arguments["name"] == "there"


@pytest.mark.parametrize("execution", ["asynchronous", "synchronous"])
def test_a_robot_is_collected_from_as_collect_does_it(
    given: dict[str, Any], tmp_path: Path, execution: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a robot of this process; its operator is content with the first tick of each step."""
    ahead: list[int] = []

    class Watched(AsynchronousActor):
        def reset(self, env: Any, seed: int) -> None:
            ahead.append(seed)
            super().reset(env, seed)

    monkeypatch.setattr("rise_gym.envs.real.asynchronous.AsynchronousActor", Watched)
    source = "robot_ids:RecordedBoxClose-v0"
    how = driving_in(source, "box_close", ExecutionOptions(execution=execution), rounds=2)
    wanted = Gathering(
        folder=tmp_path / "new", policy=given["policy"], name="round_1", task="box_close", seeds=range(5, 7)
    )
    gathering_from(source, processes=2, how=how)(wanted)
    assert dataset_summary(tmp_path / "new").seeds == (5, 6)
    assert ahead == ([5, 6] if execution == "asynchronous" else [])


def test_the_rounds_say_how_the_robot_was_driven(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And another way later on is no other run."""
    monkeypatch.setattr(_rounds, "improve_policy", lambda *_, **__: pytest.fail("stop here"))
    for how in (ExecutionOptions(execute_ticks=3), ExecutionOptions(execution="synchronous")):
        with pytest.raises(pytest.fail.Exception, match="stop here"):
            improve(tmp_path, **{**given, "collect_from": "robot_ids:RecordedBoxClose-v0", "execution": how})
        told = json.loads((tmp_path / "rounds.json").read_text())
        assert told["driven"] == how.told(how.execution is None)
        assert told["source"] == "robot_ids:RecordedBoxClose-v0"


@pytest.mark.parametrize(
    ("source", "how", "told"),
    [
        ("replica", ExecutionOptions(fade_ticks=2), "episodes come from 'replica'"),
        ("hand", ExecutionOptions(execution="synchronous"), "episodes come from 'hand'"),
        (f"fake_env:{SINGLE_ID}", ExecutionOptions(execute_ticks=2), "is no robot's"),
        ("robot_ids:SeenBoxClose-v0", ExecutionOptions(execute_ticks=2), "--execution synchronous"),
        ("robot_ids:Nothing-v0", AS_USUAL, "no environment is called"),
        ("robot_ids:UnreachableBoxClose-v0", AS_USUAL, "nobody says when the task is done"),
    ],
)
def test_where_nothing_can_be_collected_is_told_before_anything_is_improved(
    given: dict[str, Any], tmp_path: Path, source: str, how: ExecutionOptions, told: str
) -> None:
    with pytest.raises(RiseGymError, match=told):
        improve(tmp_path / "out", **{**given, "collect_from": source, "execution": how})
    assert not (tmp_path / "out").exists()


def test_ticks_that_make_no_sense_are_refused() -> None:
    for wrong in ({"execute_ticks": 0}, {"fade_ticks": -1}, {"execution": "synchronous", "fade_ticks": 2}):
        with pytest.raises(RiseGymError, match="--"):
            ExecutionOptions(**wrong)


class DatasetDouble:
    """What a collection says in the end."""

    episodes, successes = 3, 1
