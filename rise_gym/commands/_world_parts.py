"""The parts of a world model trained from recorded datasets, a small function each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rise_gym.commands._progress import progress_bar, shown_by
from rise_gym.commands._sealing import UNCERTAINTY, saved_part, seal
from rise_gym.commands._shared import LATENTS, load_recordings
from rise_gym.errors import InvalidDataset, RiseGymError
from rise_gym.tasks import TaskCard

if TYPE_CHECKING:
    from torch import Tensor

    from rise_gym.codec import FrameCodec
    from rise_gym.dynamics import VideoDynamics
    from rise_gym.progress_uncertainty import ProgressUncertainty
    from rise_gym.recordings import Recordings
    from rise_gym.starts import StartKind
    from rise_gym.value import ProgressValue
    from rise_gym.value_training import ValueTraining

WorldPart = Literal["codec", "dynamics", "renderer", "decoder", "value", "uncertainty"]
ProgressFrom = Literal["recordings", "value"]
Architecture = Literal["compact", "ltx"]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class FullSize:
    """What the command was told about training an `LTXDynamics`; see there."""

    sharded: bool = False
    precision: Precision = "auto"
    text_encoder: str | None = None
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class PartJob:
    """What `rise-gym train` was asked for; see there.

    Attributes:
        overrides: fields of the part's `TrainingConfig`. weights: fields of `ValueTraining`.
        newest_share: what share of the moments that value and dynamics learn from is the last dataset's; None takes
            them as they come.
        The others: the command's arguments, `card` being that of its task.
    """

    part: WorldPart
    card: TaskCard
    data: list[Path]
    out: Path
    overrides: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Any] = field(default_factory=dict)
    initial: str | None = None
    initial_share: float = 0.0
    newest_share: float | None = None
    across_tasks: bool = False
    task_centric: bool = True
    instructed: bool = False
    motion: bool = False
    progress_from: ProgressFrom = "recordings"
    start_kind: StartKind | None = None
    architecture: Architecture = "compact"
    full_size: FullSize = FullSize()

    @property
    def run(self) -> Path:
        return self.out / f"{self.part}_run"

    def configured(self, config: Any) -> Any:
        """A part's settings with the command's own steps and rates."""
        return replace(config, training=replace(config.training, **self.overrides))

    @contextmanager
    def watched(self, config: Any) -> Iterator[Any]:
        """A progress bar; yields what a training calls on its way."""
        with progress_bar(f"training the {self.part}", config.training.steps) as step:
            yield shown_by(step)


def train_world_part(job: PartJob) -> None:
    """Train one part from the job's datasets, save it in `out`, and seal the world model if that is whole."""
    if job.architecture == "ltx" and job.full_size.dry_run:
        from rise_gym.commands._full_size import tell_size

        _maker(job)  # refuses a part that there is not
        tell_size(job)
        return
    folders = datasets_of_tasks(job)
    if train_part(job):
        seal(job.out, job.card, folders, start_kind=job.start_kind)


def train_part(job: PartJob) -> bool:
    """Train one part from the job's datasets and save it in `out`; of several processes that train, one saves it.

    Returns:
        Whether this process did.

    Raises:
        RiseGymError: if the architecture has no such part.
    """
    train, place = _maker(job)
    trained = train(job)
    if trained is not None:
        trained.save_pretrained(job.out / place)
    return trained is not None


def _maker(job: PartJob) -> tuple[Callable[[PartJob], Any], str]:
    """What trains the job's part, and the folder that it is saved in.

    Raises:
        RiseGymError: if the architecture has no such part.
    """
    from rise_gym.commands._full_size import full_size_parts

    parts: dict[Any, Any] = _PARTS if job.architecture == "compact" else {"value": _PARTS["value"], **full_size_parts()}
    if job.part not in parts:
        raise RiseGymError(f"architecture {job.architecture!r} has {', '.join(sorted(parts))}, no {job.part}")
    maker: tuple[Callable[[PartJob], Any], str] = parts[job.part]
    return maker


