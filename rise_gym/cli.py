"""The `rise-gym` command: the one place where world model, environments and agents are put together.

Long work shows its progress, can be interrupted with Ctrl-C at any moment, and goes on when the same command is given
again. Each command is a module of `rise_gym.commands`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Union

import tyro

from rise_gym.commands.baseline import baseline
from rise_gym.commands.collect import collect
from rise_gym.commands.compare import compare
from rise_gym.commands.demo import demo
from rise_gym.commands.doctor import doctor
from rise_gym.commands.evaluate import evaluate
from rise_gym.commands.import_data import import_data
from rise_gym.commands.improve import improve
from rise_gym.commands.inspect import inspect
from rise_gym.commands.push import push
from rise_gym.commands.report import report
from rise_gym.commands.serve import serve
from rise_gym.commands.train import train
from rise_gym.errors import RiseGymError

_DESCRIPTION = """A robot policy that improves inside its own imagination.

Long work shows its progress, can be interrupted with Ctrl-C at any moment, and goes on when the same command is given
again. `rise-gym COMMAND --help` tells all about one command.
"""
COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "collect": collect,
    "import": import_data,
    "inspect": inspect,
    "train": train,
    "improve": improve,
    "baseline": baseline,
    "evaluate": evaluate,
    "compare": compare,
    "report": report,
    "serve": serve,
    "push": push,
    "doctor": doctor,
}
_GOES_ON = {"demo", "collect", "import", "train", "improve", "baseline"}
"""Those that keep what is done, so that the same command goes on from there; the others begin anew."""


def main() -> None:
    """Entry point of `rise-gym`."""
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    try:
        tyro.cli(_any_of(COMMANDS, briefly=command not in COMMANDS), prog="rise-gym", description=_DESCRIPTION)
    except RiseGymError as error:
        print(f"rise-gym: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        kept = "what was done is saved, the same command goes on from there"
        print(f"\nrise-gym: interrupted{'; ' + kept if command in _GOES_ON else ''}", file=sys.stderr)
        sys.exit(130)


def _any_of(commands: Mapping[str, Callable[..., None]], *, briefly: bool) -> Any:
    """What tyro reads the command line as; `briefly`, for the list of all, a command is told by its first sentence."""
    kinds = [
        Annotated[
            Any,
            tyro.conf.subcommand(name, constructor=command, description=_first_paragraph(command) if briefly else None),
        ]
        for name, command in commands.items()
    ]
    return Union[tuple(kinds)]  # noqa: UP007 - of as many types as there are commands


def _first_paragraph(command: Callable[..., None]) -> str:
    return (command.__doc__ or "").split("\n\n")[0]
