"""What comes next: sampling, conditioning on actions, and training, on a toy world of bars that follow joints."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from rise_gym._dreamt_history import DreamtHistory
from rise_gym.dynamics import VideoDynamics, VideoDynamicsConfig
from rise_gym.dynamics_training import DynamicsTraining, dynamics_loss, shortened, train_dynamics, training_window
from rise_gym.errors import InvalidAction, InvalidDataset
from rise_gym.protocols import Dynamics
from rise_gym.recordings import Recordings
from rise_gym.tasks import BOX_CLOSE, BRICK_SORT
from rise_gym.training import TrainingConfig
from rise_gym.types import Episode
from rise_gym.value import ProgressValue, ProgressValueConfig

SMALL = VideoDynamicsConfig(
    latent_channels=2,
    latent_size=8,
    widths=(16, 32, 32),
    blocks=1,
    embedding_width=128,
    map_channels=32,
    chunk=6,
    later=(9, 12),
)
PLAIN = replace(SMALL, sight=False, motion=False)  # toy pictures show no robot: geometry tells nothing of them
LOW, HIGH = np.array(BOX_CLOSE.action_low), np.array(BOX_CLOSE.action_high)


def toy(episodes: int, seed: int = 0, ticks: int = 30) -> Recordings:
    """Joints follow wandering targets with a lag; in each view a bar stands where one joint is."""
    rng = np.random.default_rng(seed)
    rows, latents = [], []
    for _ in range(episodes):
        targets = np.clip(np.cumsum(rng.normal(0, 0.25, (ticks, 14)), 0), -0.9, 0.9).astype(np.float32)
        joints = np.zeros((ticks, 14))
        for tick in range(1, ticks):
            joints[tick] = joints[tick - 1] + 0.7 * (targets[tick - 1] - joints[tick - 1])
        frames = {camera: np.zeros((ticks, 2, 2, 3), np.uint8) for camera in BOX_CLOSE.cameras}
        rows.append(
            Episode(
                task="box_close",
                instruction="close",
                frames=frames,
                proprio=(LOW + (joints + 1) / 2 * (HIGH - LOW)).astype(np.float32),
                actions=targets,
                success=True,
                score=10.0,
                source="rollout",
                policy="test",
                seed=0,
            )
        )
        column = np.linspace(-1, 1, 8)
        bars = np.exp(-(((column - joints[:, :3, None]) / 0.25) ** 2))  # (N, V, w)
        latents.append(np.broadcast_to(2 * bars[:, :, None, None], (ticks, 3, 2, 8, 8)))
    flat = Recordings.of(rows, BOX_CLOSE)
    return Recordings(**{**flat.__dict__, "latents": torch.from_numpy(np.concatenate(latents)).half()})


def random_model(config: VideoDynamicsConfig = SMALL) -> VideoDynamics:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VideoDynamics.of(config, BOX_CLOSE).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def inputs(batch: int, ticks: int = 6, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = Generator().manual_seed(seed)
    proprio = torch.rand(batch, 14, generator=generator) * torch.tensor(HIGH - LOW) + torch.tensor(LOW)
    history = torch.randn(batch, 4, 3, 2, 8, 8, generator=generator)
    return history, proprio.float(), torch.rand(batch, ticks, 14, generator=generator) * 2 - 1


def generators(count: int) -> list[Generator]:
    return [Generator().manual_seed(100 + row) for row in range(count)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> VideoDynamics:
    schedule = TrainingConfig(steps=250, batch_size=16, learning_rate=3e-3, warmup_steps=20, ema_decay=0.98)
    settings = DynamicsTraining(training=schedule, dynamics=PLAIN, context_noise=0.05, dreamt_history=0.0)
    return train_dynamics(toy(60), settings, tmp_path_factory.mktemp("dynamics"))


def test_shapes_and_protocol() -> None:
    model = random_model()
    latents, proprio, uncertainty, gain, later = model.sample(*inputs(2), generator=Generator().manual_seed(0))
    assert latents.shape == (2, 6, 3, 2, 8, 8)
    assert proprio.shape == (2, 6, 14)
    assert uncertainty.shape == (2,)
    assert gain is not None
    assert gain.shape == (2, 6)
    assert later is not None
    assert later.shape == (2, 2)
    assert bool((uncertainty > 0).all())
    assert isinstance(model, Dynamics)


def test_untrained_it_predicts_that_nothing_changes_but_what_cameras_do_and_commands_are_followed() -> None:
    model = VideoDynamics.of(SMALL, BOX_CLOSE).eval()
    history, proprio, actions = inputs(2)
    latents, following = model.predict(history, proprio, actions, generator=Generator().manual_seed(0))
    still = history[:, -1:].expand_as(latents)
    torch.testing.assert_close(latents[:, :, 0], still[:, :, 0], atol=1e-5, rtol=0)  # the head camera stands
    assert not torch.allclose(latents[:, :, 1:], still[:, :, 1:], atol=1e-2)
    unsighted = VideoDynamics.of(replace(SMALL, sight=False), BOX_CLOSE).eval()
    latents, _ = unsighted.predict(history, proprio, actions, generator=Generator().manual_seed(0))
    torch.testing.assert_close(latents, still, atol=1e-5, rtol=0)
    torch.testing.assert_close(following, torch.from_numpy(BOX_CLOSE.unscale_action(actions.numpy())).float())


def test_the_same_generator_gives_the_same_dream_and_another_another() -> None:
    model, given_inputs = random_model(), inputs(2)
    first, again, other = (model.predict(*given_inputs, generator=Generator().manual_seed(s))[0] for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_a_dream_does_not_depend_on_the_batch_it_runs_in() -> None:
    model, (history, proprio, actions) = random_model(), inputs(5)
    together = model.predict(history, proprio, actions, generator=generators(5))
    for row in (0, 3):
        pick = slice(row, row + 1)
        alone = model.predict(history[pick], proprio[pick], actions[pick], generator=generators(5)[pick])
        for ours, theirs in zip(alone, together, strict=True):
            torch.testing.assert_close(ours, theirs[pick], atol=1e-4, rtol=1e-4)


def test_the_wrong_number_of_generators_is_refused() -> None:
    with pytest.raises(ValueError, match="one generator for each of 2 rows"):
        random_model().predict(*inputs(2), generator=generators(3))


def test_a_short_chunk_is_the_beginning_of_one_that_holds_its_last_target() -> None:
    model, (history, proprio, actions) = random_model(), inputs(2)
    held = torch.cat([actions[:, :4], actions[:, 3:4].expand(-1, 2, -1)], dim=1)
    short = model.sample(history, proprio, actions[:, :4], generator=generators(2))
    whole = model.sample(history, proprio, held, generator=generators(2))
    assert torch.equal(short.latents, whole.latents[:, :4])
    assert torch.equal(short.proprio, whole.proprio[:, :4])


@pytest.mark.parametrize("ticks", [0, 7])
def test_a_chunk_of_impossible_length_is_refused(ticks: int) -> None:
    with pytest.raises(InvalidAction, match="1 to 6 ticks"):
        random_model().predict(*inputs(1, ticks), generator=Generator())


def test_inputs_are_left_as_they_were() -> None:
    given_inputs = inputs(2)
    copies = [tensor.clone() for tensor in given_inputs]
    random_model().predict(*given_inputs, generator=Generator())
    assert all(torch.equal(a, b) for a, b in zip(given_inputs, copies, strict=True))


def test_commanded_proprioception_is_the_papers() -> None:
    model = random_model(replace(SMALL, proprioception="commanded"))
    history, proprio, actions = inputs(2)
    _, following = model.predict(history, proprio, actions, generator=Generator())
    torch.testing.assert_close(following, torch.from_numpy(BOX_CLOSE.unscale_action(actions.numpy())).float())


def test_scaling_proprioception_is_that_of_the_task_card() -> None:
    _, proprio, _ = inputs(3)
    scaled = VideoDynamics.of(SMALL, BOX_CLOSE).scaled(proprio)
    np.testing.assert_allclose(scaled, BOX_CLOSE.scale_action(proprio.numpy()), atol=1e-5)


def test_the_scheduler_steps_as_the_sampler_does() -> None:
    model = random_model(replace(SMALL, sigmas=(1.0, 0.6, 0.3)))
    history, proprio, actions = inputs(2)
    scheduler = model.scheduler()
    noise = torch.randn(2, 6, 3, 2, 8, 8, generator=Generator().manual_seed(5))
    sample = noise
    with torch.no_grad():
        for timestep, sigma in zip(scheduler.timesteps, (1.0, 0.6, 0.3), strict=True):
            clean, *_ = model(history, sample, torch.full((2,), sigma), proprio, actions)
            sample = scheduler.step((sample - clean) / sigma, timestep, sample).prev_sample
    ours = model.predict(history, proprio, actions, generator=Generator().manual_seed(5))[0]
    torch.testing.assert_close(ours, sample, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sigmas": (0.9, 0.5)}, "sigmas fall from 1"),
        ({"sigmas": (1.0, 1.0)}, "sigmas fall from 1"),
        ({"latent_size": 10}, "divide by 4"),
        ({"map_channels": 4}, "multiples of 8"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VideoDynamics.of(replace(SMALL, **wrong), BOX_CLOSE)


def test_saved_and_loaded_it_dreams_the_same(tmp_path: Path) -> None:
    model = random_model()
    model.save_pretrained(tmp_path)
    loaded = VideoDynamics.from_pretrained(tmp_path)
    for ours, theirs in zip(
        model.sample(*inputs(2), generator=generators(2)),
        loaded.sample(*inputs(2), generator=generators(2)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_windows_hold_what_was_before_and_after_and_the_actions_between() -> None:
    flat = toy(2)
    window = training_window(flat, torch.tensor([10, 28]), SMALL)
    assert flat.latents is not None
    assert torch.equal(window.history[0], flat.latents[[4, 6, 8, 10]].float())
    assert torch.equal(window.future[0], flat.latents[11:17].float())
    assert torch.equal(window.actions[0], flat.actions[10:16])
    assert torch.equal(window.measured[0], flat.proprio[11:17])
    assert window.happened.tolist() == [[True] * 6, [True] + [False] * 5]  # the episode ends at row 29


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 99))
def test_shortened_chunks_hold_their_last_target_and_forget_what_came_after(seed: int) -> None:
    flat = toy(2)
    window = training_window(flat, flat.draw(8, Generator().manual_seed(seed)), SMALL)
    short = shortened(window, 1.0, Generator().manual_seed(seed))
    for row in range(8):
        kept = int((short.actions[row] == window.actions[row]).all(-1).long().cumprod(0).sum())
        assert torch.equal(short.actions[row, kept:], short.actions[row, kept - 1 : kept].expand(6 - kept, -1))
        assert not (short.happened[row] & ~window.happened[row]).any()
    assert torch.equal(shortened(window, 0.0, Generator().manual_seed(seed)).actions, window.actions)


def test_training_beats_copying_and_needs_the_right_actions(trained: VideoDynamics) -> None:
    held_out = toy(12, seed=1)
    moments = (held_out.last - torch.arange(len(held_out)) >= 6).nonzero().flatten()[::3]
    window = training_window(held_out, moments, SMALL)

    def error(actions: Tensor) -> float:
        dream, _ = trained.predict(window.history, window.proprio, actions, generator=Generator().manual_seed(0))
        return float((dream - window.future).square().mean())

    copying = float((window.history[:, -1:] - window.future).square().mean())
    right, shuffled = error(window.actions), error(window.actions.roll(31, 0))
    assert right < 0.45 * copying
    assert shuffled > 2 * right


def test_training_learns_how_joints_lag_behind(trained: VideoDynamics) -> None:
    held_out = toy(6, seed=2)
    window = training_window(held_out, torch.arange(5, 20), SMALL)
    _, following = trained.predict(window.history, window.proprio, window.actions, generator=Generator().manual_seed(0))
    commanded = trained.unscaled(window.actions)
    off, naive = (
        float((trained.scaled(x) - trained.scaled(window.measured)).abs().mean()) for x in (following, commanded)
    )
    assert off < 0.6 * naive


def test_training_goes_on_from_an_earlier_model_without_touching_it(trained: VideoDynamics, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    settings = DynamicsTraining(training=TrainingConfig(steps=2, batch_size=4, learning_rate=1e-6, ema_decay=0.0))
    further = train_dynamics(replace(toy(2), task=BRICK_SORT), settings, tmp_path, initial=trained)
    assert (trained.config["task"], further.config["task"]) == ("box_close", "brick_sort")
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())
    changed = [not torch.equal(value, before[name]) for name, value in further.state_dict().items()]
    assert any(changed)
    far = max(float((value - before[name]).abs().max()) for name, value in further.state_dict().items())
    assert math.isclose(far, 0, abs_tol=1e-4)


def test_weights_can_end_between_those_they_began_with_and_those_learnt(trained: VideoDynamics, tmp_path: Path) -> None:
    settings = DynamicsTraining(training=TrainingConfig(steps=2, batch_size=4, learning_rate=1e-2, ema_decay=0.0))
    learnt = train_dynamics(toy(2), settings, tmp_path, initial=trained).state_dict()
    between = train_dynamics(toy(2), replace(settings, initial_share=0.25), tmp_path, initial=trained).state_dict()
    for name, before in trained.state_dict().items():
        kept = 0.0 if name.startswith(("actuation.response", "actuation.correction")) else 0.25  # joints learn apart
        torch.testing.assert_close(between[name], learnt[name].lerp(before, kept), atol=1e-6, rtol=1e-5)


def test_dreamt_history_is_what_was_imagined_of_the_ticks_that_history_holds() -> None:
    recordings = toy(2, ticks=12)
    dreamt = DreamtHistory(4, replace(SMALL, history=3, stride=2, chunk=4), recordings)  # ticks 3 and 1 of a chunk
    assert not len(dreamt.draw(4, Generator().manual_seed(0)))
    moments = torch.tensor([2, 3, 9, 14])  # the third ends with its episode, the last is not to be used
    imagined = torch.randn(4, 4, 3, 2, 8, 8)
    dreamt.keep(moments, imagined, torch.tensor([True, True, True, False]))
    chosen = dreamt.draw(4, Generator().manual_seed(0)).sort().values
    assert dreamt.moment[chosen].tolist() == [6, 7]
    history = torch.randn(5, 3, 3, 2, 8, 8)
    replaced = dreamt.replaced(history, torch.tensor([4, 1]), chosen)
    torch.testing.assert_close(replaced[4, 1:], imagined[0, [1, 3]], atol=2e-3, rtol=1e-3)  # half precision
    torch.testing.assert_close(replaced[1, 1:], imagined[1, [1, 3]], atol=2e-3, rtol=1e-3)
    assert torch.equal(replaced[:, 0], history[:, 0])  # longer ago than the chunk: as it was recorded
    assert torch.equal(replaced[[0, 2, 3]], history[[0, 2, 3]])


def test_a_run_remembers_what_it_dreamt_when_it_goes_on(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(step: int, figures: dict[str, float]) -> None:
        raise Stop

    schedule = TrainingConfig(steps=6, batch_size=8, learning_rate=1e-2, warmup_steps=1, log_every_steps=3)
    settings, recordings = DynamicsTraining(training=schedule, dynamics=SMALL, recorded_only=0.0), toy(6)
    whole = train_dynamics(recordings, settings, tmp_path / "whole")
    with pytest.raises(Stop):
        train_dynamics(recordings, settings, tmp_path / "parts", on_progress=stop)
    parts = train_dynamics(recordings, settings, tmp_path / "parts")
    assert all(torch.equal(weight, parts.state_dict()[name]) for name, weight in whole.state_dict().items())
    late = train_dynamics(recordings, replace(settings, recorded_only=1.0), tmp_path / "late")
    forgetful = train_dynamics(recordings, replace(settings, dreamt_history=0.0), tmp_path / "forgetful")
    assert all(torch.equal(weight, late.state_dict()[name]) for name, weight in forgetful.state_dict().items())
    assert any(not torch.equal(weight, forgetful.state_dict()[name]) for name, weight in whole.state_dict().items())


def test_what_a_value_makes_of_imagined_frames_can_be_learnt(tmp_path: Path) -> None:
    torch.manual_seed(0)
    value = ProgressValue.of(ProgressValueConfig(latent_channels=2, latent_size=8, widths=(8, 8), hidden=8), BOX_CLOSE)
    before = {name: weight.clone() for name, weight in value.state_dict().items()}
    recordings = toy(6)
    still = replace(SMALL, motion=False)  # these latents drift at random: nothing goes on
    # of what it learnt from: on six other toys chance decides, 0.7 to 1.0 of the error over training seeds
    window = training_window(recordings, torch.arange(5, 100, 3), SMALL)
    text = recordings.instruction_of(torch.zeros(32 * SMALL.chunk, dtype=torch.int64))

    def error(judge: ProgressValue | None) -> float:
        schedule = TrainingConfig(steps=180, batch_size=16, learning_rate=3e-3, warmup_steps=5, ema_decay=0.0)
        settings = DynamicsTraining(
            training=schedule, dynamics=still, seen_weight=5.0, progress_weight=1000.0, dreamt_history=0.0
        )
        model = train_dynamics(recordings, settings, tmp_path / str(judge is None), value=judge)
        wanted, errors = value.progress(window.future.flatten(0, 1), text), []
        for seed in range(3):
            noise = Generator().manual_seed(seed)
            dream, _ = model.predict(window.history, window.proprio, window.actions, generator=noise)
            errors.append(float((value.progress(dream.flatten(0, 1), text) - wanted).square().mean()))
        return sum(errors)

    assert error(value) < 0.8 * error(None)
    assert all(torch.equal(weight, before[name]) for name, weight in value.state_dict().items())


def test_what_a_chunk_gains_is_learnt_where_it_is_known(trained: VideoDynamics, tmp_path: Path) -> None:
    def known(recordings: Recordings) -> Tensor:  # progress is where the first joint stands; nobody saw episode 0
        where = (recordings.proprio[:, 0] - LOW[0]) / (HIGH[0] - LOW[0])
        return torch.where(recordings.episode == 0, torch.nan, where).float()

    schedule = TrainingConfig(steps=150, batch_size=16, learning_rate=3e-3, warmup_steps=20, ema_decay=0.98)
    settings = DynamicsTraining(training=schedule, dynamics=PLAIN, context_noise=0.05, dreamt_history=0.0)
    recordings, held_out = toy(40), toy(10, seed=1)
    assert trained.sample(*inputs(1), generator=Generator()).gain is None
    model = train_dynamics(recordings, settings, tmp_path, initial=trained, progress=known(recordings))
    moments = (held_out.episode > 0).nonzero().flatten()
    moments = moments[held_out.last[moments] - moments >= SMALL.chunk]
    window = training_window(held_out, moments, SMALL, known(held_out))
    gained = window.gained[:, : SMALL.chunk]
    gain = model.sample(window.history, window.proprio, window.actions, generator=Generator().manual_seed(0)).gain
    assert gain is not None
    assert (gain - gained).square().mean() < 0.3 * gained.square().mean()


def test_what_is_gained_later_is_learnt_where_a_policy_acted_on(tmp_path: Path) -> None:
    """In rollouts, a chunk after which the first joint moves on as far again; demonstrations tell nothing."""
    recordings = toy(30)
    progress = recordings.proprio[:, 0].clone()
    some = torch.tensor([10, 40])
    window = training_window(recordings, some, SMALL, progress)
    later = torch.minimum(some[:, None] + torch.tensor(SMALL.later), recordings.last[some][:, None])
    torch.testing.assert_close(window.gained[:, SMALL.chunk :], progress[later] - progress[some][:, None])
    cut = shortened(window, 1.0, Generator().manual_seed(0))
    assert bool(cut.gained[:, SMALL.chunk :].isnan().all())  # held targets are not what led there
    shown = replace(recordings, sources=("demonstration",) * len(recordings.sources))
    assert bool(training_window(shown, some, SMALL, progress).gained[:, SMALL.chunk :].isnan().all())


def test_rows_can_start_where_something_happens(tmp_path: Path) -> None:
    """Only in the last episode does progress change; what all others hold is no number, and would spoil the weights."""
    recordings = toy(4, ticks=60)
    ours = recordings.episode == 3
    assert recordings.latents is not None
    recordings.latents[~ours] = torch.nan
    progress = torch.where(ours, torch.arange(len(recordings)) / len(recordings), 0.5)
    settings = DynamicsTraining(training=TrainingConfig(steps=3, batch_size=8), dynamics=SMALL, eventful_share=1.0)
    model = train_dynamics(recordings, settings, tmp_path, progress=progress)
    assert all(bool(weight.isfinite().all()) for weight in model.state_dict().values())


def test_training_learns_from_the_moments_it_is_given(tmp_path: Path) -> None:
    """What the others hold is no number, and would spoil the weights."""
    recordings = toy(4, ticks=60)
    ours = recordings.episode == 3
    assert recordings.latents is not None
    recordings.latents[~ours] = torch.nan
    settings = DynamicsTraining(training=TrainingConfig(steps=3, batch_size=8), dynamics=SMALL)
    model = train_dynamics(recordings, settings, tmp_path, moments=ours.nonzero().flatten())
    assert all(bool(weight.isfinite().all()) for weight in model.state_dict().values())
    with pytest.raises(InvalidDataset, match="two frames and more"):
        train_dynamics(recordings, settings, tmp_path, moments=recordings.last.unique())


def test_the_later_a_tick_the_less_its_gain_counts() -> None:
    """The same error of an untrained model, which expects nothing, in the first or in the last of the later ticks."""
    model, recordings = VideoDynamics.of(SMALL, BOX_CLOSE).eval(), toy(30)
    window = training_window(recordings, torch.tensor([10]), SMALL, recordings.proprio[:, 0])
    errors = []
    for which in range(len(SMALL.later)):
        gained = torch.full_like(window.gained, torch.nan)
        gained[:, SMALL.chunk + which] = 0.5
        config = DynamicsTraining(dynamics=SMALL, pure_noise=1.0)
        errors.append(
            dynamics_loss(model, window._replace(gained=gained), config, Generator().manual_seed(0))[1]["later_gain"]
        )
    assert errors[0] / errors[1] == pytest.approx(SMALL.later[1] / SMALL.later[0], rel=0.01)


def test_a_model_can_learn_to_expect_other_ticks(tmp_path: Path) -> None:
    schedule = TrainingConfig(steps=1, batch_size=4, learning_rate=1e-9, ema_decay=0.0)
    settings = DynamicsTraining(training=schedule, dynamics=replace(SMALL, later=(9, 12, 15)))
    start, recordings = random_model(), toy(4)
    model = train_dynamics(recordings, settings, tmp_path, initial=start, progress=recordings.proprio[:, 0])
    before, after = (m.sample(*inputs(1), generator=Generator().manual_seed(0)) for m in (start, model))
    assert before.gain is not None
    assert after.later is not None
    torch.testing.assert_close(before.gain, after.gain, atol=1e-4, rtol=0)
    assert after.later.shape == (1, 3)
    short = model.sample(*inputs(1)[:2], inputs(1)[2][:, :4], generator=Generator().manual_seed(0))
    assert short.later is None  # what a shorter chunk leads to was never seen
    with pytest.raises(ValueError, match="later ticks"):
        VideoDynamics.of(replace(SMALL, later=(6,)), BOX_CLOSE)


def test_a_model_can_be_shown_motion_and_begins_as_it_was_unless_it_has_a_renderer(tmp_path: Path) -> None:
    schedule = TrainingConfig(steps=1, batch_size=4, learning_rate=1e-9, ema_decay=0.0)
    settings = DynamicsTraining(training=schedule, dynamics=SMALL)
    blind = random_model(replace(SMALL, motion=False))
    shown = train_dynamics(toy(2), settings, tmp_path / "shown", initial=blind)
    assert shown.sights is not None
    assert shown.sights.motion is not None
    history, proprio, actions = inputs(2)
    history = history[:, -1:].expand_as(history)  # in which nothing moves
    noise = [Generator().manual_seed(0) for _ in range(2)]
    before, after = (
        m.sample(history, proprio, actions, generator=g).latents for m, g in zip((blind, shown), noise, strict=True)
    )
    torch.testing.assert_close(before, after, atol=1e-3, rtol=0)
    drawing = random_model(replace(SMALL, motion=False, renderer_widths=(8, 8)))
    further = train_dynamics(toy(2), settings, tmp_path / "drawing", initial=drawing)
    assert further.sights is not None
    assert further.sights.motion is None
    asked = replace(settings, motion_for_renderer=True)
    both = train_dynamics(toy(2), asked, tmp_path / "both", initial=drawing)
    assert both.sights is not None
    assert both.sights.motion is not None
    before, after = (
        m.sample(history, proprio, actions, generator=Generator().manual_seed(0)).latents for m in (drawing, both)
    )
    torch.testing.assert_close(before, after, atol=1e-3, rtol=0)


def test_recordings_without_latents_are_refused(tmp_path: Path) -> None:
    flat = toy(1)
    with pytest.raises(InvalidDataset, match="encoded"):
        train_dynamics(Recordings(**{**flat.__dict__, "latents": None}), DynamicsTraining(), tmp_path)
