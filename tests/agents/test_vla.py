"""The VLA: what it perceives decides what it does, only its expert learns, and RISE improves it as any other policy."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_vla import SMALL, published, settings, tiny_vla, tokenizer
from torch import Generator, Tensor

from rise_gym.advantage import label_recordings
from rise_gym.agents import vla
from rise_gym.agents.improve import ImproveConfig, improve
from rise_gym.agents.named import named_agent
from rise_gym.agents.noisy import NoisyAgent
from rise_gym.agents.trainable import load_trainable, save_policy, trained_parameters
from rise_gym.agents.vla import VisionLanguagePolicy
from rise_gym.collection import ExplorationNoise
from rise_gym.commands.train import train
from rise_gym.episodes import write_episodes
from rise_gym.errors import InvalidCheckpoint, MissingPackage, RiseGymError
from rise_gym.protocols import Agent
from rise_gym.recordings import Recordings
from rise_gym.tasks import BOX_CLOSE
from rise_gym.training import TrainingConfig, load_saved
from rise_gym.types import Episode
from rise_gym.world_model import CompositionalWorldModel

TEXT = BOX_CLOSE.instruction


def decided(policy: VisionLanguagePolicy) -> VisionLanguagePolicy:
    """Untrained, its velocity would not depend on what it perceives."""
    torch.nn.init.normal_(policy.expert.leave[1].weight, generator=Generator().manual_seed(0))
    return policy


def random_batch(rows: int, chunk: int = BOX_CLOSE.chunk) -> dict[str, Any]:
    generator = Generator().manual_seed(0)
    views = {
        camera: torch.randint(0, 256, (rows, 64, 64, 3), generator=generator, dtype=torch.uint8)
        for camera in BOX_CLOSE.cameras
    }
    return {
        "observation": {**views, "proprio": torch.rand(rows, 14, generator=generator)},
        "instruction": [TEXT] * rows,
        "actions": torch.rand(rows, chunk, 14, generator=generator) - 0.5,
        "advantage": torch.ones(rows),
    }


def seen(rows: int) -> dict[str, np.ndarray]:
    return {name: column.numpy() for name, column in random_batch(rows)["observation"].items()}


def chunks(
    policy: VisionLanguagePolicy, observation: dict[str, np.ndarray], text: str = TEXT, advantage: float = 1.0
) -> np.ndarray:
    policy.seed(3)
    return policy.act(observation, [text] * len(observation["proprio"]), advantage)


def fitted(policy: VisionLanguagePolicy, batch: dict[str, Any], steps: int, rate: float) -> VisionLanguagePolicy:
    optimizer = torch.optim.AdamW(trained_parameters(policy), lr=rate, weight_decay=0.0)
    generator = Generator().manual_seed(0)
    policy.train()
    for _ in range(steps):
        optimizer.zero_grad()
        policy.loss(batch, generator=generator).backward()
        optimizer.step()
    return policy.eval()


# -- acting and learning ----------------------------------------------------------------------------------------------


def test_is_an_agent_that_acts_within_range() -> None:
    policy = decided(tiny_vla())
    assert isinstance(policy, Agent)
    acted = chunks(policy, seen(3))
    assert acted.shape == (3, BOX_CLOSE.chunk, 14)
    assert acted.dtype == np.float32
    assert np.abs(acted).max() <= 1
    assert tiny_vla(chunk=4).act(seen(2), [TEXT] * 2).shape == (2, 4, 14)


@pytest.mark.parametrize("changed", [*BOX_CLOSE.cameras, "proprio"])
def test_everything_that_it_observes_matters(changed: str) -> None:
    policy, observation = decided(tiny_vla()), seen(1)
    other = {**observation, changed: observation[changed] // 2 if changed != "proprio" else observation[changed] + 0.1}
    assert not np.allclose(chunks(policy, observation), chunks(policy, other), atol=1e-6)


def test_instruction_and_advantage_are_read_and_an_untold_advantage_is_allowed() -> None:
    policy, observation = decided(tiny_vla()), seen(1)
    told = [("close the box", 1.0), ("open the box", 1.0), ("close the box", -1.0), ("close the box", np.nan)]
    acted = [chunks(policy, observation, text, advantage) for text, advantage in told]
    for index, one in enumerate(acted):
        assert np.isfinite(one).all()
        assert all(not np.allclose(one, other, atol=1e-6) for other in acted[index + 1 :])


def test_who_else_is_in_the_batch_does_not_matter() -> None:
    """A longer prompt beside it fills up the shorter one."""
    policy, observation = decided(tiny_vla()), seen(2)
    policy.seed(3)
    both = policy.act(observation, ["close", f"{TEXT} {TEXT}"])
    alone = chunks(policy, {name: column[:1] for name, column in observation.items()}, "close")
    np.testing.assert_allclose(both[:1], alone, atol=1e-5)


def test_the_advantage_in_the_prompt_decides_where_the_data_does() -> None:
    batch = random_batch(16)
    batch["observation"] = {name: column[:1].expand_as(column) for name, column in batch["observation"].items()}
    advantage = torch.where(torch.arange(16) % 2 == 0, 1.0, -1.0)
    batch |= {"advantage": advantage, "actions": (0.5 * advantage)[:, None, None].expand(-1, BOX_CLOSE.chunk, 14)}
    policy = fitted(tiny_vla(), batch, steps=60, rate=1e-2)
    assert chunks(policy, seen(1), advantage=1.0).mean() > 0.3
    assert chunks(policy, seen(1), advantage=-1.0).mean() < -0.3


def test_actions_that_did_not_happen_teach_nothing() -> None:
    policy, batch = decided(tiny_vla()), random_batch(2)
    whole = policy.losses(batch, generator=Generator().manual_seed(0))
    batch["mask"] = torch.arange(BOX_CLOSE.chunk)[None] < torch.tensor([4, 0])[:, None]
    part = policy.losses(batch, generator=Generator().manual_seed(0))
    assert part[1] == 0
    assert part[0] != whole[0]


@pytest.mark.parametrize("frozen", [True, False])
def test_the_backbone_learns_only_if_it_is_told_to(frozen: bool) -> None:
    policy = decided(tiny_vla(config=replace(SMALL, frozen=frozen)))
    backbone, expert = policy.backbone.model.text_model.layers[0].mlp.up_proj.weight, policy.expert.enter.weight
    before = backbone.clone(), expert.clone()
    fitted(policy, random_batch(2), steps=2, rate=1e-2)
    assert torch.equal(backbone, before[0]) == frozen
    assert not torch.equal(expert, before[1])


def test_a_twin_shares_what_is_frozen_and_nothing_else() -> None:
    policy, batch = decided(tiny_vla()), random_batch(2)
    before = chunks(policy, seen(1))
    twin = policy.twin(temperature=0.0)
    assert twin.backbone is policy.backbone
    assert (twin.temperature, policy.temperature) == (0.0, 1.0)
    fitted(twin, batch, steps=2, rate=1e-2)
    np.testing.assert_array_equal(chunks(policy, seen(1)), before)
    assert tiny_vla(config=replace(SMALL, frozen=False)).twin().backbone is not policy.backbone


# -- RISE -------------------------------------------------------------------------------------------------------------


def episode(number: int, length: int = 14) -> Episode:
    rng = np.random.default_rng(number)
    return Episode(
        task="box_close", instruction=TEXT,
        frames={camera: rng.integers(0, 256, (length, 64, 64, 3), dtype=np.uint8) for camera in BOX_CLOSE.cameras},
        proprio=np.full((length, 14), 0.01, np.float32),
        actions=rng.uniform(-0.1, 0.1, (length, 14)).astype(np.float32), success=True, score=10.0,
        source="rollout" if number else "demonstration", policy="test", seed=number,
    )  # fmt: skip


SHORT = TrainingConfig(steps=6, batch_size=6, learning_rate=1e-3, warmup_steps=1, log_every_steps=1, ema_decay=0.5)


@pytest.mark.parametrize("climbing", [False, True])
def test_one_whole_improvement_in_imagination(tiny_world: Path, tmp_path: Path, climbing: bool) -> None:
    """Codec, dynamics and value of the real classes; the paper's way, and the way of the bundled models."""
    world = CompositionalWorldModel.from_pretrained(tiny_world)
    recordings = Recordings.of([episode(0), episode(1)], BOX_CLOSE).encoded(world.codec)
    advantages = label_recordings(recordings, world.value, world.longest_chunk)
    climb: dict[str, Any] = {
        "proposals_per_state": 2, "ascent": 1.0, "exploration": ExplorationNoise(), "max_imagined_chunks": 1
    }  # fmt: skip
    config = ImproveConfig(training=SHORT, rollout_batch=3, update_epochs=1, **(climb if climbing else {}))
    policy, figures = tiny_vla(), list[dict[str, float]]()
    before = [parameter.clone() for parameter in policy.parameters()]

    def run(steps: int) -> VisionLanguagePolicy:
        done = improve(
            policy, world, recordings, advantages, config.changed(steps=steps), tmp_path,
            on_progress=lambda _, found: figures.append(found),
        )  # fmt: skip
        assert isinstance(done, VisionLanguagePolicy)
        return done

    improved = run(SHORT.steps)
    assert all(torch.equal(was, now) for was, now in zip(before, policy.parameters(), strict=True))
    assert improved.backbone is policy.backbone
    assert not torch.equal(improved.expert.enter.weight, policy.expert.enter.weight)
    assert len(figures) == SHORT.steps
    assert all(np.isfinite(list(found.values())).all() for found in figures)
    assert any("loss/imagined" in found for found in figures)
    saved, _ = load_saved(tmp_path, "training_state")
    assert not [name for name in saved if "backbone" in name]  # it can be had again, and is most of the weights
    again = run(SHORT.steps)  # nothing is left to do: it comes back as it was
    torch.testing.assert_close(again.expert.enter.weight, improved.expert.enter.weight)
    assert len(figures) == SHORT.steps


