"""What holds of a batch of dreams whatever the seeds, modes, orders and resets: rows stay apart, ends are named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st

from rise_gym.envs.vector import ImaginedVectorEnv
from rise_gym.starts import Starts

MakeEnv = Callable[..., ImaginedVectorEnv]
MODES = list(AutoresetMode)
SEEDS = st.lists(st.integers(0, 10**6), min_size=2, max_size=4, unique=True)


@pytest.fixture(scope="module")
def make(counting_world: Callable[..., Any], counting_starts: Starts) -> MakeEnv:
    """Every tick is one brighter, plus noise; done at 90 of 100."""

    def build(num_envs: int, *, noise: float = 4.0, **kwargs: Any) -> ImaginedVectorEnv:
        return ImaginedVectorEnv(num_envs, world_model=counting_world(noise), starts=counting_starts, **kwargs)

    return build


def told(info: dict[str, Any], row: int, name: str) -> Any:
    """What a row's info says, from `final_info` where the row has begun anew."""
    if "_final_info" in info and info["_final_info"][row]:
        return info["final_info"][name][row]
    return info[name][row] if name in info and info[f"_{name}"][row] else None


@given(seeds=SEEDS, mode=st.sampled_from(MODES[:2]), chunk=st.integers(1, 10), data=st.data())
@settings(deadline=None, max_examples=15)
def test_any_order_of_a_batch_dreams_the_same(
    make: MakeEnv, seeds: list[int], mode: AutoresetMode, chunk: int, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(seeds))))
    arguments: dict[str, Any] = {"autoreset_mode": mode, "chunk": chunk, "horizon_s": 2 * chunk / 10}
    straight, shuffled = make(len(seeds), **arguments), make(len(seeds), **arguments)
    random = np.random.default_rng(seeds[0])
    (seen, _), (other, _) = straight.reset(seed=seeds), shuffled.reset(seed=[seeds[row] for row in order])
    np.testing.assert_array_equal(seen["head"][order], other["head"])
    for _ in range(5):  # beyond the end of the first episode
        actions = random.uniform(-0.5, 0.5, straight.action_space.shape or ()).astype(np.float32)
        seen, *judged, _ = straight.step(actions)
        other, *judged_too, _ = shuffled.step(actions[order])
        for name, array in seen.items():
            np.testing.assert_array_equal(array[order], other[name], err_msg=name)
        for one, two in zip(judged, judged_too, strict=True):
            np.testing.assert_array_equal(one[order], two)


@given(
    mode=st.sampled_from(MODES),
    chunk=st.integers(1, 10),
    horizon_steps=st.integers(1, 6),
    starts=st.lists(st.integers(0, 7), min_size=3, max_size=3),
    seed=st.integers(0, 10**6),
)
@settings(deadline=None, max_examples=30)
def test_a_horizon_is_never_a_death(
    make: MakeEnv, mode: AutoresetMode, chunk: int, horizon_steps: int, starts: list[int], seed: int
) -> None:
    env = make(3, autoreset_mode=mode, chunk=chunk, horizon_s=horizon_steps * chunk / 10)
    env.reset(seed=seed, options={"start": starts})
    age, resting = np.zeros(3, int), np.zeros(3, bool)
    for _ in range(12):
        _, _, terminated, truncated, info = env.step(np.zeros(env.action_space.shape or (), np.float32))
        age = np.where(resting, 0, age + 1)
        assert not (terminated & truncated).any()
        assert not (resting & (terminated | truncated)).any()
        for row in np.flatnonzero(~resting):
            assert bool(told(info, row, "is_success")) is bool(terminated[row])
            assert told(info, row, "truncation") == ("horizon" if truncated[row] else "")
            assert truncated[row] == (age[row] == horizon_steps and not terminated[row])
        over = terminated | truncated
        if mode is AutoresetMode.DISABLED and over.any():
            env.reset(options={"reset_mask": over})
        resting = over if mode is AutoresetMode.NEXT_STEP else np.zeros(3, bool)
        age[over & ~resting] = 0


@given(
    seed=st.integers(0, 10**6), masks=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=4)
)
@settings(deadline=None, max_examples=20)
def test_a_partial_reset_leaves_the_other_rows_to_dream_on(make: MakeEnv, seed: int, masks: list[list[bool]]) -> None:
    """Rows that were never reset by mask dream what they dream in a batch in which nobody was."""
    kept, disturbed = (make(3, autoreset_mode=AutoresetMode.DISABLED, chunk=2) for _ in range(2))
    for env in (kept, disturbed):
        env.reset(seed=seed, options={"start": 0})
    untouched = np.ones(3, bool)
    still = np.zeros(kept.action_space.shape or (), np.float32)
    for mask in map(np.array, masks):
        if mask.any():
            disturbed.reset(options={"reset_mask": mask, "start": 1})
            untouched &= ~mask
        for _ in range(2):
            seen, reward, *_ = kept.step(still)
            other, other_reward, *_ = disturbed.step(still)
            np.testing.assert_array_equal(seen["head"][untouched], other["head"][untouched])
            np.testing.assert_array_equal(reward[untouched], other_reward[untouched])
