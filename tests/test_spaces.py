"""One task, one pair of spaces; actions are checked, never repaired."""

from __future__ import annotations

import numpy as np
import pytest

from rise_gym.errors import InvalidAction
from rise_gym.spaces import action_space, checked_actions, observation_space, proprio_bounds
from rise_gym.tasks import BOX_CLOSE


def test_spaces_follow_the_card() -> None:
    space = observation_space(BOX_CLOSE)
    assert set(space.spaces) == {*BOX_CLOSE.cameras, "proprio"}
    assert space["head"].shape == (*BOX_CLOSE.image_size, 3)
    assert space["head"].dtype == np.uint8
    assert space["proprio"].shape == (14,)
    assert action_space(BOX_CLOSE, 4).shape == (4, 14)


def test_a_joint_pushed_a_little_past_its_range_is_still_in_the_space() -> None:
    low, high = proprio_bounds(BOX_CLOSE)
    assert np.all(low < np.array(BOX_CLOSE.action_low))
    assert np.all(high > np.array(BOX_CLOSE.action_high))


def test_actions_come_back_as_a_float32_copy() -> None:
    actions = np.full((2, 14), 0.5)
    checked = checked_actions(actions, (2, 14))
    assert checked.dtype == np.float32
    assert not np.shares_memory(actions, checked)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((14,)), r"shape \(2, 14\).*got \(14,\)"),
        (np.full((2, 14), np.nan), "28 NaN or infinite"),
        (np.full((2, 14), 1.5), r"\[-1, 1\], got 1\.5"),
        ([[0.0], [0.0, 1.0]], "must be numbers"),
        (None, "shape"),
    ],
)
def test_refusals_say_what_was_wanted_and_what_came(actions: object, message: str) -> None:
    with pytest.raises(InvalidAction, match=message):
        checked_actions(actions, (2, 14))
