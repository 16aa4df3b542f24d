"""Training of the value: progress on successes (paper, equation 5), temporal differences on everything (equation 6)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from rise_gym.advantage import values_of
from rise_gym.errors import InvalidDataset, InvalidTraining
from rise_gym.protocols import Value
from rise_gym.recordings import Recordings
from rise_gym.training import Trainer, TrainingConfig, noise_like
from rise_gym.value import ProgressValue, ProgressValueConfig


@dataclass(frozen=True, kw_only=True)
class ValueTraining:
    """How to train the value; the paper's constants unless said otherwise.

    Attributes:
        training: steps and rates. value: size of the model.
        progress_target: "time" is t / T, the paper's; "measured" is the recorded progress (NaN rows teach nothing).
        progress_on: whose frames the progress loss sees: successful "demonstrations" (the paper), all "successes", or
            "everything", which only measured progress makes sense for.
        success_margin: measured progress short of success is shrunk to [0, 1 - success_margin], so that what is done
            stands out from what is nearly done (a lid that is shut but whose tab is not tucked).
        progress_only: fraction of the steps before temporal differences set in; 10k of 50k in the paper.
        progress_weight, td_weight: of the two losses; both 1 in the paper. Without progress, temporal differences set
            in at once.
        discount: a tick; gamma. td_ticks: how far ahead the bootstrap looks (1 frame in the paper).
        terminal_ticks: the window at an episode's end where the outcome is the target (10 frames there).
        success_reward, failure_reward: the outcome; the paper says -1, its release -0.6.
        target_decay: how slowly the target network follows.
        latent_noise, blur: augmentation up to these amounts; imagined latents are noisier and softer than recorded.
    """

    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            steps=5000, batch_size=128, learning_rate=1e-3, warmup_steps=200, weight_decay=1e-2, ema_decay=0.998
        )
    )
    value: ProgressValueConfig = field(default_factory=ProgressValueConfig)
    progress_target: Literal["time", "measured"] = "time"
    progress_on: Literal["demonstrations", "successes", "everything"] = "successes"
    success_margin: float = 0.0
    progress_only: float = 0.2
    progress_weight: float = 1.0
    td_weight: float = 1.0
    discount: float = 0.995
    td_ticks: int = 5
    terminal_ticks: int = 10
    success_reward: float = 1.0
    failure_reward: float = -1.0
    target_decay: float = 0.99
    latent_noise: float = 0.3
    blur: float = 0.7

    @classmethod
    def measured(cls) -> Self:
        """For recordings whose progress was measured throughout, as replicas do: every frame has a target."""
        return cls(
            progress_target="measured",
            progress_on="everything",
            success_margin=0.15,
            progress_only=0.5,
            # what every frame is taught holds a bootstrapped outcome up, so the outcome itself has to reach far back
            td_weight=0.14,
            terminal_ticks=100,
        )

    def __post_init__(self) -> None:
        if not 0 <= self.success_margin < 1:
            raise InvalidTraining(
                f"success_margin is a fraction of all progress, from 0 to below 1, got {self.success_margin}"
            )
        if min(self.progress_weight, self.td_weight) < 0 or not self.progress_weight + self.td_weight:
            raise InvalidTraining(
                "weights from 0 up were wanted, and one of them above it, for something to be learnt; got "
                f"progress_weight {self.progress_weight} and td_weight {self.td_weight}"
            )
        if self.progress_on == "everything" and self.progress_target == "time":
            raise InvalidTraining(
                'elapsed time is no progress in a failure: progress_on="everything" needs "measured" targets'
            )


def train_value(
    recordings: Recordings,
    config: ValueTraining,
    folder: str | Path,
    *,
    initial: ProgressValue | None = None,
    moments: Tensor | None = None,
    on_progress: Callable[[int, dict[str, float]], None] | None = None,
) -> ProgressValue:
    """Train on encoded recordings, successes and failures; a run in `folder` goes on where it stopped.

    With `initial` training starts from the weights of that model, which is left as it is, and temporal differences set
    in at once. With `moments` (M,) it learns from those, as often as they are there, else from each. Returns the model
    averaged over the last steps, in eval mode; calibrate its threshold with `calibrate_success`.

    Raises:
        InvalidDataset: if the recordings were not encoded, or nothing in them has a progress to learn.
    """
    if recordings.latents is None:
        raise InvalidDataset("a value learns from encoded episodes; call recordings.encoded(codec) first")
    label = progress_labels(recordings, config)
    moments = torch.arange(len(recordings)) if moments is None else moments
    if bool(label[moments].isnan().all()):
        raise InvalidDataset(
            f"progress of {config.progress_on} ({config.progress_target}) was wanted, no recorded frame has any; "
            "add successful demonstrations"
        )
    value = _untrained(recordings, config) if initial is None else _like(initial, recordings)
    value.to(config.training.device)
    if initial is not None or not config.progress_weight:
        config = replace(config, progress_only=0.0)
    losses = _Losses(recordings, config, value, label, moments)
    origin = {"value to start from": initial}
    trainer = Trainer(
        value, losses, config.training, folder, origin=origin, extra_state=losses.target, after_step=losses.follow
    )
    losses.step = trainer.progress.step
    trainer.run(on_progress=on_progress)
    trainer.use_average()
    return value.eval()


def _untrained(recordings: Recordings, config: ValueTraining) -> ProgressValue:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        return ProgressValue.of(replace(config.value, **recordings.latent_shape()), recordings.task)


def _like(initial: ProgressValue, recordings: Recordings) -> ProgressValue:
    """A copy to go on with, for the task of the recordings."""
    with torch.random.fork_rng(devices=[]):
        value: ProgressValue = ProgressValue.from_config({**initial.config, "task": recordings.task.name})
    value.load_state_dict(initial.state_dict())
    return value.train()


def progress_labels(recordings: Recordings, config: ValueTraining) -> Tensor:
    """What the progress loss asks of every moment, (N,) in [0, 1]; NaN where it asks nothing."""
    taught = torch.tensor(
        [
            config.progress_on == "everything"
            or (done and (config.progress_on == "successes" or source == "demonstration"))
            for done, source in zip(recordings.success.tolist(), recordings.sources, strict=True)
        ]
    )[recordings.episode]
    if config.progress_target == "measured":
        measured = recordings.progress
        label = torch.where(measured < 1, measured * (1 - config.success_margin), measured)
    else:
        length = (recordings.last - recordings.first).clamp(min=1)
        label = (torch.arange(len(recordings)) - recordings.first) / length
    return torch.where(taught, label, torch.nan).float()


def td_targets(recordings: Recordings, moments: Tensor, bootstrap: Tensor, config: ValueTraining) -> Tensor:
    """Equation 6's target of moments (B,), given the target network's value `bootstrap` (B,) `td_ticks` later.

    In the window at an episode's end the outcome itself; before it the discounted bootstrap; cut to [-1, 1].
    """
    left = recordings.last[moments] - moments
    won = recordings.success[recordings.episode[moments]]
    outcome = torch.where(won, config.success_reward, config.failure_reward)
    ticks = left.clamp(max=config.td_ticks)
    target = torch.where(left < config.terminal_ticks, outcome, config.discount**ticks * bootstrap)
    return target.clamp(-1, 1)


class _Losses:
    """The loss the trainer calls once a step, and the target network that follows the trained one."""

    def __init__(
        self, recordings: Recordings, config: ValueTraining, value: ProgressValue, label: Tensor, moments: Tensor
    ) -> None:
        self.recordings, self.config, self.value, self.label = recordings, config, value, label
        self.moments, self.taught = moments, moments[~label[moments].isnan()]
        self.target = copy.deepcopy(value).eval().requires_grad_(False)
        self.step = 0

    def __call__(self, generator: Generator) -> tuple[Tensor, dict[str, float]]:
        config, half = self.config, self.config.training.batch_size // 2
        moments = self.recordings.draw(half, generator, among=self.taught)
        predicted = self.value(self._augmented(moments, generator), self.recordings.instruction_of(moments))
        progress = functional.mse_loss(predicted, self.label[moments].to(predicted))
        loss, figures = config.progress_weight * progress, {"progress": float(progress.detach())}
        if config.td_weight and self.step >= config.progress_only * config.training.steps:
            drawn = self.recordings.draw(half, generator, among=self.moments)
            difference = self._temporal_difference(drawn, generator)
            loss = loss + config.td_weight * difference
            figures["temporal_difference"] = float(difference.detach())
        return loss, figures

    def follow(self, step: int) -> None:
        """Let the target network follow, after a step."""
        self.step = step
        with torch.no_grad():
            for mine, theirs in zip(self.target.parameters(), self.value.parameters(), strict=True):
                mine.lerp_(theirs, 1 - self.config.target_decay)

    def _temporal_difference(self, moments: Tensor, generator: Generator) -> Tensor:
        text = self.recordings.instruction_of(moments)
        later, _ = self.recordings.future(moments, self.config.td_ticks)
        bootstrap = self.target.progress(self._latents(later[:, -1]), text).cpu()
        wanted = td_targets(self.recordings, moments, bootstrap, self.config)
        predicted = self.value(self._augmented(moments, generator), text)
        return functional.mse_loss(predicted, wanted.to(predicted))

    def _latents(self, moments: Tensor) -> Tensor:
        assert self.recordings.latents is not None  # checked where training begins
        return self.recordings.latents[moments].to(self.value.device).float()

    def _augmented(self, moments: Tensor, generator: Generator) -> Tensor:
        """Latents (B, V, c, h, w) of moments, softened and made noisy by random amounts."""
        latents = self._latents(moments)
        amounts = torch.rand(2, len(latents), 1, 1, 1, 1, generator=generator).to(latents)
        soft = functional.avg_pool2d(latents.flatten(0, 1), 3, stride=1, padding=1, count_include_pad=False)
        softened = torch.lerp(latents, soft.view_as(latents), self.config.blur * amounts[0].square())
        noise = noise_like(latents, generator)
        return softened + self.config.latent_noise * amounts[1] * noise


def calibration_episodes(recordings: Recordings, *, every: int = 12) -> tuple[list[int], list[int]]:
    """Which episodes to train on, and every so many-th success and failure, to calibrate on what was not trained on.

    Of outcomes too rare to spare one (fewer than three episodes) all are in both.
    """
    kept: list[int] = []
    spared: list[int] = []
    for outcome in (True, False):
        same = torch.nonzero(recordings.success == outcome).flatten().tolist()
        apart = same[::every] if len(same) > 2 else []
        kept += [episode for episode in same if episode not in apart]
        spared += apart or same
    return sorted(kept), sorted(spared)


def calibrate_success(value: Value, recordings: Recordings, *, ticks: int = 3, margin_ticks: int = 10) -> float:
    """The threshold that best tells episodes that end in success from those that never do.

    "Done" means `ticks` frames in a row at or above it. A threshold is right about a success where its last frames
    reach it and nothing earlier than `margin_ticks` before the end did, and about a failure where nothing ever does.
    Of the best thresholds the middle of the widest range is taken. Give held-out episodes.

    Raises:
        InvalidDataset: if there is not at least one success and one failure.
    """
    values = values_of(recordings, value)
    ends, peaks = [], []  # what has to reach the threshold; what must not
    for episode, done in enumerate(recordings.success.tolist()):
        own = values[recordings.episode == episode]
        steady = own.unfold(0, ticks, 1).min(1).values if len(own) >= ticks else own.min()[None]
        if done:
            ends.append(float(steady[-1]))
        before = steady[:-margin_ticks] if done else steady
        peaks += [float(before.max())] if len(before) else []
    if not ends or len(ends) == len(recordings.success):
        raise InvalidDataset(
            f"a success and a failure at least were wanted to tell apart, got {len(ends)} successes of "
            f"{len(recordings.success)} episodes"
        )
    return _best_threshold(np.array(ends), np.array(peaks))


def _best_threshold(ends: np.ndarray, peaks: np.ndarray) -> float:
    """Where the fractions of ends above and of peaks below add up to the most; the middle of the widest such gap."""
    edges = np.unique(np.concatenate([ends, peaks, [1.0]]))
    middles = (edges[:-1] + edges[1:]) / 2 if len(edges) > 1 else edges
    right = (ends >= middles[:, None]).mean(1) + (peaks < middles[:, None]).mean(1)
    gaps = np.diff(edges) if len(edges) > 1 else np.ones(1)
    best = np.flatnonzero(right >= right.max() - 1e-9)
    return float(middles[best[np.argmax(gaps[best])]])
