"""How far along: on a toy world where a bar grows with progress, and gets stuck in a failure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rise_gym.advantage import values_of
from rise_gym.errors import InvalidDataset
from rise_gym.metrics import auroc, pearson
from rise_gym.protocols import Value
from rise_gym.recordings import Recordings
from rise_gym.tasks import BOX_CLOSE, BRICK_SORT
from rise_gym.training import TrainingConfig
from rise_gym.types import Episode, Source
from rise_gym.value import ProgressValue, ProgressValueConfig
from rise_gym.value_training import (
    ValueTraining,
    calibrate_success,
    calibration_episodes,
    progress_labels,
    td_targets,
    train_value,
)

SMALL = ProgressValueConfig(latent_channels=1, latent_size=8, widths=(16, 16), hidden=32)
TICKS = 30


def episode(success: bool, source: Source, progress: np.ndarray | None) -> Episode:
    zeros = np.zeros((TICKS, 14), np.float32)
    return Episode(
        task="box_close", instruction=BOX_CLOSE.instruction, proprio=zeros, actions=zeros, success=success,
        frames={camera: np.zeros((TICKS, 2, 2, 3), np.uint8) for camera in BOX_CLOSE.cameras},
        progress=None if progress is None else progress.astype(np.float32),
        score=10.0 if success else 2.5, source=source, policy="test", seed=0,
    )  # fmt: skip


def toy(episodes: int, seed: int = 0) -> Recordings:
    rng = np.random.default_rng(seed)
    rows, latents = [], []
    for number in range(episodes):
        success = number % 2 == 0
        progress = np.linspace(0, 1, TICKS) * (1 if success else rng.uniform(0.3, 0.6))
        rows.append(episode(success, "demonstration" if number % 4 == 0 else "rollout", progress))
        bar = np.arange(8)[None] < 8 * progress[:, None]
        stuck = np.full((TICKS, 1), -1.0 if not success else 1.0)  # something in the picture that foretells the end
        picture = np.concatenate([2.0 * bar, np.repeat(stuck, 8, 1)], 1)[:, None, None].reshape(TICKS, 1, 1, 2, 8)
        noise = rng.normal(0, 0.2, (TICKS, 3, 1, 8, 8))
        latents.append(np.repeat(picture, 4, axis=3) + noise)
    flat = Recordings.of(rows, BOX_CLOSE)
    return Recordings(**{**flat.__dict__, "latents": torch.from_numpy(np.concatenate(latents)).half()})


def settings(**changes: Any) -> ValueTraining:
    schedule = TrainingConfig(steps=200, batch_size=64, learning_rate=2e-3, warmup_steps=10, ema_decay=0.95)
    return ValueTraining(**{"training": schedule, "value": SMALL, "target_decay": 0.95, **changes})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> ProgressValue:
    return train_value(toy(40), settings(), tmp_path_factory.mktemp("value"))


def test_shape_range_and_protocol() -> None:
    value = ProgressValue.of(SMALL, BOX_CLOSE).eval()
    progress = value.progress(100 * torch.randn(5, 3, 1, 8, 8), ["close"] * 5)
    assert progress.shape == (5,)
    assert progress.abs().max() <= 1
    assert not progress.requires_grad
    assert isinstance(value, Value)


def test_rows_do_not_depend_on_their_batch_and_the_instruction_is_read() -> None:
    value = ProgressValue.of(SMALL, BOX_CLOSE).eval()
    latents = torch.randn(1, 3, 1, 8, 8).expand(3, -1, -1, -1, -1)
    rows = value.progress(latents, ["close the box", "open the bag", "close the box"])
    assert rows[0] == rows[2] != rows[1]
    torch.testing.assert_close(value.progress(latents[:1], ["open the bag"])[0], rows[1])


def test_one_instruction_a_row_is_wanted() -> None:
    with pytest.raises(ValueError, match="one instruction a row"):
        ProgressValue.of(SMALL, BOX_CLOSE).progress(torch.zeros(2, 3, 1, 8, 8), ["close"])


def test_training_sees_progress_and_tells_failures(trained: ProgressValue) -> None:
    held_out = toy(12, seed=1)
    values, won = values_of(held_out, trained), held_out.success[held_out.episode]
    assert pearson(values[won].numpy(), held_out.progress[won].numpy()) > 0.9
    assert auroc(values.numpy(), won.numpy()) > 0.9
    assert values[~won][-1] < 0 < 0.7 < values[won][-1]


def test_training_goes_on_from_a_model_which_stays_as_it_is(trained: ProgressValue, tmp_path: Path) -> None:
    before = {name: weight.clone() for name, weight in trained.state_dict().items()}
    few = settings(training=TrainingConfig(steps=5, batch_size=64, learning_rate=1e-4, warmup_steps=1, ema_decay=0.5))
    seen: list[dict[str, float]] = []
    bricks = replace(toy(8, seed=5), task=BRICK_SORT)
    further = train_value(
        bricks, few, tmp_path, initial=trained, on_progress=lambda step, figures: seen.append(figures)
    )
    assert (trained.config["task"], further.config["task"]) == ("box_close", "brick_sort")
    held_out = toy(12, seed=1)
    assert pearson(values_of(held_out, further).numpy(), values_of(held_out, trained).numpy()) > 0.99
    assert not torch.equal(further.enter.weight, trained.enter.weight)
    assert all(torch.equal(weight, before[name]) for name, weight in trained.state_dict().items())
    assert not further.training
    assert not trained.training
    assert "temporal_difference" in seen[0]


def test_softened_frames_are_valued_alike(trained: ProgressValue) -> None:
    latents = toy(4, seed=2).latents
    assert latents is not None
    sharp = latents[::5].float()
    soft = torch.nn.functional.avg_pool2d(sharp.flatten(0, 1), 3, 1, 1, count_include_pad=False).view_as(sharp)
    text = [BOX_CLOSE.instruction] * len(sharp)
    values = [trained.progress(frames, text).numpy() for frames in (sharp, 0.5 * (sharp + soft))]
    assert pearson(*values) > 0.95


def test_progress_labels_are_elapsed_time_on_successes_only() -> None:
    flat = toy(4)
    label = progress_labels(flat, settings())
    won = flat.success[flat.episode]
    assert label[~won].isnan().all()
    torch.testing.assert_close(label[:TICKS], torch.arange(TICKS) / (TICKS - 1))
    demonstrated = progress_labels(flat, settings(progress_on="demonstrations"))
    assert (~demonstrated.isnan()).nonzero().flatten().tolist() == list(range(TICKS))


def test_measured_progress_may_teach_on_failures_and_leaves_out_what_nothing_measured() -> None:
    flat = Recordings.of(
        [episode(False, "rollout", np.linspace(0, 0.4, TICKS)), episode(True, "rollout", None)], BOX_CLOSE
    )
    label = progress_labels(flat, settings(progress_target="measured", progress_on="everything"))
    torch.testing.assert_close(label[:TICKS], flat.progress[:TICKS])
    assert label[TICKS:].isnan().all()


def test_success_stands_out_from_what_is_nearly_done() -> None:
    flat = Recordings.of([episode(True, "rollout", np.linspace(0.2, 1, TICKS))], BOX_CLOSE)
    label = progress_labels(flat, settings(progress_target="measured", progress_on="everything", success_margin=0.2))
    torch.testing.assert_close(label[:-1], 0.8 * flat.progress[:-1])
    assert label[-1] == 1


def test_a_margin_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="success_margin"):
        settings(success_margin=1.0)


def test_time_is_no_progress_in_a_failure() -> None:
    with pytest.raises(ValueError, match="measured"):
        settings(progress_on="everything")


def test_equation_6_with_the_outcome_in_the_terminal_window() -> None:
    flat = toy(2)  # a success, then a failure
    config = settings(terminal_ticks=10, td_ticks=5, discount=0.9, failure_reward=-0.6)
    moments = torch.tensor([0, 19, 20, 29, TICKS + 5, TICKS + 25])
    target = td_targets(flat, moments, torch.tensor([0.5, 0.8, 0.0, 0.0, -0.5, 0.9]), config)
    far = 0.9**5
    torch.testing.assert_close(target, torch.tensor([0.5 * far, 0.8 * far, 1.0, 1.0, -0.5 * far, -0.6]))


def test_targets_are_cut_to_what_tanh_can_say() -> None:
    config = settings(failure_reward=-3.0)
    assert td_targets(toy(2), torch.tensor([TICKS + 29]), torch.zeros(1), config).tolist() == [-1.0]


def test_the_first_phase_is_progress_only(tmp_path: Path) -> None:
    seen: dict[int, bool] = {}
    schedule = TrainingConfig(steps=10, batch_size=8, log_every_steps=1, warmup_steps=2)
    train_value(
        toy(4),
        settings(training=schedule, progress_only=0.4),
        tmp_path,
        on_progress=lambda step, figures: seen.update({step: "temporal_difference" in figures}),
    )
    assert seen == {step: step > 4 for step in range(1, 11)}


def test_training_learns_from_the_moments_it_is_given(tmp_path: Path) -> None:
    """What the others hold is no number, and would spoil the weights."""
    recordings = toy(4)
    ours = recordings.episode == 0
    assert recordings.latents is not None
    recordings.latents[~ours] = torch.nan
    config = settings(training=TrainingConfig(steps=4, batch_size=8), progress_only=0.5)
    value = train_value(recordings, config, tmp_path, moments=ours.nonzero().flatten())
    assert all(bool(weight.isfinite().all()) for weight in value.state_dict().values())


def test_an_interrupted_training_ends_in_the_same_value(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(step: int, figures: dict[str, float]) -> None:
        if step == 7:
            raise Stop

    config = settings(training=TrainingConfig(steps=12, batch_size=8, log_every_steps=1, warmup_steps=2))
    whole = train_value(toy(4), config, tmp_path / "whole").state_dict()
    with pytest.raises(Stop):
        train_value(toy(4), config, tmp_path / "parts", on_progress=stop)
    resumed = train_value(toy(4), config, tmp_path / "parts").state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_calibration_finds_what_tells_done_from_stuck(trained: ProgressValue) -> None:
    held_out = toy(12, seed=3)
    threshold = calibrate_success(trained, held_out)
    values = values_of(held_out, trained)
    for number, done in enumerate(held_out.success.tolist()):
        own = values[held_out.episode == number]
        assert bool(own[-3:].min() >= threshold) == done
        assert own[: TICKS // 2].max() < threshold


@pytest.mark.parametrize(("successes", "failures", "apart"), [(13, 24, (2, 2)), (3, 1, (1, 1)), (2, 30, (2, 3))])
def test_calibration_has_episodes_of_its_own(successes: int, failures: int, apart: tuple[int, int]) -> None:
    flat = toy(successes + failures)
    outcome = torch.arange(successes + failures) % (successes + failures) < successes
    flat = Recordings(**{**flat.__dict__, "success": outcome})
    learnt, spared = map(flat.only, calibration_episodes(flat))
    assert (int(spared.success.sum()), int((~spared.success).sum())) == apart
    kept = successes - (apart[0] if successes > 2 else 0) + failures - (apart[1] if failures > 2 else 0)
    assert len(learnt.success) == kept
    assert 0 < int(learnt.success.sum()) < kept  # both outcomes are left to learn from


def test_calibration_takes_the_middle_of_the_widest_gap() -> None:
    class Given:
        def progress(self, latents: Tensor, instruction: Any) -> Tensor:
            return latents.mean((1, 2, 3, 4))

    flat = toy(2)
    level = torch.cat(
        [torch.linspace(0, 0.5, 10), torch.full((10,), 0.5), torch.full((10,), 0.9), torch.full((TICKS,), 0.3)]
    )
    flat = Recordings(**{**flat.__dict__, "latents": level.view(-1, 1, 1, 1, 1).expand(-1, 3, 1, 1, 1)})
    assert calibrate_success(Given(), flat) == pytest.approx(0.7, abs=1e-3)


def test_calibration_needs_both_outcomes(trained: ProgressValue) -> None:
    flat = Recordings(**{**toy(2).__dict__, "success": torch.tensor([True, True])})
    with pytest.raises(InvalidDataset, match="a failure at least"):
        calibrate_success(trained, flat)


def test_the_threshold_is_saved_with_the_weights(trained: ProgressValue, tmp_path: Path) -> None:
    latents = torch.randn(3, 3, 1, 8, 8)
    trained.set_success_threshold(0.83)
    trained.save_pretrained(tmp_path)
    loaded = ProgressValue.from_pretrained(tmp_path)
    assert loaded.config.success_threshold == 0.83
    torch.testing.assert_close(loaded.progress(latents, ["close"] * 3), trained.progress(latents, ["close"] * 3))


def test_recordings_that_teach_nothing_are_refused(tmp_path: Path) -> None:
    flat = toy(2)
    with pytest.raises(InvalidDataset, match="encoded"):
        train_value(Recordings(**{**flat.__dict__, "latents": None}), settings(), tmp_path)
    with pytest.raises(InvalidDataset, match="demonstrations"):
        train_value(Recordings(**{**flat.__dict__, "success": torch.tensor([False, False])}), settings(), tmp_path)
