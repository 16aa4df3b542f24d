"""Collections are the same whatever the number of processes, survive interruptions, and keep off evaluation seeds."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_env
import numpy as np
import pytest
import torch
from fake_env import FakeAgent, FakeEnv

from rise_gym.agents.baselines import RandomAgent
from rise_gym.agents.flow_policy import FlowPolicy
from rise_gym.agents.trainable import save_policy, weights_fingerprint
from rise_gym.collection import AgentActor, CollectionConfig, ExplorationNoise, Factory, ReservedSeed, collect
from rise_gym.commands.collect import collect as collect_command
from rise_gym.corrections import OversightConfig
from rise_gym.episodes import EpisodeWriter, dataset_summary, read_episodes
from rise_gym.errors import InvalidCheckpoint, InvalidDataset, RiseGymError, SaveFailed, UnsuitableEnv
from rise_gym.locations import resolve
from rise_gym.tasks import BOX_CLOSE, BRICK_SORT
from rise_gym.types import Episode

ENV = Factory(target="fake_env:FakeEnv", arguments={"chunk": 5, "record_ticks": True})
ACTOR = Factory(target="fake_env:FakeActor")


def config(episodes: int = 5, **changes: object) -> CollectionConfig:
    return CollectionConfig(**{"episodes": episodes, "processes": 1, "episodes_per_file": 2, **changes})


def assert_same(found: list[Episode], wanted: list[Episode]) -> None:
    assert [episode.seed for episode in found] == [episode.seed for episode in wanted]
    for here, there in zip(found, wanted, strict=True):
        for name in ("actions", "clean_actions", "proprio", "progress", "physics_state"):
            np.testing.assert_array_equal(getattr(here, name), getattr(there, name), err_msg=name)
        np.testing.assert_array_equal(here.views(BOX_CLOSE.cameras), there.views(BOX_CLOSE.cameras))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[Episode]:
    folder = tmp_path_factory.mktemp("collected")
    collect(config(), folder, ENV, ACTOR)
    return read_episodes(folder)


def test_what_was_executed_is_stored_beside_what_was_meant(uninterrupted: list[Episode]) -> None:
    for episode in uninterrupted:
        assert episode.source == "demonstration"
        np.testing.assert_allclose(episode.clean_actions - episode.actions, 0.05, atol=1e-5)
        assert episode.success == (episode.progress[-1] >= 1)
        assert len(episode) > 2


def test_two_processes_collect_the_same(tmp_path: Path, uninterrupted: list[Episode]) -> None:
    summary = collect(config(processes=2), tmp_path, ENV, ACTOR)
    assert summary.seeds == (0, 1, 2, 3, 4)
    assert_same(read_episodes(tmp_path), uninterrupted)


def test_an_interrupted_collection_goes_on(tmp_path: Path, uninterrupted: list[Episode]) -> None:
    def stop_after_three(episode: Episode) -> None:
        if episode.seed == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(config(), tmp_path, ENV, ACTOR, on_episode=stop_after_three)
    assert dataset_summary(tmp_path).seeds == (0, 1, 2)
    run: list[int] = []
    collect(config(), tmp_path, ENV, ACTOR, on_episode=lambda episode: run.append(episode.seed))
    assert run == [3, 4]
    assert_same(read_episodes(tmp_path), uninterrupted)


def test_nothing_is_left_to_do(tmp_path: Path) -> None:
    collect(config(2), tmp_path, ENV, ACTOR)
    broken = Factory(target="fake_env:nothing_of_this_name")
    assert collect(config(2, processes=2), tmp_path, ENV, ACTOR).episodes == 2
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        collect(config(3), tmp_path, broken, ACTOR)
    assert dataset_summary(tmp_path).episodes == 2


def test_with_nothing_left_to_do_no_env_is_built(tmp_path: Path) -> None:
    collect(config(1), tmp_path, ENV, ACTOR)
    assert collect(config(1), tmp_path, Factory(target="fake_env:Nothing"), ACTOR).episodes == 1


def test_a_folder_that_cannot_be_is_told_before_anything_is_played(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    played: list[int] = []
    with pytest.raises(SaveFailed, match="choose another folder"):
        collect(config(), tmp_path / "file", ENV, ACTOR, on_episode=lambda episode: played.append(episode.seed))
    assert played == []


class PoolHere:
    """A pool of processes as the standard library's breaks, but in this process, which takes no seconds to begin."""

    def __init__(self, count: int, context: object, initializer: Callable[..., None], initargs: tuple[bytes]) -> None:
        try:
            initializer(*initargs)
            self.broken = False
        except BaseException:
            self.broken = True

    def submit(self, call: Callable[[Any], Any], job: Any) -> Future[Any]:
        future = Future[Any]()
        try:
            future.set_result(call(job) if not self.broken else None)
        except Exception as error:
            future.set_exception(error)
        return future if not self.broken else self._dead()

    @staticmethod
    def _dead() -> Future[Any]:
        future = Future[Any]()
        future.set_exception(BrokenProcessPool("a process was terminated abruptly"))
        return future

    def shutdown(self, *, cancel_futures: bool) -> None:
        pass


