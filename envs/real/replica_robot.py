"""The replica as if it were a robot: a process of its own behind LeRobot's interface, to try a set-up without a robot.

`gym.make("RiseReal-BoxClose-v0", robot="rise_gym.envs.real.replica_robot:make_robot",
resetter="rise_gym.envs.real.replica_robot:make_resetter", clock="instant")`. It can be told to misbehave: see `Faults`.
Physics goes on by one control tick with every command, so nothing depends on how fast the machine is.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

import numpy as np

from rise_gym.envs.real.contract import ResetHelp
from rise_gym.envs.real.names import RobotNames
from rise_gym.envs.real.simulated import Faults, SimulatedRobot
from rise_gym.errors import RenderingUnavailable, RobotFault
from rise_gym.tasks import task_card

_SECRET = "RISE_GYM_REPLICA_ROBOT_SECRET"  # only who started the process may talk to it


class ReplicaRobot:
    """LeRobot's `Robot`, played by a process that is started by `connect` and ended by `disconnect`.

    Args:
        task: snake-case name. timeout_s: how long an answer may take. faults: see `Faults`.
        connect_timeout_s: how long the process may take until it is connected.
    """

    def __init__(
        self, task: str = "box_close", timeout_s: float = 20.0, connect_timeout_s: float = 60.0, **faults: Any
    ) -> None:
        self.task, self.timeout_s, self.faults = task_card(task), timeout_s, Faults(**faults)
        self.connect_timeout_s = connect_timeout_s
        self._names = RobotNames.of(self.task)
        self._process: subprocess.Popen[str] | None = None
        self._connection: Connection | None = None

    @property
    def observation_features(self) -> dict[str, Any]:
        pictures = dict.fromkeys(self._names.cameras, (*self.task.image_size, 3))
        return {**self.action_features, **pictures, **dict.fromkeys(self._names.stamps, float)}

    @property
    def action_features(self) -> dict[str, Any]:
        return dict.fromkeys(self._names.joints, float)

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    def connect(self) -> None:
        """Raises `ConnectionError` if the process does not come up in time; none is left then."""
        self._end()
        secret = secrets.token_hex(16)
        arguments = ["-m", __name__, "--task", self.task.name, "--faults", self.faults.to_json()]
        self._process = subprocess.Popen(
            [sys.executable, *arguments], stdout=subprocess.PIPE, text=True, env={**os.environ, _SECRET: secret},
            start_new_session=True,  # Ctrl-C in the terminal is for us, who brake it; no robot dies of that
        )  # fmt: skip
        try:
            self._connection = _connected(self._process, secret, self.connect_timeout_s)
        except BaseException:  # Ctrl-C too
            self._end()
            raise

    def disconnect(self) -> None:
        self._end()

    def _end(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()  # it has nothing to save, and one that hangs may be deaf to a polite request
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
        self._process = self._connection = None

    def get_observation(self) -> dict[str, Any]:
        return self._call("get_observation")

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        return self._call("send_action", action=action)

    def begin_episode(self, seed: int) -> dict[str, Any]:
        """Lays the scene out anew, as the replica's `reset(seed=seed)` does; no robot of LeRobot has this."""
        return self._call("begin_episode", seed=seed)

    def misbehave(self, **faults: Any) -> None:
        """Other faults from now on until it is connected anew, see `Faults`; none brings it to its senses."""
        self._call("misbehave", faults=asdict(Faults(**faults)))

    def stages(self) -> dict[str, Any]:
        """What the physics says: `stages`, `score` and `progress`. Nobody can ask a real robot for it."""
        return self._call("stages")

    def _call(self, method: str, **arguments: Any) -> dict[str, Any]:
        if self._connection is None:
            raise ConnectionError("the replica's process is not connected")
        try:
            send(self._connection, {"method": method, **arguments})
            if not self._connection.poll(self.timeout_s):
                raise TimeoutError(f"no answer within {self.timeout_s:g} s")
            answer = receive(self._connection)
        except (OSError, EOFError) as error:
            self._end()
            raise ConnectionError(f"the replica's process is gone ({type(error).__name__}: {error})") from error
        if "error" in answer:
            kind = RenderingUnavailable if answer["kind"] == RenderingUnavailable.__name__ else RobotFault
            raise kind(str(answer["error"]))
        return answer


