"""How far imagination can be trusted: do policies rank in the dream as they do in the replica?

    python benchmarks/trust.py [--quick]

At least eight policies of different quality (checkpoints, noise levels). Two measures, both from matched starts:
whole episodes, each dreamt from the first frames that the replica shows for its seed, success and score and return
against the true ones; and, as RISE uses the dream, two chunks from states in the middle of episodes, mean progress
gained against the true gain. Pearson, Spearman and MMRV over policies, intervals from a bootstrap over policies. The
true score counts whole stages, the imagined one is ten times the progress.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import _common as common
import gymnasium
import torch
import tyro
from _policies import Quality, built, qualities
from _short_horizon import short_horizon
from matplotlib.figure import Figure
from rich.progress import track

from rise_gym.collection import FIRST_EVALUATION_SEED, Factory
from rise_gym.comparison import agreement, dreamt_episodes, first_windows, means
from rise_gym.envs.vector import ImaginedVectorEnv
from rise_gym.errors import InvalidCheckpoint
from rise_gym.evaluation import play, wilson_interval
from rise_gym.locations import resolve
from rise_gym.starts import Starts
from rise_gym.world_model import CompositionalWorldModel

FIRST_SEED = FIRST_EVALUATION_SEED + 30_000
PAIRS = {"success": "success rate", "score": "stage score", "episode_return": "return", "gain": "gain of two chunks"}


def main(
    *,
    quick: bool = False,
    output: Path | None = None,
    world_model: str = common.WORLD_MODEL,
    base: str = common.BASE,
    recap: str = f"bundled:{common.TASK}/recap",
    rise: str = common.IMPROVED,
    episodes: int = 50,
    states: int = 60,
    processes: int = 2,
) -> None:
    """Measure and record.

    Args:
        quick: a miniature to see that it works; its figures mean little.
        output: where to write the JSON; a scatter plot (PNG) lies beside it.
        world_model: a folder or bundled name.
        base, recap, rise: a folder or bundled name each; one that is not there is left out.
        episodes: matched whole episodes for each policy.
        states: matched states in the middle of episodes.
        processes: how many replicas run side by side.
    """
    episodes, states = (2, 2) if quick else (episodes, states)
    policies = [quality for quality in qualities(base, recap, rise) if _is_there(quality)]
    policies = [policies[0], policies[-1]] if quick else policies
    with common.recorded("trust", output, quick) as figures:
        model = CompositionalWorldModel.from_pretrained(world_model, task=common.TASK)
        seeds = list(range(FIRST_SEED, FIRST_SEED + episodes))
        figures |= {"seeds": [seeds[0], seeds[-1]], "episodes": episodes, "states": states}
        gains = short_horizon(model, policies, states, rollouts_by=base)
        with closing(gymnasium.make(common.REPLICA, disable_env_checker=True)) as replica:
            starts = first_windows(replica, seeds)
        rows: list[dict[str, Any]] = []
        for quality in track(policies, "playing"):
            true, dreamt = played(quality, seeds, processes), imagined(quality, seeds, starts, model)
            rows.append({"policy": quality.name, "true": true | gains[quality.name]["true"],
                         "imagined": dreamt | gains[quality.name]["imagined"]})  # fmt: skip
        figures["policies"] = rows
        figures["agreement"] = {
            name: agreement([row["imagined"][name] for row in rows], [row["true"][name] for row in rows])
            for name in PAIRS
        }
        show(figures)
        target = output or common.RESULTS / f"trust{'_quick' if quick else ''}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        scatter(rows, figures["agreement"]).savefig(target.with_suffix(".png"), dpi=160, facecolor="white")


def _is_there(quality: Quality) -> bool:
    try:
        return quality.policy == "random" or resolve(quality.policy).is_dir()
    except InvalidCheckpoint:
        return False


# -- whole episodes ---------------------------------------------------------------------------------------------------


def played(quality: Quality, seeds: list[int], processes: int) -> dict[str, float]:
    """The truth: one replica episode a seed."""
    arguments = {
        "task": common.TASK,
        "policy": quality.policy,
        "advantage": quality.advantage,
        "noise": quality.noise,
    }
    agent = Factory(target="_policies:NoisyAgent", arguments=arguments)
    results = list(play(common.REPLICA, agent, seeds, processes=processes))
    return means(results)


def imagined(quality: Quality, seeds: list[int], starts: Starts, model: CompositionalWorldModel) -> dict[str, float]:
    """The dream: one whole episode from each start, never cut off for uncertainty."""
    env = ImaginedVectorEnv(len(seeds), world_model=model, starts=starts, uncertainty_limit=float("inf"))
    return means(dreamt_episodes(built(quality, common.TASK), env, seeds))


# -- agreement --------------------------------------------------------------------------------------------------------


def show(figures: dict[str, Any]) -> None:
    rows = []
    for row in figures["policies"]:
        true, dreamt = row["true"], row["imagined"]
        low, high = wilson_interval(round(true["success"] * figures["episodes"]), figures["episodes"])
        rows.append((row["policy"], f"{true['success']:.0%}", common.interval_text((low, high), percent=True),
                     f"{dreamt['success']:.0%}", f"{true['score']:.2f}", f"{dreamt['score']:.2f}",
                     f"{true['gain']:+.4f}", f"{dreamt['gain']:+.4f}"))  # fmt: skip
    columns = ("policy", "true success", "95 %", "imagined", "true score", "imagined", "true gain", "imagined")
    common.show("Policies in the replica and in the dream", columns, rows)
    common.show(
        "Agreement over policies",
        ("figure", "Pearson", "95 %", "Spearman", "95 %", "MMRV", "95 %"),
        [
            (
                PAIRS[name],
                *[
                    text
                    for label in ("pearson", "spearman", "mmrv")
                    for text in (found[label]["value"], common.interval_text(found[label]["ci95"]))
                ],
            )
            for name, found in figures["agreement"].items()
        ],
    )


def scatter(rows: list[dict[str, Any]], found: dict[str, Any]) -> Figure:
    """Imagined against true, a dot a policy."""
    figure = Figure(figsize=(4.2 * len(PAIRS), 4.0), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, len(PAIRS)), PAIRS.items(), strict=True):
        for row in rows:
            axes.plot(row["imagined"][name], row["true"][name], "o", color="#0b7285", markersize=6)
            axes.annotate(row["policy"], (row["imagined"][name], row["true"][name]), fontsize=7, xytext=(5, 3),
                          textcoords="offset points", color="#616e7c")  # fmt: skip
        axes.set_title(f"{title}: r = {found[name]['pearson']['value']:.2f}", loc="left", fontsize=11)
        axes.set_xlabel("imagined")
        axes.set_ylabel("true")
        axes.margins(0.15)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    tyro.cli(main, description=__doc__)
