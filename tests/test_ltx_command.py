"""`rise-gym train --architecture ltx`: from public weights to a world model that an env dreams with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_ltx import tiny_codec, tiny_dynamics

from rise_gym.commands.doctor import doctor
from rise_gym.commands.train import train
from rise_gym.envs.imagined import ImaginedEnv
from rise_gym.episodes import write_episodes
from rise_gym.errors import InvalidCheckpoint, InvalidTraining, RiseGymError
from rise_gym.ltx_dynamics import LTXDynamics
from rise_gym.tasks import BOX_CLOSE
from rise_gym.types import Episode


def episode(number: int) -> Episode:
    rng = np.random.default_rng(number)
    frames = {camera: rng.integers(0, 256, (20, 64, 64, 3), dtype=np.uint8) for camera in BOX_CLOSE.cameras}
    return Episode(
        task=BOX_CLOSE.name, instruction=BOX_CLOSE.instruction, frames=frames,
        proprio=np.full((20, 14), 0.01, np.float32), actions=rng.uniform(-1, 1, (20, 14)).astype(np.float32),
        success=number == 0, score=10.0, source="rollout", policy="test", seed=number,
        progress=np.linspace(0, 1, 20, dtype=np.float32),
    )  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_episodes(tmp_path / "data", [episode(number) for number in range(2)], BOX_CLOSE)
    return tmp_path / "data"


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """A folder with what is begun from: `vae/` as LTX-Video has it, `dynamics/` as this project has it."""
    codec = tiny_codec()
    codec.autoencoder.save_pretrained(tmp_path / "start" / "vae")
    tiny_dynamics(codec).save_pretrained(tmp_path / "start" / "dynamics")
    return tmp_path / "start"


def test_its_parts_become_a_world_model(
    data: Path, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    train("codec", out, data=[data], architecture="ltx", initial=str(start))
    train("value", out, data=[data], architecture="ltx", steps=2)
    train("dynamics", out, data=[data], architecture="ltx", initial=str(start), steps=2, batch_size=2)
    told = capsys.readouterr().out
    assert "dynamics: 29,456 parameters" in told
    assert "to train: about" in told
    trained = LTXDynamics.from_pretrained(out / "dynamics")
    before = LTXDynamics.from_pretrained(start / "dynamics").state_dict()
    assert any(not weight.equal(before[name]) for name, weight in trained.state_dict().items())
    env = ImaginedEnv(world_model=str(out / "checkpoint"))
    env.reset(seed=0)
    observation, *_ = env.step(np.zeros((10, 14), np.float32))
    assert env.observation_space.contains(observation)
    with pytest.raises(RiseGymError, match="--architecture ltx"):
        train("dynamics", out, data=[data], initial=str(start), steps=1)
    with pytest.raises(RiseGymError, match="has codec, dynamics, value, no renderer"):
        train("renderer", out, data=[data], architecture="ltx")


def test_a_dry_run_tells_the_size_and_touches_nothing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train("dynamics", tmp_path / "out", data=[data], architecture="ltx", dry_run=True, batch_size=8)
    told = capsys.readouterr().out
    assert "dynamics: 1,990,602,940 parameters" in told
    assert "8 rows in each of 1 processes" in told
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_of_value_and_codec_what_is_true_of_them(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train("value", tmp_path / "out", data=[data], architecture="ltx", dry_run=True)
    told = capsys.readouterr().out
    assert re.match(r"value: \d\d?\d?,\d{3} parameters, the compact one on latents of the codec \(128 x ", told)
    assert "there is none at full size" in told
    train("codec", tmp_path / "out", data=[data], architecture="ltx", dry_run=True)
    assert re.fullmatch(
        r"codec: [\d,]+ parameters, LTX-Video's as it is; nothing is trained\n", capsys.readouterr().out
    )


def test_a_dry_run_refuses_what_training_refuses(data: Path, start: Path, tmp_path: Path) -> None:
    def dry(part: Any = "dynamics", out: str = "out", **options: Any) -> None:
        train(part, tmp_path / out, data=[data], architecture="ltx", dry_run=True, **options)

    def folder(name: str, config: str) -> str:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text(config)
        return str(tmp_path / name.split("/")[0])

    with pytest.raises(RiseGymError, match="has codec, dynamics, value, no renderer"):
        dry("renderer")
    with pytest.raises(InvalidTraining, match=r"start more .*leave out --sharded"):
        dry(sharded=True)
    compact = folder("compact/dynamics", '{"_class_name": "VideoDynamics", "history": 2}')
    with pytest.raises(InvalidCheckpoint, match="an LTXDynamics was wanted, it holds a VideoDynamics"):
        dry(initial=compact)
    with pytest.raises(InvalidCheckpoint, match="an LTXCodec was wanted, it holds a FrameCodec"):
        dry(out=Path(folder("small/codec", '{"_class_name": "FrameCodec"}')).name)
    for broken in ("{", "[]"):
        name = folder(f"broken{len(broken)}/codec", broken)
        with pytest.raises(InvalidCheckpoint, match=r"config\.json can't be read"):
            dry(out=Path(name).name)
    for name, wrong in (("torn/transformer", "{"), ("odd/transformer", '{"_class_name": "UNet"}')):
        with pytest.raises(InvalidCheckpoint, match="a transformer of LTX-Video was wanted"):
            dry(initial=folder(name, wrong))
    with pytest.raises(InvalidCheckpoint, match="neither a file, a folder nor a hub id"):
        dry(initial="bundled:box_close/world_model")
    dry(initial=str(start))


def test_the_doctor_tells_the_papers_size(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    doctor()
    assert "1,990,602,940 parameters" in capsys.readouterr().out
