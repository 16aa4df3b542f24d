"""One resumable training loop, shared by codec, dynamics, value, policy and the RISE loop.

A run lives in a folder: `training_state.safetensors` and `training_state.json` (written together, atomically),
and TensorBoard curves. Starting the same run again in the same folder goes on where it was, also after `kill -9`.
Several processes under Accelerate write the same folder as one does: a run may go on with another number of them.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from rise_gym._ranks import Ranks, norm_clipped
from rise_gym.errors import InvalidCheckpoint, InvalidTraining, SaveFailed

if TYPE_CHECKING:
    from accelerate import Accelerator

STATE_NAME = "training_state"


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long and how fast to train.

    `minutes` bounds the wall clock of the whole run, resumed parts added up. The learning rate follows `schedule` over
    `steps`, or over `minutes` where these are nearer their end, so that it has fallen when a run stops; it is never
    below `learning_rate_floor` times its peak. `ema_decay` 0 keeps no average. `device` is where the module learns, as
    torch names it.

    Raises:
        InvalidTraining: for numbers with which nothing can be trained.
    """

    steps: int
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    schedule: str = "cosine"
    learning_rate_floor: float = 0.0
    weight_decay: float = 1e-2
    gradient_clip: float = 1.0
    ema_decay: float = 0.999
    save_every_steps: int = 500
    log_every_steps: int = 20
    minutes: float | None = None
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1 or not 0 <= self.learning_rate < math.inf:
            raise InvalidTraining(
                "steps and a batch size from 1 and a learning rate from 0 were wanted, got "
                f"{self.steps}, {self.batch_size} and {self.learning_rate}"
            )
        if self.minutes is not None and not self.minutes > 0:
            raise InvalidTraining(f"minutes above 0 were wanted, or None for as long as it takes, got {self.minutes}")


@dataclass
class _Progress:
    step: int = 0
    seconds: float = 0.0


