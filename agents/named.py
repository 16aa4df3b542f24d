"""Agents by their names, as the command line knows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rise_gym.agents.baselines import RandomAgent
from rise_gym.agents.lerobot_policy import load_lerobot
from rise_gym.agents.openpi_client import SCHEME, OpenpiAgent
from rise_gym.agents.steering import AugmentedPolicy, load_agent
from rise_gym.agents.trainable import LEROBOT, TrainableAgent
from rise_gym.tasks import task_card

if TYPE_CHECKING:
    from rise_gym.agents.sb3 import Sb3Agent

SB3 = "sb3:"


def named_agent(name: str, *, task: str) -> TrainableAgent | AugmentedPolicy | OpenpiAgent | Sb3Agent | RandomAgent:
    """An agent of a task, by one of:

    `random`, a served policy's `openpi://host:port`, lerobot's `lerobot:<folder or hub id>`, Stable-Baselines3's
    `sb3:<algorithm>:<file>`, or a checkpoint, which is a folder, a bundled name or a hub id.

    Raises:
        InvalidCheckpoint: if there is no such checkpoint, or it is of another task.
        MissingPackage: without what it needs.
        RemoteFault, InvalidMessage: if nobody serves there, or another task.
        UnsuitableEnv: if a model of Stable-Baselines3 learnt on another kind of env.
    """
    if name == "random":
        return RandomAgent(task_card(task))
    if name.startswith(SCHEME):
        return OpenpiAgent(name, task)
    if name.startswith(LEROBOT):
        return load_lerobot(name.removeprefix(LEROBOT), task_card(task))
    if name.startswith(SB3):
        from rise_gym.agents.sb3 import load_sb3  # it takes seconds to import, and few need it

        return load_sb3(name.removeprefix(SB3), task_card(task))
    return load_agent(name, task=task)
