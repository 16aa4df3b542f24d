"""A network of its own for what chunks gain: what it tells, what it leaves alone, and that training it pays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from rise_gym.dynamics import VideoDynamics, VideoDynamicsConfig
from rise_gym.errors import InvalidDataset
from rise_gym.gain_training import GainTraining, train_gain
from rise_gym.recordings import Recordings
from rise_gym.tasks import BOX_CLOSE
from rise_gym.training import TrainingConfig
from rise_gym.types import Episode
from rise_gym.world_model import CompositionalWorldModel

SMALL = VideoDynamicsConfig(
    latent_channels=2, latent_size=8, widths=(8, 16, 32), embedding_width=16, map_channels=8, chunk=4, later=(6, 9),
)  # fmt: skip
SIGHTED = replace(SMALL, gain_widths=(8, 16))
LOW, HIGH = np.array(BOX_CLOSE.action_low), np.array(BOX_CLOSE.action_high)
SETTINGS = GainTraining(
    training=TrainingConfig(steps=120, batch_size=24, learning_rate=4e-3, warmup_steps=5, ema_decay=0.9, seed=3),
    widths=(16, 16),
    context_noise=0.0,
    short_chunks=0.0,
    later_weight=0.0,
)


def model(config: VideoDynamicsConfig = SMALL, *, awake: bool = False) -> VideoDynamics:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = VideoDynamics.of(config, BOX_CLOSE).eval()
        for parameter in found.parameters() if awake else ():
            torch.nn.init.normal_(parameter, std=0.1)
    return found


def inputs(rows: int, ticks: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = Generator().manual_seed(0)
    proprio = torch.rand(rows, 14, generator=generator) * torch.tensor(HIGH - LOW) + torch.tensor(LOW)
    history = torch.randn(rows, 4, 3, 2, 8, 8, generator=generator)
    return history, proprio.float(), torch.rand(rows, ticks, 14, generator=generator) * 2 - 1


def generators(rows: int) -> list[Generator]:
    return [Generator().manual_seed(row) for row in range(rows)]


def toy(episodes: int, seed: int = 0, ticks: int = 16) -> tuple[Recordings, Tensor]:
    """Arms that do what they are told. Progress rises or falls with the left shoulder; which of both, the half of the
    pictures that is bright says, so that neither pictures nor actions tell it alone.
    """
    rng = np.random.default_rng(seed)
    rows, latents, progress = [], [], []
    for _ in range(episodes):
        home = 2 * (np.tile([0.0, 1.2, -1.2, 0.0, 0.5, 0.0, 0.05], 2) - LOW) / (HIGH - LOW) - 1
        moves = np.cumsum(rng.normal(0, 0.15, (ticks, 1)), 0) * (np.arange(14) == 1)
        targets = np.clip(home + moves, -1, 1).astype(np.float32)
        measured = np.concatenate([targets[:1], targets[:-1]])
        wanted = rng.choice([-1.0, 1.0])
        progress.append(torch.from_numpy(0.5 + 0.5 * wanted * measured[:, 1]).float())
        halves = torch.linspace(wanted, -wanted, 8).sign().half()
        latents.append(halves.expand(ticks, 3, 2, 8, 8).contiguous())
        rows.append(
            Episode(
                task="box_close", instruction="close", proprio=(LOW + (measured + 1) / 2 * (HIGH - LOW)).astype("f4"),
                frames={camera: np.zeros((ticks, 2, 2, 3), np.uint8) for camera in BOX_CLOSE.cameras},
                actions=targets, success=True, score=10.0, source="rollout", policy="test", seed=0,
            )
        )  # fmt: skip
    return Recordings.of(rows, BOX_CLOSE).with_latents(torch.cat(latents)), torch.cat(progress)


def test_it_tells_what_is_gained_and_changes_nothing_else() -> None:
    sighted = model(SIGHTED, awake=True)
    found = sighted.sample(*inputs(2), generator=generators(2))
    sighted.gain_network = None
    plain = sighted.sample(*inputs(2), generator=generators(2))
    for name in ("latents", "proprio", "uncertainty"):
        assert torch.equal(getattr(found, name), getattr(plain, name)), name
    assert found.gain is not None
    assert found.later is not None
    assert (found.gain.shape, found.later.shape) == ((2, 4), (2, 2))
    assert not torch.allclose(found.gain, plain.gain)


def test_a_short_chunk_gains_what_the_start_of_a_held_one_does() -> None:
    sighted, (history, proprio, actions) = model(SIGHTED, awake=True), inputs(2)
    held = torch.cat([actions[:, :3], actions[:, 2:3]], dim=1)
    short = sighted.sample(history, proprio, actions[:, :3], generator=generators(2))
    whole = sighted.sample(history, proprio, held, generator=generators(2))
    assert short.later is None
    torch.testing.assert_close(short.gain, whole.gain[:, :3])


def test_what_is_foreseen_is_what_is_sampled_and_rises_somewhere() -> None:
    sighted, (history, proprio, actions) = model(SIGHTED, awake=True), inputs(2)
    actions.requires_grad_()
    foreseen = sighted.foresee(history, proprio, actions, noise=sighted.noise(2, generators(2)))
    sampled = sighted.sample(history, proprio, actions.detach(), generator=generators(2))
    assert foreseen.latents is None
    torch.testing.assert_close(foreseen.gain.detach(), sampled.gain, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(foreseen.later.detach(), sampled.later, atol=1e-5, rtol=1e-4)
    (slope,) = torch.autograd.grad(foreseen.later.sum(), actions)
    assert bool((slope.flatten(1).norm(dim=1) > 0).all())


def test_it_knows_which_picture_shows_what_and_reads_the_past() -> None:
    sighted, (history, proprio, actions) = model(SIGHTED, awake=True), inputs(1)
    plain = sighted.sample(history, proprio, actions, generator=generators(1)).gain
    swapped, moved = history.flip(2), history.clone()
    moved[:, 0] += 1
    for other in (swapped, moved):
        assert not torch.allclose(sighted.sample(other, proprio, actions, generator=generators(1)).gain, plain)


def test_saved_and_loaded_it_tells_the_same(tmp_path: Path) -> None:
    sighted = model(SIGHTED, awake=True)
    sighted.save_pretrained(tmp_path)
    loaded = VideoDynamics.from_pretrained(tmp_path)
    ours, theirs = (x.sample(*inputs(2), generator=generators(2)).gain for x in (sighted, loaded))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sight": False, "gain_widths": (8, 16)}, "gain_widths.*needs sight"),
        ({"gain_widths": (8, 12)}, "gain_widths must be multiples of 8"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model(replace(SMALL, **wrong))


@pytest.mark.parametrize("later", [(), (6, 9)])
def test_a_model_that_is_told_hears_its_own_row(later: tuple[int, ...]) -> None:
    told = model(replace(SIGHTED, instructed=True, later=later), awake=True)
    first, other = (
        told.sample(*inputs(2), generator=generators(2), instruction=texts).gain
        for texts in (["close the box", "sort"], ["close the box", "pack"])
    )
    torch.testing.assert_close(first[0], other[0])
    assert not torch.allclose(first[1], other[1])


def unexplained(dynamics: VideoDynamics, recordings: Recordings, progress: Tensor) -> float:
    """Squared error of the gain of a chunk as a share of its variance."""
    moments = (recordings.last - torch.arange(len(recordings)) >= 4).nonzero().flatten()
    assert recordings.latents is not None
    history = recordings.latents[recordings.history(moments, 4, 2)].float()
    acted, _ = recordings.chunk(moments, 4)
    true = progress[moments + 4] - progress[moments]
    found = dynamics.sample(
        history, recordings.proprio[moments], recordings.actions[acted], generator=Generator().manual_seed(0)
    ).gain
    assert found is not None
    return float((found[:, -1] - true).square().mean() / true.var())


def test_training_learns_what_pictures_and_actions_tell_together_and_leaves_the_rest_alone(tmp_path: Path) -> None:
    plain = model()
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    taught = train_gain(plain, *toy(24), SETTINGS, tmp_path)
    assert plain.gain_network is None
    for name, value in before.items():
        assert torch.equal(taught.state_dict()[name], value), name
    assert unexplained(plain, *toy(6, seed=1)) > 0.9
    assert unexplained(taught, *toy(6, seed=1)) < 0.5


def test_a_run_goes_on_where_it_was_and_with_the_network_that_is_there(tmp_path: Path) -> None:
    short, longer = (
        replace(SETTINGS, training=replace(SETTINGS.training, schedule="constant", steps=steps)) for steps in (3, 6)
    )
    sighted = model(SIGHTED, awake=True)
    whole = train_gain(sighted, *toy(3), longer, tmp_path / "whole")
    train_gain(sighted, *toy(3), short, tmp_path / "parts")
    resumed = train_gain(sighted, *toy(3), longer, tmp_path / "parts")
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value)
    moved = [name for name, x in whole.state_dict().items() if not torch.equal(x, sighted.state_dict()[name])]
    assert moved
    assert all(name.startswith("gain_network.") for name in moved)


def test_recordings_have_to_be_encoded(tmp_path: Path) -> None:
    recordings, progress = toy(1)
    bare = Recordings(**{**recordings.__dict__, "latents": None})
    with pytest.raises(InvalidDataset, match="encoded"):
        train_gain(model(), bare, progress, SETTINGS, tmp_path)


def test_a_world_model_climbs_by_it(tiny_world: Path) -> None:
    world = CompositionalWorldModel.from_pretrained(tiny_world)
    shape = {name: value for name, value in world.dynamics.config.items() if not name.startswith("_")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        world.dynamics = VideoDynamics(**{**shape, "sight": True, "gain_widths": (8, 8)}).eval()
        torch.nn.init.normal_(world.dynamics.gain_network.gain.weight)
    state = world.begin(torch.zeros(2, 1, 3, 64, 64, 3, dtype=torch.uint8), torch.full((2, 14), 0.01), ["close"] * 2)
    actions = 0.1 * torch.rand(2, world.longest_chunk, 14, generator=Generator().manual_seed(0))
    advantage, slope = world.advantage_slope(state, actions, generator=generators(2))
    _, imagined = world.imagine(state, actions, generator=generators(2), drawn=False)
    torch.testing.assert_close(advantage, imagined.advantage, atol=1e-4, rtol=1e-3)
    assert bool((slope.flatten(1).norm(dim=1) > 0).all())
