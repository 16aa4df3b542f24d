"""Does openpi's own client drive a policy that is served here, and do we understand what its encoding serves?

    python benchmarks/openpi_roundtrip.py                           # builds an environment for openpi-client, 100 MB
    python benchmarks/openpi_roundtrip.py --python ENV/bin/python   # one that is there already

openpi-client wants a numpy before 2, so it has an environment of its own. Both ways are gone, in ALOHA's layout: its
`WebsocketClientPolicy`, alone and behind its `ActionChunkBroker`, asks `rise-gym serve`, and gets the numbers that the
policy answers when it is asked directly; `OpenpiAgent` asks a server that encodes with openpi-client. The class of
openpi's server is not in that package, and openpi itself is on no package index: the message loop of that server was
written after it. No model of openpi's has been asked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import _common as common
import numpy as np
import tyro
from _environments import OPENPI, NotAnswered, NotBuilt, answer, built_in_s, python_of
from _openpi_inside import HORIZON
from numpy.typing import NDArray

from rise_gym.agents.flow_policy import load_policy
from rise_gym.agents.openpi_client import OpenpiAgent, OpenpiConfig
from rise_gym.agents.openpi_layout import ALOHA
from rise_gym.evaluation import write_report_json
from rise_gym.tasks import BOX_CLOSE
from rise_gym.types import Observation

INSIDE = Path(__file__).with_name("_openpi_inside.py")
POLICY, ROWS = "bundled:box_close/base", 3
ROUNDING = 1e-4  # of scaled actions: a batch of one and of three, and float64 on the way
RESIZED = 0.05  # the same, of pictures that were enlarged by one side and shrunk by the other


def main(
    *,
    python: Path | None = None,
    environments: Path = Path("runs/environments"),
    minutes: float = 20.0,
    output: Path | None = None,
) -> None:
    """Go both ways, and write down what came of it.

    Args:
        python: that of the environment; default: one is built.
        environments: where it is built, and kept.
        minutes: to give up building it after.
        output: the result; default: `benchmarks/results/openpi_roundtrip.json`.
    """
    began = time.monotonic()
    result: dict[str, Any] = {"installed": [" ".join(part) for part in OPENPI.installs], "layout": ALOHA.name}
    try:
        known = python or python_of(OPENPI, environments, minutes)
    except NotBuilt as reason:
        sys.exit(str(reason))
    if python is None:
        result["built_in_s"] = built_in_s(known)
    for name, way in {"their_client_our_server": driven, "our_client_their_encoding": served}.items():
        try:
            result[name] = way(known)
        except NotAnswered as reason:
            result[name] = {"agrees": False, "failed": str(reason)}
    result |= {"command": "python benchmarks/openpi_roundtrip.py", "seconds": round(time.monotonic() - began)}
    write_report_json(output or common.RESULTS / "openpi_roundtrip.json", result)
    print(json.dumps(result, indent=2))
    if not all(result[name]["agrees"] for name in ("their_client_our_server", "our_client_their_encoding")):
        sys.exit(1)


def driven(python: Path) -> dict[str, Any]:
    """Their client asks `rise-gym serve`; what it gets beside what the policy answers when it is asked directly."""
    seen = observations(ROWS)
    wanted = ALOHA.to_wire(
        BOX_CLOSE.unscale_action(load_policy(POLICY).act(seen, [BOX_CLOSE.instruction] * ROWS)), BOX_CLOSE
    )
    with tempfile.TemporaryDirectory() as folder, served_policy() as (host, port):
        questions, answers = Path(folder) / "questions.npz", Path(folder) / "answers.npz"
        np.savez(questions, **requests(seen))
        told = answer([python, INSIDE, "drive", host, port, questions, answers])
        with np.load(answers) as got:
            chunks, ticks = got["chunks"], got["ticks"]
    found = {
        "differs_by": _apart(chunks[:ROWS], wanted),
        "one_by_one_differs_by": _apart(ticks, wanted[0]),
        "enlarged_pictures_differ_by": _apart(chunks[ROWS], wanted[0]),
    }
    fits = max(found["differs_by"], found["one_by_one_differs_by"]) < ROUNDING
    fits = fits and found["enlarged_pictures_differ_by"] < RESIZED and bool(told["refused"]) and told["timed"]
    metadata = {name: told["metadata"][name] for name in ("server", "policy", "task", "layout", "chunk")}
    return {**told, "metadata": metadata, **found, "agrees": fits}


def served(python: Path) -> dict[str, Any]:
    """`OpenpiAgent` asks a server that encodes with their package; it holds the state, drawn towards zero."""
    seen = observations(ROWS)
    with subprocess.Popen(
        [python, INSIDE, "serve", str(ROWS)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        address = f"openpi://127.0.0.1:{json.loads(_line(process.stdout))['port']}"
        with OpenpiAgent(address, BOX_CLOSE.name, OpenpiConfig(layout=ALOHA, resize_px=224, overshoot=10.0)) as agent:
            acted = agent.act(seen, [BOX_CLOSE.instruction] * ROWS)
        told = json.loads(process.communicate(timeout=60)[0].splitlines()[-1])
    state = ALOHA.to_wire(np.asarray(seen["proprio"], np.float64), BOX_CLOSE)
    held = np.multiply(np.linspace(1, 0.5, HORIZON)[: agent.chunk, None], state[:, None])
    wanted = BOX_CLOSE.scale_action(ALOHA.from_wire(held, BOX_CLOSE)).clip(-1, 1)
    differs = float(np.abs(acted - wanted).max())
    return {**told, "chunks": list(acted.shape), "differs_by": differs, "agrees": differs < ROUNDING}


def observations(rows: int) -> Observation:
    """Noise for pictures, and joints within their ranges; in the task's own layout."""
    rng = np.random.default_rng(0)
    views: Observation = {name: rng.integers(0, 256, (rows, 64, 64, 3), dtype=np.uint8) for name in BOX_CLOSE.cameras}
    joints = rng.uniform(BOX_CLOSE.action_low, BOX_CLOSE.action_high, (rows, 14)).astype(np.float32)
    return {**views, "proprio": joints}


