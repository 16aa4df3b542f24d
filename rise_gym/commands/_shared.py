"""What several commands share: recordings and their labels, names of environments, cards, checks on the way."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rise_gym._policy_cards import policy_card as policy_card
from rise_gym.errors import RiseGymError, UnknownTask
from rise_gym.task_files import SUFFIXES
from rise_gym.tasks import TaskCard, task_card

if TYPE_CHECKING:
    from rise_gym.agents.trainable import TrainableAgent
    from rise_gym.recordings import Recordings


Spread = Literal["uniform", "quantile"]
Device = Literal["auto", "cpu", "cuda"]
LATENTS = ".latents"  # folder beside a dataset where encoded frames are kept


def known_task(task: str) -> TaskCard:
    """The card of a task by its name, or by its file, which is made known to worker processes too."""
    from rise_gym.registration import TASKS_VARIABLE, register_task

    if Path(task).suffix not in SUFFIXES:
        return task_card(task)
    card = register_task(task)
    listed = [path for path in os.environ.get(TASKS_VARIABLE, "").split(os.pathsep) if path]
    path = str(Path(task).expanduser().absolute())
    os.environ[TASKS_VARIABLE] = os.pathsep.join(dict.fromkeys([*listed, path]))
    return card


def require_at_least(least: int, **numbers: int) -> None:
    """Refuse options, by their names, that are below what makes sense.

    Raises:
        RiseGymError: names the first of them.
    """
    for name, number in numbers.items():
        if number < least:
            raise RiseGymError(f"--{name.replace('_', '-')} of {least} or more was wanted, got {number}")


def require_advantage(advantage: float) -> None:
    """Refuse to ask a policy for an advantage that there is not.

    Raises:
        RiseGymError: says which there are.
    """
    if not abs(advantage) <= 1:
        raise RiseGymError(f"an advantage from -1 to 1, the best, was wanted, got {advantage:g}; it is no bin's number")


def card_of(env_id: str) -> TaskCard:
    """The card of a registered env's task; the module of `my_lab.envs:MyBoxClose-v0` is imported for it.

    Raises:
        RiseGymError: if no such env is registered, or it does not say which task it is of.
    """
    from rise_gym.robot_envs import registered

    task = registered(env_id).kwargs.get("task")
    if not isinstance(task, str):
        raise RiseGymError(
            f"the environment {env_id!r} does not say which task it is of: register it with kwargs={{'task': ...}}, "
            "the task's name"
        )
    return task_card(task)


def chosen_device(device: Device) -> str:
    """What torch calls it; "auto" is the GPU if there is one.

    Raises:
        RiseGymError: if a GPU was asked for and torch sees none.
    """
    import torch

    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise RiseGymError(
            "a CUDA GPU was wanted, torch sees none (`rise-gym doctor` tells what it sees); leave out --device"
        )
    return device if device != "auto" else "cuda" if there else "cpu"


def load_recordings(
    folders: list[Path], task: TaskCard, *, across_tasks: bool = False, with_frames: bool = True
) -> Recordings:
    """All episodes of several datasets, laid end to end: of one task, or `across_tasks` that share its robot."""
    from rise_gym.episodes import read_episodes, stored_task
    from rise_gym.recordings import Recordings, require_alike

    episodes = []
    for folder in folders:
        card = stored_task(folder) if across_tasks else task
        require_alike(task, card)
        episodes += read_episodes(folder, task=card, with_frames=with_frames)
    return Recordings.of(episodes, task)


def labelled(
    recordings: Recordings, world_model: str, spread: Spread, latents: Path, device: str = "cpu"
) -> tuple[Recordings, Any]:
    """Encoded recordings and the advantage of each moment; `device` is where both are worked out."""
    from rise_gym._latent_cache import encoded_once
    from rise_gym.advantage import AdvantageConfig, label_recordings
    from rise_gym.world_model import CompositionalWorldModel

    model = CompositionalWorldModel.from_pretrained(world_model, task=recordings.task.name, device=device)
    encoded = encoded_once(recordings, model.codec, latents)
    labels = AdvantageConfig(scale=model.config.advantage_scale, spread=spread)
    return encoded, label_recordings(encoded, model.value, model.longest_chunk, labels)


def replica_check(task: str, episodes: int, out: Path) -> Callable[[int, TrainableAgent], None]:
    """Watches a policy under training on training seeds of the replica; for the eyes only, and for `checks.jsonl`."""
    from rise_gym.evaluation import evaluate as play

    def check(step: int, policy: TrainableAgent) -> None:
        result = play(env_id_of("Mujoco", task), policy, episodes, 90_000)
        success, score = result["success_rate"], result["score_mean"]
        print(f"step {step}: replica success {success:.0%}, score {score:.2f} (n = {episodes})")
        with (out / "checks.jsonl").open("a") as lines:
            row = {name: result[name] for name in ("success_rate", "success_ci95", "score_mean", "episodes")}
            lines.write(json.dumps({"step": step, **row}) + "\n")

    return check


def env_id_of(backend: str, task: str) -> str:
    """The id of a task's environment.

    Raises:
        UnknownTask: if the task has none: one of your own has no replica.
    """
    from gymnasium import registry

    name = f"Rise{backend}-{task_card(task).title}-v0"
    if name not in registry:
        have = ", ".join(sorted(key for key in registry if key.startswith(f"Rise{backend}-")))
        raise UnknownTask(
            f"task {task!r} has no {name}; there are {have}: without a replica, record on the robot, train and "
            "improve from that, and measure on the robot"
        )
    return f"rise_gym:{name}"
