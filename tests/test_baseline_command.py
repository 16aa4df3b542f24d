"""`rise-gym baseline`: each method leaves a checkpoint that evaluates, and refuses what it can't use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fake_env import FakeEnv

from rise_gym.agents.flow_policy import FlowPolicy, FlowPolicyConfig
from rise_gym.agents.steering import SteeredPolicy
from rise_gym.checkpoints import load_checkpoint
from rise_gym.commands import baseline as module
from rise_gym.commands.baseline import Method, baseline
from rise_gym.commands.evaluate import agent_factory
from rise_gym.errors import InvalidDataset, RiseGymError, SaveFailed
from rise_gym.tasks import BOX_CLOSE

NARROW = FlowPolicyConfig(channels=(2, 4, 4), grid_channels=2, context_width=16, head_width=32, head_blocks=1)


@pytest.fixture
def _fake_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = FlowPolicy.of(NARROW, BOX_CLOSE).eval()
    monkeypatch.setattr(module, "_policy_and_replica", lambda *_: (policy, FakeEnv()))


@pytest.mark.usefixtures("_fake_replica")
@pytest.mark.parametrize(("method", "kind"), [("ppo", FlowPolicy), ("dsrl", SteeredPolicy)])
def test_a_checkpoint_that_evaluates(method: Method, kind: type, tmp_path: Path) -> None:
    baseline(method, tmp_path / "out", episodes=3, steps=6, learning_rate=1e-4)
    agent = agent_factory(str(tmp_path / "out" / "checkpoint"), BOX_CLOSE).build()
    assert isinstance(agent, kind)
    checkpoint = load_checkpoint(tmp_path / "out" / "checkpoint", kind="policy")
    assert checkpoint.extra == {"replica_episodes": 3}
    stages = {"ppo": "updates=6", "dsrl": "updates_per_episode=2"}  # in one stage after all, or after each episode
    assert stages[method] in (tmp_path / "out" / "checkpoint" / "README.md").read_text()
    assert list((tmp_path / "out" / "run" / "tensorboard").iterdir())


@pytest.mark.usefixtures("_fake_replica")
@pytest.mark.parametrize("method", ["ppo", "dsrl"])
def test_a_file_in_the_place_of_the_folder_is_told(method: Method, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveFailed, match="could not write to"):
        baseline(method, tmp_path / "file", episodes=1)


def test_dagger_collects_corrections_and_clones_them_with_the_demonstrations(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(module, "_require_demonstrations", lambda *_: None)
    monkeypatch.setattr(module, "collect", lambda *given, **named: calls.append((*given, named)))
    monkeypatch.setattr(module, "train", lambda *given, **named: calls.append((*given, named)))
    baseline("dagger", tmp_path, data=[Path("demos")], policy="runs/base", episodes=7, first_seed=5, steps=9)
    (folder, collected), (part, out, trained) = calls
    assert (folder, part, out) == (tmp_path / "corrections", "policy", tmp_path)
    assert collected | {"who": "correction", "episodes": 7, "first_seed": 5, "policy": "runs/base"} == collected
    assert trained | {"data": [Path("demos"), folder], "initial": "runs/base", "steps": 9} == trained


def test_demonstrations_that_are_not_there_are_missed_before_the_expert_plays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "collect", lambda *_, **__: pytest.fail("the expert played"))
    with pytest.raises(InvalidDataset, match="nowhere"):
        baseline("dagger", tmp_path / "out", data=[tmp_path / "nowhere"])


@pytest.mark.parametrize("wrong", [{"learning_rate": -1.0}, {"learning_rate": float("nan")}, {"steps": 0}])
def test_constants_that_teach_nothing_are_refused_at_once(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RiseGymError, match=f"{next(iter(wrong))} above 0 was wanted, got"):
        baseline("ppo", tmp_path / "out", policy="nowhere", **wrong)
    assert not (tmp_path / "out").exists()


def test_data_are_for_dagger_alone(tmp_path: Path) -> None:
    with pytest.raises(RiseGymError, match="give --data"):
        baseline("dagger", tmp_path)
    with pytest.raises(RiseGymError, match="leave out --data"):
        baseline("ppo", tmp_path, data=[tmp_path])