def _connected(process: subprocess.Popen[str], secret: str, timeout_s: float) -> Connection:
    """A connection to a process that has just been started; one that takes too long is killed.

    Raises:
        ConnectionError: if it does not come up in time.
    """
    assert process.stdout is not None
    too_late = threading.Timer(timeout_s, process.kill)  # ends whatever we wait for below
    too_late.start()
    line = ""
    try:
        line = process.stdout.readline().strip()  # the port, once it listens
        if line.isdigit():
            return Client(("127.0.0.1", int(line)), authkey=secret.encode())
        problem: Exception | None = None
    except (OSError, EOFError, AuthenticationError) as error:
        problem = error
    finally:
        in_time = too_late.is_alive()
        too_late.cancel()
    raise ConnectionError(_why_not_connected(process, line, timeout_s, in_time)) from problem


def _why_not_connected(process: subprocess.Popen[str], line: str, timeout_s: float, in_time: bool) -> str:
    if not in_time:
        came = "its port came, but it did not answer there" if line.isdigit() else "nothing came"
        return (
            f"the replica's process was wanted to answer within {timeout_s:g} s, {came}, and it was ended; give a slow "
            "machine more time, `connect_timeout_s=` of the robot"
        )
    if line and not line.isdigit():
        return (
            f"the replica's process was wanted to say the number of its port, {line!r} came; leave its standard output "
            "to it: something that Python imports at its start (sitecustomize, say) prints there"
        )
    return (
        f"the replica's process was wanted to listen, it ended with code {process.wait()} before it answered; its own "
        "message is above"
    )


class ReplicaResetter:
    """Begins the replica's next episode with the env's seed, so that both backends start from the same moment."""

    as_replica = True

    def reset(self, help: ResetHelp) -> None:
        if not isinstance(help.robot, ReplicaRobot):
            raise RobotFault(f"only a ReplicaRobot can be reset like this, got {type(help.robot).__name__}")
        help.robot.begin_episode(help.seed)


def make_robot(task: str = "box_close", **arguments: Any) -> ReplicaRobot:
    """What `robot="rise_gym.envs.real.replica_robot:make_robot"` stands for; arguments are those of `ReplicaRobot`."""
    return ReplicaRobot(task, **arguments)


def make_resetter() -> ReplicaResetter:
    """What `resetter="rise_gym.envs.real.replica_robot:make_resetter"` stands for."""
    return ReplicaResetter()


def send(connection: Connection, message: Mapping[str, Any]) -> None:
    """Plain data and uint8 arrays as JSON and raw bytes: nothing that comes over a socket is ever unpickled."""
    arrays = {key: value for key, value in message.items() if isinstance(value, np.ndarray)}
    plain = {key: value for key, value in message.items() if key not in arrays}
    shapes = {key: value.shape for key, value in arrays.items()}
    connection.send_bytes(json.dumps({"plain": plain, "shapes": shapes}).encode())
    for value in arrays.values():
        connection.send_bytes(np.ascontiguousarray(value, np.uint8).tobytes())


def receive(connection: Connection) -> dict[str, Any]:
    """What `send` sent."""
    head = json.loads(connection.recv_bytes())
    found: dict[str, Any] = dict(head["plain"])
    for key, shape in head["shapes"].items():
        found[key] = np.frombuffer(connection.recv_bytes(), np.uint8).reshape(shape)
    return found


def _serve(robot: SimulatedRobot, listener: Listener) -> None:
    """Answers one client until it leaves."""
    with listener.accept() as connection:
        while True:
            try:
                call = receive(connection)
            except (EOFError, OSError):
                return
            method = call.pop("method")
            try:
                send(connection, getattr(robot, method)(**call))
            except Exception as error:  # told to the client, whose user can't see into this process
                send(connection, {"kind": type(error).__name__, "error": f"{type(error).__name__}: {error}"})


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", required=True)
    parser.add_argument("--faults", default="{}", help="JSON of the fields of Faults")
    arguments = parser.parse_args()
    robot = SimulatedRobot(arguments.task, Faults(**json.loads(arguments.faults)))
    with Listener(("127.0.0.1", 0), authkey=os.environ[_SECRET].encode()) as listener:
        print(listener.address[1], flush=True)
        _serve(robot, listener)


if __name__ == "__main__":
    _main()
