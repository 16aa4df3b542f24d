"""`rise-gym train`: codec, dynamics, value and policy, from recorded datasets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from rise_gym.commands._progress import progress_bar, shown_by
from rise_gym.commands._shared import LATENTS, Spread, known_task, labelled, load_recordings, policy_card, replica_check
from rise_gym.errors import RiseGymError
from rise_gym.tasks import TaskCard

if TYPE_CHECKING:
    from rise_gym.codec import FrameCodec
    from rise_gym.recordings import Recordings


Part = Literal["codec", "dynamics", "renderer", "decoder", "value", "policy"]


def train(
    part: Annotated[Part, tyro.conf.Positional],
    out: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    data: list[Path],
    task: str = "box_close",
    steps: int | None = None,
    learning_rate: float | None = None,
    minutes: float | None = None,
    initial: str | None = None,
    initial_share: float = 0.0,
    world_model: str | None = None,
    spread: Spread = "quantile",
    demonstration_share: float | None = None,
    image_shift_px: int | None = None,
    check_episodes: int = 0,
    seed: int = 0,
) -> None:
    """Train one part from recorded datasets.

    Codec, value and dynamics go, in this order, into one folder `out`; once all three are there, `out/checkpoint` is a
    world model. It starts where episodes of the last dataset do, and what counts as done in a dream is calibrated on
    them: let that be one which the dynamics did not learn from. A value learns measured progress where all episodes
    have it (replicas), else elapsed time on successes. Dynamics trained where a value lies already also learn what
    matters to it, and to expect what a chunk gains.
    The renderer, then, becomes part of the dynamics: it draws each frame anew, by the robot's geometry.
    The decoder, last, goes on with the codec's, so that it shows what the dynamics imagines as well as can be.
    A policy goes into `out/checkpoint` as well.

    Args:
        part: codec, value, dynamics, renderer, decoder or policy.
        out: where to; the same command goes on where it was.
        data: dataset folders.
        task: name of the task, or its file.
        steps: gradient steps; by default what the bundled models took.
        learning_rate: its peak.
        minutes: stop after so many, even if steps are left.
        initial: policy, or folder with the codec, the value or the dynamics, to start from; by default from nothing. A
            renderer is drawn into the dynamics there, by default into that in `out`.
        initial_share: for the dynamics and the renderer: how much of the initial weights the final ones keep.
        world_model: for a policy: learn from rollouts too, with the advantage that this world model gives them (the
            paper's RECAP); without it only demonstrations are cloned.
        spread: how those advantages fill the bins: as they are (the paper), or by rank.
        demonstration_share: and what fraction of the recorded moments are the demonstrations'; by default as they come.
        image_shift_px: for a policy: by how much pictures are shifted at random while it learns, each way.
        check_episodes: for a policy: every 1500 steps play so many replica episodes, to see where it levels off; the
            curve goes to `out/checks.jsonl` and feeds nothing.
        seed: of the training.
    """
    card = known_task(task)
    given = {"steps": steps, "minutes": minutes, "learning_rate": learning_rate, "seed": seed}
    overrides = {name: value for name, value in given.items() if value is not None}
    if part == "policy":
        _train_policy(
            load_recordings(data, card),
            out,
            overrides,
            initial,
            world_model,
            spread,
            data[0] / LATENTS,
            demonstration_share,
            image_shift_px,
            check_episodes,
        )
    else:
        _train_world_part(part, card, data, out, overrides, initial, initial_share)


def _train_policy(
    recordings: Recordings,
    out: Path,
    overrides: dict[str, Any],
    initial: str | None,
    world_model: str | None,
    spread: Spread,
    latents: Path,
    demonstration_share: float | None,
    image_shift_px: int | None,
    check_episodes: int,
) -> None:
    import torch

    from rise_gym.agents.cloning import PolicyTraining, demonstration_moments, mixed_moments, train_policy
    from rise_gym.agents.flow_policy import load_policy, save_policy

    config = PolicyTraining(image_shift_px=image_shift_px)
    config = replace(config, training=replace(config.training, **overrides))
    advantages, moments = torch.ones(len(recordings)), demonstration_moments(recordings)
    if world_model is not None:
        recordings, advantages = labelled(recordings, world_model, spread, latents)
        moments = mixed_moments(recordings, demonstration_share)
    start = None if initial is None else load_policy(initial, task=recordings.task.name)
    with progress_bar("training the policy", config.training.steps) as step:
        policy = train_policy(
            recordings, advantages, config, out / "run", initial=start, moments=moments, on_progress=shown_by(step),
            on_check=replica_check(recordings.task.name, check_episodes, out) if check_episodes else None,
            check_every_steps=1500,
        )  # fmt: skip
    save_policy(out / "checkpoint", policy, card=policy_card(policy, "trained on recordings", config))
    print(f"policy: {out / 'checkpoint'}")


def _train_world_part(
    part: Part,
    card: TaskCard,
    data: list[Path],
    out: Path,
    overrides: dict[str, Any],
    initial: str | None,
    initial_share: float,
) -> None:
    from rise_gym.advantage import values_of
    from rise_gym.codec import CodecTraining, FrameCodec, train_codec
    from rise_gym.decoder_training import DecoderTraining, train_decoder
    from rise_gym.dynamics import VideoDynamics, VideoDynamicsConfig
    from rise_gym.dynamics_training import DynamicsTraining, train_dynamics
    from rise_gym.renderer_training import RendererTraining, train_renderer
    from rise_gym.value import ProgressValue
    from rise_gym.value_training import (
        ValueTraining,
        calibrate_success,
        calibration_split,
        progress_labels,
        train_value,
    )

    codec = None if part == "codec" else _saved_part(FrameCodec, out / "codec")
    recordings = load_recordings(data, card) if codec is None else _encoded(data, card, codec, part == "decoder")
    measured = not bool(recordings.progress.isnan().any())
    taught = ValueTraining.measured() if measured else ValueTraining()
    config: Any = {
        "codec": CodecTraining(),
        "dynamics": DynamicsTraining(dynamics=VideoDynamicsConfig.for_task(card), initial_share=initial_share),
        "renderer": RendererTraining(initial_share=0.0 if initial is None else initial_share),
        "decoder": DecoderTraining(),
        "value": taught,
    }[part]
    config = replace(config, training=replace(config.training, **overrides))
    judge = None
    if part in ("dynamics", "renderer") and (out / "value").is_dir():
        judge = _saved_part(ProgressValue, out / "value")
    with progress_bar(f"training the {part}", config.training.steps) as step:
        shown, run = shown_by(step), out / f"{part}_run"
        model: Any
        if part == "codec":
            known_codec = None if initial is None else _saved_part(FrameCodec, Path(initial) / "codec")
            model = train_codec(recordings, config, run, initial=known_codec, on_progress=shown)
        elif part == "decoder":
            assert codec is not None
            dynamics = _saved_part(VideoDynamics, out / "dynamics").eval()
            model = train_decoder(codec.eval(), dynamics, recordings, config, run, on_progress=shown)
        elif part == "renderer":
            dynamics = _saved_part(VideoDynamics, Path(initial or out) / "dynamics").eval()
            model = train_renderer(dynamics, recordings, config, run, value=judge, on_progress=shown)
        elif part == "value":
            learnt, spared = calibration_split(recordings)
            before = None if initial is None else _saved_part(ProgressValue, Path(initial) / "value")
            model = train_value(learnt, config, run, initial=before, on_progress=shown)
            if spared.success.unique().numel() == 2:
                model.set_success_threshold(calibrate_success(model, spared))
            else:
                print(
                    "all episodes ended alike: what counts as done stays at the default, record the other outcome too"
                )
        else:
            start = None if initial is None else _saved_part(VideoDynamics, Path(initial) / "dynamics")
            known = progress_labels(recordings, taught) if measured else judge and values_of(recordings, judge)
            model = train_dynamics(
                recordings, config, run, initial=start, value=judge, progress=known, on_progress=shown
            )
    model.save_pretrained(out / {"decoder": "codec", "renderer": "dynamics"}.get(part, part))
    _seal(out, data, card)


def _encoded(data: list[Path], card: TaskCard, codec: FrameCodec, with_frames: bool = False) -> Recordings:
    """Latents, one dataset after the other; mostly alone: the frames of all would take many times the memory."""
    from rise_gym._latent_cache import encoded_once
    from rise_gym.recordings import Recordings

    parts = (encoded_once(load_recordings([folder], card), codec, data[0] / LATENTS) for folder in data)
    return Recordings.joined([part if with_frames else part.without_frames() for part in parts])


def _saved_part(kind: Any, folder: Path) -> Any:
    if not folder.is_dir():
        raise RiseGymError(f"{folder} was wanted, it is not there; run `rise-gym train {folder.name}` first")
    return kind.from_pretrained(folder, local_files_only=True)


def _seal(out: Path, data: list[Path], task: TaskCard) -> None:
    """Once all three parts are there, write the world model's checkpoint, with starts from the last dataset.

    What counts as done in a dream is calibrated on its episodes as well, if some of them succeeded and some failed.
    """
    import numpy as np

    from rise_gym.calibration import calibrate_dreams
    from rise_gym.codec import FrameCodec
    from rise_gym.dynamics import VideoDynamics
    from rise_gym.episodes import read_episodes
    from rise_gym.recordings import Recordings
    from rise_gym.starts import Starts
    from rise_gym.value import ProgressValue
    from rise_gym.world_model import CompositionalWorldModel

    kinds = {"codec": FrameCodec, "dynamics": VideoDynamics, "value": ProgressValue}
    if missing := [part for part in kinds if not (out / part).is_dir()]:
        print(f"{out}: still without {' and '.join(missing)}")
        return
    parts = {part: _saved_part(kind, out / part) for part, kind in kinds.items()}
    model = CompositionalWorldModel(task=task, **parts)
    episodes = read_episodes(data[-1], limit=60)
    if 0 < sum(episode.success for episode in episodes) < len(episodes):
        model.config = replace(model.config, success_threshold=calibrate_dreams(model, Recordings.of(episodes, task)))
    window, random = model.history_ticks, np.random.default_rng(0)
    starts = Starts.from_episodes(episodes[:24], task, window=window, mid_episode=1, generator=random)
    model.save_pretrained(out / "checkpoint", starts=starts, half_precision=True)
    print(f"world model: {out / 'checkpoint'}")