@pytest.mark.parametrize(
    ("target", "error", "told"),
    [
        ("rise_gym.locations:resolve", InvalidCheckpoint, "'runs/no/where' is no folder; a checkpoint is a folder"),
        ("sys:exit", RiseGymError, "killed perhaps for want of memory; .* with fewer `--processes`"),
    ],
)
def test_what_goes_wrong_in_another_process_is_said_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, error: type[Exception], told: str
) -> None:
    monkeypatch.setattr("rise_gym._processes.ProcessPoolExecutor", PoolHere)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)
    actor = Factory(target=target, arguments={"name": "runs/no/where"} if "resolve" in target else {})
    with pytest.raises(error, match=told):
        collect(config(2, processes=2), tmp_path / "set", ENV, actor)


@pytest.mark.parametrize(("name", "value"), [("episodes", 0), ("first_seed", -3), ("processes", 0)])
def test_numbers_that_are_too_small_are_named(name: str, value: int) -> None:
    with pytest.raises(RiseGymError, match=f"{name} of .* or more was wanted, got {value}"):
        config(**{name: value})


@pytest.mark.parametrize("who", ["expert", "noisy_expert", "policy"])
@pytest.mark.parametrize("noise", [-1.0, float("nan"), float("inf")])
def test_noise_of_less_than_none_is_refused_by_everybody(who: Any, noise: float, tmp_path: Path) -> None:
    with pytest.raises(RiseGymError, match=f"a factor of the noise of 0 or more was wanted, got {noise:g}"):
        collect_command(tmp_path / "set", who=who, episodes=1, noise=noise)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("given", [{"policy": "bundled:box_close/rise"}, {"temperature": 0.3}])
def test_a_policy_that_nobody_would_play_is_refused(given: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RiseGymError, match="--who policy"):
        collect_command(tmp_path / "out", episodes=1, **given)
    assert not (tmp_path / "out").exists()


def test_another_policy_joins_a_dataset_with_its_own_seeds(tmp_path: Path) -> None:
    collect(config(2), tmp_path, ENV, ACTOR)
    late = config(3, first_seed=1, source="rollout", policy="late")
    for _ in range(2):
        summary = collect(late, tmp_path, ENV, ACTOR)
    assert summary.seeds == (0, 1, 1, 2, 3)
    assert summary.policies == {"scripted": 2, "late": 3}


def test_a_policy_that_was_trained_anew_at_the_same_path_is_refused(tmp_path: Path) -> None:
    folder, collected = str(tmp_path / "policy"), tmp_path / "set"

    def trained(seed: int) -> CollectionConfig:
        torch.manual_seed(seed)
        save_policy(folder, FlowPolicy(channels=(4, 4, 8), context_width=16, head_width=16))
        return config(2, source="rollout", policy=folder, fingerprint=weights_fingerprint(folder))

    first = trained(0)
    collect(first, collected, ENV, ACTOR)
    assert collect(replace(trained(0), episodes=3), collected, ENV, ACTOR).episodes == 3
    again = trained(1)
    for episodes in (3, 4):  # whether anything is left to do or not
        with pytest.raises(InvalidDataset, match=r"other weights \(.*\) than now .* trained anew since; collect"):
            collect(replace(again, episodes=episodes), collected, ENV, ACTOR)
    assert collect(config(1), collected, ENV, ACTOR).episodes == 4  # others go on
    (collected / "meta/rise_gym_collection.json").unlink()  # as of earlier versions
    for _ in range(2):
        collect(replace(again, episodes=4), collected, ENV, ACTOR)
    assert collect(replace(first, episodes=5), collected, ENV, ACTOR).policies == {folder: 5, "scripted": 1}


def test_corrections_of_another_policy_are_refused(tmp_path: Path) -> None:
    def corrected(policy: str) -> CollectionConfig:
        return config(1, source="correction", policy="correction", fingerprint=weights_fingerprint(policy))

    collect(corrected("bundled:box_close/base"), tmp_path / "set", ENV, ACTOR)
    with pytest.raises(InvalidDataset, match="another policy"):
        collect_command(tmp_path / "set", who="correction", policy="bundled:box_close/rise", episodes=1)
    with pytest.raises(InvalidCheckpoint, match="is no folder"):
        collect_command(tmp_path / "set", who="correction", policy="runs/no/where", episodes=1)


