"""Where the policies of the tables are made: every method on the same recordings, with a budget that is written down.

Each policy is made by the public commands, once; what is there already is taken, so a table can be interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rise_gym.agents.cloning import PolicyTraining
from rise_gym.commands.baseline import baseline
from rise_gym.commands.collect import collect
from rise_gym.commands.improve import improve
from rise_gym.commands.train import train
from rise_gym.errors import InvalidCheckpoint
from rise_gym.locations import resolve

DEMONSTRATION_NOISE = {"box_close": 1.8, "brick_sort": 9.0, "backpack_pack": 11.0}
"""Of a hand that is disturbed, so that about half of the demonstrations succeed; see `rise-gym collect --noise`."""
MISHAP_NOISE = 0.55
"""Times those: of `who="noisy_expert"`, for which that is about four times as much; 1.0 for 1.8, as in the recipe."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a method may use: episodes of the replica, and gradient steps.

    Attributes:
        demonstrations: expert episodes; the base, and with it all, learn from those that succeed.
        rollouts: episodes of the base that RECAP and RISE learn from.
        interactions: episodes in which DAgger's expert takes over, and those that PPO and DSRL learn from.
        base_steps: of cloning from nothing, the first `shifted_steps` with shifted pictures.
        control_steps, recap_steps, dagger_steps, rise_steps: on from the base; about as long for each.
        dsrl_steps: of DSRL's small networks.
        proposals_per_state: of RISE's rollout stages; None is its own.
        play: episodes of a noisy expert, and as many of random targets, of each task; what world models that are made
            here begin with.
        value_steps, pretraining_steps, dynamics_steps: of those world models.
    """

    demonstrations: int = 130
    rollouts: int = 220
    interactions: int = 80
    base_steps: int = 14_200
    shifted_steps: int = 5000
    control_steps: int = 2400
    recap_steps: int = 1600
    dagger_steps: int = 2400
    rise_steps: int = 1000
    dsrl_steps: int = 35_500
    proposals_per_state: int | None = None
    play: int = 30
    value_steps: int = 1500
    pretraining_steps: int = 2000
    dynamics_steps: int = 1000

    @classmethod
    def miniature(cls) -> Budget:
        """Of everything a little, to see that it works."""
        return cls(
            demonstrations=2, rollouts=2, interactions=2, base_steps=4, shifted_steps=2, control_steps=2, recap_steps=2,
            dagger_steps=2, rise_steps=2, dsrl_steps=2, proposals_per_state=1, play=1, value_steps=2,
            pretraining_steps=1, dynamics_steps=1,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Made:
    """A policy, and what its making took beyond the base's.

    Attributes:
        policy: a folder, or `bundled:<task>/<name>`. replica_episodes: recorded or played after the demonstrations.
        gradient_steps: after the base's; None where the method decides.
    """

    policy: str
    replica_episodes: int = 0
    gradient_steps: int | None = 0


class Workshop:
    """One task and training seed; every policy of a table is a method.

    Args:
        task: its name. seed: of all trainings. budget: what each may use. folder: where everything is kept.
        use_bundled: take what is bundled for seed 0 instead of training it again.
    """

    def __init__(self, task: str, seed: int, budget: Budget, folder: Path, *, use_bundled: bool = True) -> None:
        self.task, self.seed, self.budget = task, seed, budget
        self.use_bundled = use_bundled and seed == 0
        self.folder = folder / task
        self.world_model = f"bundled:{task}/world_model"

    @cached_property
    def demonstrations(self) -> Path:
        """The same for all seeds."""
        return self.demonstrations_of(self.task)

    def demonstrations_of(self, task: str) -> Path:
        """Those of any task."""
        folder, noise = self.folder.parent / task / "demonstrations", DEMONSTRATION_NOISE[task]
        collect(folder, episodes=self.budget.demonstrations, first_seed=100, noise=noise, task=task)
        return folder

    def plays_of(self, task: str) -> tuple[Path, Path]:
        """What nobody does on purpose: an expert whose hand is pushed about, and random targets."""
        folder = self.folder.parent / task
        noise = MISHAP_NOISE * DEMONSTRATION_NOISE[task]
        how: dict[str, Any] = {"episodes": self.budget.play, "task": task}
        collect(folder / "mishaps", who="noisy_expert", first_seed=10_100, noise=noise, **how)
        collect(folder / "random", who="random", first_seed=11_000, **how)
        return folder / "mishaps", folder / "random"

    @cached_property
    def rollouts(self) -> Path:
        """The base's own episodes, with smooth deviations."""
        folder = self.place("rollouts")
        collect(
            folder, who="policy", policy=self.base().policy, episodes=self.budget.rollouts,
            first_seed=4000 + 1000 * self.seed, noise=0.5, task=self.task,
        )  # fmt: skip
        return folder

    def expert(self) -> Made:
        """Scripted, sees the physics state."""
        return Made(policy="scripted")

    def base(self) -> Made:
        """Cloned from demonstrations."""
        if found := self._bundled("base"):
            return Made(policy=found)
        begun, whole = self.place("base_begun"), self.place("base")
        if not _there(whole):
            self._train(begun, self.budget.shifted_steps)
            steps = self.budget.base_steps - self.budget.shifted_steps
            self._train(whole, steps, initial=str(begun / "checkpoint"), **_ON)
        return Made(policy=str(whole / "checkpoint"))

    def control(self) -> Made:
        """Cloned on for as long as RISE trains."""
        steps = self.budget.control_steps
        policy = self._train(self.place("control"), steps, initial=self.base().policy, **_ON)
        return Made(policy=policy, gradient_steps=steps)

    def dagger(self) -> Made:
        """The expert takes over where the base gets stuck; cloned on with that."""
        return self._baseline("dagger", self.budget.dagger_steps, data=[self.demonstrations], learning_rate=1e-3)

    def ppo(self) -> Made:
        """A policy gradient in the replica, as if it were the robot."""
        return self._baseline("ppo", None)

    def dsrl(self, name: str = "dsrl", steps: int | None = None) -> Made:
        """The base stays; SAC chooses the noise it starts from."""
        return self._baseline("dsrl", steps or self.budget.dsrl_steps, name=name)

    def recap(self, name: str = "recap", steps: int | None = None) -> Made:
        """Advantage-labelled offline training."""
        out, steps = self.place(name), steps or self.budget.recap_steps
        if not _there(out):
            data = [self.demonstrations, self.rollouts]
            self._train(
                out, steps, data=data, initial=self.base().policy, world_model=self.world_model,
                demonstration_share=0.5, **_ON,
            )  # fmt: skip
        return Made(policy=str(out / "checkpoint"), replica_episodes=self.budget.rollouts, gradient_steps=steps)

    def rise(self) -> Made:
        """Improved in imagination."""
        steps = self.budget.rise_steps
        if found := self._bundled("rise"):
            return Made(policy=found, replica_episodes=self.budget.rollouts, gradient_steps=steps)
        return self.improved("rise", steps)

    def rise_after_recap(self) -> Made:
        """Improved in imagination from RECAP's policy on, as in the paper."""
        made = self.improved("rise_after_recap", self.budget.rise_steps, policy=self.recap().policy)
        return replace(made, gradient_steps=self.budget.recap_steps + self.budget.rise_steps)

    def improved(self, name: str, steps: int, **how: Any) -> Made:
        """By RISE, with options of `rise-gym improve`."""
        out = self.place(name)
        if not _there(out):
            how = {"world_model": self.world_model, "policy": self.base().policy} | how
            improve(
                out, data=[self.demonstrations, self.rollouts], task=self.task, steps=steps,
                seed=self.seed, proposals_per_state=self.budget.proposals_per_state, **how,
            )  # fmt: skip
        return Made(policy=str(out / "checkpoint"), replica_episodes=self.budget.rollouts, gradient_steps=steps)

    def place(self, name: str) -> Path:
        """The folder in which what has that name is made, of this task and seed."""
        return self.folder / f"{name}_{self.seed}"

    def _bundled(self, name: str) -> str | None:
        found = f"bundled:{self.task}/{name}"
        try:
            resolve(found)
        except InvalidCheckpoint:
            return None
        return found if self.use_bundled else None

    def _train(self, out: Path, steps: int, *, data: list[Path] | None = None, **how: Any) -> str:
        if not _there(out):
            train("policy", out, data=data or [self.demonstrations], task=self.task, steps=steps, seed=self.seed, **how)
        return str(out / "checkpoint")

    def _baseline(self, method: Any, steps: int | None, name: str | None = None, **how: Any) -> Made:
        out, episodes = self.place(name or method), self.budget.interactions
        if not _there(out):
            baseline(
                method, out, policy=self.base().policy, task=self.task, episodes=episodes, steps=steps,
                first_seed=60_000 + 1000 * self.seed, seed=self.seed, **how,
            )  # fmt: skip
        return Made(policy=str(out / "checkpoint"), replica_episodes=episodes, gradient_steps=steps)


_USUAL = PolicyTraining.going_on(steps=1)
_ON: dict[str, Any] = {"learning_rate": _USUAL.training.learning_rate, "image_shift_px": _USUAL.image_shift_px}
"""How the bundled policies went on learning, see `recipe.sh`."""


def _there(out: Path) -> bool:
    return (out / "checkpoint").is_dir()
