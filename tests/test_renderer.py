"""Frames drawn anew: what a renderer changes, what it leaves alone, and that training it pays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from rise_gym._robot_sight import RobotSight
from rise_gym.dynamics import VideoDynamics, VideoDynamicsConfig
from rise_gym.errors import InvalidDataset
from rise_gym.recordings import Recordings
from rise_gym.renderer_training import RendererTraining, train_renderer
from rise_gym.robots import TWO_PIPERS
from rise_gym.tasks import BOX_CLOSE
from rise_gym.training import TrainingConfig
from rise_gym.types import Episode
from rise_gym.value import ProgressValue, ProgressValueConfig

SMALL = VideoDynamicsConfig(
    latent_channels=2, latent_size=8, widths=(8, 16, 32), embedding_width=16, map_channels=8, chunk=4, gain=False,
    later=(),
)  # fmt: skip
LOW, HIGH = np.array(BOX_CLOSE.action_low), np.array(BOX_CLOSE.action_high)
SETTINGS = RendererTraining(
    training=TrainingConfig(steps=100, batch_size=12, learning_rate=5e-3, warmup_steps=5, ema_decay=0.9, seed=3),
    widths=(16, 16),
)


def model(config: VideoDynamicsConfig = SMALL) -> VideoDynamics:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VideoDynamics.of(config, BOX_CLOSE).eval()


def toy(episodes: int, seed: int = 0, ticks: int = 16) -> Recordings:
    """Arms that do what they are told, before a dark ground: bright latents show their forearms."""
    rng = np.random.default_rng(seed)
    sight = RobotSight(TWO_PIPERS, BOX_CLOSE.cameras, SMALL.latent_size)
    rows, latents = [], []
    for _ in range(episodes):
        home = 2 * (np.tile([0.0, 1.2, -1.2, 0.0, 0.5, 0.0, 0.05], 2) - LOW) / (HIGH - LOW) - 1
        targets = np.clip(home + np.cumsum(rng.normal(0, 0.12, (ticks, 14)), 0), -1, 1).astype(np.float32)
        proprio = (LOW + (np.concatenate([targets[:1], targets[:-1]]) + 1) / 2 * (HIGH - LOW)).astype(np.float32)
        marks, _, _ = sight(torch.from_numpy(proprio)[None, [0, *range(ticks)]], torch.zeros(1, 3, 2, 8, 8))
        arms = marks[0].unflatten(1, (3, -1))[:, :, -1:] * 3  # (ticks, V, 1, h, w)
        latents.append(torch.cat([arms, -arms], dim=2).half())
        frames = {camera: np.zeros((ticks, 2, 2, 3), np.uint8) for camera in BOX_CLOSE.cameras}
        rows.append(
            Episode(
                task="box_close", instruction="close", frames=frames, proprio=proprio, actions=targets, success=True,
                score=10.0, source="rollout", policy="test", seed=0,
            )
        )  # fmt: skip
    flat = Recordings.of(rows, BOX_CLOSE)
    return Recordings(**{**flat.__dict__, "latents": torch.cat(latents)})


def inputs(rows: int, ticks: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = Generator().manual_seed(0)
    proprio = torch.rand(rows, 14, generator=generator) * torch.tensor(HIGH - LOW) + torch.tensor(LOW)
    history = torch.randn(rows, 4, 3, 2, 8, 8, generator=generator)
    return history, proprio.float(), torch.rand(rows, ticks, 14, generator=generator) * 2 - 1


def drawing() -> VideoDynamics:
    """A renderer that draws something."""
    found = model(replace(SMALL, renderer_widths=(8, 16)))
    assert found.renderer is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for parameter in found.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return found


def generators(rows: int) -> list[Generator]:
    return [Generator().manual_seed(row) for row in range(rows)]


def test_it_changes_frames_and_nothing_else() -> None:
    with_it = drawing()
    frames, *others = with_it.sample(*inputs(2), generator=generators(2))
    left_out = with_it.sample(*inputs(2), generator=generators(2), drawn=False)
    with_it.renderer = None
    plain, *same = with_it.sample(*inputs(2), generator=generators(2))
    assert frames.shape == plain.shape
    assert torch.equal(left_out.latents, plain)
    assert not torch.allclose(frames, plain)
    for ours, theirs in zip(others, same, strict=True):
        assert (ours is None and theirs is None) or torch.equal(ours, theirs)


def test_a_row_is_drawn_the_same_in_any_batch_and_a_short_chunk_is_the_start_of_a_long_one() -> None:
    dynamics, (history, proprio, actions) = drawing(), inputs(3)
    together = dynamics.sample(history, proprio, actions, generator=generators(3)).latents
    alone = dynamics.sample(history[1:2], proprio[1:2], actions[1:2], generator=generators(3)[1:2]).latents
    torch.testing.assert_close(together[1:2], alone, atol=1e-4, rtol=1e-4)
    held = torch.cat([actions[:, :2], actions[:, 1:2].expand(-1, 2, -1)], dim=1)
    short = dynamics.sample(history, proprio, actions[:, :2], generator=generators(3)).latents
    assert torch.equal(short, dynamics.sample(history, proprio, held, generator=generators(3)).latents[:, :2])


def test_single_frames_are_those_of_the_whole_chunk() -> None:
    dynamics, (history, proprio, actions) = drawing(), inputs(2)
    coarse = dynamics.coarse(history, dynamics.noise(2, generators(2)), proprio, actions)
    every = dynamics.rendered(coarse, history, proprio, torch.arange(4).expand(2, -1))
    picked = dynamics.rendered(coarse, history, proprio, torch.tensor([[3, 1], [0, 2]]))
    torch.testing.assert_close(picked[0], every[0, [3, 1]], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(picked[1], every[1, [0, 2]], atol=1e-5, rtol=1e-5)


def test_saved_and_loaded_it_draws_the_same(tmp_path: Path) -> None:
    dynamics = drawing()
    dynamics.save_pretrained(tmp_path)
    loaded = VideoDynamics.from_pretrained(tmp_path)
    ours, theirs = (x.sample(*inputs(2), generator=generators(2)).latents for x in (dynamics, loaded))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sight": False, "renderer_widths": (8, 16)}, "needs sight"),
        ({"renderer_widths": (8, 12)}, "multiples of 8"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model(replace(SMALL, **wrong))


def error(dynamics: VideoDynamics, recordings: Recordings) -> float:
    moments = (recordings.last - torch.arange(len(recordings)) >= 4).nonzero().flatten()
    assert recordings.latents is not None
    history = recordings.latents[recordings.history(moments, 4, 2)].float()
    acted, _ = recordings.chunk(moments, 4)
    after, _ = recordings.future(moments, 4)
    found = dynamics.sample(
        history, recordings.proprio[moments], recordings.actions[acted], generator=Generator().manual_seed(0)
    ).latents
    return float((found - recordings.latents[after].float()).square().mean())


def test_training_sharpens_what_the_geometry_tells_and_leaves_the_rest_alone(tmp_path: Path) -> None:
    plain, held_out = model(), toy(3, seed=1)
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    taught = train_renderer(plain, toy(12), SETTINGS, tmp_path)
    assert plain.renderer is None
    for name, value in before.items():
        assert torch.equal(taught.state_dict()[name], value), name
    assert error(taught, held_out) < 0.6 * error(plain, held_out)


def test_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    recordings = toy(3)
    short, longer = (
        replace(SETTINGS, training=replace(SETTINGS.training, schedule="constant", steps=steps)) for steps in (3, 6)
    )
    whole = train_renderer(model(), recordings, longer, tmp_path / "whole")
    train_renderer(model(), recordings, short, tmp_path / "parts")
    resumed = train_renderer(model(), recordings, longer, tmp_path / "parts")
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value)


def test_a_renderer_that_is_there_is_trained_on_and_a_value_may_judge(tmp_path: Path) -> None:
    dynamics, figures = drawing(), []
    value = ProgressValue.of(ProgressValueConfig(widths=(8, 8), hidden=16, latent_channels=2, latent_size=8), BOX_CLOSE)
    quick = replace(SETTINGS, training=replace(SETTINGS.training, steps=2, warmup_steps=0, log_every_steps=1))
    taught = train_renderer(
        dynamics, toy(3), quick, tmp_path, value=value, on_progress=lambda _, found: figures.append(found)
    )
    assert tuple(taught.config.renderer_widths) == (8, 16)
    assert {"picture", "coarse", "seen", "progress"} <= set(figures[0])
    moved = [name for name, x in taught.state_dict().items() if not torch.equal(x, dynamics.state_dict()[name])]
    assert moved
    assert all(name.startswith("renderer.") for name in moved)


def test_weights_can_end_between_those_they_began_with_and_those_learnt(tmp_path: Path) -> None:
    dynamics, quick = drawing(), replace(SETTINGS, training=replace(SETTINGS.training, steps=2, warmup_steps=0))
    learnt = train_renderer(dynamics, toy(3), quick, tmp_path).state_dict()
    between = train_renderer(dynamics, toy(3), replace(quick, initial_share=0.25), tmp_path).state_dict()
    for name, before in dynamics.state_dict().items():
        torch.testing.assert_close(between[name], learnt[name].lerp(before, 0.25), atol=1e-6, rtol=1e-5)


def test_recordings_have_to_be_encoded(tmp_path: Path) -> None:
    bare = Recordings(**{**toy(1).__dict__, "latents": None})
    with pytest.raises(InvalidDataset, match="encoded"):
        train_renderer(model(), bare, SETTINGS, tmp_path)
