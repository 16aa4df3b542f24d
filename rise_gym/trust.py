"""How far a dream can be trusted: what was measured of it, read from recorded results or from what is bundled.

`rise_gym.report` shows it; nothing is measured in here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rise_gym._lerobot import write_atomically
from rise_gym._verdicts import Verdict, verdicts
from rise_gym.errors import InvalidResults
from rise_gym.locations import bundled_folder
from rise_gym.tasks import BOX_CLOSE, task_card

__all__ = ["TrustFigures", "Verdict", "bundled_trust", "load_trust", "read_results", "save_trust", "verdicts"]

Record = Mapping[str, Any]

TRUST_NAME = "trust.json"
_BUNDLED_NOTE = (
    "Measured before, of the models that are bundled with this package, by the commands that are named at the end; "
    "nothing of it was measured for this page."
)
_SIDES = ("true", "imagined")
_FIGURES = ("success", "score", "episode_return", "gain")
_HOLDS = {
    "imagined_vs_real": ("tasks",),
    "calibration": ("success", "false_success", "progress"),
    "drift": ("drift",),
    "deviations": ("episodes", "moments", "after_ticks"),
    "uncertainty": ("errors", "worst_share", "level"),
    "exploit": ("settings_measured",),
    "action_fidelity": ("tasks",),
    "dynamics": ("shuffled_actions",),
    "improvement": ("policies", "paired"),
    "rounds": ("policies", "paired"),
}
"""What a recorded file has to hold to be shown, by its name; the benchmark of that name writes it."""
_FILES = {"compared": "imagined_vs_real", "fidelity": "action_fidelity", "learnt": "improvement or reinforcement"}
"""Where `TrustFigures` come from, where it is no file of the same name."""
_HOLDS_OF_A_TASK = {"imagined_vs_real": ("policies", "starts", "success"), "action_fidelity": ("starts", "commands")}
"""And of each task, where one file is of all of them."""
_CELL = ("task", "row", "episodes", "success_rate", "success_ci95")


@dataclass(frozen=True, kw_only=True)
class TrustFigures:
    """What was measured of a dream, as `rise-gym compare` and the benchmarks record it; None was not measured.

    Attributes:
        compared: of policies: `policies`, `agreement`, `episodes`, `doubts`, see `rise_gym.comparison`; and
            `false_success`, if it was counted.
        calibration: `success`, `false_success` and `progress`, see `rise_gym.reliability`.
        drift: `drift`, and `ranking` if it was measured, see `rise_gym.drift`.
        deviations: `episodes`, `moments` and `after_ticks`, see `rise_gym.deviations`.
        uncertainty: `errors`, `worst_share` and `level`, see `rise_gym.uncertainty`; and `cost`, if it was timed.
        exploit: `settings_measured`, see `rise_gym.agents.adversary`.
        fidelity: `starts` and `commands`, see `rise_gym.fidelity`.
        dynamics: `shuffled_actions`, and `counterfactual` if it was measured, of one chunk ahead.
        learnt: what learnt in the dream and played in the replica: rows of `name`, `episodes`, `success_rate`,
            `success_ci95`, and `points` of success above the base with `points_ci95`, None for the base itself.
        rounds: the same rows of one and of two rounds, and `paired` differences between them.
        origins: where figures come from, by what they are of.
        note: what a reader has to know of them all.
    """

    compared: Record | None = None
    calibration: Record | None = None
    drift: Record | None = None
    deviations: Record | None = None
    uncertainty: Record | None = None
    exploit: Record | None = None
    fidelity: Record | None = None
    dynamics: Record | None = None
    learnt: Sequence[Record] = ()
    rounds: Record | None = None
    origins: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


def read_results(folder: str | Path, task: str = BOX_CLOSE.name) -> TrustFigures:
    """What a folder of recorded results (`benchmarks/results`, or one like it) says of the dream of a task.

    Files that are not there were not measured; of those that are, what is not known here is left aside.

    Raises:
        InvalidResults: if nothing of that task is recorded there, or a file is damaged or lacks what it has to hold.
    """
    return _Folder(Path(folder), task).trust()


def save_trust(path: str | Path, trust: TrustFigures) -> None:
    """Write figures as a small file, each rounded to four digits.

    Raises:
        SaveFailed: if it can't be written.
    """
    write_atomically(Path(path), (json.dumps(_rounded(asdict(trust)), separators=(",", ":")) + "\n").encode())


def load_trust(path: str | Path) -> TrustFigures:
    """Read what `save_trust` wrote.

    Raises:
        InvalidResults: if the file is missing, damaged, or none of these.
    """
    try:
        return TrustFigures(**_read(Path(path)))
    except TypeError as error:
        raise InvalidResults(f"{path} is not what `rise_gym.trust.save_trust` writes ({error})") from error


def bundled_trust(task: str) -> TrustFigures | None:
    """What was measured of the models that are bundled for a task; None if nothing is recorded."""
    path = bundled_folder(task) / TRUST_NAME
    return replace(load_trust(path), note=_BUNDLED_NOTE) if path.is_file() else None


class _Folder:
    """A folder of records, of which those of one task are read; remembers where each was from."""

    def __init__(self, folder: Path, task: str) -> None:
        self.folder, self.task = folder, task
        self.origins: dict[str, str] = {}

    def trust(self) -> TrustFigures:
        if not self.folder.is_dir():
            raise InvalidResults(f"{self.folder} is no folder; give one of recorded results, as benchmarks/results is")
        parts: dict[str, Callable[[], Any]] = {
            "compared": self._compared,
            **{name: partial(self._known, name, *optional) for name, optional in _SHOWN.items()},
            "fidelity": lambda: self._of_tasks("action_fidelity", self.task),
            "learnt": lambda: [*self._improved(), *self._reinforced()],
            "rounds": self._rounds,
        }
        found = {name: self._told(name, part) for name, part in parts.items()}
        if not any(found.values()):
            wanted = ", ".join(f"{name}.json" for name in _HOLDS)
            raise InvalidResults(
                f"{self.folder} holds no results of {self.task!r}; some of {wanted} or a folder reinforcement were "
                "wanted, which the benchmarks of these names write (`make bench`)"
            )
        return TrustFigures(**found, origins=self.origins)

    def _told(self, name: str, part: Callable[[], Any]) -> Any:
        """A part of `TrustFigures`, of which all can be told that a page tells.

        Raises:
            InvalidResults: names the file, which a reader would miss who stumbles over its figures later.
        """
        from rise_gym._trust_sections import sections

        try:
            found = part()
            alone = TrustFigures(**{name: found})
            verdicts(alone), list(sections(alone))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            if isinstance(error, InvalidResults):
                raise
            raise InvalidResults(
                f"{self.folder}: what is recorded of {_FILES.get(name, name)} is damaged inside ({error!r}); measure "
                "it again, or take it away"
            ) from error
        return found

    def _record(self, name: str) -> Record | None:
        """The file of that name, or of that name and the task's, if it is of the task."""
        for path in (self.folder / f"{name}_{self.task}.json", self.folder / f"{name}.json"):
            if path.is_file():
                found = _read(path, _HOLDS[name])
                if found.get("task", BOX_CLOSE.name) == self.task:
                    self.origins[name.replace("_", " ")] = _origin(found)
                    return found
        return None

    def _known(self, name: str, *optional: str) -> Record | None:
        found = self._record(name)
        return None if found is None else {key: found[key] for key in (*_HOLDS[name], *optional) if key in found}

    def _of_tasks(self, name: str, key: str) -> Record | None:
        """Of one file for all tasks; what is not finished yet is as if it was not there."""
        path = self.folder / f"{name}.json"
        if not path.is_file():
            return None
        recorded = _read(path, _HOLDS[name])
        found: Record | None = _checked(recorded["tasks"], f"{path}, tasks").get(key)
        if found is None or found.get("unfinished"):
            return None
        there = {part: value for part, value in found.items() if value not in ([], {})}  # of no policy nothing is told
        _checked(there, f"{path}, {key}", _HOLDS_OF_A_TASK[name])
        self.origins[name.replace("_", " ")] = _origin(recorded)
        return found

    def _compared(self) -> Record | None:
        found = self._of_tasks("imagined_vs_real", task_card(self.task).title)
        if found is None:
            return None
        agreement = {name: found[name] for name in _FIGURES if name in found}
        extra = {"false_success": found["false_success"]} if "false_success" in found else {}
        return _comparison(found["policies"], agreement, found["starts"], extra)

    def _improved(self) -> Iterator[Record]:
        """RISE and what it is held against."""
        found = self._record("improvement")
        if found is None:
            return
        for name, row in found["policies"].items():
            above = found["paired"].get(f"{name} - base")
            yield _row("RISE" if name == "rise" else name, row, above, note=row.get("note", ""))

    def _reinforced(self) -> Iterator[Record]:
        """Algorithms of Stable-Baselines3 against the base, on the same seeds."""
        cells = [_read(path, _CELL) for path in sorted((self.folder / "reinforcement").glob("*.json"))]
        cells = [cell for cell in cells if cell["task"] == self.task]
        base = next((cell for cell in cells if cell["row"] == "base"), None)
        for cell in cells:
            if cell is not base:
                self.origins[_title(cell["row"])] = _origin({"command": "python benchmarks/reinforcement.py", **cell})
                yield _row(_title(cell["row"]), cell, _above(cell, base), note=_learning(cell))

    def _rounds(self) -> Record | None:
        found = self._record("rounds")
        if found is None:
            return None
        rows = [_row(name, row, None, note=row.get("note", "")) for name, row in found["policies"].items()]
        return {"rows": rows, "paired": found["paired"]}


