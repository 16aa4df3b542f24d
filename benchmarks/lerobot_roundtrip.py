"""Does the real lerobot open what this project writes, and is what lerobot writes read here?

    python benchmarks/lerobot_roundtrip.py              # the fields, against the layout that lerobot 0.4.4 publishes
    python benchmarks/lerobot_roundtrip.py --install    # lerobot itself, in environments of its own
    python benchmarks/lerobot_roundtrip.py --install --parts opened_by_lerobot_312   # some of it; the rest stays

lerobot cannot be installed beside what this project pins, so `--install` builds environments: one for the newest that
takes Python 3.11 (8 GB; nine minutes beside other work in the recorded result), one for the newest of all, which wants
3.12 (6 GB), one for the last that writes v2.1 (7 GB), and one for gym-aloha. They are kept in `--environments`; nothing
is installed into this project's own. Naming torch and torchvision first is what makes it quick: `pip install lerobot`
alone was once given up after nine minutes of looking for versions that fit.

Three ways are gone: episodes written here are opened by lerobot, with both of its decoders, and its `lerobot-train`
takes two steps on them; episodes that lerobot records, v3.0 and v2.1, are imported here; and so is ALOHA, two simulated
arms of gym-aloha, recorded by its own environment, written by lerobot, and trained on here for some steps.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _common as common
import tyro
from _aloha import aloha_imported
from _environments import (
    ALOHA,
    LEROBOT,
    LEROBOT_312,
    LEROBOT_V21,
    Environment,
    NotAnswered,
    NotBuilt,
    answer,
    built_in_s,
    ffmpeg_libraries,
    python_of,
    spoken,
)
from _lerobot_episodes import LENGTHS, Rows, compared, made_episodes, rows_of_arrays, save_for_lerobot
from _lerobot_fields import fields
from _lerobot_training import STEPS, training_command

from rise_gym.episodes import read_episodes, write_episodes
from rise_gym.errors import RiseGymError
from rise_gym.evaluation import write_report_json
from rise_gym.importing import import_dataset, mapped, open_source
from rise_gym.tasks import BOX_CLOSE
from rise_gym.types import Episode

INSIDE = Path(__file__).with_name("_lerobot_inside.py")
LAYOUT = "lerobot 0.4.4, v3.0"
NOT_TRIED = "not tried: --install was not given"
DECODERS = ("torchcodec", "pyav")


def main(
    *,
    output: Path | None = None,
    install: bool = False,
    parts: tuple[str, ...] = (),
    environments: Path = Path("runs/environments"),
    minutes: float = 20.0,
) -> None:
    """Write a dataset and look at it as lerobot does.

    Args:
        output: the result; default: `benchmarks/results/lerobot_roundtrip.json`, or none without `install`.
        install: try with lerobot itself, in environments of its own.
        parts: names of what is to be tried, as in the result; what it holds of others stays. Default: everything.
        environments: where these are built, and kept.
        minutes: to give up building one of them after.
    """
    target = output or (common.RESULTS / "lerobot_roundtrip.json" if install else None)
    python, result, built = Builder(environments, minutes), dict[str, Any](), dict[str, Any]()
    with tempfile.TemporaryDirectory() as scratch:
        works = _parts(Path(scratch), python)
        if unknown := set(parts) - set(works):
            raise SystemExit(f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(works)}")
        if parts and target is not None and target.is_file():
            before = json.loads(target.read_text())
            result, built = {name: before[name] for name in works if name in before}, before["environments"]
        for name in parts or works:
            result[name] = tried(works[name]) if install or name == "layout" else NOT_TRIED
            if target is not None:  # after each part, for the last one takes long
                write_report_json(target, {**result, "environments": {**built, **python.described()}})
    print(json.dumps(result, indent=2))
    if not _agree(result):
        sys.exit(1)


def _parts(scratch: Path, python: Builder) -> dict[str, Callable[[], dict[str, Any]]]:
    """What is tried, in turn."""
    folder, episodes = scratch / "dataset", made_episodes()
    write_episodes(folder, episodes, BOX_CLOSE)
    return {
        "layout": lambda: laid_out(folder, episodes),
        "opened_by_lerobot": lambda: opened(folder, episodes, python(LEROBOT)),
        "written_by_lerobot": lambda: written(episodes, python(LEROBOT), scratch / "v30"),
        "opened_by_lerobot_312": lambda: opened(folder, episodes, python(LEROBOT_312)),
        "written_by_lerobot_312": lambda: written(episodes, python(LEROBOT_312), scratch / "v30_312"),
        "written_by_lerobot_v21": lambda: written(episodes, python(LEROBOT_V21), scratch / "v21"),
        "gym_aloha": lambda: aloha_imported(python(ALOHA), python(LEROBOT), INSIDE, scratch),
    }


def laid_out(folder: Path, episodes: list[Episode]) -> dict[str, Any]:
    """Whether a dataset has the fields of the published layout; needs no lerobot."""
    checks = fields(folder, LENGTHS, len({episode.instruction for episode in episodes}))
    wrong = sorted(name for name, holds in checks.items() if not holds)
    return {"of": LAYOUT, "fields": len(checks), "wrong": wrong, "agrees": not wrong}


class Builder:
    """Builds each environment when it is first asked for."""

    def __init__(self, folder: Path, minutes: float) -> None:
        self.folder, self.minutes = folder, minutes
        self._pythons: dict[Environment, Path] = {}
        self._failures: dict[Environment, NotBuilt] = {}

    def __call__(self, environment: Environment) -> Path:
        """Its Python. Raises NotBuilt: if it can't be built in time, without trying twice."""
        if environment in self._failures:
            raise self._failures[environment]
        if environment not in self._pythons:
            try:
                self._pythons[environment] = python_of(environment, self.folder, self.minutes)
            except NotBuilt as reason:
                self._failures[environment] = reason
                raise
        return self._pythons[environment]

    def described(self) -> dict[str, Any]:
        """What was installed, and how long that took."""
        return {
            environment.name: {"installed": [" ".join(part) for part in environment.installs],
                               "built_in_s": built_in_s(python)}
            for environment, python in self._pythons.items()
        }  # fmt: skip


