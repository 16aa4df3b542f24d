"""What the benchmarks with the real lerobot do without it: their layout check, their comparison, their giving up."""

from __future__ import annotations

import importlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rise_gym.mapping import read_mapping
from rise_gym.task_files import read_task
from rise_gym.tasks import BOX_CLOSE

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Imports a benchmark as if it was the script that runs."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr("sys.argv", ["benchmark.py"])
    return importlib.import_module


def test_without_lerobot_the_layout_is_looked_at_field_by_field(
    benchmark: Callable[[str], Any], tmp_path: Path
) -> None:
    benchmark("lerobot_roundtrip").main(output=tmp_path / "result.json")
    found = json.loads((tmp_path / "result.json").read_text())
    assert (found["layout"]["fields"], found["layout"]["wrong"]) == (45, [])
    for part in ("opened_by_lerobot", "written_by_lerobot_312", "written_by_lerobot_v21", "gym_aloha"):
        assert found[part].startswith("not tried")


def test_parts_of_the_roundtrip_leave_the_others_as_they_are(benchmark: Callable[[str], Any], tmp_path: Path) -> None:
    roundtrip, output = benchmark("lerobot_roundtrip"), tmp_path / "result.json"
    recorded = {"gym_aloha": {"agrees": True}, "environments": {"lerobot": {"built_in_s": 540}}}
    output.write_text(json.dumps(recorded))
    roundtrip.main(output=output, parts=("layout",))
    found = json.loads(output.read_text())
    assert {name: found[name] for name in recorded} == recorded
    assert found["layout"]["agrees"]
    assert "opened_by_lerobot" not in found
    with pytest.raises(SystemExit, match="no part is called tea"):
        roundtrip.main(output=output, parts=("tea",))


def test_episodes_that_come_back_changed_do_not_agree(benchmark: Callable[[str], Any]) -> None:
    made = benchmark("_lerobot_episodes")
    wanted = [made.Rows.of(episode, BOX_CLOSE) for episode in made.made_episodes()]
    same = made.compared(wanted, wanted)
    assert same["agrees"]
    assert (same["frames"], same["action_error"], same["picture_error_mean"]["head"]) == (28, 0, 0)
    first = wanted[0]
    late = {name: np.roll(views, 1, axis=0) for name, views in first.frames.items()}
    for changed in (
        replace(first, frames=late),
        replace(first, action=first.action + 1e-3),
        replace(first, instruction="Open the lid."),
        replace(first, success=not first.success),
        replace(first, state=first.state[:-1]),
    ):
        assert not made.compared([changed, *wanted[1:]], wanted)["agrees"]


