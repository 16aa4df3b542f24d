"""Training of the full-size dynamics: flow matching on clips, as in the paper, on one process or several.

Frames are encoded while training, by a codec that stays as it is: a clip begins at every moment, so latents of all
clips would take more room than the frames. The paper's code jitters colours as well; here frames are as recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from diffusers.training_utils import compute_density_for_timestep_sampling
from torch import Generator, Tensor, nn

from rise_gym._batch_moments import BatchMoments
from rise_gym._ranks import Ranks
from rise_gym.errors import InvalidCheckpoint, InvalidDataset
from rise_gym.ltx_codec import LTXCodec
from rise_gym.ltx_dynamics import LTXDynamics, LTXDynamicsConfig
from rise_gym.recordings import Recordings
from rise_gym.tasks import TaskCard
from rise_gym.training import Trainer, TrainingConfig

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True, kw_only=True)
class LTXTraining:
    """How to train an `LTXDynamics`; the defaults are the paper's fine-tuning.

    Attributes:
        training: steps and rates; `batch_size` is that of all processes together.
        dynamics: size of a new model, which is fitted to the task and the codec.
        sigma_mean, sigma_spread: noise levels are logit-normal.
        context_noise: history is mixed with noise, up to this much of it a row, so that imagined history does no harm.
        task_centric: of recordings of several tasks each batch is from two of them, see `BatchMoments`.
        eventful_share: fraction of rows that start where progress is about to change, if it is known.
        gradient_checkpointing: compute activations twice instead of keeping them.
    """

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            steps=50_000,
            batch_size=64,
            learning_rate=1e-4,
            warmup_steps=2000,
            schedule="constant_with_warmup",
            weight_decay=1e-5,
            ema_decay=0.0,
            save_every_steps=2000,
        )
    )
    dynamics: LTXDynamicsConfig = field(default_factory=LTXDynamicsConfig)
    sigma_mean: float = 0.2
    sigma_spread: float = 1.0
    context_noise: float = 0.2
    task_centric: bool = True
    eventful_share: float = 0.0
    gradient_checkpointing: bool = True


class ClipWindow(NamedTuple):
    """Rows of a batch: uint8 frames of history (B, T, V, H, W, 3) and of the clip to come (B, F, V, H, W, 3).

    `happened` (B, f) says of which latent frames all was recorded; `actions` (B, K, A) are those executed.
    """

    history: Tensor
    future: Tensor
    happened: Tensor
    actions: Tensor


class Noise(NamedTuple):
    """All that is random in a batch: `level` (B,), `amount` (B,) of the noise on history, and both noises."""

    level: Tensor
    amount: Tensor
    on_history: Tensor
    on_future: Tensor

    def rows(self, index: Tensor) -> Noise:
        """Some of its rows."""
        return Noise(*(column[index] for column in self))


def train_ltx_dynamics(
    recordings: Recordings,
    codec: LTXCodec,
    config: LTXTraining,
    folder: str | Path,
    *,
    initial: LTXDynamics | None = None,
    progress: Tensor | None = None,
    moments: Tensor | None = None,
    accelerator: Accelerator | None = None,
    sharded: bool = False,
    on_progress: Callable[[int, dict[str, float]], None] | None = None,
) -> LTXDynamics:
    """Train on recordings with frames, of any success; a run in `folder` goes on where it stopped.

    Args:
        recordings: with their frames.
        codec: which makes latents of them; it stays as it is.
        config: how.
        folder: the run's state and curves.
        initial: start from the weights of this model, which is left as it is.
        progress: (N,) how far along the task each moment is, for `eventful_share`.
        moments: from which to learn (M,), as often as they are there; by default each. Terminal ones teach nothing.
        accelerator: where, with whom and in which precision to train; None for this process alone.
        sharded: each process holds only a share of the model.
        on_progress: called with the step and its figures, in the main process.

    Returns:
        The model in eval mode; sharded, it is whole in the main process only.

    Raises:
        InvalidDataset: if the recordings have no frames, or no episode has a second one.
        InvalidCheckpoint: if `initial` was made for other pictures or cameras.
        InvalidTraining: if the processes can't share a batch, or a single one is to hold a share of the model.
    """
    moments = torch.arange(len(recordings)) if moments is None else moments
    moments = moments[moments < recordings.last[moments]]
    if not len(recordings.frames) or not len(moments):
        raise InvalidDataset("this dynamics learns from episodes of two frames and more, with their frames kept")
    model = _begun(recordings, codec, config, initial)
    model.set_gradient_checkpointing(config.gradient_checkpointing)
    codec = codec.eval().requires_grad_(False)
    batches = BatchMoments(
        recordings, moments, progress, eventful_share=config.eventful_share, task_centric=config.task_centric
    )

    def loss(generator: Generator) -> tuple[Tensor, dict[str, float]]:
        drawn = torch.cat(batches.draw(config.training.batch_size, generator))
        noise, mine = drawn_noise(model, len(drawn), config, generator), trainer.ranks.rows(len(drawn))
        window = clip_window(recordings, drawn[mine], model)
        return clip_loss(trainer.model, codec, window, noise.rows(mine), model.device)

    trainer = Trainer(
        model,
        loss,
        config.training,
        folder,
        accelerator=accelerator,
        sharded=sharded,
        units=model.network.ltx.transformer_blocks,
    )
    codec.to(model.device)
    trainer.ranks.rows(config.training.batch_size)  # refused before any work is done
    trainer.run(on_progress=on_progress)
    trainer.use_average()
    model.set_gradient_checkpointing(False)
    return _gathered(model, trainer.ranks) if sharded else model.eval()


def clip_window(recordings: Recordings, moments: Tensor, model: LTXDynamics) -> ClipWindow:
    """What was before and after recorded moments (B,), and what was done."""
    stride, chunk = int(model.config.stride), int(model.config.chunk)
    before = recordings.history(moments, int(model.config.history), stride)
    after, happened = recordings.future(moments, chunk)
    acted, _ = recordings.chunk(moments, chunk)
    of_frames = happened[:, stride - 1 :: stride]
    return ClipWindow(
        history=recordings.frames[before],
        future=recordings.frames[after[:, stride - 1 :: stride]],
        happened=of_frames[:, :: int(model.config.compression[0])],  # what a latent frame ends with is its last frame
        actions=recordings.actions[acted],
    )


def drawn_noise(model: LTXDynamics, rows: int, config: LTXTraining, generator: Generator) -> Noise:
    """All that is random in a batch of so many rows; the whole batch's, whoever computes which rows."""
    level = compute_density_for_timestep_sampling(
        "logit_normal", rows, logit_mean=config.sigma_mean, logit_std=config.sigma_spread, generator=generator
    )
    of_frame = (model.views, model.network.channels, *model.config.latent_size)
    return Noise(
        level=level,
        amount=config.context_noise * torch.rand(rows, generator=generator),
        on_history=torch.randn(rows, int(model.config.history), *of_frame, generator=generator),
        on_future=torch.randn(rows, model.latent_frames, *of_frame, generator=generator),
    )


