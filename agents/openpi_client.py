"""An agent whose policy runs elsewhere, behind openpi's websocket protocol: pi0, pi0.5, or one of `rise-gym serve`.

What the task card and the server understand by an observation and an action is translated by a `Layout`; who learns
from this agent's play learns from actions that are scaled like anyone else's.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn, Self
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from rise_gym.agents.openpi_layout import LAYOUTS, RISE, Layout
from rise_gym.agents.openpi_link import LinkConfig, PolicyLink
from rise_gym.agents.openpi_wire import pack, unpack
from rise_gym.agents.prompts import PROMPT, prompt_of
from rise_gym.errors import InvalidMessage, RemoteFault
from rise_gym.protocols import Generators
from rise_gym.tasks import TaskCard, task_card
from rise_gym.types import Observation

SCHEME = "openpi://"


@dataclass(frozen=True, kw_only=True)
class OpenpiConfig:
    """How to speak with a server.

    Attributes:
        layout: its keys, order and units.
        resize_px: side of the squares that pictures are brought to, with padding, or None to send them as they are.
        advantage_in_prompt: write the advantage that is asked for into the prompt, as the paper does: one of ten; not
            for a server of this package, which is told it beside the prompt.
        prompt: how it is written.
        chunk: how many ticks of an answer are used; default: what the server says of itself, else the task's.
        overshoot: how far an answer may leave the task's ranges, in scaled units: a little is cut off, more means that
            it is in other units.
        link: waiting times and key.
    """

    layout: Layout = RISE
    resize_px: int | None = None
    advantage_in_prompt: bool = False
    prompt: str = PROMPT
    chunk: int | None = None
    overshoot: float = 0.25
    link: LinkConfig = field(default_factory=LinkConfig)


class OpenpiAgent:
    """Acts as its server says.

    Every row of a batch is asked for by itself, for the protocol knows no batches; a network that is shown the rows
    together answers the same up to rounding, which contact can make an episode's difference of.

    Nothing is drawn here. A server of this package is sent a seed with every question, from the generator that `act`
    was given, so that what it answers does not depend on who else asks; others draw as they please.

    Args:
        address: `openpi://host:port`, optionally with settings (see `read_address`), `ws://` or `wss://`.
        task: name of the task.
        config: instead of what the address says.

    Attributes:
        chunk: ticks of an action chunk.

    Raises:
        RemoteFault: if nobody answers there. InvalidMessage: if it serves another task, or in another layout.
        UnsuitableEnv: if the layout has pictures of cameras that the task does not have.
        MissingPackage: without the extra `openpi`.
    """

    def __init__(self, address: str, task: str, config: OpenpiConfig | None = None) -> None:
        url, told = read_address(address)
        self.task, self.config = task_card(task), config or told
        self.config.layout.check_cameras(self.task, all_seen=False)
        check = partial(_check, url, self.config.layout, self.task)  # a method of this one would keep it alive
        self._link = PolicyLink(url, self.config.link, check)
        self._end = weakref.finalize(self, self._link.close)  # its reading thread would keep it open for ever
        self._own: Generator | None = None
        told_chunk = self._link.connect().get("chunk")
        believed = isinstance(told_chunk, int) and not isinstance(told_chunk, bool) and told_chunk > 0
        self.chunk = self.config.chunk or (int(told_chunk) if believed else self.task.chunk)  # type: ignore[arg-type]

    @property
    def metadata(self) -> dict[str, Any]:
        """What the server says about itself; another may have begun at the same address, if it fits."""
        return self._link.metadata

    def close(self) -> None:
        """Let go of the server; acting again connects again."""
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def seed(self, seed: int) -> None:
        """Make the following calls of `act` reproducible, if the server can be told a seed."""
        self._own = Generator().manual_seed(seed)

    def act(
        self,
        observation: Observation,
        instruction: Sequence[str],
        advantage: NDArray[np.floating] | float = 1.0,
        *,
        generator: Generators | None = None,
    ) -> NDArray[np.float32]:
        """Batched observation -> scaled actions float32 (B, K, A) in [-1, 1].

        The advantage reaches a server of this package beside the prompt, any other within it (`advantage_in_prompt`) or
        not at all.

        Raises:
            RemoteFault: if the server is gone, too slow, or failed. InvalidMessage: if its answer is no such chunk, or
                if another server is there now, which does not fit.
        """
        rows, drawing = len(instruction), generator or self._own
        asked = np.broadcast_to(np.asarray(advantage, dtype=np.float64), rows)
        generators = [drawing] * rows if drawing is None or isinstance(drawing, Generator) else drawing
        return np.stack(
            [
                self._chunk({name: column[row] for name, column in observation.items()}, text, float(wanted), drawn)
                for row, (text, wanted, drawn) in enumerate(zip(instruction, asked, generators, strict=True))
            ]
        )

    def loss(self, batch: dict[str, Any]) -> NoReturn:
        """A served policy learns where it runs.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("a served policy only acts; train it where its weights are, and serve it again")

    def _chunk(self, seen: Observation, text: str, advantage: float, drawing: Generator | None) -> NDArray[np.float32]:
        told = self.metadata.get("accepts")
        accepted = told if isinstance(told, list) else []
        if self.config.advantage_in_prompt and "advantage" not in accepted:  # which writes it there itself
            text = prompt_of(text, advantage, template=self.config.prompt)
        request = self.config.layout.request(seen, text, self.task, self.config.resize_px)
        if "advantage" in accepted:
            request["advantage"] = advantage
        if "seed" in accepted and drawing is not None:
            request["seed"] = int(torch.randint(2**62, (), generator=drawing))
        return self._scaled(unpack(self._link.ask(pack(request))))

    def _scaled(self, answer: Any) -> NDArray[np.float32]:
        """An answer -> its first ticks as scaled actions (K, A)."""
        targets = self._targets(answer)
        scaled = self.task.scale_action(self.config.layout.from_wire(targets[: self.chunk], self.task))
        tick, column = np.unravel_index(np.abs(scaled).argmax(), scaled.shape)
        if abs(scaled[tick, column]) > 1 + self.config.overshoot:
            name, low, high = (getattr(self.task, f"action_{what}")[int(column)] for what in ("names", "low", "high"))
            raise InvalidMessage(
                f"{name} has to be from {low:g} to {high:g}, what came for it means "
                f"{self.task.unscale_action(scaled)[tick, column]:.4g}: is it scaled, relative, in degrees, or are the "
                f"grippers not given as in the layout {self.config.layout.name!r}?"
            )
        return scaled.clip(-1, 1)

    def _targets(self, answer: Any) -> NDArray[np.floating]:
        if not isinstance(answer, Mapping) or not isinstance(answer.get("actions"), np.ndarray):
            came = type(answer).__name__
            if isinstance(answer, Mapping):
                came = ", ".join(f"{name} ({type(value).__name__})" for name, value in answer.items())
            raise InvalidMessage(f"an array under the key 'actions' was wanted, {came or 'nothing'} came")
        targets: NDArray[np.floating] = answer["actions"]
        width = len(self.task.action_names)
        if targets.ndim != 2 or targets.shape[1] != width or targets.dtype.kind not in "fiu":
            raise InvalidMessage(
                f"actions (horizon, {width}) were wanted, {', '.join(self.task.action_names)}; "
                f"{targets.dtype} {targets.shape} came: is it a policy for another robot?"
            )
        if not len(targets):
            raise InvalidMessage(f"{self.chunk} ticks were wanted, an empty chunk came; look after the policy there")
        if len(targets) < self.chunk:
            raise InvalidMessage(
                f"at least {self.chunk} ticks were wanted, {len(targets)} came; use fewer of them: "
                f"openpi://host:port?chunk={len(targets)}"
            )
        if not np.isfinite(targets[: self.chunk]).all():
            raise InvalidMessage("finite actions were wanted, NaN or infinite ones came; look after the policy there")
        return targets


