"""An adversary finds what a world model promises, pays for uncertainty if it is charged, and is found out by truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import fake_env
import gymnasium
import numpy as np
import pytest

from rise_gym.agents.adversary import (
    AdversaryConfig,
    Exploit,
    exploit_figures,
    exploited,
    probe_figures,
    usual_uncertainty,
)
from rise_gym.agents.baselines import RandomAgent
from rise_gym.comparison import first_windows
from rise_gym.errors import InvalidDataset, UnsuitableEnv
from rise_gym.tasks import BOX_CLOSE, BRICK_SORT

SMALL = AdversaryConfig(chunks=2, candidates=12, elites=3, rounds=3, spread=20.0, fresh_dreams=2)


class Baited:
    """A counting world in which what the last target of the first joint gains by a chunk is lost twice in the next."""

    def __init__(self, model: Any) -> None:
        self.model, self.task, self.begin, self.decode_newest = model, model.task, model.begin, model.decode_newest

    def imagine(self, state: Any, actions: Any, *, generator: Any) -> Any:
        after, imagined = self.model.imagine(state, actions, generator=generator)
        reward = actions[:, -1, 0] - 2 * state.proprio[:, 0]  # where the chunk before brought that joint
        return replace(after, proprio=actions[:, -1]), replace(imagined, reward=reward)


class Still:
    """Holds everything in the middle of its range, which a counting world is certain about."""

    chunk = 10

    def act(self, observation: Any, instruction: Any, advantage: Any = 1.0) -> np.ndarray:
        return np.zeros((len(instruction), 10, 14), np.float32)

    def loss(self, batch: dict[str, Any]) -> Any:
        raise NotImplementedError


def searched(model: Any, config: AdversaryConfig) -> Exploit:
    """What is found around holding still, from a start of the fake replica."""
    replica = gymnasium.make(fake_env.SINGLE_ID, disable_env_checker=True)
    return exploited(model, Still(), replica, first_windows(replica, [100_001]), 0, config)


@pytest.fixture(scope="module")
def found(counting_world: Callable[..., Any]) -> dict[str, Exploit]:
    """In a counting world the first joint brightens the picture, and any far target makes it uncertain."""
    settings = {"alone": replace(SMALL, rounds=0), "free": SMALL, "charged": replace(SMALL, uncertainty_limit=0.05)}
    return {name: searched(counting_world(), config) for name, config in settings.items()}


def test_it_finds_more_than_the_policy(found: dict[str, Exploit]) -> None:
    assert found["free"].imagined.sum() > found["alone"].imagined.sum() + 1e-3
    np.testing.assert_array_equal(found["alone"].actions, 0)
    assert found["free"].actions[:, -1, 0].min() > 0  # the joint that brightens pictures


def test_uncertainty_that_is_charged_for_is_avoided(found: dict[str, Exploit]) -> None:
    assert found["charged"].uncertainty.mean() < 0.6 * found["free"].uncertainty.mean()


def test_it_is_the_progress_gained_that_has_to_be_certain_if_the_model_knows(
    counting_world: Callable[..., Any], found: dict[str, Exploit]
) -> None:
    model = counting_world()
    model.progress_uncertainty = lambda claim: claim.actions[:, -1, 0].abs()  # the joint that brightens pictures
    charged = searched(model, replace(SMALL, uncertainty_limit=0.05))
    np.testing.assert_allclose(charged.uncertainty, np.abs(charged.actions[:, -1, 0]), atol=1e-6)
    assert charged.uncertainty.max() < 0.5 * np.abs(found["free"].actions[:, -1, 0]).min()


@pytest.mark.parametrize("more", [{"candidates": 48}, {"rounds": 4}])
def test_who_searches_more_finds_more(
    more: dict[str, int], counting_world: Callable[..., Any], found: dict[str, Exploit]
) -> None:
    """The least search is of one round of a few candidates, whose deviations are small; the optimum is far away."""
    least = replace(SMALL, candidates=6, elites=2, rounds=1, spread=5.0)
    little, much = searched(counting_world(), least), searched(counting_world(), replace(least, **more))
    assert found["alone"].imagined.sum() <= little.imagined.sum() + 1e-6 < much.imagined.sum()


def test_the_whole_dream_counts_and_not_its_first_chunk(counting_world: Callable[..., Any]) -> None:
    """A bait: what the first joint gains in a chunk is lost again, twice, in the next."""
    found = searched(Baited(counting_world()), SMALL)
    assert found.actions[0, -1, 0] < 0 < found.actions[1, -1, 0]
    assert found.imagined[0] < 0 < found.imagined.sum()


def test_the_policy_alone_is_there_to_be_taken(counting_world: Callable[..., Any]) -> None:
    model = counting_world()
    model.progress_uncertainty = lambda claim: (claim.actions != 0).any(2).any(1).float()  # of whatever is bent
    kept = searched(model, replace(SMALL, uncertainty_limit=0.05, penalty=10.0))
    np.testing.assert_array_equal(kept.actions, 0)


def test_what_is_imagined_is_dreamt_again_in_noise_that_the_search_never_saw(
    counting_world: Callable[..., Any],
) -> None:
    dreams = 16
    found = searched(counting_world(noise=5.0), replace(SMALL, fresh_dreams=dreams, rounds=0))
    certain = searched(counting_world(), replace(SMALL, rounds=0))
    errors = [abs(returned.sum() - certain.imagined.sum()) for returned in (found.imagined, found.selected)]
    assert 0 < errors[0] < 3 * 0.05 / dreams**0.5  # the mean of as many dreams
    assert errors[1] > 0
    np.testing.assert_allclose(certain.selected, certain.imagined, atol=1e-6)


def test_the_same_start_and_settings_find_the_same(counting_world: Callable[..., Any]) -> None:
    first, again = (searched(counting_world(noise=1.0), SMALL) for _ in range(2))
    np.testing.assert_array_equal(first.actions, again.actions)
    np.testing.assert_array_equal(first.imagined, again.imagined)


def test_the_truth_is_what_the_replica_gives_for_the_same_chunks(found: dict[str, Exploit]) -> None:
    replica = gymnasium.make(fake_env.SINGLE_ID, disable_env_checker=True)
    for one in found.values():
        replica.reset(seed=100_001)
        np.testing.assert_allclose(one.true, [float(replica.step(chunk)[1]) for chunk in one.actions])


def test_all_of_a_probe_is_of_one_task(counting_world: Callable[..., Any]) -> None:
    replica = gymnasium.make(fake_env.SINGLE_ID, disable_env_checker=True)
    starts, model = first_windows(replica, [100_000]), counting_world()
    with pytest.raises(UnsuitableEnv, match="policy is of 'brick_sort' and the world model of 'box_close'"):
        exploited(model, RandomAgent(BRICK_SORT), replica, starts, 0, SMALL)
    with pytest.raises(InvalidDataset, match="'box_close' were wanted"):
        exploited(model, RandomAgent(BOX_CLOSE), replica, replace(starts, task="brick_sort"), 0, SMALL)
    model.task = BRICK_SORT
    with pytest.raises(UnsuitableEnv, match="policy is of 'box_close' and the world model of 'brick_sort'"):
        exploited(model, RandomAgent(BOX_CLOSE), replica, starts, 0, SMALL)
    with pytest.raises(InvalidDataset, match="'brick_sort' were wanted"):
        exploited(model, Still(), replica, starts, 0, SMALL)


def exploit(imagined: list[float], true: list[float], uncertainty: list[float]) -> Exploit:
    actions = np.zeros((len(true), 10, 14), np.float32)
    columns = {
        "imagined": imagined,
        "selected": [2 * one for one in imagined],
        "true": true,
        "uncertainty": uncertainty,
    }
    return Exploit(actions=actions, **{name: np.array(column) for name, column in columns.items()})


def test_the_gap_is_what_is_imagined_beyond_what_is_true() -> None:
    rows = [exploit([0.1, 0.5], [0.1, 0.0], [1.0, 9.0]), exploit([0.2, 0.2], [0.1, 0.1], [1.0, 1.0])]
    whole = exploit_figures(rows)
    assert whole["gap"]["value"] == pytest.approx((0.5 + 0.2) / 2)
    assert whole["selected"]["value"] == pytest.approx(2 * whole["imagined"]["value"])  # told, but no part of the gap
    assert (whole["starts"], whole["chunks"]) == (2, 2)
    cut = exploit_figures(rows, truncate_above=5.0)
    assert cut["chunks"] == 1.5
    assert cut["gap"]["value"] == pytest.approx((0.0 + 0.2) / 2)
    assert exploit_figures(rows, truncate_above=0.5)["imagined"]["value"] == 0


def test_the_policy_alone_decides_what_is_uncertain() -> None:
    alone = [exploit([0.1], [0.1], [float(n)]) for n in range(1, 21)]
    wild = [exploit([0.9], [0.0], [50.0])] * 20
    assert 19 <= usual_uncertainty(alone) <= 20
    figures = probe_figures(alone, wild, alone)["settings_measured"]
    assert figures["adversary"]["gap"]["value"] == pytest.approx(0.9)
    assert figures["truncated when uncertain"]["gap"]["value"] == 0
    assert figures["charged for uncertainty"]["gap"]["value"] == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"candidates": 2},
        {"chunks": 0},
        {"uncertainty_limit": 0.0},
        {"fresh_dreams": 0},
        {"rounds": -1},
        {"spread": 0.0},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"wanted|above 0"):
        replace(SMALL, **wrong)
