"""What `openpi_roundtrip.py` runs in openpi-client's environment; nothing of this project can be imported here.

    python _openpi_inside.py drive HOST PORT OBSERVATIONS.npz ANSWERS.npz   # their client asks the server at HOST:PORT
    python _openpi_inside.py serve QUESTIONS                                # a server of their encoding, for so many

The last line printed is a JSON object.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

HORIZON = 16  # ticks of an answer, more than a chunk of this project's


def drive(host: str, port: str, observations: str, answers: str) -> dict[str, Any]:
    """Their client, by itself and behind their broker, which hands out actions one by one."""
    from openpi_client import action_chunk_broker, image_tools, websocket_client_policy

    client = websocket_client_policy.WebsocketClientPolicy(host, int(port))
    metadata = client.get_server_metadata()
    rows = _observations(np.load(observations))
    told = [client.infer(row) for row in rows]
    larger = {**rows[0], "images": {name: _larger(image_tools, one) for name, one in rows[0]["images"].items()}}
    told.append(client.infer(larger))
    broker = action_chunk_broker.ActionChunkBroker(client, action_horizon=metadata["chunk"])
    ticks = [broker.infer(rows[0])["actions"] for _ in range(metadata["chunk"])]
    try:
        client.infer({"prompt": "no picture, no state"})
        refused = ""
    except RuntimeError as error:  # what their client makes of a text frame
        refused = str(error).splitlines()[-1]
    chunks, apart = np.stack([one["actions"] for one in told]), np.stack(ticks)
    np.savez(Path(answers), chunks=chunks, ticks=apart)
    kinds = sorted({f"{part.dtype} {part.shape}" for part in (one["actions"] for one in told)})
    return {
        "metadata": metadata,
        "answers": kinds,
        "refused": refused,
        "timed": "server_timing" in told[0],
        **_versions(),
    }


def serve(questions: str) -> dict[str, Any]:
    """Answers an observation by holding its state, drawn towards zero tick by tick; says first where it listens."""
    seen: list[dict[str, Any]] = []
    asyncio.run(_serving(int(questions), seen))
    first = seen[0]
    pictures = {name: f"{one.dtype} {one.shape}" for name, one in sorted(first["images"].items())}
    state = f"{first['state'].dtype} {first['state'].shape}"
    return {"asked": len(seen), "prompt": first["prompt"], "pictures": pictures, "state": state, **_versions()}


async def _serving(questions: int, seen: list[dict[str, Any]]) -> None:
    """openpi's message loop, as its server has it: metadata first, then one answer a question."""
    import websockets.asyncio.server
    from openpi_client import msgpack_numpy

    packer, done = msgpack_numpy.Packer(), asyncio.Event()

    async def connected(socket: Any) -> None:
        await socket.send(packer.pack({}))  # openpi's own servers say nothing of themselves
        async for message in socket:
            seen.append(msgpack_numpy.unpackb(message))
            held = np.linspace(1, 0.5, HORIZON)[:, None] * seen[-1]["state"]
            await socket.send(packer.pack({"actions": held, "server_timing": {"infer_ms": 0.0}}))
            if len(seen) == questions:
                done.set()

    async with websockets.asyncio.server.serve(connected, "127.0.0.1", 0, compression=None, max_size=None) as server:
        print(json.dumps({"port": next(iter(server.sockets)).getsockname()[1]}), flush=True)
        await done.wait()


def _observations(arrays: Any) -> list[dict[str, Any]]:
    """In ALOHA's layout: pictures (3, H, W), a state of 14, and a prompt."""
    names = [name for name in arrays.files if name not in ("state", "prompt")]
    return [
        {"images": {name: arrays[name][row] for name in names}, "state": state, "prompt": str(arrays["prompt"][row])}
        for row, state in enumerate(arrays["state"])
    ]


def _larger(tools: Any, picture: Any) -> Any:
    """224 pixels square, as their examples send pictures; resized and turned by their own functions."""
    square = tools.resize_with_pad(picture.transpose(1, 2, 0), 224, 224)
    return tools.convert_to_uint8(square).transpose(2, 0, 1)


def _versions() -> dict[str, Any]:
    names = ("openpi-client", "websockets", "msgpack", "numpy")
    return {"versions": {"python": sys.version.split()[0], **{name: version(name) for name in names}}}


if __name__ == "__main__":
    work: dict[str, Callable[..., dict[str, Any]]] = {"drive": drive, "serve": serve}
    print(json.dumps(work[sys.argv[1]](*sys.argv[2:])))
