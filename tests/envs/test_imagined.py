"""The single imagined environment: starts, ends, information, snapshots. Every tick is one brighter, 90 is done."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rise_gym.envs.ensembling import TemporalEnsemble
from rise_gym.envs.imagined import ImaginedEnv
from rise_gym.errors import InvalidCheckpoint, InvalidDataset, InvalidStart, StepOutOfOrder
from rise_gym.starts import Starts, load_starts, save_starts
from rise_gym.tasks import BOX_CLOSE

MakeEnv = Callable[..., ImaginedEnv]
OWN: dict[str, Any] = {"frames": np.zeros((3, 64, 64, 3), np.uint8), "proprio": np.zeros(14)}
UNEVEN = {camera: np.zeros((2 + view, 64, 64, 3), np.uint8) for view, camera in enumerate(BOX_CLOSE.cameras)}


@pytest.fixture(scope="module")
def make(counting_world: Callable[..., Any], counting_starts: Starts) -> MakeEnv:
    def build(*, noise: float = 0.0, model: dict[str, Any] | None = None, **kwargs: Any) -> ImaginedEnv:
        return ImaginedEnv(world_model=counting_world(noise, **(model or {})), starts=counting_starts, **kwargs)

    return build


def still(env: ImaginedEnv) -> np.ndarray:
    return np.zeros(env.action_space.shape, np.float32)


def start_at(env: ImaginedEnv, brightness: int) -> None:
    env.reset(options={"start": brightness // 10})


def test_a_start_is_drawn_from_the_beginnings(make: MakeEnv) -> None:
    env = make()
    env.reset(seed=0)
    infos = [env.reset()[1] for _ in range(40)]
    assert {info["start_tick"] for info in infos} == {0}
    assert {info["start_seed"] for info in infos} == {100, 102, 104, 106}


def test_options_fix_the_start(make: MakeEnv) -> None:
    env = make()
    observation, info = env.reset(options={"start": 3})
    assert np.unique(observation["head"]) == [30]
    assert info == {
        "instruction": "close box 3",
        "start_seed": 103,
        "start_tick": 30,
        "score": pytest.approx(3.0),
        "is_success": False,
    }
    assert {env.reset(options={"start_kind": "mid_episode"})[1]["start_tick"] for _ in range(20)} == {30}
    assert {env.reset(options={"start_kind": "any"})[1]["start_tick"] for _ in range(40)} == {0, 30}


def test_a_start_can_be_brought_along(make: MakeEnv) -> None:
    env = make()
    frame = np.full((64, 64, 3), 42, np.uint8)
    start = {"frames": dict.fromkeys(env.task.cameras, frame), "proprio": np.full(14, 0.02)}
    observation, info = env.reset(options={"start": start})
    assert np.unique(observation["head"]) == [42]
    np.testing.assert_allclose(observation["proprio"], 0.02)
    assert info["instruction"] == env.task.instruction
    window = np.stack([np.stack([frame] * 3)] * 5)
    observation, info = env.reset(options={"start": {**start, "frames": window, "instruction": "tidy up"}})
    assert info["instruction"] == "tidy up"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 8}, "0 to 7 or a dict, got 8"),
        ({"start": -1}, "got -1"),
        ({"start": True}, "got True"),
        ({"start": {"proprio": np.zeros(14)}}, "it lacks frames"),
        ({"start": {"frames": {"head": np.zeros((64, 64, 3), np.uint8)}, "proprio": np.zeros(14)}}, "left_wrist"),
        (
            {"start": {"frames": np.zeros((7, 3, 32, 32, 3), np.uint8), "proprio": np.zeros(14)}},
            r"got uint8 \(7, 3, 32",
        ),
        ({"start": {**OWN, "proprio": np.full(14, np.nan)}}, "proprio of a start is finite"),
        ({"start": {**OWN, "proprio": "abc"}}, "numbers, rad and m, got 'abc'"),
        ({"start": {**OWN, "instruction": 3}}, "instruction of a start is text, got 3"),
        ({"start": {**OWN, "seed": "three"}}, "the seed of a start is an integer, got 'three'"),
        ({"start": {**OWN, "frames": UNEVEN}}, "as many frames of each camera"),
        ({"start": {**OWN, "instructions": "tidy up"}}, "instruction, seed, tick, got instructions"),
        ({"start_kind": "last"}, "initial, mid_episode, any, got 'last'"),
        ({"strat": 3}, "start, start_kind, got strat"),
    ],
)
def test_starts_that_do_not_exist_are_refused(make: MakeEnv, options: dict[str, Any], message: str) -> None:
    env = make()
    env.reset(seed=0)
    with pytest.raises(InvalidStart, match=message):
        env.reset(options=options)


def test_what_a_start_does_not_tell_is_the_tasks_own(make: MakeEnv) -> None:
    env = make()
    info = env.reset(options={"start": {**OWN, "instruction": None, "seed": None}})[1]
    assert (info["instruction"], info["start_seed"]) == (env.task.instruction, -1)


@pytest.mark.parametrize("seed", [2**70, 1.5, -1, "3", True])
def test_a_snapshot_is_left_alone_by_a_seed_that_is_none(make: MakeEnv, seed: Any) -> None:
    env = make()
    start_at(env, 70)
    before = env.get_state()
    start_at(env, 20)
    with pytest.raises(ValueError, match="a seed from 0 to below"):
        env.set_state(before, seed=seed)
    assert (env.get_state().frames != before.frames).any()
    env.set_state(before, seed=np.int64(3))
    ours = env.step(still(env))[0]["proprio"]
    env.set_state(before, seed=3)
    np.testing.assert_array_equal(ours, env.step(still(env))[0]["proprio"])


def test_without_windows_of_the_kind_the_error_says_so(make: MakeEnv, counting_starts: Starts) -> None:
    env = ImaginedEnv(world_model=make().world_model, starts=counting_starts.rows([0, 2]))
    with pytest.raises(InvalidStart, match="none of the 2 start windows is 'mid_episode'"):
        env.reset(options={"start_kind": "mid_episode"})


def test_success_terminates(make: MakeEnv) -> None:
    env = make()
    start_at(env, 70)
    _, reward, terminated, truncated, info = env.step(still(env))
    assert (terminated, truncated, info["is_success"]) == (False, False, False)
    assert reward == pytest.approx(0.1)
    np.testing.assert_allclose(info["progress"], np.arange(71, 81) / 100, atol=1e-6)
    assert info["score"] == pytest.approx(8.0)
    _, _, terminated, _, _ = env.step(still(env))
    assert not terminated  # the last frame is at 0.90, the two before it are not
    _, _, terminated, truncated, info = env.step(still(env))
    assert (terminated, truncated, info["is_success"], info["truncation"]) == (True, False, True, "")


def test_one_lucky_frame_is_no_success(make: MakeEnv) -> None:
    env = make(chunk=3)
    env.reset(options={"start": {"frames": np.full((1, 3, 64, 64, 3), 88, np.uint8), "proprio": np.zeros(14)}})
    assert not env.step(still(env))[2]  # 0.89, 0.90, 0.91
    assert env.step(still(env))[2]


@given(chunk=st.integers(1, 10), horizon_s=st.floats(0.1, 6.0), start=st.integers(0, 2))
@settings(deadline=None, max_examples=20)
def test_the_horizon_truncates_and_never_terminates(make: MakeEnv, chunk: int, horizon_s: float, start: int) -> None:
    env = make(chunk=chunk, horizon_s=horizon_s)
    env.reset(options={"start": start})
    ends = []
    while not ends or not any(ends[-1][:2]):
        _, _, terminated, truncated, info = env.step(still(env))
        ends.append((terminated, truncated, info["truncation"]))
    assert len(ends) == max(1, -(-round(10 * horizon_s) // chunk)) == env._max_episode_steps
    assert ends[-1] == (False, True, "horizon")


def test_success_in_the_last_step_is_a_success(make: MakeEnv) -> None:
    env = make(horizon_s=3.0)
    start_at(env, 70)
    env.step(still(env))
    env.step(still(env))
    _, _, terminated, truncated, info = env.step(still(env))
    assert (terminated, truncated, info["truncation"]) == (True, False, "")


@pytest.mark.parametrize("kwargs", [{"uncertainty_limit": 0.5}, {"model": {"uncertainty_limit": 0.5}}])
def test_too_little_trust_truncates(make: MakeEnv, kwargs: dict[str, Any]) -> None:
    env = make(**kwargs)
    start_at(env, 0)
    assert not env.step(still(env) + 0.4)[3]
    _, _, terminated, truncated, info = env.step(still(env) - 0.6)
    assert (terminated, truncated, info["truncation"]) == (False, True, "uncertainty")
    assert info["uncertainty"] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        *[({"uncertainty_limit": limit}, f"0 or more.*got {limit}") for limit in (np.nan, -0.1)],
        *[({"horizon_s": horizon_s}, f"finite, got {horizon_s}.*25") for horizon_s in (0, -5, np.nan, np.inf)],
    ],
)
def test_limits_that_would_end_all_dreams_or_none_are_refused(
    make: MakeEnv, kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(**kwargs)
    assert make(uncertainty_limit=np.inf).reset(seed=0)


def test_a_step_after_the_end_is_refused(make: MakeEnv) -> None:
    env = make(horizon_s=1.0)
    start_at(env, 0)
    env.step(still(env))
    with pytest.raises(StepOutOfOrder, match="call reset first"):
        env.step(still(env))
    env.reset()
    env.step(still(env))


def test_the_return_is_last_progress_minus_first(make: MakeEnv) -> None:
    env = make(noise=3.0)
    _, info = env.reset(seed=1, options={"start": 2})
    first, total, over = info["score"] / 10, 0.0, False
    while not over:
        _, reward, terminated, truncated, info = env.step(env.action_space.sample())
        total, over = total + reward, terminated or truncated
    assert total == pytest.approx(info["progress"][-1] - first, abs=1e-5)


def test_proprioception_never_leaves_the_space(make: MakeEnv) -> None:
    env = make()
    start_at(env, 0)
    for _ in range(8):
        observation, *_ = env.step(still(env) + 1)
        assert env.observation_space.contains(observation)


def test_every_tick_of_a_chunk_can_be_seen(make: MakeEnv) -> None:
    env = make(chunk=4)
    observation, _ = env.reset(options={"start": 1})
    assert env.chunk_frames().shape == (0, 3, 64, 64, 3)
    assert env.chunk_proprio().shape == (0, 14)
    observation, *_ = env.step(still(env))
    assert env.chunk_frames()[:, 0, 0, 0, 0].tolist() == [11, 12, 13, 14]
    np.testing.assert_array_equal(env.chunk_frames()[-1, 0], observation["head"])
    np.testing.assert_array_equal(env.chunk_proprio()[-1], observation["proprio"])


def test_a_snapshot_holds_the_draws_of_later_episodes_too(make: MakeEnv) -> None:
    env = make(noise=5.0)
    env.reset(seed=3)
    state = pickle.loads(pickle.dumps(env.get_state()))

    def future() -> list[Any]:
        first = env.step(still(env))[4]["value"].tolist()
        return [first, env.reset()[1]["start_seed"], env.step(still(env))[4]["value"].tolist()]

    once = future()
    env.set_state(state)
    assert future() == once
    env.set_state(state, seed=1)
    assert future()[0] != once[0]


def test_a_snapshot_goes_into_another_env(make: MakeEnv) -> None:
    env, other = make(noise=5.0), make(noise=5.0)
    env.reset(seed=3)
    env.step(still(env))
    observation = other.set_state(env.get_state())
    assert env.observation_space.contains(observation)
    np.testing.assert_array_equal(env.step(still(env))[0]["head"], other.step(still(other))[0]["head"])
    with pytest.raises(StepOutOfOrder, match="no state"):
        make().get_state()


def test_snapshots_of_something_else_are_refused(make: MakeEnv) -> None:
    """Those of another task may have the same shapes, and would be dreamt on without a word."""
    env = make()
    env.reset(seed=3)
    state = env.get_state()
    with pytest.raises(InvalidStart, match="of task 'box_close' was wanted, this one is of 'brick_sort'"):
        env.set_state(replace(state, task="brick_sort"))
    wrapped = TemporalEnsemble(make(chunk=5), chunk=10)
    wrapped.reset(seed=3)
    with pytest.raises(InvalidStart, match=r"get_state of this env gives it, got WrappedState; .*wrapper's own"):
        wrapped.unwrapped.set_state(wrapped.get_state())
    with pytest.raises(InvalidStart, match="get_state of TemporalEnsemble gives it was wanted, got ImaginedState"):
        wrapped.set_state(state)


@pytest.mark.parametrize("chunk", [0, 11])
def test_a_chunk_the_model_was_not_trained_for_is_refused(make: MakeEnv, chunk: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 10 ticks.*got {chunk}"):
        make(chunk=chunk)


def test_the_tiny_checkpoint_is_shared_within_a_process(tiny_kwargs: dict[str, Any]) -> None:
    one, two = ImaginedEnv(**tiny_kwargs), ImaginedEnv(**tiny_kwargs)
    assert one.world_model is two.world_model
    assert one.starts is two.starts
    assert not any(parameter.requires_grad for parameter in one.world_model.dynamics.parameters())


def test_a_changed_checkpoint_is_loaded_anew(tiny_world: Path, tmp_path: Path) -> None:
    folder = tmp_path / "world"
    shutil.copytree(tiny_world, folder)
    world = ImaginedEnv(world_model=str(folder)).world_model
    assert ImaginedEnv(world_model=folder).world_model is world
    world.save_pretrained(folder, starts=load_starts(folder / "starts.npz"))
    assert ImaginedEnv(world_model=str(folder)).world_model is not world


def test_the_id_is_found_through_the_module_name(tiny_kwargs: dict[str, Any]) -> None:
    env = gymnasium.make("rise_gym:RiseImagined-BoxClose-v0", **tiny_kwargs)
    assert isinstance(env.unwrapped, ImaginedEnv)


def test_a_first_step_in_a_fresh_process_is_quick_and_needs_no_simulator(tiny_kwargs: dict[str, Any]) -> None:
    code = f"""
