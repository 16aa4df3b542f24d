"""LeRobot's policies as agents: units and names are translated both ways, and RISE trains those that read and flow."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lerobot_shaped import (
    LooksBack,
    PlainChunks,
    ReadingFlow,
    features,
    install_stand_in,
    postprocess,
    preprocess,
    processors,
)
from torch import Generator

from rise_gym.agents.improve import ImproveConfig, improve
from rise_gym.agents.lerobot_policy import LerobotAgent
from rise_gym.agents.lerobot_shape import LerobotConfig
from rise_gym.agents.named import named_agent
from rise_gym.agents.trainable import load_trainable, save_policy
from rise_gym.commands.improve import improve as improve_command
from rise_gym.episodes import write_episodes
from rise_gym.errors import InvalidCheckpoint, MissingPackage, NotTrainable
from rise_gym.protocols import Agent
from rise_gym.recordings import Recordings
from rise_gym.tasks import BOX_CLOSE
from rise_gym.training import TrainingConfig, load_saved
from rise_gym.types import Episode
from rise_gym.world_model import CompositionalWorldModel

TEXT = BOX_CLOSE.instruction


def agent(make: Callable[..., Any] = ReadingFlow, config: LerobotConfig | None = None, **changed: Any) -> LerobotAgent:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LerobotAgent(make(**changed), preprocess, postprocess, BOX_CLOSE, config).eval()


def seen(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    views = {camera: rng.integers(0, 256, (rows, 64, 64, 3), dtype=np.uint8) for camera in BOX_CLOSE.cameras}
    joints = rng.uniform(BOX_CLOSE.action_low, BOX_CLOSE.action_high, (rows, 14)).astype(np.float32)
    return {**views, "proprio": joints}


def batch(rows: int) -> dict[str, Any]:
    generator = Generator().manual_seed(0)
    return {
        "observation": {name: torch.from_numpy(column) for name, column in seen(rows).items()},
        "instruction": [TEXT] * rows,
        "actions": torch.rand(rows, BOX_CLOSE.chunk, 14, generator=generator) - 0.5,
        "advantage": torch.linspace(-1, 1, rows),
    }


@pytest.mark.parametrize("make", [ReadingFlow, PlainChunks, LooksBack])
def test_acts_within_range_and_repeatably(make: Callable[..., Any]) -> None:
    acting = agent(make)
    assert isinstance(acting, Agent)

    def acted() -> np.ndarray:
        acting.seed(4)
        return acting.act(seen(3), [TEXT] * 3)

    torch.manual_seed(1)
    first, before = acted(), torch.random.get_rng_state()
    torch.rand(1)
    torch.random.set_rng_state(before)
    np.testing.assert_array_equal(first, acted())
    assert torch.equal(before, torch.random.get_rng_state())  # torch's own generators go on as if nothing had been
    assert first.shape == (3, BOX_CLOSE.chunk, 14)
    assert np.abs(first).max() <= 1


def test_joints_reach_the_policy_in_rad_and_m_and_come_back_scaled() -> None:
    observation = seen(4)
    stayed = agent(PlainChunks).act(observation, [TEXT] * 4)
    np.testing.assert_allclose(stayed[:, 0], BOX_CLOSE.scale_action(observation["proprio"]), atol=1e-4)
    assert (stayed == stayed[:, :1]).all()


def test_who_looks_back_is_shown_the_present_and_gives_one_plan() -> None:
    acting, observation = agent(LooksBack), seen(2)
    for _ in range(2):  # nothing of the first is left in the second
        acted = acting.act(observation, [TEXT] * 2)
        mean = BOX_CLOSE.unscale_action(acted).mean(1)
        inside = np.abs(acted).max(1) < 1  # clipped ones are off their mean
        np.testing.assert_allclose(mean[inside], observation["proprio"][inside], atol=0.1)
    assert (acted[:, 1:] != acted[:, :-1]).any()


def test_cameras_are_told_apart_by_name() -> None:
    theirs = features(BOX_CLOSE, prefix="observation.images.cam_")
    pairs = tuple((name, f"observation.images.cam_{name}") for name in BOX_CLOSE.cameras)
    named = agent(config=LerobotConfig(cameras=pairs), **theirs)
    assert named.act(seen(1), [TEXT]).shape == (1, 10, 14)
    with pytest.raises(InvalidCheckpoint, match=r"looks at observation\.images\.cam_head.*LerobotConfig\(cameras="):
        agent(**theirs)


def test_the_advantage_is_written_into_the_task() -> None:
    told = list[list[str]]()

    def listening(one: dict[str, Any]) -> dict[str, Any]:
        told.append(one["task"])
        return preprocess(one)

    for config in (LerobotConfig(), LerobotConfig(advantage_in_prompt=False)):
        acting = LerobotAgent(ReadingFlow(), listening, postprocess, BOX_CLOSE, config)
        acting.act(seen(3), [TEXT] * 3, np.array([-1.0, 1.0, np.nan]))
    assert told[0] == [f"{TEXT}, Advantage: 1", f"{TEXT}, Advantage: 10", TEXT]
    assert told[1] == [TEXT] * 3


def test_same_noise_whatever_the_batch_and_none_at_temperature_0() -> None:
    acting, observation = agent(), seen(2)
    acting.seed(5)
    both = acting.act(observation, [TEXT] * 2)
    acting.seed(5)
    np.testing.assert_allclose(acting.act({k: v[:1] for k, v in observation.items()}, [TEXT]), both[:1], atol=1e-5)
    middle = acting.twin(temperature=0.0)
    np.testing.assert_array_equal(*(middle.act(observation, [TEXT] * 2) for _ in range(2)))


def test_losses_leave_out_what_did_not_happen_and_take_the_advantage_from_the_text() -> None:
    learner, rows = agent(), batch(3)
    rows["mask"] = torch.arange(BOX_CLOSE.chunk)[None] < torch.tensor([10, 4, 0])[:, None]

    def losses(**changed: Any) -> torch.Tensor:
        return learner.losses({**rows, **changed}, generator=Generator().manual_seed(0))

    filled = rows["actions"].masked_fill(~rows["mask"][..., None], 0.9)
    torch.testing.assert_close(losses(actions=filled), losses())
    assert losses()[2] == 0
    assert losses(advantage=torch.ones(3))[0] != losses()[0]
    losses().sum().backward()
    moved = {name for name, weights in learner.named_parameters() if weights.grad is not None}
    assert moved
    assert not any("eye" in name for name in moved)


def test_who_reads_nothing_acts_but_is_not_trained_here() -> None:
    for refused in (lambda: agent(PlainChunks).losses(batch(2)), agent(PlainChunks).check_trainable):
        with pytest.raises(NotTrainable, match="PlainChunks reads no text"):
            refused()


def test_twins_share_what_is_frozen_and_learn_apart() -> None:
    learner = agent()
    twin = learner.twin(shift_px=2)
    assert twin.policy.eye.weight is learner.policy.eye.weight
    assert twin.policy.words.weight is not learner.policy.words.weight
    assert (twin.settings.shift_px, learner.settings.shift_px) == (2, 0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"chunk_size": 6}, "chunks of 10 ticks were wanted, the policy plans 6"),
        ({"output_features": {}}, "'action' of shape .14,. was wanted.*has none: it is for another robot"),
    ],
)
def test_unsuitable_policies_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidCheckpoint, match=message):
        agent(**changed)
    assert agent(chunk_size=6, config=LerobotConfig(chunk=6)).act(seen(1), [TEXT]).shape == (1, 6, 14)


def episode(**changed: Any) -> Episode:
    pictures = seen(14)
    facts: dict[str, Any] = {
        "success": True, "score": 10.0, "source": "rollout", "policy": "test", "seed": 0, **changed,
    }  # fmt: skip
    return Episode(
        task="box_close", instruction=TEXT, frames={camera: pictures[camera] for camera in BOX_CLOSE.cameras},
        proprio=np.full((14, 14), 0.01, np.float32), actions=np.zeros((14, 14), np.float32), **facts,
    )  # fmt: skip


def test_rise_improves_it_in_imagination(tiny_world: Path, tmp_path: Path) -> None:
    world = CompositionalWorldModel.from_pretrained(tiny_world)
    recordings = Recordings.of([episode()], BOX_CLOSE).encoded(world.codec)
    training = TrainingConfig(
        steps=4, batch_size=6, learning_rate=1e-2, warmup_steps=1, log_every_steps=1, ema_decay=0.5
    )
    learner, figures = agent(), list[dict[str, float]]()
    config = ImproveConfig(training=training, rollout_batch=3, update_epochs=1, image_shift_px=1)
    done = improve(
        learner, world, recordings, torch.ones(len(recordings)), config, tmp_path,
        on_progress=lambda _, found: figures.append(found),
    )  # fmt: skip
    assert isinstance(done, LerobotAgent)
    assert not torch.equal(done.policy.words.weight, learner.policy.words.weight)
    assert len(figures) == 4
    assert any("loss/imagined" in found for found in figures)
    saved, _ = load_saved(tmp_path, "training_state")
    assert not [name for name in saved if "eye" in name]


def acted(acting: Any, temperature: float = 1.0) -> np.ndarray:
    twin = acting.twin(temperature=temperature)
    twin.seed(3)
    chunks: np.ndarray = twin.act(seen(2), [TEXT] * 2)
    return chunks


def test_saves_and_loads_as_any_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_stand_in(monkeypatch)
    config = LerobotConfig(cameras=tuple((name, f"observation.images.{name}") for name in BOX_CLOSE.cameras), bins=5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        saved = LerobotAgent(ReadingFlow(), *processors(), BOX_CLOSE, config)
    save_policy(tmp_path / "policy", saved, card="# how it was made")
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert {name.rsplit(".", 1)[1] for name in names} == {"json", "md", "safetensors"}
    loaded = load_trainable(tmp_path / "policy", task="box_close")
    assert isinstance(loaded, LerobotAgent)
    assert (loaded.settings, loaded.training) == (config, False)
    assert not loaded.policy.eye.weight.requires_grad
    np.testing.assert_allclose(acted(loaded), acted(saved), atol=0.01)  # weights are stored in half precision
    np.testing.assert_array_equal(acted(named_agent(str(tmp_path / "policy"), task="box_close")), acted(loaded))
    (tmp_path / "policy" / "policy" / "policy_preprocessor.json").write_text("changed")
    with pytest.raises(InvalidCheckpoint, match=r"policy_preprocessor\.json is truncated or changed"):
        load_trainable(tmp_path / "policy")


def as_lerobot_wrote_it(folder: Path, make: Callable[..., Any] = ReadingFlow) -> str:
    """The name of a policy in a folder of lerobot's, with nothing of ours in it."""
    made = agent(make).policy
    for part in (made, *processors()):
        part.save_pretrained(folder)
    return f"lerobot:{folder}"


