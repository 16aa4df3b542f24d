"""What the tests of served policies share: observations, and a server that says what a test wants."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from websockets.sync.server import serve

from rise_gym.agents.openpi_client import OpenpiAgent
from rise_gym.agents.openpi_server import ServerConfig
from rise_gym.agents.openpi_wire import pack, unpack
from rise_gym.tasks import BOX_CLOSE

ANY_PORT = ServerConfig(port=0)
TEXT = BOX_CLOSE.instruction
HOME = BOX_CLOSE.unscale_action(np.zeros((10, 14)))


def batch(rows: int = 1, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    pictures = {camera: rng.integers(0, 256, (rows, 64, 64, 3), np.uint8) for camera in BOX_CLOSE.cameras}
    joints = rng.uniform(BOX_CLOSE.action_low, BOX_CLOSE.action_high, (rows, 14))
    return {**pictures, "proprio": joints.astype(np.float32)}


@contextmanager
def stub(answer: Callable[[Any], bytes | str | None], metadata: dict[str, Any] | None = None) -> Iterator[str]:
    """A server that says what a test wants: bytes, text, or None to close the connection."""

    def connected(connection: Any) -> None:
        connection.send(pack(metadata or {}))
        for message in connection:
            said = answer(unpack(message))
            if said is None:
                return
            connection.send(said)

    with serve(connected, "127.0.0.1", 0, compression=None) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield f"openpi://127.0.0.1:{listening.socket.getsockname()[1]}"
        listening.shutdown()
        thread.join()


def act(agent: OpenpiAgent, **given: Any) -> np.ndarray:
    return agent.act(batch(), [TEXT], **given)