class Trainer:
    """Trains one module on an endless stream of losses.

    `model` is what a loss has to call in the module's stead where several processes train together; then its `ranks`
    say which rows of a batch are this one's. All draw the same batch from the same generator, so that what is learnt
    does not depend on how many there are.

    Args:
        module: what to train; modified in place.
        loss: called with the step's generator, returns the loss and named figures for TensorBoard. The generator is
            seeded by (seed, step), so a resumed run draws what an uninterrupted one would have drawn.
        config: how long and how fast.
        folder: where the run's state and curves go.
        origin: by name, modules that the run begins from or learns against: it goes on only with the same weights of
            all of them, None being none. They are left as they are.
        extra_state: further tensors to save and restore with the run (a target network, say): a module.
        after_step: called after each step with its number.
        accelerator: where and with whom to train; None for this process alone. All of them have to reach `folder`.
        sharded: whether each process holds only a share of the module. units: its blocks, see `Ranks.spread`.

    Parameters of the module that require no gradient are not saved with the run, nor where `extra_state` shares them:
    they stay what they are, and may be a thousand times larger than what is trained.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Callable[[torch.Generator], tuple[Tensor, dict[str, float]]],
        config: TrainingConfig,
        folder: str | Path,
        *,
        origin: Mapping[str, nn.Module | None] | None = None,
        extra_state: nn.Module | None = None,
        after_step: Callable[[int], None] | None = None,
        accelerator: Accelerator | None = None,
        sharded: bool = False,
        units: Iterable[nn.Module] = (),
    ) -> None:
        self.module, self.loss, self.config, self.folder = module, loss, config, Path(folder)
        self.extra_state, self.after_step = extra_state, after_step
        self.origin = {name: fingerprint(part) for name, part in (origin or {}).items() if part is not None}
        self.ranks = Ranks(accelerator, sharded=sharded)
        self.model = self.ranks.spread(module, units)
        parameters = [p for p in module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            parameters, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.95)
        )
        self.progress = _Progress()
        self.scheduler = _schedule(self.optimizer, config, lambda: self.progress.seconds)
        self.average = None
        if config.ema_decay:
            at_once = config.device != "cpu"  # a kernel for each of hundreds of weights is most of a step on a GPU
            self.average = EMAModel(parameters, decay=config.ema_decay, use_ema_warmup=False, foreach=at_once)
        if (self.folder / f"{STATE_NAME}.json").exists():
            self._restore()

    @property
    def done(self) -> bool:
        minutes = self.config.minutes
        return self.progress.step >= self.config.steps or (
            minutes is not None and self.progress.seconds >= 60 * minutes
        )

    def run(self, *, on_progress: Callable[[int, dict[str, float]], None] | None = None) -> dict[str, float]:
        """Train until `config` is fulfilled; returns the last figures. Ctrl-C saves first, then propagates.

        Of several processes only the main one calls `on_progress`; and they save together or not at all, so after an
        interruption they go on from the last of every `save_every_steps`.

        Raises:
            SaveFailed: if the folder can't be written, before the first step, or if the disk is full.
        """
        make_folder(self.folder)
        figures: dict[str, float] = {}
        self.model.train()
        complete = False
        with self._curves() as write:
            try:
                for step, figures in self._steps():
                    if self.ranks.main and (step % self.config.log_every_steps == 0 or self.done):
                        write(step, figures)
                        if on_progress:
                            on_progress(step, figures)
                    if step % self.config.save_every_steps == 0:
                        self.save()
                complete = True
            finally:
                if complete or self.ranks.count == 1:
                    self.save()
        return figures

    @contextmanager
    def _curves(self) -> Iterator[Callable[[int, dict[str, float]], None]]:
        """Writes figures for TensorBoard; only in the main process there is somebody who calls it."""
        if not self.ranks.main:
            yield lambda step, figures: None
            return
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(self.folder / "tensorboard"))

        def write(step: int, figures: dict[str, float]) -> None:
            for name, value in figures.items():
                writer.add_scalar(name, value, step)

        try:
            yield write
        finally:
            writer.close()

    def use_average(self) -> nn.Module:
        """Copy the exponential moving average into the module (for the final weights) and return it."""
        if self.average is not None:
            self.average.copy_to([p for p in self.module.parameters() if p.requires_grad])
        return self.module.eval()

    def _steps(self) -> Iterator[tuple[int, dict[str, float]]]:
        while not self.done:
            began = time.monotonic()
            seed = self.config.seed * 1_000_003 + self.progress.step
            with torch.random.fork_rng(devices=[]):  # dropout draws from the global generator: a resumed run must too
                torch.manual_seed(seed + 611_953 * self.ranks.index)  # rows of several processes are not to drop alike
                with self.ranks.autocast():
                    loss, figures = self.loss(torch.Generator().manual_seed(seed))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = norm_clipped(self.module.parameters(), self.config.gradient_clip)
            self.optimizer.step()
            self.scheduler.step()
            if self.average is not None:
                self.average.step([p for p in self.module.parameters() if p.requires_grad])
            self.progress.step += 1
            if self.after_step:
                self.after_step(self.progress.step)
            self.progress.seconds += time.monotonic() - began
            if self.config.minutes is not None:
                self.progress.seconds = self.ranks.agreed(self.progress.seconds)
            rate = float(self.scheduler.get_last_lr()[0])
            yield (
                self.progress.step,
                {
                    "loss": float(self.ranks.mean(loss.detach())),
                    "gradient_norm": norm,
                    "learning_rate": rate,
                    **figures,
                },
            )

    def save(self) -> None:
        """Write the run's state; an interrupted save leaves the earlier one whole.

        Raises:
            SaveFailed: if the disk is full or the folder can't be written.
        """
        meta: dict[str, Any] = {**asdict(self.progress), "scheduler": self.scheduler.state_dict()}
        meta["origin"] = self.origin
        tensors = self._tensors()
        if self.ranks.main:
            save_atomically(self.folder, STATE_NAME, tensors, meta)

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"module.{name}": value for name, value in self._changing(self.module).items()}
        tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors(self.optimizer).items()}
        if self.average is not None:
            tensors |= {f"average.{i}": value for i, value in enumerate(self.average.shadow_params)}
        if self.extra_state is not None:
            tensors |= {f"extra.{name}": value for name, value in self._changing(self.extra_state).items()}
        return self.ranks.whole(tensors)

    def _changing(self, module: nn.Module) -> dict[str, Tensor]:
        """The state of a module without what is frozen in the one that is trained."""
        state = module.state_dict()
        frozen = {p.data_ptr() for p in self.module.parameters() if not p.requires_grad and p.numel()}
        return {name: value for name, value in state.items() if value.data_ptr() not in frozen} if frozen else state

    def _load(self, module: nn.Module, tensors: dict[str, Tensor]) -> None:
        if odd := sorted(set(self._changing(module)) ^ set(tensors)):
            raise ValueError(f"{len(odd)} of its tensors are only here or only there: {', '.join(odd[:3])}")
        module.load_state_dict(tensors, strict=False)

    def _check_origin(self, saved: Mapping[str, str]) -> None:
        odd = sorted(name for name in saved.keys() | self.origin.keys() if saved.get(name) != self.origin.get(name))
        if odd:
            raise InvalidCheckpoint(
                f"{self.folder} holds a run with another {' and another '.join(odd)} than this one's; go on with its "
                "own, start the new run in a folder of its own, or remove this folder to begin anew"
            )

    def _restore(self) -> None:
        tensors, meta = load_saved(self.folder, STATE_NAME)
        self._check_origin(meta.get("origin", self.origin))  # earlier versions did not keep it

        def part(prefix: str) -> dict[str, Tensor]:
            return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}

        place, now = self.ranks.placed, self.module.state_dict()
        learnt = self.optimizer.param_groups[0]["params"]
        try:
            self._load(self.module, {k: place(v, now[k]) if k in now else v for k, v in part("module.").items()})
            slots = part("optimizer.").items()
            restore_optimizer(self.optimizer, {k: place(v, learnt[int(k.split(".", 1)[0])]) for k, v in slots})
            self.scheduler.load_state_dict(meta["scheduler"])
            for group, rate in zip(self.optimizer.param_groups, self.scheduler.get_last_lr(), strict=True):
                group["lr"] = rate
            if self.average is not None:
                for index, value in part("average.").items():
                    shadow = self.average.shadow_params[int(index)]
                    shadow.copy_(place(value, shadow))
                self.average.optimization_step = meta["step"]
            if self.extra_state is not None:
                self._load(self.extra_state, part("extra."))
        except (RuntimeError, ValueError, KeyError, IndexError) as error:
            raise InvalidCheckpoint(
                f"{self.folder} holds a run with other settings than these ({error}); "
                "go on with its own, or start the new run in a folder of its own"
            ) from error
        self.progress = _Progress(step=meta["step"], seconds=meta["seconds"])


def fingerprint(module: nn.Module) -> str:
    """Changes with any weight."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def noise_like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Normal noise where `tensor` lies, drawn there: as random as the generator, which is one of the CPU."""
    if tensor.device.type == "cpu":
        return torch.randn(tensor.shape, generator=generator)
    there = torch.Generator(tensor.device).manual_seed(int(torch.randint(2**62, (), generator=generator)))
    return torch.randn(tensor.shape, generator=there, device=tensor.device)