def datasets_of_tasks(job: PartJob) -> dict[str, Path]:
    """The last dataset of each task; without `across_tasks` all are of the one.

    Raises:
        InvalidDataset: if there is none of the job's task.
    """
    from rise_gym.episodes import stored_task

    if not job.across_tasks:
        return {job.card.name: job.data[-1]}
    folders = {stored_task(folder).name: folder for folder in job.data}
    if job.card.name not in folders:
        raise InvalidDataset(
            f"a dataset of task {job.card.name!r} was wanted among --data, they are of {', '.join(sorted(folders))}; "
            "add one, or name one of these with --task"
        )
    return folders


# -- a part each ------------------------------------------------------------------------------------------------------


def _train_codec(job: PartJob) -> FrameCodec:
    from rise_gym.codec import CodecTraining, FrameCodec, train_codec

    config = job.configured(CodecTraining())
    before = None if job.initial is None else saved_part(FrameCodec, Path(job.initial) / "codec")
    recordings = load_recordings(job.data, job.card, across_tasks=job.across_tasks)
    with job.watched(config) as shown:
        return train_codec(recordings, config, job.run, initial=before, on_progress=shown)


def _train_value(job: PartJob) -> ProgressValue:
    from rise_gym.value import ProgressValue
    from rise_gym.value_training import calibrate_success, calibration_episodes, train_value

    recordings = _encoded(job)
    kept, apart = calibration_episodes(recordings)
    learnt, spared = recordings.only(kept), recordings.only(apart)
    before = None if job.initial is None else saved_part(ProgressValue, Path(job.initial) / "value")
    config = job.configured(replace(_teaching(recordings), **job.weights))
    with job.watched(config) as shown:
        value = train_value(
            learnt, config, job.run, initial=before, moments=_moments(job, learnt, kept), on_progress=shown
        )
    if spared.success.unique().numel() == 2:
        value.set_success_threshold(calibrate_success(value, spared))
    elif before is None:
        print("all episodes ended alike: what counts as done stays at the default, record the other outcome too")
    return value


def _train_dynamics(job: PartJob) -> VideoDynamics:
    from rise_gym.advantage import values_of
    from rise_gym.dynamics import VideoDynamics, VideoDynamicsConfig
    from rise_gym.dynamics_training import DynamicsTraining, train_dynamics
    from rise_gym.value_training import progress_labels

    recordings, judge = _encoded(job), _judge(job)
    start = None if job.initial is None else saved_part(VideoDynamics, Path(job.initial) / "dynamics")
    if job.progress_from == "recordings" and _measured(recordings):
        known: Any = progress_labels(recordings, _teaching(recordings))
    else:
        known = judge and values_of(recordings, judge)
    config = job.configured(
        DynamicsTraining(
            initial_share=job.initial_share,
            task_centric=job.task_centric,
            motion_for_renderer=job.motion,
            dynamics=replace(VideoDynamicsConfig.for_task(job.card), instructed=job.instructed),
        )
    )
    with job.watched(config) as shown:
        return train_dynamics(
            recordings, config, job.run, initial=start, value=judge, progress=known,
            moments=_moments(job, recordings, range(len(recordings.sources))), on_progress=shown,
        )  # fmt: skip


def _train_renderer(job: PartJob) -> VideoDynamics:
    from rise_gym.dynamics import VideoDynamics
    from rise_gym.renderer_training import RendererTraining, train_renderer

    share = 0.0 if job.initial is None else job.initial_share
    config = job.configured(RendererTraining(initial_share=share))
    recordings, judge = _encoded(job), _judge(job)
    dynamics = saved_part(VideoDynamics, Path(job.initial or job.out) / "dynamics").eval()
    with job.watched(config) as shown:
        return train_renderer(dynamics, recordings, config, job.run, value=judge, on_progress=shown)


