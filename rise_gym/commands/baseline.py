"""`rise-gym baseline`: what RISE is compared with, learnt in the replica as if that were the robot."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from rise_gym.commands._progress import progress_bar
from rise_gym.commands._shared import env_id_of, known_task, policy_card
from rise_gym.commands.collect import collect
from rise_gym.commands.train import train
from rise_gym.errors import RiseGymError

if TYPE_CHECKING:
    from rise_gym.agents.flow_policy import FlowPolicy
    from rise_gym.agents.interaction import OnEpisode
    from rise_gym.collection import AnyEnv


Method = Literal["dagger", "ppo", "dsrl"]
CORRECTIONS = "corrections"  # folder of a DAgger run that holds its dataset


def baseline(
    method: Annotated[Method, tyro.conf.Positional],
    out: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    policy: str | None = None,
    task: str = "box_close",
    episodes: int = 80,
    first_seed: int = 60_000,
    steps: int | None = None,
    learning_rate: float | None = None,
    data: list[Path] | None = None,
    processes: int = 2,
    seed: int = 0,
) -> None:
    """Improve a policy by episodes of the replica, as if it were the robot; the result goes into `out/checkpoint`.

    dagger: the expert takes over once an episode, where the policy gets stuck, and finishes it (`collect --who
    correction`); demonstrations and corrections are then cloned together, from the policy's weights on. What the
    policy plays until then comes on top of the recorded frames.
    ppo: the policy's head learns from the rewards of its own episodes.
    dsrl: the policy stays, and the noise that it starts from is chosen by what SAC learns from rewards.

    Args:
        method: dagger, ppo or dsrl.
        out: where to; the same command goes on where it was. TensorBoard curves are in `out/run/tensorboard`.
        policy: where to start from, a flow policy; default: the task's bundled base.
        task: name of the task, or its file.
        episodes: the budget of interaction, one seed an episode; 80 is what the paper gives DSRL.
        first_seed: the first of their seeds; all have to be below 100000.
        steps: gradient steps in all, at most (ppo stops a stage that has gone far enough); by default the method's own.
        learning_rate: of the policy (ppo, dagger) or of actor and critics (dsrl).
        data: for dagger: datasets with the demonstrations that the policy learnt from.
        processes: for dagger: how many episodes are played side by side.
        seed: of the training.
    """
    for name, number in (("steps", steps), ("learning_rate", learning_rate)):
        if number is not None and not 0 < number < math.inf:
            raise RiseGymError(f"{name} above 0 was wanted, got {number}; without it the method takes its own")
    task = known_task(task).name
    policy = policy or f"bundled:{task}/base"
    if method == "dagger":
        _require_demonstrations(data, task)
        corrections = out / CORRECTIONS
        collect(
            corrections, who="correction", policy=policy, episodes=episodes, first_seed=first_seed, task=task,
            processes=processes,
        )  # fmt: skip
        train(
            "policy", out, data=[*(data or ()), corrections], task=task, initial=policy, steps=steps,
            learning_rate=learning_rate, seed=seed,
        )  # fmt: skip
        return
    if data:
        raise RiseGymError(f"{method} learns from its own episodes alone: leave out --data")
    given = {"episodes": episodes, "first_seed": first_seed, "learning_rate": learning_rate, "seed": seed}
    overrides = {name: value for name, value in given.items() if value is not None}
    (_ppo if method == "ppo" else _dsrl)(out, policy, task, steps, overrides)
    print(f"policy: {out / 'checkpoint'}")


def _require_demonstrations(data: list[Path] | None, task: str) -> None:
    """See that they can be read, before the expert plays for an hour.

    Raises:
        RiseGymError: if none were given. InvalidDataset: if there are none, or they are of another task.
    """
    from rise_gym.episodes import read_episodes
    from rise_gym.tasks import task_card

    if not data:
        raise RiseGymError("dagger clones demonstrations and corrections together: give --data with the former")
    for folder in data:
        read_episodes(folder, task=task_card(task), limit=0)


def _ppo(out: Path, policy: str, task: str, steps: int | None, overrides: dict[str, Any]) -> None:
    from rise_gym.agents.flow_policy import save_policy
    from rise_gym.agents.ppo import PpoConfig, learn_ppo

    config = PpoConfig(**overrides)
    if steps is not None:
        config = replace(config, updates=max(1, steps // config.rollouts))
    before, env = _policy_and_replica(policy, task)
    with progress_bar("PPO in the replica", config.episodes) as step:
        learnt = learn_ppo(before, env, config, out / "run", on_episode=_shown(step))
    card = policy_card(learnt, f"improved by PPO in the replica from {policy}", config)
    save_policy(out / "checkpoint", learnt, card=card, extra={"replica_episodes": config.episodes})


def _dsrl(out: Path, policy: str, task: str, steps: int | None, overrides: dict[str, Any]) -> None:
    from rise_gym.agents.dsrl import DsrlConfig, learn_dsrl
    from rise_gym.agents.trainable import save_policy

    config = DsrlConfig(**overrides)
    if steps is not None:
        config = replace(config, updates_per_episode=max(1, steps // config.training_stages))
    before, env = _policy_and_replica(policy, task)
    with progress_bar("DSRL in the replica", config.episodes) as step:
        learnt = learn_dsrl(before, env, config, out / "run", on_episode=_shown(step))
    card = policy_card(learnt, f"{policy} steered by DSRL in the replica", config)
    save_policy(out / "checkpoint", learnt, card=card, extra={"replica_episodes": config.episodes})


def _policy_and_replica(policy: str, task: str) -> tuple[FlowPolicy, AnyEnv]:
    import gymnasium

    from rise_gym.agents.flow_policy import load_policy

    loaded = load_policy(policy, task=task)
    return loaded, gymnasium.make(env_id_of("Mujoco", task), chunk=loaded.chunk, disable_env_checker=True)


def _shown(step: Callable[..., None]) -> OnEpisode:
    """Shows how an episode went beside the progress bar, and the mean score so far."""
    scores: list[float] = []

    def show(count: int, figures: dict[str, float]) -> None:
        scores.append(figures["episode/score"])
        step(count, f"score {scores[-1]:.1f}, mean {sum(scores) / len(scores):.2f}")

    return show