def _schedule(optimizer: torch.optim.Optimizer, config: TrainingConfig, seconds: Callable[[], float]) -> LambdaLR:
    shape = get_scheduler(
        config.schedule, optimizer, num_warmup_steps=config.warmup_steps, num_training_steps=config.steps
    )
    floor, factor = config.learning_rate_floor, shape.lr_lambdas[0]

    def scaled(step: int) -> float:
        spent = 0.0 if config.minutes is None else seconds() / (60 * config.minutes)
        return floor + (1 - floor) * factor(max(step, min(1.0, spent) * config.steps))

    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"]
    return LambdaLR(optimizer, scaled)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimizer remembers of each parameter, as `<index>.<name>`; its settings are not part of it."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": torch.as_tensor(value) for index, slot in state.items() for name, value in slot.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, slot = name.split(".", 1)
        slots.setdefault(int(index), {})[slot] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})


def make_folder(folder: Path) -> None:
    """Make a folder for a run, if it is not there.

    Raises:
        SaveFailed: if it can't be made, or not be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SaveFailed(
            f"could not write to {folder} ({error}); make it writable, or choose another folder"
        ) from error


def save_atomically(folder: Path, name: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write `<name>.safetensors` with `meta` inside it as JSON, then a small `<name>.json` that marks it complete.

    Raises:
        SaveFailed: if anything could not be written; the earlier file is kept.
    """
    target, partial = folder / f"{name}.safetensors", folder / f"{name}.safetensors.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, partial, metadata={"meta": json.dumps(meta)})
        os.replace(partial, target)
        (folder / f"{name}.json").write_text(json.dumps({"file": target.name}) + "\n")
    except Exception as error:  # safetensors reports a full disk by its own exception type
        with suppress(OSError):  # where nothing could be written there may be nothing to remove
            partial.unlink(missing_ok=True)
        raise SaveFailed(
            f"could not write {target} ({error}); what was saved before is untouched: free some space and start again"
        ) from error


def load_saved(folder: Path, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_atomically` wrote.

    Raises:
        InvalidCheckpoint: if the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / f"{name}.safetensors"
    try:
        tensors = load_file(path)
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["meta"])
    except (SafetensorError, FileNotFoundError, KeyError, TypeError) as error:
        raise InvalidCheckpoint(f"{path} can't be read ({error}); remove the folder to start the run anew") from error
    return tensors, meta
