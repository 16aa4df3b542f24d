"""Codec and dynamics of the paper's size for `rise-gym train --architecture ltx`, on one process or several."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rise_gym.commands._sealing import saved_part
from rise_gym.commands._shared import load_recordings
from rise_gym.tasks import TaskCard

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch.nn import Module

    from rise_gym.commands._world_parts import PartJob
    from rise_gym.ltx_codec import LTXCodec
    from rise_gym.ltx_dynamics import LTXDynamics
    from rise_gym.ltx_size import LTXSize
    from rise_gym.ltx_training import LTXTraining

LTX_VIDEO = "Lightricks/LTX-Video"


def full_size_parts() -> dict[Any, tuple[Callable[[PartJob], Any], str]]:
    """How each is made, and in which folder it then lies."""
    return {"codec": (_codec, "codec"), "dynamics": (_dynamics, "dynamics")}


def tell_size(job: PartJob) -> None:
    """Print what the job would train: of the dynamics, what memory it takes in each of the processes that were started.

    The codec is taken as it is, and the value is the compact one: neither is trained at full size.

    Raises:
        InvalidTraining: if these processes could not train it. InvalidCheckpoint: if what lies there is something else.
    """
    from accelerate import PartialState

    from rise_gym._ranks import check_shared

    if job.part != "dynamics":
        print(_told_of_codec(job) if job.part == "codec" else _told_of_value(job))
        return
    processes = PartialState(cpu=_on_cpu())
    check_shared(_settings(job).training.batch_size, processes=processes.num_processes, sharded=job.full_size.sharded)
    if processes.is_main_process:
        print(_told(job, processes.num_processes))


def paper_card() -> TaskCard:
    """Box closing as the paper's setup sees it: three views of 192 x 256 pixels, chunks of 50 actions at 30 Hz."""
    from rise_gym.tasks import BOX_CLOSE

    return replace(BOX_CLOSE, image_size=(192, 256), control_hz=30.0, chunk=50)


def paper_size() -> LTXSize:
    """Of the paper's dynamics and LTX-Video's codec."""
    from rise_gym.ltx_dynamics import LTXDynamicsConfig
    from rise_gym.ltx_size import LTXSize

    return LTXSize.of(LTXDynamicsConfig(), paper_card())


def _codec(job: PartJob) -> LTXCodec:
    """LTX-Video's, as it is: the paper's stays frozen too."""
    from rise_gym.ltx_weights import public_codec

    print("codec: LTX-Video's autoencoder as it is, nothing is trained")
    return public_codec(job.initial or LTX_VIDEO)


def _dynamics(job: PartJob) -> LTXDynamics | None:
    """The trained model; None in all processes but the main one."""
    from accelerate import Accelerator

    from rise_gym.ltx_codec import LTXCodec
    from rise_gym.ltx_training import train_ltx_dynamics

    accelerator = Accelerator(cpu=_on_cpu(), mixed_precision=_precision(job))
    if accelerator.is_main_process:
        print(_told(job, accelerator.num_processes))
    codec = saved_part(LTXCodec, job.out / "codec")
    recordings = load_recordings(job.data, job.card, across_tasks=job.across_tasks)
    start, config = _start(job, codec), _settings(job)
    with _watched(job, config, accelerator) as shown:
        model = train_ltx_dynamics(
            recordings, codec, config, job.run, initial=start, accelerator=accelerator, sharded=job.full_size.sharded,
            on_progress=shown,
        )  # fmt: skip
    main = accelerator.is_main_process
    accelerator.end_training()
    return model.cpu() if main else None


def _settings(job: PartJob) -> LTXTraining:
    from rise_gym.ltx_training import LTXTraining
    from rise_gym.ltx_weights import config_of

    config: LTXTraining = job.configured(LTXTraining(task_centric=job.task_centric))
    return replace(config, dynamics=config_of(job.initial))


def _start(job: PartJob, codec: LTXCodec) -> LTXDynamics | None:
    """What training begins from: a dynamics of ours, public weights, or nothing."""
    from rise_gym.ltx_dynamics import LTXDynamics
    from rise_gym.ltx_weights import config_of, empty_text, public_dynamics

    if job.initial is None:
        return None
    if (own := Path(job.initial) / "dynamics").is_dir():
        model: LTXDynamics = saved_part(LTXDynamics, own)
        return model
    config, empty = config_of(job.initial).fitted(job.card, codec.compression), None
    if job.full_size.text_encoder is not None:
        empty = empty_text(job.full_size.text_encoder, tokens=1 + config.chunk // config.stride)
    return public_dynamics(job.initial, job.card, codec, config=config, empty=empty)


def _told_of_codec(job: PartJob) -> str:
    return f"codec: {_count(_empty_codec(job)):,} parameters, LTX-Video's as it is; nothing is trained"


def _told_of_value(job: PartJob) -> str:
    """By the latents that it would read.

    Raises:
        InvalidTask: if the task's pictures can't be cut into latents.
    """
    import torch

    from rise_gym.ltx_dynamics import LTXDynamicsConfig
    from rise_gym.value import ProgressValue, ProgressValueConfig

    codec = _empty_codec(job)
    size = LTXDynamicsConfig().fitted(job.card, codec.compression).latent_size
    config = ProgressValueConfig(latent_channels=codec.channels, latent_size=size)
    with torch.device("meta"):
        count = _count(ProgressValue.of(config, job.card))
    return (
        f"value: {count:,} parameters, the compact one on latents of the codec ({codec.channels} x {size[0]} x "
        f"{size[1]}): there is none at full size, and it takes no memory worth telling"
    )


def _empty_codec(job: PartJob) -> LTXCodec:
    """The one that lies where the job saves, or LTX-Video's, without its weights."""
    import torch

    from rise_gym.ltx_codec import LTXCodec
    from rise_gym.ltx_size import saved_config

    with torch.device("meta"):
        return LTXCodec(settings=saved_config(job.out / "codec", LTXCodec).get("settings"))


def _count(module: Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _told(job: PartJob, processes: int) -> str:
    from rise_gym.ltx_codec import LTXCodec
    from rise_gym.ltx_dynamics import LTXDynamics, LTXDynamicsConfig
    from rise_gym.ltx_size import LTXSize, saved_config

    config = _settings(job)
    settings = saved_config(job.out / "codec", LTXCodec).get("settings")
    shape = config.dynamics.fitted(job.card, LTXCodec.compression_of(settings))
    if job.initial is not None and (own := saved_config(Path(job.initial) / "dynamics", LTXDynamics)):
        shape = LTXDynamicsConfig(**{field.name: own[field.name] for field in fields(LTXDynamicsConfig)})
    size = LTXSize.of(shape, job.card, settings)
    return size.told(
        max(1, config.training.batch_size // processes), processes=processes, sharded=job.full_size.sharded,
        half=_precision(job) == "bf16", checkpointing=config.gradient_checkpointing,
        average=bool(config.training.ema_decay),
    )  # fmt: skip


def _on_cpu() -> bool:
    """Several processes on CPUs have to be asked for: Accelerate else takes each for the only one."""
    import torch

    return not torch.accelerator.is_available()


def _precision(job: PartJob) -> str:
    import torch

    half = job.full_size.precision == "bfloat16" or (job.full_size.precision == "auto" and torch.cuda.is_available())
    return "bf16" if half else "no"


def _watched(job: PartJob, config: LTXTraining, accelerator: Accelerator) -> AbstractContextManager[Any]:
    """A progress bar in the main process."""
    return job.watched(config) if accelerator.is_main_process else nullcontext()
