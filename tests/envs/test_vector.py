"""The batched imagined environment: rows are independent, and every autoreset mode keeps episodes apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st

from rise_gym.envs.imagined import ImaginedEnv
from rise_gym.envs.vector import ImaginedVectorEnv
from rise_gym.errors import InvalidAction, InvalidDataset, InvalidStart, StepOutOfOrder
from rise_gym.starts import Starts, save_starts

MakeEnv = Callable[..., ImaginedVectorEnv]
MODES = list(AutoresetMode)


@pytest.fixture(scope="module")
def make(counting_world: Callable[..., Any], counting_starts: Starts) -> MakeEnv:
    def build(num_envs: int = 3, *, noise: float = 0.0, **kwargs: Any) -> ImaginedVectorEnv:
        return ImaginedVectorEnv(num_envs, world_model=counting_world(noise), starts=counting_starts, **kwargs)

    return build


def test_starts_of_another_task_are_refused(
    make: MakeEnv, counting_starts: Starts, tiny_kwargs: dict[str, Any], tmp_path: Path
) -> None:
    other = replace(counting_starts, task="backpack_pack")
    save_starts(other, tmp_path / "other.npz")
    for starts in (other, str(tmp_path / "other.npz")):
        with pytest.raises(InvalidDataset, match=r"'box_close' were wanted, .* of 'backpack_pack': give windows"):
            ImaginedVectorEnv(2, world_model=make().world_model, starts=starts)
        with pytest.raises(InvalidDataset, match=r"'box_close' were wanted, .* of 'backpack_pack': give windows"):
            gymnasium.make_vec("RiseImagined-BoxClose-v0", num_envs=2, starts=starts, **tiny_kwargs)


def still(env: ImaginedVectorEnv) -> np.ndarray:
    return np.zeros(env.action_space.shape, np.float32)


def test_make_vec_gives_the_native_env(tiny_kwargs: dict[str, Any]) -> None:
    for mode in MODES:
        env = gymnasium.make_vec("RiseImagined-BoxClose-v0", num_envs=2, autoreset_mode=mode, **tiny_kwargs)
        assert isinstance(env, ImaginedVectorEnv)
        assert env.metadata["autoreset_mode"] is mode
        observation, info = env.reset(seed=0)
        assert env.observation_space.contains(observation)
        assert info["_instruction"].all()
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert env.observation_space.contains(observation)
        assert (reward.shape, terminated.dtype, truncated.dtype) == ((2,), np.bool_, np.bool_)
        env.close()
        env.close()
    assert ImaginedVectorEnv.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP


@given(rows=st.integers(1, 4), seed=st.integers(0, 10**6), chunk=st.integers(1, 10))
@settings(deadline=None, max_examples=10)
def test_each_row_dreams_what_a_single_env_dreams(make: MakeEnv, rows: int, seed: int, chunk: int) -> None:
    vector = make(rows, noise=4.0, chunk=chunk, horizon_s=2 * chunk / 10, autoreset_mode="SameStep")
    singles = [
        ImaginedEnv(world_model=vector.world_model, starts=vector.starts, chunk=chunk, horizon_s=2 * chunk / 10)
        for _ in range(rows)
    ]
    seen, _ = vector.reset(seed=seed)
    for row, single in enumerate(singles):
        np.testing.assert_array_equal(seen["head"][row], single.reset(seed=seed + row)[0]["head"])
    vector.action_space.seed(seed)
    for _ in range(5):
        actions = vector.action_space.sample()
        seen, reward, terminated, truncated, info = vector.step(actions)
        for row, single in enumerate(singles):
            alone, gained, done, cut, alone_info = single.step(actions[row])
            assert (bool(terminated[row]), bool(truncated[row])) == (done, cut)
            assert reward[row] == pytest.approx(gained, abs=1e-5)
            if done or cut:
                np.testing.assert_array_equal(info["final_obs"][row]["head"], alone["head"])
                assert info["final_info"]["truncation"][row] == alone_info["truncation"]
                alone, alone_info = single.reset()
                assert info["start_seed"][row] == alone_info["start_seed"]
            np.testing.assert_array_equal(seen["head"][row], alone["head"])
            np.testing.assert_allclose(seen["proprio"][row], alone["proprio"], atol=1e-5)


def test_rows_of_the_real_classes_do_not_depend_on_the_batch(tiny_kwargs: dict[str, Any]) -> None:
    """Tolerance, for batched matrix products are not bit-equal."""
    kwargs = {**tiny_kwargs, "horizon_s": 3.0}
    many, one = ImaginedVectorEnv(3, **kwargs), ImaginedVectorEnv(1, **kwargs)
    many.reset(seed=[4, 5, 6])
    one.reset(seed=[5])
    actions = many.action_space.sample()
    for _ in range(2):
        together, reward, *_, info = many.step(actions)
        alone, alone_reward, *_, alone_info = one.step(actions[1:2])
        np.testing.assert_allclose(together["head"][1].astype(int), alone["head"][0].astype(int), atol=2)
        np.testing.assert_allclose(together["proprio"][1], alone["proprio"][0], atol=1e-3)
        np.testing.assert_allclose(info["value"][1], alone_info["value"][0], atol=1e-3)
        assert reward[1] == pytest.approx(alone_reward[0], abs=1e-3)


@given(mode=st.sampled_from(MODES), data=st.data())
@settings(deadline=None, max_examples=20)
def test_no_history_joins_two_episodes(make: MakeEnv, mode: AutoresetMode, data: st.DataObject) -> None:
    """Each tick is one brighter than the one before, so a history that joins two episodes shows itself."""
    env = make(3, autoreset_mode=mode, chunk=data.draw(st.integers(1, 4)), horizon_s=1.0)
    env.reset(
        seed=data.draw(st.integers(0, 99)),
        options={"start": data.draw(st.lists(st.integers(0, 7), min_size=3, max_size=3))},
    )
    dynamics: Any = env.world_model.dynamics
    for _ in range(12):
        _, _, terminated, truncated, _ = env.step(still(env))
        steps = np.diff(dynamics.history.numpy(), axis=1)
        assert np.all((steps >= 0) & (steps <= 2)), dynamics.history
        over = terminated | truncated
        if mode is AutoresetMode.DISABLED and over.any():
            env.reset(options={"reset_mask": over})


def test_next_step_spends_a_step_on_the_reset(make: MakeEnv) -> None:
    env = make(2, horizon_s=2.0)
    env.reset(seed=0, options={"start": [0, 7]})
    env.step(still(env))
    seen, _, terminated, truncated, info = env.step(still(env))
    assert truncated.tolist() == [True, True]
    assert info["truncation"].tolist() == ["horizon", "horizon"]
    seen, reward, terminated, truncated, info = env.step(still(env))
    assert reward.tolist() == [0, 0]
    assert not (terminated | truncated).any()
    assert info["_start_seed"].all()
    assert "progress" not in info
    assert set(np.unique(seen["head"])) <= {0, 20, 40, 60}


def test_next_step_resets_only_the_row_that_ended(make: MakeEnv) -> None:
    env = make(2)
    env.reset(seed=0, options={"start": [0, 7]})
    for _ in range(3):
        _, _, terminated, _, _ = env.step(still(env))
    assert terminated.tolist() == [False, True]
    seen, _, _, _, info = env.step(still(env))
    assert info["_progress"].tolist() == [True, False]
    assert info["_start_seed"].tolist() == [False, True]
    assert seen["head"][0].max() == 40


def test_same_step_keeps_the_last_observation(make: MakeEnv) -> None:
    env = make(2, autoreset_mode="SameStep")
    env.reset(seed=0, options={"start": [0, 7]})
    for _ in range(3):
        seen, _, terminated, _, info = env.step(still(env))
    assert terminated.tolist() == [False, True]
    assert info["_final_obs"].tolist() == [False, True]
    assert info["final_obs"][1]["head"].max() == 100
    assert info["final_info"]["is_success"].tolist() == [False, True]
    assert seen["head"][1].max() in {0, 20, 40, 60}
    assert info["_progress"].tolist() == [True, False]


def test_disabled_wants_a_reset_by_hand(make: MakeEnv) -> None:
    env = make(2, autoreset_mode="Disabled", horizon_s=2.0)
    env.reset(seed=0, options={"start": [0, 7]})
    env.step(still(env))
    env.step(still(env))
    with pytest.raises(StepOutOfOrder, match=r"\[0, 1\]"):
        env.step(still(env))
    with pytest.raises(ValueError, match="bool array"):
        env.reset(options={"reset_mask": np.array([0, 1])})
    seen, info = env.reset(options={"reset_mask": np.array([False, True]), "start": 3})
    assert info["_start_seed"].tolist() == [False, True]
    assert [seen["head"][row].max() for row in range(2)] == [20, 30]
    with pytest.raises(StepOutOfOrder, match=r"\[0\]"):
        env.step(still(env))


def test_the_first_reset_is_of_all_rows(make: MakeEnv) -> None:
    env = make(2)
    with pytest.raises(StepOutOfOrder, match="reset"):
        env.step(still(env))
    with pytest.raises(StepOutOfOrder, match="all 2"):
        env.reset(options={"reset_mask": np.array([True, False])})


def test_counters_are_per_row(make: MakeEnv) -> None:
    env = make(2, autoreset_mode="Disabled", max_episode_steps=3)
    env.reset(seed=0, options={"start": 0})
    env.step(still(env))
    env.step(still(env))
    env.reset(options={"reset_mask": np.array([True, False]), "start": 0})
    _, _, _, truncated, _ = env.step(still(env))
    assert truncated.tolist() == [False, True]


@pytest.mark.parametrize("spoil", [lambda a: a[:1], lambda a: a + np.nan, lambda a: a + 2])
def test_bad_actions_are_refused(make: MakeEnv, spoil: Callable[[np.ndarray], np.ndarray]) -> None:
    env = make(2)
    env.reset(seed=0)
    with pytest.raises(InvalidAction):
        env.step(spoil(still(env)))


def test_bad_resets_are_refused(make: MakeEnv) -> None:
    env = make(2)
    with pytest.raises(ValueError, match="one seed a row"):
        env.reset(seed=[1, 2, 3])
    with pytest.raises(ValueError, match="one start a row"):
        env.reset(options={"start": [1]})
    with pytest.raises(InvalidStart, match="got 99"):
        env.reset(options={"start": [1, 99]})
    with pytest.raises(ValueError, match="at least 1"):
        make(0)
    with pytest.raises(ValueError, match="max_episode_steps must be at least 1, got 0"):
        make(2, max_episode_steps=0)


def test_arrays_are_not_shared_between_calls(make: MakeEnv) -> None:
    env = make(2)
    seen, _ = env.reset(seed=0)
    kept = seen["head"].copy()
    later, *_ = env.step(still(env))
    np.testing.assert_array_equal(seen["head"], kept)
    assert not any(np.shares_memory(seen[name], later[name]) for name in seen)


def test_snapshots_of_all_rows(make: MakeEnv) -> None:
    env = make(2, noise=4.0, autoreset_mode="SameStep", horizon_s=2.0)
    env.reset(seed=0)
    state = env.get_state()
    once = [env.step(still(env))[0]["head"] for _ in range(3)]
    env.set_state(state)
    for wanted in once:
        np.testing.assert_array_equal(env.step(still(env))[0]["head"], wanted)
    with pytest.raises(InvalidStart, match="snapshot of 3"):
        make(3).set_state(state)


@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=5)
def test_chunks_are_judged_as_a_step_would_and_nothing_moves(tiny_kwargs: dict[str, Any], seed: int) -> None:
    env = ImaginedVectorEnv(3, **tiny_kwargs)
    single = ImaginedEnv(**tiny_kwargs)
    env.reset(seed=seed)
    single.reset(seed=seed)
    for step in range(2):
        chunks = np.random.default_rng(seed + step).uniform(-1, 1, env.action_space.shape).astype(np.float32)
        judged = [env.advantages_of(chunks), env.advantages_of(chunks[::-1].copy()), env.advantages_of(chunks)]
        np.testing.assert_array_equal(judged[0], judged[2])
        assert judged[0].dtype == np.float32
        np.testing.assert_allclose(single.advantage_of(chunks[0]), judged[0][0], atol=1e-5)
        np.testing.assert_array_equal(env.step(chunks)[4]["advantage"], judged[0])
        assert single.advantage_of(chunks[0]) == single.step(chunks[0])[4]["advantage"]


def test_nothing_is_judged_before_a_dream_begins_or_after_its_end(make: MakeEnv) -> None:
    env = make(autoreset_mode="Disabled", horizon_s=1.0)
    with pytest.raises(StepOutOfOrder, match="call reset first"):
        env.advantages_of(still(env))
    env.reset(seed=0)
    with pytest.raises(InvalidAction):
        env.advantages_of(still(env)[:, :4])
    env.step(still(env))
    with pytest.raises(StepOutOfOrder, match="has ended"):
        env.advantages_of(still(env))


def test_rows_begin_anew_from_windows_of_the_kind_that_was_asked_for(make: MakeEnv) -> None:
    env = make(start_kind="mid_episode", horizon_s=1.0, autoreset_mode="SameStep")
    assert set(env.reset(seed=0)[1]["start_tick"]) == {30}
    assert set(env.step(still(env))[4]["start_tick"]) == {30}
    assert set(env.reset(options={"start_kind": "initial"})[1]["start_tick"]) == {0}
    with pytest.raises(InvalidStart, match="initial, mid_episode, any, got 'late'"):
        make(start_kind="late")


def test_what_lerobot_and_adapters_ask_for(make: MakeEnv) -> None:
    env = make(2, render_mode="rgb_array", chunk=5)
    env.reset(seed=0)
    assert env.call("task_description") == (env.task.instruction,) * 2
    assert env.get_attr("_max_episode_steps") == (50, 50)
    assert env.get_attr("action_space") == (env.single_action_space,) * 2
    assert env.get_attr("observation_space") == (env.single_observation_space,) * 2
    assert len({id(generator) for generator in env.get_attr("np_random")}) == 2
    assert [image.shape for image in env.call("render")] == [(64, 192, 3)] * 2
    assert env.get_attr("render_mode") == ("rgb_array",) * 2
    env.step(still(env))
    assert {row: frames.shape for row, frames in env.chunk_frames().items()} == {
        0: (5, 3, 64, 64, 3),
        1: (5, 3, 64, 64, 3),
    }


def test_a_step_that_only_begins_anew_has_no_chunk(make: MakeEnv) -> None:
    env = make(2, horizon_s=1.0, autoreset_mode="NextStep")
    env.reset(seed=0)
    _, _, _, truncated, _ = env.step(still(env))
    assert truncated.all()
    assert set(env.chunk_frames()) == set(env.chunk_proprio()) == {0, 1}
    env.step(still(env))
    assert env.chunk_frames() == env.chunk_proprio() == {}


def test_gymnasium_vector_wrappers_fit(make: MakeEnv) -> None:
    env = gymnasium.wrappers.vector.RecordEpisodeStatistics(make(2, horizon_s=2.0))
    env.reset(seed=0, options={"start": 0})
    env.step(still(env.unwrapped))
    *_, info = env.step(still(env.unwrapped))
    np.testing.assert_allclose(info["episode"]["r"], 0.2, atol=1e-6)
