"""Two rounds against one, with as many new episodes and gradient steps: do the episodes have to be the new policy's?

    python benchmarks/rounds.py [--quick] [--task brick_sort]

- `one round`: some episodes more of the base; the world model is refreshed on them, the policy warms up on all that is
  recorded, then RISE improves it in the dream.
- `one round, begun again`: the same, but half of the steps, and from what came of them the other half. What proposes
  stays what it was when a run began, so that beginning again may help by itself.
- `two rounds`: RISE improves with half of the steps, as many episodes are of that policy, the world model is refreshed
  on them, and RISE improves on with the other half (`rise-gym improve --rounds 2`).

All begin with the same base, its rollouts and the demonstrations, refresh the world model for as many steps, and warm
up and improve for as many in all. Then each plays the replica, seed 100 000 and up. Policies that are made are taken
from `--workspace`, episodes that were played with the same weights from `--keep`: the command can be interrupted, and
goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import _common as common
import tyro
from _workshop import Budget, Made, Workshop
from improvement import kept_or_played, paired

from rise_gym.collection import FIRST_EVALUATION_SEED
from rise_gym.commands._refreshing import RefreshConfig, refresh_world_model
from rise_gym.commands._shared import env_id_of
from rise_gym.commands.collect import collect
from rise_gym.commands.improve import improve
from rise_gym.evaluation import EpisodeResult, summarise
from rise_gym.tasks import task_card

FIRST_SEED = 70_000
"""Of the new episodes, whoever plays them."""
ONE, AGAIN, TWO = "one round", "one round, begun again", "two rounds"
NOTES = {
    "base": "what all begin with",
    ONE: "the new episodes are the base's; all steps in the refreshed dream",
    AGAIN: "the same, in two runs of half of the steps",
    TWO: "the new episodes are the improved policy's; half of the steps before, half after",
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What each may use beyond the base and its rollouts.

    Attributes:
        episodes: of the replica.
        refresh_steps: gradient steps of the value, and as many of the dynamics.
        warmup_steps: gradient steps of the policy on all recordings, each chunk with its advantage; of all rounds.
        steps: gradient steps of the policy with what it imagines; of all rounds.
    """

    episodes: int = 60
    refresh_steps: int = 1500
    warmup_steps: int = 1600
    steps: int = 1000

    def __post_init__(self) -> None:
        if self.steps < 2 or self.steps % 2 or self.warmup_steps % 2:
            raise ValueError(
                "even numbers of steps were wanted, for two rounds to share, got "
                f"{self.warmup_steps} of warming up and {self.steps}"
            )

    def shared_by(self, rounds: int) -> dict[str, Any]:
        """Options of `improve`: the policy's steps in each of so many."""
        return {"warmup_steps": self.warmup_steps // rounds, "steps": self.steps // rounds}


def main(
    *,
    quick: bool = False,
    output: Path | None = None,
    task: str = common.TASK,
    plan: Plan | None = None,
    episodes: int = 200,
    workspace: Path = Path("runs/tables"),
    processes: int = 2,
    keep: Path = Path("runs/played"),
) -> None:
    """Make, measure and record.

    Args:
        quick: a miniature to see that it works; its figures mean little.
        output: where to write the JSON.
        task: its name; the figures of each are kept apart.
        plan: what each may use.
        episodes: of the replica that each plays in the end.
        workspace: where recordings and policies are kept, the main table's among them.
        processes: how many replicas run side by side.
        keep: folder of the episodes played.
    """
    plan = Plan(episodes=2, refresh_steps=1, warmup_steps=2, steps=2) if quick else plan or Plan()
    budget = Budget.miniature() if quick else Budget()
    workshop = Workshop(task, 0, budget, workspace / ("quick" if quick else ""), use_bundled=not quick)
    count = 1 if quick else episodes
    seeds = range(FIRST_EVALUATION_SEED, FIRST_EVALUATION_SEED + count)
    with common.recorded("rounds", output, quick, task=task) as figures:
        figures |= {"seeds": [seeds[0], seeds[-1]], "plan": asdict(plan), "budget": asdict(budget)}
        played: dict[str, list[EpisodeResult]] = {}
        policies: dict[str, Any] = {}
        for name, make in MAKE.items():
            played[name], policies[name] = measured(name, make(workshop, plan), seeds, processes, keep, task)
        pairs = ((TWO, ONE), (TWO, AGAIN), (ONE, "base"), (TWO, "base"))
        figures["policies"] = policies
        figures["paired"] = {f"{one} - {other}": paired(played[one], played[other]) for one, other in pairs}
        show(figures)


# -- how each is made -------------------------------------------------------------------------------------------------


def base(workshop: Workshop, plan: Plan) -> Made:
    return workshop.base()


def one_round(workshop: Workshop, plan: Plan) -> Made:
    out = workshop.place("one_round")
    if not _there(out):
        improve(out, policy=workshop.base().policy, **plan.shared_by(1), **_with_more_of_the_base(workshop, plan))
    return _made(out, workshop, plan)


def begun_again(workshop: Workshop, plan: Plan) -> Made:
    half, out = workshop.place("one_round_half"), workshop.place("one_round_begun_again")
    if not _there(out):
        how = {**plan.shared_by(2), **_with_more_of_the_base(workshop, plan)}
        if not _there(half):
            improve(half, policy=workshop.base().policy, **how)
        improve(out, policy=str(half / "checkpoint"), **{**how, "seed": workshop.seed + 1})
    return _made(out, workshop, plan)


def two_rounds(workshop: Workshop, plan: Plan) -> Made:
    out = workshop.place("two_rounds")
    if not _there(out):
        improve(
            out, data=[workshop.demonstrations, workshop.rollouts], policy=workshop.base().policy, task=workshop.task,
            world_model=workshop.world_model, rounds=2, round_episodes=plan.episodes, first_seed=FIRST_SEED,
            refresh_steps=plan.refresh_steps, seed=workshop.seed, **plan.shared_by(2),
        )  # fmt: skip
    return _made(out, workshop, plan)


MAKE = {"base": base, ONE: one_round, AGAIN: begun_again, TWO: two_rounds}


def _with_more_of_the_base(workshop: Workshop, plan: Plan) -> dict[str, Any]:
    """Arguments of `improve`: recordings with new episodes of the base, and the world model refreshed on them."""
    more = workshop.place("more_of_the_base")
    collect(
        more / "episodes", who="policy", policy=workshop.base().policy, episodes=plan.episodes, first_seed=FIRST_SEED,
        noise=0.5, task=workshop.task,
    )  # fmt: skip
    data = [workshop.demonstrations, workshop.rollouts, more / "episodes"]
    config = RefreshConfig(steps=plan.refresh_steps, seed=workshop.seed)
    world_model = refresh_world_model(
        workshop.world_model, task_card(workshop.task), data, more / "world_model", config
    )
    return {"data": data, "world_model": str(world_model), "task": workshop.task, "seed": workshop.seed}


def _made(out: Path, workshop: Workshop, plan: Plan) -> Made:
    episodes, steps = workshop.budget.rollouts + plan.episodes, plan.warmup_steps + plan.steps
    return Made(policy=str(out / "checkpoint"), replica_episodes=episodes, gradient_steps=steps)


def _there(out: Path) -> bool:
    return (out / "checkpoint").is_dir()


# -- what it comes to -------------------------------------------------------------------------------------------------


def measured(
    name: str, made: Made, seeds: range, processes: int, keep: Path, task: str
) -> tuple[list[EpisodeResult], dict[str, Any]]:
    """A policy's episodes, played now or before, and what they come to."""
    file_name, env_id = name.replace(", ", "_").replace(" ", "_"), env_id_of("Mujoco", task).removeprefix("rise_gym:")
    results, seconds = kept_or_played(file_name, made.policy, seeds, processes, keep, task=task)
    summary = summarise(results, env_id=env_id, policy=made.policy, seconds=seconds)
    note = {"note": NOTES[name], "scores": [result.score for result in results]}
    return results, {**summary, **asdict(made), **note}


def show(figures: Mapping[str, Any]) -> None:
    common.show(
        f"Replica, seeds {figures['seeds'][0]} to {figures['seeds'][1]}",
        ("policy", "episodes", "success", "95 %", "score", "95 %", "replica episodes", "steps"),
        [
            (
                name,
                row["episodes"],
                f"{row['success_rate']:.1%}",
                common.interval_text(row["success_ci95"], percent=True),
                row["score_mean"],
                common.interval_text(row["score_ci95"]),
                row["replica_episodes"],
                row["gradient_steps"],
            )
            for name, row in figures["policies"].items()
        ],
    )
    for name, row in figures["paired"].items():
        print(f"{name}: {row['success_points']:+.1f} points of success ({row['success_points_ci95']})")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
