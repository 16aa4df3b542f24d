"""Training of the dynamics on recorded episodes: flow matching in latent space, all frames of a chunk at once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers.training_utils import compute_density_for_timestep_sampling
from torch import Generator, Tensor

from rise_gym._batch_moments import BatchMoments
from rise_gym._dreamt_history import DreamtHistory
from rise_gym._following_training import train_following
from rise_gym._training_windows import Window as Window
from rise_gym._training_windows import shortened as shortened
from rise_gym._training_windows import training_window as training_window
from rise_gym.dynamics import Forecast, VideoDynamics, VideoDynamicsConfig
from rise_gym.errors import InvalidDataset
from rise_gym.recordings import Recordings
from rise_gym.training import Trainer, TrainingConfig, noise_like
from rise_gym.value import ProgressValue


@dataclass(frozen=True, kw_only=True)
class DynamicsTraining:
    """How to train the dynamics.

    Attributes:
        training: steps and rates.
        dynamics: size of the model; of another from which training goes on, only what it is to expect changes, and
            whether it is instructed and, unless it has a renderer, sees motion, if it did not yet.
        motion_for_renderer: show motion to one with a renderer too, whose own maps of it begin by saying nothing: it
            has to learn on as well, see `rise_gym.renderer_training`.
        sigma_mean, sigma_spread: noise levels are logit-normal, as in the paper.
        pure_noise: fraction of rows at noise level 1, where sampling in few steps begins.
        context_noise: noise on the history, up to this much a row, so that imagined history does no harm; the paper's.
        dreamt_history: fraction of rows that go on from what the model itself imagined, towards what was recorded, so
            that long dreams do not drift: those get 1 / (1 - dreamt_history) chunks long on average.
        recorded_only: fraction of the steps before that sets in; where training goes on from another model, none.
        short_chunks: fraction of rows whose chunk ends early, the last target held, so that every length is known.
        eventful_share: fraction of rows that start where progress is about to change, if it is known; the others start
            anywhere. Half of what a failing policy records is a robot that is stuck.
        task_centric: of recordings of several tasks each batch is from two of them, half of the rows each, drawn anew
            for each batch, as in the paper; else from all alike. Dreams that a batch goes on from are of its tasks.
        initial_share: where training goes on from another model, how much of its weights the final ones keep: the mean
            of both knows what either knows (a further 2000 steps on dreamt history cost 0.2 dB at one chunk and stop
            long dreams from drifting; half of each has both).
        following_steps: of learning, before anything else and from joints alone, where joints will be; at most four for
            each step of the rest.
        seen_weight, progress_weight: with a value, of the error in what it sees in imagined frames and in the progress
            it reads from them: whether a grasp held is few pixels, and all that counts.
        judged_ticks: how many ticks of each row the value looks at.
        gain_weight, later_weight: of the squared errors of the expected gain, of the chunk's ticks and of later ones,
            in rows that start from pure noise as sampling does. The later a tick, the less it counts, in proportion:
            the variance of what will have been gained grows with time.
    """

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            steps=12_000, batch_size=32, learning_rate=1e-3, warmup_steps=200, weight_decay=1e-3, ema_decay=0.999
        )
    )
    dynamics: VideoDynamicsConfig = field(default_factory=VideoDynamicsConfig)
    motion_for_renderer: bool = False
    sigma_mean: float = 0.2
    sigma_spread: float = 1.0
    pure_noise: float = 0.75
    context_noise: float = 0.2
    dreamt_history: float = 0.5
    recorded_only: float = 0.5
    short_chunks: float = 0.2
    eventful_share: float = 0.5
    task_centric: bool = True
    initial_share: float = 0.0
    following_steps: int = 6000
    seen_weight: float = 0.05
    progress_weight: float = 20.0
    judged_ticks: int = 4
    gain_weight: float = 100.0
    later_weight: float = 100.0


def train_dynamics(
    recordings: Recordings,
    config: DynamicsTraining,
    folder: str | Path,
    *,
    initial: VideoDynamics | None = None,
    value: ProgressValue | None = None,
    progress: Tensor | None = None,
    moments: Tensor | None = None,
    on_progress: Callable[[int, dict[str, float]], None] | None = None,
) -> VideoDynamics:
    """Train on encoded recordings of any success; a run in `folder` goes on where it stopped.

    Args:
        recordings: `encoded`.
        config: how.
        folder: the run's state and curves.
        initial: start from the weights of this model, which is left as it is.
        value: if given, imagined frames have to look to it as the recorded ones do; it stays as it is.
        progress: (N,) how far along the task each moment is, NaN where nobody knows; what chunks gain of it is learnt.
        moments: from which to learn (M,), as often as they are there; by default each. Terminal ones teach nothing.

    Returns:
        The model, averaged over the last steps, in eval mode.

    Raises:
        InvalidDataset: if the recordings were not encoded, or no episode has a second frame.
    """
    moments = torch.arange(len(recordings)) if moments is None else moments
    moments = moments[moments < recordings.last[moments]]
    if recordings.latents is None or not len(moments):
        raise InvalidDataset(
            "dynamics learns from encoded episodes of two frames and more; call recordings.encoded(codec) first"
        )
    device = config.training.device
    model = _initial(recordings, config, initial, learns_gain=progress is not None).to(device)
    judge = None if value is None else copy.deepcopy(value).eval().requires_grad_(False).to(device)
    train_following(model, recordings, moments, _joints_alone(config), Path(folder) / "following")
    losses = _Losses(recordings, config, model, moments, progress, judge)
    losses.dreams_from = 0.0 if initial is not None else config.recorded_only * config.training.steps
    origin = {"dynamics to start from": initial}
    trainer = Trainer(
        model, losses, config.training, folder, origin=origin, extra_state=losses.dreamt, after_step=losses.count
    )
    losses.step = trainer.progress.step
    trainer.run(on_progress=on_progress)
    trainer.use_average()
    if initial is not None:
        _keep(initial, model, config.initial_share)
    model.requires_grad_(True)
    return model.eval()


def _joints_alone(config: DynamicsTraining) -> TrainingConfig:
    """How to learn, before anything else, where joints will be."""
    rest = config.training
    return replace(
        rest,
        steps=min(config.following_steps, 4 * rest.steps),
        learning_rate=2 * rest.learning_rate,
        save_every_steps=2000,
    )


class _Losses:
    """The loss that the trainer calls once a step, and the dreams that rows of the next step go on from.

    Attributes:
        dreams_from: the step from which on they do. step: how many were taken.
    """

    def __init__(
        self,
        recordings: Recordings,
        config: DynamicsTraining,
        model: VideoDynamics,
        moments: Tensor,
        progress: Tensor | None,
        judge: ProgressValue | None,
    ) -> None:
        self.recordings, self.config, self.model = recordings, config, model
        self.progress, self.judge = progress, judge
        self.batches = BatchMoments(
            recordings, moments, progress, eventful_share=config.eventful_share, task_centric=config.task_centric
        )
        self.dreamt = DreamtHistory(config.training.batch_size, model.config, recordings)
        self.dreams_from, self.step = 0.0, 0

    def __call__(self, generator: Generator) -> tuple[Tensor, dict[str, float]]:
        config, recordings = self.config, self.recordings
        share = config.dreamt_history if self.step >= self.dreams_from else 0.0
        parts = self.batches.draw(config.training.batch_size, generator)
        drawn, replaced, going_on = self.dreamt.mixed_in(parts, share, generator)
        window = training_window(recordings, drawn, self.model.config, self.progress, device=config.training.device)
        window = window._replace(history=self.dreamt.replaced(window.history, replaced, going_on))
        window = shortened(window, config.short_chunks, generator)
        total, figures, imagined = dynamics_loss(
            self.model, window, config, generator, self.judge, recordings.instruction_of(drawn)
        )
        self.dreamt.keep(drawn, imagined.latents, imagined.from_noise & window.happened.all(1))
        return total, figures

    def count(self, step: int) -> None:
        """After a step."""
        self.step = step


@torch.no_grad()
def _keep(initial: VideoDynamics, model: VideoDynamics, share: float) -> None:
    """Move the weights learnt beside pictures towards those that they began with, where these have the same shape."""
    before = dict(initial.named_parameters())
    for name, weight in model.named_parameters():
        if weight.requires_grad and name in before and weight.shape == before[name].shape:
            weight.lerp_(before[name].to(weight), share)


def _initial(
    recordings: Recordings, config: DynamicsTraining, initial: VideoDynamics | None, learns_gain: bool
) -> VideoDynamics:
    """A new model, or a copy of `initial`, which expects, is told and is shown what it was, and what is wanted now."""
    shape_of_latents = recordings.latent_shape()
    if not isinstance(shape_of_latents["latent_size"], int):
        raise InvalidDataset(
            f"square latents were wanted, got {shape_of_latents['latent_size']}; encode pictures of a square "
            "image_size, or train an LTXDynamics (`--architecture ltx`), which takes any"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        if initial is None:
            gain = config.dynamics.gain and learns_gain
            fitting = replace(config.dynamics, gain=gain, **shape_of_latents)
            return VideoDynamics.of(fitting, recordings.task)
        shape = {name: value for name, value in initial.config.items() if not name.startswith("_")}
        shape["task"] = recordings.task.name
        if learns_gain:
            shape |= {"gain": True, "later": config.dynamics.later}
        if config.dynamics.instructed:
            shape |= {"instructed": True}
        if config.dynamics.motion and (initial.renderer is None or config.motion_for_renderer):
            shape |= {"motion": True}
        model: VideoDynamics = VideoDynamics.from_config(shape)
    fresh = model.state_dict()
    for name, learnt in initial.state_dict().items():
        if learnt.shape == fresh[name].shape:
            fresh[name].copy_(learnt)
        else:  # it may expect other ticks than before, and be shown more, which begins by changing nothing
            both = tuple(slice(min(sizes)) for sizes in zip(learnt.shape, fresh[name].shape, strict=True))
            fresh[name].zero_()[both] = learnt[both]
            if name == "renderer.enter.weight":  # whose last maps are the coarse frame, behind those of motion
                coarse = int(model.config.latent_channels)
                fresh[name][:, learnt.shape[1] - coarse :] = 0
                fresh[name][:, -coarse:] = learnt[:, -coarse:]
    return model


class ImaginedLatents(NamedTuple):
    """Latents (B, K, V, c, h, w) that a training step predicted, and which rows began from pure noise: bool (B,)."""

    latents: Tensor
    from_noise: Tensor


def dynamics_loss(
    model: VideoDynamics,
    window: Window,
    config: DynamicsTraining,
    generator: Generator,
    judge: ProgressValue | None = None,
    instruction: Sequence[str] = (),
) -> tuple[Tensor, dict[str, float], ImaginedLatents]:
    """What is made small, its parts, and what was imagined; with a judge, also what it makes of that.

    A judge is a frozen value: it tells imagined frames from recorded ones by what matters to each row's instruction,
    of which there have to be as many as rows then, as there have to be for a model that is instructed.
    `copy_ratio` among the parts is the picture's error divided by that of copying the newest frame.
    """
    sigma, history, noisy = _with_noise(window, config, generator)
    arguments = (history, noisy, sigma, window.proprio, window.actions)
    given = (argument.to(model.device) for argument in arguments)
    forecast: Forecast = model(*given, instruction=instruction or None)
    clean, from_noise = forecast.latents, sigma == 1
    picture, copied = _picture_error(clean, window)
    parts = {"picture": picture, "proprio": _joint_error(model, forecast.proprio, window)}
    parts |= _gain_errors(model, forecast, window, from_noise)
    if judge is not None:
        ticks = torch.randperm(clean.shape[1], generator=generator)[: config.judged_ticks]
        known = window.happened[:, ticks].to(model.device)
        text = [instruction[row] for row in known.nonzero()[:, 0].tolist()]
        parts |= judged(judge, clean[:, ticks][known], window.future.to(clean)[:, ticks][known], text)
    weights = {  # joints teach nothing here: they were learnt before, and are only looked at
        "gain": config.gain_weight,
        "later_gain": config.later_weight,
        "seen": config.seen_weight,
        "progress": config.progress_weight,
    }
    total = picture
    for name, weight in weights.items():
        total = total + weight * parts[name] if name in parts else total
    figures = {name: float(part.detach()) for name, part in {**parts, "copy_ratio": copied}.items()}
    return total, figures, ImaginedLatents(clean.detach(), from_noise)


def _with_noise(window: Window, config: DynamicsTraining, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Noise levels (B,), and with noise the history (B, T, V, c, h, w) and the future (B, K, V, c, h, w)."""
    sigma = _noise_levels(len(window.history), config, generator)
    level = sigma.view(-1, 1, 1, 1, 1, 1).to(window.future)
    noisy = torch.lerp(window.future, noise_like(window.future, generator), level)
    amount = config.context_noise * torch.rand(len(sigma), 1, 1, 1, 1, 1, generator=generator)
    history = window.history + amount.to(window.history) * noise_like(window.history, generator)
    return sigma, history, noisy


