"""The command `rise-gym` as a whole: what it says of its commands, and when one is interrupted."""

from __future__ import annotations

import sys

import pytest

from rise_gym import cli


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["rise-gym", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def test_the_list_of_all_commands_fits_on_a_screen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--help") == 0
    listed = capsys.readouterr().out
    assert all(f"• {command} " in listed for command in cli.COMMANDS)
    assert len(listed.splitlines()) < 50


def test_the_help_of_a_command_says_all(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "train", "--help") == 0
    told = capsys.readouterr().out
    assert "Train one part from recorded datasets." in told
    assert "--across-tasks" in told.split("options")[0]


@pytest.mark.parametrize(("command", "goes_on"), [("improve", True), ("evaluate", False), ("doctor", False)])
def test_an_interrupted_command_is_said_to_go_on_only_if_it_does(
    command: str, goes_on: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.COMMANDS, command, interrupted)
    assert run(monkeypatch, command) == 130
    told = capsys.readouterr().err
    assert "interrupted" in told
    assert ("goes on from there" in told) == goes_on
