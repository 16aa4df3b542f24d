"""Training of the network that expects what a chunk gains; the rest of the dynamics is frozen.

It is as good after a thousand steps as what is read from the denoiser's features after ten thousand; see
`benchmarks/results`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Generator, Tensor

from rise_gym._batch_moments import BatchMoments
from rise_gym.dynamics import VideoDynamics
from rise_gym.dynamics_training import DynamicsTraining, Window, gain_error, shortened, training_window
from rise_gym.errors import InvalidDataset
from rise_gym.recordings import Recordings
from rise_gym.training import Trainer, TrainingConfig


@dataclass(frozen=True, kw_only=True)
class GainTraining:
    """How to train a gain network.

    Attributes:
        training: steps and rates.
        widths: of a new network; one that is there is trained on.
        context_noise, short_chunks, eventful_share, task_centric, gain_weight, later_weight: as for the dynamics, see
            `DynamicsTraining`.
    """

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            steps=4000, batch_size=32, learning_rate=1.5e-3, warmup_steps=100, weight_decay=1e-2, ema_decay=0.998
        )
    )
    widths: tuple[int, int] = (32, 64)
    context_noise: float = DynamicsTraining.context_noise
    short_chunks: float = DynamicsTraining.short_chunks
    eventful_share: float = DynamicsTraining.eventful_share
    task_centric: bool = DynamicsTraining.task_centric
    gain_weight: float = DynamicsTraining.gain_weight
    later_weight: float = DynamicsTraining.later_weight


def train_gain(
    dynamics: VideoDynamics,
    recordings: Recordings,
    progress: Tensor,
    config: GainTraining,
    folder: str | Path,
    *,
    moments: Tensor | None = None,
    on_progress: Callable[[int, dict[str, float]], None] | None = None,
) -> VideoDynamics:
    """Teach a dynamics what chunks gain; a run in `folder` goes on where it stopped.

    Args:
        dynamics: left as it is; of the one that comes back only the gain network is another.
        recordings: `encoded`, of any success.
        progress: (N,) how far along the task each moment is, NaN where nobody knows.
        config: how.
        folder: the run's state and curves.
        moments: from which to learn (M,), as often as they are there; by default each.

    Raises:
        InvalidDataset: if the recordings were not encoded, or no episode has a second frame.
    """
    moments = torch.arange(len(recordings)) if moments is None else moments
    moments = moments[moments < recordings.last[moments]]
    if recordings.latents is None or not len(moments):
        raise InvalidDataset("gains are learnt from encoded episodes of two frames and more")
    model = _with_gain_network(dynamics, config)
    assert model.gain_network is not None
    model.eval().requires_grad_(False)
    model.gain_network.train().requires_grad_(True)
    batches = BatchMoments(
        recordings, moments, progress, eventful_share=config.eventful_share, task_centric=config.task_centric
    )

    def loss(generator: Generator) -> tuple[Tensor, dict[str, float]]:
        drawn = torch.cat(batches.draw(config.training.batch_size, generator))
        window = training_window(recordings, drawn, model.config, progress)
        amount = config.context_noise * torch.rand(len(drawn), 1, 1, 1, 1, 1, generator=generator)
        history = window.history + amount * torch.randn(window.history.shape, generator=generator)
        window = shortened(window._replace(history=history), config.short_chunks, generator)
        return _losses(model, window, recordings.instruction_of(drawn), config)

    trainer = Trainer(model.gain_network, loss, config.training, folder)
    trainer.run(on_progress=on_progress)
    trainer.use_average()
    return model.eval().requires_grad_(True)


def _with_gain_network(dynamics: VideoDynamics, config: GainTraining) -> VideoDynamics:
    if dynamics.gain_network is not None:
        return copy.deepcopy(dynamics)
    return dynamics.extended(config.training.seed, gain_widths=config.widths)


def _losses(
    model: VideoDynamics, window: Window, instruction: tuple[str, ...], config: GainTraining
) -> tuple[Tensor, dict[str, float]]:
    history, proprio, actions = (part.to(model.device) for part in (window.history, window.proprio, window.actions))
    with torch.no_grad():
        _, following = model.actuation(model.scaled(proprio), actions)
    expected = model.gains(history, proprio, actions, following, instruction=instruction)
    chunk, every = window.happened.shape[1], torch.ones(len(history), 1, dtype=torch.bool)
    gain = gain_error(expected[:, :chunk], window.gained[:, :chunk], window.happened)
    total, figures = config.gain_weight * gain, {"gain": float(gain.detach())}
    if model.config.later:
        weight = chunk / torch.tensor(model.config.later, device=model.device)
        later = gain_error(expected[:, chunk:], window.gained[:, chunk:], every, weight)
        total, figures = total + config.later_weight * later, figures | {"later_gain": float(later.detach())}
    return total, figures
