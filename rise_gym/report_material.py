"""What a report shows, measured: dreams beside recorded episodes, and episodes that are played to be seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Generator

from rise_gym._recorder import EpisodeRecorder
from rise_gym.collection import Actor
from rise_gym.evaluation import EpisodeResult
from rise_gym.report import Clip, Dream
from rise_gym.types import Episode
from rise_gym.world_model import CompositionalWorldModel


def imagine_beside(
    world_model: CompositionalWorldModel, episode: Episode, tick: int, *, chunks: int, generator: Generator, title: str
) -> Dream:
    """Imagine what follows a recorded moment under the recorded actions.

    Args:
        world_model: what imagines, `chunks` times its longest chunk.
        episode: with measured progress; row `tick` is the start.
        tick: at most so late that the recording covers all chunks.
        generator: noise of the dream.
        title: what to write above it.

    Raises:
        ValueError: if the episode is too short, or its progress was not measured.
    """
    chunk, ahead = world_model.longest_chunk, chunks * world_model.longest_chunk
    if episode.progress is None or not 0 <= tick <= len(episode) - 1 - ahead:
        raise ValueError(
            f"a start at most {ahead} ticks before the end and measured progress were wanted, got tick {tick} of "
            f"{len(episode)}, progress {'not measured' if episode.progress is None else 'measured'}"
        )
    views = episode.views(world_model.task.cameras)
    back = np.maximum(np.arange(tick - world_model.history_ticks + 1, tick + 1), 0)
    state = world_model.begin(
        torch.from_numpy(views[back])[None], torch.from_numpy(episode.proprio[tick])[None], [episode.instruction]
    )
    frames, progress = [views[tick][None]], [state.progress.numpy()]
    for first in range(tick, tick + ahead, chunk):
        actions = torch.from_numpy(episode.actions[first : first + chunk])[None]
        state, imagined = world_model.imagine(state, actions, generator=[generator])
        frames.append(world_model.decode(imagined.latents)[0].cpu().numpy())
        progress.append(imagined.progress[0].cpu().numpy())
    span = slice(tick, tick + ahead + 1)
    return Dream(
        title=title,
        true=views[span],
        imagined=np.concatenate(frames),
        true_progress=episode.progress[span],
        imagined_progress=np.concatenate(progress).clip(0, 1),
        chunk=chunk,
    )


def play_and_record(env: gymnasium.Env[Any, Any], actor: Actor, seed: int, *, policy: str) -> Episode:
    """One episode of `seed`, tick by tick; a replica has to be built with `record_ticks=True`."""
    recorder = EpisodeRecorder(env, source="rollout", policy=policy)
    observation, info = env.reset(seed=seed)
    recorder.begin(observation, info, seed)
    actor.reset(env, seed)
    over = False
    while not over:
        clean, executed = actor.act(env, observation)
        observation, _, terminated, truncated, info = env.step(executed)
        recorder.add(executed, clean, observation, info)
        over = terminated or truncated
    return recorder.finish(info)


def clip_of(episode: Episode, cameras: tuple[str, ...], label: str) -> Clip:
    """An episode to be seen."""
    return Clip(label=label, frames=episode.views(cameras), success=episode.success, score=episode.score)


def telling_seeds(
    before: Sequence[EpisodeResult], after: Sequence[EpisodeResult], *, count: int
) -> tuple[list[int], list[int]]:
    """Seeds to show, at most `count` each, the lowest first: where only `after` succeeds, and where `after` fails.

    Both have an episode for each of the same seeds.
    """
    failed = {result.seed for result in before if not result.is_success}
    better = [result.seed for result in after if result.is_success and result.seed in failed]
    failing = [result.seed for result in after if not result.is_success]
    return sorted(better)[:count], sorted(failing)[:count]
