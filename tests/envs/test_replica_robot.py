"""The replica as a robot whose process does not come up as it should."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from rise_gym.envs.real.replica_robot import ReplicaRobot

LISTENS_AND_HANGS = """
import socket, time
door = socket.create_server(("127.0.0.1", 0))
print(door.getsockname()[1], flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("does", "told"),
    [
        ("exec sleep 60", "within 0.5 s.*nothing came.*connect_timeout_s"),
        ("exit 3", "ended with code 3"),
        ("echo hello; exec sleep 60", "number of its port.*'hello' came"),
        (f"exec {sys.executable} -S -E -c '{LISTENS_AND_HANGS}'", "within 0.5 s.*connect_timeout_s"),
    ],
    ids=["hangs", "dies", "says something else", "hangs once it listens"],
)
def test_a_process_that_does_not_come_up_is_told_and_leaves_nothing(
    does: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, program = tmp_path / "number", tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho $$ > {number}\n{does}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    robot = ReplicaRobot(connect_timeout_s=0.5)
    with pytest.raises(ConnectionError, match=f"(?s){told}"):
        robot.connect()
    assert not robot.is_connected
    with pytest.raises(ProcessLookupError):
        os.kill(int(number.read_text()), 0)
