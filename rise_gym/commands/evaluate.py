"""`rise-gym evaluate`: success and score of a policy over seeded episodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from rise_gym.commands._progress import progress_bar
from rise_gym.commands._robots import NO_ROBOT, RobotOptions, thinking_ahead
from rise_gym.errors import RiseGymError
from rise_gym.tasks import TaskCard, task_card

if TYPE_CHECKING:
    from rise_gym.collection import Factory


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
) -> None:
    """Success and score of a policy over seeded episodes, with 95 % intervals.

    Args:
        env_id: a registered id, `RiseMujoco-BoxClose-v0` say. On a robot (`RiseReal-BoxClose-v0 --robot ...`) a
            policy thinks while its last plan is executed; somebody has to tell success: `--judge` or `--operator`.
        policy: a folder, `bundled:<task>/<name>`, `openpi://host:port` (served: `rise-gym serve`, or an openpi server),
            `lerobot:<folder or hub id>` (a policy as lerobot wrote it, which has to be installed), `sb3:ppo:model.zip`
            (a model of Stable-Baselines3), `scripted` (replica only) or `random`; default: the task's bundled base.
        episodes: how many, seeds `seed` and up.
        seed: the first seed; reported figures use 100000 and up.
        advantage: what a policy is asked for, -1 to 1.
        json_file: also write the result there.
        processes: how many run side by side.
        robot: yours.
    """
    import rise_gym  # noqa: F401  (registers the ids)
    from rise_gym.evaluation import evaluate as play
    from rise_gym.evaluation import write_report_json

    spec_task = task_of(env_id)
    policy = policy or f"bundled:{spec_task.name}/base"
    agent, arguments = agent_factory(policy, spec_task), dict[str, Any]()
    if "RiseReal-" in env_id:
        robot.require_verdicts()
        agent, arguments = thinking_ahead(agent, policy, advantage=advantage), robot.env_arguments()
    with progress_bar(f"{policy} in {env_id}", episodes) as step:
        result = play(
            f"rise_gym:{env_id}" if ":" not in env_id else env_id, agent, episodes, seed,
            policy=policy, processes=processes, advantage=advantage, chunk=1 if policy == "scripted" else None,
            env_arguments=arguments, on_episode=lambda _: step(),
        )  # fmt: skip
    result["env_id"] = env_id
    if json_file is not None:
        write_report_json(json_file, result)
    print(json.dumps(result, indent=2))


def task_of(env_id: str) -> TaskCard:
    import gymnasium

    name = env_id.removeprefix("rise_gym:")
    if name not in gymnasium.registry:
        have = ", ".join(sorted(key for key in gymnasium.registry if key.startswith("Rise")))
        raise RiseGymError(f"no environment is called {env_id!r}; there are {have}")
    return task_card(gymnasium.registry[name].kwargs["task"])


def agent_factory(policy: str, task: TaskCard) -> Factory:
    """`scripted`, or whatever `named_agent` knows, to be built in each process."""
    from rise_gym.agents.named import named_agent
    from rise_gym.collection import Factory

    if policy == "scripted":
        return Factory(target="rise_gym.agents.scripted:expert_actor", arguments={"task": task.name})
    named_agent(policy, task=task.name)  # a wrong name is told here, not by a worker process
    return Factory(target="rise_gym.agents.named:named_agent", arguments={"name": policy, "task": task.name})
