"""Layers point one way: envs and agents stand on rise_gym, never the other way round, nor on each other."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"rise_gym": "rise_gym", "envs": "rise_gym.envs", "agents": "rise_gym.agents"}
FORBIDDEN = {
    "rise_gym": ("rise_gym.envs", "rise_gym.agents", "rise_gym.commands"),
    "envs": ("rise_gym.agents", "rise_gym.cli", "rise_gym.commands"),
    "agents": ("rise_gym.envs", "rise_gym.cli", "rise_gym.commands"),
}


def sources(folder: str) -> list[Path]:
    """Python files of a room; the links rise_gym/envs and rise_gym/agents are other rooms, as is rise_gym/commands."""
    files = sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)
    return [path for path in files if folder != "rise_gym" or path.parent == ROOT / folder]


def imported(path: Path) -> set[str]:
    """Every module that a file names in an import, lazy and type-only ones included; relative ones resolved."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide which layer they reach into"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def reaches(name: str, layer: str) -> bool:
    return name == layer or name.startswith(f"{layer}.")


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_layers_point_one_way(folder: str) -> None:
    for path in sources(folder):
        if path == ROOT / "rise_gym" / "cli.py":  # with rise_gym/commands the one place where all is put together
            continue
        for name in imported(path):
            assert not any(reaches(name, layer) for layer in FORBIDDEN[folder]), f"{path} imports {name}"


@pytest.mark.parametrize("folder", [*FOLDERS, "tests", "benchmarks"])
def test_nothing_imports_a_second_copy_of_a_room(folder: str) -> None:
    for path in sources(folder):
        assert not [name for name in imported(path) if reaches(name, "envs") or reaches(name, "agents")], path


def test_the_scan_sees_a_forbidden_import(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("def f():\n    from rise_gym import envs\n    import rise_gym.agents.sb3\n")
    assert {"rise_gym.envs", "rise_gym.agents.sb3"} <= imported(path)


def test_package_list_names_every_package() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    packages = {"rise_gym", "rise_gym.commands"}
    for folder, name in FOLDERS.items():
        if folder != "rise_gym":
            inits = sorted((ROOT / folder).rglob("__init__.py"))
            packages |= {".".join([name, *init.parent.relative_to(ROOT / folder).parts]) for init in inits}
    assert set(listed) == packages
    assert not list((ROOT / "tests").rglob("__init__.py")), "importlib mode wants no packages in tests"
