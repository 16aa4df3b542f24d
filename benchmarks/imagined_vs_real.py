"""Do policies rank in the dream as they do in the replica? Imagined against true figures of more than 20 of them.

    python benchmarks/imagined_vs_real.py [--quick] [--more control runs/c4/checkpoint ...]

Checkpoints, noise, temperatures, late and mixed policies, and some that exploit the dream on purpose. Whole episodes
from matched starts: each is dreamt from the first frames that the replica shows for its seed. And, as RISE uses the
dream, two chunks from states in the middle of episodes. Pearson, Spearman and MMRV over policies, intervals from a
bootstrap over policies. The flat figures of a task are those of its *success rate*, or, where dreams are not meant to
begin at the beginning (`WorldModelConfig.start_kind`), of its gain of two chunks; the others stand beside them. The
true score counts whole stages, the imagined one is ten times the progress.

The record is written after every policy, and those that it holds already, of the same weights and settings, are not
measured again: an interrupted run goes on, on another machine too if the record came along. `--measured-only` sums up
what is there. Tasks in the record that are not measured now stay in it, and so do policies that were measured with
`--more` before, with the same weights and settings; where their weights are not here any more, with the same settings.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import _common as common
import gymnasium
import numpy as np
import torch
import tyro
from _policies import Quality, VariedAgent, qualities
from _short_horizon import ShortHorizon
from improvement import fingerprint
from rich.progress import track

from rise_gym._trust_plots import FIGURES, scatter_plot
from rise_gym._verification import MANIFEST_NAME
from rise_gym.checkpoints import load_checkpoint
from rise_gym.collection import FIRST_EVALUATION_SEED, Factory
from rise_gym.commands._shared import env_id_of
from rise_gym.comparison import agreement, doubts, dreamt_episodes, first_windows, means
from rise_gym.envs.vector import ImaginedVectorEnv
from rise_gym.errors import InvalidCheckpoint
from rise_gym.evaluation import EpisodeResult, play, wilson_interval, write_report_json
from rise_gym.locations import resolve
from rise_gym.reliability import false_success
from rise_gym.starts import Starts
from rise_gym.tasks import task_card
from rise_gym.world_model import CompositionalWorldModel

FIRST_SEED = FIRST_EVALUATION_SEED + 30_000
QUICK_POLICIES = ("rise, noise 1", "rise", "rise, climbing")
STATISTICS = ("pearson", "spearman", "mmrv")
Cell = dict[str, Any]
_FLAT = {
    "success": "success rate, of a policy over the matched starts",
    "gain": "gain of two chunks, of a policy over the matched states",
}
_OF_NO_CONSEQUENCE = ("README.md", "model_index.json", "progress_uncertainty")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured of every policy: `starts` whole episodes, and two chunks from each of `states` states.

    `dream_s` cuts dreams short, in a miniature only.
    """

    task: str = common.TASK
    world_model: str = common.WORLD_MODEL
    base: str = common.BASE
    rise: str = common.IMPROVED
    more: dict[str, str] = field(default_factory=dict)
    starts: int = 50
    states: int = 60
    processes: int = 2
    dream_s: float | None = None

    @property
    def figure(self) -> str:
        """What a dream of this task is good for: whole episodes, if it begins where they do."""
        saved = load_checkpoint(resolve(self.world_model), kind="world_model").extra
        return "success" if saved.get("start_kind", "initial") == "initial" else "gain"

    @property
    def seeds(self) -> list[int]:
        return list(range(FIRST_SEED, FIRST_SEED + self.starts))


