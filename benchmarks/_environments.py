"""Virtual environments of their own, for packages that want other versions than this project does."""

from __future__ import annotations

import json
import os
import subprocess
import time
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_STAMP = "installed.json"
_QUIETLY = ("-q", "--no-input", "--no-compile", "--upgrade")  # compiling 8 GB takes longer than fetching them
_TAIL = 400  # characters of what a failed program said last


class NotBuilt(Exception):
    """An environment could not be installed; says what was tried and what came."""


class NotAnswered(Exception):
    """A program failed or took too long; says which, and what it said last."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What is installed beside this project, never into it.

    Attributes:
        name: of its folder. installs: the requirements of each call of `pip install`, in turn.
        python: which one it is of, `"3.12"` say; None for the one that runs this.
    """

    name: str
    installs: tuple[tuple[str, ...], ...]
    python: str | None = None


LEROBOT = Environment(
    name="lerobot",
    installs=(
        ("pip",),  # a new one: the one that comes with Python looks through many more versions
        ("torch==2.9.1", "torchvision==0.24.1"),
        ("lerobot[smolvla]==0.4.4", "torchcodec==0.9.*"),
        ("tyro>=0.9", "tensorboard"),  # of this project, for `lerobot_policies.py`; the rest comes with lerobot
    ),
)
"""The newest lerobot that Python 3.11 takes, all within its own bounds; named torch first, or pip searches for long."""

LEROBOT_312 = Environment(
    name="lerobot_312",
    python="3.12",
    installs=(
        ("pip",),
        ("torch==2.11.0", "torchvision==0.26.0"),
        ("lerobot[pi,smolvla,diffusion,training]==0.6.1",),
        ("imageio>=2.37", "matplotlib>=3.9", "mujoco>=3.5", "rich>=13", "stable-baselines3>=2.8"),
        ("tensorboard>=2.18", "torchmetrics>=1.6", "tyro>=0.9"),
    ),
)
"""The newest lerobot, which wants Python 3.12; what this project asks for fits beside it."""

LEROBOT_V21 = Environment(
    name="lerobot_v21",
    installs=(
        ("pip",),
        ("torch==2.7.1", "torchvision==0.22.1"),
        ("lerobot==0.3.3", "torchcodec==0.5.*"),
    ),
)
"""The last lerobot that writes v2.1."""

ALOHA = Environment(name="gym_aloha", installs=(("pip",), ("gym-aloha==0.1.5", "mujoco<3.9")))
"""The simulated bimanual arms that LeRobot's ALOHA datasets are of."""


OPENPI = Environment(name="openpi", installs=(("pip",), ("openpi-client==0.1.2", "typing_extensions")))
"""openpi's own client, which wants a numpy before 2; it imports a package that it does not ask for."""


def python_of(environment: Environment, folder: Path, minutes: float) -> Path:
    """The Python of an environment, which is built in `folder` unless it is there.

    Raises:
        NotBuilt: if it could not be installed within so many minutes; what there is of it is begun anew next time.
    """
    place = (folder / environment.name).absolute()
    python, stamp = place / "bin" / "python", place / _STAMP
    wanted = [list(part) for part in environment.installs]
    if stamp.is_file() and json.loads(stamp.read_text())["installs"] == wanted:
        return python
    began = time.monotonic()
    _create(place, environment)
    for part in environment.installs:
        _install(python, part, began + 60 * minutes - time.monotonic(), environment.name, minutes)
    seconds = round(time.monotonic() - began)
    stamp.write_text(json.dumps({"installs": wanted, "seconds": seconds}))
    return python


def _create(place: Path, environment: Environment) -> None:
    if environment.python is None:
        venv.create(place, with_pip=True, clear=True)
        return
    command = [*_interpreter(environment.python), "-m", "venv", "--clear", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotBuilt(
            f"Python {environment.python} was wanted for the environment {environment.name!r}, and there is none that "
            f"could make it ({error}); install it, so that `python{environment.python}` starts it"
        ) from error


def _interpreter(version: str) -> list[str]:
    """How a Python of that version is started; pyenv has some beside the one that is chosen."""
    kept = sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}.*/bin/python"))
    return [str(kept[-1])] if kept else [f"python{version}"]


def built_in_s(python: Path) -> int | None:
    """How long the environment of a Python took to build, in s, if it was built here."""
    seconds: int | None = json.loads((python.parents[1] / _STAMP).read_text()).get("seconds")
    return seconds


def _install(python: Path, requirements: Sequence[str], left_s: float, name: str, minutes: float) -> None:
    command = [str(python), "-m", "pip", "install", *_QUIETLY, *requirements]
    try:
        subprocess.run(command, check=True, timeout=max(left_s, 0), capture_output=True, text=True)
    except subprocess.TimeoutExpired as error:
        text = f"given up: the environment {name!r} was not built after {minutes:g} minutes, in `pip install "
        raise NotBuilt(f"{text}{' '.join(requirements)}`; give it more with --minutes") from error
    except subprocess.CalledProcessError as error:
        raise NotBuilt(f"`pip install {' '.join(requirements)}` failed: {_said(error)}") from error


def answer(
    command: Sequence[str | Path], *, minutes: float = 10.0, variables: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The JSON object that a program prints as its last line; it may not reach a hub.

    Raises:
        NotAnswered: if it fails, or takes longer.
    """
    printed = spoken(command, minutes=minutes, variables=variables).splitlines()
    found: dict[str, Any] = json.loads(printed[-1])
    return found


def spoken(command: Sequence[str | Path], *, minutes: float = 10.0, variables: Mapping[str, str] | None = None) -> str:
    """All that a program prints, errors after the rest. Raises NotAnswered as `answer` does."""
    surroundings = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", **(variables or {})}
    name = " ".join(map(str, command[:3]))
    try:
        done = subprocess.run(
            list(map(str, command)), check=True, timeout=60 * minutes, capture_output=True, text=True, env=surroundings
        )
    except subprocess.TimeoutExpired as error:
        raise NotAnswered(f"{name} was not done after {minutes:g} minutes") from error
    except subprocess.CalledProcessError as error:
        raise NotAnswered(f"{name} failed with {error.returncode}: {_said(error)}") from error
    return done.stderr + done.stdout


def ffmpeg_libraries(python: Path) -> dict[str, str]:
    """Where torchcodec finds FFmpeg's libraries: those inside PyAV's wheel, by the names that it looks for.

    They lie there under names that nothing else can clash with, `libavcodec-7ee0753d.so.61.19.101`. Linux only.
    """
    links = python.parents[1] / "ffmpeg"
    links.mkdir(exist_ok=True)
    for library in (python.parents[1] / "lib").glob("python3.*/site-packages/av.libs/lib[as][vw]*"):
        stem, _, numbers = library.name.partition(".so.")
        link = links / f"{stem.partition('-')[0]}.so.{numbers.partition('.')[0]}"
        if not link.exists():
            link.symlink_to(library)
    return {"LD_LIBRARY_PATH": str(links)}


def _said(error: subprocess.CalledProcessError) -> str:
    return (error.stderr or error.stdout or "nothing was said").strip()[-_TAIL:]
