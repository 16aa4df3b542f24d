"""Agents with another chunk length or control rate than the env's: `ResampledControl`, and one for vector envs."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import SyncVectorEnv, VectorActionWrapper, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from rise_gym.envs._ticks import (
    Actions,
    ImpossibleRate,
    Stepped,
    TickWrapper,
    checked_chunk,
    chunk_of,
    rate_of,
    task_of,
)
from rise_gym.spaces import action_space, checked_actions
from rise_gym.tasks import TaskCard
from rise_gym.types import Observation

__all__ = ["Between", "ImpossibleRate", "ResampledControl", "VectorResampledControl", "resampled"]

Between = Literal["hold", "linear"]
_FINEST = 1000
"""Rates are read as fractions with denominators up to this, so that 29.97 Hz is 2997/100."""


class ResampledControl(TickWrapper, RecordConstructorArgs):
    """The env for an agent that gives `chunk` targets at `control_hz`, whatever the env's own chunk and rate.

    The agent's chunk and the control ticks that stand for it last equally long; where that takes several steps of
    the env, they are run one after the other and seen as one. With 10 Hz and 10 ticks a step inside,

    - `ResampledControl(env, chunk=50)`: chunks of 50 ticks, five steps each;
    - `ResampledControl(env, control_hz=30)`: chunks of 30 targets, of which every third is commanded;
    - `ResampledControl(env, control_hz=5)`: chunks of 5 targets, each for two ticks.

    **Action** `Box(-1, 1, (chunk, A), float32)`, absolute joint targets as ever. **Reward** the sum over the steps
    inside: a return over the same ticks is the same. **Info** as inside, what is told a tick in a row
    (`progress`, `value`, `ticks`), and `executed_actions` float32 (ticks, A): what was commanded, at the env's rate;
    `resampling`: the same in words. After an end within the chunk, the rest of it is not executed.

    `RecordEpisodes` goes inside of this wrapper: what it records are control ticks.

    Args:
        env: any env of the registry, imagined, simulated or real.
        chunk: targets the agent gives a step; default: what one step of the env lasts.
        control_hz: targets the agent gives a second; default: the env's own rate.
        between: what a tick is told between two targets. `"hold"`: the target whose time it is, as a slower controller
            would leave it; `"linear"`: on the straight way from the target before, which is reached when its time is
            over (before the first, from where the joints are at reset). Both take every n-th of n times as many.

    Raises:
        ImpossibleRate: if the chunk does not come out as whole steps of the env.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        chunk: int | None = None,
        control_hz: float | None = None,
        between: Between = "hold",
    ) -> None:
        RecordConstructorArgs.__init__(self, chunk=chunk, control_hz=control_hz, between=between)
        if between not in ("hold", "linear"):
            raise ValueError(f'between is "hold" or "linear", got {between!r}')
        per_step, env_hz = chunk_of(env), rate_of(env)
        hz = env_hz if control_hz is None else control_hz
        chunk, ticks = _fitted(chunk, hz, per_step, env_hz)
        if between == "linear" and "proprio" not in getattr(env.observation_space, "spaces", ()):
            raise ValueError(
                'between="linear" begins at observation["proprio"], which a wrapper inside has taken away: put that '
                "wrapper outside of ResampledControl"
            )
        steps = ticks // per_step
        words = _words(chunk, hz, ticks, env_hz, between)
        words += f"; {steps} step{'s' * (steps > 1)} of {per_step} ticks"
        super().__init__(env, chunk=chunk, ticks=ticks, control_hz=float(hz), words=words)
        self.between = between

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        observation, info = super().reset(seed=seed, options=options)
        if self.between == "linear":
            joints = task_of(self.env).scale_action(np.asarray(observation["proprio"], np.float64))
            self._memory = [joints.clip(-1, 1)]
        return observation, info

    def step(self, action: Actions) -> Stepped:
        """One chunk of the agent's: (chunk, A) in [-1, 1].

        Raises:
            InvalidAction: if it has another shape, or numbers that are not finite or outside [-1, 1].
        """
        targets = checked_actions(action, self.action_space.shape or ())
        previous = self._memory[0] if self._memory else None
        ticks = resampled(targets, self.ticks, between=self.between, previous=previous)
        if self.between == "linear":
            self._memory = [targets[-1]]
        return self._run(ticks)


