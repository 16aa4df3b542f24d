"""The README of a policy's checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from rise_gym.tasks import TaskCard


class _Policy(Protocol):
    """What a card tells of."""

    @property
    def card(self) -> TaskCard: ...

    def parameters(self) -> Iterator[Any]: ...


def policy_card(policy: _Policy, how: str, config: Any = None) -> str:
    """Markdown: the task, how many parameters, `how` they were made, and, if known, with which settings."""
    count = sum(parameter.numel() for parameter in policy.parameters())
    settings = "" if config is None else f"\nSettings: `{config}`\n"
    return (
        "---\nlibrary_name: rise_gym\ntags: [robotics, vla]\n---\n"
        f"# Policy for {policy.card.title}\n\n{policy.card.instruction}\n\n{count:,} parameters, {how}.\n\n"
        "```python\nfrom rise_gym.agents.steering import load_agent\n\n"
        f'policy = load_agent("this folder")\n```\n{settings}'
    )
