"""Asynchronous execution: overlapping chunks of which only the beginnings are executed, blended tick by tick."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from rise_gym.envs._ticks import Actions, ImpossibleRate, Stepped, TickWrapper, chunk_of, rate_of
from rise_gym.spaces import checked_actions

__all__ = ["Blend", "ImpossibleRate", "TemporalEnsemble", "averaged", "cross_faded", "taken_up"]

Blend = Literal["cross_fade", "exponential", "replace"]


class TemporalEnsemble(TickWrapper, RecordConstructorArgs):
    """The env for an agent that plans `chunk` ticks ahead and plans anew after `execute_ticks` of them.

    What the plans before still say about a tick is blended with what the new one says:

    - `"cross_fade"`, as on the paper's robot: linearly from the rest of the old plan, which counts most at first, to
      the new one, over the ticks that both have;
    - `"exponential"`, as in ACT: the mean over all plans that reach the tick, the i-th oldest weighted exp(-decay i);
    - `"replace"`: the new plan alone.

    With `latency_ticks` the agent thinks while the robot moves: the first ticks of a step are the old plan's, and what
    the new one says about them comes too late and is dropped. The first chunk of an episode is waited for. This is what
    asynchronous execution does to the actions, in a dream or the replica, whose time stands still between steps. A
    robot's does not: there, `rise_gym.envs.real.asynchronous` goes on executing while the agent thinks.

    **Action** `Box(-1, 1, (chunk, A), float32)`: the plan from now on. **Reward**, **info** and ends are as in
    `ResampledControl`: `executed_actions` float32 (execute_ticks, A) is what was commanded after blending. All ticks
    are those of the wrapped env; wrap a `ResampledControl` for another rate.

    Args:
        env: any env of the registry, with a `chunk=` that `execute_ticks` is a multiple of.
        chunk: ticks of a plan.
        execute_ticks: of which are executed before the next; default: one step of the env.
        blend: see above.
        latency_ticks: ticks that pass between an observation and the plan made from it.
        decay: of `"exponential"`, a plan; 0 weights all alike, below 0 the newest counts most.

    Raises:
        ImpossibleRate: if the plans do not overlap, do not reach until the next one comes, or are not whole steps.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        chunk: int,
        execute_ticks: int | None = None,
        blend: Blend = "cross_fade",
        latency_ticks: int = 0,
        decay: float = 0.01,
    ) -> None:
        RecordConstructorArgs.__init__(
            self, chunk=chunk, execute_ticks=execute_ticks, blend=blend, latency_ticks=latency_ticks, decay=decay
        )
        if blend not in get_args(Blend):
            raise ValueError(f"blend is one of {', '.join(get_args(Blend))}, got {blend!r}")
        if not math.isfinite(decay):
            raise ValueError(f"decay is a finite number, 0 to weigh all plans alike, got {decay}")
        per_step = chunk_of(env)
        ticks = per_step if execute_ticks is None else execute_ticks
        _check(chunk, ticks, latency_ticks, per_step)
        late = f", {latency_ticks} ticks late" if latency_ticks else ""
        words = f"chunks of {chunk} ticks at {rate_of(env):g} Hz, {ticks} executed of each, {blend}{late}"
        super().__init__(env, chunk=chunk, ticks=ticks, control_hz=rate_of(env), words=words)
        self.blend, self.latency_ticks, self.decay = blend, latency_ticks, decay

    def step(self, action: Actions) -> Stepped:
        """A new plan (chunk, A) in [-1, 1], of which, blended with the old, the first ticks are executed.

        Raises:
            InvalidAction: if it has another shape, or numbers that are not finite or outside [-1, 1].
        """
        plan = checked_actions(action, self.action_space.shape or ())
        if self.blend == "exponential":
            plans = [*self._memory, plan]
            blended = averaged(plans, self.ticks, decay=self.decay, latency_ticks=self.latency_ticks)
        else:
            blended = self._merged(plan)
            plans = [blended]
        self._memory = [one[self.ticks :] for one in plans if len(one) > self.ticks]
        return self._run(blended[: self.ticks])

    def _merged(self, plan: Actions) -> Actions:
        if not self._memory:
            return plan
        (old,) = self._memory
        return cross_faded(old, plan, latency_ticks=self.latency_ticks, abrupt=self.blend == "replace")


def cross_faded(old: Actions, new: Actions, *, latency_ticks: int = 0, abrupt: bool = False) -> Actions:
    """From the rest of the old plan (m, A) to the new one (H, A), both from now on; m <= H -> (H, A).

    The old one alone for `latency_ticks`, then its weight falls by equal steps until it ends; at once if `abrupt`.
    """
    since = np.arange(len(new), dtype=np.float32) - latency_ticks + 1
    over = 1 if abrupt else len(old) - latency_ticks + 1
    weight = np.clip(since / over, 0, 1)[: len(old), None]
    blended = new.copy()
    blended[: len(old)] = old * (1 - weight) + new[: len(old)] * weight
    return blended.clip(-1, 1)  # rounding only: both plans lie within


def taken_up(old: Actions, new: Actions, *, passed_ticks: int, fade_ticks: int = 0) -> Actions:
    """What is executed from the moment on when a new plan is there, made from what was seen `passed_ticks` ago.

    The rest of the old plan (m, A), from now on, is cross-faded into the new one (H, A), whose first `passed_ticks`
    are over -> (H - passed_ticks, A). If the old one is shorter than `fade_ticks`, it is held at its end.
    """
    fresh = new[passed_ticks:]
    held = np.repeat(old[-1:], max(0, fade_ticks - len(old)), axis=0)
    return cross_faded(np.concatenate([old, held])[: len(fresh)], fresh)


def averaged(plans: Sequence[Actions], ticks: int, *, decay: float, latency_ticks: int = 0) -> Actions:
    """The next `ticks` of plans (m, A), oldest first, the newest the longest -> (ticks, A).

    Each tick is the mean of the plans that reach it, the i-th oldest of these weighted exp(-decay i); the newest has no
    say about the first `latency_ticks`, unless it is the only one.
    """
    blended = np.empty((ticks, plans[-1].shape[1]), np.float32)
    for tick in range(ticks):
        known = plans[:-1] if tick < latency_ticks and len(plans) > 1 else plans
        said = np.stack([plan[tick] for plan in known if len(plan) > tick])
        weight = np.exp(-decay * np.arange(len(said)))
        blended[tick] = (weight / weight.sum()) @ said
    return blended.clip(-1, 1)  # rounding only: all plans lie within


def _check(chunk: int, ticks: int, latency_ticks: int, per_step: int) -> None:
    if ticks < 1 or ticks % per_step:
        raise ImpossibleRate(
            f"execute_ticks must be a multiple of the {per_step} ticks that a step of this env takes, got {ticks}; "
            "make the env with a smaller chunk="
        )
    if not 0 <= latency_ticks <= ticks or latency_ticks % 1:
        raise ImpossibleRate(
            f"latency_ticks is a whole number, 0 to the {ticks} ticks that are executed of a plan, for the agent "
            f"thinks about one plan at a time, got {latency_ticks}"
        )
    if chunk < ticks + max(1, latency_ticks):
        raise ImpossibleRate(
            f"a plan must reach beyond the {ticks} ticks executed of it, by latency_ticks ({latency_ticks}) and by at "
            f"least one, got chunk={chunk}; plan further, or make the env with a smaller chunk= and execute less"
        )
