"""`rise-gym collect`: episodes of the replica, by the expert or a policy, as a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from rise_gym.commands._progress import progress_bar
from rise_gym.commands._robots import AS_USUAL, NO_ROBOT, Driving, ExecutionOptions, RobotOptions, driving
from rise_gym.commands._shared import env_id_of, known_task
from rise_gym.errors import RiseGymError

if TYPE_CHECKING:
    from rise_gym.collection import Factory
    from rise_gym.tasks import TaskCard
    from rise_gym.types import Source


Who = Literal["expert", "noisy_expert", "policy", "correction", "random", "babbling"]

_PLAYING: dict[Who, str] = {
    "random": "rise_gym.agents.baselines:RandomAgent",
    "babbling": "rise_gym.agents.babbling:BabblingAgent",
}


def collect(
    folder: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    who: Who = "expert",
    policy: str | None = None,
    episodes: int = 100,
    first_seed: int = 0,
    task: str = "box_close",
    noise: float | None = None,
    temperature: float | None = None,
    processes: int = 2,
    robot: Annotated[RobotOptions, tyro.conf.arg(name="")] = NO_ROBOT,
    execution: Annotated[ExecutionOptions, tyro.conf.arg(name="")] = AS_USUAL,
) -> None:
    """Record episodes of the replica, or of your robot (`--robot`), as a LeRobot dataset.

    Args:
        folder: the dataset; episodes whose seeds it has already are skipped. A policy that was trained anew at the
            same path is refused.
        who: the scripted expert, the expert with executed noise (near-misses, failures and recoveries), a policy,
            correction: the expert, from just before where a policy got stuck; random targets; or babbling: one arm or
            hand at a time, which teaches a world model what each command changes.
        policy: which policy: a folder, `bundled:<task>/<name>` or `lerobot:<folder or hub id>`; default: the task's
            bundled base.
        episodes: how many, one a seed.
        first_seed: the first seed; all have to be below 100000.
        task: name of the task, or its file.
        noise: factor of the noise (of the expert, or added to a policy's actions as exploration); default: 1.
        temperature: of a policy's sampling, 0 to 1, instead of its own.
        processes: how many run side by side; on a robot it is one.
        robot: yours, for `--who policy`. Somebody has to tell success: `--judge` or `--operator`.
        execution: how the policy drives it.
    """
    from rise_gym.agents.trainable import weights_fingerprint
    from rise_gym.collection import CollectionConfig, ExplorationNoise
    from rise_gym.collection import collect as run

    on_robot = robot.robot is not None
    if on_robot and who != "policy":
        raise RiseGymError(f"on a robot only a policy can be recorded so far, not {who!r}: --who policy")
    if who not in ("policy", "correction") and (policy is not None or temperature is not None):
        raise RiseGymError(
            f"--policy and --temperature go with --who policy or --who correction, {who!r} would play without them: "
            "say one of these, or leave them out"
        )
    if who in _PLAYING and noise is not None:
        raise RiseGymError(f"{who!r} plays without --noise, which is of an expert or a policy: leave it out")
    noise = 1.0 if noise is None else noise
    card = known_task(task)
    env_id = env_id_of("Real" if on_robot else "Mujoco", card.name)
    how = driving(env_id, robot=robot, execution=execution)
    policy, exploration = policy or f"bundled:{card.name}/base", ExplorationNoise().times(noise)
    sources: dict[Who, Source] = {"expert": "demonstration", "correction": "correction"}
    config = CollectionConfig(
        episodes=episodes, first_seed=first_seed, task=card.name, source=sources.get(who, "rollout"),
        policy=policy if who == "policy" else who,
        fingerprint=weights_fingerprint(policy) if who in ("policy", "correction") else None,
        processes=1 if on_robot else processes,
        episodes_per_file=1 if on_robot else 10,  # a robot's episodes are dear
    )  # fmt: skip
    agent = _agent(who, card, policy, temperature)
    if on_robot:
        env, actor = _robot(env_id, how, how.chunk(card.chunk)), how.by(agent, policy, noise=exploration)
    else:
        env, actor = _replica(who, env_id, card, agent), _actor(who, card.name, agent, noise)
    with progress_bar(f"collecting {who} episodes", episodes) as step:
        summary = run(config, folder, env, actor, on_episode=lambda _: step())
    print(
        f"{folder}: {summary.episodes} episodes, {summary.frames} frames, {summary.successes} successful, "
        f"{summary.size_bytes / 1e6:.0f} MB" + (f"; {how.told['execution']} execution" if how.robot else "")
    )


def _agent(who: Who, card: TaskCard, policy: str, temperature: float | None) -> Factory:
    """The policy, or what plays without one."""
    from rise_gym.collection import Factory

    if who in _PLAYING:
        return Factory(target=_PLAYING[who], arguments={"task": card})
    return Factory(
        target="rise_gym.agents.trainable:load_trainable",
        arguments={"name": policy, "task": card.name, "temperature": temperature},
    )


def _robot(env_id: str, how: Driving, chunk: int) -> Factory:
    from rise_gym.collection import Factory

    given = {"id": env_id, "chunk": chunk, "record_ticks": True, "disable_env_checker": True, **how.arguments}
    return Factory(target="gymnasium:make", arguments=given)


def _replica(who: Who, env_id: str, card: TaskCard, agent: Factory) -> Factory:
    """The replica; for corrections one that begins where the agent got stuck."""
    from rise_gym.collection import Factory

    chunk = card.chunk if who == "policy" or who in _PLAYING else 1
    given = {"id": env_id, "chunk": chunk, "record_ticks": True, "disable_env_checker": True}
    env = Factory(target="gymnasium:make", arguments=given)
    if who != "correction":
        return env
    return Factory(target="rise_gym.corrections:TakenOver", arguments={"env": env, "agent": agent})


def _actor(who: Who, task: str, agent: Factory, noise: float) -> Factory:
    from rise_gym.collection import ExplorationNoise, Factory

    if who in _PLAYING:
        return Factory(target="rise_gym.collection:AgentActor", arguments={"agent": agent})
    if who != "policy":
        factor = noise if who == "noisy_expert" else 0.15 * noise
        return Factory(target="rise_gym.agents.scripted:expert_actor", arguments={"task": task, "noise": factor})
    return Factory(
        target="rise_gym.collection:AgentActor", arguments={"agent": agent, "noise": ExplorationNoise().times(noise)}
    )
