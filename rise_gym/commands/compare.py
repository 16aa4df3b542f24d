"""`rise-gym compare`: do policies rank in the dream as they do in the replica?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from rise_gym.commands._progress import progress_bar
from rise_gym.commands._robot_column import RobotColumn, played_on_robot
from rise_gym.commands._robots import AS_USUAL, ExecutionOptions
from rise_gym.commands._shared import env_id_of, known_task, require_at_least
from rise_gym.commands._trusting import exploit_trust, recorded_trust
from rise_gym.errors import RiseGymError

if TYPE_CHECKING:
    from rise_gym.collection import Factory
    from rise_gym.evaluation import EpisodeResult, RobotEpisode
    from rise_gym.starts import Starts
    from rise_gym.tasks import TaskCard


_SHOWN = ("calibration", "drift", "deviations", "uncertainty", "exploit")
"""What a report shows beside the rankings, as `TrustFigures` names it."""


def compare(
    policies: Annotated[list[str], tyro.conf.Positional],
    /,
    *,
    task: str = "box_close",
    world_model: str | None = None,
    noise: tuple[float, ...] = (0.0,),
    episodes: int = 50,
    seed: int = 130_000,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    report: Path | None = None,
    data: tuple[Path, ...] = (),
    drift_chunks: int = 12,
    exploit_starts: int = 0,
    robot_env: str | None = None,
    robot_episodes: int = 10,
    execution: Annotated[ExecutionOptions, tyro.conf.arg(name="")] = AS_USUAL,
    processes: int = 2,
) -> None:
    """Play policies in dream and replica from the same starts, and compare how they rank.

    Correlations (Pearson, Spearman) and the mean maximum rank violation (MMRV: what trusting the imagined ranking
    costs) of success, score and return, each with a 95 % interval from a bootstrap over policies. A scatter plot lies
    beside the JSON file.

    With `--robot-env`, a robot plays the same policies first, without asking anybody, and stands beside the other two
    in the figures, the scatter plot and the report. Episodes are paired with it only where its resetter can begin where
    the replica does. With `--json`, an interrupted comparison keeps the robot's finished episodes beside that file, and
    the same command goes on.

    Args:
        policies: folders, `bundled:<task>/<name>`, `openpi://host:port` or `random`; all of the task.
        task: name of the task, or its file.
        world_model: what dreams; default: the task's bundled one.
        noise: every policy is played with each of these multiples of the exploration noise, which makes several
            policies of one.
        episodes: matched starts for each of them, seeds `seed` and up.
        seed: the first seed; reported figures use 100000 and up.
        json_file: where to write what was found.
        report: a folder for `report.html`, which shows it in words and pictures.
        data: datasets that the world model did not learn from: their actions are dreamt, to see how dreams drift,
            whether their claims come true, and whether uncertainty tells where they are wrong; and, of rollouts with
            noise of one of the policies, whether the dream knows what a deviation is worth.
        drift_chunks: how far those dreams go.
        exploit_starts: from how many starts an adversary tries to fool the dream, around the first policy's chunks;
            each takes some minutes of a CPU core.
        robot_env: the id of an env that you registered with your robot's arguments, `my_lab.envs:MyBoxClose-v0`.
        robot_episodes: how many episodes it plays of each policy.
        execution: how policies drive the robot, as in `rise-gym evaluate`; dream and replica always wait for them.
        processes: how many replicas run side by side.
    """
    from rise_gym.comparison import doubts, ranked
    from rise_gym.robot_comparison import robot_figures

    _check_amounts(policies, noise, episodes, drift_chunks, exploit_starts)
    require_at_least(0, seed=seed)
    require_at_least(1, processes=processes, robot_episodes=robot_episodes)
    card = known_task(task)
    task = card.name
    _check_parts(policies, card, world_model, data)
    qualities = [(policy, amount) for policy in policies for amount in noise]
    column = _column(robot_env, card, range(seed, seed + robot_episodes), json_file, execution)
    starts = _starts(task, list(range(seed, seed + episodes)))
    agents = [_named(task, *quality) for quality in qualities]
    on_robot = None if column is None else played_on_robot(column, agents)  # all else was seen to be there
    rows = _rows(task, qualities, starts, world_model, processes, on_robot)
    found: dict[str, Any] = {
        "task": task, "world_model": _world_model(task, world_model),
        "episodes": episodes, "seed": seed, "policies": rows, "agreement": ranked(rows),
    }  # fmt: skip
    found["doubts"] = doubts(len(rows), episodes, found["agreement"]["success"])
    if column is not None and on_robot is not None:
        found["robot"] = robot_figures(rows, list(chain(*on_robot)), column.env_id, column.driving.told)
    if data:
        found |= recorded_trust(list(data), card, world_model, policies, chunks=drift_chunks)
    if exploit_starts:
        few = starts.rows(range(min(exploit_starts, len(starts))))
        found["exploit"] = exploit_trust(policies[0], few, card, world_model)
    _tell(found, json_file)
    if report is not None:
        print(f"report: {_report(report, card, found)}")
    if column is not None and column.kept is not None:
        column.kept.unlink(missing_ok=True)  # a policy of that name may be another one the next time


def _tell(found: dict[str, Any], json_file: Path | None) -> None:
    """Print what was found and what to be careful about, and write it, with a scatter plot beside it."""
    from rise_gym._trust_plots import scatter_plot
    from rise_gym.evaluation import plain, write_report_json

    of_robot = found.get("robot", {})
    print(json.dumps(plain(found), indent=2))
    for doubt in [*found["doubts"], *of_robot.get("doubts", [])]:
        print(f"careful: {doubt}")
    if json_file is not None:  # after it was told: where it can't be written it is not lost
        write_report_json(json_file, found)
        plot = scatter_plot(found["policies"], found["agreement"], of_robot.get("agreement"))
        json_file.with_suffix(".png").write_bytes(plot)


def _column(
    robot: str | None, card: TaskCard, seeds: range, json_file: Path | None, execution: ExecutionOptions
) -> RobotColumn | None:
    """What is wanted of the robot, if there is one; finished episodes are kept beside the JSON file."""
    if robot is None:
        if execution != AS_USUAL:
            raise RiseGymError("--execution, --execute-ticks and --fade-ticks are a robot's: name one, --robot-env")
        return None
    kept = None if json_file is None else json_file.with_suffix(".robot_episodes.jsonl")
    return RobotColumn(env_id=robot, card=card, seeds=seeds, kept=kept, execution=execution)


def _named(task: str, policy: str, noise: float) -> tuple[str, Factory]:
    """A policy made worse by so much noise: its name, and how to build it."""
    from rise_gym.collection import Factory

    arguments = {"task": task, "policy": policy, "advantage": 1.0, "noise": noise}
    return f"{policy}, noise {noise:g}", Factory(target="rise_gym.agents.noisy:NoisyAgent", arguments=arguments)


def _check_amounts(
    policies: list[str], noise: tuple[float, ...], episodes: int, drift_chunks: int, exploit_starts: int
) -> None:
    """Refuse what leaves nothing to compare.

    Raises:
        RiseGymError: says what was wanted.
    """
    from rise_gym.collection import ExplorationNoise

    if not policies:
        raise RiseGymError(
            "policies to compare were wanted, none was named: "
            "`rise-gym compare bundled:box_close/base bundled:box_close/rise`, say"
        )
    if not noise:
        raise RiseGymError("--noise wants one multiple or more of the exploration noise, 0 for none; none was named")
    for factor in noise:
        ExplorationNoise().times(factor)  # refuses what is none
    if episodes < 1:
        raise RiseGymError(f"an episode of each policy or more was wanted, --episodes is {episodes}")
    if drift_chunks < 1:
        raise RiseGymError(f"dreams of a chunk or more were wanted, --drift-chunks is {drift_chunks}")
    if exploit_starts < 0:
        raise RiseGymError(f"starts to exploit from were wanted, 0 for none, --exploit-starts is {exploit_starts}")


def _check_parts(policies: list[str], card: TaskCard, world_model: str | None, data: tuple[Path, ...]) -> None:
    """See that all there is to play, to dream and to read is there and of the task, before hours go into some of it.

    Raises:
        InvalidCheckpoint: for a policy or world model of another task, or none; and what else `named_agent` raises.
        InvalidDataset: for such data.
    """
    from rise_gym.agents.named import named_agent
    from rise_gym.checkpoints import load_checkpoint, resolve
    from rise_gym.episodes import read_episodes

    load_checkpoint(resolve(_world_model(card.name, world_model)), kind="world_model", task=card.name)
    for folder in data:
        read_episodes(folder, task=card, limit=0)
    for policy in dict.fromkeys(policies):
        named_agent(policy, task=card.name)


def _world_model(task: str, given: str | None) -> str:
    return f"bundled:{task}/world_model" if given is None else given


def _report(folder: Path, card: TaskCard, found: dict[str, Any]) -> Path:
    from rise_gym.evaluation import machine
    from rise_gym.report import write_trust_report
    from rise_gym.trust import TrustFigures

    parts: dict[str, Any] = {name: found.get(name) for name in _SHOWN}
    facts = {"seeds": f"{found['seed']} to {found['seed'] + found['episodes'] - 1}"}
    if "robot" in found:
        facts["robot"] = f"{found['robot']['env_id']}, {found['robot']['episodes']} episodes of each policy"
    facts |= {name: str(value) for name, value in machine().items()}
    return write_trust_report(folder, card, TrustFigures(compared=found, **parts), facts=facts)


def _starts(task: str, seeds: list[int]) -> Starts:
    import gymnasium

    from rise_gym.comparison import first_windows

    env = gymnasium.make(env_id_of("Mujoco", task), disable_env_checker=True)
    try:
        return first_windows(env, seeds)
    finally:
        env.close()


def _rows(
    task: str,
    qualities: Sequence[tuple[str, float]],
    starts: Starts,
    world_model: str | None,
    processes: int,
    on_robot: Sequence[Sequence[RobotEpisode]] | None,
) -> list[dict[str, Any]]:
    """What every policy comes to."""
    rows, played = [], [None] * len(qualities) if on_robot is None else on_robot
    with progress_bar("comparing policies", len(qualities)) as step:
        for (policy, noise), theirs in zip(qualities, played, strict=True):
            measured = _row(task, policy, noise, starts, world_model, processes, theirs)
            rows.append({"policy": policy, "noise": noise, **measured})
            step()
    return rows


def _row(
    task: str,
    policy: str,
    noise: float,
    starts: Starts,
    world_model: str | None,
    processes: int,
    on_robot: Sequence[RobotEpisode] | None,
) -> dict[str, Any]:
    """Means of one policy, `true` and `imagined`, and what its episodes on a robot add."""
    from rise_gym.comparison import means
    from rise_gym.evaluation import play
    from rise_gym.robot_comparison import robot_row

    _, agent = _named(task, policy, noise)
    true = list(play(env_id_of("Mujoco", task), agent, starts.seeds.tolist(), processes=processes))
    imagined = _dreamt(task, agent.build(), starts, world_model)
    row = {"true": means(true), "imagined": means(imagined)}
    return row if on_robot is None else {**row, **robot_row(true, imagined, on_robot)}


def _dreamt(task: str, agent: Any, starts: Starts, world_model: str | None) -> list[EpisodeResult]:
    import gymnasium

    from rise_gym.comparison import dreamt_episodes

    given: dict[str, Any] = {} if world_model is None else {"world_model": world_model}
    dreams = gymnasium.make_vec(
        env_id_of("Imagined", task), num_envs=len(starts.seeds), starts=starts, uncertainty_limit=float("inf"), **given
    )
    try:
        return dreamt_episodes(agent, dreams, starts.seeds.tolist())
    finally:
        dreams.close()
