"""Training of the network that draws each imagined frame anew, on what the rest of the dynamics imagines.

The rest is frozen. Some rows go on from a chunk that was drawn a step ago, so that dreams do not drift.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from rise_gym._dreamt_history import DreamtHistory
from rise_gym.dynamics import CoarseChunk, VideoDynamics
from rise_gym.dynamics_training import DynamicsTraining, Window, judged, shortened, training_window
from rise_gym.errors import InvalidDataset
from rise_gym.recordings import Recordings
from rise_gym.training import Trainer, TrainingConfig, noise_like
from rise_gym.value import ProgressValue


@dataclass(frozen=True, kw_only=True)
class RendererTraining:
    """How to train a renderer.

    Attributes:
        training: steps and rates; a row of a batch is one imagined chunk.
        widths: of a new renderer; one that is there is trained on.
        ticks: how many frames of each chunk are drawn and compared.
        context_noise: noise on the history, up to this much a row.
        dreamt_history: fraction of rows that go on from what was drawn, towards what was recorded.
        initial_share: where training goes on with a renderer, how much of its weights the final ones keep.
        short_chunks, seen_weight, progress_weight: as for the dynamics, see `DynamicsTraining`.
    """

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            steps=4000, batch_size=24, learning_rate=2e-3, warmup_steps=100, weight_decay=1e-3, ema_decay=0.998
        )
    )
    widths: tuple[int, int] = (48, 96)
    ticks: int = 2
    context_noise: float = 0.1
    dreamt_history: float = 0.25
    initial_share: float = 0.0
    short_chunks: float = DynamicsTraining.short_chunks
    seen_weight: float = DynamicsTraining.seen_weight
    progress_weight: float = DynamicsTraining.progress_weight


def train_renderer(
    dynamics: VideoDynamics,
    recordings: Recordings,
    config: RendererTraining,
    folder: str | Path,
    *,
    value: ProgressValue | None = None,
    on_progress: Callable[[int, dict[str, float]], None] | None = None,
) -> VideoDynamics:
    """Teach a dynamics to draw its frames anew; a run in `folder` goes on where it stopped.

    Args:
        dynamics: left as it is; of the one that comes back only the renderer is another.
        recordings: `encoded`, of any success.
        config: how.
        folder: the run's state and curves.
        value: if given, drawn frames have to look to it as the recorded ones do; it stays as it is.

    Raises:
        InvalidDataset: if the recordings were not encoded, or no episode has a second frame.
    """
    moments = (torch.arange(len(recordings)) < recordings.last).nonzero().flatten()
    if recordings.latents is None or not len(moments):
        raise InvalidDataset("a renderer learns from encoded episodes of two frames and more")
    device = config.training.device
    model = _with_renderer(dynamics, config).to(device)
    assert model.renderer is not None
    model.eval().requires_grad_(False)
    model.renderer.requires_grad_(True)
    judge = None if value is None else copy.deepcopy(value).eval().requires_grad_(False).to(device)
    dreamt = DreamtHistory(config.training.batch_size, model.config, recordings)

    def loss(generator: Generator) -> tuple[Tensor, dict[str, float]]:
        drawn = recordings.draw(config.training.batch_size, generator, among=moments)
        going_on = dreamt.draw(round(config.dreamt_history * len(drawn)), generator)
        drawn[: len(going_on)] = dreamt.moment[going_on]
        window = training_window(recordings, drawn, model.config, device=device)
        history = dreamt.replaced(window.history, torch.arange(len(going_on)), going_on)
        amount = config.context_noise * torch.rand(len(drawn), 1, 1, 1, 1, 1, generator=generator)
        history = history + amount.to(history) * noise_like(history, generator)
        window = shortened(window._replace(history=history), config.short_chunks, generator)
        text = recordings.instruction_of(drawn)
        coarse = _coarse(model, window, generator, text)
        _go_on(model, window, coarse, dreamt, drawn, config)
        return _losses(model, window, coarse, config, generator, judge, text)

    coarse_parts = nn.ModuleDict({name: part for name, part in dynamics.named_children() if name != "renderer"})
    trainer = Trainer(
        model.renderer, loss, config.training, folder, origin={"dynamics": coarse_parts}, extra_state=dreamt
    )
    trainer.run(on_progress=on_progress)
    trainer.use_average()
    if dynamics.renderer is not None:
        before = dict(dynamics.renderer.named_parameters())
        with torch.no_grad():
            for name, weight in model.renderer.named_parameters():
                weight.lerp_(before[name].to(weight), config.initial_share)
    return model.eval().requires_grad_(True)


def _with_renderer(dynamics: VideoDynamics, config: RendererTraining) -> VideoDynamics:
    if dynamics.renderer is not None:
        return copy.deepcopy(dynamics)
    shape = {name: value for name, value in dynamics.config.items() if not name.startswith("_")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        model: VideoDynamics = VideoDynamics.from_config(shape | {"renderer_widths": config.widths})
    model.load_state_dict(dynamics.state_dict(), strict=False)
    return model.to(dynamics.device)


@torch.no_grad()
def _coarse(model: VideoDynamics, window: Window, generator: Generator, instruction: tuple[str, ...]) -> CoarseChunk:
    arguments = (part.to(model.device) for part in (window.proprio, window.actions))
    noise = noise_like(window.future, generator)
    return model.coarse(window.history.to(model.device), noise, *arguments, instruction=instruction)


@torch.no_grad()
def _go_on(
    model: VideoDynamics,
    window: Window,
    coarse: CoarseChunk,
    dreamt: DreamtHistory,
    moments: Tensor,
    config: RendererTraining,
) -> None:
    """Draw and keep what as many rows as will go on begin with."""
    rows = torch.arange(len(moments) - round(config.dreamt_history * len(moments)), len(moments))
    part = coarse.rows(rows.to(model.device))
    history, proprio = (column[rows].to(model.device) for column in (window.history, window.proprio))
    imagined, ticks = part.latents.clone(), dreamt.ticks.to(model.device)
    imagined[:, ticks] = model.rendered(part, history, proprio, ticks.expand(len(proprio), -1))
    dreamt.keep(moments[rows], imagined, window.happened[rows].all(1))


def _losses(
    model: VideoDynamics,
    window: Window,
    coarse: CoarseChunk,
    config: RendererTraining,
    generator: Generator,
    judge: ProgressValue | None,
    instruction: tuple[str, ...],
) -> tuple[Tensor, dict[str, float]]:
    row = torch.arange(len(window.history))[:, None]
    ticks = torch.rand(window.happened.shape, generator=generator).argsort(1)[:, : config.ticks]
    known = window.happened[row, ticks].to(model.device)
    history, proprio = window.history.to(model.device), window.proprio.to(model.device)
    drawn = model.rendered(coarse, history, proprio, ticks.to(model.device))[known]
    recorded = window.future[row, ticks][known]
    before = coarse.latents[row.to(model.device), ticks.to(model.device)][known]
    total = (drawn - recorded).square().mean()
    figures = {"picture": float(total.detach()), "coarse": float((before - recorded).square().mean())}
    if judge is not None:
        text = [instruction[index] for index in known.nonzero()[:, 0].tolist()]
        parts = judged(judge, drawn, recorded, text)
        total = total + config.seen_weight * parts["seen"] + config.progress_weight * parts["progress"]
        figures |= {name: float(part.detach()) for name, part in parts.items()}
    return total, figures