class VectorResampledControl(VectorActionWrapper):
    """`ResampledControl` for a vector env of the registry, where a chunk of the agent's is one step of the env.

    Rows end at different times, so several steps in one would mix episodes: make the env with another `chunk=`
    instead. Targets are held between ticks. `resampling` says in words what becomes of a chunk.

    Args:
        env: e.g. `gym.make_vec("RiseImagined-BoxClose-v0", num_envs=8)`.
        control_hz: targets the agent gives a second.

    Raises:
        ImpossibleRate: if one step of the env does not last a whole number of targets.
        TypeError: if a wrapper inside changed what actions are.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], *, control_hz: float) -> None:
        super().__init__(env)
        task: TaskCard = env.unwrapped.get_attr("task")[0]  # type: ignore[attr-defined]  # undeclared, but all have it
        self.ticks, rate = checked_chunk(env.single_action_space, task), _rate_inside(env, task)
        self.control_hz = float(control_hz)
        self.chunk, _ = _fitted(None, control_hz, self.ticks, rate, several_steps=False)
        self.resampling = _words(self.chunk, control_hz, self.ticks, rate, "hold")
        self.single_action_space = action_space(task, self.chunk)
        self.action_space = batch_space(self.single_action_space, env.num_envs)

    def actions(self, actions: Actions) -> Actions:
        """(N, chunk, A) -> (N, ticks, A)."""
        checked = checked_actions(actions, self.action_space.shape or ())
        return resampled(checked, self.ticks)


def _rate_inside(env: VectorEnv[Any, Any, Any], task: TaskCard) -> float:
    """Ticks a second of what the vector env takes: the task's, or that of a wrapper within, around it or its rows."""
    if isinstance(env, VectorResampledControl):
        return env.control_hz
    if isinstance(env, VectorWrapper):
        return _rate_inside(env.env, task)
    return rate_of(env.envs[0]) if isinstance(env, SyncVectorEnv) else float(task.control_hz)


def resampled(
    targets: Actions, ticks: int, *, between: Between = "hold", previous: NDArray[np.floating] | None = None
) -> Actions:
    """What `ticks` equal control ticks command in the time of the targets: (..., k, A) -> (..., ticks, A).

    A tick is given what is to be reached at its end. `previous` (..., A) is the target before the first; only
    `"linear"` asks for it, and begins at the first without.
    """
    count = targets.shape[-2]
    ends = np.arange(1, ticks + 1) * count  # in targets, times `ticks`: whole numbers, so nothing is rounded
    if between == "hold":
        return targets[..., -(-ends // ticks) - 1, :]
    start = targets[..., 0, :] if previous is None else previous.astype(np.float32)
    points = np.concatenate([start[..., None, :], targets], axis=-2)
    below, over = ends // ticks, ((ends % ticks) / ticks).astype(np.float32)[:, None]
    upper = np.minimum(below + 1, count)
    way = points[..., below, :] * (1 - over) + points[..., upper, :] * over
    return np.clip(way, -1, 1)  # rounding only: both ends lie within


def _fitted(
    chunk: int | None, hz: float, per_step: int, env_hz: float, *, several_steps: bool = True
) -> tuple[int, int]:
    """The agent's chunk, and how many ticks of the env last as long: whole steps of it, or one error."""
    if not (math.isfinite(hz) and hz >= 1 / _FINEST):
        raise ImpossibleRate(f"control_hz is targets a second, {1 / _FINEST:g} and up, got {hz}")
    ratio = Fraction(env_hz).limit_denominator(_FINEST) / Fraction(hz).limit_denominator(_FINEST)  # ticks a target
    targets = Fraction(per_step) / ratio if chunk is None else Fraction(chunk)
    ticks = targets * ratio
    if targets >= 1 and targets.denominator == 1 and ticks.denominator == 1 and ticks % per_step == 0:
        return int(targets), int(ticks)
    what = "a step of the env" if chunk is None else f"a chunk of {chunk}"
    least = ratio.denominator * (per_step // math.gcd(ratio.numerator, per_step))
    ways = [f"give chunk= a multiple of {least}"] if several_steps else []
    if targets.denominator == 1 and targets >= 1 and ticks.denominator == 1:
        fitting = [str(n) for n in range(1, per_step) if ticks % n == 0]
        ways.append(f"make the env with chunk={' or '.join(fitting[-4:])}")
    elif chunk is None:
        ways.append(f"make the env with chunk= a multiple of {ratio.numerator}")
    raise ImpossibleRate(
        f"{what} lasts {float(targets):.4g} targets at {hz:g} Hz and {float(ticks):.4g} ticks at {env_hz:g} Hz, but "
        f"whole targets and whole steps of {per_step} ticks were wanted: {', or '.join(ways)}"
    )


def _words(chunk: int, hz: float, ticks: int, env_hz: float, between: str) -> str:
    if hz == env_hz:
        return f"chunks of {chunk} ticks at {hz:g} Hz, as they are"
    if chunk % ticks == 0:
        return f"{chunk} targets at {hz:g} Hz, one in {chunk // ticks} commanded, as {ticks} ticks at {env_hz:g} Hz"
    how = "each held for its time" if between == "hold" else "joined by straight lines"
    return f"{chunk} targets at {hz:g} Hz, {how}, as {ticks} ticks at {env_hz:g} Hz"
