"""Whether a policy and what it is to work with are of one task.

Several tasks share their cameras and arms: shapes fit all of them, and a policy would play a task that it never saw.
"""

from __future__ import annotations

from rise_gym.errors import UnsuitableEnv
from rise_gym.tasks import TaskCard


def task_if_told(thing: object) -> TaskCard | None:
    """The card of what a policy, a world model or an env (through its wrappers) is of; None if it tells none."""
    bare = getattr(thing, "unwrapped", thing)
    if isinstance(bare, TaskCard):
        return bare
    named = (getattr(bare, name, None) for name in ("card", "task"))  # one by one: diffusers warns of some
    return next((card for card in named if isinstance(card, TaskCard)), None)


def check_one_task(policy: object, **partners: object) -> None:
    """Refuse a policy and partners, by what they are, of other tasks; who tells no task is not asked.

    Raises:
        UnsuitableEnv: says which, and of which tasks.
    """
    own = task_if_told(policy)
    for name, partner in partners.items():
        other, what = task_if_told(partner), name.replace("_", " ")
        if own is not None and other is not None and own.name != other.name:
            raise UnsuitableEnv(
                f"policy and {what} of one task were wanted, the policy is of {own.name!r} and the {what} of "
                f"{other.name!r}: take a policy of {other.name!r}, or the {what} of {own.name!r}"
            )
