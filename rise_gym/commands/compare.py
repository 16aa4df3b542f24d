"""`rise-gym compare`: do policies rank in the dream as they do in the replica?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from rise_gym.commands._progress import progress_bar
from rise_gym.commands._shared import env_id_of, known_task
from rise_gym.commands._trusting import exploit_trust, recorded_trust

if TYPE_CHECKING:
    from rise_gym.evaluation import EpisodeResult
    from rise_gym.starts import Starts
    from rise_gym.tasks import TaskCard


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
    processes: int = 2,
) -> None:
    """Play policies in dream and replica from the same starts, and compare how they rank.

    Correlations (Pearson, Spearman) and the mean maximum rank violation (MMRV: what trusting the imagined ranking
    costs) of success, score and return, each with a 95 % interval from a bootstrap over policies. A scatter plot lies
    beside the JSON file.

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
            whether their claims come true, and whether uncertainty tells where they are wrong.
        drift_chunks: how far those dreams go.
        exploit_starts: from how many starts an adversary tries to fool the dream, around the first policy's chunks.
        processes: how many replicas run side by side.
    """
    from rise_gym._trust_plots import scatter_plot
    from rise_gym.comparison import doubts, ranked
    from rise_gym.evaluation import plain, write_report_json

    card = known_task(task)
    task = card.name
    qualities = [(policy, amount) for policy in policies for amount in noise]
    seeds = list(range(seed, seed + episodes))
    starts = _starts(task, seeds)
    rows = []
    with progress_bar("comparing policies", len(qualities)) as step:
        for policy, amount in qualities:
            measured = _row(task, policy, amount, starts, world_model, processes)
            rows.append({"policy": policy, "noise": amount, **measured})
            step()
    found: dict[str, Any] = {
        "task": task, "world_model": world_model or f"bundled:{task}/world_model",
        "episodes": episodes, "seed": seed, "policies": rows, "agreement": ranked(rows),
    }  # fmt: skip
    found["doubts"] = doubts(len(rows), episodes, found["agreement"]["success"])
    if data:
        found |= recorded_trust(list(data), card, world_model, chunks=drift_chunks)
    if exploit_starts:
        few = starts.rows(range(min(exploit_starts, len(starts))))
        found["exploit"] = exploit_trust(policies[0], few, card, world_model)
    if json_file is not None:
        write_report_json(json_file, found)
        json_file.with_suffix(".png").write_bytes(scatter_plot(rows, found["agreement"]))
    print(json.dumps(plain(found), indent=2))
    for doubt in found["doubts"]:
        print(f"careful: {doubt}")
    if report is not None:
        print(f"report: {_report(report, card, found)}")


def _report(folder: Path, card: TaskCard, found: dict[str, Any]) -> Path:
    from rise_gym.evaluation import machine
    from rise_gym.report import write_trust_report
    from rise_gym.trust import TrustFigures

    parts: dict[str, Any] = {name: found.get(name) for name in ("calibration", "drift", "uncertainty", "exploit")}
    facts = {"seeds": f"{found['seed']} to {found['seed'] + found['episodes'] - 1}"}
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


def _row(
    task: str, policy: str, noise: float, starts: Starts, world_model: str | None, processes: int
) -> dict[str, dict[str, float]]:
    """Means of one policy, `true` and `imagined`."""
    from rise_gym.collection import Factory
    from rise_gym.comparison import means
    from rise_gym.evaluation import play

    arguments = {"task": task, "policy": policy, "advantage": 1.0, "noise": noise}
    agent = Factory(target="rise_gym.agents.noisy:NoisyAgent", arguments=arguments)
    seeds = starts.seeds.tolist()
    true = play(env_id_of("Mujoco", task), agent, seeds, processes=processes)
    return {"true": means(list(true)), "imagined": means(_dreamt(task, agent.build(), starts, world_model))}


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
