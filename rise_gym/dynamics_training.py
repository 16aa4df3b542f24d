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
from rise_gym.dynamics import VideoDynamics, VideoDynamicsConfig
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


class Window(NamedTuple):
    """A batch of training windows; `happened` (B, K) says which future frames there were under these actions.

    `gained` (B, K + L) is the progress of each future frame, and of the model's L `later` ones, less that of the
    newest; NaN where nobody knows it, and of later ones where no policy acted on.
    """

    history: Tensor
    future: Tensor
    happened: Tensor
    proprio: Tensor
    actions: Tensor
    measured: Tensor
    gained: Tensor


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
    rest, device = config.training, config.training.device
    model = _initial(recordings, config, initial, learns_gain=progress is not None).to(device)
    judge = None if value is None else copy.deepcopy(value).eval().requires_grad_(False).to(device)
    joints = replace(
        rest,
        steps=min(config.following_steps, 4 * rest.steps),
        learning_rate=2 * rest.learning_rate,
        save_every_steps=2000,
    )
    train_following(model, recordings, moments, joints, Path(folder) / "following")

    batches = BatchMoments(
        recordings, moments, progress, eventful_share=config.eventful_share, task_centric=config.task_centric
    )
    dreamt = DreamtHistory(config.training.batch_size, model.config, recordings)
    dreams_from = 0.0 if initial is not None else config.recorded_only * config.training.steps

    def loss(generator: Generator) -> tuple[Tensor, dict[str, float]]:
        share = config.dreamt_history if trainer.progress.step >= dreams_from else 0.0
        parts = batches.draw(config.training.batch_size, generator)
        drawn, replaced, going_on = dreamt.mixed_in(parts, share, generator)
        window = training_window(recordings, drawn, model.config, progress, device=device)
        window = window._replace(history=dreamt.replaced(window.history, replaced, going_on))
        window = shortened(window, config.short_chunks, generator)
        total, figures, imagined = _losses(model, window, config, generator, judge, recordings.instruction_of(drawn))
        dreamt.keep(drawn, imagined.latents, imagined.from_noise & window.happened.all(1))
        return total, figures

    trainer = Trainer(model, loss, config.training, folder, extra_state=dreamt)
    trainer.run(on_progress=on_progress)
    trainer.use_average()
    if initial is not None:
        _keep(initial, model, config.initial_share)
    model.requires_grad_(True)
    return model.eval()


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
        if config.dynamics.motion and initial.renderer is None:
            shape |= {"motion": True}
        model: VideoDynamics = VideoDynamics.from_config(shape)
    fresh = model.state_dict()
    for name, learnt in initial.state_dict().items():
        if learnt.shape == fresh[name].shape:
            fresh[name].copy_(learnt)
        else:  # it may expect other ticks than before, and be shown more, which begins by changing nothing
            both = tuple(slice(min(sizes)) for sizes in zip(learnt.shape, fresh[name].shape, strict=True))
            fresh[name].zero_()[both] = learnt[both]
    return model


def training_window(
    recordings: Recordings,
    moments: Tensor,
    shape: VideoDynamicsConfig,
    progress: Tensor | None = None,
    *,
    device: torch.device | str = "cpu",
) -> Window:
    """What was before and after recorded moments (B,), and what was done: `shape` gives history, stride and chunk.

    progress: (N,) of every recorded moment, to tell what was gained. device: where the frames are to be.
    """
    if recordings.latents is None:
        raise ValueError("windows hold latents: call recordings.encoded(codec) first")
    before = recordings.history(moments, shape.history, shape.stride)
    after, happened = recordings.future(moments, shape.chunk)
    acted, _ = recordings.chunk(moments, shape.chunk)
    known = torch.full((len(recordings),), torch.nan) if progress is None else progress
    return Window(
        history=recordings.latents[before].to(device).float(),
        future=recordings.latents[after].to(device).float(),
        happened=happened,
        proprio=recordings.proprio[moments],
        actions=recordings.actions[acted],
        measured=recordings.proprio[after],
        gained=torch.cat([known[after], _known_later(recordings, moments, shape.later, known)], dim=1)
        - known[moments][:, None],
    )


def _known_later(recordings: Recordings, moments: Tensor, later: Sequence[int], known: Tensor) -> Tensor:
    """What is known (N,) of `later` ticks after moments (B,): (B, L), NaN where no policy acted on."""
    acted_on = torch.tensor([source == "rollout" for source in recordings.sources])[recordings.episode[moments]]
    ahead = torch.minimum(moments[:, None] + torch.tensor(later, dtype=torch.int64), recordings.last[moments][:, None])
    return known[ahead].where(acted_on[:, None], torch.nan)