def test_two_who_collect_the_same_at_once_keep_each_seed_once(tmp_path: Path) -> None:
    def other(_: Episode) -> None:
        if not (tmp_path / "meta").exists():  # written by somebody else while the first one still plays
            collect(config(2), tmp_path, ENV, ACTOR)

    assert collect(config(3), tmp_path, ENV, ACTOR, on_episode=other).seeds == (0, 1, 2)


def test_fingerprints_are_of_weights_wherever_they_lie(tmp_path: Path) -> None:
    bundled = weights_fingerprint("bundled:box_close/base")
    copy = shutil.copytree(resolve("bundled:box_close/base"), tmp_path / "copy")
    assert bundled == weights_fingerprint("bundled:box_close") == weights_fingerprint(str(copy))
    assert bundled != weights_fingerprint("bundled:box_close/rise")
    assert weights_fingerprint("lerobot:somebody/policy") is None
    assert weights_fingerprint(f"lerobot:{copy}/policy") is not None
    with pytest.raises(InvalidCheckpoint, match="is no folder"):
        weights_fingerprint("runs/no/where")


@pytest.mark.parametrize(("episodes", "first_seed"), [(1, 100_000), (11, 99_990), (100_001, 0)])
def test_evaluation_seeds_are_kept_for_evaluation(episodes: int, first_seed: int) -> None:
    with pytest.raises(ReservedSeed, match="training data comes from seeds below 100000"):
        config(episodes, first_seed=first_seed)
    assert config(10, first_seed=99_990).seeds[-1] == 99_999


KILLED = """
from rise_gym.collection import CollectionConfig, Factory, collect
if __name__ == "__main__":
    actor = Factory(target="fake_env:FakeActor", arguments={"seconds": 0.02, "pid_folder": PIDS})
    env = Factory(target="fake_env:FakeEnv", arguments={"chunk": 5, "record_ticks": True})
    collect(CollectionConfig(episodes=1000, processes=2, episodes_per_file=2), FOLDER, env, actor)
"""


def test_kill_9_loses_at_most_a_file_and_leaves_no_process(tmp_path: Path, uninterrupted: list[Episode]) -> None:
    folder, pids, script = tmp_path / "set", tmp_path / "pids", tmp_path / "run.py"
    pids.mkdir()
    script.write_text(KILLED.replace("PIDS", repr(str(pids))).replace("FOLDER", repr(str(folder))))
    path = os.pathsep.join([str(Path(fake_env.__file__).parent), *filter(None, sys.path)])
    process = subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": path})
    try:
        wait_until(lambda: len(list(folder.glob("meta/episodes/*/*.parquet"))) >= 2)
    finally:  # where that never happened it would run on, and other tests would be warned of it
        process.send_signal(signal.SIGKILL)
        process.wait()
    wait_until(lambda: not any(running(int(path.name)) for path in pids.iterdir()))
    with EpisodeWriter(folder, BOX_CLOSE) as writer:
        assert len(writer) >= 4
    collect(config(), folder, ENV, ACTOR)
    assert_same(read_episodes(folder, limit=5), uninterrupted)


