"""Does what a dream says of deviations come true? Told by recordings whose progress is known; nothing is played.

    python benchmarks/deviations.py --data runs/rollouts [--policy runs/base/checkpoint] [--task backpack_pack]

Rollouts that were recorded with noise are a policy's own chunks and smooth chance. Where a chunk begins, the dream is
asked what the executed chunk is worth more than the policy's own; and the recording tells how much progress followed.
Given is the partial correlation of the two: beyond what the own chunk's advantage, the progress so far and the time
tell of the state, which is most of both. RISE learns from such differences.
"""

from __future__ import annotations

from pathlib import Path

import _common as common
import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from rich.progress import track
from torch import Generator, Tensor

from rise_gym._latent_cache import encoded_once
from rise_gym.agents.flow_policy import load_policy
from rise_gym.agents.rollouts import recorded_state
from rise_gym.agents.trainable import TrainableAgent
from rise_gym.commands._shared import LATENTS
from rise_gym.episodes import read_episodes
from rise_gym.errors import InvalidDataset
from rise_gym.metrics import grouped_bootstrap, pearson
from rise_gym.recordings import Recordings
from rise_gym.world_model import CompositionalWorldModel

HORIZONS = (10, 20, 30, 50)
"""Ticks after which the progress is looked at."""
ROWS = 64


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
        recorded = read_episodes(data, task=model.task, limit=4 if quick else episodes)
        recordings = encoded_once(Recordings.of(recorded, model.task), model.codec, data / LATENTS)
        model.dynamics.register_to_config(sigmas=model.dynamics.config.sigmas[:1])  # one pass, as RISE learns from
        moments = beginnings(recordings, model.longest_chunk)
        own, executed = claims(model, agent, recordings, moments)
        figures |= {"episodes": len(recorded), "successes": int(recordings.success.sum()), "moments": len(moments)}
        figures["after_ticks"] = come_true(recordings, moments, own, executed)
        common.show(
            f"Dreamt and true worth of deviations, {len(moments)} chunks of {len(recorded)} episodes",
            ("after", "partial correlation", "95 %"),
            [
                (f"{row['ticks']} ticks", row["correlation"], common.interval_text(row["ci95"]))
                for row in figures["after_ticks"]
            ],
        )


def beginnings(recordings: Recordings, chunk: int) -> Tensor:
    """Moments (M,) at which a whole chunk begins.

    Raises:
        InvalidDataset: if there are none, or nobody knows the progress.
    """
    rows = torch.arange(len(recordings))
    moments = rows[((rows - recordings.first) % chunk == 0) & (rows + chunk <= recordings.last)]
    if not len(moments) or bool(recordings.progress.isnan().any()):
        raise InvalidDataset(
            f"episodes of more than {chunk} ticks whose progress was recorded were wanted: record rollouts with "
            "`rise-gym collect --who policy --noise 0.5`"
        )
    return moments


@torch.no_grad()
def claims(
    model: CompositionalWorldModel, agent: TrainableAgent, recordings: Recordings, moments: Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What the dream finds the policy's own chunk and the executed one worth, of the same noise: advantages (M,)."""
    own: list[Tensor] = []
    executed: list[Tensor] = []
    for rows in track(moments.split(ROWS), "chunks"):
        state, chunk = recorded_state(model, recordings, rows), model.longest_chunk
        meant = agent.propose(
            recordings.frames[rows], recordings.proprio[rows], recordings.instruction_of(rows), torch.ones(len(rows)),
            generator=Generator().manual_seed(0), temperature=0.0,
        )  # fmt: skip
        index, _ = recordings.chunk(rows, chunk)
        for actions, found in ((meant, own), (recordings.actions[index], executed)):
            noise = [Generator().manual_seed(int(row)) for row in rows]
            found.append(model.imagine(state, actions, generator=noise, drawn=False)[1].advantage)
    return torch.cat(own).double().numpy(), torch.cat(executed).double().numpy()


def come_true(
    recordings: Recordings, moments: Tensor, own: NDArray[np.float64], executed: NDArray[np.float64]
) -> list[dict[str, object]]:
    """Partial correlation of `executed - own` with the progress that follows, for each horizon."""
    progress = recordings.progress.double().numpy()
    now, episode = progress[moments], recordings.episode[moments].numpy()
    time = (moments - recordings.first[moments]).double().numpy()
    spread = max(1.0, float(time.max()))
    steps = (now[:, None] > np.linspace(0.05, 0.95, 10)).astype(float)
    known = np.column_stack([np.ones_like(own), own, own**2, now, now**2, time / spread, (time / spread) ** 2, steps])
    rows = []
    for ticks in HORIZONS:
        later = torch.minimum(moments + ticks, recordings.last[moments])
        columns = np.column_stack([executed - own, progress[later] - now, known])
        correlation, interval = grouped_bootstrap(columns, episode, _partial)
        rows.append({"ticks": ticks, "correlation": correlation, "ci95": interval})
    return rows


def _partial(columns: NDArray[np.float64]) -> float:
    """Correlation of the first two columns (n,) beyond what the others tell linearly."""
    pair, known = columns[:, :2], columns[:, 2:]
    fit, *_ = np.linalg.lstsq(known, pair, rcond=None)
    claimed, happened = (pair - known @ fit).T
    return pearson(claimed, happened)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
