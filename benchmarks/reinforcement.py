"""Any algorithm in the dream: PPO and SAC of Stable-Baselines3, from scratch and as a residual on the base policy.

    python benchmarks/reinforcement.py [--quick] [--rows base sac_residual]

Each learns in batched dreams that begin as recorded episodes do: from scratch by imagined progress, the residual by the
imagined advantage of its chunk, charged for how far it bends. Then it plays 200 replica episodes from seed 100 000 on.
What is learnt is saved, and loaded again before it plays. Recorded rows are skipped, agents that are made are taken
from `--workspace`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import _common as common
import tyro
from _cells import keep_cell, recorded_cells
from _workshop import Made
from stable_baselines3 import PPO, SAC

from rise_gym.agents.flow_policy import load_policy
from rise_gym.agents.residual import ResidualPolicy, ResidualVecEnv, residual_networks, still_at_first
from rise_gym.agents.sb3 import make_sb3_env
from rise_gym.agents.trainable import save_policy
from rise_gym.commands._progress import progress_bar
from rise_gym.tasks import task_card

ALGORITHMS: dict[str, type[PPO] | type[SAC]] = {"ppo": PPO, "sac": SAC}
ROWS = ("base", *ALGORITHMS, *(f"{name}_residual" for name in ALGORITHMS))


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How much is learnt, the same for every row.

    Attributes:
        steps: of the dream, a chunk each, over all rows. num_envs: dreams side by side.
        rollout_steps: of each row between two updates of PPO, and before SAC's first; about an episode.
        residual_rollout_steps: the same for the residual, whose every chunk has its reward at once.
        updates_per_step: of SAC from scratch, for every step of a row. residual_updates_per_step: of its residual.
        discount: of both, from scratch. learning_rate: of both.
        charge: what the residual pays for a knot at its end; see `ResidualVecEnv`.
        entropy: what the residual's is worth to SAC: where it acts almost without chance, its critic errs beside it.
        first_spread: standard deviation of PPO's residual at first, of the reach.
    """

    steps: int = 12_000
    num_envs: int = 32
    rollout_steps: int = 30
    residual_rollout_steps: int = 10
    updates_per_step: float = 1 / 32
    residual_updates_per_step: float = 1 / 8
    discount: float = 0.95
    charge: float = 0.05
    entropy: float = 0.01
    learning_rate: float = 3e-4
    first_spread: float = 0.35
    seed: int = 0


