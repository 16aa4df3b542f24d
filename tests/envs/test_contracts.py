"""One suite over every registered id: what Gymnasium, Stable-Baselines3 and the design ask of an environment."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_sb3_env

import rise_gym
from rise_gym.errors import InvalidAction, InvalidStart, RenderingUnavailable, StepOutOfOrder
from rise_gym.spaces import action_space, observation_space

Make = Callable[..., gymnasium.Env[Any, Any]]
IDS = [
    name for name in rise_gym.env_ids if "Real" not in name
]  # a robot has to be there; its contract has its own tests


@pytest.fixture(params=IDS)
def make(request: pytest.FixtureRequest, imagined_kwargs_of: Callable[[str], dict[str, Any]]) -> Iterator[Make]:
    """`gym.make` of one registered id; what it made is closed afterwards."""
    task = gymnasium.spec(request.param).kwargs["task"]
    kwargs = imagined_kwargs_of(task) if "Imagined" in request.param else {}
    made: list[gymnasium.Env[Any, Any]] = []

    def make_one(**more: Any) -> gymnasium.Env[Any, Any]:
        try:
            env = gymnasium.make(request.param, **{**kwargs, **more})
        except RenderingUnavailable as error:
            pytest.skip(f"no OpenGL here: {error}")
        made.append(env)
        return env

    yield make_one
    for env in made:
        env.close()


def equal(left: Any, right: Any) -> bool:
    """Deep equality of observations and infos."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    return bool(np.array_equal(left, right))


def test_gymnasium_checker(make: Make) -> None:
    check_env(make().unwrapped)


def test_stable_baselines3_checker(make: Make) -> None:
    check_sb3_env(make().unwrapped)


def test_spaces_are_those_of_the_task(make: Make) -> None:
    env = make()
    task = env.unwrapped.task  # type: ignore[attr-defined]
    assert task == rise_gym.task_card(task.name)
    assert env.observation_space == observation_space(task)
    assert env.action_space == action_space(task, task.chunk)
    assert make(chunk=3).action_space == action_space(task, 3)


def test_same_seed_and_actions_same_episode(make: Make) -> None:
    env = make()
    episodes = []
    for seed in (7, 7, 8):
        env.action_space.seed(3)
        steps: list[Any] = [env.reset(seed=seed)]
        for _ in range(2):
            steps.append(env.step(env.action_space.sample()))
        episodes.append(steps)
    first, again, other = episodes
    for step, repeated in zip(first, again, strict=True):
        for part, repeated_part in zip(step, repeated, strict=True):
            assert equal(part, repeated_part)
    assert not all(equal(left[0], right[0]) for left, right in zip(first, other, strict=True))


def test_nothing_returned_is_shared_between_calls(make: Make) -> None:
    env = make()
    action = np.zeros(env.action_space.shape, np.float32)
    results = [env.reset(seed=0), env.step(action), env.step(action)]
    kept = pickle.loads(pickle.dumps(results))
    for result in results:
        for array in result[0].values():
            array[...] = 0
    env.step(action)
    observation, *_ = env.step(action)
    fresh = make()
    fresh.reset(seed=0)
    for _ in range(4):
        expected, *_ = fresh.step(action)
    assert equal(observation, expected)
    assert not equal(kept[0][0], results[0][0])


def test_actions_are_not_edited(make: Make) -> None:
    env = make()
    env.reset(seed=0)
    action = env.action_space.sample()
    kept = action.copy()
    env.step(action)
    np.testing.assert_array_equal(action, kept)


def test_spec_is_plain_data(make: Make) -> None:
    spec = make().spec
    assert spec is not None
    assert gymnasium.envs.registration.EnvSpec.from_json(spec.to_json()).id == spec.id
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_closing_twice_is_allowed(make: Make) -> None:
    env = make()
    env.reset(seed=0)
    env.close()
    env.close()


def test_rendering_shows_the_cameras_side_by_side(make: Make) -> None:
    env = make(render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    task = env.unwrapped.task  # type: ignore[attr-defined]
    image: Any = env.render()
    np.testing.assert_array_equal(image, np.concatenate([observation[camera] for camera in task.cameras], axis=1))


def test_info_says_what_the_design_promises(make: Make) -> None:
    env = make()
    _, info = env.reset(seed=0)
    assert info["instruction"] == env.unwrapped.task.instruction  # type: ignore[attr-defined]
    assert info["is_success"] is False
    _, reward, _, _, info = env.step(env.action_space.sample())
    assert {"progress", "score", "is_success"} <= info.keys()
    assert 0 <= info["score"] <= 10
    assert np.all((info["progress"] >= 0) & (info["progress"] <= 1))
    assert np.isfinite(reward)


def test_attributes_that_lerobot_reads(make: Make) -> None:
    env: Any = make().unwrapped
    assert env.task_description == env.task.instruction
    assert env._max_episode_steps == env.task.horizon_steps(env.task.chunk)


def test_a_step_before_reset_is_refused(make: Make) -> None:
    env = make().unwrapped
    with pytest.raises(StepOutOfOrder, match="reset"):
        env.step(env.action_space.sample())


@pytest.mark.parametrize("spoil", ["shape", "nan", "range", "text"])
def test_bad_actions_are_refused_and_change_nothing(make: Make, spoil: str) -> None:
    env = make().unwrapped
    shape = env.action_space.shape or ()
    good = np.zeros(shape, np.float32)
    bad: Any = {
        "shape": np.zeros((shape[0] + 1, shape[1]), np.float32),
        "nan": np.where(np.arange(shape[1]) == 3, np.nan, good),
        "range": good + 1.01,
        "text": "forward",
    }[spoil]
    env.reset(seed=0)
    with pytest.raises(InvalidAction):
        env.step(bad)
    after = env.step(good)
    env.reset(seed=0)
    assert all(equal(left, right) for left, right in zip(after, env.step(good), strict=True))


def test_unknown_reset_options_are_refused(make: Make) -> None:
    env = make()
    with pytest.raises(InvalidStart, match="tea"):
        env.reset(options={"tea": 3})
    env.reset(seed=0, options={})


@pytest.mark.parametrize("chunk", [0, -1])
def test_a_chunk_of_no_ticks_is_refused(make: Make, chunk: int) -> None:
    with pytest.raises(ValueError, match=f"chunk must be 1 .*got {chunk}"):
        make(chunk=chunk)


def test_snapshots_branch(make: Make) -> None:
    env: Any = make().unwrapped
    with pytest.raises(StepOutOfOrder, match="reset"):
        env.get_state()
    env.reset(seed=0)
    env.step(np.zeros(env.action_space.shape, np.float32))
    state = env.get_state()
    action = env.action_space.sample()
    once = env.step(action)
    env.step(-action)
    env.set_state(state)
    assert all(equal(left, right) for left, right in zip(once, env.step(action), strict=True))
    with pytest.raises(InvalidStart, match=r"snapshot.*got.*dict"):
        env.set_state({})