def main(
    *,
    quick: bool = False,
    output: Path | None = None,
    task: str = common.TASK,
    world_model: str | None = None,
    base: str | None = None,
    rise: str | None = None,
    more: dict[str, str] | None = None,
    starts: int = 50,
    states: int = 60,
    processes: int = 2,
    measured_only: bool = False,
) -> None:
    """Measure and record.

    Args:
        quick: a miniature to see that it works; its figures mean little.
        output: where to write the JSON; a scatter plot (PNG) lies beside it.
        task: snake-case name.
        world_model, base, rise: a folder or bundled name each; default: those of the task.
        more: further policies: a name for the table, then a folder or bundled name.
        starts: matched whole episodes of every policy. states: matched states in the middle of episodes.
        processes: how many replicas run side by side.
        measured_only: measure nothing, sum up what the record holds.
    """
    plan = Plan(
        task=task, world_model=world_model or f"bundled:{task}/world_model", base=base or f"bundled:{task}/base",
        rise=rise or f"bundled:{task}/rise", more=more or {}, starts=starts, states=states, processes=processes,
    )  # fmt: skip
    policies = qualities(plan.base, plan.rise, plan.more)
    if quick:
        plan = Plan(**{**asdict(plan), "starts": 2, "states": 2, "processes": 1, "dream_s": 4.0})
        policies = [quality for quality in policies if quality.name in QUICK_POLICIES]
    target = output or common.RESULTS / f"imagined_vs_real{'_quick' if quick else ''}.json"
    title, record = task_card(task).title, _recorded_tasks(target)
    cells, began = Cells(plan, record.get(title, {}).get("policies", [])), time.perf_counter()
    besides = cells.besides(policies)

    def keep(measured: list[Cell]) -> None:
        measured = measured + besides
        unfinished = {"unfinished": True, "policies_count": len(measured), "policies": measured}
        made = {"command": common.command_of("imagined_vs_real"), "seconds": round(time.perf_counter() - began, 1)}
        write_report_json(target, {"benchmark": "imagined_vs_real", "tasks": record | {title: unfinished}, **made})

    with common.recorded("imagined_vs_real", output, quick) as figures:
        measured = (cells.there(policies) if measured_only else cells.all_of(policies, keep)) + besides
        if not measured:
            raise SystemExit(f"{target} holds no policy of {task} that was measured so: leave out --measured-only")
        found = summed(measured, plan)
        figures["tasks"] = record | {title: found}
        show(found)
        target.parent.mkdir(parents=True, exist_ok=True)
        scatter = scatter_plot(measured, {name: found[name] for name in FIGURES})
        target.with_name(f"{target.stem}_{task}.png").write_bytes(scatter)


def _recorded_tasks(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())["tasks"]) if path.is_file() else {}


# -- a policy ---------------------------------------------------------------------------------------------------------


class Cells:
    """Measures policies, each once; what they share is made when the first of them is not known yet.

    Args:
        plan: how. known: cells that were measured before; each bears the mark of what it was measured with.
    """

    def __init__(self, plan: Plan, known: list[Cell]) -> None:
        self.plan, self._known = plan, {cell["mark"]: cell for cell in known}
        self._model: CompositionalWorldModel | None = None
        self._short: ShortHorizon | None = None

    def there(self, policies: list[Quality]) -> list[Cell]:
        """Of those policies that are known."""
        return [self._known[mark] for mark in map(self.mark, policies) if mark in self._known]

    def besides(self, policies: list[Quality]) -> list[Cell]:
        """What is known of policies that are not asked for now, measured with the same settings and weights.

        Weights that are not here can't be compared: what was measured with them stays. What does not is told.
        """
        settings_stay = bool(self.there(policies))  # the marks of all depend on them
        asked, kept = {quality.name for quality in policies}, []
        for cell in self._known.values():
            if cell["policy"] in asked:
                continue
            if settings_stay and self._mark_if_here(Quality(**cell["of"])) in (cell["mark"], None):
                kept.append(cell)
            else:
                print(f"{cell['policy']!r} was measured with other weights or settings and leaves the record")
        return kept

    def _mark_if_here(self, quality: Quality) -> str | None:
        try:
            return self.mark(quality)
        except (InvalidCheckpoint, FileNotFoundError):
            return None

    def all_of(self, policies: list[Quality], keep: Callable[[list[Cell]], None]) -> list[Cell]:
        """Of all, in order; `keep` is called with all that are known after each that was measured."""
        try:
            for quality in track(policies, "policies"):
                if self.mark(quality) not in self._known:
                    if self._model is None:
                        self._prepare()
                    mark = self.mark(quality)
                    self._known[mark] = {**self.measured(quality), "mark": mark}
                    keep(self.there(policies))
        finally:
            if self._short is not None:
                self._short.close()
        return self.there(policies)

    def mark(self, quality: Quality) -> str:
        """Another one for other weights, another replica, or another way to measure."""
        plan = self.plan
        policies = [name for name in (quality.policy, quality.other) if name not in (None, "random")]
        weights = [_weights(str(name)) for name in (*policies, plan.world_model)]
        settings = (plan.seeds, plan.states, plan.dream_s, sorted(asdict(quality).items()))
        return hashlib.blake2b(repr((fingerprint(None), weights, settings)).encode(), digest_size=8).hexdigest()

    def measured(self, quality: Quality) -> Cell:
        began, plan = time.monotonic(), self.plan
        assert self._model is not None
        assert self._short is not None
        arguments: dict[str, Any] = {"task": plan.task, "quality": quality, "world_model": plan.world_model}
        factory = Factory(target="_policies:VariedAgent", arguments=arguments)
        true = list(play(env_id_of("Mujoco", plan.task), factory, plan.seeds, processes=plan.processes))
        played = time.monotonic()
        agent = VariedAgent(plan.task, quality, self._model)
        dreamt = imagined(agent, self._starts, self._model, horizon_s=plan.dream_s)
        dreamed = time.monotonic()
        gains = self._short.gains(agent)
        now = time.monotonic()
        return {
            "policy": quality.name, "exploits": quality.climbs > 0, "of": asdict(quality),
            "true": means(true) | {"gain": float(np.mean(gains[0]))},
            "imagined": means(dreamt) | {"gain": float(np.mean(gains[1]))},
            "episodes": {"true": _columns(true), "imagined": _columns(dreamt)},
            "seconds": {"replica": played - began, "dream": dreamed - played, "two_chunks": now - dreamed},
        }  # fmt: skip

    def _prepare(self) -> None:
        plan = self.plan
        self._model = CompositionalWorldModel.from_pretrained(plan.world_model, task=plan.task)
        with closing(gymnasium.make(env_id_of("Mujoco", plan.task), disable_env_checker=True)) as replica:
            self._starts = first_windows(replica, plan.seeds)
        self._short = ShortHorizon(self._model, plan.states, plan.base)


