"""The examples of README and documentation run, and what they name is there.

Every block fenced as python is executed by itself in an empty folder; one after a comment `<!-- not run: why -->` is
only compiled.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from rise_gym.cli import main
from rise_gym.errors import RenderingUnavailable

ROOT = Path(__file__).parents[1]
WALKED_THROUGH = {"your_own_task.md"}  # by a test of its own
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if path.name not in WALKED_THROUGH
}
BLOCK = re.compile(r"(?P<comment><!-- not run: [^>]+-->\s*)?^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(
        name, match["code"], match["comment"] is None, line := text[: match.start("code")].count("\n"),
        id=f"{Path(name).stem}_line_{line + 1}",
    )
    for name, text in PAGES.items()
    for match in BLOCK.finditer(text)
]  # fmt: skip
COMMAND = re.compile(r"^rise-gym (?P<name>[a-z]+)(?P<rest>[^#\n]*)", re.MULTILINE)
COMMANDS = sorted({match["name"] for text in PAGES.values() for match in COMMAND.finditer(text)})


@pytest.mark.parametrize(("name", "code", "runs", "line"), BLOCKS)
def test_example(name: str, code: str, runs: bool, line: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = compile("\n" * line + code, str(ROOT / name), "exec")  # a traceback names the page's line
    if not runs:
        return
    monkeypatch.chdir(tmp_path)
    try:
        exec(compiled, {"__name__": "__main__"})
    except RenderingUnavailable as error:
        pytest.skip(f"no OpenGL here: {error}")


@pytest.mark.parametrize("command", COMMANDS)
def test_named_commands_have_the_named_options(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["rise-gym", command, "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    named = [match["rest"] for text in PAGES.values() for match in COMMAND.finditer(text) if match["name"] == command]
    assert set(re.findall(r"(?<!\S)--[a-z-]+", " ".join(named))) <= known


def test_named_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for text in PAGES.values() for target in re.findall(r"\bmake ([a-z]+)\b", text)}
    assert named <= targets


def test_linked_files_exist() -> None:
    for page in (*PAGES, *(f"docs/{name}" for name in WALKED_THROUGH)):
        linked = re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / page).read_text())
        assert [name for name in linked if not (ROOT / page).parent.joinpath(name).exists()] == [], page
