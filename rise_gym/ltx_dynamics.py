"""The paper's dynamics, full size: LTX-Video's transformer over three views, told a chunk of actions instead of a text.

Flow matching on latents of `rise_gym.ltx_codec`: x_s = (1 - s) x_0 + s n is noisy at level s, the network learns the
velocity n - x_0, and sampling follows it from s = 1 to 0. History is T frames, each encoded by itself and never noisy
when a dream is sampled; the future is F = K / stride frames, encoded as one clip. At the paper's size T = 4, F = 25
frames of 15 Hz and K = 50 actions of 30 Hz: 4 + 4 latent frames of 6 x 8 tokens a view.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from rise_gym._action_encoder import ActionEncoder
from rise_gym._forecasts import Forecast, Prediction, check_sigmas, drawn_noise, held
from rise_gym._ltx_transformer import MultiViewTransformer
from rise_gym.errors import InvalidCheckpoint, InvalidTask
from rise_gym.ltx_codec import LTXCodec, latent_frames
from rise_gym.protocols import Generators
from rise_gym.tasks import TaskCard, task_card

PAPER_HZ = 15.0
"""Of the frames that the paper's dynamics predicts when it is fine-tuned on a task."""

_PAPER_SIGMAS = tuple(1 - step / 25 for step in range(25))