def _train_decoder(job: PartJob) -> FrameCodec:
    from rise_gym.codec import FrameCodec
    from rise_gym.decoder_training import DecoderTraining, train_decoder
    from rise_gym.dynamics import VideoDynamics

    config, recordings = job.configured(DecoderTraining()), _encoded(job, with_frames=True)
    codec = saved_part(FrameCodec, job.out / "codec").eval()
    dynamics = saved_part(VideoDynamics, job.out / "dynamics").eval()
    with job.watched(config) as shown:
        return train_decoder(codec, dynamics, recordings, config, job.run, on_progress=shown)


def _train_uncertainty(job: PartJob) -> ProgressUncertainty:
    from rise_gym.codec import FrameCodec
    from rise_gym.dynamics import VideoDynamics
    from rise_gym.uncertainty_training import UncertaintyTraining, train_progress_uncertainty
    from rise_gym.value import ProgressValue
    from rise_gym.world_model import CompositionalWorldModel

    kinds = {"codec": FrameCodec, "dynamics": VideoDynamics, "value": ProgressValue}
    parts = {name: saved_part(kind, job.out / name) for name, kind in kinds.items()}
    model = CompositionalWorldModel(task=job.card, **parts).to(job.overrides.get("device", "cpu"))
    recordings = load_recordings(job.data, job.card, across_tasks=job.across_tasks)
    config = job.configured(UncertaintyTraining())
    with job.watched(config) as shown:
        return train_progress_uncertainty(model, recordings, config, job.run, on_progress=shown)


_PARTS: dict[WorldPart, tuple[Callable[[PartJob], Any], str]] = {
    "codec": (_train_codec, "codec"),
    "value": (_train_value, "value"),
    "dynamics": (_train_dynamics, "dynamics"),
    "renderer": (_train_renderer, "dynamics"),
    "decoder": (_train_decoder, "codec"),
    "uncertainty": (_train_uncertainty, UNCERTAINTY),
}
"""How each part is trained, and in which folder it then lies."""


# -- what several parts need ------------------------------------------------------------------------------------------


def _encoded(job: PartJob, *, with_frames: bool = False) -> Recordings:
    """Latents, one dataset after the other; mostly alone: the frames of all would take many times the memory."""
    from rise_gym._latent_cache import encoded_dataset, encoded_once
    from rise_gym.codec import FrameCodec
    from rise_gym.ltx_codec import LTXCodec
    from rise_gym.recordings import Recordings

    codec = saved_part((FrameCodec, LTXCodec), job.out / "codec").to(job.overrides.get("device", "cpu"))
    latents = job.data[0] / LATENTS
    loads = [partial(load_recordings, [folder], job.card, across_tasks=job.across_tasks) for folder in job.data]
    if with_frames:
        return Recordings.joined([encoded_once(load(), codec, latents) for load in loads])
    pairs = zip(job.data, loads, strict=True)
    return Recordings.joined([encoded_dataset(folder, load, codec, latents) for folder, load in pairs])


def _moments(job: PartJob, recordings: Recordings, kept: Sequence[int]) -> Tensor | None:
    """What to learn from, where the newest dataset is to have its share; `kept`: which of all episodes these are."""
    import torch

    from rise_gym.episodes import dataset_summary
    from rise_gym.recordings import shared_moments

    if job.newest_share is None:
        return None
    older = sum(dataset_summary(folder).episodes for folder in job.data[:-1])
    return shared_moments(recordings, torch.arange(len(recordings)), torch.tensor(kept) >= older, job.newest_share)


def _judge(job: PartJob) -> ProgressValue | None:
    from rise_gym.value import ProgressValue

    there = (job.out / "value").is_dir()
    if job.progress_from == "value" and not there:
        raise RiseGymError(
            f"progress from a value was wanted, {job.out} has none; run `rise-gym train value` there first"
        )
    judge: ProgressValue | None = saved_part(ProgressValue, job.out / "value") if there else None
    return judge


def _measured(recordings: Recordings) -> bool:
    return not bool(recordings.progress.isnan().any())


def _teaching(recordings: Recordings) -> ValueTraining:
    """How a value learns from these."""
    from rise_gym.value_training import ValueTraining

    return ValueTraining.measured() if _measured(recordings) else ValueTraining()
