"""Other chunk lengths, other rates, overlapping plans: what is commanded, what it earns, and what is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from fake_env import HORIZON_TICKS, FakeEnv
from gymnasium.vector import SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from rise_gym.envs.ensembling import TemporalEnsemble, averaged, cross_faded
from rise_gym.envs.imagined import ImaginedEnv
from rise_gym.envs.rates import ImpossibleRate, ResampledControl, VectorResampledControl, resampled
from rise_gym.envs.vector import ImaginedVectorEnv
from rise_gym.envs.wrappers import LeRobotObservation, RecordEpisodes
from rise_gym.errors import InvalidAction
from rise_gym.starts import Starts
from rise_gym.types import Episode

BLENDS = ["cross_fade", "exponential", "replace"]
MakeDream = Callable[..., ImaginedEnv]


@pytest.fixture(scope="module")
def dream(counting_world: Callable[..., Any], counting_starts: Starts) -> MakeDream:
    """Every tick is one brighter, and brightness 100 is all of the progress."""

    def build(chunk: int = 10, noise: float = 0.0, **kwargs: Any) -> ImaginedEnv:
        return ImaginedEnv(world_model=counting_world(noise), starts=counting_starts, chunk=chunk, **kwargs)

    return build


def path(ticks: int, seed: int = 0, size: int = 14) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (ticks, size)).astype(np.float32)


# -- resampling ------------------------------------------------------------------------------------------------------


def test_what_is_commanded() -> None:
    targets = np.array([[0.1], [0.2], [0.3], [0.4]], np.float32)
    np.testing.assert_allclose(resampled(targets, 2)[:, 0], [0.2, 0.4])
    np.testing.assert_allclose(resampled(targets, 8)[:, 0], np.repeat([0.1, 0.2, 0.3, 0.4], 2))
    np.testing.assert_allclose(resampled(targets, 3)[:, 0], [0.2, 0.3, 0.4])
    previous = np.zeros(1, np.float32)
    straight = resampled(targets, 8, between="linear", previous=previous)[:, 0]
    np.testing.assert_allclose(straight, np.arange(1, 9) * 0.05, atol=1e-6)
    np.testing.assert_allclose(resampled(targets, 3, between="linear", previous=previous)[:, 0], [4 / 30, 8 / 30, 0.4])


@given(
    count=st.integers(1, 12),
    ticks=st.integers(1, 40),
    between=st.sampled_from(["hold", "linear"]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_resampling_keeps_what_it_must(count: int, ticks: int, between: Any, seed: int) -> None:
    targets, previous = path(count, seed), path(1, seed + 1)[0]
    found = resampled(targets, ticks, between=between, previous=previous)
    assert found.shape == (ticks, 14)
    assert found.dtype == np.float32
    assert np.abs(found).max() <= 1
    np.testing.assert_array_equal(found[-1], targets[-1])  # the chunk ends where the agent wanted it to
    np.testing.assert_allclose(resampled(targets, count, between=between, previous=previous), targets, atol=1e-6)
    several = resampled(np.repeat(targets, ticks, axis=0), count, between=between, previous=previous)
    np.testing.assert_allclose(several, targets, atol=1e-6)  # every n-th of n times as many
    batch = resampled(np.stack([targets, -targets]), ticks, between=between, previous=np.stack([previous, -previous]))
    np.testing.assert_allclose(batch, np.stack([found, -found]), atol=1e-6)


@pytest.mark.parametrize("between", ["hold", "linear"])
def test_a_faster_agent_is_thinned_out(between: Any) -> None:
    env = ResampledControl(FakeEnv(), control_hz=30, between=between)
    assert (env.chunk, env.ticks, env.action_space.shape) == (30, 10, (30, 14))
    _, reset_info = env.reset(seed=0)
    targets = path(30)
    *_, info = env.step(targets)
    np.testing.assert_allclose(info["executed_actions"], targets[2::3], atol=1e-6)
    assert info["resampling"] == reset_info["resampling"] == env.resampling
    assert "30 targets at 30 Hz, one in 3 commanded, as 10 ticks at 10 Hz; 1 step of 10 ticks" in env.resampling


def test_a_slower_agent_is_held_or_joined_by_straight_lines() -> None:
    held = ResampledControl(FakeEnv(), chunk=5, control_hz=5)
    held.reset(seed=0)
    targets = path(5)
    np.testing.assert_array_equal(held.step(targets)[4]["executed_actions"], np.repeat(targets, 2, axis=0))
    straight = ResampledControl(FakeEnv(), chunk=5, control_hz=5, between="linear")
    observation, _ = straight.reset(seed=0)
    first = straight.step(targets)[4]["executed_actions"]
    here = straight.unwrapped.task.scale_action(observation["proprio"]).clip(-1, 1)  # type: ignore[attr-defined]
    np.testing.assert_allclose(first[1::2], targets, atol=1e-6)
    np.testing.assert_allclose(first[0], (here + targets[0]) / 2, atol=1e-6)
    again = straight.step(-targets)[4]["executed_actions"]
    np.testing.assert_allclose(again[0], (targets[-1] - targets[0]) / 2, atol=1e-6)


@given(chunk=st.sampled_from([1, 2, 5, 10]), several=st.integers(1, 3), start=st.integers(0, 2))
@settings(deadline=None, max_examples=15)
def test_a_return_does_not_depend_on_how_ticks_are_grouped(
    dream: MakeDream, chunk: int, several: int, start: int
) -> None:
    plain, grouped = dream(10), ResampledControl(dream(chunk), chunk=10 * several)
    returns = []
    for env, ticks in ((plain, 10), (grouped, 10 * several)):
        _, info = env.reset(seed=0, options={"start": start})
        begun, progress, total = info["score"] / 10, [], 0.0
        for _ in range(60 // ticks):
            _, reward, *_, info = env.step(np.zeros(env.action_space.shape, np.float32))
            progress.append(info["progress"])
            total += reward
        np.testing.assert_allclose(np.concatenate(progress), begun + np.arange(1, 61) / 100, atol=1e-5)
        assert total == pytest.approx(info["progress"][-1] - begun, abs=1e-5)
        returns.append(total)
    assert returns[0] == pytest.approx(returns[1], abs=1e-5)


def test_several_steps_tell_every_tick(dream: MakeDream) -> None:
    env = ResampledControl(dream(5), chunk=20)
    env.reset(seed=0, options={"start": 1})
    targets = path(20) * 0.5
    _, reward, terminated, truncated, info = env.step(targets)
    assert (type(reward), type(terminated), type(truncated)) == (float, bool, bool)
    assert info["progress"].shape == info["value"].shape == (20,)
    np.testing.assert_array_equal(info["executed_actions"], targets)
    assert info["uncertainty"] == pytest.approx(np.abs(targets).max())  # the largest of its steps
    one = dream(5)
    one.reset(seed=0, options={"start": 1})
    each = [one.step(part)[4]["advantage"] for part in np.split(targets, 4)]
    assert info["advantage"] == pytest.approx(np.mean(each), abs=1e-6)


def test_the_horizon_ends_a_chunk_early_and_is_no_death(dream: MakeDream) -> None:
    env = ResampledControl(dream(10, horizon_s=3.0), chunk=50)
    env.reset(seed=0, options={"start": 0})
    _, _, terminated, truncated, info = env.step(np.zeros((50, 14), np.float32))
    assert (terminated, truncated, info["truncation"]) == (False, True, "horizon")
    assert len(info["progress"]) == len(info["executed_actions"]) == 30
    done = ResampledControl(dream(5), chunk=50)
    done.reset(seed=0, options={"start": 7})
    _, _, terminated, truncated, info = done.step(np.zeros((50, 14), np.float32))
    assert (terminated, truncated, info["is_success"]) == (True, False, True)
    assert len(info["progress"]) == 25  # three frames at 0.9 and above: 90, 91 and 92, so in the fifth step


def test_horizons_and_frame_rates_are_counted_in_the_agents_steps() -> None:
    assert HORIZON_TICKS == 25
    env = ResampledControl(gymnasium.make("RiseFake-BoxClose-v0"), chunk=20)
    assert env._max_episode_steps == 2
    assert ResampledControl(FakeEnv(chunk=5), control_hz=30)._max_episode_steps == 5
    assert TemporalEnsemble(env, chunk=50, execute_ticks=40)._max_episode_steps == 1
    assert LeRobotObservation(FakeEnv(chunk=5))._max_episode_steps == 5
    assert LeRobotObservation(ResampledControl(FakeEnv(chunk=5), chunk=25))._max_episode_steps == 1
    assert ResampledControl(FakeEnv(chunk=1), chunk=6, control_hz=30).metadata["render_fps"] == 5


def test_linear_begins_anew_with_every_episode() -> None:
    env = ResampledControl(FakeEnv(), control_hz=5, between="linear")
    first = [env.reset(seed=3), env.step(path(5))][1][4]["executed_actions"]
    env.step(path(5, seed=1))
    again = [env.reset(seed=3), env.step(path(5))][1][4]["executed_actions"]
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    ("inside", "arguments", "message"),
    [
        (10, {"chunk": 15}, "15 ticks at 10 Hz.*multiple of 10, or make the env with chunk=1 or 3 or 5$"),
        (10, {"chunk": 10, "control_hz": 30}, "3.333 ticks.*multiple of 30"),
        (
            10,
            {"control_hz": 0.7},
            "lasts 0.7 targets.*multiple of 7, or make the env.*multiple of 100",
        ),
        (8, {"chunk": 10}, "multiple of 8, or make the env with chunk=1 or 2 or 5$"),
        (10, {"chunk": 0}, "a chunk of 0"),
        (10, {"chunk": -10}, "a chunk of -10"),
        (10, {"control_hz": 0}, "0.001 and up, got 0"),
        (10, {"control_hz": float("nan")}, "got nan"),
        (10, {"control_hz": 1e-9}, "got 1e-09"),
        (10, {"between": "cubic"}, '"hold" or "linear", got \'cubic\''),
    ],
)
def test_rates_that_do_not_come_out_even_are_refused(inside: int, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResampledControl(FakeEnv(chunk=inside), **arguments)


def test_what_the_wrappers_need_is_asked_for() -> None:
    with pytest.raises(ValueError, match="outside of ResampledControl"):
        ResampledControl(LeRobotObservation(FakeEnv()), between="linear")
    with pytest.raises(TypeError, match=r"chunks of joint targets \(K, 14\)"):
        ResampledControl(
            gymnasium.wrappers.TransformAction(FakeEnv(), lambda a: a, gymnasium.spaces.Box(-1, 1, (140,)))
        )
    with pytest.raises(TypeError, match=r"in \[-1, 1\] were wanted.*outside of those that resample"):
        ResampledControl(gymnasium.wrappers.RescaleAction(FakeEnv(), np.float32(0), np.float32(1)))
    with pytest.raises(TypeError, match="CartPoleEnv has no task card"):
        TemporalEnsemble(gymnasium.make("CartPole-v1"), chunk=2)
    env = ResampledControl(FakeEnv(), chunk=20)
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match=r"shape \(20, 14\)"):
        env.step(np.zeros((10, 14), np.float32))


def test_episodes_are_recorded_inside_and_hold_what_was_executed() -> None:
    episodes: list[Episode] = []
    recorder = RecordEpisodes(FakeEnv(chunk=5, record_ticks=True), on_episode=episodes.append)
    env = ResampledControl(recorder, chunk=15, control_hz=30)
    env.reset(seed=0)
    executed, over = [], False
    while not over:
        *_, terminated, truncated, info = env.step(path(15) * 0.1)
        executed.append(info["executed_actions"])
        over = terminated or truncated
    (episode,) = episodes
    assert len(episode) == HORIZON_TICKS + 1
    np.testing.assert_array_equal(episode.actions[:-1], np.concatenate(executed))
    with pytest.raises(ValueError, match="put RecordEpisodes inside"):
        RecordEpisodes(ResampledControl(FakeEnv(), control_hz=30))


def test_the_replica_takes_them_too(blind_replica: Callable[[str], Any]) -> None:
    env = TemporalEnsemble(ResampledControl(blind_replica("box_close"), chunk=6, control_hz=30), chunk=12)
    observation, _ = env.reset(seed=0)
    hold = env.unwrapped.task.scale_action(observation["proprio"]).clip(-1, 1)  # type: ignore[attr-defined]
    *_, info = env.step(np.tile(hold, (12, 1)))
    assert info["executed_actions"].shape == (2, 14)
    assert info["progress"].shape == (2,)


# -- vector ----------------------------------------------------------------------------------------------------------


def test_rows_are_resampled_alike(counting_world: Callable[..., Any], counting_starts: Starts) -> None:
    parts: dict[str, Any] = {"world_model": counting_world(), "starts": counting_starts}
    inner = gymnasium.wrappers.vector.RecordEpisodeStatistics(ImaginedVectorEnv(2, **parts))
    vector = VectorResampledControl(inner, control_hz=30)
    assert (vector.single_action_space.shape, vector.action_space.shape) == ((30, 14), (2, 30, 14))
    assert "one in 3 commanded" in vector.resampling
    vector.reset(seed=4)
    actions = np.stack([path(30), path(30, seed=1)]) * 0.5
    seen, reward, *_ = vector.step(actions)
    for row in range(2):
        single = ResampledControl(ImaginedEnv(**parts), control_hz=30)
        single.reset(seed=4 + row)
        alone, gained, *_ = single.step(actions[row])
        np.testing.assert_array_equal(seen["head"][row], alone["head"])
        assert reward[row] == pytest.approx(gained, abs=1e-6)
    with pytest.raises(InvalidAction):
        vector.step(actions[:1])
    with pytest.raises(ImpossibleRate, match=r"2\.5 targets.*wanted: make the env with chunk= a multiple of 4"):
        VectorResampledControl(ImaginedVectorEnv(2, **parts), control_hz=2.5)


# -- overlapping plans -----------------------------------------------------------------------------------------------


def test_rows_are_resampled_at_the_rate_inside(counting_world: Callable[..., Any], counting_starts: Starts) -> None:
    dreams = ImaginedVectorEnv(2, world_model=counting_world(), starts=counting_starts)
    twice = VectorResampledControl(VectorResampledControl(dreams, control_hz=20), control_hz=40)
    assert twice.action_space.shape == (2, 40, 14)
    assert twice.resampling == "40 targets at 40 Hz, one in 2 commanded, as 20 ticks at 20 Hz"
    rows = SyncVectorEnv([lambda: ResampledControl(FakeEnv(), control_hz=20)] * 2)
    assert VectorResampledControl(rows, control_hz=40).action_space.shape == (2, 40, 14)
    half = np.float32(0.5)
    with pytest.raises(TypeError, match="put wrappers that change actions outside"):
        VectorResampledControl(gymnasium.wrappers.vector.RescaleAction(dreams, -half, half), control_hz=20)


def test_the_old_plan_counts_most_at_first() -> None:
    old, new = np.zeros((3, 1), np.float32), np.ones((5, 1), np.float32)
    np.testing.assert_allclose(cross_faded(old, new)[:, 0], [0.25, 0.5, 0.75, 1, 1])
    np.testing.assert_allclose(cross_faded(old, new, latency_ticks=2)[:, 0], [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(cross_faded(old, new, latency_ticks=3)[:, 0], [0, 0, 0, 1, 1])
    np.testing.assert_allclose(cross_faded(old, new, latency_ticks=1, abrupt=True)[:, 0], [0, 1, 1, 1, 1])


def test_plans_are_weighted_by_age() -> None:
    plans = [np.full((length, 1), said, np.float32) for length, said in ((1, 0.0), (3, 0.3), (5, 0.9))]
    np.testing.assert_allclose(averaged(plans, 4, decay=0.0)[:, 0], [0.4, 0.6, 0.6, 0.9], atol=1e-6)
    np.testing.assert_allclose(averaged(plans, 4, decay=50.0)[:, 0], [0.0, 0.3, 0.3, 0.9], atol=1e-6)
    np.testing.assert_allclose(averaged(plans, 3, decay=0.0, latency_ticks=1)[:, 0], [0.15, 0.6, 0.6], atol=1e-6)


@given(
    per_step=st.integers(1, 3),
    steps=st.integers(1, 3),
    beyond=st.integers(1, 9),
    late=st.integers(0, 9),
    blend=st.sampled_from(BLENDS),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_plans_that_agree_are_executed_as_they_are(
    per_step: int, steps: int, beyond: int, late: int, blend: Any, seed: int
) -> None:
    """Whatever the overlap, the latency and the blend: an agent of one mind does what it means to."""
    ticks = per_step * steps
    chunk = ticks + beyond
    latency = min(late, ticks, beyond)
    env = TemporalEnsemble(
        FakeEnv(chunk=per_step), chunk=chunk, execute_ticks=ticks, blend=blend, latency_ticks=latency
    )
    env.reset(seed=0)
    mind, executed, over = path(60, seed), [], False
    while not over:
        at = sum(map(len, executed))
        *_, terminated, truncated, info = env.step(mind[at : at + chunk])
        executed.append(info["executed_actions"])
        over = terminated or truncated
    found = np.concatenate(executed)
    assert len(found) >= HORIZON_TICKS or terminated
    np.testing.assert_allclose(found, mind[: len(found)], atol=1e-6)


def test_what_comes_too_late_is_dropped() -> None:
    env = TemporalEnsemble(FakeEnv(chunk=5), chunk=10, latency_ticks=3, blend="replace")
    env.reset(seed=0)
    first, second = path(10) * 0.2, path(10, seed=1) * 0.2
    np.testing.assert_array_equal(env.step(first)[4]["executed_actions"], first[:5])  # the robot waits for it
    np.testing.assert_allclose(env.step(second)[4]["executed_actions"], [*first[5:8], *second[3:5]])
    assert env.resampling == "chunks of 10 ticks at 10 Hz, 5 executed of each, replace, 3 ticks late"
    env.reset(seed=0)
    np.testing.assert_array_equal(env.step(second)[4]["executed_actions"], second[:5])  # nothing of the last episode


@pytest.mark.parametrize("blend", BLENDS)
def test_snapshots_hold_the_plans(dream: MakeDream, blend: Any) -> None:
    env = TemporalEnsemble(dream(5, noise=3.0), chunk=15, blend=blend, latency_ticks=2)
    env.reset(seed=0, options={"start": 0})
    env.step(path(15))
    env.step(path(15, seed=1))
    state = pickle.loads(pickle.dumps(env.get_state()))
    once = env.step(path(15, seed=2))
    env.step(path(15, seed=3))
    observation = env.set_state(state)
    assert env.observation_space.contains(observation)
    again = env.step(path(15, seed=2))
    np.testing.assert_array_equal(once[4]["executed_actions"], again[4]["executed_actions"])
    np.testing.assert_array_equal(once[0]["head"], again[0]["head"])
    env.set_state(state, seed=5)
    assert env.step(path(15, seed=2))[4]["value"].tolist() != once[4]["value"].tolist()


def test_a_fast_agent_with_overlapping_plans_as_on_the_papers_robot(dream: MakeDream) -> None:
    """50 targets at 30 Hz, of which 15 are executed, on an env of 10 Hz."""
    env = TemporalEnsemble(ResampledControl(dream(5), control_hz=30), chunk=50, latency_ticks=8)
    assert (env.chunk, env.ticks, env.control_hz, env.action_space.shape) == (50, 15, 30.0, (50, 14))
    env.reset(seed=0, options={"start": 0})
    mind = path(80) * 0.1
    np.testing.assert_allclose(env.step(mind[:50])[4]["executed_actions"], mind[2:15:3])
    *_, info = env.step(mind[15:65])
    np.testing.assert_allclose(info["executed_actions"], mind[17:30:3], atol=1e-6)
    assert info["progress"].shape == (5,)
    assert "15 executed of each, cross_fade, 8 ticks late; inside, 15 targets at 30 Hz, one in 3" in info["resampling"]
    assert env.metadata["render_fps"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"chunk": 5}, "reach beyond the 5 ticks.*got chunk=5"),
        ({"chunk": 7, "latency_ticks": 3}, r"by latency_ticks \(3\).*got chunk=7"),
        ({"chunk": 10, "latency_ticks": 6}, "0 to the 5 ticks.*got 6"),
        ({"chunk": 10, "latency_ticks": -1}, "got -1"),
        ({"chunk": 10, "latency_ticks": 1.5}, "whole number.*got 1.5"),
        ({"chunk": 10, "decay": np.inf}, "a finite number.*got inf"),
        ({"chunk": 10, "execute_ticks": 3}, "multiple of the 5 ticks.*got 3"),
        ({"chunk": 10, "execute_ticks": 0}, "got 0"),
        ({"chunk": 10, "blend": "mean"}, "cross_fade, exponential, replace, got 'mean'"),
    ],
)
def test_plans_that_can_not_be_executed_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TemporalEnsemble(FakeEnv(chunk=5), **arguments)


def test_they_are_made_by_id_and_their_spec_is_plain_data(tiny_kwargs: dict[str, Any]) -> None:
    env = TemporalEnsemble(gymnasium.make("RiseImagined-BoxClose-v0", chunk=1, **tiny_kwargs), chunk=4, execute_ticks=2)
    observation, info = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    observation, *_, info = env.step(env.action_space.sample())
    assert env.observation_space.contains(observation)
    assert info["progress"].shape == (2,)
    assert env.spec is not None
    again = gymnasium.make(pickle.loads(pickle.dumps(env.spec)))
    assert isinstance(again, TemporalEnsemble)
    assert again.action_space == env.action_space
    env.reset(seed=0)
    state = env.get_state()
    action = env.action_space.sample()
    once = env.step(action)
    env.set_state(state)
    np.testing.assert_array_equal(once[0]["head"], env.step(action)[0]["head"])
