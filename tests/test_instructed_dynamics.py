"""Dynamics that are told the instruction: what it changes, what it leaves as it was, and that it has to be given."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from rise_gym.dynamics import VideoDynamics, VideoDynamicsConfig
from rise_gym.dynamics_training import DynamicsTraining, train_dynamics
from rise_gym.recordings import Recordings
from rise_gym.renderer_training import RendererTraining, train_renderer
from rise_gym.tasks import BOX_CLOSE, BRICK_SORT
from rise_gym.training import TrainingConfig
from rise_gym.types import Episode
from rise_gym.world_model import CompositionalWorldModel

PLAIN = VideoDynamicsConfig(
    latent_channels=2, latent_size=8, widths=(8, 16, 32), embedding_width=16, map_channels=8, chunk=4, later=(6,)
)
INSTRUCTED = replace(PLAIN, instructed=True)
TEXTS = ["close the box", "sort the bricks"]


def model(config: VideoDynamicsConfig) -> VideoDynamics:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = VideoDynamics.of(config, BOX_CLOSE).eval()
        for parameter in found.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return found


def inputs(rows: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = Generator().manual_seed(0)
    proprio = torch.tensor(BOX_CLOSE.action_low) + 0.1 * torch.rand(rows, 14, generator=generator)
    history = torch.randn(rows, 4, 3, 2, 8, 8, generator=generator)
    return history, proprio, torch.rand(rows, 4, 14, generator=generator) * 2 - 1


def latents(dynamics: VideoDynamics, texts: list[str] | None, rows: int = 2) -> Tensor:
    noise = [Generator().manual_seed(0) for _ in range(rows)]
    return dynamics.sample(*inputs(rows), generator=noise, instruction=texts).latents


def two_tasks() -> Recordings:
    """Latents brighten in one task and darken in the other, whatever is done."""
    episodes, frames = [], {camera: np.zeros((5, 2, 2, 3), np.uint8) for camera in BOX_CLOSE.cameras}
    still = np.full((5, 14), 0.01, np.float32)
    for number in range(6):
        card = (BOX_CLOSE, BRICK_SORT)[number % 2]
        episodes.append(
            Episode(
                task=card.name, instruction=card.instruction, frames=frames, proprio=still, actions=still * 0,
                success=True, score=10.0, source="rollout", policy="test", seed=number,
            )
        )  # fmt: skip
    tick = torch.arange(5.0).repeat(6) * torch.tensor([1.0, -1.0] * 3).repeat_interleave(5)
    return Recordings.of(episodes, BOX_CLOSE).with_latents(
        (0.3 * tick).half()[:, None, None, None, None].expand(-1, 3, 2, 8, 8).contiguous()
    )


def test_the_instruction_changes_what_is_dreamt_for_its_own_row_only() -> None:
    dynamics = model(INSTRUCTED)
    first, other = latents(dynamics, TEXTS), latents(dynamics, [TEXTS[0], "pack the bag"])
    torch.testing.assert_close(first[0], other[0])
    assert not torch.allclose(first[1], other[1])
    dynamics.rows_at_once = 1
    torch.testing.assert_close(latents(dynamics, TEXTS), first, atol=1e-4, rtol=1e-4)


def test_an_instructed_model_has_to_be_told() -> None:
    with pytest.raises(ValueError, match=r"instructed: one instruction a row was wanted \(2\), none came"):
        latents(model(INSTRUCTED), None)
    with pytest.raises(ValueError, match=r"wanted \(2\), 1 came"):
        latents(model(INSTRUCTED), TEXTS[:1])
    history, proprio, actions = inputs()
    noise = torch.zeros(2, 4, 3, 2, 8, 8)
    with pytest.raises(ValueError, match="instructed"):
        model(INSTRUCTED).foresee(history, proprio, actions, noise=noise)


def test_another_model_reads_no_instruction_and_a_checkpoint_without_the_key_is_one(tmp_path: Path) -> None:
    plain = model(PLAIN)
    assert torch.equal(latents(plain, TEXTS), latents(plain, None))
    plain.save_pretrained(tmp_path)
    loaded = VideoDynamics.from_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["instructed"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert torch.equal(latents(VideoDynamics.from_pretrained(tmp_path), None), latents(loaded, None))


def test_a_model_that_is_instructed_from_now_on_begins_as_it_was(tmp_path: Path) -> None:
    plain, schedule = model(PLAIN), TrainingConfig(steps=1, batch_size=4, learning_rate=0.0, weight_decay=0.0)
    settings = DynamicsTraining(training=schedule, dynamics=INSTRUCTED)
    told = train_dynamics(two_tasks(), settings, tmp_path / "told", initial=plain)
    assert told.config.instructed
    assert torch.equal(latents(told, TEXTS), latents(plain, None))
    further = train_dynamics(two_tasks(), replace(settings, dynamics=PLAIN), tmp_path / "further", initial=told)
    assert further.config.instructed  # what it was told it is told for good


def test_told_the_task_it_learns_what_only_the_task_decides(tmp_path: Path) -> None:
    recordings = two_tasks()
    schedule = TrainingConfig(steps=120, batch_size=12, learning_rate=3e-3, warmup_steps=5, ema_decay=0.0)
    settings = DynamicsTraining(
        training=schedule, dynamics=replace(INSTRUCTED, sight=False), dreamt_history=0.0, following_steps=1
    )
    dynamics = train_dynamics(recordings, settings, tmp_path / "dynamics")
    history = torch.zeros(2, 4, 3, 2, 8, 8)  # the first moment of either
    dream = dynamics.sample(
        history, recordings.proprio[:2], torch.zeros(2, 4, 14), generator=Generator().manual_seed(0),
        instruction=[BOX_CLOSE.instruction, BRICK_SORT.instruction],
    ).latents  # fmt: skip
    assert float(dream[0, -1].mean()) > 0.3 > -0.3 > float(dream[1, -1].mean())


def test_a_renderer_and_a_world_model_pass_the_instruction_on(tmp_path: Path, tiny_world: Path) -> None:
    quick = RendererTraining(training=TrainingConfig(steps=2, batch_size=4, warmup_steps=0), widths=(8, 8))
    assert train_renderer(model(INSTRUCTED), two_tasks(), quick, tmp_path).config.instructed
    world = CompositionalWorldModel.from_pretrained(tiny_world)
    shape = {name: value for name, value in world.dynamics.config.items() if not name.startswith("_")}
    world.dynamics = VideoDynamics(**{**shape, "instructed": True}).eval()
    frames = torch.zeros(2, 1, 3, 64, 64, 3, dtype=torch.uint8)
    state = world.begin(frames, torch.full((2, 14), 0.01), TEXTS)
    _, imagined = world.imagine(state, torch.zeros(2, 4, 14), generator=Generator())
    advantage, _ = world.advantage_slope(state, torch.zeros(2, 4, 14), generator=Generator())
    assert len(imagined.latents) == len(advantage) == 2