def tried(work: Callable[[], dict[str, Any]]) -> dict[str, Any] | str:
    """What came of it; why it could not be tried; or how it failed."""
    try:
        return work()
    except NotBuilt as reason:
        return str(reason)
    except (NotAnswered, RiseGymError) as reason:
        return {"agrees": False, "failed": str(reason)}


def opened(folder: Path, episodes: list[Episode], python: Path) -> dict[str, Any]:
    """What lerobot reads of a dataset that was written here, and whether it can train on it."""
    wanted, arrays = [Rows.of(episode, BOX_CLOSE) for episode in episodes], folder.with_name("arrays")
    told = answer([python, INSIDE, "read", folder, arrays, *DECODERS], variables=ffmpeg_libraries(python))
    found = {name: rows_of_arrays(arrays / f"{name}.npz", BOX_CLOSE.cameras) for name in DECODERS}
    decoded = {f"decoded_by_{name}": compared(rows, wanted) for name, rows in found.items()}
    return {**told, **decoded, "lerobot_train": _trained(folder, python)}


def _trained(folder: Path, python: Path) -> dict[str, Any]:
    """Two steps of lerobot's own training command, of a small ACT."""
    command = training_command(python, folder, folder.with_name("act"))
    printed = spoken(command, minutes=20, variables=ffmpeg_libraries(python))
    losses = [float(text) for text in re.findall(r"step:\S+ .*?loss:(\S+)", printed)]
    return {"policy": "act", "losses": losses, "agrees": len(losses) == STEPS}


def written(episodes: list[Episode], python: Path, scratch: Path) -> dict[str, Any]:
    """What is imported here of a dataset that lerobot recorded; one camera is kept as pictures, two as video."""
    save_for_lerobot(scratch / "episodes", episodes, still=BOX_CLOSE.cameras[-1])
    told = answer([python, INSIDE, "write", scratch / "episodes", scratch / "dataset"])
    source = open_source(scratch / "dataset")
    import_dataset(source, mapped(source, BOX_CLOSE, {}), BOX_CLOSE, scratch / "ours")
    found = [Rows.of(episode, BOX_CLOSE) for episode in read_episodes(scratch / "ours")]
    return {**told, **compared(found, [Rows.of(episode, BOX_CLOSE) for episode in episodes])}


def _agree(result: Any) -> bool:
    """Whether nothing that was compared differs; what could not be tried is no difference."""
    if isinstance(result, dict):
        return bool(result.get("agrees", True)) and all(_agree(part) for part in result.values())
    return True


if __name__ == "__main__":
    tyro.cli(main)