def _weights(name: str) -> dict[str, str]:
    """Digests of a checkpoint's files, without those that change nothing that is measured here."""
    digests = json.loads((resolve(name) / MANIFEST_NAME).read_text())["sha256"]
    return {file: digest for file, digest in sorted(digests.items()) if file.split("/")[0] not in _OF_NO_CONSEQUENCE}


def imagined(
    agent: VariedAgent, starts: Starts, model: CompositionalWorldModel, *, horizon_s: float | None = None
) -> list[EpisodeResult]:
    """One whole dream from each start, never cut off for uncertainty."""
    env = ImaginedVectorEnv(
        len(starts), task=model.task.name, world_model=model, starts=starts, uncertainty_limit=float("inf"),
        horizon_s=horizon_s,
    )  # fmt: skip
    return dreamt_episodes(agent, env, starts.seeds.tolist())


def _columns(results: list[EpisodeResult]) -> dict[str, list[float]]:
    return {
        "success": [int(result.is_success) for result in results],
        "score": [round(result.score, 3) for result in results],
        "episode_return": [round(result.episode_return, 4) for result in results],
    }


# -- all policies -----------------------------------------------------------------------------------------------------


def summed(cells: list[Cell], plan: Plan) -> dict[str, Any]:
    """What is recorded of a task; the flat statistics are of the success rate."""
    by_figure = {
        name: agreement([cell["imagined"][name] for cell in cells], [cell["true"][name] for cell in cells])
        for name in FIGURES
    }
    figure = plan.figure
    flat = by_figure[figure]
    outcomes = [
        np.concatenate([cell["episodes"][side]["success"] for cell in cells]).astype(bool)
        for side in ("imagined", "true")
    ]
    return {
        "policies_count": len(cells),
        "starts": plan.starts,
        "figure": _FLAT[figure],
        **{name: flat[name]["value"] for name in STATISTICS},
        **{f"{name}_ci95": flat[name]["ci95"] for name in STATISTICS},
        **by_figure,
        "false_success": false_success(*outcomes),
        "doubts": doubts(len(cells), plan.starts, flat),
        "seeds": [plan.seeds[0], plan.seeds[-1]],
        "states": plan.states,
        "policies": cells,
    }


def show(found: dict[str, Any]) -> None:
    rows = []
    for cell in found["policies"]:
        true, dreamt = cell["true"], cell["imagined"]
        interval = wilson_interval(round(true["success"] * found["starts"]), found["starts"])
        rows.append((cell["policy"], f"{true['success']:.0%}", common.interval_text(interval, percent=True),
                     f"{dreamt['success']:.0%}", f"{true['score']:.2f}", f"{dreamt['score']:.2f}",
                     f"{true['gain']:+.4f}", f"{dreamt['gain']:+.4f}"))  # fmt: skip
    columns = ("policy", "true success", "95 %", "imagined", "true score", "imagined", "true gain", "imagined")
    common.show("Policies in the replica and in the dream", columns, rows)
    lines = []
    for name, title in FIGURES.items():
        figures = [found[name][statistic] for statistic in STATISTICS]
        lines.append((title, *[t for f in figures for t in (f["value"], common.interval_text(f["ci95"]))]))
    common.show("Agreement", ("over policies", "Pearson", "95 %", "Spearman", "95 %", "MMRV", "95 %"), lines)
    for doubt in found["doubts"]:
        print(f"careful: {doubt}")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    tyro.cli(main, description=__doc__)
