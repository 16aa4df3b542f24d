"""Residuals: what bends a chunk, what a learner sees, and that what it learnt is what plays."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_env
import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecEnvWrapper,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)

from rise_gym.agents.flow_policy import FlowPolicy, FlowPolicyConfig
from rise_gym.agents.named import named_agent
from rise_gym.agents.residual import ResidualPolicy, ResidualVecEnv, bends, residual_networks, still_at_first
from rise_gym.agents.sb3 import Sb3Agent, make_sb3_env
from rise_gym.agents.trainable import save_policy
from rise_gym.collection import ExplorationNoise
from rise_gym.errors import InvalidAction, InvalidCheckpoint, StepOutOfOrder, UnsuitableEnv
from rise_gym.evaluation import evaluate
from rise_gym.protocols import Agent
from rise_gym.tasks import BOX_CLOSE, BRICK_SORT, TaskCard

NARROW = FlowPolicyConfig(channels=(2, 4, 4), grid_channels=2, context_width=16, head_width=32, head_blocks=1)
TEXT = [BOX_CLOSE.instruction]
ALGORITHMS: dict[str, Callable[[Any], PPO | SAC]] = {
    "ppo": lambda env: PPO(
        "MultiInputPolicy", env, n_steps=4, batch_size=4, n_epochs=1, seed=0, device="cpu",
        policy_kwargs=residual_networks(8, 12),
    ),
    "sac": lambda env: SAC(
        "MultiInputPolicy", env, buffer_size=50, learning_starts=4, batch_size=4, seed=0, device="cpu",
        policy_kwargs=residual_networks(8, 12),
    ),
}  # fmt: skip


def narrow_policy(task: TaskCard = BOX_CLOSE) -> FlowPolicy:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = FlowPolicy.of(NARROW, task).eval()
        torch.nn.init.normal_(policy.head.leave[1].bias, std=0.3)
    return policy


def residual_env(policy: FlowPolicy | None = None, *, count: int = 2, **how: Any) -> ResidualVecEnv:
    return ResidualVecEnv(make_sb3_env(fake_env.SINGLE_ID, count, seed=0), policy or narrow_policy(), **how)


def batch() -> dict[str, Any]:
    observation, _ = fake_env.FakeEnv().reset(seed=0)
    return {name: np.stack([value, value]) for name, value in observation.items()}


def test_bends_rise_from_nothing_and_pass_through_their_knots() -> None:
    knots = torch.zeros(1, 28)
    knots[0, 0], knots[0, 14] = 1.0, -1.0  # of the first joint, in the middle of the chunk and at its end
    bent = bends(knots, 10, BOX_CLOSE, reach=2.0)
    spread = 2.0 * float(ExplorationNoise().scaled(BOX_CLOSE)[0])
    np.testing.assert_allclose(
        bent[0, :, 0], spread * np.array([0.2, 0.4, 0.6, 0.8, 1, 0.6, 0.2, -0.2, -0.6, -1]), atol=1e-6
    )
    assert not bent[0, :, 1:].any()


@pytest.mark.parametrize("wrong", [{"knots": 0}, {"knots": 11}, {"reach": 0.0}, {"reach": np.nan}, {"reach": np.inf}])
def test_what_bends_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="1 to 10 knots and a positive, finite reach"):
        residual_env(**wrong)


def test_steps_that_bend_something_else_are_refused() -> None:
    """Fewer numbers would be taken for fewer knots."""
    env = residual_env()
    with pytest.raises(StepOutOfOrder, match="reset"):
        env.step(np.zeros((2, 28), np.float32))
    env.reset()
    with pytest.raises(InvalidAction, match=r"bends \(2, 28\).* were wanted, got \(2, 14\)"):
        env.step(np.zeros((2, 14), np.float32))


def test_a_learner_sees_features_and_zero_plays_the_policys_own_chunk() -> None:
    policy, env, plain = narrow_policy(), residual_env(), make_sb3_env(fake_env.SINGLE_ID, 2, seed=0)
    assert env.action_space.shape == (28,)
    seen, observation = env.reset(), plain.reset()
    assert seen["seen"].shape == (2, 16 + 14)
    assert {"seen": seen["seen"][0]} in env.observation_space
    for _ in range(3):
        chunks = policy.act(observation, TEXT * 2)
        _, reward, done, _ = env.step(np.zeros((2, 28), np.float32))
        observation, expected, ended, _ = plain.step(chunks)
        np.testing.assert_allclose(reward, expected, atol=1e-6)
        assert done.tolist() == ended.tolist()


def test_advantages_are_paid_and_bends_are_charged_for() -> None:
    told = {"advantage": [0.5, -0.25]}
    env = ResidualVecEnv(Telling(told), narrow_policy(), pay="advantage", charge=0.1)
    env.reset()
    bend = np.zeros((2, 28), np.float32)
    bend[1, :3] = 0.5, -1.0, 4.0  # beyond the end it is cut off, and costs no more
    _, reward, _, _ = env.step(bend)
    np.testing.assert_allclose(reward, [0.5, -0.25 - 0.1 * (0.25 + 1 + 1)], atol=1e-6)


class Telling(VecEnvWrapper):
    """A `VecEnv` that tells something more of its rows."""

    def __init__(self, told: dict[str, list[float]]) -> None:
        super().__init__(make_sb3_env(fake_env.SINGLE_ID, 2, seed=0))
        self.told = told

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        observation, reward, done, infos = self.venv.step_wait()
        for name, values in self.told.items():
            for info, value in zip(infos, values, strict=True):
                info[name] = value
        return observation, reward, done, infos


def dream(tiny_kwargs: dict[str, Any]) -> Any:
    return make_sb3_env("RiseImagined-BoxClose-v0", 2, seed=0, horizon_s=3.0, **tiny_kwargs)


def random_bends(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, 2, 28)).astype(np.float32)


@pytest.mark.parametrize("tries", [1, 3])
def test_a_gain_is_what_a_bend_adds_to_the_advantage_of_the_same_dream(tries: int, tiny_kwargs: dict[str, Any]) -> None:
    env, plain, policy = dream(tiny_kwargs), dream(tiny_kwargs), narrow_policy()
    residual = ResidualVecEnv(env, policy, pay="gain", charge=0.01, tries=tries)
    residual.reset()
    observation, gained = plain.reset(), []
    for step in range(4):  # the third ends at the horizon: rows go on in dreams of their own
        own = policy.act(observation, TEXT * 2)
        worth = plain.env_method("advantages_of", own)[0]
        for knots in random_bends(tries, seed=step):
            _, reward, ended, _ = residual.step(knots)
        bent = own + bends(torch.from_numpy(knots), 10, BOX_CLOSE, residual.reach).numpy()
        observation, _, over, infos = plain.step(bent.clip(-1, 1))
        assert ended.tolist() == over.tolist()
        expected = np.array([info["advantage"] for info in infos]) - worth - 0.01 * (knots**2).sum(1)
        np.testing.assert_allclose(reward, expected, atol=3e-4)  # 0.1 and more
        gained.append(reward)
    assert np.ptp(gained) > 0.03


@pytest.mark.parametrize("tries", [1, 2])
def test_the_policys_own_chunk_gains_nothing(tries: int, tiny_kwargs: dict[str, Any]) -> None:
    env = ResidualVecEnv(dream(tiny_kwargs), narrow_policy(), pay="gain", charge=0.01, tries=tries)
    env.reset()
    for _ in range(3):
        np.testing.assert_array_equal(env.step(np.zeros((2, 28), np.float32))[1], 0)


def test_while_bends_are_tried_nothing_moves(tiny_kwargs: dict[str, Any]) -> None:
    env = ResidualVecEnv(dream(tiny_kwargs), narrow_policy(), pay="advantage", tries=3)
    first = env.reset()["seen"]
    seen = [env.step(bend)[0]["seen"] for bend in random_bends(6)]
    for same in seen[:2]:
        np.testing.assert_array_equal(same, first)
    assert not np.array_equal(seen[2], first)
    np.testing.assert_array_equal(seen[3], seen[2])
    assert not np.array_equal(seen[5], seen[4])
    again = env.reset()["seen"]
    np.testing.assert_array_equal(env.step(random_bends(1)[0])[0]["seen"], again)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_algorithms_learn_from_tries(algorithm: str, tiny_kwargs: dict[str, Any]) -> None:
    env = ResidualVecEnv(dream(tiny_kwargs), narrow_policy(), pay="gain", tries=3)
    assert ALGORITHMS[algorithm](env).learn(16).num_timesteps == 16


@pytest.mark.parametrize("wrong", [{"pay": "score"}, {"charge": -0.1}, {"charge": np.nan}, {"charge": np.inf}])
def test_pay_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="pay for progress, advantage, gain and a charge from 0"):
        residual_env(**wrong)


@pytest.mark.parametrize("wrong", [{"tries": 0, "pay": "gain"}, {"tries": 2}, {"tries": 1.5, "pay": "gain"}])
def test_tries_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="tries from 1 were wanted"):
        residual_env(**wrong)


def test_an_env_without_advantages_says_what_to_pay_for() -> None:
    env = residual_env(pay="advantage")
    env.reset()
    with pytest.raises(UnsuitableEnv, match='use pay="progress"'):
        env.step(np.zeros((2, 28), np.float32))
    with pytest.raises(UnsuitableEnv, match="judges chunks before it plays them"):
        residual_env(pay="gain").reset()


def test_ends_are_told_in_what_the_learner_sees() -> None:
    env = residual_env(count=1)
    env.reset()
    for _ in range(200):
        _, _, done, infos = env.step(np.zeros((1, 28), np.float32))
        if done[0]:
            break
    assert done[0]
    assert infos[0]["terminal_observation"] in env.observation_space


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_was_learnt_is_what_plays_and_comes_back_from_disk(algorithm: str, tmp_path: Path) -> None:
    policy, env = narrow_policy(), residual_env()
    weights = {name: value.clone() for name, value in policy.state_dict().items()}
    model = ALGORITHMS[algorithm](env)
    still_at_first(model)
    observation = batch()
    untaught = ResidualPolicy.learnt(model, env)
    assert isinstance(untaught, Agent)
    np.testing.assert_array_equal(untaught.act(observation, TEXT * 2), policy.act(observation, TEXT * 2))
    model.learn(16)
    taught = ResidualPolicy.learnt(model, env)
    chunks = taught.act(observation, TEXT * 2)
    seen, own = env._seen(observation)
    knots = torch.from_numpy(model.predict({"seen": seen.numpy()}, deterministic=True)[0])
    expected = (own + bends(knots, 10, BOX_CLOSE, env.reach)).clamp(-1, 1)
    np.testing.assert_allclose(chunks, expected, atol=1e-5)
    assert not np.array_equal(chunks, policy.act(observation, TEXT * 2))
    assert all(torch.equal(value, env.policy.state_dict()[name]) for name, value in weights.items())
    loaded = named_agent(str(save_policy(tmp_path / "checkpoint", taught)), task="box_close")
    np.testing.assert_allclose(loaded.act(observation, TEXT * 2), chunks, atol=2e-2)  # stored in half precision
    np.testing.assert_array_equal(taught.twin().act(observation, TEXT * 2), chunks)


def test_other_networks_are_refused() -> None:
    env = residual_env()
    with pytest.raises(ValueError, match="use residual_networks"):
        ResidualPolicy.learnt(PPO("MultiInputPolicy", env, n_steps=4, batch_size=4, device="cpu"), env)


def test_envs_that_do_not_fit_are_refused() -> None:
    short = make_sb3_env(fake_env.SINGLE_ID, 1, seed=0, chunk=2)
    with pytest.raises(UnsuitableEnv, match="make it with chunk=10"):
        ResidualVecEnv(short, narrow_policy())
    with pytest.raises(UnsuitableEnv, match="proprio"):
        ResidualVecEnv(residual_env_space(), narrow_policy())


def test_a_policy_of_another_task_is_refused_whatever_the_rows_are_made_of(tiny_kwargs: dict[str, Any]) -> None:
    """The tasks have the same cameras and arms: nothing but their names tells."""
    envs: list[Any] = [
        dream(tiny_kwargs),
        VecMonitor(dream(tiny_kwargs)),
        make_sb3_env(fake_env.SINGLE_ID, 1, seed=0),
        DummyVecEnv([lambda: gymnasium.make(fake_env.SINGLE_ID)]),
    ]
    wanted = "the policy is of 'brick_sort' and the env of 'box_close': take a policy of 'box_close'"
    for env in envs:
        with pytest.raises(UnsuitableEnv, match=wanted):
            ResidualVecEnv(env, narrow_policy(BRICK_SORT))
        assert ResidualVecEnv(env, narrow_policy()).action_space.shape == (28,)


def test_an_env_that_names_no_task_is_refused() -> None:
    class Nameless(fake_env.FakeEnv):
        def __init__(self) -> None:
            super().__init__()
            self.cameras = self.task.cameras
            del self.task

    with pytest.raises(UnsuitableEnv, match=r"'box_close' was wanted.*without a task card"):
        ResidualVecEnv(DummyVecEnv([Nameless]), narrow_policy())


def residual_env_space() -> Any:
    """A `VecEnv` of the right actions that shows one camera only."""
    env: Any = make_sb3_env(fake_env.SINGLE_ID, 1, seed=0)
    env.observation_space = gymnasium.spaces.Dict({"head": env.observation_space["head"]})
    return env


@pytest.mark.parametrize("algorithm", [PPO, SAC])
def test_models_from_scratch_play_by_their_files(algorithm: type[PPO] | type[SAC], tmp_path: Path) -> None:
    few: dict[str, Any] = {"n_steps": 4, "batch_size": 4} if algorithm is PPO else {"buffer_size": 10}
    model = algorithm("MultiInputPolicy", make_sb3_env(fake_env.SINGLE_ID, 1, seed=0), seed=0, device="cpu", **few)
    model.save(tmp_path / "model.zip")
    name = f"sb3:{algorithm.__name__.lower()}:{tmp_path / 'model.zip'}"
    agent = named_agent(name, task="box_close")
    assert isinstance(agent, Sb3Agent)
    assert isinstance(agent, Agent)
    observation = batch()
    chunks = agent.act(observation, TEXT * 2)
    assert chunks.shape == (2, 10, 14)
    np.testing.assert_array_equal(chunks, model.predict(observation, deterministic=True)[0])
    assert evaluate(fake_env.SINGLE_ID, agent, 2, 0)["episodes"] == 2


def test_files_and_names_that_are_none_are_told(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("no model")
    for name, wrong in (
        ("sb3:dqn:model.zip", "one of a2c, ddpg, ppo, sac, td3"),
        (f"sb3:ppo:{tmp_path / 'missing.zip'}", "missing.zip is no model that PPO"),
        (f"sb3:sac:{tmp_path / 'text.zip'}", "text.zip is no model that SAC"),
    ):
        with pytest.raises(InvalidCheckpoint, match=wrong):
            named_agent(name, task="box_close")


def test_a_file_of_another_algorithm_or_without_a_model_is_told(tmp_path: Path) -> None:
    ALGORITHMS["ppo"](residual_env()).save(tmp_path / "ppo.zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("readme.txt", "no model")
    for name, wrong in (("td3", "ppo"), ("sac", "ppo"), ("ppo", "other")):
        with pytest.raises(InvalidCheckpoint, match=rf"{wrong}.zip is no model that {name.upper()} .*saved"):
            named_agent(f"sb3:{name}:{tmp_path / wrong}.zip", task="box_close")


NORMALISED = "without VecNormalize were wanted"


def scratch(venv: Any) -> PPO:
    few: dict[str, Any] = {"n_steps": 4, "batch_size": 4, "policy_kwargs": {"net_arch": [4]}}
    return PPO("MultiInputPolicy", venv, device="cpu", **few)


def test_models_that_saw_something_else_are_refused() -> None:
    def envs() -> Any:  # anew each time, for SB3's wrappers change the space of what they go around
        return make_sb3_env(fake_env.SINGLE_ID, 1, seed=0)

    for changed, wrong in (
        (VecFrameStack(envs(), 2), r"sees head .*\(6, 64, 64\)"),
        (VecNormalize(envs()), "sees head float32"),
        (VecNormalize(envs(), norm_obs_keys=["proprio"]), NORMALISED),
    ):
        with pytest.raises(UnsuitableEnv, match=wrong):
            Sb3Agent(scratch(changed), BOX_CLOSE)
    assert Sb3Agent(scratch(VecNormalize(envs(), norm_obs=False)), BOX_CLOSE).chunk == 10


def test_a_model_of_another_task_is_refused(tiny_world_of: Callable[[str], Path], tmp_path: Path) -> None:
    """The tasks have the same cameras and joints: its file alone tells which it learnt."""
    bricks = make_sb3_env("RiseImagined-BrickSort-v0", 1, seed=0, world_model=str(tiny_world_of("brick_sort")))
    scratch(bricks).save(tmp_path / "bricks.zip")
    name = f"sb3:ppo:{tmp_path / 'bricks.zip'}"
    with pytest.raises(UnsuitableEnv, match="learnt task 'box_close' was wanted, it learnt 'brick_sort'"):
        named_agent(name, task="box_close")
    assert named_agent(name, task="brick_sort").task == BRICK_SORT


def test_a_residual_of_what_was_changed_before_is_refused() -> None:
    envs = make_sb3_env(fake_env.SINGLE_ID, 2, seed=0)
    with pytest.raises(
        UnsuitableEnv, match=r"head uint8 \(64, 64, 3\), .* was wanted; the env has uint8 \(3, 64, 64\)"
    ):
        ResidualVecEnv(VecTransposeImage(envs), narrow_policy())
    with pytest.raises(UnsuitableEnv, match=NORMALISED):
        ResidualVecEnv(VecMonitor(VecNormalize(envs, norm_obs_keys=["proprio"])), narrow_policy())
    env = residual_env()
    with pytest.raises(UnsuitableEnv, match=NORMALISED):
        ResidualPolicy.learnt(ALGORITHMS["ppo"](VecNormalize(env)), env)


def test_a_model_of_another_env_is_refused() -> None:
    with pytest.raises(UnsuitableEnv, match="actions"):
        Sb3Agent(PPO("MlpPolicy", "Pendulum-v1", device="cpu"), BOX_CLOSE)
    model = ALGORITHMS["ppo"](residual_env())
    model.action_space = gymnasium.spaces.Box(-1, 1, (10, 14))
    with pytest.raises(UnsuitableEnv, match="it sees seen"):
        Sb3Agent(model, BOX_CLOSE)
