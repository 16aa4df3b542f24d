"""What a card on the hub says was measured: read from recorded results, never typed, and never another checkpoint's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rise_gym._figure_text import ends_of, number_of
from rise_gym._lerobot import stored_task
from rise_gym._verification import MANIFEST_NAME, read_json
from rise_gym.episodes import dataset_summary
from rise_gym.errors import HubFault, InvalidCheckpoint, InvalidResults
from rise_gym.locations import HUB_ID, bundled_folder, resolve
from rise_gym.tasks import TASKS

_HEADING = "## Measured"
_EVALUATION = (
    "env_id", "policy", "episodes", "seed", "success_rate", "success_ci95", "score_mean", "score_ci95", "return_mean",
)  # fmt: skip
_RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"  # of a checkout; a wheel has none
_WORLD_MODEL = ("dynamics", "value", "imagined_vs_real")  # benchmarks of the bundled one
_FIRST_TASK = "box_close"  # of results that do not say it: there was no other when they were recorded


def measured(kind: str, folder: Path, results: Sequence[str | Path]) -> str:
    """Markdown of the figures in some JSON files; by default the recorded ones of a bundled checkpoint.

    Raises:
        InvalidResults: if a file is none of the kind, or its figures are of another checkpoint.
    """
    if kind == "dataset":
        raise InvalidResults("a dataset has no results to show; its card counts what is in it, so leave them out")
    given = [(str(path), row) for path in results for row in _of_each_task(_read(Path(path)))]
    found = given or _recorded(kind, folder)
    show = _world_model if kind == "world_model" else _policy
    return "\n\n".join(show(name, figures, folder) for name, figures in found) or "Nothing has been measured yet."


def with_measured(card: str, figures: str) -> str:
    """A card that ends with them, in the place of those that it may have had."""
    before = card.split(f"\n{_HEADING}\n")[0].rstrip()
    return f"{before}\n\n{_HEADING}\n\n{figures}\n".lstrip()


def licensed(card: str, licence: str | None) -> str:
    """A card that names a licence; without one, as it is: what somebody else recorded or trained is theirs to license.

    Raises:
        HubFault: if it is no identifier of the hub's.
    """
    if licence is None:
        return card
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", licence):
        raise HubFault(f"a licence is named as the hub does, `apache-2.0` or `cc-by-nc-sa-4.0` say, got {licence!r}")
    from huggingface_hub import CardData, RepoCard

    named = RepoCard(card)
    rest = {key: value for key, value in named.data.to_dict().items() if key != "license"}
    return f"---\n{CardData(license=licence, **rest).to_yaml()}\n---\n{named.text}"


def dataset_card(folder: Path) -> str:
    """The card of a dataset, from what is in it."""
    card, found = stored_task(folder), dataset_summary(folder)
    made_by = "\n".join(f"| {source} | {count} |" for source, count in sorted(found.sources.items()))
    seconds = found.frames / card.control_hz
    return (
        "---\ntask_categories: [robotics]\ntags: [LeRobot, rise_gym]\nconfigs:\n"
        "- config_name: default\n  data_files: data/*/*.parquet\n---\n"
        f"# {card.title}\n\n{card.instruction}\n\nA LeRobot v3.0 dataset.\n\n"
        f"| | |\n| --- | --- |\n| episodes | {found.episodes} |\n| successful | {found.successes} |\n"
        f"| frames | {found.frames} at {card.control_hz:g} Hz, {seconds / 60:.1f} minutes |\n"
        f"| cameras | {', '.join(card.cameras)} |\n\n| made by | episodes |\n| --- | --- |\n{made_by}\n\n"
        '```python\nfrom rise_gym.episodes import read_episodes\n\nepisodes = read_episodes("owner/name")\n```\n'
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidResults(f"{path} can't be read as JSON ({error}); give what `evaluate --json` wrote") from error
    if not isinstance(found, dict):
        raise InvalidResults(f"{path} must hold a JSON object, it holds a {type(found).__name__}")
    return found


def _recorded(kind: str, folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """What a checkout has recorded of what is bundled, for every task that it serves."""
    manifest = read_json(folder / MANIFEST_NAME)
    tasks = sorted({manifest["task"], *manifest.get("extra", {}).get("tasks", ())})
    served = [task for task in tasks if _is_bundled(folder, kind, task)]
    if kind == "world_model":
        paths = [path for name in _WORLD_MODEL for path in sorted(_RESULTS.glob(f"{name}*.json"))]
        found = [(path, row) for path in paths for row in _of_each_task(_read(path))]
        found = [(path, row) for path, row in found if row.get("benchmark") in _WORLD_MODEL and not row.get("quick")]
        found = [(path, row) for task in served for path, row in found if row.get("task", _FIRST_TASK) == task]
    else:
        paths = [path for task in served for path in sorted((_RESULTS / "main_table").glob(f"{task}_*.json"))]
        found = [(path, _read(path)) for path in paths]
        found = [(path, row) for path, row in found if _is_of(folder, row.get("policy"))]
    return [(path.relative_to(_RESULTS.parents[1]).as_posix(), row) for path, row in found]


def _of_each_task(recorded: dict[str, Any]) -> list[dict[str, Any]]:
    """A record of several tasks, by their titles, as one of each that is finished; any other as it is."""
    if not isinstance(recorded.get("tasks"), dict):
        return [recorded]
    rest = {key: value for key, value in recorded.items() if key != "tasks"}
    names = {card.title: name for name, card in TASKS.items()}
    return [
        {**rest, "task": names[title], **found}
        for title, found in recorded["tasks"].items()
        if title in names and not found.get("unfinished")
    ]


def _is_bundled(folder: Path, kind: str, task: str) -> bool:
    """Whether it is what the package has for a task, of its own or shared with others."""
    if any(_same(folder, one) for one in bundled_folder(task).glob("*")):
        return True
    return kind == "world_model" and _is_of(folder, f"bundled:{task}/world_model")


def _policy(name: str, figures: dict[str, Any], folder: Path) -> str:
    if missing := [key for key in _EVALUATION if key not in figures]:
        raise InvalidResults(
            f"{name} lacks {', '.join(missing)}; a policy's figures are what `rise-gym evaluate ... --json` wrote"
        )
    _check(name, figures["policy"], folder, "evaluate")
    low, high = figures["success_ci95"]
    worst, best = figures["score_ci95"]
    rows = (
        f"| success | {figures['success_rate']:.1%} | {low:.1%} to {high:.1%} |\n"
        f"| score of 10 | {figures['score_mean']:.2f} | {worst:.2f} to {best:.2f} |\n"
        f"| return | {figures['return_mean']:.3f} | |"
    )
    env_id = figures["env_id"].removeprefix("rise_gym:")
    told = f", on a robot, judged by: {figures['robot']['judged_by'] or 'nobody'}" if "robot" in figures else ""
    return (
        f"`{env_id}`{told}, {figures['episodes']} episodes from seed {figures['seed']}{_commit_of(figures)}:\n\n"
        f"| figure | | 95 % |\n| --- | --- | --- |\n{rows}"
    )


def _world_model(name: str, figures: dict[str, Any], folder: Path) -> str:
    if figures.get("benchmark") in _WORLD_MODEL:
        _check(name, f"bundled:{figures.get('task', _FIRST_TASK)}/world_model", folder, "compare")
    elif "agreement" in figures and "world_model" in figures:
        _check(name, figures["world_model"], folder, "compare")
    else:
        raise InvalidResults(f"{name} has no figures of a world model; those are what `rise-gym compare --json` wrote")
    rows = [f"| {text} | {value:.3g} | |" for text, value in _of_frames(figures)]
    for path, value, ends in _with_intervals(figures):
        told = "" if ends is None else f"{ends[0]:.3g} to {ends[1]:.3g}"  # of two policies there is no interval
        rows.append(f"| {path.replace('_', ' ')} | {value:.3g} | {told} |")
    what = figures.get("benchmark", "imagined_vs_real").replace("_", " ")
    what += f" of {TASKS[figures['task']].title}" if figures.get("task") in TASKS else ""
    amount = "".join(f", {figures[name]} {name}" for name in ("episodes", "starts") if name in figures)
    return (
        f"{what[0].upper()}{what[1:]}{amount}{_commit_of(figures)}:\n\n| figure | | 95 % |\n| --- | --- | --- |\n"
        + "\n".join(rows)
    )


def _of_frames(figures: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """How near imagined frames are to the true ones, which has no interval: the first chunk's, beside doing nothing."""
    for outcome, by_name in figures.get("quality", {}).items():
        for name in ("imagined", "last_frame"):
            decibels = by_name[name]["chunk_1"]["psnr_db"]["mean"]
            yield f"PSNR of a chunk in dB, {outcome}, {name.replace('_', ' ')}", decibels
    if "shuffled_actions" in figures:
        yield "error with the actions of other moments, times that with its own", figures["shuffled_actions"]["ratio"]