def _picture_error(clean: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """Squared error of predicted frames (B, K, V, c, h, w) that happened, and its share of that of the newest frame."""
    future, happened = window.future.to(clean), window.happened.to(clean)
    here = happened[:, :, None, None, None, None]
    error, change = (clean - future).square(), (future - window.history[:, -1:].to(clean)).square()
    picture = (here * error).sum() / (happened.sum() * error[0, 0].numel()).clamp(min=1)
    return picture, (here * error).sum() / (here * change).sum().clamp(min=1e-6)


def _joint_error(model: VideoDynamics, following: Tensor, window: Window) -> Tensor:
    """Squared error of scaled proprioception (B, K, P) at ticks that happened."""
    happened = window.happened.to(following)
    off = (following - model.scaled(window.measured.to(following))).square().mean(-1)
    return (off * happened).sum() / happened.sum().clamp(min=1)


def _gain_errors(model: VideoDynamics, forecast: Forecast, window: Window, from_noise: Tensor) -> dict[str, Tensor]:
    """Squared errors of the gains that the model expects, if it does, in rows (B,) that start from pure noise.

    A future with less noise would give its gain away.
    """
    parts, pure, chunk = {}, from_noise[:, None], window.happened.shape[1]
    if forecast.gain is not None:
        parts["gain"] = _gain_error(forecast.gain, window.gained[:, :chunk], pure & window.happened)
    if forecast.later is not None:
        weight = chunk / torch.tensor(model.config.later, device=forecast.later.device)
        parts["later_gain"] = _gain_error(forecast.later, window.gained[:, chunk:], pure, weight)
    return parts


def _gain_error(gain: Tensor, gained: Tensor, counts: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Squared error of what is expected (B, n) of what is known to have been gained, where it counts; `weight` (n,)."""
    counts = (counts & ~gained.isnan()).to(gain.device)
    error = weight * (gain - gained.nan_to_num().to(gain)).square()
    return (error * counts).sum() / counts.sum().clamp(min=1)


def judged(judge: ProgressValue, imagined: Tensor, recorded: Tensor, instruction: Sequence[str]) -> dict[str, Tensor]:
    """Squared error of what a value sees, and of the progress it reads: frames (n, V, c, h, w) each."""
    seen, progress = judge.read(imagined, instruction)
    with torch.no_grad():
        truly_seen, true_progress = judge.read(recorded, instruction)
    return {"seen": (seen - truly_seen).square().mean(), "progress": (progress - true_progress).square().mean()}


def _noise_levels(count: int, config: DynamicsTraining, generator: Generator) -> Tensor:
    levels = compute_density_for_timestep_sampling(
        "logit_normal", count, logit_mean=config.sigma_mean, logit_std=config.sigma_spread, generator=generator
    )
    pure = torch.rand(count, generator=generator) < config.pure_noise
    return torch.where(pure, 1.0, levels)