def test_what_rise_trains_on_has_the_evaluated_advantage_in_its_prompt(
    tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = CompositionalWorldModel.from_pretrained(tiny_world)
    recordings = Recordings.of([episode(0)], BOX_CLOSE).encoded(world.codec)
    read, learnt = list[str](), list[Tensor]()
    speak, losses = type(tiny_vla().backbone).forward, VisionLanguagePolicy.losses

    def forward(self: Any, images: Tensor, prompts: list[str]) -> Any:
        read.extend(prompts)
        return speak(self, images, prompts)

    def watched(self: Any, batch: dict[str, Any], **rest: Any) -> Tensor:
        read.clear()
        loss = losses(self, batch, **rest)
        learnt.append(batch["advantage"])
        asked = [f"{TEXT}, Advantage: {1 + int((one + 1) * 5 - 1e-6)}" for one in batch["advantage"]]
        assert read == asked
        return loss

    monkeypatch.setattr(type(tiny_vla().backbone), "forward", forward)
    monkeypatch.setattr(VisionLanguagePolicy, "losses", watched)
    config = ImproveConfig(training=replace(SHORT, steps=2), rollout_batch=3, update_epochs=1, offline_ratio=0.0)
    improve(tiny_vla(), world, recordings, torch.ones(len(recordings)), config, tmp_path)
    assert len(learnt) == 2
    assert not any((told == 1.0).all() for told in learnt)  # proposals were asked for 1, and judged otherwise


# -- on disk, from the hub, and by the command line -------------------------------------------------------------------


def test_saves_and_loads_as_a_whole_without_pickle(tmp_path: Path) -> None:
    policy = decided(tiny_vla())
    policy.scales.action_mean.fill_(0.25)
    save_policy(tmp_path / "policy", policy, card="# how it was made")
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.rsplit(".", 1)[1] for path in names} == {"json", "md", "safetensors"}
    assert policy.backbone.model.dtype == torch.float32  # only what is written is halved
    for loaded in (load_trainable(tmp_path / "policy"), named_agent(str(tmp_path / "policy"), task="box_close")):
        assert isinstance(loaded, VisionLanguagePolicy)
        assert not loaded.training
        assert not any(parameter.requires_grad for parameter in loaded.backbone.parameters())
        np.testing.assert_allclose(chunks(loaded, seen(2)), chunks(policy, seen(2)), atol=0.02)
    (tmp_path / "policy" / "policy" / "tokenizer.json").unlink()
    with pytest.raises(InvalidCheckpoint, match=r"tokenizer\.json"):
        load_trainable(tmp_path / "policy")