def _with_intervals(figures: dict[str, Any], path: str = "") -> Iterator[tuple[str, float, tuple[float, float] | None]]:
    """Every number that an interval was asked of, with its path; None where none could be computed."""
    for key, found in figures.items():
        if isinstance(found, dict):
            if {"value", "ci95"} <= set(found):
                value = number_of(found)
                if value is not None:
                    yield f"{path}{key}", value, ends_of(found)
            else:
                yield from _with_intervals(found, f"{path}{key}, ")


def _commit_of(figures: dict[str, Any]) -> str:
    commit = figures.get("commit")
    if commit is None:  # measured by an installed package, outside of any checkout
        return ""
    changed = " with uncommitted changes" if commit.endswith("-dirty") else ""
    return f", measured at commit {commit[:12]}{changed}"


def _check(name: str, subject: object, folder: Path, command: str) -> None:
    if not _is_of(folder, subject):
        raise InvalidResults(
            f"{name} holds figures of {subject!r}, which is not what lies in {folder}; measure that with "
            f"`rise-gym {command}` from where both are, and give the JSON that it writes"
        )


def _is_of(folder: Path, subject: object) -> bool:
    """Whether a name stands for the weights in a folder; nothing is downloaded to find out."""
    text = str(subject)
    if HUB_ID.fullmatch(text) and not Path(text).is_dir():
        return False
    try:
        return _same(folder, resolve(text))
    except InvalidCheckpoint:
        return False


def _same(one: Path, other: Path) -> bool:
    """Whether two checkpoints have the same files, cards apart."""
    return (other / MANIFEST_NAME).is_file() and _digests(one) == _digests(other)


def _digests(folder: Path) -> dict[str, str]:
    listed = read_json(folder / MANIFEST_NAME).get("sha256", {})
    return {name: digest for name, digest in listed.items() if name != "README.md"}