def _check(url: str, layout: Layout, task: TaskCard, metadata: Mapping[str, Any]) -> None:
    """Refuse a server that says itself that it does not fit; most say nothing.

    Raises:
        InvalidMessage: says in what.
    """
    wanted = {
        "task": task.name,
        "layout": layout.name,
        "control_hz": task.control_hz,
        "action_names": [task.action_names[column] for column in layout.order(task.action_names)],
    }
    for name, value in wanted.items():
        if name in metadata and metadata[name] != value:
            raise InvalidMessage(
                f"{name} {value!r} was wanted, the server at {url} says {metadata[name]!r}; serve another policy, or "
                "ask it for its own task and layout (openpi://host:port?layout=...)"
            )


def read_address(address: str) -> tuple[str, OpenpiConfig]:
    """`openpi://host:port?layout=aloha&resize_px=224` -> the websocket's URL and the settings.

    Settings are `layout` (of `LAYOUTS`), `resize_px`, `chunk`, `timeout_s`, and `advantage_in_prompt=yes`.

    Raises:
        RemoteFault: if it is no such address.
    """
    try:
        parts = urlsplit(address)
        is_one = parts.scheme in ("openpi", "ws", "wss") and parts.hostname and parts.port != 0
    except ValueError:  # of a port that is none, or half an IPv6 host
        is_one = False
    if not is_one:
        raise RemoteFault(f"a served policy's address is openpi://host:port, {address!r} came")
    settings: dict[str, Any] = {}
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        try:
            settings[name] = _SETTINGS[name](text)
        except (KeyError, ValueError):
            raise RemoteFault(
                f"{name}={text} is no setting of a served policy; there are layout ({', '.join(LAYOUTS)}), resize_px, "
                "chunk, timeout_s (numbers above 0) and advantage_in_prompt (yes, no)"
            ) from None
    if "timeout_s" in settings:
        settings["link"] = LinkConfig(timeout_s=settings.pop("timeout_s"))
    scheme = "wss" if parts.scheme == "wss" else "ws"
    return f"{scheme}://{parts.netloc}{parts.path}", OpenpiConfig(**settings)


def _above_zero(number: float) -> float:
    if not 0 < number < math.inf:
        raise ValueError(f"a number above 0 was wanted, got {number}")
    return number


_SETTINGS: Mapping[str, Any] = {
    "layout": LAYOUTS.__getitem__,
    "resize_px": lambda text: _above_zero(int(text)),
    "chunk": lambda text: _above_zero(int(text)),
    "timeout_s": lambda text: _above_zero(float(text)),
    "advantage_in_prompt": {"yes": True, "no": False}.__getitem__,
}