import sys, time
import gymnasium, rise_gym
env = gymnasium.make("RiseImagined-BoxClose-v0", **{tiny_kwargs!r})
env.reset(seed=0)
env.step(env.action_space.sample())
print(time.process_time(), *[name for name in ("mujoco", "stable_baselines3", "av") if name in sys.modules])
"""
    broken = {**os.environ, "MUJOCO_GL": "there is no OpenGL here"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=broken)
    seconds, *heavy = done.stdout.split()
    assert heavy == []
    assert float(seconds) < 10  # of CPU: catches a blunder; the promise of 5 is a benchmark


def test_a_world_model_of_nowhere_is_refused(tmp_path: Any) -> None:
    with pytest.raises(InvalidCheckpoint, match="no folder"):
        ImaginedEnv(world_model=str(tmp_path / "nothing"))
    with pytest.raises(InvalidCheckpoint, match=r"has no rise_gym\.json"):
        ImaginedEnv(world_model=str(tmp_path))


def test_starts_of_another_task_are_refused(
    make: MakeEnv, counting_starts: Starts, tiny_kwargs: dict[str, Any], tmp_path: Path
) -> None:
    other = replace(counting_starts, task="backpack_pack")
    save_starts(other, tmp_path / "other.npz")
    for starts, said in ((other, "those given are"), (str(tmp_path / "other.npz"), r"other\.npz holds those")):
        wanted = rf"'box_close' were wanted, .*{said} of 'backpack_pack': give windows of 'box_close'"
        with pytest.raises(InvalidDataset, match=wanted):
            ImaginedEnv(world_model=make().world_model, starts=starts)
        with pytest.raises(InvalidDataset, match=wanted):
            gymnasium.make("RiseImagined-BoxClose-v0", starts=starts, **tiny_kwargs)


def test_starts_of_nowhere_are_refused(make: MakeEnv, tmp_path: Any) -> None:
    world = make().world_model
    with pytest.raises(InvalidStart, match=r"none at .*missing\.npz"):
        ImaginedEnv(world_model=world, starts=str(tmp_path / "missing.npz"))
    (tmp_path / "bad.npz").write_text("no archive")
    with pytest.raises(InvalidDataset, match="can't be read"):
        ImaginedEnv(world_model=world, starts=str(tmp_path / "bad.npz"))
