"""How large a full-size world model is, and what memory it takes, told before anything of it is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rise_gym.errors import InvalidCheckpoint
from rise_gym.ltx_codec import LTXCodec
from rise_gym.ltx_dynamics import LTXDynamics, LTXDynamicsConfig
from rise_gym.tasks import TaskCard

_GIB = 2**30
_KEPT_A_BLOCK = 38
"""Numbers of the network's width that a block keeps for its gradient, a token: of attention, of what it is told, of
the four times wider feed-forward layers and of norms and products between them. Measured on the CPU, see the tests."""
_MODULATION = 11
"""The same of what tokens are scaled and shifted by, and of the last layers, once for the whole network."""

_BYTES = {False: 4, True: 3}
"""Of such a number; in half precision what is added up stays in four bytes."""


@dataclass(frozen=True, kw_only=True)
class LTXSize:
    """Counted from the configurations alone.

    Attributes:
        dynamics, codec: parameters. parts: how the dynamics' are spread.
        tokens: that a row has: all latent frames of all views. width, blocks: of the transformer.
    """

    dynamics: int
    codec: int
    parts: Mapping[str, int]
    tokens: int
    width: int
    blocks: int

    @classmethod
    def of(cls, config: LTXDynamicsConfig, task: TaskCard, codec: Mapping[str, Any] | None = None) -> LTXSize:
        """Of a dynamics, and of a codec with these arguments; no memory is taken for either."""
        with torch.device("meta"):
            model, autoencoder = LTXDynamics.of(config, task), LTXCodec(settings=codec)
        network = model.network
        height, width = config.latent_size
        frames = config.history + model.latent_frames
        return cls(
            dynamics=_count(model),
            codec=_count(autoencoder),
            parts={
                "LTX-Video's transformer": _count(network.ltx),
                "views": _count(network) - _count(network.ltx),
                "action encoder": _count(model.action_encoder),
            },
            tokens=model.views * frames * height * width,
            width=network.width,
            blocks=len(network.ltx.transformer_blocks),
        )

    @classmethod
    def stored(cls, checkpoint: Path, task: TaskCard) -> LTXSize:
        """Of the world model in a checkpoint's folder."""
        own = saved_config(checkpoint / "dynamics")
        known = {field.name for field in fields(LTXDynamicsConfig)}
        shape = LTXDynamicsConfig(**{name: value for name, value in own.items() if name in known})
        return cls.of(shape, task, saved_config(checkpoint / "autoencoder").get("settings"))

    def dreaming_gib(self) -> float:
        """To dream: all weights, in 4 bytes. What a batch takes beside them is small, for no gradient is kept."""
        return 4 * (self.dynamics + self.codec) / _GIB

    def training_gib(
        self,
        rows: int,
        *,
        processes: int = 1,
        sharded: bool = False,
        half: bool = True,
        checkpointing: bool = True,
        average: bool = False,
    ) -> dict[str, float]:
        """To train, in each process: `rows` of a batch each, weights in 4 bytes, activations mostly in 2 if `half`.

        Returns:
            GiB of weights, gradients, optimiser, (average,) codec and activations; the last is good to about a third.
        """
        share = 4 * self.dynamics / (processes if sharded else 1) / _GIB
        held = {"weights": share, "gradients": share, "optimiser": 2 * share}
        if average:
            held["average"] = share
        held["codec"] = 4 * self.codec / _GIB
        kept = self.blocks + _KEPT_A_BLOCK if checkpointing else self.blocks * _KEPT_A_BLOCK
        held["activations"] = rows * self.tokens * self.width * (kept + _MODULATION) * _BYTES[half] / _GIB
        return held

    def told_to_dream(self) -> str:
        """What dreaming takes, for people."""
        parts = ", ".join(f"{name} {count:,}" for name, count in self.parts.items())
        return (
            f"dynamics: {self.dynamics:,} parameters ({parts})\n"
            f"codec: {self.codec:,} parameters\n"
            f"to dream: {self.dreaming_gib():.1f} GiB of weights"
        )

    def told(self, rows: int, *, processes: int = 1, sharded: bool = False, **how: bool) -> str:
        """The whole of it for people."""
        training = self.training_gib(rows, processes=processes, sharded=sharded, **how)
        memory = ", ".join(f"{name} {gib:.1f}" for name, gib in training.items())
        layout = f"{rows} rows in each of {processes} processes{', sharded' if sharded else ''}"
        return (
            f"{self.told_to_dream()}\nto train: about {sum(training.values()):.1f} GiB a process ({memory}); {layout}"
        )


def saved_config(folder: Path, kind: type | None = None) -> dict[str, Any]:
    """Of a part that was saved there; empty if none was.

    Raises:
        InvalidCheckpoint: if it can't be read, or is of another class than `kind`.
    """
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__} is no configuration")
    except ValueError as error:
        raise InvalidCheckpoint(
            f"{path.parent.name}/config.json can't be read ({error}); copy {folder} again"
        ) from error
    if kind is not None and found.get("_class_name") != kind.__name__:
        raise InvalidCheckpoint(
            f"{folder}: an {kind.__name__} was wanted, it holds a {found.get('_class_name')}; choose another folder, "
            "or leave out --architecture"
        )
    return found


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
