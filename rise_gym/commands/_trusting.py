"""What `rise-gym compare` measures beside rankings of policies: drift, calibration, uncertainty, an exploit probe."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rise_gym.commands._progress import progress_bar
from rise_gym.commands._shared import env_id_of
from rise_gym.errors import InvalidDataset

if TYPE_CHECKING:
    from rise_gym.recordings import Recordings
    from rise_gym.starts import Starts
    from rise_gym.tasks import TaskCard
    from rise_gym.types import Episode
    from rise_gym.world_model import CompositionalWorldModel

BATCH = 32


def recorded_trust(
    data: list[Path],
    card: TaskCard,
    world_model: str | None,
    policies: Sequence[str] = (),
    *,
    chunks: int,
    every_ticks: int = 40,
) -> dict[str, Any]:
    """Figures `drift`, `calibration` and `uncertainty` of dreams of recorded actions.

    Of episodes that the model did not learn from. Where some are rollouts of one of the policies, also `deviations`.
    """
    from rise_gym.calibration import dreamt_peaks
    from rise_gym.drift import drift_figures, drift_moments, drift_rows, joined
    from rise_gym.episodes import read_episodes
    from rise_gym.recordings import Recordings
    from rise_gym.reliability import progress_figures, success_figures
    from rise_gym.uncertainty import uncertainty_figures

    episodes = [episode for folder in data for episode in read_episodes(folder, task=card)]
    recordings, model = Recordings.of(episodes, card), _model(world_model, card)
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
    deviations = _deviations(model, recordings, episodes, policies)
    return {
        "drift": {"drift": drift_figures(found)},
        "calibration": {**calibration, "progress": progress_figures(found)},
        "uncertainty": uncertainty_figures(found),
        **({} if deviations is None else {"deviations": deviations}),
    }


def _deviations(
    model: CompositionalWorldModel, recordings: Recordings, episodes: Sequence[Episode], policies: Sequence[str]
) -> dict[str, Any] | None:
    """Whether what the dream says of deviations comes true, see `rise_gym.deviations`.

    Of the first of the policies whose rollouts are there, if it can say what it means.
    """
    from rise_gym.agents.named import named_agent
    from rise_gym.agents.rollouts import own_chunks
    from rise_gym.agents.trainable import TrainableAgent
    from rise_gym.deviations import chunk_beginnings, deviation_claims, deviation_figures

    there = {episode.policy for episode in episodes if episode.source == "rollout"}
    name = next((policy for policy in policies if policy in there), None)
    agent = None if name is None else named_agent(name, task=recordings.task.name)
    if not isinstance(agent, TrainableAgent):
        return None
    theirs = recordings.only([number for number, episode in enumerate(episodes) if episode.policy == name])
    try:
        moments = chunk_beginnings(theirs, model.longest_chunk)
        with progress_bar("dreaming of deviations", len(moments)) as step:
            claims = deviation_claims(model, own_chunks(agent, theirs), theirs, moments, on_progress=step)
    except InvalidDataset as error:
        print(f"deviations were not looked at: {error}")
        return None
    return {"policy": name, **deviation_figures(theirs, moments, *claims)}


def exploit_trust(policy: str, starts: Starts, card: TaskCard, world_model: str | None) -> dict[str, Any]:
    """Figures of the exploit probe, around a policy's chunks from the given starts."""
    import gymnasium

    from rise_gym.agents.adversary import AdversaryConfig, exploited, probe_figures, usual_uncertainty
    from rise_gym.agents.named import named_agent

    model, agent, config = _model(world_model, card), named_agent(policy, task=card.name), AdversaryConfig()
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


def _model(name: str | None, card: TaskCard) -> CompositionalWorldModel:
    from rise_gym.world_model import CompositionalWorldModel

    return CompositionalWorldModel.from_pretrained(name or f"bundled:{card.name}/world_model", task=card.name)
