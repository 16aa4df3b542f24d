"""Reliability diagrams and false successes, from claims that one can check by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rise_gym.reliability import false_success, reliability


def test_claims_that_come_true_as_often_as_they_say() -> None:
    claimed = np.repeat([0.25, 0.75], 20)
    happened = np.concatenate([np.arange(20) < 5, np.arange(20) < 15]).astype(float)
    found = reliability(claimed, happened)
    assert found["calibration_error"] == pytest.approx(0)
    assert [(one["low"], one["high"], one["count"]) for one in found["bins"]] == [(0.2, 0.3, 20), (0.7, 0.8, 20)]
    assert [one["happened"] for one in found["bins"]] == [0.25, 0.75]
    low, high = found["bins"][0]["happened_ci95"]
    assert low < 0.25 < high


def test_a_boast_is_off_by_what_it_boasts() -> None:
    found = reliability(np.full(10, 1.0), np.arange(10) < 6)
    assert found["calibration_error"] == pytest.approx(0.4)
    assert found["bins"][0]["high"] == 1.0
    assert (found["claimed_mean"], found["happened_mean"]) == (1.0, 0.6)


def test_frames_of_one_episode_are_not_independent() -> None:
    claimed, happened = np.full(100, 0.5), np.repeat([0.0, 1.0], 50)
    apart = [reliability(claimed, happened, groups=groups) for groups in (None, np.repeat(np.arange(4), 25))]
    width = [np.ptp(found["bins"][0]["happened_ci95"]) for found in apart]
    assert width[1] > 2 * width[0]


def test_false_successes_are_counted() -> None:
    found = false_success(np.array([1, 1, 1, 0, 0], bool), np.array([1, 0, 0, 1, 0], bool))
    assert (found["dreamt_successes"], found["false_successes"], found["missed_successes"]) == (3, 2, 1)
    assert found["of_dreamt_successes"]["value"] == pytest.approx(2 / 3)
    assert found["of_failures"]["value"] == pytest.approx(2 / 3)
    nothing = false_success(np.zeros(3, bool), np.ones(3, bool))
    assert np.isnan(nothing["of_failures"]["value"])
    assert nothing["of_failures"]["ci95"] == [0, 1]


@pytest.mark.parametrize(
    ("claimed", "happened", "message"),
    [([], [], "were wanted"), ([0.1], [0.1, 0.2], "were wanted"), ([1.2], [0.1], "lie in")],
)
def test_impossible_claims_are_refused(claimed: list[float], happened: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reliability(np.array(claimed), np.array(happened))
    if len(claimed) != len(happened):
        with pytest.raises(ValueError, match="as many dreams"):
            false_success(np.array(claimed, bool), np.array(happened, bool))
