"""The wheel holds what the tree holds: the mapped folders under their import names, and everything that is bundled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"rise_gym": "rise_gym", "envs": "rise_gym/envs", "agents": "rise_gym/agents"}
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"


def sources() -> dict[str, Path]:
    """Every file that a wheel has to hold: its name there -> where it lies."""
    found: dict[str, Path] = {}
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*")):
            inside = path.relative_to(ROOT / folder)
            linked = folder == "rise_gym" and inside.parts[0] in ("envs", "agents")
            wanted = path.suffix == ".py" or path.name == "py.typed" or inside.parts[0] == "bundled"
            if path.is_file() and wanted and not linked:
                found[f"{package}/{inside.as_posix()}"] = path
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, offline; bundled files are copied empty, for only their names matter here."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    for path in sources().values():
        copy = tree / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if "bundled" in path.parts:
            copy.touch()
        else:
            shutil.copy(path, copy)
    built = subprocess.run(
        [sys.executable, "-c", BUILD, str(out)], cwd=tree, capture_output=True, text=True, timeout=120
    )
    assert built.returncode == 0, built.stderr
    return next(out.glob("*.whl"))


def test_wheel_holds_what_the_tree_holds(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == set(sources())


def test_wheel_has_the_command_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        described = {Path(name).name: name for name in archive.namelist() if ".dist-info/" in name}
        assert "rise-gym = rise_gym.cli:main" in archive.read(described["entry_points.txt"]).decode()
        assert "License-Expression: Apache-2.0" in archive.read(described["METADATA"]).decode()
    assert "LICENSE" in described


def test_installed_wheel_works_from_elsewhere(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = """
import rise_gym, rise_gym.envs.imagined, rise_gym.envs.mujoco, rise_gym.agents.flow_policy, gymnasium
print(rise_gym.__file__, rise_gym.envs.imagined.__file__, "RiseImagined-BoxClose-v0" in gymnasium.registry)
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert found.returncode == 0, found.stderr
    package, module, registered = found.stdout.split()
    assert package.startswith(str(tmp_path))
    assert module.startswith(str(tmp_path))
    assert registered == "True"
