"""Any agent behind openpi's websocket protocol, so that an openpi client can drive a robot with it.

A connection begins with what the server says about itself; then each message is an observation and is answered by a
chunk. What fails is told in a text frame, as openpi does, and closes that connection only. `GET /healthz` says OK.
"""

from __future__ import annotations

import http
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from torch import Generator

from rise_gym.agents.openpi_layout import RISE, Layout, is_gripper
from rise_gym.agents.openpi_wire import LARGEST_MESSAGE_BYTES, pack, require_packages, unpack
from rise_gym.collection import act_with
from rise_gym.errors import InvalidMessage, RemoteFault, RiseGymError
from rise_gym.protocols import Agent
from rise_gym.tasks import TaskCard

if TYPE_CHECKING:
    from websockets.http11 import Request, Response
    from websockets.sync.server import ServerConnection

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Where and how to serve.

    Attributes:
        host, port: where to listen; port 0 is any free one. Whoever reaches it can use it: there is no password.
        layout: keys, order and units that clients use.
        advantage: what the agent is asked for, unless an observation has an `advantage` itself; -1 to 1, the best.
        seed: where each connection's noise starts from, unless an observation has a `seed` itself.
        policy: its name, for clients to read.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    layout: Layout = RISE
    advantage: float = 1.0
    seed: int = 0
    policy: str = ""


class PolicyServer:
    """Listens from the moment it is made; `serve_forever`, or `with PolicyServer(...)` in a thread of its own.

    Connections are independent of each other: each has its own noise, and the agent is asked by one at a time.

    Args:
        agent: who acts; it must not remember what it was shown.
        task: its task.
        config: see `ServerConfig`.

    Attributes:
        address: `openpi://host:port`, for `OpenpiAgent` and the command line.

    Raises:
        RemoteFault: if the port can't be listened on. MissingPackage: without the extra `openpi`.
        UnsuitableEnv: if the layout has no place for one of the task's cameras, or wants others.
    """

    def __init__(self, agent: Agent, task: TaskCard, config: ServerConfig | None = None) -> None:
        require_packages()
        from websockets.sync.server import serve

        self.agent, self.task, self.config = agent, task, config or ServerConfig()
        self.config.layout.check_cameras(task, all_seen=True)
        self._asking, self._open, self._serving = threading.Lock(), set[Any](), False
        try:
            if not 0 <= self.config.port < 2**16:  # which Python notices too late to close its socket
                raise OSError("ports are from 0 to 65535")
            self._server = serve(
                self._connected, self.config.host, self.config.port, compression=None, max_size=LARGEST_MESSAGE_BYTES,
                process_request=_health, origins=[None], close_timeout=1,  # no origin: a web page has no business here
            )  # fmt: skip
        except OSError as error:
            raise RemoteFault(
                f"port {self.config.port} of {self.config.host} can't be listened on ({error}); "
                "choose another with --port, 0 is any free one"
            ) from error
        self.address = f"openpi://{self.config.host}:{self._server.socket.getsockname()[1]}"

    @property
    def metadata(self) -> dict[str, Any]:
        """What a client is told first: plain data."""
        layout, names = self.config.layout, self.task.action_names
        ordered = [names[column] for column in layout.order(names)]
        gripper = {"metres": "m"}.get(layout.gripper, f"fraction {layout.gripper}")
        return {
            "server": "rise_gym",
            "policy": self.config.policy,
            "task": self.task.name,
            "instruction": self.task.instruction,
            "layout": layout.name,
            "cameras": [theirs for _, theirs in layout.cameras_of(self.task)],
            "image_size": list(self.task.image_size),
            "action_names": ordered,
            "units": [gripper if is_gripper(name) else "rad" for name in ordered],
            "chunk": int(getattr(self.agent, "chunk", self.task.chunk)),
            "control_hz": self.task.control_hz,
            "accepts": ["advantage", "seed"],
        }

    def serve_forever(self) -> None:
        """Serve until `close`, or until interrupted."""
        self._serving = True
        self._server.serve_forever()

    def close(self) -> None:
        """Listen no more, and let go of everyone; who is being answered gets no answer."""
        for connection in list(self._open):
            connection.close(1001, "the server is going away")
        if self._serving:
            self._server.shutdown()
        else:  # whose end a shutdown would wait for
            self._server.socket.close()

    def __enter__(self) -> Self:
        self._serving = True
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._thread.join()

    def _connected(self, connection: ServerConnection) -> None:
        from websockets.exceptions import ConnectionClosed

        self._open.add(connection)
        generator = Generator().manual_seed(self.config.seed)
        try:
            connection.send(pack(self.metadata))
            for message in connection:
                connection.send(self._answer(message, generator))
        except ConnectionClosed:
            return
        except Exception as error:  # an agent may fail in any way, which its client has to hear of
            if not isinstance(error, RiseGymError):
                _log.exception("the policy failed")
            self._tell(connection, error)
        finally:
            self._open.discard(connection)

    @staticmethod
    def _tell(connection: ServerConnection, error: Exception) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            connection.send(f"{type(error).__name__}: {error}")
            connection.close(1011, "failed, as the text before says")
        except ConnectionClosed:
            return

    def _answer(self, message: str | bytes, generator: Generator) -> bytes:
        """An observation's message -> that of its chunk (K, A), absolute, in the layout's order and units."""
        request = unpack(message) if isinstance(message, bytes) else None
        if not isinstance(request, Mapping):
            raise InvalidMessage(f"an observation was wanted, a dict in msgpack; {type(message).__name__} came")
        seen = self.config.layout.observation(request, self.task)
        text, advantage, seed = _asked(request, self.task.instruction, self.config.advantage)
        drawing = generator if seed is None else Generator().manual_seed(seed)
        batch = {name: column[None] for name, column in seen.items()}
        began = time.perf_counter()
        with self._asking:
            chunk = act_with(self.agent, batch, [text], advantage, [drawing])[0]
        spent_ms = 1000 * (time.perf_counter() - began)
        actions = self.config.layout.to_wire(self.task.unscale_action(chunk), self.task)
        return pack({"actions": actions, "server_timing": {"infer_ms": spent_ms}})


def _asked(request: Mapping[str, Any], instruction: str, default: float) -> tuple[str, float, int | None]:
    """Prompt, advantage (NaN: not told) and seed of a request, or what stands for them."""
    text, advantage, seed = request.get("prompt", instruction), request.get("advantage", default), request.get("seed")
    if not isinstance(text, str):
        raise InvalidMessage(f"'prompt' has to be text, {type(text).__name__} came")
    number = np.asarray(None if isinstance(advantage, list) else advantage)  # which may be ragged
    if number.size != 1 or number.dtype.kind not in "fiu" or abs(number.item()) > 1:
        raise InvalidMessage(f"'advantage' has to be one number from -1 to 1, the best; {advantage!r} came")
    if seed is not None and not (isinstance(seed, int | np.integer) and 0 <= seed < 2**63):
        raise InvalidMessage(f"'seed' has to be a whole number from 0 to 2**63 - 1, {seed!r} came")
    return text, float(number.item()), None if seed is None else int(seed)


def _health(connection: ServerConnection, request: Request) -> Response | None:
    """Answers `GET /healthz` as openpi does; anything else goes on to the handshake."""
    return connection.respond(http.HTTPStatus.OK, "OK\n") if request.path == "/healthz" else None