def test_its_temperature_is_told_as_that_of_the_compact_policy(tmp_path: Path) -> None:
    folder = save_policy(tmp_path / "policy", decided(tiny_vla()))
    noisy = NoisyAgent("box_close", str(folder), 1.0, 0.0, temperature=0.0)
    first, second = (noisy.act(seen(1), [TEXT], generator=Generator().manual_seed(seed)) for seed in (0, 1))
    np.testing.assert_array_equal(first, second)


def test_nothing_may_be_said() -> None:
    acted = tiny_vla().act(seen(2), ["", ""], float("nan"))
    assert np.isfinite(acted).all()


def test_a_public_backbone_keeps_its_weights_and_its_words(tmp_path: Path) -> None:
    from transformers import AutoModelForImageTextToText

    folder = published(tmp_path / "backbone")
    policy = VisionLanguagePolicy.from_backbone(str(folder), BOX_CLOSE, SMALL)
    public = AutoModelForImageTextToText.from_pretrained(folder).model.state_dict()
    mine = policy.backbone.model.state_dict()
    assert set(mine) == set(public)
    assert all(torch.equal(mine[name], public[name]) for name in mine)
    assert policy.backbone.tokenizer is not None
    assert policy.backbone.tokenizer.encode(TEXT).ids == tokenizer().encode(TEXT).ids
    assert VisionLanguagePolicy.from_backbone(str(folder), BOX_CLOSE, SMALL, layers=1).backbone.depth == 1


