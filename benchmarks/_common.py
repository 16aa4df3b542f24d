"""What every benchmark shares: where results go, tables to look at, and held-out episodes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
from rich.console import Console
from rich.progress import track
from rich.table import Table

from rise_gym._processes import Factory, in_order
from rise_gym.collection import FIRST_EVALUATION_SEED, ExplorationNoise
from rise_gym.commands._shared import env_id_of
from rise_gym.episodes import read_episodes, write_episodes
from rise_gym.evaluation import write_report_json
from rise_gym.report_material import play_and_record
from rise_gym.tasks import task_card
from rise_gym.types import Episode

RESULTS = Path(__file__).parent / "results"
TASK = "box_close"
WORLD_MODEL = f"bundled:{TASK}/world_model"
BASE = f"bundled:{TASK}/base"
IMPROVED = f"bundled:{TASK}/rise"
REPLICA = f"rise_gym:RiseMujoco-{task_card(TASK).title}-v0"
DREAM = f"rise_gym:RiseImagined-{task_card(TASK).title}-v0"
HELD_OUT_SEED = FIRST_EVALUATION_SEED + 10_000
"""First seed of the episodes that dynamics and value are judged on; those of `improvement.py` start at 100 000."""


@contextmanager
def recorded(name: str, output: Path | None, quick: bool, *, task: str | None = None) -> Iterator[dict[str, Any]]:
    """Yields what is to be filled with figures; written with commit, machine, command and seconds if all went well.

    task: whose figures they are, where that can be chosen; of any but the first it is part of the file's name.
    """
    began = time.perf_counter()
    figures: dict[str, Any] = {"benchmark": name, "quick": quick, "load_average_before": os.getloadavg()[0]}
    if task is not None:
        figures["task"] = task
    yield figures
    path = result_path(name, output, quick, task=task)
    seconds = round(time.perf_counter() - began, 1)
    write_report_json(path, {**figures, "command": command_of(name), "seconds": seconds})
    Console().print(f"[dim]{path}[/dim]")


def command_of(name: str) -> str:
    """The command line that this benchmark was started with."""
    return " ".join(["python", f"benchmarks/{name}.py", *sys.argv[1:]])


def one_thread_for_flow() -> None:
    """Optical flow of small frames on one thread: more only wait for each other. Ends the command without OpenCV."""
    try:
        import cv2
    except ImportError as error:
        raise SystemExit("optical flow needs OpenCV: pip install 'rise-gym[benchmarks]'") from error
    cv2.setNumThreads(1)


def result_path(name: str, output: Path | None, quick: bool, *, task: str | None = None) -> Path:
    """Where figures are written; a plot of them lies beside it."""
    return output or (RESULTS / f"{name}{of_task(task or TASK)}{'_quick' if quick else ''}.json")


def of_task(task: str) -> str:
    """What a file's name says of its task: nothing for the first, which was there before the others."""
    return "" if task == TASK else f"_{task}"


def title_of_task(recorded: Mapping[str, Any]) -> str:
    """The same of a heading above figures."""
    task = recorded.get("task", TASK)
    return "" if task == TASK else f": {task_card(task).title}"


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; the first column is text, the others are numbers."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*[f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row])
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def interval_text(interval: Sequence[float], *, percent: bool = False) -> str:
    """`low to high`."""
    low, high = interval
    return f"{100 * low:.0f} to {100 * high:.0f} %" if percent else f"{low:.2f} to {high:.2f}"


# -- held-out episodes ------------------------------------------------------------------------------------------------


class Player:
    """A replica and who acts in it, in a process of their own; called with a seed."""

    def __init__(self, actor: Factory, policy: str, chunk: int, task: str = TASK) -> None:
        self.env = gymnasium.make(env_id_of("Mujoco", task), chunk=chunk, record_ticks=True, disable_env_checker=True)
        self.actor, self.policy = actor.build(), policy

    def __call__(self, seed: int) -> Episode:
        return play_and_record(self.env, self.actor, seed, policy=self.policy)


def policy_actor(
    policy: str, *, noise: ExplorationNoise | None = None, advantage: float = 1.0, task: str = TASK
) -> Factory:
    """A saved policy as an actor."""
    agent = Factory(target="rise_gym.agents.flow_policy:load_policy", arguments={"name": policy, "task": task})
    arguments: Mapping[str, Any] = {"agent": agent, "noise": noise, "advantage": advantage}
    return Factory(target="rise_gym.collection:AgentActor", arguments=arguments)


def expert_actor(noise: float, *, task: str = TASK) -> Factory:
    """The scripted expert."""
    return Factory(target="rise_gym.agents.scripted:expert_actor", arguments={"task": task, "noise": noise})


def held_out_folder(task: str, count: int) -> Path:
    """Where the held-out episodes of a task are kept."""
    return Path(f"runs/held_out{of_task(task)}_{count}")


def held_out_episodes(folder: Path, count: int, *, policy: str = BASE, task: str = TASK) -> list[Episode]:
    """`count` episodes of seeds that no training sees: a third by the base policy, a third with exploration noise, a
    third by the noisy expert. Played once, then read from `folder`.
    """
    if folder.is_dir():
        episodes = read_episodes(folder, limit=count)
        if len(episodes) == count:
            return episodes
        raise SystemExit(f"{folder} holds {len(episodes)} episodes, {count} were wanted; remove it to have them played")
    third = count // 3
    parts = (
        (policy_actor(policy, task=task), "base", 10, third),
        (policy_actor(policy, noise=ExplorationNoise(), task=task), "base_noisy", 10, third),
        (expert_actor(1.0, task=task), "noisy_expert", 1, count - 2 * third),
    )
    episodes, seed, processes = [], HELD_OUT_SEED, 2 if count > 6 else 1
    for actor, name, chunk, number in parts:
        seeds = range(seed, seed + number)
        with closing(in_order(partial(Player, actor, name, chunk, task), seeds, processes=processes)) as played:
            episodes += list(track(played, f"playing {name}", total=number))
        seed += number
    write_episodes(folder, episodes, task_card(task))
    return read_episodes(folder)