def main(
    *,
    quick: bool = False,
    output: Path | None = None,
    rows: tuple[str, ...] = ROWS,
    task: str = common.TASK,
    world_model: str | None = None,
    base: str | None = None,
    learning: Learning = Learning(),
    episodes: int = 200,
    workspace: Path = Path("runs/reinforcement"),
    processes: int = 2,
) -> None:
    """Make, measure and record.

    Args:
        quick: a miniature to see that it works; its figures mean little.
        output: folder of the rows' JSON files.
        rows: which of them. task: on which task.
        world_model: what dreams; default: the task's bundled one. base: what is bent, and the first row; likewise.
        learning: how much is learnt.
        episodes: of the replica for each row.
        workspace: where agents are kept.
        processes: how many replicas run side by side.
    """
    if unknown := set(rows) - set(ROWS):
        raise SystemExit(f"no row is called {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    if quick:
        learning = replace(learning, steps=4, num_envs=2, rollout_steps=2, residual_rollout_steps=2)
        episodes = min(episodes, 2)
    folder = output or common.RESULTS / f"reinforcement{'_quick' if quick else ''}"
    base = base or f"bundled:{task}/base"
    workshop = Dreams(task, world_model, base, learning, workspace / ("quick" if quick else "") / task)
    for row in rows:
        make = partial(Made, policy=base) if row == "base" else partial(workshop.made, row)
        labels = {"task": task, "row": row, "world_model": world_model, "learning": asdict(learning)}
        keep_cell(folder / f"{task}_{row}.json", make, labels, task=task, episodes=episodes, processes=processes)
    show(folder)


class Dreams:
    """Where agents learn; each is saved in a folder of its own, and taken from there if it is there already."""

    def __init__(self, task: str, world_model: str | None, base: str, learning: Learning, folder: Path) -> None:
        self.task, self.base, self.learning, self.folder = task, base, learning, folder
        self.arguments = {} if world_model is None else {"world_model": world_model}

    def made(self, row: str) -> Made:
        """The agent of a row, learnt if it is not there yet."""
        algorithm, _, residual = row.partition("_")
        folder = self.folder / row
        if residual:
            policy = str(folder / "checkpoint")
            if not Path(policy).is_dir():
                self._learn_residual(algorithm, folder)
        else:
            policy = f"sb3:{algorithm}:{folder / 'model.zip'}"
            if not (folder / "model.zip").is_file():
                self._learn(algorithm, folder)
        return Made(policy=policy, gradient_steps=None)

    def _learn(self, algorithm: str, folder: Path) -> None:
        with self._dreams() as dreams:
            model = self._taught(algorithm, dreams)
        folder.mkdir(parents=True, exist_ok=True)
        model.save(folder / "model.zip")

    def _learn_residual(self, algorithm: str, folder: Path) -> None:
        with self._dreams() as dreams:
            env = ResidualVecEnv(
                dreams, load_policy(self.base, task=self.task), pay="advantage", charge=self.learning.charge
            )
            model = self._taught(algorithm, env, residual=True)
            save_policy(folder / "checkpoint", ResidualPolicy.learnt(model, env))

    def _taught(self, algorithm: str, env: Any, *, residual: bool = False) -> PPO | SAC:
        model = untrained(algorithm, env, self.learning, residual=residual)
        with progress_bar(f"{algorithm.upper()} in the dream", self.learning.steps) as step:
            model.learn(self.learning.steps, callback=lambda *_: step(model.num_timesteps) is None)
        return model

    @contextmanager
    def _dreams(self) -> Iterator[Any]:
        env_id = f"RiseImagined-{task_card(self.task).title}-v0"
        dreams = make_sb3_env(f"rise_gym:{env_id}", self.learning.num_envs, seed=self.learning.seed, **self.arguments)
        try:
            yield dreams
        finally:
            dreams.close()


def untrained(algorithm: str, env: Any, learning: Learning, *, residual: bool = False) -> PPO | SAC:
    """A model of Stable-Baselines3; as a residual it begins where the base's chunks stay as they are."""
    shared: dict[str, Any] = {
        "gamma": 0.0 if residual else learning.discount,
        "learning_rate": learning.learning_rate,
        "seed": learning.seed,
        "device": "cpu",
    }
    if residual:
        learning = replace(learning, rollout_steps=learning.residual_rollout_steps)
    networks = residual_networks(256, 256) if residual else {}
    model = _MAKERS[algorithm](env, learning, shared, networks)
    if residual:
        still_at_first(model)
    return model


def _ppo(env: Any, learning: Learning, shared: dict[str, Any], networks: dict[str, Any]) -> PPO:
    spread = {"log_std_init": math.log(learning.first_spread)} if networks else {}
    return PPO(
        "MultiInputPolicy",
        env,
        n_steps=learning.rollout_steps,
        batch_size=max(2, learning.num_envs * learning.rollout_steps // 4),
        n_epochs=5,
        gae_lambda=0.9,
        target_kl=0.05,
        policy_kwargs={**networks, **spread},
        **shared,
    )


def _sac(env: Any, learning: Learning, shared: dict[str, Any], networks: dict[str, Any]) -> SAC:
    updates = learning.residual_updates_per_step if networks else learning.updates_per_step
    smooth = {"optimizer_kwargs": {"weight_decay": 1e-3}} if networks else {}
    return SAC(
        "MultiInputPolicy",
        env,
        buffer_size=learning.steps,
        learning_starts=learning.num_envs * learning.rollout_steps,
        batch_size=512 if networks else 64,
        ent_coef=learning.entropy if networks else "auto_0.001",  # rewards of an episode add up to 1 at most
        train_freq=1,
        gradient_steps=max(1, round(updates * learning.num_envs)),
        policy_kwargs={**networks, **smooth},
        **shared,
    )


_MAKERS: dict[str, Callable[..., PPO | SAC]] = {"ppo": _ppo, "sac": _sac}


def show(folder: Path) -> None:
    cells = sorted(recorded_cells(folder), key=lambda cell: (cell["task"], ROWS.index(cell["row"])))
    common.show(
        "Learnt in the dream, played in the replica",
        ("agent", "task", "episodes", "success", "95 %", "score", "95 %"),
        [
            (
                cell["row"],
                cell["task"],
                cell["episodes"],
                f"{cell['success_rate']:.1%}",
                common.interval_text(cell["success_ci95"], percent=True),
                cell["score_mean"],
                common.interval_text(cell["score_ci95"]),
            )
            for cell in cells
        ],
    )


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
