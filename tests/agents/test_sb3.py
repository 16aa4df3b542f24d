"""Stable-Baselines3 learns in batched dreams; what it is told about ends is what Gymnasium's own vector env tells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_env
import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import FilterObservation
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecExtractDictObs, VecMonitor

import rise_gym
from rise_gym.agents.sb3 import BatchedVecEnv, UnsuitableEnv, make_sb3_env
from rise_gym.envs.wrappers import LeRobotObservation
from rise_gym.errors import InvalidStart

ID = "RiseImagined-BoxClose-v0"
FEW = {"n_steps": 4, "batch_size": 6, "n_epochs": 1, "seed": 0}


@pytest.fixture
def dreams(imagined_kwargs: dict[str, Any]) -> Iterator[BatchedVecEnv]:
    envs = make_sb3_env(ID, 3, seed=5, max_episode_steps=2, chunk=2, **imagined_kwargs)
    yield envs
    envs.close()


def test_it_is_a_public_name_that_loads_lazily() -> None:
    assert rise_gym.make_sb3_env is make_sb3_env


def test_it_gives_what_the_vector_env_gives(dreams: BatchedVecEnv, imagined_kwargs: dict[str, Any]) -> None:
    arguments = {"autoreset_mode": AutoresetMode.SAME_STEP, "max_episode_steps": 2, "chunk": 2, **imagined_kwargs}
    twin = gymnasium.make_vec(ID, num_envs=3, **arguments)
    ours, (theirs, _) = dreams.reset(), twin.reset(seed=5)
    random = np.random.default_rng(0)
    for step in range(1, 4):
        for name in theirs:
            np.testing.assert_array_equal(ours[name], theirs[name])
        actions = random.uniform(-0.5, 0.5, (3, 2, 14)).astype(np.float32)
        ours, reward, done, infos = dreams.step(actions)
        theirs, true_reward, terminated, truncated, info = twin.step(actions)
        assert reward.dtype == np.float32
        np.testing.assert_allclose(reward, true_reward, rtol=1e-6)
        np.testing.assert_array_equal(done, terminated | truncated)
        assert [row["TimeLimit.truncated"] for row in infos] == (truncated & ~terminated).tolist()
        for row in np.flatnonzero(done):
            last = infos[row]["terminal_observation"]
            assert all(np.array_equal(last[name], info["final_obs"][row][name]) for name in last)
            assert dreams.reset_infos[row]["instruction"] == dreams.get_attr("task_description")[row]
            assert {"progress", "advantage", "score", "is_success"} <= infos[row].keys()
        assert step != 2 or done.all()
    twin.close()


def test_seeds_and_options_count_for_one_reset(dreams: BatchedVecEnv) -> None:
    first, second = dreams.reset(), dreams.reset()
    dreams.seed(5)
    again = dreams.reset()
    assert all(np.array_equal(first[name], again[name]) for name in first)
    dreams.set_options({"start": 0})
    dreams.reset()
    assert len({info["start_seed"] for info in dreams.reset_infos}) == 1
    assert second.keys() == first.keys()
    dreams.set_options({"start": 99})
    with pytest.raises(InvalidStart, match="got 99"):
        dreams.reset()
    dreams.reset()  # what was refused is forgotten


def test_ppo_trains_saves_loads_and_is_evaluated(dreams: BatchedVecEnv, tmp_path: Path) -> None:
    model = PPO("MultiInputPolicy", VecMonitor(dreams), **FEW)
    model.learn(24)
    assert model.ep_info_buffer is not None
    assert {info["l"] for info in model.ep_info_buffer} == {2}
    model.save(tmp_path / "ppo")
    loaded = PPO.load(tmp_path / "ppo", env=dreams)
    observation = dreams.reset()
    np.testing.assert_array_equal(
        model.predict(observation, deterministic=True)[0], loaded.predict(observation, deterministic=True)[0]
    )
    mean, _ = evaluate_policy(loaded, dreams, n_eval_episodes=3, warn=False)
    assert np.isfinite(mean)


def test_sac_trains(dreams: BatchedVecEnv) -> None:
    model = SAC("MultiInputPolicy", dreams, buffer_size=50, learning_starts=3, batch_size=4, seed=0)
    model.learn(9)
    assert model.num_timesteps == 9


def test_envs_without_a_batched_one_run_one_after_the_other() -> None:
    envs = make_sb3_env(fake_env.SINGLE_ID, 2, seed=0)
    envs.reset()
    actions = np.ones((2, *envs.action_space.shape), np.float32)
    while True:
        _, _, done, infos = envs.step(actions)
        if done.all():
            break
    assert all("terminal_observation" in info for info in infos)
    envs.close()


def test_attributes_are_found_in_rows_and_through_wrappers(dreams: BatchedVecEnv) -> None:
    single = make_sb3_env(fake_env.SINGLE_ID, 2, seed=0, chunk=5)
    assert single.get_attr("chunk") == [5, 5]
    assert single.get_attr("chunk", indices=[1]) == [5]
    single.reset()
    assert len(single.env_method("measured_progress", indices=[1])) == 1
    assert len(single.env_method("get_state")) == 2
    single.set_attr("colour", "red")
    assert [row.colour for row in single.envs.envs] == ["red", "red"]
    with pytest.raises(AttributeError):
        single.env_method("nothing_of_the_kind")
    single.set_attr("colour", "blue", indices=[1])
    assert [row.colour for row in single.envs.envs] == ["red", "blue"]
    single.step(np.stack([single.action_space.sample() for _ in range(2)]))
    single.env_method("reset", indices=[0])
    assert [row.unwrapped.tick for row in single.envs.envs] == [0, 5]
    with pytest.raises(ValueError, match="all rows share colour"):
        dreams.set_attr("colour", "blue", indices=[1])
    wrapped = BatchedVecEnv(gymnasium.wrappers.vector.RecordEpisodeStatistics(dreams.envs))
    assert [task.name for task in wrapped.get_attr("task")] == ["box_close"] * 3
    for envs in (single, wrapped):
        with pytest.raises(AttributeError):
            envs.get_attr("nothing_of_the_kind")


def test_rows_have_their_own_spaces_and_wrappers(dreams: BatchedVecEnv) -> None:
    single = make_sb3_env(fake_env.SINGLE_ID, 2, seed=0, chunk=5, wrappers=[Monitor])
    for envs in (single, dreams):
        assert envs.get_attr("action_space") == [envs.action_space] * envs.num_envs
        assert envs.get_attr("observation_space") == [envs.observation_space] * envs.num_envs
    assert single.env_is_wrapped(Monitor) == [True, True]
    assert not any(dreams.env_is_wrapped(Monitor))


def test_what_sb3_would_refuse_is_told_before(imagined_kwargs: dict[str, Any]) -> None:
    for name in (ID, fake_env.SINGLE_ID):
        with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
            make_sb3_env(name, 0, **(imagined_kwargs if name == ID else {}))
    with pytest.raises(UnsuitableEnv, match="SAME_STEP"):
        BatchedVecEnv(gymnasium.make_vec(ID, num_envs=1, **imagined_kwargs))


def only_proprio(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    return FilterObservation(env, ["proprio"])


def test_wrappers_of_single_envs_are_refused_around_a_batch(tiny_kwargs: dict[str, Any]) -> None:
    for wrapper, name in ((LeRobotObservation, "LeRobotObservation"), (only_proprio, "only_proprio")):
        with pytest.raises(UnsuitableEnv, match=rf"all rows in one call.*got {name}: .*VecEnvWrapper.*one by one"):
            make_sb3_env(ID, 2, seed=0, wrappers=[wrapper], **tiny_kwargs)
    make_sb3_env(ID, 2, seed=0, wrappers=[], **tiny_kwargs).close()


def test_what_is_told_instead_of_wrappers_works(tiny_kwargs: dict[str, Any]) -> None:
    made = gymnasium.make_vec(
        ID, num_envs=2, vectorization_mode="sync", wrappers=[only_proprio],
        vector_kwargs={"autoreset_mode": "SameStep"}, horizon_s=1.0, **tiny_kwargs,
    )  # fmt: skip
    one_by_one = BatchedVecEnv(made)
    one_by_one.seed(0)
    batched = VecExtractDictObs(make_sb3_env(ID, 2, seed=0, **tiny_kwargs), "proprio")
    seen: Any = one_by_one.reset()
    np.testing.assert_array_equal(seen["proprio"], batched.reset())
    _, _, done, infos = one_by_one.step(np.zeros((2, 10, 14), np.float32))
    assert done.all()
    assert infos[0]["terminal_observation"].keys() == {"proprio"}
    for envs in (one_by_one, batched):
        envs.close()


def test_envs_that_are_refused_are_closed() -> None:
    closed: list[bool] = []

    class Told(LeRobotObservation):
        def close(self) -> None:
            closed.append(True)
            super().close()

    with pytest.raises(UnsuitableEnv, match=r"pixels is nested.*leave out the wrapper"):
        make_sb3_env(fake_env.SINGLE_ID, 2, seed=0, wrappers=[Told])
    assert closed == [True, True]


def test_nested_observations_are_refused(imagined_kwargs: dict[str, Any]) -> None:
    def nested() -> gymnasium.Env[Any, Any]:
        return LeRobotObservation(gymnasium.make(ID, **imagined_kwargs))

    envs = gymnasium.vector.SyncVectorEnv([nested], autoreset_mode=AutoresetMode.SAME_STEP)
    with pytest.raises(UnsuitableEnv, match="pixels"):
        BatchedVecEnv(envs)
    envs.close()
