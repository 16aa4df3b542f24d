"""`import rise_gym` registers the environments and stays light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

import rise_gym
from rise_gym.registration import register_all

HEAVY = ("torch", "mujoco", "stable_baselines3", "diffusers", "pyarrow", "av", "tyro", "matplotlib")


def fresh(code: str) -> str:
    """What `code` prints in a new process."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()


def test_import_is_light() -> None:
    code = f"import sys, rise_gym; print(*[name for name in {HEAVY} if name in sys.modules])"
    assert fresh(code) == ""


def test_every_task_is_registered_for_the_dream_and_the_replica() -> None:
    for card in rise_gym.TASKS.values():
        assert {f"RiseImagined-{card.title}-v0", f"RiseMujoco-{card.title}-v0"} <= set(gymnasium.registry)
    assert set(rise_gym.env_ids) <= set(gymnasium.registry)


def test_registering_again_is_silent() -> None:
    assert register_all() == rise_gym.env_ids  # gymnasium warns about a second registration, and warnings fail here


def test_lazy_names() -> None:
    from rise_gym.world_model import CompositionalWorldModel

    assert rise_gym.WorldModel is CompositionalWorldModel
    assert {"WorldModel", "RisePipeline", "task_card"} <= set(dir(rise_gym))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        rise_gym.Nothing  # noqa: B018


def test_it_is_found_from_the_folder_that_holds_a_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There a folder without code has its name, which Python takes for a package if nothing better is on its path."""
    (tmp_path / "rise_gym").mkdir()
    monkeypatch.chdir(tmp_path)
    assert Path(fresh("import rise_gym; print(rise_gym.__file__)")).name == "__init__.py"
