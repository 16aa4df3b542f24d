"""`rise-gym doctor`: what this machine has, and what that means."""

from __future__ import annotations

from collections.abc import Callable

from rise_gym.commands._shared import env_id_of
from rise_gym.errors import RiseGymError


def doctor() -> None:
    """Say what this machine has, and what that means: versions, OpenGL, bundled weights."""
    import importlib.metadata as metadata

    from rich.console import Console
    from rich.table import Table

    table = Table("what", "found", "means")
    for name in ("rise-gym", "torch", "gymnasium", "diffusers", "mujoco", "stable-baselines3"):
        try:
            table.add_row(name, metadata.version(name), "")
        except metadata.PackageNotFoundError:
            table.add_row(name, "missing", f"pip install {name}")
    table.add_row(*_full_size())
    table.add_row(*_try("replica", lambda: _first_reset("Mujoco"), "RiseMujoco-BoxClose-v0 resets and draws"))
    table.add_row(*_try("dream", lambda: _first_reset("Imagined"), "RiseImagined-BoxClose-v0 resets"))
    Console().print(table)


def _full_size() -> tuple[str, str, str]:
    """What the paper's dynamics would want of this machine's GPU."""
    import torch

    from rise_gym.commands._full_size import paper_size

    size, found = paper_size(), "no GPU"
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        found = f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB"
    return "full-size world model", found, size.told(1).replace("; 1 rows in each of 1 processes", " at one row")


def _try(what: str, check: Callable[[], object], means: str) -> tuple[str, str, str]:
    try:
        check()
    except RiseGymError as error:
        return what, "does not work", str(error)
    return what, "works", means


def _first_reset(backend: str) -> None:
    import gymnasium

    env = gymnasium.make(env_id_of(backend, "box_close"))
    env.reset(seed=0)
    env.close()
