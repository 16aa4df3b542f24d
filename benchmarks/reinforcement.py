"""Any algorithm in the dream: PPO and SAC of Stable-Baselines3, from scratch and as a residual on the base policy.

    python benchmarks/reinforcement.py [--quick] [--rows base sac_residual]

Each learns in batched dreams: from scratch by imagined progress, from beginnings of episodes; the residual by what its
chunk gains over the policy's own in the same dream, charged for how far it bends, from moments all along recorded
episodes of the base, as RISE's. `ppo_residual_charged` is paid less where the dream doubts the progress that it claims.
Then each plays 200 replica episodes from seed 100 000 on. What is learnt is saved, and loaded again before it plays.
Recorded rows are skipped, agents that are made are taken from `--workspace`.
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
import numpy as np
import tyro
from _cells import keep_cell, recorded_cells
from _workshop import Made
from stable_baselines3 import PPO, SAC

from rise_gym.agents.flow_policy import load_policy
from rise_gym.agents.residual import ResidualPolicy, ResidualVecEnv, residual_networks, still_at_first
from rise_gym.agents.sb3 import make_sb3_env
from rise_gym.agents.trainable import save_policy
from rise_gym.commands._progress import progress_bar
from rise_gym.commands.collect import collect
from rise_gym.episodes import dataset_summary, read_episodes
from rise_gym.starts import Starts
from rise_gym.tasks import task_card
from rise_gym.world_model import CompositionalWorldModel

ALGORITHMS: dict[str, type[PPO] | type[SAC]] = {"ppo": PPO, "sac": SAC}
CHARGED = "_charged"
ROWS = ("base", *ALGORITHMS, *(f"{name}_residual" for name in ALGORITHMS), f"ppo_residual{CHARGED}")


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How much is learnt, the same for every row.

    Attributes:
        steps: chunks that are judged, over all rows. num_envs: dreams side by side.
        rollout_steps: of each row between two updates of PPO, and before SAC's first; about an episode.
        residual_rollout_steps: the same for the residual, whose every chunk has its reward at once.
        tries: the residual's bends of each state, see `ResidualVecEnv`.
        rollouts: recorded episodes of the base. later_starts: moments of each, beside its beginning, from which the
            residual's dreams begin.
        residual_horizon_s: how long those go on.
        updates_per_step: of SAC from scratch, for every step of a row. residual_updates_per_step: of its residual.
        discount: of both, from scratch. learning_rate: of both.
        charge: what the residual pays for a knot at its end; see `ResidualVecEnv`.
        uncertainty_charge: what each unit of progress uncertainty costs in the row that is charged for it.
        entropy: what the residual's is worth to SAC: where it acts almost without chance, its critic errs beside it.
        first_spread: standard deviation of PPO's residual at first, of the reach.
    """

    steps: int = 24_000
    num_envs: int = 32
    rollout_steps: int = 30
    residual_rollout_steps: int = 10
    tries: int = 4
    rollouts: int = 70
    later_starts: int = 6
    residual_horizon_s: float = 5.0
    updates_per_step: float = 1 / 32
    residual_updates_per_step: float = 1 / 8
    discount: float = 0.95
    charge: float = 0.02
    uncertainty_charge: float = 1.0
    entropy: float = 0.003
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
    data: Path | None = None,
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
        data: recorded episodes whose moments the residuals' dreams begin from; default: the base's, played anew.
        learning: how much is learnt.
        episodes: of the replica for each row.
        workspace: where agents are kept.
        processes: how many replicas run side by side.
    """
    if unknown := set(rows) - set(ROWS):
        raise SystemExit(f"no row is called {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    if quick:
        learning = replace(learning, steps=4, num_envs=2, rollout_steps=2, residual_rollout_steps=2, rollouts=1)
        episodes = 1
    folder = output or common.RESULTS / f"reinforcement{'_quick' if quick else ''}"
    base, world_model = base or f"bundled:{task}/base", world_model or f"bundled:{task}/world_model"
    workshop = Dreams(task, world_model, base, data, learning, workspace / ("quick" if quick else "") / task)
    for row in rows:
        make = partial(Made, policy=base) if row == "base" else partial(workshop.made, row)
        labels = {"task": task, "row": row, "world_model": world_model, "learning": asdict(learning)}
        keep_cell(folder / f"{task}_{row}.json", make, labels, task=task, episodes=episodes, processes=processes)
    show(folder)


class Dreams:
    """Where agents learn; each is saved in a folder of its own, and taken from there if it is there already."""

    def __init__(
        self, task: str, world_model: str, base: str, data: Path | None, learning: Learning, folder: Path
    ) -> None:
        self.task, self.world_model, self.base, self.data = task, world_model, base, data
        self.learning, self.folder = learning, folder
        self._rollouts = data or folder / "rollouts"

    def made(self, row: str) -> Made:
        """The agent of a row, learnt if it is not there yet."""
        algorithm, _, residual = row.partition("_")
        folder = self.folder / row
        if residual:
            policy = str(folder / "checkpoint")
            if not Path(policy).is_dir():
                charge = self.learning.uncertainty_charge if row.endswith(CHARGED) else 0.0
                self._learn_residual(algorithm, folder, charge)
        else:
            policy = f"sb3:{algorithm}:{folder / 'model.zip'}"
            if not (folder / "model.zip").is_file():
                self._learn(algorithm, folder)
        played = dataset_summary(self._rollouts).episodes if residual else 0
        return Made(policy=policy, replica_episodes=played, gradient_steps=None)

    def _learn(self, algorithm: str, folder: Path) -> None:
        with self._dreams() as dreams:
            model = self._taught(algorithm, dreams)
        folder.mkdir(parents=True, exist_ok=True)
        model.save(folder / "model.zip")

    def _learn_residual(self, algorithm: str, folder: Path, uncertainty_charge: float) -> None:
        learning, all_along = self.learning, {"starts": self._starts(), "start_kind": "any"}
        horizon_s = learning.residual_horizon_s
        with self._dreams(horizon_s=horizon_s, uncertainty_charge=uncertainty_charge, **all_along) as dreams:
            env = ResidualVecEnv(
                dreams, load_policy(self.base, task=self.task), pay="gain", charge=learning.charge,
                tries=learning.tries,
            )  # fmt: skip
            model = self._taught(algorithm, env, residual=True)
            save_policy(folder / "checkpoint", ResidualPolicy.learnt(model, env))

    def _taught(self, algorithm: str, env: Any, *, residual: bool = False) -> PPO | SAC:
        model = untrained(algorithm, env, self.learning, residual=residual)
        with progress_bar(f"{algorithm.upper()} in the dream", self.learning.steps) as step:
            model.learn(self.learning.steps, callback=lambda *_: step(model.num_timesteps) is None)
        return model

    def _starts(self) -> Starts:
        """Moments of the base's own episodes, which are played if they are not there."""
        learning, card = self.learning, task_card(self.task)
        if self.data is None:
            collect(
                self._rollouts, who="policy", policy=self.base, task=self.task, noise=0.5, episodes=learning.rollouts,
                first_seed=4000,
            )  # fmt: skip
        model = CompositionalWorldModel.from_pretrained(self.world_model, task=self.task)
        return Starts.from_episodes(
            read_episodes(self._rollouts, task=card), card, window=model.history_ticks,
            mid_episode=learning.later_starts, generator=np.random.default_rng(learning.seed),
        )  # fmt: skip

    @contextmanager
    def _dreams(self, **how: Any) -> Iterator[Any]:
        env_id = f"rise_gym:RiseImagined-{task_card(self.task).title}-v0"
        learning = self.learning
        dreams = make_sb3_env(env_id, learning.num_envs, seed=learning.seed, world_model=self.world_model, **how)
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
