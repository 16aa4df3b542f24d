"""Cloning and offline training: which rows and columns they learn from, and that they learn, resumably."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rise_gym.agents.cloning import (
    PolicyTraining,
    acting_moments,
    demonstration_moments,
    mixed_moments,
    offline_batch,
    train_policy,
)
from rise_gym.agents.flow_policy import FlowPolicy, FlowPolicyConfig
from rise_gym.errors import InvalidDataset, InvalidTraining
from rise_gym.recordings import Recordings
from rise_gym.tasks import BOX_CLOSE
from rise_gym.training import TrainingConfig
from rise_gym.types import Episode

NARROW = FlowPolicyConfig(channels=(2, 4, 4), grid_channels=2, context_width=16, head_width=32, head_blocks=1)


def episode(length: int, source: Any, target: float = 0.0) -> Episode:
    """Executed actions are `target` with a noise of 0.5 on top; the intention is known for demonstrations only."""
    middle = np.asarray(BOX_CLOSE.unscale_action(np.zeros(14)), np.float32)
    executed = np.full((length, 14), target + 0.5, np.float32)
    return Episode(
        task="box_close",
        instruction=BOX_CLOSE.instruction,
        frames={camera: np.full((length, 64, 64, 3), 90, np.uint8) for camera in BOX_CLOSE.cameras},
        proprio=np.tile(middle, (length, 1)),
        actions=executed,
        clean_actions=executed - 0.5 if source == "demonstration" else None,
        success=source != "rollout",
        score=0.0,
        source=source,
        policy="test",
        seed=0,
    )


@pytest.fixture
def recordings() -> Recordings:
    return Recordings.of(
        [episode(14, "demonstration", -0.2), episode(12, "rollout"), episode(5, "correction")], BOX_CLOSE
    )


def config(steps: int = 6, **changes: Any) -> PolicyTraining:
    training = TrainingConfig(
        steps=steps, batch_size=8, learning_rate=1e-2, warmup_steps=1, log_every_steps=1, ema_decay=0.5
    )
    return PolicyTraining(training=training, policy=NARROW, **changes)


def test_terminal_rows_are_not_acted_from(recordings: Recordings) -> None:
    assert acting_moments(recordings).tolist() == [*range(13), *range(14, 25), *range(26, 30)]
    assert demonstration_moments(recordings).tolist() == [*range(13), *range(26, 30)]


def test_demonstrations_are_repeated_to_have_their_share(recordings: Recordings) -> None:
    assert mixed_moments(recordings, None).tolist() == acting_moments(recordings).tolist()
    mixed = mixed_moments(recordings, 0.9)
    shown = torch.isin(mixed, demonstration_moments(recordings))
    assert mixed.unique().tolist() == acting_moments(recordings).tolist()
    assert 0.85 < shown.float().mean() < 0.95
    assert mixed_moments(recordings, 1.0).tolist() == demonstration_moments(recordings).tolist()
    with pytest.raises(ValueError, match="demonstration_share"):
        mixed_moments(recordings, 1.1)


def test_what_was_shown_and_failed_is_not_learnt_from(recordings: Recordings) -> None:
    first_failed = replace(recordings, success=torch.tensor([False, False, True]))
    assert mixed_moments(first_failed, None).tolist() == [*range(14, 25), *range(26, 30)]
    last_failed = replace(recordings, success=torch.tensor([True, False, False]))
    assert mixed_moments(last_failed, None).tolist() == [*range(13), *range(14, 25)]


def test_missing_demonstrations_are_named() -> None:
    only_rollouts = Recordings.of([episode(4, "rollout")], BOX_CLOSE)
    with pytest.raises(InvalidDataset, match="hold episodes of: rollout"):
        demonstration_moments(only_rollouts)


@pytest.mark.parametrize(("clean", "demonstrated"), [(True, -0.2), (False, 0.3)])
def test_targets_are_the_intention_or_what_was_executed(
    recordings: Recordings, clean: bool, demonstrated: float
) -> None:
    moments = torch.tensor([0, 10, 14])
    batch = offline_batch(recordings, moments, torch.arange(31.0), 10, clean_targets=clean)
    assert batch["actions"].shape == (3, 10, 14)
    assert batch["actions"][:2].mean().item() == pytest.approx(demonstrated)
    assert batch["actions"][2].mean().item() == pytest.approx(0.5)  # a rollout meant what it did
    assert batch["advantage"].tolist() == [0, 10, 14]
    assert batch["mask"].sum(1).tolist() == [10, 3, 10]  # what comes after the episode's end did not happen
    assert batch["observation"]["head"].shape == (3, 64, 64, 3)


def test_the_policy_does_what_it_was_shown(recordings: Recordings, tmp_path: Path) -> None:
    policy = train_policy(
        recordings,
        torch.ones(len(recordings)),
        config(60),
        tmp_path,
        moments=acting_moments(recordings, ("demonstration",)),
    )
    seen = {camera: np.full((2, 64, 64, 3), 90, np.uint8) for camera in BOX_CLOSE.cameras}
    seen["proprio"] = recordings.proprio[:2].numpy()
    acted = policy.act(seen, [BOX_CLOSE.instruction] * 2, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(acted, -0.2, atol=0.03)


@pytest.mark.parametrize("relative", [False, True])
def test_scales_come_from_the_first_training_and_stay(recordings: Recordings, tmp_path: Path, relative: bool) -> None:
    settings = config(2)
    settings = PolicyTraining(
        training=settings.training, policy=FlowPolicyConfig(**{**vars(NARROW), "relative": relative})
    )
    labels, demonstrated = torch.ones(len(recordings)), acting_moments(recordings, ("demonstration",))
    base = train_policy(recordings, labels, settings, tmp_path / "base", moments=demonstrated)
    torch.testing.assert_close(base.scales.action_mean, torch.full((10, 14), -0.2))
    further = train_policy(recordings, labels, settings, tmp_path / "further", initial=base)
    assert torch.equal(further.scales.action_mean, base.scales.action_mean)
    assert torch.equal(further.scales.action_spread, base.scales.action_spread)
    assert not torch.equal(further.head.enter.weight, base.head.enter.weight)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    recordings: Recordings, tmp_path: Path, dropout: float
) -> None:
    labels, settings = torch.ones(len(recordings)), config(7, advantage_dropout=dropout)
    whole = train_policy(recordings, labels, settings, tmp_path / "whole")

    def interrupt(step: int, figures: dict[str, float]) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_policy(recordings, labels, settings, tmp_path / "cut", on_progress=interrupt)
    resumed = train_policy(recordings, labels, settings, tmp_path / "cut")
    for name, weights in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], weights, rtol=0, atol=0)


def test_training_leaves_global_randomness_and_the_initial_policy_alone(recordings: Recordings, tmp_path: Path) -> None:
    torch.manual_seed(3)
    initial = FlowPolicy.of(NARROW, BOX_CLOSE)
    weights, state = initial.head.enter.weight.clone(), torch.get_rng_state()
    seen: list[int] = []
    train_policy(recordings, torch.ones(len(recordings)), config(2), tmp_path / "new")
    train_policy(
        recordings,
        torch.ones(len(recordings)),
        config(4),
        tmp_path / "on",
        initial=initial,
        on_check=lambda step, policy: seen.append(step),
        check_every_steps=2,
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(initial.head.enter.weight, weights)
    assert seen == [2, 4]


def test_pictures_cannot_be_shifted_by_less_than_nothing(recordings: Recordings, tmp_path: Path) -> None:
    with pytest.raises(InvalidTraining, match="image_shift_px of 0 or more was wanted, got -3"):
        train_policy(recordings, torch.ones(len(recordings)), config(1, image_shift_px=-3), tmp_path)


@pytest.mark.parametrize("shift_px", [None, 0, 3])
def test_pictures_are_shifted_as_far_as_it_is_told(
    recordings: Recordings, tmp_path: Path, shift_px: int | None
) -> None:
    begun = train_policy(recordings, torch.ones(len(recordings)), config(2), tmp_path / "a")
    went_on = config(2, image_shift_px=shift_px)
    learnt = train_policy(recordings, torch.ones(len(recordings)), went_on, tmp_path / "b", initial=begun)
    assert learnt.config.shift_px == (begun.config.shift_px if shift_px is None else shift_px)
    assert begun.config.shift_px == FlowPolicyConfig.shift_px
