"""Does what a dream says of deviations come true? Told by recordings whose progress is known; nothing is played.

    python benchmarks/deviations.py --data runs/rollouts [--policy runs/base/checkpoint] [--task backpack_pack]

See `rise_gym.deviations`; `rise-gym compare --data` tells the same of your own.
"""

from __future__ import annotations

from pathlib import Path

import _common as common
import tyro
from rich.progress import Progress

from rise_gym.agents.flow_policy import load_policy
from rise_gym.agents.rollouts import own_chunks
from rise_gym.deviations import chunk_beginnings, deviation_claims, deviation_figures
from rise_gym.episodes import read_episodes
from rise_gym.recordings import Recordings
from rise_gym.world_model import CompositionalWorldModel


def main(
    *,
    data: Path,
    quick: bool = False,
    output: Path | None = None,
    task: str = common.TASK,
    world_model: str | None = None,
    policy: str | None = None,
    episodes: int | None = None,
) -> None:
    """Measure and record.

    Args:
        data: rollouts of `policy` with noise (`rise-gym collect --who policy --noise 0.5`), whose progress is known,
            best such as the world model did not learn from. Some hundred are wanted.
        quick: a miniature to see that it works; its figures mean little.
        output: where to write the JSON.
        task: its name; the figures of each are kept apart.
        world_model: a folder or bundled name; default: the task's bundled one.
        policy: whose rollouts these are; default: the task's bundled base.
        episodes: how many of them; default: all.
    """
    with common.recorded("deviations", output, quick, task=task) as figures:
        model = CompositionalWorldModel.from_pretrained(world_model or f"bundled:{task}/world_model", task=task)
        agent = load_policy(policy or f"bundled:{task}/base", task=task)
        recordings = Recordings.of(read_episodes(data, task=model.task, limit=4 if quick else episodes), model.task)
        model.dynamics.register_to_config(sigmas=model.dynamics.config.sigmas[:1])  # one pass, as RISE learns from
        moments = chunk_beginnings(recordings, model.longest_chunk)
        with Progress() as bar:
            shown = bar.add_task("chunks", total=len(moments))
            own, executed = deviation_claims(
                model, own_chunks(agent, recordings), recordings, moments,
                on_progress=lambda done: bar.update(shown, completed=done),
            )  # fmt: skip
        figures |= deviation_figures(recordings, moments, own, executed)
        common.show(
            f"Dreamt and true worth of deviations, {len(moments)} chunks of {figures['episodes']} episodes",
            ("after", "partial correlation", "95 %"),
            [
                (f"{row['ticks']} ticks", row["correlation"], common.interval_text(row["ci95"]))
                for row in figures["after_ticks"]
            ],
        )


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
