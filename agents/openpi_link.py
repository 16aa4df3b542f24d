"""A connection to an openpi policy server: one question, one answer; a lost one is made anew, once."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rise_gym.agents.openpi_wire import LARGEST_MESSAGE_BYTES, require_packages, unpack
from rise_gym.errors import InvalidMessage, RemoteFault, RiseGymError

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection


@dataclass(frozen=True, kw_only=True)
class LinkConfig:
    """How long to wait, and who asks.

    Attributes:
        timeout_s: for an answer. A policy that is compiled when it is first asked may take a minute.
        connect_timeout_s: for a connection, and for what the server then says about itself.
        api_key: sent as `Authorization: Api-Key ...`, if the server wants one.
    """

    timeout_s: float = 60.0
    connect_timeout_s: float = 10.0
    api_key: str | None = None


class PolicyLink:
    """Connects when first used, or by `connect`.

    Args:
        url: `ws://host:port`, or `wss://`.
        config: see `LinkConfig`.
        check: given what a server says about itself, of every new connection; raises if it is not the one wanted.

    Attributes:
        metadata: what the server said about itself last.
    """

    def __init__(
        self, url: str, config: LinkConfig, check: Callable[[dict[str, Any]], None] = lambda metadata: None
    ) -> None:
        require_packages()
        self.url, self.config, self._check = url, config, check
        self.metadata: dict[str, Any] = {}
        self._connection: ClientConnection | None = None
        self._entered = ExitStack()  # newer websockets want connections entered, and left

    def connect(self) -> dict[str, Any]:
        """Connect anew, and return what the server says about itself.

        Raises:
            RemoteFault: if no server is there, or it says nothing in time.
            InvalidMessage: if it speaks another protocol. What `check` raises.
        """
        from websockets.exceptions import WebSocketException

        self.close()
        try:
            self._connection = self._opened()
            message = self._connection.recv(timeout=self.config.connect_timeout_s)
        except (OSError, WebSocketException, UnicodeError) as error:  # the last of a host that no name can be
            self.close()
            raise RemoteFault(
                f"no policy answers at {self.url} ({_told(error)}); check host and port, or start one: rise-gym serve"
            ) from error
        try:
            self.metadata = self._introduced(message)
        except RiseGymError:
            self.close()  # or the next question would go to it
            raise
        return self.metadata

    def _introduced(self, message: str | bytes) -> dict[str, Any]:
        metadata = unpack(self._bytes(message))
        if not isinstance(metadata, dict):
            raise InvalidMessage(f"{self.url} has to begin with a dict about itself, {type(metadata).__name__} came")
        self._check(metadata)
        return metadata

    def ask(self, message: bytes) -> bytes:
        """Send a request and wait for its answer; if the connection is lost, once more over a new one.

        Raises:
            RemoteFault: if it is lost again, nothing comes in time, or the server reports a failure.
        """
        from websockets.exceptions import ConnectionClosed

        for attempt in range(2):
            try:
                return self._asked(message)
            except (ConnectionClosed, ConnectionError) as error:
                self.close()
                if attempt:
                    raise RemoteFault(
                        f"{self.url} closed the connection twice instead of answering ({_told(error)}); "
                        "what it prints itself says more"
                    ) from error
        raise AssertionError("the second attempt returns or raises")

    def close(self) -> None:
        """Let go of the connection, if there is one."""
        self._connection = None
        self._entered.close()

    def _asked(self, message: bytes) -> bytes:
        if self._connection is None:
            self.connect()
        assert self._connection is not None
        try:
            self._send(self._connection, message)
            answer = self._connection.recv(timeout=self.config.timeout_s)
        except TimeoutError as error:
            self.close()  # an answer that comes later would be taken for the next one's
            raise RemoteFault(
                f"{self.url} did not answer in {self.config.timeout_s:g} s; is it busy with others, or compiling? "
                "Give it longer: openpi://host:port?timeout_s=120"
            ) from error
        return self._bytes(answer)

    def _send(self, connection: ClientConnection, message: bytes) -> None:
        """Send, or give up in time: who reads nothing would keep a large message waiting for ever.

        Raises:
            TimeoutError: if it was not taken in time.
        """
        from websockets.exceptions import ConnectionClosed

        late = threading.Event()

        def cut() -> None:
            late.set()
            with suppress(OSError):  # it may be gone already
                connection.socket.shutdown(socket.SHUT_RDWR)

        watch = threading.Timer(self.config.timeout_s, cut)
        watch.daemon = True
        watch.start()
        try:
            connection.send(message)
        except ConnectionClosed as error:
            if late.is_set():
                raise TimeoutError from error
            raise
        finally:
            watch.cancel()

    def _bytes(self, answer: str | bytes) -> bytes:
        if isinstance(answer, bytes):
            return answer
        self.close()  # as openpi's server does, after it has told in text what failed
        raise RemoteFault(f"the policy at {self.url} failed; it says:\n{answer.strip()}")

    def _opened(self) -> ClientConnection:
        from websockets.sync.client import connect

        key = self.config.api_key
        connection = connect(
            self.url,
            compression=None,
            max_size=LARGEST_MESSAGE_BYTES,
            open_timeout=self.config.connect_timeout_s,
            close_timeout=1,
            ping_interval=None,  # openpi's server answers no ping while it thinks; `timeout_s` is what counts
            proxy=None,
            additional_headers=None if key is None else {"Authorization": f"Api-Key {key}"},
        )
        return self._entered.enter_context(connection)


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__