def clip_loss(
    network: nn.Module, codec: LTXCodec, window: ClipWindow, noise: Noise, device: torch.device
) -> tuple[Tensor, dict[str, float]]:
    """Squared error of the velocity n - x_0, averaged within each row over what happened, then over rows.

    Every row counts alike, so that the mean over several processes is that over the whole batch. `copy_ratio` among
    the figures is the error of the clean latents divided by that of showing the newest frame throughout.
    """
    level, amount, on_history, on_future = (part.to(device) for part in noise)
    history, future = codec.encode(window.history), codec.encode_clip(window.future)
    mixed = torch.lerp(history, on_history, amount.view(-1, 1, 1, 1, 1, 1))
    noisy = torch.lerp(future, on_future, level.view(-1, 1, 1, 1, 1, 1))
    velocity = network(mixed, noisy, level, window.actions.to(device)).float()

    happened = window.happened.to(device, torch.float32)  # (B, f)
    error = (velocity - (on_future - future)).square().flatten(2).mean(2)
    loss = ((error * happened).sum(1) / happened.sum(1).clamp(min=1)).mean()
    with torch.no_grad():
        copied = (future - history[:, -1:]).square().flatten(2).mean(2)
        ratio = (level[:, None].square() * error * happened).sum() / (copied * happened).sum().clamp(min=1e-6)
    return loss, {"velocity": float(loss.detach()), "copy_ratio": float(ratio)}


def _begun(recordings: Recordings, codec: LTXCodec, config: LTXTraining, initial: LTXDynamics | None) -> LTXDynamics:
    """A copy of `initial` for the recordings' task, or a new model that fits the task and the codec.

    Raises:
        InvalidCheckpoint: if `initial` was made for pictures or cameras that the task does not have.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        if initial is None:
            model = LTXDynamics.of(config.dynamics.fitted(recordings.task, codec.compression), recordings.task)
        else:
            shape = {name: value for name, value in initial.config.items() if not name.startswith("_")}
            _check_size(initial, recordings.task, codec)
            model = LTXDynamics.from_config({**shape, "task": recordings.task.name})
            try:
                model.load_state_dict(initial.state_dict())
            except RuntimeError as error:
                raise InvalidCheckpoint(
                    f"the initial model does not fit the task {recordings.task.name!r} ({error}); begin from one with "
                    "as many cameras and frames"
                ) from error
    model.use_codec(codec)
    return model


def _check_size(initial: LTXDynamics, task: TaskCard, codec: LTXCodec) -> None:
    wanted = tuple(pixels // side for pixels, side in zip(task.image_size, codec.compression[1:], strict=True))
    found = tuple(initial.config.latent_size)
    if wanted != found:
        raise InvalidCheckpoint(
            f"a dynamics of {wanted[0]} x {wanted[1]} latents a picture was wanted, as task {task.name!r} and the "
            f"codec have them, the initial one is of {found[0]} x {found[1]}: begin from one of that image_size, "
            "or from public weights, which take any"
        )


def _gathered(model: LTXDynamics, ranks: Ranks) -> LTXDynamics:
    """A whole model of what the processes hold shares of; all have to call it, the main one gets it."""
    weights = {name: weight.cpu() for name, weight in ranks.whole(model.state_dict()).items()}
    if not ranks.main:
        return model
    found: LTXDynamics = LTXDynamics.from_config(model.config)
    found.load_state_dict(weights)
    return found.eval()
