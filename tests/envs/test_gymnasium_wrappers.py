"""Gymnasium's own wrappers, single and vector, around the dream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces, wrappers
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import vector as vector_wrappers

import rise_gym

DREAM_ID = "RiseImagined-BoxClose-v0"
HORIZON_S = 2.0  # two steps
Make = Callable[..., Any]

assert DREAM_ID in rise_gym.env_ids


@pytest.fixture(scope="module")
def single(tiny_kwargs: dict[str, Any]) -> Iterator[Make]:
    """`gym.make` of the dream of the tiny world model; what it made is closed afterwards."""
    made = []

    def make(**more: Any) -> gymnasium.Env[Any, Any]:
        made.append(gymnasium.make(DREAM_ID, **{**tiny_kwargs, "horizon_s": HORIZON_S, **more}))
        return made[-1]

    yield make
    for env in made:
        env.close()


@pytest.fixture(scope="module")
def vector(tiny_kwargs: dict[str, Any]) -> Iterator[Make]:
    """`gym.make_vec` of the same."""
    made = []

    def make(num_envs: int = 2, **more: Any) -> Any:
        arguments = {**tiny_kwargs, "horizon_s": HORIZON_S, **more}
        made.append(gymnasium.make_vec(DREAM_ID, num_envs=num_envs, **arguments))
        return made[-1]

    yield make
    for env in made:
        env.close()


def played(env: gymnasium.Env[Any, Any], *, seed: int = 0) -> list[Any]:
    """One episode of random chunks: what each step returned."""
    observation, _ = env.reset(seed=seed)
    assert env.observation_space.contains(observation)
    env.action_space.seed(seed)
    steps: list[Any] = []
    while not steps or not (steps[-1][2] or steps[-1][3]):
        steps.append(env.step(env.action_space.sample()))
        assert env.observation_space.contains(steps[-1][0])
    return steps


def stepped(env: Any, count: int, *, seed: int = 0) -> list[Any]:
    """Random chunks for all rows: what each step returned."""
    observation, _ = env.reset(seed=seed)
    assert env.observation_space.contains(observation)
    env.action_space.seed(seed)
    steps = [env.step(env.action_space.sample()) for _ in range(count)]
    assert all(env.observation_space.contains(step[0]) for step in steps)
    return steps


# -- single ----------------------------------------------------------------------------------------------------------


def test_record_episode_statistics(single: Make) -> None:
    env = wrappers.RecordEpisodeStatistics(single())
    steps = played(env)
    statistics = steps[-1][4]["episode"]
    assert statistics["r"] == pytest.approx(sum(step[1] for step in steps))
    assert statistics["l"] == len(steps) == 2
    assert list(env.length_queue) == [2]


def test_flatten_observation(single: Make) -> None:
    env = wrappers.FlattenObservation(single())
    assert env.observation_space.shape == (3 * 64 * 64 * 3 + 14,)
    plain, flat = played(single())[0][0], played(env)[0][0]
    np.testing.assert_array_equal(flat, spaces.flatten(env.unwrapped.observation_space, plain))


def test_rescale_action(single: Make) -> None:
    low, high = np.float32(-2), np.float32(4)
    env = wrappers.RescaleAction(single(), low, high)
    assert (env.action_space.low.max(), env.action_space.high.min()) == (-2, 4)
    plain = single()
    seen = []
    for one, action in ((env, 1.0), (plain, 0.0)):  # the middle of both ranges
        one.reset(seed=3)
        seen.append(one.step(np.full((10, 14), action, np.float32))[0])
    for name in seen[0]:
        np.testing.assert_array_equal(seen[0][name], seen[1][name])
    played(env)


def test_time_aware_observation(single: Make) -> None:
    """It counts up to `max_episode_steps`, which `gym.make` takes beside the env's own horizon, and asks for it."""
    env = wrappers.TimeAwareObservation(single(max_episode_steps=2), flatten=False)
    assert set(env.observation_space.spaces) == {"head", "left_wrist", "right_wrist", "proprio", "time"}
    assert env.reset(seed=0)[0]["time"] == 0
    assert [int(step[0]["time"][0]) for step in played(env)] == [1, 2]
    flat = wrappers.TimeAwareObservation(single(max_episode_steps=2), normalize_time=True)
    assert flat.observation_space.shape == (3 * 64 * 64 * 3 + 14 + 1,)
    played(flat)
    with pytest.raises(ValueError, match="max_episode_steps"):
        wrappers.TimeAwareObservation(single())


