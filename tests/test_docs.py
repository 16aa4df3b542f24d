"""The documentation builds without a warning, all of its links lead somewhere, and every public module is in it."""

from __future__ import annotations

import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rise_gym
from rise_gym.tasks import TASKS

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
ROOT = Path(__file__).parents[1]
CHECK = [sys.executable, str(ROOT / "docs" / "_site" / "links.py")]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    found = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
    environment = {**os.environ, "PYTHONPATH": found}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_the_site(tmp_path: Path) -> None:
    built = run(sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path))
    assert (built.returncode, built.stdout + built.stderr) == (0, "")
    checked = run(*CHECK, str(tmp_path))
    assert checked.returncode == 0, checked.stdout
    modules = ["rise_gym", *(found.name for found in pkgutil.walk_packages(rise_gym.__path__, "rise_gym."))]
    public = [name for name in modules if "._" not in name]
    assert {"rise_gym.world_model", "rise_gym.envs.real.env", "rise_gym.agents.improve"} <= set(public)
    pages = {path.stem: path.read_text() for path in (tmp_path / "api").glob("*.html")}
    assert [name for name in public if f'id="{name}"' not in pages.get(name, "")] == []
    for task, card in TASKS.items():
        page = (tmp_path / "tasks" / f"{task}.html").read_text()
        told = [f"RiseMujoco-{card.title}-v0", card.instruction, *(stage.name for stage in card.stages)]
        assert [fact for fact in told if fact not in page] == []
        assert f"bundled:{task}/world_model" in page
        assert not re.search(r"<!-- \w+: ", page)  # every fact that was asked for was filled in
    assert "88.0%" in (tmp_path / "tasks" / "box_close.html").read_text()


@pytest.mark.parametrize(
    ("link", "told"),
    [
        ('<a href="gone.html">', "gone.html leads nowhere"),
        ('<a href="other.html#gone">', "other.html#gone has no such anchor"),
        ('<a href="#gone">', "#gone has no such anchor"),
        ('<img src="gone.png">', "gone.png leads nowhere"),
        ('<script src="https://example.org/x.js">', "is loaded from the network"),
        ("<name>", "<name> is no HTML"),
        ('<a href="other.html#here"><a href="https://example.org"><a href="other.html">', ""),
    ],
)
def test_a_broken_link_is_found(tmp_path: Path, link: str, told: str) -> None:
    (tmp_path / "index.html").write_text(f"<html><body>{link}</body></html>")
    (tmp_path / "other.html").write_text('<html><body><h1 id="here">x</h1></body></html>')
    checked = run(*CHECK, str(tmp_path))
    assert checked.returncode == bool(told)
    assert told in checked.stdout
