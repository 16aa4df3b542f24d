"""`rise-gym evaluate`: success and score of a policy over seeded episodes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from rise_gym.commands._progress import progress_bar
from rise_gym.commands._robots import AS_USUAL, NO_ROBOT, Driving, ExecutionOptions, RobotOptions, driving
from rise_gym.commands._shared import card_of, require_advantage, require_at_least
from rise_gym.errors import RiseGymError
from rise_gym.tasks import TaskCard

if TYPE_CHECKING:
    from rise_gym.collection import Factory
    from rise_gym.evaluation import EpisodeResult


def evaluate(
    env_id: Annotated[str, tyro.conf.Positional],
    /,
    *,
    policy: str | None = None,
    episodes: int = 50,
    seed: int = 100_000,
    advantage: float = 1.0,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    processes: int = 2,
    robot: Annotated[RobotOptions, tyro.conf.arg(name="")] = NO_ROBOT,
    execution: Annotated[ExecutionOptions, tyro.conf.arg(name="")] = AS_USUAL,
) -> None:
    """Success and score of a policy over seeded episodes, with 95 % intervals.

    On a robot: `RiseReal-BoxClose-v0 --robot ...`, or an id that you registered with your robot's arguments,
    `my_lab.envs:MyBoxClose-v0`. Episodes then come one after the other, without asking anybody, in one env of this
    process, and the policy thinks while its last plan is executed, unless `--execution synchronous` has the robot wait.
    If the robot fails or you interrupt, the result is that of the finished episodes, and says so.

    Args:
        env_id: a registered id, `RiseMujoco-BoxClose-v0` say, or `module:id`, whose module is imported first.
        policy: a folder, `bundled:<task>/<name>`, `openpi://host:port` (served: `rise-gym serve`, or an openpi server),
            `lerobot:<folder or hub id>` (a policy as lerobot wrote it, which has to be installed), `sb3:ppo:model.zip`
            (a model of Stable-Baselines3), `scripted` (replica only) or `random`; default: the task's bundled base.
        episodes: how many, seeds `seed` and up.
        seed: the first seed; reported figures use 100000 and up.
        advantage: what a policy is asked for, -1 to 1.
        json_file: also write the result there.
        processes: how many run side by side; a robot plays alone, whatever is said here.
        robot: yours; it goes before what an id was registered with. Somebody has to tell success: `--judge` or
            `--operator`.
        execution: how the policy drives a robot; the result has it under `robot`.
    """
    from rise_gym.evaluation import evaluate as play

    if episodes < 1:
        raise RiseGymError(f"an evaluation needs at least one episode, {episodes} were asked for: give --episodes")
    require_at_least(0, seed=seed)
    require_at_least(1, processes=processes)
    require_advantage(advantage)
    card = card_of(env_id)
    policy = policy or f"bundled:{card.name}/base"
    agent = agent_factory(policy, card)
    how = driving(env_id, robot=robot, execution=execution)
    agent = how.by(agent, policy, advantage=advantage)
    played: list[EpisodeResult] = []
    began = time.monotonic()
    try:
        with progress_bar(f"{policy} in {env_id}", episodes) as step:

            def finished(episode: EpisodeResult) -> None:
                played.append(episode)
                step()

            result = play(
                f"rise_gym:{env_id}" if ":" not in env_id else env_id, agent, episodes, seed,
                policy=policy, processes=processes, advantage=advantage, chunk=1 if policy == "scripted" else None,
                env_arguments=how.arguments, on_episode=finished,
            )  # fmt: skip
    except BaseException as error:  # Ctrl-C too
        if _of_a_robot(played):
            result = _so_far(played, env_id, policy, time.monotonic() - began, error)
            _tell(result, how, json_file)
        raise
    _tell({**result, "env_id": env_id}, how, json_file)


def _tell(result: dict[str, Any], how: Driving, json_file: Path | None) -> None:
    from rise_gym.evaluation import write_report_json

    if "robot" in result:
        result = {**result, "robot": {**result["robot"], **how.told}}
    print(json.dumps(result, indent=2))
    if json_file is not None:  # after it was told: where it can't be written it is not lost
        write_report_json(json_file, result)
    if "robot" in result and not result["robot"]["judged_by"]:
        print("careful: nobody judges in this env, so no episode succeeds: give it a judge or an operator")


def _so_far(
    played: list[EpisodeResult], env_id: str, policy: str, seconds: float, why: BaseException
) -> dict[str, Any]:
    """The finished episodes of a robot, which are dear."""
    from rise_gym.evaluation import summarise

    result = summarise(played, env_id=env_id, policy=policy, seconds=seconds)
    return {**result, "ended_early": str(why) or "interrupted"}


def _of_a_robot(played: list[EpisodeResult]) -> bool:
    from rise_gym.evaluation import RobotEpisode

    return bool(played) and isinstance(played[0], RobotEpisode)


def agent_factory(policy: str, task: TaskCard) -> Factory:
    """`scripted`, or whatever `named_agent` knows, to be built in each process."""
    from rise_gym.agents.named import named_agent
    from rise_gym.collection import Factory

    if policy == "scripted":
        return Factory(target="rise_gym.agents.scripted:expert_actor", arguments={"task": task.name})
    named_agent(policy, task=task.name)  # a wrong name is told here, not by a worker process
    return Factory(target="rise_gym.agents.named:named_agent", arguments={"name": policy, "task": task.name})
