"""Playing an expert in a replica, for the tests of the experts."""

from __future__ import annotations

from typing import Any

from rise_gym.agents.scripted import ScriptedExpert


def play(env: Any, expert: ScriptedExpert, ticks: int = 1000) -> list[Any]:
    """The infos of the episode under way, the expert acting to its end or for some ticks."""
    infos: list[Any] = []
    while len(infos) < ticks:
        _, _, terminated, truncated, info = env.step(expert.act(env)[1])
        infos.append(info)
        if terminated or truncated:
            break
    return infos
