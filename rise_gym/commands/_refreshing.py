"""A world model that goes on learning from new recordings: its value, then its dynamics; codec and renderer stay."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rise_gym.commands._sealing import UNCERTAINTY, seal
from rise_gym.commands._world_parts import PartJob, WorldPart, train_part
from rise_gym.errors import InvalidTraining
from rise_gym.tasks import TaskCard


@dataclass(frozen=True, kw_only=True)
class RefreshConfig:
    """How a world model is refreshed.

    Attributes:
        steps: gradient steps of the value, and as many of the dynamics.
        learning_rate: the peak of both.
        newest_share: what share of the moments that are learnt from is the newest dataset's; all others', as they are.
        initial_share: how much of the dynamics' weights from before the new ones keep, see `DynamicsTraining`.
        seed: of both trainings.
    """

    steps: int = 1500
    learning_rate: float = 5e-4
    newest_share: float = 0.5
    initial_share: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 < self.newest_share < 1 or not 0 <= self.initial_share < 1:
            raise InvalidTraining(
                "steps from 1 up, newest_share between 0 and 1, so that old and new recordings are learnt from, and "
                "initial_share from 0 to below 1 were wanted, got "
                f"{self.steps}, {self.newest_share} and {self.initial_share}"
            )


def refresh_world_model(
    world_model: str, card: TaskCard, data: list[Path], out: Path, config: RefreshConfig, *, device: str = "cpu"
) -> Path:
    """Go on with a world model, which is left as it is, on `data`, the newest dataset last.

    What counts as done in its dreams is calibrated on the newest episodes, where some succeeded and some failed; else
    it stays what it was: the dynamics learnt from them too, so that its dreams of them are better than others, but
    episodes are few. It begins where those do. What is known of its errors stays what it was: there are no episodes
    left that nothing learnt from. The same call goes on where it was.

    Args:
        world_model: a folder, `bundled:<task>/<name>` or a hub id.
        card: of the task that it is to serve; of several that it served, the others are left out.
        data: datasets of that task.
        out: where the new one's parts, runs and `checkpoint` go.
        config: how. device: where.

    Returns:
        The checkpoint's folder.
    """
    from rise_gym.world_model import CompositionalWorldModel

    checkpoint = out / "checkpoint"
    if checkpoint.is_dir():
        return checkpoint
    before = CompositionalWorldModel.from_pretrained(world_model, task=card.name)
    before.codec.save_pretrained(out / "codec")
    before.value.save_pretrained(out / "before" / "value")
    before.dynamics.save_pretrained(out / "before" / "dynamics")
    if before.progress_uncertainty is not None:
        before.progress_uncertainty.save_pretrained(out / UNCERTAINTY)
    shares: dict[str, Any] = {"newest_share": config.newest_share, "initial_share": config.initial_share}
    overrides: dict[str, Any] = {"steps": config.steps, "learning_rate": config.learning_rate, "seed": config.seed}
    overrides["device"] = device
    parts: tuple[WorldPart, ...] = ("value", "dynamics")  # the dynamics learns what matters to the new value
    for kind in parts:
        job = PartJob(
            part=kind, card=card, data=data, out=out, overrides=overrides, initial=str(out / "before"), **shares
        )
        _once(job, out / f"{kind}.done")
    seal(out, card, {card.name: data[-1]}, settings=before.config)
    return checkpoint


def _once(job: PartJob, done: Path) -> None:
    if not done.is_file():
        train_part(job)
        done.touch()