_SHOWN = {
    "calibration": (),
    "drift": ("ranking",),
    "deviations": (),
    "uncertainty": ("cost",),
    "exploit": (),
    "dynamics": ("counterfactual",),
}
"""Files that are shown as they are, with what else is shown if it is there."""


def _comparison(rows: Sequence[Record], recorded: Mapping[str, Record], episodes: int, extra: Record) -> dict[str, Any]:
    """As `rise-gym compare` has it."""
    from rise_gym.comparison import doubts

    return {
        "policies": [
            {key: row[key] for key in ("policy", "noise", "exploits", *_SIDES) if key in row} for row in rows
        ],
        "agreement": recorded,
        "episodes": episodes,
        "doubts": doubts(len(rows), episodes, recorded.get("success")),
        **extra,
    }  # fmt: skip


def _row(name: str, found: Record, above: Record | None, *, note: str) -> dict[str, Any]:
    return {
        "name": name,
        "note": note,
        **{key: found[key] for key in ("episodes", "success_rate", "success_ci95")},
        "points": None if above is None else above["success_points"],
        "points_ci95": None if above is None else above["success_points_ci95"],
    }


def _above(cell: Record, base: Record | None) -> dict[str, Any] | None:
    """By how many points of success a cell is above the base on the same seeds; None if that can't be told."""
    from rise_gym.metrics import mean_interval

    if base is None or not (cell.get("successes") and base.get("successes")):
        return None
    if cell.get("seed") != base.get("seed"):
        return None
    count = min(len(cell["successes"]), len(base["successes"]))
    above = 100 * (np.array(cell["successes"][:count], float) - np.array(base["successes"][:count], float))
    return {"success_points": float(above.mean()), "success_points_ci95": list(mean_interval(above))}


