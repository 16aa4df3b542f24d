"""Codec, dynamics and value joined: what a chunk of actions leads to, and how much it is worth.

Everything stays in latents; frames are decoded only when somebody asks. A model is never changed by use: a state goes
in, a new one comes out.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rise_gym._devices import usable_device
from rise_gym.advantage import chunk_advantage
from rise_gym.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from rise_gym.errors import InvalidAction, InvalidCheckpoint, InvalidStart
from rise_gym.locations import resolve
from rise_gym.progress_uncertainty import Claim, ProgressUncertainty
from rise_gym.protocols import ClipDynamics, Generators
from rise_gym.reward import progress_gain
from rise_gym.starts import StartKind, Starts, check_start_kind, save_starts, starts_name
from rise_gym.tasks import TaskCard, task_card
from rise_gym.types import Imagination, WorldState

if TYPE_CHECKING:
    from rise_gym.codec import FrameCodec
    from rise_gym.dynamics import VideoDynamics
    from rise_gym.ltx_codec import LTXCodec
    from rise_gym.ltx_dynamics import LTXDynamics
    from rise_gym.value import ProgressValue

_UNCERTAINTY = "progress_uncertainty"  # the part of a checkpoint that not every one has


@dataclass(frozen=True, kw_only=True)
class WorldModelConfig:
    """How the parts are joined.

    Attributes:
        advantage_scale: factor of equation 2 before clamping to [-1, 1]; the paper's code has 5.
        expected_share: how much of an imagined frame's progress is what the dynamics, if it learnt to, expects to be
            gained; the rest is what the value reads from the frame.
        later_share: how much of a chunk's advantage is what the dynamics, if it learnt to, expects to have been gained
            some time after it, per chunk of that time; the rest is the mean over the chunk itself, the paper's
            equation 2.
        outcome_ticks: what is expected later than this, an episode's outcome among it, counts as if it took so many
            ticks.
        success_threshold: the progress from which on an imagined frame looks done, see `rise_gym.calibration`; None
            takes the value's, which is that of recorded frames.
        success_ticks: how many of the last predicted frames have to look done, so that one lucky frame is no success.
        uncertainty_limit: above it an imagined episode is cut off; None never does.
        start_kind: what dreams begin from, unless an env is told otherwise: "initial", "mid_episode" or "any". Where
            things come in from outside of the pictures, which nothing foretells, a beginning leads nowhere.
    """

    advantage_scale: float = 5.0
    expected_share: float = 0.75
    later_share: float = 0.75
    outcome_ticks: int = 50
    success_threshold: float | None = None
    success_ticks: int = 3
    uncertainty_limit: float | None = None
    start_kind: StartKind = "initial"

    def __post_init__(self) -> None:
        check_start_kind(self.start_kind)
        if self.advantage_scale <= 0 or min(self.success_ticks, self.outcome_ticks) < 1:
            raise ValueError(f"advantage_scale, success_ticks and outcome_ticks must be positive, got {self}")
        if not 0 <= self.expected_share <= 1 or not 0 <= self.later_share <= 1:
            raise ValueError(f"expected_share and later_share are fractions from 0 to 1, got {self}")


class CompositionalWorldModel:
    """A `WorldModel` put together from exchangeable parts; public as `rise_gym.WorldModel`.

    The parts are frozen: a world model is used, never trained. `progress`, in [-1, 1], has two witnesses: what the
    value reads from imagined frames, which holds over many chunks, and what the dynamics, if it learnt to, expects the
    actions to gain, which sees what a blurred frame hides; the *advantage* of a chunk is the latter's. The *reward*
    counts progress from 0 up, since what is lost below 0 is progress that was never made.

    Args:
        codec: frames to latents and back. dynamics: what comes next. value: how far along.
        progress_uncertainty: how far off the progress gained may be; None if nothing learnt that.
        task: the card that they were made for.
        config: how they are joined.
        others: how they are joined for further tasks that they were trained for, by name; see `for_task`.
    """

    def __init__(
        self,
        *,
        codec: FrameCodec | LTXCodec,
        dynamics: VideoDynamics | LTXDynamics,
        value: ProgressValue,
        progress_uncertainty: ProgressUncertainty | None = None,
        task: TaskCard,
        config: WorldModelConfig | None = None,
        others: Mapping[str, WorldModelConfig] | None = None,
    ) -> None:
        self.codec, self.dynamics, self.value, self.task = codec, dynamics, value, task
        self.progress_uncertainty = progress_uncertainty
        self.config, self.others = config or WorldModelConfig(), dict(others or {})
        for part in self._networks():
            part.eval().requires_grad_(False)
        if isinstance(dynamics, ClipDynamics):
            dynamics.use_codec(codec)

    def _networks(self) -> list[torch.nn.Module]:
        parts = (self.codec, self.dynamics, self.value, self.progress_uncertainty)
        return [part for part in parts if part is not None]

    @property
    def device(self) -> torch.device:
        return self.dynamics.device

    @property
    def history_ticks(self) -> int:
        """W: how many recorded ticks the dynamics' history spans."""
        return (self.dynamics.config.history - 1) * self.dynamics.config.stride + 1

    @property
    def longest_chunk(self) -> int:
        """The most ticks that a chunk may have."""
        return int(self.dynamics.config.chunk)

    @property
    def success_threshold(self) -> float:
        """The progress from which on an imagined frame looks done."""
        own = self.config.success_threshold
        return float(self.value.config.success_threshold if own is None else own)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of all tasks that it can dream of, its own first."""
        return self.task.name, *sorted(self.others)

    def for_task(self, name: str) -> CompositionalWorldModel:
        """The same parts, joined for one of its tasks.

        Raises:
            InvalidCheckpoint: if it was not trained for that.
        """
        if name == self.task.name:
            return self
        if name not in self.others or self.task.differences(task_card(name)):
            raise InvalidCheckpoint(
                f"a world model of task {name!r} was wanted, this one is of {', '.join(map(repr, self.tasks))}; train "
                "one with recordings of that task, `rise-gym train --across-tasks` for several"
            )
        others = {**self.others, self.task.name: self.config}
        config = others.pop(name)
        parts: dict[str, Any] = {"codec": self.codec, "dynamics": self.dynamics, "value": self.value}
        parts["progress_uncertainty"] = self.progress_uncertainty
        return CompositionalWorldModel(**parts, task=task_card(name), config=config, others=others)

    def to(self, device: str | torch.device) -> CompositionalWorldModel:
        """The same model with its weights on `device`."""
        for part in self._networks():
            part.to(device)
        return self

    @torch.no_grad()
    def begin(self, frames: Tensor, proprio: Tensor, instruction: Sequence[str]) -> WorldState:
        """Start from recorded windows: frames uint8 (B, ticks, V, H, W, 3), one a tick, oldest first; proprio (B, P).

        Of a longer window the newest W ticks count; before a shorter one its oldest frame repeats.

        Raises:
            InvalidStart: if the shapes do not fit each other or the task.
        """
        views = (len(self.task.cameras), *self.task.image_size, 3)
        batch = len(frames)
        fits = frames.ndim == 6 and frames.shape[1] > 0 and tuple(frames.shape[2:]) == views
        if not fits or frames.dtype != torch.uint8 or tuple(proprio.shape) != (batch, len(self.task.proprio_names)):
            raise InvalidStart(
                f"a start has frames uint8 (B, ticks, {', '.join(map(str, views))}) and proprio "
                f"(B, {len(self.task.proprio_names)}), got {frames.dtype} {tuple(frames.shape)} and "
                f"{tuple(proprio.shape)}"
            )
        if len(instruction) != batch:
            raise InvalidStart(f"one instruction a row was wanted ({batch}), got {len(instruction)}")
        latents = self.codec.encode(frames[:, -self.history_ticks :].to(self.device))
        back = torch.arange(-self.history_ticks, 0) + latents.shape[1]
        latents = latents[:, back.clamp(min=0)]  # (B, W, V, c, h, w)
        return WorldState(
            latents=latents,
            proprio=proprio.to(self.device, torch.float32),
            progress=self.value.progress(latents[:, -1], tuple(instruction)),
            instruction=tuple(instruction),
        )

    @torch.no_grad()
    def imagine(
        self, state: WorldState, actions: Tensor, *, generator: Generators, drawn: bool = True
    ) -> tuple[WorldState, Imagination]:
        """One chunk further: actions (B, K, A) in [-1, 1]. The same state, actions and generators give the same dream.

        `drawn=False` is for who only asks for the advantage, which is the same: frames, and what the value reads from
        them, may be as blurred as the denoiser leaves them. It takes a fraction of the time.

        Raises:
            InvalidAction: if the actions have another shape.
        """
        after, imagination, _ = self.claimed(state, actions, generator=generator, drawn=drawn)
        return after, imagination

    @torch.no_grad()
    def claimed(
        self, state: WorldState, actions: Tensor, *, generator: Generators, drawn: bool = True
    ) -> tuple[WorldState, Imagination, Claim]:
        """As `imagine`, and what was said on the way of the progress gained: what its uncertainty is read from."""
        batch, width = len(state), len(self.task.action_names)
        if actions.ndim != 3 or actions.shape[::2] != (batch, width) or not 1 <= actions.shape[1] <= self.longest_chunk:
            raise InvalidAction(
                f"actions must have shape (B, K, A) = ({batch}, 1 to {self.longest_chunk}, {width}), "
                f"got {tuple(actions.shape)}"
            )
        history = state.latents[:, :: self.dynamics.config.stride]  # (B, T, ...) oldest first, the newest tick last
        actions = actions.to(self.device, torch.float32)
        latents, proprio, uncertainty, gain, later = self.dynamics.sample(
            history,
            state.proprio,
            actions,
            generator=generator,
            drawn=drawn or not self.dynamics.expects_gain,
            instruction=state.instruction,
        )
        seen, scale = self._values(latents, state.instruction), self.config.advantage_scale
        expected = seen if gain is None else state.progress[:, None] + gain
        value = seen.lerp(expected, self.config.expected_share).clamp(-1, 1)
        claim = Claim(
            progress=state.progress,
            gain=expected - state.progress[:, None],
            seen=seen[:, -1],
            later=seen[:, :0] if later is None else later,
            uncertainty=uncertainty,
            proprio=state.proprio,
            actions=actions,
            instruction=state.instruction,
        )
        newest = WorldState(
            latents=torch.cat([state.latents, latents], dim=1)[:, -state.latents.shape[1] :],
            proprio=proprio[:, -1],
            progress=value[:, -1],
            instruction=state.instruction,
        )
        imagination = Imagination(
            latents=latents,
            proprio=proprio,
            progress=value,
            reward=progress_gain(state.progress.clamp(0, 1), value[:, -1].clamp(0, 1)),
            advantage=chunk_advantage(state.progress, self._counted(state, expected, later), scale),
            uncertainty=uncertainty,
            progress_uncertainty=None if self.progress_uncertainty is None else self.progress_uncertainty(claim),
        )
        return newest, imagination, claim

    def advantage_slope(self, state: WorldState, actions: Tensor, *, generator: Generators) -> tuple[Tensor, Tensor]:
        """Advantage (B,) of chunks (B, K, A), and the slope at which it changes with their actions, (B, K, A).

        A single pass of the dynamics: what is expected before any of its noise has decided what happens.
        """
        noise = self.dynamics.noise(len(state), generator)
        found = [
            self._slope(state.rows(rows), actions[rows], noise[rows])
            for rows in torch.arange(len(state)).split(self.dynamics.rows_at_once)
        ]
        advantage, slope = (torch.cat(part) for part in zip(*found, strict=True))
        return advantage, slope

    def _slope(self, state: WorldState, actions: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        scale, now = self.config.advantage_scale, state.progress
        history = state.latents[:, :: self.dynamics.config.stride]
        with torch.enable_grad():
            varied = actions.to(self.device, torch.float32).detach().requires_grad_()
            foreseen = self.dynamics.foresee(history, state.proprio, varied, noise=noise, instruction=state.instruction)
            if foreseen.gain is None:
                texts = [text for text in state.instruction for _ in range(varied.shape[1])]
                values = self.value(foreseen.latents.flatten(0, 1), texts).unflatten(0, varied.shape[:2])
            else:
                values = now[:, None] + foreseen.gain
            counted = self._counted(state, values, foreseen.later)
            (slope,) = torch.autograd.grad(scale * counted.sum(), varied)
        return chunk_advantage(now, counted.detach(), scale), slope

    def _counted(self, state: WorldState, values: Tensor, later: Tensor | None) -> Tensor:
        """What of a chunk's values (B, K), and of gains expected later (B, L), its advantage is made of: (B, 1)."""
        mean = values.mean(1, keepdim=True)
        if later is None:
            return mean
        ticks = torch.tensor(self.dynamics.config.later, device=later.device).clamp(max=self.config.outcome_ticks)
        per_chunk = (later * self.longest_chunk / ticks).mean(1, keepdim=True)
        return mean.lerp(state.progress[:, None] + per_chunk, self.config.later_share)

    def _values(self, latents: Tensor, instruction: Sequence[str]) -> Tensor:
        """What the value reads from every frame: latents (B, K, V, c, h, w) -> (B, K)."""
        ticks = latents.shape[1]
        texts = [text for text in instruction for _ in range(ticks)]
        return self.value.progress(latents.flatten(0, 1), texts).unflatten(0, (-1, ticks))

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (..., V, c, h, w) -> frames uint8 (..., V, H, W, 3)."""
        return self.codec.decode(latents)

    def decode_newest(self, state: WorldState) -> Tensor:
        """What the cameras show now: uint8 (B, V, H, W, 3)."""
        return self.decode(state.latents[:, -1])

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, task: str | None = None, device: str | torch.device = "cpu"
    ) -> CompositionalWorldModel:
        """Load a checkpoint: a folder, `bundled:<task>/<name>`, or a hub id (see `rise_gym.locations.resolve`).

        With `task` it has to be of that one, or of several of which that is one. How large one of full size is, is
        printed on standard error before its weights are read.

        Raises:
            InvalidCheckpoint: if it is missing, of another task or format version, incomplete, or changed.
            UnavailableDevice: if this machine has no such device.
        """
        where = usable_device(device)
        checkpoint = load_checkpoint(resolve(name), kind="world_model", task=task)
        try:
            settings = {name: value for name, value in checkpoint.extra.items() if name != "tasks"}
            config = WorldModelConfig(**settings)
            others = {name: WorldModelConfig(**own) for name, own in checkpoint.extra.get("tasks", {}).items()}
        except TypeError as error:
            raise InvalidCheckpoint(f"{checkpoint.folder}: unknown world model settings ({error})") from error
        _tell_full_size(checkpoint)
        codec, dynamics, value = (checkpoint.component(part) for part in ("autoencoder", "dynamics", "value"))
        doubt = checkpoint.component(_UNCERTAINTY) if _UNCERTAINTY in checkpoint.parts else None
        others.pop(checkpoint.task.name, None)
        model = cls(
            codec=codec, dynamics=dynamics, value=value, progress_uncertainty=doubt, task=checkpoint.task,
            config=config, others=others,
        ).to(where)  # fmt: skip
        return model if task is None else model.for_task(task)

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        starts: Starts | Sequence[Starts] | None = None,
        card: str | None = None,
        half_precision: bool = False,
    ) -> Path:
        """Write a checkpoint folder, whole or not at all; with `starts` an env needs nothing else to begin from: those
        of its task, or of several tasks each.

        `half_precision` stores weights as float16, half the size; they are loaded as float32 either way.

        Raises:
            SaveFailed: if anything could not be written; what was there before is untouched.
        """
        parts: dict[str, Any] = {"dynamics": self.dynamics, "autoencoder": self.codec, "value": self.value}
        parts["scheduler"] = self.dynamics.scheduler()
        if self.progress_uncertainty is not None:
            parts[_UNCERTAINTY] = self.progress_uncertainty
        with tempfile.TemporaryDirectory() as scratch:
            files = {}
            for windows in [starts] if isinstance(starts, Starts) else starts or ():
                name = starts_name(windows.task, own=windows.task == self.task.name)
                files[name] = Path(scratch) / name
                save_starts(windows, files[name])
            return save_checkpoint(
                folder,
                kind="world_model",
                task=self.task,
                components=parts,
                extra=self._settings(),
                card=self.card() if card is None else card,
                files=files,
                half_precision=half_precision,
            )

    def push_to_hub(
        self,
        repo_id: str,
        *,
        starts: Starts | Sequence[Starts] | None = None,
        private: bool = False,
        results: Sequence[str | Path] = (),
        token: str | None = None,
    ) -> str:
        """Save, and push to the hub; returns the commit's address. `rise_gym.hub.push_to_hub` does it with a folder.

        Raises:
            HubFault: without a token, if the hub can't be reached, or if it refuses.
        """
        from rise_gym.hub import push_to_hub  # only who pushes waits for it

        with tempfile.TemporaryDirectory() as scratch:
            folder = self.save_pretrained(Path(scratch) / "world_model", starts=starts)
            return push_to_hub(folder, repo_id, private=private, results=results, token=token)

    def _settings(self) -> dict[str, Any]:
        """How the parts are joined, and, if there are several tasks, how for each."""
        joined = {self.task.name: self.config, **self.others}
        several = {"tasks": {name: asdict(config) for name, config in joined.items()}} if self.others else {}
        return {**asdict(self.config), **several}

    def card(self) -> str:
        """A README that says what the checkpoint is; a training command adds how it was made."""
        parts = (("codec", self.codec), ("dynamics", self.dynamics), ("value", self.value),
                 ("progress uncertainty", self.progress_uncertainty))  # fmt: skip
        sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in parts if part is not None}
        rows = "\n".join(f"| {name} | {count:,} |" for name, count in sizes.items())
        titles = [self.task.title, *(task_card(name).title for name in sorted(self.others))]
        return (
            "---\nlibrary_name: rise_gym\ntags: [world-model, robotics]\n---\n"
            f"# World model for {', '.join(titles)}\n\n{self.task.instruction}\n\n"
            f'```python\nfrom rise_gym import WorldModel\n\nmodel = WorldModel.from_pretrained("this folder")\n```\n\n'
            f"| part | parameters |\n| --- | --- |\n{rows}\n\nSettings: {asdict(self.config)}\n"
        )


def _tell_full_size(checkpoint: Checkpoint) -> None:
    """Whoever has not the memory should read why, and not only that the process was killed."""
    if checkpoint.class_name("dynamics") != "LTXDynamics":
        return
    from rise_gym.ltx_size import LTXSize  # only a model of full size waits for it

    print(LTXSize.stored(checkpoint.folder, checkpoint.task).told_to_dream(), file=sys.stderr)
