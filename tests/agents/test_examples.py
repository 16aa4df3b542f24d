"""The examples run in miniature, on the tiny world model, and what they are made of does what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
import tyro

from rise_gym.agents.examples import cross_entropy_planning as planning
from rise_gym.agents.examples import group_relative, ppo
from rise_gym.errors import InvalidCheckpoint

EXAMPLES = Path(__file__).parents[2] / "agents" / "examples"


class Reacher:
    """Dreams of one tick that go best where the first joint is told 0.5; counts how often they are branched."""

    def __init__(self, num_envs: int) -> None:
        self.num_envs, self.at, self.seeds = num_envs, 0.0, list[int | None]()

    def get_state(self) -> float:
        return self.at

    def set_state(self, state: float, *, seed: int | None = None) -> None:
        self.at = state
        self.seeds.append(seed)

    def step(self, actions: np.ndarray) -> Any:
        self.at += 1
        return {}, None, None, None, {"advantage": -np.abs(actions[:, -1, 0] - 0.5)}


def test_cross_entropy_finds_what_is_best_and_brings_the_dream_back() -> None:
    dreams = Reacher(64)
    config = planning.Planning(candidates=64, elites=8, rounds=8, spread=0.3)
    found = planning.planned(dreams, np.zeros((4, 3), np.float32), config, np.random.default_rng(0))
    assert found[-1, 0] == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(found[:, 0], found[-1, 0] * np.arange(1, 5) / 4, atol=1e-6)  # on a straight way
    assert dreams.at == 0.0
    assert dreams.seeds[-1] is None  # what is executed has its own noise, unlike all that was tried
    assert len({*dreams.seeds[:-1]}) == 8


@pytest.fixture
def miniature(tiny_kwargs: dict[str, Any]) -> dict[str, Any]:
    return {"world_model": tiny_kwargs["world_model"], "policy": "bundled:box_close/base"}


def test_cross_entropy_planning(
    miniature: dict[str, Any], blind_replica: Callable[[str], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    planning.main(planning.Planning(**miniature, candidates=4, elites=2, rounds=2, decisions=2))
    told = capsys.readouterr().out
    assert "the policy alone: 2 chunks of imagined advantage" in told
    assert "planned around it" in told
    assert told.count("in physics: ") == 2


@pytest.mark.parametrize(
    ("main", "config"),
    [(planning.main, planning.Planning), (group_relative.main, group_relative.Grouping), (ppo.main, ppo.PPOConfig)],
)
def test_a_policy_of_another_task_is_refused(main: Any, config: Any, miniature: dict[str, Any]) -> None:
    with pytest.raises(InvalidCheckpoint, match="task 'box_close' was wanted, it was made for 'brick_sort'"):
        main(config(**{**miniature, "policy": "bundled:brick_sort/base"}))


def test_rows_that_begin_with_one_seed_are_one_world(tiny_kwargs: dict[str, Any]) -> None:
    dreams: Any = gymnasium.make_vec("RiseImagined-BoxClose-v0", num_envs=3, **tiny_kwargs)
    dreams.reset(seed=[5] * 3)
    root = dreams.get_state()
    chunk = np.stack([dreams.single_action_space.sample()] * 3)
    dreams.set_state(root, seed=1)
    dreams.step(chunk)
    dreams.set_state(root)
    seen, reward, *_ = dreams.step(chunk)
    assert np.ptp(seen["head"].astype(int), axis=0).max() <= 1  # batched products are not bit-equal
    np.testing.assert_allclose(reward, reward[0], atol=1e-4)


def test_group_relative(miniature: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    group_relative.main(group_relative.Grouping(**miniature, group=4, moments=3, chunks=2))
    told = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in told[:-1]] == ["moment 0", "moment 1", "moment 2"]
    assert "by learning" in told[-1]


def test_what_went_better_than_its_group_becomes_likelier(tiny_kwargs: dict[str, Any]) -> None:
    """The dream is real, what it says of a chunk is replaced: it is better the further the first joint goes."""

    class Judged(gymnasium.vector.VectorWrapper):
        def __getattr__(self, name: str) -> Any:
            return getattr(self.env, name)

        def step(self, actions: Any) -> Any:
            *seen, info = self.env.step(actions)
            return *seen, {**info, "advantage": actions[:, -1, 0].astype(np.float64)}

    class Still:
        def act(self, observation: Any, instruction: Any) -> Any:
            return np.zeros((len(instruction), 2, 14), np.float32)

    torch.manual_seed(0)
    dreams = Judged(gymnasium.make_vec("RiseImagined-BoxClose-v0", num_envs=8, chunk=2, **tiny_kwargs))
    bend = torch.nn.Linear(28, 14)
    torch.nn.init.zeros_(bend.weight)
    torch.nn.init.zeros_(bend.bias)
    config = group_relative.Grouping(group=8, moments=5, learning_rate=0.1)
    before = group_relative.measured(dreams, Still(), bend, config)
    group_relative.learn(dreams, Still(), bend, config)
    gained = group_relative.measured(dreams, Still(), bend, config) - before
    assert gained.min() > 0.5 * config.spread


def test_ppo(miniature: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    small: dict[str, Any] = {"num_envs": 2, "num_steps": 2, "iterations": 2, "minibatches": 2, "measured_chunks": 1}
    for policy in ("bundled:box_close/base", ""):
        ppo.main(ppo.PPOConfig(**{**miniature, "policy": policy}, **small))
        told = capsys.readouterr().out.splitlines()
        assert [line.split(":")[0] for line in told[:-1]] == ["update 0", "update 1"]
        assert "by learning from 8 chunks" in told[-1]


def test_advantages_are_estimated_over_ends() -> None:
    """By hand: two steps in each row; the second row ends after the first, so nothing after it counts."""
    config = ppo.PPOConfig(gamma=0.5, gae_lambda=0.5)
    rollout = {
        "reward": torch.tensor([[1.0, 1.0], [2.0, 2.0]]),
        "value": torch.tensor([[0.4, 0.4], [0.8, 0.8]]),
        "goes_on": torch.tensor([[1.0, 0.0], [1.0, 1.0]]),
    }
    found = ppo.estimated(rollout, torch.tensor([4.0, 4.0]), config)
    last = 2.0 + 0.5 * 4.0 - 0.8
    np.testing.assert_allclose(found[1], [last, last], rtol=1e-6)
    np.testing.assert_allclose(found[0], [1.0 + 0.5 * 0.8 - 0.4 + 0.25 * last, 1.0 - 0.4], rtol=1e-6)


def test_a_horizon_is_bootstrapped_and_success_is_not(counting_world: Any, counting_starts: Any) -> None:
    """Rows cut off get the value of what was last seen; the counting world's dreams are worth what the critic says."""
    from rise_gym.envs.vector import ImaginedVectorEnv

    dreams = ImaginedVectorEnv(
        2, world_model=counting_world(), starts=counting_starts, horizon_s=3.0, autoreset_mode="SameStep"
    )
    chunks = ppo.Chunks(dreams, None, 0.0)
    network = ppo.ActorCritic(3, 14)
    observation, _ = dreams.reset(seed=0, options={"start": [0, 7]})
    network(*chunks.look(observation)[:2])
    with torch.no_grad():
        network.value.weight.zero_()
        network.value.bias.fill_(10.0)
    rollout, _ = ppo.collected(chunks, network, observation, ppo.PPOConfig(num_steps=3, gamma=0.9))
    np.testing.assert_allclose(rollout["reward"][2], [0.1 + 0.9 * 10, 0.1], atol=1e-5)  # a horizon, and a success
    assert rollout["goes_on"].tolist() == [[1, 1], [1, 1], [0, 0]]


@pytest.mark.parametrize("name", ["cross_entropy_planning", "group_relative"])
def test_plain_loops_stay_short(name: str) -> None:
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 100


@pytest.mark.parametrize("config", [planning.Planning, group_relative.Grouping, ppo.PPOConfig])
def test_the_command_line_refuses_what_it_does_not_know(config: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert tyro.cli(config, args=["--seed", "3"]).seed == 3
    with pytest.raises(SystemExit):
        tyro.cli(config, args=["--num-robots", "3"])
    assert "--num-robots" in "".join(capsys.readouterr())
