"""What `rise-gym compare` measures beside rankings of policies: drift, calibration, uncertainty, an exploit probe."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rise_gym.commands._progress import progress_bar
from rise_gym.commands._shared import env_id_of, load_recordings

if TYPE_CHECKING:
    from rise_gym.starts import Starts
    from rise_gym.tasks import TaskCard
    from rise_gym.world_model import CompositionalWorldModel

BATCH = 32


def recorded_trust(
    data: list[Path], card: TaskCard, world_model: str | None, *, chunks: int, every_ticks: int = 40
) -> dict[str, Any]:
    """Figures `drift`, `calibration` and `uncertainty` of dreams of recorded actions.

    Of episodes that the model did not learn from.
    """
    from rise_gym.calibration import dreamt_peaks
    from rise_gym.drift import drift_figures, drift_moments, drift_rows, joined
    from rise_gym.reliability import progress_figures, success_figures
    from rise_gym.uncertainty import uncertainty_figures

    recordings, model = load_recordings(data, card), dreaming_model(world_model, card)
    batches = drift_moments(recordings, every_ticks=every_ticks).split(BATCH)
    parts = []
    with progress_bar("dreaming recorded actions", len(batches) + 1) as step:
        for rows in batches:
            parts.append(drift_rows(model, recordings, rows, chunks=chunks))
            step()
        dreamt = (dreamt_peaks(model, recordings) >= model.success_threshold).numpy()[None]
        step()
    found = joined(parts)
    calibration = success_figures(dreamt, recordings.success.numpy())
    return {
        "drift": {"drift": drift_figures(found)},
        "calibration": {**calibration, "progress": progress_figures(found)},
        "uncertainty": uncertainty_figures(found),
    }


def exploit_trust(policy: str, starts: Starts, card: TaskCard, world_model: str | None) -> dict[str, Any]:
    """Figures of the exploit probe, around a policy's chunks from the given starts."""
    import gymnasium

    from rise_gym.agents.adversary import AdversaryConfig, exploited, probe_figures, usual_uncertainty
    from rise_gym.agents.named import named_agent

    model, agent, config = dreaming_model(world_model, card), named_agent(policy, task=card.name), AdversaryConfig()
    replica = gymnasium.make(env_id_of("Mujoco", card.name), disable_env_checker=True)
    with closing(replica), progress_bar("looking for exploits", 3 * len(starts)) as step:

        def all_starts(settings: AdversaryConfig) -> list[Any]:
            found = []
            for row in range(len(starts)):
                found.append(exploited(model, agent, replica, starts, row, settings))
                step()
            return found

        alone, free = all_starts(replace(config, rounds=0)), all_starts(config)
        charged = all_starts(replace(config, uncertainty_limit=usual_uncertainty(alone)))
    return probe_figures(alone, free, charged)


def dreaming_model(name: str | None, card: TaskCard) -> CompositionalWorldModel:
    """The world model of that name, or the task's bundled one."""
    from rise_gym.world_model import CompositionalWorldModel

    return CompositionalWorldModel.from_pretrained(name or f"bundled:{card.name}/world_model", task=card.name)
