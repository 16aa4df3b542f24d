"""Policies of different quality, from saved ones: asked for more or less advantage, or with noise in their actions."""

from __future__ import annotations

from dataclasses import dataclass

from rise_gym.agents.noisy import NoisyAgent


@dataclass(frozen=True, kw_only=True)
class Quality:
    """A saved policy (`random` for none), the advantage it is asked for, and multiples of the exploration noise."""

    name: str
    policy: str
    advantage: float = 1.0
    noise: float = 0.0


def qualities(base: str, recap: str, rise: str) -> list[Quality]:
    """The policies that trust is measured on, from bad to good."""
    return [
        Quality(name="random", policy="random"),
        Quality(name="base, noise 6", policy=base, noise=6.0),
        Quality(name="base, noise 3", policy=base, noise=3.0),
        Quality(name="base, noise 1.5", policy=base, noise=1.5),
        Quality(name="base, noise 0.5", policy=base, noise=0.5),
        Quality(name="base", policy=base),
        Quality(name="recap", policy=recap),
        Quality(name="rise, asked for the worst", policy=rise, advantage=-1.0),
        Quality(name="rise, noise 6", policy=rise, noise=6.0),
        Quality(name="rise, noise 3", policy=rise, noise=3.0),
        Quality(name="rise, noise 1.5", policy=rise, noise=1.5),
        Quality(name="rise, noise 0.5", policy=rise, noise=0.5),
        Quality(name="rise", policy=rise),
    ]


def built(quality: Quality, task: str) -> NoisyAgent:
    """The agent itself."""
    return NoisyAgent(task, quality.policy, quality.advantage, quality.noise)
