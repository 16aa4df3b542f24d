"""The `rise-gym` command: the one place where world model, environments and agents are put together.

Long work shows its progress, can be interrupted with Ctrl-C at any moment, and goes on when the same command is given
again. Each command is a module of `rise_gym.commands`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

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


def main() -> None:
    """Entry point of `rise-gym`."""
    commands: dict[str, Callable[..., None]] = {
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
    try:
        tyro.extras.subcommand_cli_from_dict(commands, prog="rise-gym", description=__doc__)
    except RiseGymError as error:
        print(f"rise-gym: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nrise-gym: interrupted; what was done is saved, the same command goes on from there", file=sys.stderr)
        sys.exit(130)
