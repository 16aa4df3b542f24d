"""The training loop: it resumes as if nothing had happened, and never loses what it saved."""

from __future__ import annotations

import copy
import itertools
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from rise_gym import training
from rise_gym.agents.improve import ImproveConfig
from rise_gym.errors import InvalidCheckpoint, InvalidTraining, SaveFailed
from rise_gym.training import Trainer, TrainingConfig, load_saved, save_atomically


class Follower(nn.Module):
    """Something that a run has to remember beside the trained module."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(1))


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"batch_size": 0}, {"learning_rate": -1.0}, {"learning_rate": float("nan")}, {"minutes": 0.0}],
)
def test_settings_with_which_nothing_can_be_trained_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidTraining, match="wanted"):
        TrainingConfig(**{"steps": 1, **wrong})


@pytest.mark.parametrize("wrong", [{"offline_ratio": 3.0}, {"proposals_per_state": 0}, {"ascent": -1.0}])
def test_what_a_command_is_told_wrongly_is_no_traceback(wrong: dict[str, Any]) -> None:
    """The command line shows errors of this package, and no others, as one line."""
    with pytest.raises(InvalidTraining, match=r"wanted.*got"):
        ImproveConfig.climbing().changed(**wrong)


def build(folder: Path, **changes: Any) -> Trainer:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 1))

    def loss(generator: Generator) -> tuple[Tensor, dict[str, float]]:
        inputs = torch.randn(16, 4, generator=generator)
        return (module(inputs) - inputs.sum(1, keepdim=True)).square().mean(), {"rows": 16.0}

    follower = Follower()
    settings: dict[str, Any] = {"steps": 60, "warmup_steps": 5, "save_every_steps": 10, "ema_decay": 0.9}
    return Trainer(
        module,
        loss,
        TrainingConfig(**{**settings, **changes}),
        folder,
        extra_state=follower,
        after_step=lambda step: follower.steps.fill_(step),
    )


def state(trainer: Trainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trainer._tensors().items()}


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    trainer = build(tmp_path_factory.mktemp("whole"))
    trainer.run()
    return state(trainer)


def test_a_run_stopped_between_saves_goes_on_as_if_nothing_had_happened(
    uninterrupted: dict[str, Tensor], tmp_path: Path
) -> None:
    class Stop(Exception):
        pass

    def stop(step: int, figures: dict[str, float]) -> None:
        if step >= 37:
            raise Stop

    with pytest.raises(Stop):
        build(tmp_path, log_every_steps=1).run(on_progress=stop)
    resumed = build(tmp_path)
    assert resumed.progress.step == 37
    resumed.run()
    assert_same(state(resumed), uninterrupted)


def test_a_run_killed_outright_goes_on_from_its_last_save(uninterrupted: dict[str, Tensor], tmp_path: Path) -> None:
    run = (
        "import importlib.util, sys, time; from pathlib import Path\n"
        f"spec = importlib.util.spec_from_file_location('this', {str(Path(__file__))!r})\n"
        "this = importlib.util.module_from_spec(spec); spec.loader.exec_module(this)\n"
        f"trainer = this.build(Path({str(tmp_path)!r}), log_every_steps=1)\n"
        "def show(step, figures):\n    print(step, flush=True); time.sleep(0 if step < 25 else 60)\n"
        "trainer.run(on_progress=show)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", run], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "25":
            break
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    resumed = build(tmp_path)
    assert resumed.progress.step == 20  # the last save; what came after is done again
    resumed.run()
    assert_same(state(resumed), uninterrupted)


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    build(tmp_path, steps=3).run()
    again = build(tmp_path, steps=3)
    assert again.done
    assert again.run() == {}


def test_minutes_bound_a_run_and_count_over_its_parts(tmp_path: Path) -> None:
    trainer = build(tmp_path, steps=10_000, minutes=0.5 / 60)
    began = time.monotonic()
    trainer.run()
    assert time.monotonic() - began < 10
    assert 0 < trainer.progress.step < 10_000
    assert build(tmp_path, steps=10_000, minutes=0.5 / 60).done


def test_a_run_that_minutes_end_lets_its_rate_fall_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count()
    monkeypatch.setattr(training.time, "monotonic", lambda: float(next(seconds)))  # every step takes a second
    rates: list[float] = []
    trainer = build(tmp_path, steps=10_000, minutes=1, log_every_steps=1, learning_rate=1e-2)
    trainer.run(on_progress=lambda step, figures: rates.append(figures["learning_rate"]))
    assert trainer.progress.step == 60
    assert max(rates[:30]) > 0.9e-2
    assert rates[-1] < 0.01e-2


def test_the_average_lags_behind_and_becomes_the_weights(tmp_path: Path) -> None:
    trainer = build(tmp_path)
    trainer.run()
    last = trainer.module[0].weight.clone()
    averaged = trainer.use_average()
    assert not averaged.training
    assert trainer.average is not None
    assert torch.equal(averaged[0].weight, trainer.average.shadow_params[0])
    assert not torch.equal(averaged[0].weight, last)


def test_without_an_average_the_weights_stay(tmp_path: Path) -> None:
    trainer = build(tmp_path, steps=4, ema_decay=0.0)
    trainer.run()
    last = trainer.module[0].weight.clone()
    assert torch.equal(trainer.use_average()[0].weight, last)


def test_the_learning_rate_rises_falls_and_keeps_its_floor(tmp_path: Path) -> None:
    rates: list[float] = []
    trainer = build(tmp_path, log_every_steps=1, learning_rate=1e-2, learning_rate_floor=0.1)
    trainer.run(on_progress=lambda step, figures: rates.append(figures["learning_rate"]))
    assert max(rates) == pytest.approx(1e-2, rel=0.01)
    assert rates[0] < 0.5e-2
    assert rates[-1] == pytest.approx(1e-3, rel=0.05)


def test_a_run_of_another_shape_is_refused(tmp_path: Path) -> None:
    build(tmp_path, steps=2).run()
    module = nn.Sequential(nn.Linear(4, 9), nn.Dropout(0.3), nn.Linear(9, 1))
    with pytest.raises(InvalidCheckpoint, match="other settings"):
        Trainer(module, lambda generator: (torch.zeros(()), {}), TrainingConfig(steps=2), tmp_path)


def test_a_run_that_began_from_something_else_is_refused(tmp_path: Path) -> None:
    module, config = nn.Linear(2, 1), TrainingConfig(steps=2, ema_decay=0.0)

    def trainer(**origin: nn.Module) -> Trainer:
        return Trainer(module, lambda _: (module(torch.ones(2)).sum(), {}), config, tmp_path, origin=origin)

    first, other = nn.Linear(3, 3), nn.Linear(3, 3)
    trainer(policy=first).run()
    assert trainer(policy=copy.deepcopy(first)).done
    for wrong in ({"policy": other}, {}, {"policy": first, "value": other}):
        with pytest.raises(InvalidCheckpoint, match=r"another (policy|value) than this one's"):
            trainer(**wrong)


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    build(tmp_path, steps=2).run()
    path = tmp_path / f"{training.STATE_NAME}.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InvalidCheckpoint, match="can't be read"):
        build(tmp_path, steps=2)


def test_a_full_disk_keeps_what_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_atomically(tmp_path, "run", {"weight": torch.ones(2)}, {"step": 1})

    def full(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training, "save_file", full)
    with pytest.raises(SaveFailed, match="No space left"):
        save_atomically(tmp_path, "run", {"weight": torch.zeros(2)}, {"step": 2})
    tensors, meta = load_saved(tmp_path, "run")
    assert tensors["weight"].tolist() == [1.0, 1.0]
    assert meta == {"step": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", "run.safetensors"]


def test_a_write_that_the_system_refuses_is_reported(tmp_path: Path) -> None:
    save_atomically(tmp_path, "run", {"weight": torch.ones(2)}, {"step": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # bytes a file may have
    try:
        with pytest.raises(SaveFailed, match="untouched"):
            save_atomically(tmp_path, "run", {"weight": torch.zeros(100_000)}, {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_saved(tmp_path, "run")[1] == {"step": 1}


def test_a_folder_that_cannot_be_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SaveFailed, match="could not write"):
        save_atomically(tmp_path / "file" / "run", "run", {"weight": torch.ones(1)}, {})


def test_a_run_in_a_folder_that_cannot_be_takes_no_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    trainer = build(tmp_path / "file" / "run")
    with pytest.raises(SaveFailed, match="choose another folder"):
        trainer.run()
    assert trainer.progress.step == 0