def test_an_environment_that_takes_too_long_is_given_up_and_begun_anew(
    benchmark: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environments, calls = benchmark("_environments"), list[list[str]]()

    def install(command: list[str], *, timeout: float, **_: Any) -> None:
        calls.append(command)
        if len(calls) == 1:
            raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(environments.venv, "create", lambda place, **_: Path(place).mkdir(parents=True, exist_ok=True))
    monkeypatch.setattr(environments.subprocess, "run", install)
    wanted = environments.Environment(name="theirs", installs=(("one==1", "two<3"), ("three",)))
    with pytest.raises(environments.NotBuilt, match="not built after 5 minutes, in `pip install one==1 two<3`"):
        environments.python_of(wanted, tmp_path, minutes=5)
    for _ in range(2):  # built once, then kept
        python = environments.python_of(wanted, tmp_path, minutes=5)
        assert python == tmp_path / "theirs/bin/python"
    assert [command[-1] for command in calls] == ["two<3", "two<3", "three"]
    assert environments.built_in_s(python) == 0


def test_a_python_that_is_not_there_is_named(benchmark: Callable[[str], Any], tmp_path: Path) -> None:
    environments = benchmark("_environments")
    wanted = environments.Environment(name="theirs", installs=(("one==1",),), python="3.99")
    with pytest.raises(environments.NotBuilt, match=r"Python 3\.99 was wanted for the environment 'theirs'"):
        environments.python_of(wanted, tmp_path, minutes=5)


def test_an_environment_of_another_python(
    benchmark: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environments, calls = benchmark("_environments"), list[list[str]]()

    def call(command: list[str], **_: Any) -> None:
        calls.append(command)
        (tmp_path / "theirs").mkdir(exist_ok=True)

    monkeypatch.setattr(environments.subprocess, "run", call)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    kept = tmp_path / "pyenv/versions/3.12.1/bin/python"
    kept.parent.mkdir(parents=True)
    kept.touch()
    wanted = environments.Environment(name="theirs", installs=(("one==1",),), python="3.12")
    python = environments.python_of(wanted, tmp_path, minutes=5)
    assert calls[0] == [str(kept), "-m", "venv", "--clear", str(tmp_path / "theirs")]
    assert calls[1][0] == str(python)


def test_files_of_the_aloha_task_fit_each_other(benchmark: Callable[[str], Any], tmp_path: Path) -> None:
    aloha = benchmark("_aloha")
    (tmp_path / "task.toml").write_text(aloha.task_text())
    (tmp_path / "mapping.toml").write_text(aloha.mapping_text())
    card, mapping = read_task(tmp_path / "task.toml"), read_mapping(tmp_path / "mapping.toml")
    assert [name.rsplit("_", 1)[0] for name in card.action_names] == aloha.NAMES
    assert set(mapping["joints"]) == {name for name in card.action_names if name.endswith("_m")}
    assert set(mapping["cameras"]) == set(card.cameras)


def test_policies_are_asked_one_by_one_and_kept(
    benchmark: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policies, output = benchmark("lerobot_policies"), tmp_path / "result.json"

    def run(command: list[Any], **_: Any) -> subprocess.CompletedProcess[str]:
        kind = command[-1]
        said = json.dumps({"lerobot": "0.6.1", kind: {"parameters": 5}})
        return subprocess.CompletedProcess(command, -9 if kind == "pi0" else 0, stdout=f"something else\n{said}\n")

    monkeypatch.setattr(policies.subprocess, "run", run)
    (tmp_path / "env").mkdir()
    output.write_text(json.dumps({"releases": {"0.4.4": {"act": "old"}, "0.6.1": {"diffusion": "kept"}}}))
    policies.main(python=tmp_path / "env/bin/python", policies=("act", "pi0"), output=output)
    found = json.loads(output.read_text())["releases"]
    assert found["0.4.4"] == {"act": "old"}
    died = "failed, its process ended with -9"
    assert found["0.6.1"] == {"lerobot": "0.6.1", "diffusion": "kept", "act": {"parameters": 5}, "pi0": died}
    with pytest.raises(SystemExit, match="no policy is called tea"):
        policies.main(policies=("tea",))


def test_the_page_of_results_shows_what_was_tried(benchmark: Callable[[str], Any], tmp_path: Path) -> None:
    roundtrip = {
        "layout": {"of": "lerobot 9", "agrees": True},
        "opened_by_lerobot": {"versions": {"lerobot": "9.1"}, "decoded_by_pyav": {"agrees": False}},
        "gym_aloha": "given up: too slow",
        "environments": {"lerobot": {"built_in_s": 5}},
    }
    acts = {"parameters": 2_000_000, "reloaded_differs_by": 0.0, "stored_differs_by": 3e-4}
    learns = {**acts, "rise": {"changed": 7, "frozen_changed": 0}}
    releases = {
        "9.1": {"python": "3.12.1", "lerobot": "9.1", "act": acts, "pi0": learns},
        "8.0": {"python": "3.11.7", "lerobot": "8.0", "act": acts, "pi0": "failed, ValueError: no\nmore of it"},
    }
    (tmp_path / "lerobot_roundtrip.json").write_text(json.dumps(roundtrip))
    (tmp_path / "lerobot_policies.json").write_text(json.dumps({"releases": releases}))
    benchmark("summary").main(results=tmp_path)
    page = (tmp_path / "README.md").read_text()
    for told in (
        "| layout | lerobot 9 | yes |",
        "| opened by lerobot | lerobot 9.1 | no |",
        "| policy | lerobot 9.1, Python 3.12.1 | lerobot 8.0, Python 3.11.7 |",
        "| pi0 | acts; 2.0 M parameters; reloaded differs by 0, stored by 0.0003; RISE moved 7 tensors, frozen ones 0 |"
        " failed, ValueError: no |",
    ):
        assert told in page, told
