"""What counts as done in a dream: as many dreams succeed as episodes did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from rise_gym.calibration import calibrate_dreams, dreamt_peaks
from rise_gym.errors import InvalidDataset
from rise_gym.recordings import Recordings
from rise_gym.tasks import BOX_CLOSE
from rise_gym.types import Episode
from rise_gym.world_model import CompositionalWorldModel

World = Callable[..., CompositionalWorldModel]


def episode(brightness: int, ticks: int, success: bool) -> Episode:
    """Seen as bright throughout; what is dreamt from its first frame gets one brighter every tick."""
    frames = {camera: np.full((ticks, 64, 64, 3), brightness, np.uint8) for camera in BOX_CLOSE.cameras}
    zeros = np.zeros((ticks, 14), np.float32)
    return Episode(
        task="box_close", instruction=BOX_CLOSE.instruction, frames=frames, proprio=zeros, actions=zeros,
        success=success, score=10.0, source="rollout", policy="test", seed=0,
    )  # fmt: skip


def recordings(*successes: bool) -> Recordings:
    starts, ticks = (0, 20, 40, 60), (25, 25, 11, 25)
    rows = zip(starts, ticks, successes, strict=True)
    return Recordings.of([episode(*row) for row in rows], BOX_CLOSE)


def test_a_dream_lasts_as_long_as_its_episode_and_counts_the_least_of_the_last_frames(counting_world: World) -> None:
    peaks = dreamt_peaks(counting_world(success_ticks=3), recordings(True, False, True, False))
    torch.testing.assert_close(peaks, torch.tensor([0.28, 0.48, 0.48, 0.88]))  # of 30, 30, 10 and 30 dreamt ticks
    single = dreamt_peaks(counting_world(success_ticks=1), recordings(True, False, True, False))
    torch.testing.assert_close(single, torch.tensor([0.30, 0.50, 0.50, 0.90]))


def test_a_dream_may_begin_later(counting_world: World) -> None:
    episodes = recordings(True, False, True, False)
    begins = episodes.first.unique() + torch.tensor([15, 15, 5, 0])
    peaks = dreamt_peaks(counting_world(success_ticks=3), episodes, begins=begins)
    torch.testing.assert_close(peaks, torch.tensor([0.08, 0.28, 0.48, 0.88]))  # of 10, 10, 10 and 30 dreamt ticks
    found = calibrate_dreams(counting_world(success_ticks=3), episodes, begins=begins)
    assert found == pytest.approx((0.48 + 0.28) / 2, abs=1e-5)


@pytest.mark.parametrize(
    ("successes", "threshold"), [((True, False, False, False), 0.68), ((True, True, True, False), 0.38)]
)
def test_as_many_dreams_reach_the_threshold_as_episodes_succeeded(
    counting_world: World, successes: tuple[bool, ...], threshold: float
) -> None:
    model = counting_world(success_ticks=3)
    found = calibrate_dreams(model, recordings(*successes))
    assert found == pytest.approx(threshold, abs=1e-5)
    assert int((dreamt_peaks(model, recordings(*successes)) >= found).sum()) == sum(successes)
    model.config = replace(model.config, success_threshold=found)
    assert model.success_threshold == found
    assert counting_world().success_threshold == 0.9  # else the value's own


@pytest.mark.parametrize("outcome", [True, False])
def test_both_outcomes_are_needed(counting_world: World, outcome: bool) -> None:
    with pytest.raises(InvalidDataset, match="successes and failures"):
        calibrate_dreams(counting_world(), recordings(*[outcome] * 4))