def test_a_backbone_that_cannot_be_had_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(InvalidCheckpoint, match=r"'lab/vlm' could not be had.*hf download lab/vlm --local-dir"):
        VisionLanguagePolicy.from_backbone("lab/vlm", BOX_CLOSE)


def test_unsuitable_backbones_are_refused() -> None:
    with pytest.raises(InvalidCheckpoint, match="SmolVLM or Idefics3 family was wanted, 'llama' is a LlamaModel"):
        VisionLanguagePolicy(backbone_config=settings()["text_config"])
    with pytest.raises(ValueError, match="multiple of 32 up to 64"):
        VisionLanguagePolicy(backbone_config=settings(), image_px=48)
    with pytest.raises(ValueError, match="blocks be from 1 to the backbone's 2 layers"):
        VisionLanguagePolicy(backbone_config=settings(), expert_blocks=3)


def test_smaller_pictures_are_fewer_tokens() -> None:
    assert tiny_vla().backbone.image_tokens == 4
    assert tiny_vla(config=replace(SMALL, image_px=32)).backbone.image_tokens == 1


def test_without_transformers_the_line_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingPackage, match=r"pip install 'rise-gym\[vla\]'"):
        VisionLanguagePolicy(backbone_config=settings())


def test_the_command_clones_onto_a_public_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vla, "VLA_TRAINING", SHORT)
    write_episodes(tmp_path / "data", [episode(0), episode(1)], BOX_CLOSE)
    backbone = str(published(tmp_path / "backbone"))
    train("policy", tmp_path / "out", data=[tmp_path / "data"], backbone=backbone, steps=1)
    policy = load_trainable(tmp_path / "out" / "checkpoint", task="box_close")
    assert isinstance(policy, VisionLanguagePolicy)
    assert policy.scales.proprio_spread.max() < 1  # measured on the recordings
    with pytest.raises(RiseGymError, match="leave out --backbone or --initial"):
        train("policy", tmp_path / "no", data=[tmp_path / "data"], initial="bundled:box_close", backbone=backbone)
