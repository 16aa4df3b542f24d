"""What comes next: one small denoiser over the latents of all views, given history, proprioception and actions.

A convolutional U-Net from diffusers' blocks, with views, history and future stacked as channels: on a CPU it learns
far faster than a transformer of the same cost. It predicts the clean frames of a whole chunk at once, as what they
differ by from the newest one; flow matching makes samples of it. What the robot knows of itself is drawn for it: where
its hands will be in each picture, how a moving camera shifts what it saw, and what goes on moving by itself; see
`rise_gym._sights`. A second network then draws each frame anew, see `rise_gym._renderer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from rise_gym._denoiser import Actuation, Denoiser, ExpectedGain
from rise_gym._forecasts import CoarseChunk as CoarseChunk
from rise_gym._forecasts import Forecast as Forecast
from rise_gym._forecasts import Prediction as Prediction
from rise_gym._forecasts import check_sigmas, held, in_parts
from rise_gym._forecasts import drawn_noise as drawn_noise
from rise_gym._renderer import FrameRenderer
from rise_gym._sights import Shown, Sights
from rise_gym.instruction import InstructionEncoder
from rise_gym.protocols import Generators
from rise_gym.robots import RobotCard, known_arms
from rise_gym.tasks import TaskCard, task_card


@dataclass(frozen=True, kw_only=True)
class VideoDynamicsConfig:
    """Size and sampling of a `VideoDynamics`.

    Attributes:
        history, stride: T frames of history, `stride` ticks apart. chunk: K, frames predicted, one a tick.
        latent_channels, latent_size: c and h = w of the codec.
        widths: channels at full, half and a quarter of the latent resolution. blocks: residual blocks at each.
        embedding_width: of noise level, actions and proprioception together.
        map_channels: planes that actions and proprioception paint at half resolution, which shows the network *where*.
        gain: also expect how much progress each tick gains.
        later: and how much will have been gained so many ticks from now, when a policy like those recorded acts on
            after the chunk: a grasp that is to hold gains nothing yet. An episode that is over by then counts as it
            ended; the last of the ticks are more than an episode has, and ask for its outcome, which no haste improves.
        sight: draw the robot's hands and move pictures with their cameras, by the geometry of the task's robot.
        motion: with `sight`, which tells still cameras from moving ones: move on what these see moving by itself.
        renderer_widths: channels at full and half resolution of the network that draws each sampled frame anew, which
            `rise_gym.renderer_training` teaches; None for none. It needs `sight`.
        sigmas: noise levels of sampling, falling from 1; as many passes of the network.
        proprioception: what `predict` returns beside the frames: what the network predicts to be measured, or, as in
            the paper, the commanded target.
        instructed: be told the instruction as well, which tells tasks apart whose scenes look alike.
    """

    history: int = 4
    stride: int = 2
    chunk: int = 10
    latent_channels: int = 4
    latent_size: int = 16
    widths: tuple[int, int, int] = (64, 128, 192)
    blocks: int = 1
    embedding_width: int = 256
    map_channels: int = 32
    gain: bool = True
    later: tuple[int, ...] = (20, 30, 50, 400)
    sight: bool = True
    motion: bool = True
    renderer_widths: tuple[int, int] | None = None
    sigmas: tuple[float, ...] = (1.0, 0.9)
    proprioception: Literal["predicted", "commanded"] = "predicted"
    instructed: bool = False

    @classmethod
    def for_task(cls, task: TaskCard) -> VideoDynamicsConfig:
        """The default size, with the task's chunk, and with the times of history and of `later` at the task's rate."""
        default, faster = cls(), task.control_hz / 10
        return replace(
            default,
            chunk=task.chunk,
            stride=max(1, round(default.stride * faster)),
            later=tuple(ticks for ticks in (round(t * faster) for t in default.later) if ticks > task.chunk),
        )


class _Pass(NamedTuple):
    """One pass of the denoiser.

    Clean latents (B, K, V, c, h, w), expected gain (B, K + L), and the features (B, C, h, w) that led to them.
    """

    clean: Tensor
    gain: Tensor | None
    features: Tensor


class VideoDynamics(ModelMixin, ConfigMixin):
    """A `Dynamics`: multi-view, action-conditioned, flow matching in latent space.

    Args:
        task: name of the task, whose card gives cameras and joint ranges.
        The others: see `VideoDynamicsConfig`.
    """

    rows_at_once = 32
    """Of a batch: more rows leave the cache, and each takes up to four times as long."""
    rows_drawn_at_once = 8
    """By the renderer, whose frames are ten times as many."""

    @register_to_config
    def __init__(
        self,
        task: str = "box_close",
        history: int = 4,
        stride: int = 2,
        chunk: int = 10,
        latent_channels: int = 4,
        latent_size: int = 16,
        widths: Sequence[int] = (64, 128, 192),
        blocks: int = 1,
        embedding_width: int = 256,
        map_channels: int = 32,
        gain: bool = False,
        later: Sequence[int] = (),
        sight: bool = False,
        motion: bool = False,
        renderer_widths: Sequence[int] | None = None,
        sigmas: Sequence[float] = (1.0, 0.9),
        proprioception: Literal["predicted", "commanded"] = "predicted",
        instructed: bool = False,
    ) -> None:
        super().__init__()
        _check_sizes(latent_size, chunk, widths, map_channels, later, sigmas)
        card = task_card(task)
        self.views, self.actions = len(card.cameras), len(card.action_names)
        self.register_buffer("_low", torch.tensor(card.action_low), persistent=False)
        self.register_buffer("_high", torch.tensor(card.action_high), persistent=False)
        # in the order in which they draw their first weights: another one would be another model for the same seed
        self.actuation = Actuation(self.actions, chunk, embedding_width)
        self.sights = self._new_sights(card) if sight else None
        self.denoiser = self._new_denoiser()
        ticks = chunk + len(later)
        self.expected_gain = ExpectedGain(widths[-1], widths[0], latent_size, ticks) if gain else None
        self.renderer = None if renderer_widths is None else self._new_renderer(*renderer_widths)
        self.instruction = _silent(InstructionEncoder(embedding_width)) if instructed else None
        self.to(memory_format=torch.channels_last)

    def _new_sights(self, card: TaskCard) -> Sights:
        robot = known_arms(card.robot)
        if not isinstance(robot, RobotCard):
            raise ValueError(f"sight draws by a robot card, task {card.name!r} names none: leave sight=False")
        return Sights(
            robot,
            card.cameras,
            channels=int(self.config.latent_channels),
            size=int(self.config.latent_size),
            history=int(self.config.history),
            stride=int(self.config.stride),
            ticks=int(self.config.chunk),
            motion=bool(self.config.motion),
        )

    def _new_denoiser(self) -> Denoiser:
        return Denoiser(
            shown_channels=0 if self.sights is None else self.sights.shown_channels,
            gates=0 if self.sights is None else self.sights.gates,
            frame_channels=self.views * int(self.config.latent_channels),
            history=int(self.config.history),
            chunk=int(self.config.chunk),
            size=int(self.config.latent_size),
            widths=tuple(self.config.widths),
            blocks=int(self.config.blocks),
            embedding_width=int(self.config.embedding_width),
            map_channels=int(self.config.map_channels),
        )

    def _new_renderer(self, full: int, half: int) -> FrameRenderer:
        if self.sights is None:
            raise ValueError("a renderer draws what the robot's geometry says: it needs sight=True")
        if full % 8 or half % 8:
            raise ValueError(f"renderer_widths must be multiples of 8, got {[full, half]}")
        channels = int(self.config.latent_channels)
        return FrameRenderer(
            channels=self.sights.frame_channels + channels,
            features=int(self.config.widths[0]),
            frame_channels=channels,
            widths=(full, half),
            ticks=int(self.config.chunk),
            views=self.views,
            size=int(self.config.latent_size),
            embedding_width=int(self.config.embedding_width),
        )

    @classmethod
    def of(cls, config: VideoDynamicsConfig, task: TaskCard) -> VideoDynamics:
        """An untrained model for a task; one whose robot has no card does without `sight`."""
        settings = asdict(config)
        if not isinstance(known_arms(task.robot), RobotCard) and config.renderer_widths is None:
            settings["sight"] = False
        return cls(task=task.name, **settings)

    @property
    def expects_gain(self) -> bool:
        """Whether it foretells progress by itself, not only the frames that show it."""
        return self.expected_gain is not None

    def scheduler(self) -> FlowMatchEulerDiscreteScheduler:
        """The scheduler whose steps `sample` takes, set to this model's noise levels."""
        scheduler = FlowMatchEulerDiscreteScheduler()
        scheduler.set_timesteps(sigmas=list(self.config.sigmas))
        return scheduler

    def forward(
        self,
        history: Tensor,
        noisy: Tensor,
        sigma: Tensor,
        proprio: Tensor,
        actions: Tensor,
        *,
        instruction: Sequence[str] | None = None,
    ) -> Forecast:
        """Clean future, proprioception and expected gain from a noisy future.

        history (B, T, V, c, h, w) oldest first, noisy (B, K, V, c, h, w), sigma (B,) in [0, 1], proprio (B, P) in rad
        and m, actions (B, K, A) in [-1, 1], instruction one a row, for a model that is `instructed`.
        """
        embedding, following = self._conditioned(proprio, actions, instruction)
        shown = self._shown(history, proprio, following.detach())  # drawing is no way for pictures to teach the joints
        found = self._clean(history, noisy, sigma, embedding, shown)
        return Forecast(found.clean, following, *self._expected(found.gain, int(self.config.chunk)))

    def foresee(
        self,
        history: Tensor,
        proprio: Tensor,
        actions: Tensor,
        *,
        noise: Tensor,
        instruction: Sequence[str] | None = None,
    ) -> Forecast:
        """One pass from pure noise, differentiable in the actions (B, k, A); the others as for `sample`.

        noise: what `noise` draws, (B, K, V, c, h, w). Proprioception is scaled; k ticks come back.
        """
        ticks, sigma = actions.shape[1], noise.new_ones(len(noise))
        whole = held(actions, int(self.config.chunk))
        embedding, following = self._conditioned(proprio, whole, instruction)
        shown = self._shown(history, proprio, following)
        found = self._clean(history, noise, sigma, embedding, shown)
        return Forecast(found.clean[:, :ticks], following[:, :ticks], *self._expected(found.gain, ticks))

    def noise(self, rows: int, generator: Generators) -> Tensor:
        """What a dream begins with, (B, K, V, c, h, w).

        Raises:
            ValueError: if there are several generators and not one for each of the rows.
        """
        size = int(self.config.latent_size)
        shape = (rows, int(self.config.chunk), self.views, int(self.config.latent_channels), size, size)
        return drawn_noise(shape, generator).to(self.device)

    def _conditioned(
        self, proprio: Tensor, actions: Tensor, instruction: Sequence[str] | None
    ) -> tuple[Tensor, Tensor]:
        """What the denoiser is told (B, D), and scaled proprioception (B, K, P).

        Raises:
            ValueError: if a model that is `instructed` was not given one instruction a row.
        """
        embedding, following = self.actuation(self.scaled(proprio), actions)
        if self.instruction is None:
            return embedding, following
        if instruction is None or len(instruction) != len(actions):
            came = "none came" if instruction is None else f"{len(instruction)} came"
            raise ValueError(
                f"this dynamics is instructed: one instruction a row was wanted ({len(actions)}), {came}; pass "
                "`instruction=[...]`"
            )
        return embedding + self.instruction(instruction), following

    def _clean(self, history: Tensor, noisy: Tensor, sigma: Tensor, embedding: Tensor, shown: Shown | None) -> _Pass:
        newest = history[:, -1:]
        offset = noisy - (1 - sigma).view(-1, 1, 1, 1, 1, 1) * newest  # what is left to find out is a difference
        stacked = torch.cat([history, offset], dim=1).flatten(1, 3)  # (B, (T + K)·V·c, h, w)
        maps = [stacked] if shown is None else [stacked, *shown.maps()]
        found, features = self.denoiser(torch.cat(maps, dim=1), sigma, embedding)
        gain = None if self.expected_gain is None else self.expected_gain(features)
        change, gates = found.split([noisy[0, :, :, :, 0, 0].numel(), self.denoiser.gates], dim=1)
        clean = newest + change.view_as(noisy)
        if self.sights is not None and shown is not None:
            clean = clean + self.sights.carried(newest[:, 0], gates, shown)
        return _Pass(clean, gain, features.fine)

    def _expected(self, gain: Tensor | None, ticks: int) -> tuple[Tensor | None, Tensor | None]:
        """Of expected gains (B, K + L) those of a chunk of so many ticks (B, k), and those after it (B, L)."""
        chunk = int(self.config.chunk)
        if gain is None:
            return None, None
        return gain[:, :ticks], gain[:, chunk:] if ticks == chunk and self.config.later else None

    def _shown(self, history: Tensor, proprio: Tensor, following: Tensor) -> Shown | None:
        """What geometry and motion say about the ticks to come; scaled `following` (B, K, P)."""
        if self.sights is None:
            return None
        shown: Shown = self.sights(history, torch.cat([proprio[:, None], self.unscaled(following)], dim=1))
        return shown

    def scaled(self, proprio: Tensor) -> Tensor:
        """(..., P) in rad and m -> the task's ranges as [-1, 1]."""
        return 2 * (proprio - self._low) / (self._high - self._low) - 1

    def unscaled(self, scaled: Tensor) -> Tensor:
        """The inverse of `scaled`."""
        return self._low + (scaled + 1) * 0.5 * (self._high - self._low)

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
        latents, following, *_ = self.sample(history, proprio, actions, generator=generator, instruction=instruction)
        return latents, following

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
        """Sample frames, proprioception and how far to trust them.

        Args:
            history: (B, T, V, c, h, w), oldest first, `stride` ticks apart, the newest last.
            proprio: (B, P) in rad and m.
            actions: (B, k, A) in [-1, 1], 1 to K ticks; of fewer than K the last is held, and k frames come back.
            generator: the noise, one for the batch or one a row.
            drawn: whether the renderer, if there is one, draws the frames anew; all else is the same without.
            instruction: one a row; only a model that is `instructed` reads them.

        Raises:
            InvalidAction: if there are more ticks than the model was trained for, or none.
            ValueError: if a model that is `instructed` was not given one instruction a row.
        """
        ticks, whole = actions.shape[1], held(actions, int(self.config.chunk))
        columns = (
            part.split(self.rows_at_once) for part in (history, self.noise(len(history), generator), proprio, whole)
        )
        texts = in_parts(instruction, len(history), self.rows_at_once)
        parts = [self._sampled(rows, text, ticks, drawn) for *rows, text in zip(*columns, texts, strict=True)]
        latents, measured, moved, *gain = (torch.cat(column) for column in zip(*parts, strict=True))
        expected = self._expected(gain[0] if gain else None, ticks)
        return Prediction(latents[:, :ticks], measured[:, :ticks], moved[:, :ticks].mean(1), *expected)

    def _sampled(
        self, rows: Sequence[Tensor], instruction: Sequence[str] | None, ticks: int, drawn: bool
    ) -> tuple[Tensor, ...]:
        """Latents (B, k, V, c, h, w), proprioception (B, K, P), how far the last level moved them (B, K), and gains."""
        history, noise, proprio, actions = rows
        coarse = self.coarse(history, noise, proprio, actions, instruction=instruction)
        latents, following = coarse.latents, self.unscaled(coarse.following)
        if drawn and self.renderer is not None:
            every = torch.arange(ticks, device=latents.device).expand(len(latents), -1)
            parts = torch.arange(len(latents), device=latents.device).split(self.rows_drawn_at_once)
            frames = [self.rendered(coarse.rows(i), history[i], proprio[i], every[i]) for i in parts]
            latents = torch.cat(frames)
        measured = following if self.config.proprioception == "predicted" else self.unscaled(actions)
        found = (latents, measured, coarse.moved)
        return found if coarse.gain is None else (*found, coarse.gain)

    def coarse(
        self,
        history: Tensor,
        noise: Tensor,
        proprio: Tensor,
        actions: Tensor,
        *,
        instruction: Sequence[str] | None = None,
    ) -> CoarseChunk:
        """What the denoiser makes of noise (B, K, V, c, h, w), step by step; the others as for `sample`."""
        embedding, following = self._conditioned(proprio, actions, instruction)
        shown = self._shown(history, proprio, following)
        sample, passes = noise, []
        for sigma, smaller in pairwise([*self.config.sigmas, 0.0]):
            level = sample.new_full((len(sample),), sigma)
            passes.append(self._clean(history, sample, level, embedding, shown))
            sample = sample + (smaller - sigma) * (sample - passes[-1].clean) / sigma  # Euler: (x - clean) / sigma
        first, last = passes[0], passes[-1]
        return CoarseChunk(
            latents=sample,
            following=following,
            moved=(last.clean - first.clean).abs().flatten(2).mean(2),
            gain=first.gain,  # what is expected before any of the noise has decided what happens
            features=last.features,
        )

    def rendered(self, coarse: CoarseChunk, history: Tensor, proprio: Tensor, ticks: Tensor) -> Tensor:
        """Frames of a chunk drawn anew: (B, n, V, c, h, w) at `ticks` (B, n) from 0.

        history (B, T, V, c, h, w) is what the coarse chunk was made of.
        """
        assert self.renderer is not None
        assert self.sights is not None
        row, newest = torch.arange(len(ticks), device=ticks.device)[:, None], history[:, -1]
        joints = torch.cat([proprio[:, None], self.unscaled(coarse.following[row, ticks])], dim=1)
        maps = torch.cat([self.sights.of_frames(history, joints, ticks), coarse.latents[row, ticks]], dim=3)
        return newest[:, None] + self.renderer(maps, coarse.features, ticks)


def _silent(encoder: InstructionEncoder) -> InstructionEncoder:
    """An encoder that says nothing yet, so that a model which was not instructed begins as it was."""
    for parameter in encoder.leave[-1].parameters():
        torch.nn.init.zeros_(parameter)
    return encoder


def _check_sizes(
    latent_size: int,
    chunk: int,
    widths: Sequence[int],
    map_channels: int,
    later: Sequence[int],
    sigmas: Sequence[float],
) -> None:
    """Raises `ValueError` for sizes of which no network can be made, or samplings that are none."""
    check_sigmas(sigmas)
    if latent_size % 4:
        raise ValueError(f"latent_size must divide by 4, got {latent_size}")
    if any(ticks <= chunk for ticks in later):
        raise ValueError(f"later ticks are those after the {chunk} of a chunk, got {list(later)}")
    if any(width % 8 for width in (*widths, map_channels)) or widths[-1] % 32:
        raise ValueError(
            "widths and map_channels must be multiples of 8, the last width of 32, "
            f"got {list(widths)} and {map_channels}"
        )
