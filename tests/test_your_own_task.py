"""docs/your_own_task.md holds: its files are written and its blocks run, in order, on a toy dataset, two steps each."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import degrees_robot
import pytest
from own_tasks import forgetting_tasks
from toy_dataset import toy, write_v21

from rise_gym.agents.improve import ImproveConfig
from rise_gym.cli import main

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "your_own_task.md").read_text()
BLOCK = re.compile(r"(?:`(?P<file>[\w.]+)`:\n\n)?^```(?P<kind>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
LONG = {"train", "improve"}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RISE_GYM_TASKS", "")
    for name in ("my_lab", "my_lab.arms"):  # the page's reader has it
        monkeypatch.setitem(sys.modules, name, degrees_robot)
    with forgetting_tasks():
        yield


def command(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one line as the shell would, but briefly."""
    words = shlex.split(line)
    assert words[0] == "rise-gym", line
    brief = ["--steps", "2"] if words[1] in LONG else []
    monkeypatch.setattr(sys, "argv", [*words, *brief])
    main()


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    small = ImproveConfig.climbing().changed(rollout_batch=8, batch_size=8)
    monkeypatch.setattr(ImproveConfig, "climbing", lambda: small)
    write_v21(tmp_path / "recordings", [toy(seed) for seed in range(4)])
    kinds = []
    for match in BLOCK.finditer(PAGE):
        kinds.append(match["kind"])
        if match["kind"] == "toml":
            (tmp_path / match["file"]).write_text(match["code"])
        elif match["kind"] == "bash":
            for line in match["code"].splitlines():
                command(line, monkeypatch)
        else:
            line = PAGE[: match.start("code")].count("\n")
            exec(compile("\n" * line + match["code"], "your_own_task.md", "exec"), {"__name__": "__main__"})
    assert kinds == ["toml", "toml", "bash", "toml", "bash", "bash", "python", "bash", "python"]
    shown = " ".join(capsys.readouterr().out.split())
    for told in (
        "# recordings: 4 episodes at 20 Hz",
        "4 episodes of cube_in_bowl",
        "world model: runs/wm/checkpoint",
        "(64, 64, 3)",
        "improved policy",
        "joint2_rad +1.02 joint3_rad -1.02",
        "joint_low=(-1.8, -2.0",
        "velocity=(0.5, 0.5",
    ):
        assert told in shown, told
    assert (tmp_path / "runs/rise/checkpoint/rise_gym.json").is_file()
    assert degrees_robot.ROBOT.sent
