"""How dreams drift from the replica with their horizon, and after how many chunks they rank no longer.

    python benchmarks/drift.py [--quick] [--task brick_sort]

Held-out episodes are dreamt from moments all along them with the actions that were executed: error of pictures (PSNR),
joints (rad) and progress after every chunk, successes and failures apart. And from physics states in the middle of
episodes six policies play on; their chunks are dreamt, and the progress gained ranked against the true one. Goes on
where it was.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import _common as common
import gymnasium
import torch
import tyro
from _branched_rankings import branched, branches, ranking_figures
from _branching import moments
from _kept import Kept
from _policies import VariedAgent
from _recorded_dreams import RecordedDreams
from rich.progress import track

from rise_gym._trust_plots import drift_plot
from rise_gym.agents.flow_policy import load_policy
from rise_gym.commands._shared import env_id_of
from rise_gym.drift import drift_figures
from rise_gym.world_model import CompositionalWorldModel


def main(
    *,
    quick: bool = False,
    output: Path | None = None,
    task: str = common.TASK,
    world_model: str | None = None,
    base: str | None = None,
    rise: str | None = None,
    data: Path | None = None,
    episodes: int = 90,
    every_ticks: int = 40,
    chunks: int = 12,
    states: int = 40,
    ranked_chunks: int = 8,
    keep: Path = Path("runs/drift"),
) -> None:
    """Measure and record.

    Args:
        quick: a miniature to see that it works; its figures mean little.
        output: where to write the JSON; a plot (PNG) lies beside it.
        task: its name; the figures of each are kept apart.
        world_model, base, rise: what dreams, and who plays; a folder or bundled name each; default: those of the task.
        data: the held-out episodes; played anew if the folder is not there.
        episodes: how many. every_ticks: a dream begins in them every so many ticks. chunks: how far it goes.
        states: physics states to branch from; 0 leaves rankings out. ranked_chunks: how far the branches go, any
            number; where an episode ends before, what it gained stays as it is.
        keep: folder of the parts that are measured.
    """
    if quick:
        episodes, every_ticks, chunks, states, ranked_chunks = 3, 100, 3, min(states, 2), 2
    world_model, base = world_model or f"bundled:{task}/world_model", base or f"bundled:{task}/base"
    rise = rise or f"bundled:{task}/rise"
    target = common.result_path("drift", output, quick, task=task)
    with common.recorded("drift", output, quick, task=task) as figures:
        weights, name = [world_model, base, rise], f"branched{common.of_task(task)}"
        kept = Kept(keep, name, weights, ranked_chunks) if states else None
        dreams = RecordedDreams(
            task=task, world_model=world_model, base=base, data=data, episodes=episodes, every_ticks=every_ticks,
            chunks=chunks, keep=keep,
        )  # fmt: skip
        figures |= dreams.described
        figures["drift"] = drift_figures(dreams.rows())
        if kept is not None:
            figures["ranking"] = ranking_figures(_branched(kept, dreams.model, base, rise, states, ranked_chunks))
        show(figures)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.with_suffix(".png").write_bytes(drift_plot(figures))


def _branched(
    kept: Kept, model: CompositionalWorldModel, base: str, rise: str, states: int, chunks: int
) -> list[dict[str, Any]]:
    task, parts = model.task.name, [f"state_{number:03}" for number in range(states)]
    if not all(map(kept.has, parts)):
        agents = [VariedAgent(task, quality, model) for quality in branches(base, rise)]
        with closing(gymnasium.make(env_id_of("Mujoco", task), record_ticks=True, disable_env_checker=True)) as env:
            found = moments(env, load_policy(base, task=task), model, states)
            for number, moment in enumerate(track(found, "branching", total=states)):

                def measure(moment: Any = moment, number: int = number) -> dict[str, Any]:
                    return branched(env, model, agents, moment, chunks, number)

                kept.of(parts[number], measure)
    return [kept.of(part, dict) for part in parts]


def show(figures: dict[str, Any]) -> None:
    for outcome, found in figures["drift"].items():
        rows = [
            (str(n + 1), found["count"][n], *[found[name]["value"][n] for name in ("psnr_db", "joint_rad", "progress",
                                                                                  "progress_bias")])
            for n in range(len(found["count"]))
        ]  # fmt: skip
        columns = ("chunks", "dreams", "PSNR, dB", "joints, rad", "progress", "imagined - true")
        common.show(f"Error after so many chunks: {outcome}", columns, rows)
    if "ranking" in figures:
        found = figures["ranking"]
        rows = [
            (str(n + 1), within["value"], common.interval_text(within["ci95"]), over["value"],
             common.interval_text(over["ci95"]))
            for n, (within, over) in enumerate(zip(found["within_a_state"], found["over_policies"], strict=True))
        ]  # fmt: skip
        end = found["breaks_after"]
        title = f"Spearman, {found['states']} states; " + (
            "it never breaks" if end is None else f"breaks after {end} chunks (below {found['level']})"
        )
        common.show(title, ("chunks", "within a state", "95 %", "over policies", "95 %"), rows)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    tyro.cli(main, description=__doc__)
