"""The API reference: a page for each public module, and one that lists them all."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

_ROOMS = {
    "rise_gym": "World model",
    "rise_gym.envs": "Environments",
    "rise_gym.agents": "Agents",
    "rise_gym.commands": "Commands",
}


def public_modules(root: Path) -> list[str]:
    """Names of all modules that have no part with a leading underscore, sorted."""
    found = []
    for room, folder in (("rise_gym", "rise_gym"), ("rise_gym.envs", "envs"), ("rise_gym.agents", "agents")):
        for path in (root / folder).rglob("*.py"):
            parts = path.relative_to(root / folder).with_suffix("").parts
            name = ".".join((room, *(part for part in parts if part != "__init__")))
            if not any(part.startswith("_") for part in name.split(".")):
                found.append(name)
    return sorted(set(found))


def navigation(root: Path) -> list[dict[str, Any]]:
    """The modules by rooms, as mkdocs' `nav` wants them."""
    rooms: dict[str, list[dict[str, str]]] = {title: [] for title in _ROOMS.values()}
    for module in public_modules(root):
        room = _room(module)
        short = module.removeprefix(f"{room}.")
        rooms[_ROOMS[room]].append({short: f"api/{module}.md"})
    return [{title: pages} for title, pages in rooms.items()]


def module_page(module: str) -> str:
    """What mkdocstrings turns into the reference of one module."""
    return f"::: {module}\n"


def index_page(root: Path) -> str:
    """Every module with the first sentence that it says of itself."""
    lines = ["# API reference", "", "Every public module, from its docstrings. Names that begin with `_` may change."]
    room = ""
    for module in sorted(public_modules(root), key=lambda name: (list(_ROOMS).index(_room(name)), name)):
        if _room(module) != room:
            room = _room(module)
            lines += ["", f"## {_ROOMS[room]}", "", "| module | what lives there |", "| --- | --- |"]
        lines.append(f"| [`{module}`]({module}.md) | {_first_line(root, module)} |")
    return "\n".join(lines) + "\n"


def _room(module: str) -> str:
    return next(room for room in reversed(_ROOMS) if module == room or module.startswith(f"{room}."))


def _first_line(root: Path, module: str) -> str:
    place = module.replace(".", "/")
    for outside in ("envs", "agents"):
        place = place.removeprefix("rise_gym/") if place.startswith(f"rise_gym/{outside}") else place
    path = root / f"{place}.py"
    source = path if path.is_file() else root / place / "__init__.py"
    told = ast.get_docstring(ast.parse(source.read_text())) or ""
    return told.split("\n\n")[0].split("\n")[0].replace("|", "\\|")
