"""What the methods that learn by acting in an env share: which seeds they may use, what fits, and how a run goes on.

Such a run lives in a folder and is saved whole after each round of episodes. The same call in the same folder goes on
from there, also after `kill -9`, and comes to the same weights: what a round draws depends on its number alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rise_gym._one_task import check_one_task, task_if_told
from rise_gym.agents.flow_policy import FlowPolicy
from rise_gym.collection import AnyEnv, CollectionConfig
from rise_gym.errors import InvalidCheckpoint, UnsuitableEnv
from rise_gym.tasks import TaskCard
from rise_gym.training import (
    STATE_NAME,
    load_saved,
    make_folder,
    optimizer_tensors,
    restore_optimizer,
    save_atomically,
)
from rise_gym.types import Observation


def training_seeds(first_seed: int, episodes: int) -> range:
    """Env seeds to learn from.

    Raises:
        ReservedSeed: if one of them is kept for evaluation.
    """
    return CollectionConfig(first_seed=first_seed, episodes=episodes).seeds


def check_fits(env: AnyEnv, policy: FlowPolicy) -> None:
    """Refuse an env of another task or another chunk.

    Raises:
        UnsuitableEnv: says which.
    """
    check_card(policy, task_if_told(env))
    check_chunk(policy, env.action_space.shape)


def check_card(policy: FlowPolicy, card: TaskCard | None) -> None:
    """Refuse an env whose task card is another task's, or that has none.

    Raises:
        UnsuitableEnv: says which.
    """
    if card is None:
        raise UnsuitableEnv(
            f"an env of task {policy.card.name!r} was wanted, for which the policy was made, got one without a task "
            "card: give it an attribute `task`, a rise_gym.tasks.TaskCard"
        )
    check_one_task(policy, env=card)


def check_chunk(policy: FlowPolicy, shape: tuple[int, ...] | None) -> None:
    """Refuse actions that are not the policy's chunks.

    Raises:
        UnsuitableEnv: says which were wanted.
    """
    wanted = (policy.chunk, policy.actions)
    if shape != wanted:
        raise UnsuitableEnv(
            f"actions of shape {wanted} were wanted, as the policy plans them, the env takes {shape}: make it with "
            f"chunk={policy.chunk}"
        )


def row_of(observation: Observation) -> Observation:
    """An env's observation as a batch of one."""
    return {name: np.asarray(value)[None] for name, value in observation.items()}


def episode_figures(episode_return: float, info: Mapping[str, Any]) -> dict[str, float]:
    """An episode's undiscounted return, and by its last info score (0 to 10) and success."""
    return {
        "episode/return": episode_return,
        "episode/score": float(info["score"]),
        "episode/success": float(info["is_success"]),
    }


OnEpisode = Callable[[int, dict[str, float]], None]


class Curves(AbstractContextManager["Curves"]):
    """TensorBoard curves over episodes, in `folder/tensorboard`; tells `on_episode` as well.

    Raises:
        SaveFailed: if the folder can't be written.
    """

    def __init__(self, folder: str | Path, on_episode: OnEpisode | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.on_episode = on_episode
        make_folder(Path(folder))
        self._writer = SummaryWriter(str(Path(folder) / "tensorboard"))

    def episode(self, count: int, figures: dict[str, float]) -> None:
        """Note the figures of episode number `count`, from 1."""
        self.training(count, figures)
        if self.on_episode is not None:
            self.on_episode(count, figures)

    def training(self, count: int, figures: Mapping[str, float]) -> None:
        """Note the figures of a training stage after `count` episodes."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, count)

    def __exit__(self, *_: object) -> None:
        self._writer.close()


@dataclass(frozen=True)
class RunState:
    """The modules and optimizers of a run, saved and brought back together.

    Attributes:
        folder: of the run.
        settings: plain data that a resumed run has to share.
        modules, optimizers: by name; changed in place by `restore`.
    """

    folder: Path
    settings: Mapping[str, Any]
    modules: Mapping[str, nn.Module]
    optimizers: Mapping[str, torch.optim.Optimizer]

    def save(self, episodes: int, tensors: Mapping[str, Tensor] | None = None) -> None:
        """Write everything, `tensors` too, as it is after so many episodes; a save that dies leaves the earlier one.

        Raises:
            SaveFailed: if the disk is full or the folder can't be written.
        """
        everything = {f"extra.{name}": value for name, value in (tensors or {}).items()}
        for name, module in self.modules.items():
            everything |= {f"module.{name}.{key}": value for key, value in module.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            everything |= {f"optimizer.{name}.{key}": value for key, value in optimizer_tensors(optimizer).items()}
        owned = {name: value.detach().cpu().contiguous().clone() for name, value in everything.items()}
        save_atomically(self.folder, STATE_NAME, owned, {"episodes": episodes, "settings": self._plain_settings()})

    def restore(self) -> tuple[int, dict[str, Tensor]]:
        """Bring back what was saved: how many episodes that was after, and the further tensors; 0 of a new run.

        Raises:
            InvalidCheckpoint: if the folder holds another run, or a damaged one.
        """
        if not (self.folder / f"{STATE_NAME}.json").exists():
            return 0, {}
        tensors, meta = load_saved(self.folder, STATE_NAME)
        if meta.get("settings") != self._plain_settings():
            raise InvalidCheckpoint(
                f"{self.folder} holds a run of another policy or with other settings ({meta.get('settings')}); "
                "go on with its own, or start the new run in a folder of its own"
            )

        def part(prefix: str) -> dict[str, Tensor]:
            return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}

        try:
            for name, module in self.modules.items():
                module.load_state_dict(part(f"module.{name}."))
            for name, optimizer in self.optimizers.items():
                restore_optimizer(optimizer, part(f"optimizer.{name}."))
        except (RuntimeError, ValueError) as error:
            raise InvalidCheckpoint(f"{self.folder} holds a run of another form ({error})") from error
        return int(meta["episodes"]), part("extra.")

    def _plain_settings(self) -> Any:
        return json.loads(json.dumps(dict(self.settings)))