def shortened(window: Window, fraction: float, generator: Generator) -> Window:
    """Some rows as if their chunk were shorter: the last target held from a random tick on, later frames unknown."""
    batch, ticks = window.happened.shape
    chosen = torch.rand(batch, generator=generator) < fraction
    length = torch.where(chosen, torch.randint(1, ticks + 1, (batch,), generator=generator), ticks)
    index = torch.minimum(torch.arange(ticks), length[:, None] - 1)
    held = window.actions.gather(1, index[..., None].expand_as(window.actions))
    gained = torch.cat([window.gained[:, :ticks], window.gained[:, ticks:].where(~chosen[:, None], torch.nan)], dim=1)
    happened = window.happened & (torch.arange(ticks) < length[:, None])
    return window._replace(actions=held, happened=happened, gained=gained)


def dynamics_loss(
    model: VideoDynamics,
    window: Window,
    config: DynamicsTraining,
    generator: Generator,
    judge: ProgressValue | None = None,
    instruction: Sequence[str] = (),
) -> tuple[Tensor, dict[str, float]]:
    """Squared error of the predicted clean future and of the proprioception; with a judge, also of what it makes of it.

    A judge is a frozen value: it tells imagined frames from recorded ones by what matters to each row's instruction,
    of which there have to be as many as rows then, as there have to be for a model that is instructed.
    `copy_ratio` among the figures is the error divided by that of copying the newest frame.
    """
    return _losses(model, window, config, generator, judge, instruction)[:2]


class _Imagined(NamedTuple):
    """Latents (B, K, V, c, h, w) that a training step predicted, and which rows began from pure noise: bool (B,)."""

    latents: Tensor
    from_noise: Tensor


def _losses(
    model: VideoDynamics,
    window: Window,
    config: DynamicsTraining,
    generator: Generator,
    judge: ProgressValue | None,
    instruction: Sequence[str],
) -> tuple[Tensor, dict[str, float], _Imagined]:
    sigma = _noise_levels(len(window.history), config, generator)
    level = sigma.view(-1, 1, 1, 1, 1, 1).to(window.future)
    noisy = torch.lerp(window.future, noise_like(window.future, generator), level)
    amount = config.context_noise * torch.rand(len(sigma), 1, 1, 1, 1, 1, generator=generator)
    history = window.history + amount.to(window.history) * noise_like(window.history, generator)
    arguments = (history, noisy, sigma, window.proprio, window.actions)
    given = (argument.to(model.device) for argument in arguments)
    clean, following, gain, later = model(*given, instruction=instruction or None)

    future, happened = window.future.to(clean), window.happened.to(clean)
    here = happened[:, :, None, None, None, None]
    error, change = (clean - future).square(), (future - window.history[:, -1:].to(clean)).square()
    picture = (here * error).sum() / (happened.sum() * error[0, 0].numel()).clamp(min=1)
    off = (following - model.scaled(window.measured.to(clean))).square().mean(-1)
    joints = (off * happened).sum() / happened.sum().clamp(min=1)
    parts = {"picture": picture, "proprio": joints}
    total = picture
    pure, chunk = (sigma == 1)[:, None], window.happened.shape[1]  # a future with less noise would give its gain away
    if gain is not None:
        parts["gain"] = _gain_error(gain, window.gained[:, :chunk], pure & window.happened)
        total = total + config.gain_weight * parts["gain"]
    if later is not None:
        weight = chunk / torch.tensor(model.config.later, device=later.device)
        parts["later_gain"] = _gain_error(later, window.gained[:, chunk:], pure, weight)
        total = total + config.later_weight * parts["later_gain"]
    if judge is not None:
        ticks = torch.randperm(clean.shape[1], generator=generator)[: config.judged_ticks]
        known = window.happened[:, ticks].to(model.device)
        text = [instruction[row] for row in known.nonzero()[:, 0].tolist()]
        parts |= judged(judge, clean[:, ticks][known], future[:, ticks][known], text)
        total = total + config.seen_weight * parts["seen"] + config.progress_weight * parts["progress"]
    parts["copy_ratio"] = (here * error).sum() / (here * change).sum().clamp(min=1e-6)
    figures = {name: float(part.detach()) for name, part in parts.items()}
    return total, figures, _Imagined(clean.detach(), sigma == 1)


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
