"""The episodes that `rise-gym compare --robot-env` wants: one robot, one connection, one episode after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rise_gym.commands._progress import progress_bar
from rise_gym.commands._robots import AS_USUAL, Driving, ExecutionOptions, driving
from rise_gym.commands._shared import card_of
from rise_gym.errors import InvalidRobot, RiseGymError, RobotFault
from rise_gym.tasks import TaskCard

if TYPE_CHECKING:
    import gymnasium

    from rise_gym.collection import Factory
    from rise_gym.evaluation import RobotEpisode


@dataclass(frozen=True, kw_only=True)
class RobotColumn:
    """What is wanted of a robot.

    Attributes:
        env_id: an id that somebody registered with their robot's arguments, `my_lab.envs:MyBoxClose-v0`.
        card: of the task that is compared.
        seeds: one an episode.
        kept: a file for finished episodes, so that an interrupted comparison goes on there; None keeps nothing.
        execution: how policies drive the robot.

    Raises:
        RiseGymError: if no such env is registered, it can't be driven like this, or no episode is wanted.
        InvalidRobot: if it is no robot's, or of another task.
    """

    env_id: str
    card: TaskCard
    seeds: range
    kept: Path | None = None
    execution: ExecutionOptions = AS_USUAL

    @cached_property
    def driving(self) -> Driving:
        """How policies drive the robot."""
        return driving(self.env_id, execution=self.execution)

    def __post_init__(self) -> None:
        from rise_gym.robot_envs import is_robot, registered

        if not self.seeds:
            raise RiseGymError("a robot's column needs at least one episode: give --robot-episodes 1 or more")
        if is_robot(registered(self.env_id)) is False:
            raise InvalidRobot(_no_robot(self.env_id))
        theirs = card_of(self.env_id)
        if theirs.name != self.card.name:
            raise InvalidRobot(
                f"{self.env_id!r} is of the task {theirs.name}, compared is {self.card.name}: give --task "
                f"{theirs.name}, or an id that was registered with task={self.card.name!r}"
            )
        _ = self.driving  # refuses what can't be


def played_on_robot(column: RobotColumn, agents: Sequence[tuple[str, Factory]]) -> list[list[RobotEpisode]]:
    """The episodes of each agent, a list each. What was played is kept when the robot fails or somebody interrupts.

    Args:
        column: what is wanted.
        agents: names, and how to build them; they drive the robot as the column says.

    Raises:
        RobotFault: if the robot can't be reached or used any more.
        InvalidRobot: if the env is no robot's, which only an episode in it may tell.
        RiseGymError: if what was kept can't be read.
    """
    done, how = _kept(column), column.driving
    found = []
    count = len(agents) * len(column.seeds)
    with progress_bar(f"episodes in {column.env_id}", count) as step, closing(_Held(column)) as robot:
        for name, factory in agents:
            rows = {seed: done[name, seed] for seed in column.seeds if (name, seed) in done}
            for _ in rows:
                step()
            for episode in _rest(
                column, robot, how.by(factory, name), [seed for seed in column.seeds if seed not in rows]
            ):
                rows[episode.seed] = episode
                _keep(column, name, episode)
                step()
            found.append([rows[seed] for seed in column.seeds])
    return found


class _Held:
    """The env, made when it is first needed, and held: some drivers let the arms fall when they are let go of."""

    def __init__(self, column: RobotColumn) -> None:
        self._column, self._chunk = column, 0
        self._env: gymnasium.Env[Any, Any] | None = None

    def env(self, chunk: int) -> gymnasium.Env[Any, Any]:
        import gymnasium

        if self._env is None or chunk != self._chunk:
            self.close()
            self._env, self._chunk = gymnasium.make(self._column.env_id, chunk=chunk, disable_env_checker=True), chunk
        return self._env

    def close(self) -> None:
        if self._env is not None:
            self._env.close()
        self._env = None


def _rest(column: RobotColumn, robot: _Held, factory: Factory, seeds: Sequence[int]) -> Iterator[RobotEpisode]:
    from rise_gym.evaluation import RobotEpisode, play

    if not seeds:
        return
    agent = factory.build()
    try:
        env = robot.env(getattr(agent, "chunk", column.card.chunk))
        for episode in play(column.env_id, agent, seeds, env=env):
            if not isinstance(episode, RobotEpisode):
                raise InvalidRobot(_no_robot(column.env_id))
            yield episode
    except RobotFault as error:
        if column.kept is None or not column.kept.exists():
            raise
        raise RobotFault(f"{error}. Finished episodes are kept in {column.kept}; the same command goes on") from error
    finally:
        getattr(agent, "close", lambda: None)()  # one that thinks ahead has a thread


def _no_robot(env_id: str) -> str:
    return (
        f"{env_id!r} is no robot's environment: --robot-env wants an id that you registered with the entry point "
        "rise_gym.envs.real.env:RealEnv and your robot's arguments, my_lab.envs:MyBoxClose-v0"
    )


def _keep(column: RobotColumn, name: str, episode: RobotEpisode) -> None:
    if column.kept is not None:
        column.kept.parent.mkdir(parents=True, exist_ok=True)
        with column.kept.open("a") as lines:
            where = {"env_id": column.env_id, "execution": column.driving.told}
            lines.write(json.dumps({**where, "agent": name, "episode": asdict(episode)}) + "\n")


def _kept(column: RobotColumn) -> dict[tuple[str, int], RobotEpisode]:
    """Of an interrupted comparison that drove the same robot in the same way, by agent and seed."""
    from rise_gym.evaluation import RobotEpisode
    from rise_gym.robot_envs import RobotFacts

    if column.kept is None or not column.kept.exists():
        return {}
    found = {}
    try:
        for row in map(json.loads, column.kept.read_text().splitlines()):
            if (row["env_id"], row.get("execution")) == (column.env_id, column.driving.told):
                episode = RobotEpisode(**{**row["episode"], "facts": RobotFacts(**row["episode"]["facts"])})
                found[row["agent"], episode.seed] = episode
    except (ValueError, KeyError, TypeError) as error:
        told = f"{column.kept} is no record of robot episodes: {error}; put it away to begin anew"
        raise RiseGymError(told) from error
    if found:
        print(f"going on from {len(found)} episodes in {column.kept}; without that file, all are played")
    return found
