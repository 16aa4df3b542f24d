"""Training of the progress uncertainty: dreams of recorded actions, and how far off the progress they claim is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from torch import Generator, Tensor

from rise_gym.advantage import values_of
from rise_gym.drift import drift_moments
from rise_gym.errors import InvalidDataset
from rise_gym.progress_uncertainty import Claim, ProgressUncertainty, ProgressUncertaintyConfig
from rise_gym.recordings import Recordings
from rise_gym.training import Trainer, TrainingConfig
from rise_gym.world_model import CompositionalWorldModel

__all__ = ["UncertaintyTraining", "train_progress_uncertainty"]

_DREAMT_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class UncertaintyTraining:
    """How to train a progress uncertainty.

    Attributes:
        training: steps and rates; a row of a batch is one claim.
        every_ticks: a chunk is dreamt from every so many ticks of each episode.
        hidden, dropout: see `ProgressUncertaintyConfig`.
    """

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            steps=4000, batch_size=256, learning_rate=2e-3, warmup_steps=20, weight_decay=1e-2, ema_decay=0.99
        )
    )
    every_ticks: int = 12
    hidden: int = ProgressUncertaintyConfig.hidden
    dropout: float = ProgressUncertaintyConfig.dropout


def train_progress_uncertainty(
    model: CompositionalWorldModel,
    recordings: Recordings,
    config: UncertaintyTraining,
    folder: str | Path,
    *,
    on_progress: Callable[[int, dict[str, float]], None] | None = None,
) -> ProgressUncertainty:
    """Learn which of a world model's claims are doubtful; a run in `folder` goes on where it stopped, and dreams anew.

    The loss of a claim whose error is e and whose expected error is b is log b + e / b, a Laplace likelihood: b is then
    the mean of e.

    Args:
        model: what dreams; frozen.
        recordings: with frames, of episodes that it did not learn from. Where no progress was measured, what the value
            reads from recorded frames counts as true.
        config: how.
        folder: the run's state and curves.

    Raises:
        InvalidDataset: without frames, or if no episode is longer than a chunk.
    """
    moments = drift_moments(recordings, every_ticks=config.every_ticks)
    if not len(recordings.frames) or not len(moments):
        raise InvalidDataset("a progress uncertainty learns from episodes with frames that are longer than a chunk")
    later = getattr(model.dynamics.config, "later", ()) if model.dynamics.expects_gain else ()
    size = ProgressUncertaintyConfig(
        chunk=model.longest_chunk, later=len(later), hidden=config.hidden, dropout=config.dropout
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        learner = ProgressUncertainty.of(size, model.task).to(config.training.device)
    claim, error = _dreamt(model, recordings, moments)
    numbers, error = learner.numbers(claim).to(learner.device), error.to(learner.device)
    learner.standardise(numbers)

    def loss(generator: Generator) -> tuple[Tensor, dict[str, float]]:
        rows = torch.randint(len(error), (config.training.batch_size,), generator=generator)
        log_expected = learner.log_error(numbers[rows], [claim.instruction[row] for row in rows.tolist()])
        found = (log_expected + error[rows] / log_expected.exp()).mean()
        return found, {"expected_error": float(log_expected.detach().exp().mean())}

    trainer = Trainer(learner, loss, config.training, folder)
    trainer.run(on_progress=on_progress)
    trainer.use_average()
    return learner.eval()


def _dreamt(model: CompositionalWorldModel, recordings: Recordings, moments: Tensor) -> tuple[Claim, Tensor]:
    """What the model says of chunks that begin at `moments` (M,), drawn and not, and how far off that is: (2 M,)."""
    known = _known_progress(model, recordings)
    claims, errors = [], []
    for rows in moments.split(_DREAMT_AT_ONCE):
        window = recordings.history(rows, model.history_ticks)
        state = model.begin(recordings.frames[window], recordings.proprio[rows], recordings.instruction_of(rows))
        actions = recordings.actions[recordings.chunk(rows, model.task.chunk)[0]]
        gained = known[rows + model.task.chunk] - known[rows]
        for drawn in (True, False):  # who only asks for advantages is to be told as well
            noise = [Generator().manual_seed(int(row)) for row in rows]
            after, _, claim = model.claimed(state, actions, generator=noise, drawn=drawn)
            claims.append(claim)
            errors.append(((after.progress - state.progress).cpu() - gained).abs())
    names = [field.name for field in fields(Claim) if field.name != "instruction"]
    columns = {name: torch.cat([getattr(claim, name) for claim in claims]).cpu() for name in names}
    texts = tuple(text for claim in claims for text in claim.instruction)
    return Claim(instruction=texts, **columns), torch.cat(errors)


def _known_progress(model: CompositionalWorldModel, recordings: Recordings) -> Tensor:
    """What was measured (N,), or else what the value reads from recorded frames."""
    if not recordings.progress.isnan().any():
        return recordings.progress
    encoded = recordings if recordings.latents is not None else recordings.encoded(model.codec)
    return values_of(encoded, model.value)