def wait_until(happened: object, seconds: float = 120.0) -> None:
    """Three processes that import torch take a minute until they work, where others keep the machine busy."""
    end = time.monotonic() + seconds
    while not happened():  # type: ignore[operator]
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def running(pid: int) -> bool:
    """Whether a process still does something; one that ended but was not waited for does not."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


def rollout(actor: AgentActor, seed: int) -> np.ndarray:
    env = FakeEnv(chunk=8)
    observation, _ = env.reset(seed=seed)
    actor.reset(env, seed)
    chunks = [actor.act(env, observation) for _ in range(40)]
    assert all(meant is None for meant, _ in chunks)  # what is learnt from a rollout is what was done
    return np.concatenate([executed for _, executed in chunks])


def test_an_agent_acts_by_its_seed() -> None:
    actions = rollout(AgentActor(FakeAgent()), 1)
    np.testing.assert_array_equal(actions, rollout(AgentActor(FakeAgent()), 1))
    assert not np.array_equal(actions, rollout(AgentActor(FakeAgent()), 2))
    assert np.abs(rollout(AgentActor(FakeAgent(), advantage=-0.1), 1)).max() <= 0.1


def test_a_policy_of_another_task_is_refused() -> None:
    with pytest.raises(UnsuitableEnv, match="policy is of 'brick_sort' and the env of 'box_close'"):
        rollout(AgentActor(RandomAgent(BRICK_SORT)), 1)


def test_exploration_is_slow_and_as_large_as_asked() -> None:
    noise = ExplorationNoise(joint_rad=0.05, gripper_m=0.004, correlation_s=0.6)
    offsets = noise.offsets(np.zeros(14), 20_000, BOX_CLOSE, np.random.default_rng(0))
    np.testing.assert_allclose(offsets.std(0), 1, atol=0.1)
    neighbours = np.mean([np.corrcoef(one[:-1], one[1:])[0, 1] for one in offsets.T])
    assert neighbours == pytest.approx(np.exp(-0.1 / 0.6), abs=0.02)
    targets = BOX_CLOSE.unscale_action(noise.scaled(BOX_CLOSE)) - BOX_CLOSE.unscale_action(np.zeros(14))
    np.testing.assert_allclose(targets, [*[0.05] * 6, 0.004] * 2)


def test_noisy_agents_stay_in_range_and_differ_by_episode() -> None:
    class Still(FakeAgent):
        def act(self, observation: object, instruction: list[str], advantage: object = 1.0) -> np.ndarray:
            return np.full((len(instruction), 8, 14), 0.99, np.float32)

    noisy = [rollout(AgentActor(Still(), noise=ExplorationNoise(joint_rad=0.3)), seed) for seed in range(4)]
    assert all(np.abs(actions).max() <= 1 for actions in noisy)
    spreads = [float(actions[:, 0].std()) for actions in noisy]
    assert max(spreads) > 1.5 * min(spreads)


# -- corrections ------------------------------------------------------------------------------------------------------


def taken_over(oversight: OversightConfig, *, forever: bool = False) -> Factory:
    env = Factory(target="fake_env:FakeEnv", arguments={"chunk": 1})
    agent = Factory(target="fake_env:StuckAgent", arguments={"forever": forever})
    return Factory(
        target="rise_gym.corrections:TakenOver", arguments={"env": env, "agent": agent, "oversight": oversight}
    )


def start_of(seed: int) -> float:
    env = FakeEnv()
    env.reset(seed=seed)
    return env.progress


@pytest.mark.parametrize("foresight_ticks", [0, 2, 5, 20])
def test_a_correction_begins_before_the_agent_was_stuck(tmp_path: Path, foresight_ticks: int) -> None:
    oversight = OversightConfig(patience_ticks=4, foresight_ticks=(foresight_ticks, foresight_ticks))
    collect(config(3, source="correction"), tmp_path, taken_over(oversight), ACTOR)
    moves = max(0, 6 - foresight_ticks)
    for episode in read_episodes(tmp_path):
        assert episode.source == "correction"
        assert episode.progress[0] == pytest.approx(start_of(episode.seed) + moves * 0.06, abs=1e-5)
        np.testing.assert_allclose(episode.physics_state[0], episode.progress[0], atol=1e-5)
        np.testing.assert_allclose(episode.clean_actions - episode.actions, 0.05, atol=1e-5)  # all is the corrector's


def test_a_correction_has_all_its_time() -> None:
    env = taken_over(OversightConfig(patience_ticks=4, foresight_ticks=(1, 1))).build()
    env.reset(seed=0)
    ticks, over = 0, False
    while not over:
        *_, terminated, truncated, _ = env.step(np.zeros((1, 14), np.float32))
        ticks, over = ticks + 1, terminated or truncated
    assert ticks == fake_env.HORIZON_TICKS


def test_an_agent_that_is_never_stuck_is_taken_over_from_somewhere_on_its_way() -> None:
    env = taken_over(OversightConfig(patience_ticks=4), forever=True).build()
    gained = [env.reset(seed=seed)[1]["score"] / 10 - start_of(seed) for seed in range(20)]
    assert len({round(part, 4) for part in gained}) > 4
    assert gained == [env.reset(seed=seed)[1]["score"] / 10 - start_of(seed) for seed in range(20)]


@pytest.mark.parametrize("wrong", [{"patience_ticks": 0}, {"foresight_ticks": (3, 2)}, {"foresight_ticks": (-1, 2)}])
def test_impossible_oversight_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="patience_ticks is at least 1"):
        OversightConfig(**wrong)


@pytest.mark.parametrize("who", ["random", "babbling"])
def test_noise_is_for_an_expert_or_a_policy(tmp_path: Path, who: Any) -> None:
    with pytest.raises(RiseGymError, match=f"'{who}' plays without --noise"):
        collect_command(tmp_path / "out", who=who, episodes=1, noise=2.0)
    assert not (tmp_path / "out").exists()


def test_random_targets_are_recorded_as_rollouts(tmp_path: Path) -> None:
    collect_command(tmp_path / "data", who="random", episodes=1, first_seed=7, processes=1)
    (episode,) = read_episodes(tmp_path / "data")
    assert (episode.source, episode.policy, episode.seed, episode.success) == ("rollout", "random", 7, False)
    assert 0.5 < episode.actions.std() < 0.65  # uniform in [-1, 1]: 0.58


def test_babbling_is_recorded_as_rollouts(tmp_path: Path) -> None:
    collect_command(tmp_path / "data", who="babbling", episodes=1, first_seed=7, processes=1)
    (episode,) = read_episodes(tmp_path / "data")
    assert (episode.source, episode.policy, episode.seed, episode.success) == ("rollout", "babbling", 7, False)