def test_normalize_reward(single: Make) -> None:
    env = wrappers.NormalizeReward(single(), gamma=0.9)
    rewards = [float(step[1]) for seed in range(3) for step in played(env, seed=seed)]
    plain = [step[1] for seed in range(3) for step in played(single(), seed=seed)]
    assert np.isfinite(rewards).all()
    assert np.array_equal(np.sign(rewards), np.sign(plain))


def test_they_stack(single: Make) -> None:
    env = wrappers.RescaleAction(
        wrappers.RecordEpisodeStatistics(single(max_episode_steps=2)), np.float32(0), np.float32(1)
    )
    env = wrappers.NormalizeReward(wrappers.FlattenObservation(wrappers.TimeAwareObservation(env)))
    steps = played(env)
    assert (steps[-1][2], steps[-1][3]) == (False, True)
    assert steps[-1][4]["truncation"] == "horizon"
    assert env.spec is not None
    assert len(env.spec.additional_wrappers) == 5
    assert gymnasium.make(env.spec).observation_space == env.observation_space


def test_time_limit_cuts_off_and_is_no_death(single: Make) -> None:
    steps = played(single(max_episode_steps=1))
    assert [step[2:4] for step in steps] == [(False, True)]


# -- vector ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_vector_record_episode_statistics(vector: Make, mode: AutoresetMode) -> None:
    env = vector_wrappers.RecordEpisodeStatistics(vector(autoreset_mode=mode))
    steps = stepped(env, 5)
    ends = [number for number, step in enumerate(steps) if (step[2] | step[3]).all()]
    assert ends == ([1, 4] if mode is AutoresetMode.NEXT_STEP else [1, 3])
    first, second = (steps[number][4]["episode"] for number in ends)
    np.testing.assert_allclose(first["r"], steps[0][1] + steps[1][1])
    np.testing.assert_allclose(second["r"], steps[ends[1] - 1][1] + steps[ends[1]][1])
    assert first["l"].tolist() == second["l"].tolist() == [2, 2]


def test_vector_flatten_observation(vector: Make) -> None:
    env = vector_wrappers.FlattenObservation(vector())
    plain, flat = stepped(vector(), 3), stepped(env, 3)
    for one, other in zip(plain, flat, strict=True):
        for row in range(2):
            single_row = {name: array[row] for name, array in one[0].items()}
            expected = spaces.flatten(env.unwrapped.single_observation_space, single_row)
            np.testing.assert_array_equal(other[0][row], expected)


def test_vector_rescale_action(vector: Make) -> None:
    env = vector_wrappers.RescaleAction(vector(), np.float32(-2), np.float32(4))
    plain = vector()
    seen = []
    for one, action in ((env, 1.0), (plain, 0.0)):
        one.reset(seed=3)
        seen.append(one.step(np.full((2, 10, 14), action, np.float32))[0])
    np.testing.assert_array_equal(seen[0]["head"], seen[1]["head"])


def test_vector_normalize_reward(vector: Make) -> None:
    steps = stepped(vector_wrappers.NormalizeReward(vector(), gamma=0.9), 4)
    plain = stepped(vector(), 4)
    for normalized, step in zip(steps, plain, strict=True):
        assert np.array_equal(np.sign(normalized[1]), np.sign(step[1]))


def test_vector_dict_info_to_list(vector: Make) -> None:
    steps = stepped(vector_wrappers.DictInfoToList(vector()), 1)
    rows = steps[0][4]
    assert [row["progress"].shape for row in rows] == [(10,), (10,)]
    assert all(isinstance(row["truncation"], str) for row in rows)


def test_time_aware_rows(single: Make) -> None:
    """Gymnasium has no vector version of TimeAwareObservation: its single one goes around each row."""
    env = SyncVectorEnv([lambda: wrappers.TimeAwareObservation(single(max_episode_steps=2), flatten=False)] * 2)
    steps = stepped(env, 3)
    assert [step[0]["time"].flatten().tolist() for step in steps] == [[1, 1], [2, 2], [0, 0]]


def test_vector_wrappers_tell_no_death_from_a_horizon(vector: Make) -> None:
    env = vector_wrappers.NormalizeReward(
        vector_wrappers.RecordEpisodeStatistics(vector_wrappers.FlattenObservation(vector()))
    )
    _, _, terminated, truncated, info = stepped(env, 2)[-1]
    assert not terminated.any()
    assert truncated.all()
    assert info["truncation"].tolist() == ["horizon", "horizon"]