@dataclass(frozen=True, kw_only=True)
class LTXDynamicsConfig:
    """Size and sampling of an `LTXDynamics`; what is not given is the paper's.

    Attributes:
        history: T frames of history. stride: ticks between two frames, of history and of the future alike.
        chunk: K ticks; K / stride frames are predicted, a number of the form r·k + 1 with the codec's r.
        latent_size: (h, w) of the codec. compression: its pixels of time, height and width a latent.
        transformer: arguments of diffusers' `LTXVideoTransformer3DModel`; those left out are LTX-Video 2B's.
        cross_view_every: of so many of its blocks the first one sees all views.
        frame_rate: Hz, as positions in time are told to the transformer: 30 in the paper's code, also at 15 Hz.
        action_channels: of an action as the encoder reads it; fewer are filled up with zeros.
        action_width, action_depth, action_heads, action_head_width, action_hidden, action_dropout: of the encoder.
        sigmas: noise levels of sampling, falling from 1; as many passes of the network. 25 in the paper's online loop
            (50 in its text).
    """

    history: int = 4
    stride: int = 2
    chunk: int = 50
    latent_size: tuple[int, int] = (6, 8)
    compression: tuple[int, int, int] = (8, 32, 32)
    transformer: Mapping[str, Any] = field(default_factory=dict)
    cross_view_every: int = 3
    frame_rate: float = 30.0
    action_channels: int = 30
    action_width: int = 1024
    action_depth: int = 6
    action_heads: int = 8
    action_head_width: int = 64
    action_hidden: int = 2048
    action_dropout: float = 0.1
    sigmas: tuple[float, ...] = _PAPER_SIGMAS

    def fitted(self, task: TaskCard, compression: tuple[int, int, int] = (8, 32, 32)) -> LTXDynamicsConfig:
        """The same size for another task and codec: frames at about 15 Hz, as few as hold one of the task's chunks.

        Raises:
            InvalidTask: if its pictures can't be cut into latents.
        """
        if any(pixels % side for pixels, side in zip(task.image_size, compression[1:], strict=True)):
            raise InvalidTask(
                f"an image_size of multiples of {compression[1]} x {compression[2]} pixels was wanted, which a latent "
                f"stands for, task {task.name!r} has {list(task.image_size)}"
            )
        stride = max(1, round(task.control_hz / PAPER_HZ))
        wanted = -(-task.chunk // stride)
        frames = 1 + compression[0] * -(-(wanted - 1) // compression[0])
        height, width = (pixels // side for pixels, side in zip(task.image_size, compression[1:], strict=True))
        return replace(self, stride=stride, chunk=frames * stride, latent_size=(height, width), compression=compression)


class _Dreamt(NamedTuple):
    """Clean latents of a clip (B, f, V, c, h, w), and how far the last level moved the first one's prediction (B,)."""

    clip: Tensor
    moved: Tensor


class LTXDynamics(ModelMixin, ConfigMixin):
    """A `Dynamics` at the paper's size; 2 billion parameters, unless told otherwise.

    It predicts clips, which only its codec can turn into frames: a `CompositionalWorldModel` hands it over.
    Proprioception is the last commanded target, as in the paper; progress is the value's business alone.

    Args:
        task: name of the task, whose card gives cameras and joint ranges.
        The others: see `LTXDynamicsConfig`.
    """

    rows_at_once = 8
    expects_gain = False

    @register_to_config
    def __init__(
        self,
        task: str = "box_close",
        history: int = 4,
        stride: int = 2,
        chunk: int = 50,
        latent_size: Sequence[int] = (6, 8),
        compression: Sequence[int] = (8, 32, 32),
        transformer: Mapping[str, Any] | None = None,
        cross_view_every: int = 3,
        frame_rate: float = 30.0,
        action_channels: int = 30,
        action_width: int = 1024,
        action_depth: int = 6,
        action_heads: int = 8,
        action_head_width: int = 64,
        action_hidden: int = 2048,
        action_dropout: float = 0.1,
        sigmas: Sequence[float] = _PAPER_SIGMAS,
        later: Sequence[int] = (),
    ) -> None:
        super().__init__()
        card = task_card(task)
        self.views, self.actions = len(card.cameras), len(card.action_names)
        _check(history, stride, chunk, sigmas, self.actions, action_channels)
        time, height, width = compression
        self.frames = chunk // stride
        self.latent_frames = latent_frames(self.frames, time)
        self.register_buffer("_low", torch.tensor(card.action_low), persistent=False)
        self.register_buffer("_high", torch.tensor(card.action_high), persistent=False)
        self.network = MultiViewTransformer(
            transformer or {},
            views=self.views,
            cross_view_every=cross_view_every,
            compression=(time, height, width),
            frame_rate=frame_rate,
        )
        self.action_encoder = ActionEncoder(
            channels=action_channels,
            width=action_width,
            depth=action_depth,
            heads=action_heads,
            head_width=action_head_width,
            hidden=action_hidden,
            out=self.network.told_channels,
            dropout=action_dropout,
        )
        # what a text encoder makes of no text, which RISE's weights have learnt to see under their actions
        self.register_buffer("empty_text", torch.zeros(1 + self.frames, self.network.told_channels))
        self._borrowed = _Borrowed(None)

    @classmethod
    def of(cls, config: LTXDynamicsConfig, task: TaskCard) -> LTXDynamics:
        """An untrained model for a task."""
        return cls(task=task.name, **asdict(config))

    def use_codec(self, codec: LTXCodec) -> None:
        """Borrow the codec that turns clips into frames; it is no part of this model, and not saved with it.

        Raises:
            InvalidCheckpoint: if its latents have another shape than this model's.
        """
        wanted = (self.network.channels, tuple(self.config.compression))
        found = (getattr(codec, "channels", None), getattr(codec, "compression", None))
        if wanted != found:
            raise InvalidCheckpoint(
                f"this dynamics was made for a codec of (channels, compression) {wanted}, got a "
                f"{type(codec).__name__} of {found}; give the one that it was trained with"
            )
        self._borrowed = _Borrowed(codec)

    def scheduler(self) -> FlowMatchEulerDiscreteScheduler:
        """The scheduler whose steps `sample` takes, set to this model's noise levels."""
        scheduler = FlowMatchEulerDiscreteScheduler()
        scheduler.set_timesteps(sigmas=list(self.config.sigmas))
        return scheduler

    def set_gradient_checkpointing(self, wanted: bool) -> None:
        """Whether training computes each block's activations twice instead of keeping them."""
        self.network.gradient_checkpointing = wanted

    def forward(self, history: Tensor, noisy: Tensor, sigma: Tensor, actions: Tensor) -> Tensor:
        """Velocity n - x_0 of the future.

        history (B, T, V, c, h, w) oldest first, noisy (B, f, V, c, h, w), sigma (B,) in [0, 1], actions (B, K, A) in
        [-1, 1] -> (B, f, V, c, h, w).
        """
        dtype = self.dtype
        # of the actions between two frames the last: where the joints are sent by the time of the frame
        acted = actions[:, int(self.config.stride) - 1 :: int(self.config.stride)].to(dtype)
        told = self.empty_text.to(dtype) + self.action_encoder(acted)
        latents = torch.cat([history, noisy], dim=1).to(dtype)
        level = torch.cat([sigma.new_zeros(history.shape[:2]), sigma[:, None].expand(noisy.shape[:2])], dim=1)
        return self.network(latents, level, told)[:, history.shape[1] :].clone()

    def noise(self, rows: int, generator: Generators) -> Tensor:
        """What a dream begins with, (B, f, V, c, h, w).

        Raises:
            ValueError: if there are several generators and not one for each of the rows.
        """
        shape = (rows, self.latent_frames, self.views, self.network.channels, *self.config.latent_size)
        return drawn_noise(shape, generator).to(self.device)

    def predict(
        self,
        history: Tensor,
        proprio: Tensor,
        actions: Tensor,
        *,
        generator: Generators,
        instruction: Sequence[str] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Sample the frames that follow a chunk; see `rise_gym.protocols.Dynamics`."""
        found = self.sample(history, proprio, actions, generator=generator, instruction=instruction)
        return found.latents, found.proprio

    @torch.no_grad()
    def sample(
        self,
        history: Tensor,
        proprio: Tensor,
        actions: Tensor,
        *,
        generator: Generators,
        drawn: bool = True,
        instruction: Sequence[str] | None = None,
    ) -> Prediction:
        """Sample frames, and how far to trust them.

        A frame is predicted every `stride` ticks; a tick between two of them shows the later one.

        Args:
            history: (B, T, V, c, h, w), oldest first, `stride` ticks apart, the newest last.
            proprio: (B, P) in rad and m; not looked at.
            actions: (B, k, A) in [-1, 1], 1 to K ticks; of fewer than K the last is held, and k frames come back.
            generator: the noise, one for the batch or one a row.
            drawn, instruction: make no difference.

        Raises:
            InvalidAction: if there are more ticks than the model was trained for, or none.
            InvalidCheckpoint: if no codec was given, see `use_codec`.
        """
        ticks, whole = actions.shape[1], held(actions, int(self.config.chunk))
        columns = (part.split(self.rows_at_once) for part in (history, self.noise(len(history), generator), whole))
        with self._half_on_gpu():
            parts = [self._dreamt(*rows) for rows in zip(*columns, strict=True)]
            latents = torch.cat([self._every_tick(part.clip)[:, :ticks] for part in parts])
        return Prediction(
            latents, self.unscaled(whole)[:, :ticks], torch.cat([part.moved for part in parts]), None, None
        )

    def foresee(
        self,
        history: Tensor,
        proprio: Tensor,
        actions: Tensor,
        *,
        noise: Tensor,
        instruction: Sequence[str] | None = None,
    ) -> Forecast:
        """One pass from pure noise, differentiable in the actions (B, k, A); the others as for `sample`."""
        ticks, whole = actions.shape[1], held(actions, int(self.config.chunk))
        with self._half_on_gpu():
            clip = noise - self(history, noise, noise.new_ones(len(noise)), whole).float()
            latents = self._every_tick(clip)[:, :ticks]
        return Forecast(latents, whole[:, :ticks], None, None)

    def _dreamt(self, history: Tensor, noise: Tensor, actions: Tensor) -> _Dreamt:
        sample, clean = noise, []
        for sigma, smaller in pairwise([*self.config.sigmas, 0.0]):
            velocity = self(history, sample, sample.new_full((len(sample),), sigma), actions).float()
            clean.append(sample - sigma * velocity)
            sample = sample + (smaller - sigma) * velocity
        return _Dreamt(sample, (clean[-1] - clean[0]).abs().flatten(1).mean(1))

    def _half_on_gpu(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def _every_tick(self, clip: Tensor) -> Tensor:
        """A clip's latents (B, f, V, c, h, w) -> those of the frame at each tick (B, K, V, c, h, w)."""
        codec = self._borrowed.codec
        if codec is None:
            raise InvalidCheckpoint(
                "an LTXDynamics predicts clips, and its codec makes frames of them: join both in a "
                "CompositionalWorldModel, or call use_codec(codec) first"
            )
        return codec.frames_of(clip).repeat_interleave(int(self.config.stride), dim=1)

    def unscaled(self, scaled: Tensor) -> Tensor:
        """Scaled actions (..., A) in [-1, 1] -> joint targets in rad and m."""
        return self._low + (scaled + 1) * 0.5 * (self._high - self._low)


@dataclass(frozen=True)
class _Borrowed:
    """Holds a codec without owning it: it is neither moved, saved nor copied with its holder."""

    codec: LTXCodec | None

    def __deepcopy__(self, memo: dict[int, Any]) -> _Borrowed:
        return copy.copy(self)


def _check(history: int, stride: int, chunk: int, sigmas: Sequence[float], actions: int, channels: int) -> None:
    if min(history, stride, chunk) < 1 or chunk % stride:
        raise ValueError(
            f"history, stride and chunk must be positive, and a chunk whole strides, got {history}, {stride}, {chunk}"
        )
    check_sigmas(sigmas)
    if actions > channels:
        raise ValueError(f"the task's actions have {actions} numbers, the action encoder reads {channels} at most")
