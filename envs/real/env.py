"""A task on a real robot: `gym.make("RiseReal-BoxClose-v0", robot="my_lab.arms:make_robot")`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from rise_gym.envs._options import refuse_options
from rise_gym.envs.real.cameras import CameraFault, CameraLimits
from rise_gym.envs.real.clock import Clock, clock
from rise_gym.envs.real.contract import Judge, Operator, ResetHelp, Resetter, Robot, imported, made_of
from rise_gym.envs.real.familiar import FamiliarCameras
from rise_gym.envs.real.judges import judge_of, judges_named
from rise_gym.envs.real.limits import LIMIT_NAMES, Limits, SafetyFilter, own_limits
from rise_gym.envs.real.link import OperatorStop, RobotLink
from rise_gym.envs.real.moves import move_to
from rise_gym.envs.real.names import RobotNames
from rise_gym.envs.real.people import operator_of
from rise_gym.envs.real.senses import Senses
from rise_gym.envs.real.stuck import StuckFault, StuckLimits
from rise_gym.envs.real.watchdog import Watchdog
from rise_gym.errors import InvalidRobot, RobotFault, StepOutOfOrder
from rise_gym.robot_envs import RobotFacts
from rise_gym.spaces import action_space, checked_actions, observation_space
from rise_gym.tasks import task_card
from rise_gym.types import Observation

_LATE_AFTER_TICKS = 2.0  # without a command for so long, the watchdog brakes


class RealEnv(gymnasium.Env[Observation, NDArray[np.float32]]):
    """A task on a real robot, behind safety limits. Spaces and task card are those of the dream and the replica.

    **Action** `Box(-1, 1, (K, A), float32)`: the next K control ticks, each the absolute joint targets (left arm
    first, gripper last in each arm) scaled by the ranges of `env.unwrapped.task`. Anything else is refused. What is
    sent to the robot is what was asked for as far as the `limits` allow.

    **Observation** `Dict`: each camera of the task uint8 (H, W, 3), and `proprio` float32 (P,): measured joint angles
    in rad, gripper openings in m. Pictures of another size are cut to shape and shrunk.

    **Reward** the progress gained over the step. Progress in [0, 1] and success are the `judge`'s, and the operator's
    verdict goes before it. With neither, progress is 0 and `is_success` False.

    **End** `terminated` when the judge or the operator says done, or the operator says failed; `truncated` at the
    horizon, or at once, within the chunk, when the robot has to be stopped: `info["truncation"]` is `"horizon"`,
    `"operator"`, `"camera"`, `"stuck"`, `"robot"` or empty, `info["fault"]` says why. The robot then brakes and holds.
    After an operator's stop `reset` is refused until `release()`.

    **Info** `progress` float32, `asked` and `sent` float32 (n, A), scaled like actions, and `limited` bool (n, 5), one
    column each of `LIMIT_NAMES`: one row for each of the n <= K ticks that happened; `late` (braking commands that the
    watchdog sent because a step came late), `held` (ticks so far that `hold` was asked for, as a plan came late),
    `score` (10 times the progress), `is_success`, `truncation`, `fault`;
    `instruction` at reset; with `record_ticks` also `ticks`: every column of an `Episode`. What was sent is what is
    recorded.

    Args:
        task: snake-case name of the task.
        robot: an import string `"module:callable"`, called with `robot_arguments`; or, only here, a live robot, for
            `gym.make` copies its arguments. See `rise_gym.envs.real.contract.Robot`.
        robot_arguments: plain data.
        chunk: K, 1 and up; default: the task's.
        record_ticks: report every tick in `info["ticks"]`.
        judge: a world model (a folder, `bundled:<task>/world_model`, a hub id), an import string or a live judge.
        operator: `"keyboard"`, an import string, or a live one; who can stop the robot and give a verdict.
        resetter: an import string or a live one; None leaves everything as it is.
        limits: a `Limits`, or a dict of arguments of `Limits.of`, e.g. `{"velocity_rad_s": 1.0}`; what it leaves out is
            as the task's robot file says, or by default.
        starts: what first pictures are compared with, to refuse cameras that are exchanged: a dataset, a world model or
            a file of starts; True: those of the judge, if it is a world model that has some; False: nothing.
        cameras, stuck, names: a `CameraLimits`, a `StuckLimits`, a `RobotNames`, or a dict of their fields. Names, and
            units other than rad and m, are those of the task's robot file, or LeRobot's.
        clock: `"system"`; `"instant"` for a robot that is simulated step by step; or, only here, a live one.
        device: where the judge's world model runs.
        render_mode: None or `"rgb_array"`: the cameras side by side, uint8 (H, V * W, 3).

    Raises:
        InvalidRobot: if the robot, its names or its limits do not fit the task.

    Version history: v0.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 1}  # noqa: RUF012 - gymnasium's declaration

    def __init__(
        self,
        *,
        task: str = "box_close",
        robot: str | Robot | None = None,
        robot_arguments: Mapping[str, Any] | None = None,
        chunk: int | None = None,
        record_ticks: bool = False,
        judge: str | Path | Judge | None = None,
        operator: str | Operator | None = None,
        resetter: str | Resetter | None = None,
        limits: Limits | Mapping[str, Any] | None = None,
        starts: str | Path | bool = True,
        cameras: CameraLimits | Mapping[str, Any] | None = None,
        stuck: StuckLimits | Mapping[str, Any] | None = None,
        names: RobotNames | Mapping[str, Any] | None = None,
        clock: str | Clock = "system",
        device: str = "cpu",
        render_mode: str | None = None,
    ) -> None:
        self.task = task_card(task)
        self.task_description = self.task.instruction
        self.chunk = self.task.chunk if chunk is None else chunk
        self.record_ticks, self.render_mode = record_ticks, render_mode
        self._max_episode_steps = self.task.horizon_steps(self.chunk)  # LeRobot reads this name
        self.observation_space = observation_space(self.task)  # type: ignore[assignment]  # its arrays are our Observation
        self.action_space = action_space(self.task, self.chunk)  # type: ignore[assignment]  # Box is typed less narrowly
        self.metadata = {**type(self).metadata, "render_fps": max(1, round(self.task.control_hz / self.chunk))}
        self._camera_limits = cameras if isinstance(cameras, CameraLimits) else made_of(CameraLimits, cameras or {})
        self._stuck_limits = stuck if isinstance(stuck, StuckLimits) else made_of(StuckLimits, stuck or {})
        self._build(robot, robot_arguments, limits, names, clock)
        self.operator: Operator = operator_of(operator)
        self._judge = judge_of(judge, self.operator, task, device)
        self._familiar = FamiliarCameras(starts, judge, self.task)
        self._resetter: Resetter | None = imported(resetter, "a resetter") if isinstance(resetter, str) else resetter
        self.watchdog = Watchdog(
            self.link,
            late_after_s=_LATE_AFTER_TICKS * self._tick_s,
            stop_requested=self.operator.stop_requested,
        )
        self._over: bool | None = None  # None: never reset
        self._held = 0

    def _build(self, robot: Any, arguments: Any, limits: Any, names: Any, time: str | Clock) -> None:
        """The link to the robot."""
        if robot is None:
            raise InvalidRobot(
                'a real environment needs a robot: robot="my_lab.arms:make_robot", or, to try it without one, '
                'robot="rise_gym.envs.real.replica_robot:make_robot". `rise-gym evaluate` and `collect` take '
                "it as --robot, evaluate and compare an id that you registered with these arguments, "
                "my_lab.envs:MyBoxClose-v0: see docs/robot_safety.md"
            )
        live = imported(robot, "a robot", arguments) if isinstance(robot, str) else robot
        self._clock, self._tick_s = clock(time), 1 / self.task.control_hz
        kept = (
            limits if isinstance(limits, Limits) else Limits.of(self.task, **own_limits(self.task) | dict(limits or {}))
        )
        known = (
            names
            if isinstance(names, RobotNames)
            else made_of(RobotNames, names)
            if names
            else RobotNames.of(self.task)
        )
        self.link = RobotLink(live, known, self.task, SafetyFilter(kept, self.task, self._tick_s), self._clock)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode: the resetter prepares it, then everything is looked at once.

        Raises:
            RobotFault: if the operator has stopped the robot, it can't be reached, or a camera shows nothing, or what
                another one is known to show.
            InvalidRobot: if it measures in other units than rad and m, or stands outside its limits.
            InvalidStart: if there are options.
        """
        refuse_options(options, "how an episode begins is up to the resetter")
        super().reset(seed=seed)
        self._over = True  # until everything is known to be well
        drawn = int(self.np_random.integers(2**31)) if seed is None else seed
        self.watchdog.begin()
        self.link.check_stop()
        self.link.rest()  # in the middle of an episode, as after a TimeLimit, it moves
        self.link.connect()
        self.link.begin(self.link.observe().joints)
        if self._resetter is not None:
            self._prepare(self._resetter, drawn)
        self._senses = Senses(self.link, self.task, self._camera_limits, self._stuck_limits)
        self._familiar.check(self._senses.views())
        self.link.begin(self._senses.joints)
        self._judge.begin()
        self._tick, self._held, self._fault = 0, 0, ("", "")
        self._progress, _ = self._judge.look(self._senses.views(), self.task.instruction)
        self._next_tick_s, self._over, self.watchdog.late = self._clock.now(), False, 0
        info = {**self._info(None), "progress": np.full(1, self._progress, np.float32)}
        return self._senses.observation(), {**info, "instruction": self.task.instruction}

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Execute one chunk of K control ticks, in K ticks of time.

        Raises:
            InvalidAction: if the chunk has the wrong shape, or numbers that are not finite or outside [-1, 1].
            StepOutOfOrder: before `reset`, or after the episode's end.
        """
        checked = checked_actions(action, self.action_space.shape or ())
        self._check_order()
        before, rows, decided = self._progress, [], None
        try:
            for asked in checked:
                row, decided = self._one_tick(asked)
                rows.append(row)
                if decided is not None or self._fault[0] or self._tick >= self.task.horizon_ticks:
                    break
        except BaseException:  # Ctrl-C too: the robot is never left moving
            self._over = True
            self.link.rest()
            raise
        truncated = decided is None and (bool(self._fault[0]) or self._tick >= self.task.horizon_ticks)
        self._over = truncated or decided is not None
        if self._over:
            self.link.rest()
        info = self._info(decided, rows, truncated)
        return self._senses.observation(), self._progress - before, decided is not None, truncated, info

    @property
    def robot_facts(self) -> RobotFacts:
        """Who judges, and whether seeds are the replica's: what a comparison has to know."""
        as_replica = bool(getattr(self._resetter, "as_replica", False))
        return RobotFacts(judged_by=judges_named(self._judge), as_replica=as_replica)

    def render(self) -> NDArray[np.uint8] | None:
        """The cameras side by side, uint8 (H, V * W, 3), or None without a render mode."""
        return None if self.render_mode is None else np.concatenate(list(self._senses.views()), axis=1)

    def stop(self) -> None:
        """The operator's stop: from any thread, at any moment. The robot brakes within its limits and holds."""
        self.link.stop()

    def release(self) -> None:
        """The operator's word that the robot may move again; then `reset`."""
        self.link.release()

    def hold(self) -> NDArray[np.float32]:
        """The action (K, A) that brakes the robot and holds it where it was told to be last; `info["held"]` counts it.

        Raises:
            StepOutOfOrder: before the first `reset`.
        """
        self._held += self.chunk
        return np.tile(self.commanded, (self.chunk, 1))

    @property
    def commanded(self) -> NDArray[np.float32]:
        """Where the robot was told to be last, (A,) scaled like actions.

        Raises:
            StepOutOfOrder: before the first `reset`.
        """
        if self.link.commanded is None:
            raise StepOutOfOrder("nothing was commanded yet; call env.reset(seed=...)")
        return self._as_action(self.link.commanded)

    def end_episode(self) -> None:
        """Brake and hold: for whoever finds out between two steps that the episode can't go on. Then `reset`."""
        self._over = None if self._over is None else True
        self.link.rest()

    def close(self) -> None:
        """Brake, end the watchdog, let go of the robot."""
        try:
            self.end_episode()
        finally:  # a second Ctrl-C, while it brakes, must not leave it moving with nobody to look after it
            self.watchdog.close()
            self.link.rest()
            self.link.disconnect()

    def _one_tick(self, asked: NDArray[np.float32]) -> tuple[dict[str, Any], bool | None]:
        """Send, wait for the tick's end, look, judge; a fault ends it early and is kept in `_fault`."""
        decided = None
        row = {
            "asked": asked,
            "sent": self.commanded,
            "limited": np.zeros(len(LIMIT_NAMES), bool),
        }
        try:
            self.watchdog.check()
            if not self.link.stopped.is_set():
                sent = self.link.send(self.task.unscale_action(asked))
                row |= {"sent": self._as_action(sent.executed), "limited": sent.acted}
            self._wait_for_tick()
            self.link.check_stop()
            self._senses.look()
            self._progress, decided = self._judge.look(self._senses.views(), self.task.instruction)
        except (RobotFault, InvalidRobot) as fault:
            self._fault = (_kind(fault), str(fault))
        self._tick += 1
        seen = self._senses.observation() if self.record_ticks else {}
        return {**row, "progress": np.float32(self._progress), **seen}, decided

    def _wait_for_tick(self) -> None:
        """Until the tick's end; a tick that was late pushes all later ones back, for nothing is ever hurried.

        One that is late by less than a tick, as looking takes its time, ends when it would have. After a pause time is
        counted anew, or what is seen at its end would not be what became of its command.
        """
        now_s = self._clock.now()
        if now_s - self._next_tick_s >= self._tick_s:
            self._next_tick_s = now_s
        self._next_tick_s += self._tick_s
        self._clock.wait(self.link.stopped, self._next_tick_s)

    def _prepare(self, resetter: Resetter, seed: int) -> None:
        """Let the resetter do its work."""
        link = self.link
        try:
            resetter.reset(
                ResetHelp(robot=link.robot, seed=seed, move_to=partial(move_to, link), stopped=link.stopped.is_set)
            )
        finally:
            link.rest()
        link.check_stop()

    def _check_order(self) -> None:
        if self._over is None:
            raise StepOutOfOrder("`reset` was wanted before the first `step`; call env.reset(seed=...)")
        if self._over:
            raise StepOutOfOrder("the episode is over (terminated or truncated); call env.reset() to begin another")

    def _as_action(self, joints: NDArray[np.float64]) -> NDArray[np.float32]:
        """Joints (A,) in rad and m as the action that asks for them."""
        return np.clip(self.task.scale_action(joints), -1, 1)

    def _info(
        self, decided: bool | None, rows: list[dict[str, Any]] | None = None, truncated: bool = False
    ) -> dict[str, Any]:
        info: dict[str, Any] = {
            "score": 10.0 * float(self._progress),
            "is_success": decided is True,
            "truncation": (self._fault[0] or "horizon") if truncated else "",
            "fault": self._fault[1],
            "late": self.watchdog.late,
            "held": self._held,
        }
        if rows:
            columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
            reported = ("asked", "sent", "limited")
            info |= {name: columns.pop(name) for name in reported} | {"progress": columns["progress"].copy()}
            if self.record_ticks:
                info["ticks"] = columns
        return info


def _kind(fault: Exception) -> str:
    """The word for `info["truncation"]`."""
    words = {OperatorStop: "operator", CameraFault: "camera", StuckFault: "stuck"}
    return next((word for kind, word in words.items() if isinstance(fault, kind)), "robot")
