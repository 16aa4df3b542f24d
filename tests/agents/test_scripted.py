"""The scripted expert: it closes the box, takes over anywhere, and its noise makes it worse."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from rise_gym.agents.scripted import ExpertNoise, ScriptedExpert


class Blind:
    """Stands in for the painter: the expert looks at the physics, so these tests need neither OpenGL nor its time."""

    def paint(self, model: Any, data: Any, cameras: tuple[str, ...]) -> dict[str, np.ndarray]:
        return {camera: np.zeros((64, 64, 3), np.uint8) for camera in cameras}


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("rise_gym.envs.mujoco.env.painter", lambda size: Blind())
    return gymnasium.make("RiseMujoco-BoxClose-v0", chunk=1).unwrapped


def play(env: Any, expert: ScriptedExpert, seed: int, ticks: int = 1000) -> list[Any]:
    """The infos of the episode under way, the expert acting to its end or for some ticks."""
    expert.reset(env, seed)
    steps: list[Any] = []
    while len(steps) < ticks:
        steps.append(env.step(expert.act(env)[1]))
        if steps[-1][2] or steps[-1][3]:
            break
    return steps


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_it_closes_the_box_stage_by_stage(env: Any, seed: int) -> None:
    first = env.reset(seed=seed)[1]["progress"][0]
    steps = play(env, ScriptedExpert(), seed)
    assert steps[-1][2]
    assert steps[-1][4]["is_success"]
    scores = [step[4]["score"] for step in steps]
    reached = [scores.index(score) for score in (2.5, 5.0, 7.5, 10.0)]
    assert reached == sorted(reached)
    assert sum(step[1] for step in steps) == pytest.approx(1.0 - first, abs=1e-5)


def test_it_takes_over_in_the_middle(env: Any) -> None:
    """A fresh expert goes on from wherever the arms and the box are: the ground for corrections."""
    env.reset(seed=2)
    play(env, ScriptedExpert(), 2, ticks=70)
    assert not play(env, ScriptedExpert(ExpertNoise(joint_rad=0.1)), 3, ticks=5)[-1][2]
    assert play(env, ScriptedExpert(), 4)[-1][4]["is_success"]


def test_it_folds_again_what_sprang_open(env: Any) -> None:
    env.reset(seed=2)
    expert = ScriptedExpert()
    play(env, expert, 2, ticks=110)
    assert env.scene.flap_angle("left") < env.scene.config.folded_rad
    env.scene.data.joint("left_flap").qpos[0] = 1.5
    assert play(env, expert, 2)[-1][4]["is_success"]


def test_noise_is_executed_but_not_meant_and_depends_on_the_seed(env: Any) -> None:
    def acts(noise: ExpertNoise, seed: int) -> tuple[np.ndarray, np.ndarray]:
        env.reset(seed=1)
        expert = ScriptedExpert(noise)
        expert.reset(env, seed)
        pairs = [expert.act(env) for _ in range(3)]
        return np.array([clean for clean, _ in pairs]), np.array([executed for _, executed in pairs])

    clean, executed = acts(ExpertNoise(), 0)
    np.testing.assert_array_equal(clean, executed)
    noisy_clean, noisy = acts(ExpertNoise(joint_rad=0.03), 0)
    np.testing.assert_allclose(noisy_clean, clean)
    assert np.abs(noisy - clean).max() > 0.001
    np.testing.assert_array_equal(noisy, acts(ExpertNoise(joint_rad=0.03), 0)[1])
    assert not np.array_equal(noisy, acts(ExpertNoise(joint_rad=0.03), 1)[1])


@pytest.mark.parametrize(("seed", "ticks"), [(1, 20), (3, 100), (4, 130)])
def test_a_fresh_expert_finishes_what_another_began(env: Any, seed: int, ticks: int) -> None:
    env.reset(seed=seed)
    play(env, ScriptedExpert(), seed, ticks=ticks)
    assert play(env, ScriptedExpert(), seed)[-1][4]["is_success"]


def test_actions_are_smooth(env: Any) -> None:
    """A clone copies them, and a robot has to follow them."""
    env.reset(seed=1)
    expert = ScriptedExpert()
    expert.reset(env, 1)
    actions = []
    for _ in range(60):
        clean, executed = expert.act(env)
        actions.append(clean[0])
        env.step(executed)
    turned = np.abs(np.diff(env.task.unscale_action(np.array(actions)), axis=0)).reshape(-1, 2, 7)[:, :, :6]
    assert turned.max() <= 0.26  # rad a tick