@pytest.fixture
def given(tmp_path: Path, tiny_world: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Arguments of `rise-gym improve`, without a policy: two episodes and a tiny dream, few and small steps."""
    install_stand_in(monkeypatch)
    usual = ImproveConfig.climbing().changed(
        rollout_batch=2, proposals_per_state=2, batch_size=4, learning_rate=1e-2, ema_decay=0.5
    )
    monkeypatch.setattr(ImproveConfig, "climbing", lambda: usual)
    episodes = [episode(source="demonstration"), episode(seed=1, success=False, score=0.0)]
    write_episodes(tmp_path / "data", episodes, BOX_CLOSE)
    return {"data": [tmp_path / "data"], "world_model": str(tiny_world), "steps": 2}


def test_the_command_improves_what_lerobot_wrote(given: dict[str, Any], tmp_path: Path) -> None:
    name = as_lerobot_wrote_it(tmp_path / "theirs")
    improve_command(tmp_path / "out", policy=name, **given)
    before = load_trainable(name, task="box_close", temperature=0.0)
    after = load_trainable(tmp_path / "out" / "checkpoint", task="box_close", temperature=0.0)
    assert isinstance(before, LerobotAgent)
    assert isinstance(after, LerobotAgent)
    torch.testing.assert_close(after.policy.eye.weight, before.policy.eye.weight, atol=1e-3, rtol=1e-3)
    assert (after.policy.words.weight - before.policy.words.weight).abs().max() > 1e-3
    assert np.abs(acted(after, 0.0) - acted(before, 0.0)).max() > 1e-3
    assert f"improved by RISE from {name}" in (tmp_path / "out" / "checkpoint" / "README.md").read_text()
    improve_command(tmp_path / "again", policy=str(tmp_path / "out" / "checkpoint"), **given)  # what came out goes in


def test_the_command_refuses_at_once_what_it_cannot_improve(given: dict[str, Any], tmp_path: Path) -> None:
    name = as_lerobot_wrote_it(tmp_path / "theirs", PlainChunks)
    with pytest.raises(NotTrainable, match="it acts here, and is trained by lerobot"):
        improve_command(tmp_path / "out", policy=name, **given)
    with pytest.raises(InvalidCheckpoint, match="know no task, say which it acts for"):
        load_trainable(name)
    assert not (tmp_path / "out").exists()


def test_without_lerobot_it_says_how_to_get_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lerobot", None)
    with pytest.raises(MissingPackage, match="an environment of its own"):
        named_agent("lerobot:lab/smolvla", task="box_close")
