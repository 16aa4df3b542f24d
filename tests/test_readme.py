"""The README's examples run, and what it names is there.

Every block fenced as python is executed by itself in an empty folder; one after a comment `<!-- not run: why -->` is
only compiled.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rise_gym.errors import RenderingUnavailable

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"(?P<comment><!-- not run: [^>]+-->\s*)?^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    (match["code"], match["comment"] is None, README[: match.start("code")].count("\n"))
    for match in BLOCK.finditer(README)
]


@pytest.mark.parametrize(("code", "runs", "line"), BLOCKS, ids=[f"line_{line + 1}" for _, _, line in BLOCKS])
def test_example(code: str, runs: bool, line: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = compile("\n" * line + code, str(ROOT / "README.md"), "exec")  # a traceback names the README's line
    if not runs:
        return
    monkeypatch.chdir(tmp_path)
    try:
        exec(compiled, {"__name__": "__main__"})
    except RenderingUnavailable as error:
        pytest.skip(f"no OpenGL here: {error}")


def test_named_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", README)) <= targets


def test_linked_files_exist() -> None:
    linked = re.findall(r"\]\((?!https?:|#)([^)#]+)", README)
    assert [name for name in linked if not (ROOT / name).exists()] == []