def _title(row: str) -> str:
    algorithm, _, residual = row.partition("_")
    return f"{algorithm.upper()} as a residual" if residual else f"{algorithm.upper()} from scratch"


def _learning(cell: Record) -> str:
    steps = cell.get("learning", {}).get("steps")
    return f"{steps} imagined chunks judged" if steps else ""


def _origin(found: Record) -> str:
    """Which command, at which commit, on what."""
    commit = str(found.get("commit") or "unknown")
    changed = " with uncommitted changes" if commit.endswith("-dirty") else ""
    cpus = found.get("machine", {}).get("cpus", "?")
    care = "A miniature, its figures mean little: " if found.get("quick") else ""
    return f"{care}{found.get('command', 'command unknown')}; commit {commit[:12]}{changed}; {cpus} CPU cores"


def _read(path: Path, wanted: Sequence[str] = ()) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InvalidResults(f"{path} can't be read as JSON ({error}); measure it again, or take it away") from error
    return _checked(found, str(path), wanted)


def _checked(found: Any, where: str, wanted: Sequence[str] = ()) -> dict[str, Any]:
    """What was read, if it is a JSON object that has what is wanted."""
    if not isinstance(found, dict):
        raise InvalidResults(f"{where} must hold a JSON object, it holds a {type(found).__name__}")
    if missing := [key for key in wanted if key not in found]:
        raise InvalidResults(f"{where} lacks {', '.join(missing)}; measure it again, or take it away")
    return found


def _rounded(figures: Any) -> Any:
    """Floats with four digits; None where one is not a number, which JSON has no word for."""
    if isinstance(figures, Mapping):
        return {name: _rounded(value) for name, value in figures.items()}
    if isinstance(figures, list | tuple):
        return [_rounded(value) for value in figures]
    if isinstance(figures, float):
        return float(f"{figures:.4g}") if math.isfinite(figures) else None
    return figures