def requests(seen: Observation) -> dict[str, Any]:
    """The messages of these rows, as arrays by name."""
    rows = [
        ALOHA.request({name: column[row] for name, column in seen.items()}, BOX_CLOSE.instruction, BOX_CLOSE, None)
        for row in range(len(seen["proprio"]))
    ]
    pictures = {name: np.stack([row["images"][name] for row in rows]) for name in rows[0]["images"]}
    return {
        **pictures,
        "state": np.stack([row["state"] for row in rows]),
        "prompt": np.array([row["prompt"] for row in rows]),
    }


@contextmanager
def served_policy() -> Iterator[tuple[str, str]]:
    """`rise-gym serve` in a process of its own; yields host and port."""
    command = [
        sys.executable,
        "-u",
        "-m",
        "rise_gym",
        "serve",
        "--policy",
        POLICY,
        "--layout",
        ALOHA.name,
        "--port",
        "0",
    ]
    where = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=where) as process:
        try:
            host, port = _line(process.stdout).split("openpi://")[1].split(";")[0].split(":")
            yield host, port
        finally:
            process.terminate()


def _line(stream: IO[str] | None) -> str:
    """The first line of a process. Raises NotAnswered if it ends without one."""
    assert stream is not None
    if not (line := stream.readline()):
        raise NotAnswered("a process that was to serve ended without a word")
    return line


def _apart(one: NDArray[Any], other: NDArray[Any]) -> float:
    """By how much joint targets differ at most, in the task's scaled units."""
    ours = (BOX_CLOSE.scale_action(ALOHA.from_wire(part, BOX_CLOSE)) for part in (one, other))
    return float(np.abs(next(ours) - next(ours)).max())


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
