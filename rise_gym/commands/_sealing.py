"""The parts of a world model sealed into a checkpoint that serves every task whose datasets it learnt from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rise_gym.errors import InvalidCheckpoint, RiseGymError
from rise_gym.tasks import TaskCard, task_card

if TYPE_CHECKING:
    from rise_gym.starts import StartKind, Starts
    from rise_gym.world_model import CompositionalWorldModel, WorldModelConfig

UNCERTAINTY = "progress_uncertainty"
"""Folder of the part that a world model can do without."""
STARTS = 24
"""Episodes whose beginning, and one later moment, a checkpoint keeps to begin dreams from."""


def saved_part(kinds: Any, folder: Path) -> Any:
    """A part that was trained before, of one of these classes.

    Raises:
        RiseGymError: if it is not there, or of another class.
    """
    if not folder.is_dir():
        raise RiseGymError(f"{folder} was wanted, it is not there; run `rise-gym train {folder.name}` first")
    known = {kind.__name__: kind for kind in (kinds if isinstance(kinds, tuple) else (kinds,))}
    try:
        found = json.loads((folder / "config.json").read_text()).get("_class_name")
    except (OSError, ValueError) as error:
        raise _unreadable(folder, error) from error
    if found not in known:
        raise RiseGymError(
            f"{folder}: a {' or '.join(known)} was wanted, it holds a {found}; say `--architecture "
            f"{'ltx' if str(found).startswith('LTX') else 'compact'}`, or choose another folder"
        )
    try:
        return known[found].from_pretrained(folder, local_files_only=True)
    except OSError as error:  # a save that was killed on its way
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: Exception) -> RiseGymError:
    return RiseGymError(
        f"{folder} can't be read ({error}): remove it and run `rise-gym train {folder.name}` again, which goes on from "
        "its last save"
    )


def seal(
    out: Path,
    card: TaskCard,
    folders: dict[str, Path],
    *,
    settings: WorldModelConfig | None = None,
    start_kind: StartKind | None = None,
) -> None:
    """Once codec, dynamics and value are in `out`, write the world model's checkpoint there.

    Args:
        out: where the parts lie.
        card: of the task that it is of first of all.
        folders: a dataset of each task that it is to serve, `card`'s among them: starts come from there.
        settings: how the parts are joined, but for what is calibrated on those datasets; by default the usual.
        start_kind: what dreams of `card`'s task begin from; by default as in the checkpoint that is there already, if
            one is, else as in the settings.
    """
    import torch

    from rise_gym.codec import FrameCodec
    from rise_gym.dynamics import VideoDynamics
    from rise_gym.ltx_codec import LTXCodec
    from rise_gym.ltx_dynamics import LTXDynamics
    from rise_gym.progress_uncertainty import ProgressUncertainty
    from rise_gym.value import ProgressValue
    from rise_gym.world_model import CompositionalWorldModel, WorldModelConfig

    kinds = {"codec": (FrameCodec, LTXCodec), "dynamics": (VideoDynamics, LTXDynamics), "value": ProgressValue}
    if missing := [part for part in kinds if not (out / part).is_dir()]:
        print(f"{out}: still without {' and '.join(missing)}")
        return
    if (out / UNCERTAINTY).is_dir():
        kinds[UNCERTAINTY] = ProgressUncertainty
    parts: dict[str, Any] = {part: saved_part(kind, out / part) for part, kind in kinds.items()}
    settings = settings or WorldModelConfig()
    begins = start_kind or _begins(out / "checkpoint") or settings.start_kind
    model = CompositionalWorldModel(task=card, config=replace(settings, start_kind=begins), **parts)
    large = isinstance(model.dynamics, LTXDynamics) and torch.cuda.is_available()
    model.to("cuda" if large else "cpu")
    found = {name: _begun(model, folder, name) for name, folder in folders.items()}
    model.to("cpu")
    model.config = found[card.name][0]
    model.others = {name: config for name, (config, _) in found.items() if name != card.name}
    starts = [windows for _, windows in found.values()]
    model.save_pretrained(out / "checkpoint", starts=starts, half_precision=True)
    print(f"world model: {out / 'checkpoint'}")


def _begins(checkpoint: Path) -> StartKind | None:
    """What dreams of a checkpoint begin from; None if it is not there as a whole."""
    from rise_gym.checkpoints import load_checkpoint

    try:
        found: StartKind | None = load_checkpoint(checkpoint, kind="world_model").extra.get("start_kind")
    except InvalidCheckpoint:  # it is about to be written anew
        return None
    return found


def _begun(model: CompositionalWorldModel, folder: Path, task: str) -> tuple[WorldModelConfig, Starts]:
    """How the parts are joined for a task, and its starts, from a dataset of it.

    What counts as done in a dream is calibrated on its episodes, if some of them succeeded and some failed, from where
    dreams begin.
    """
    import numpy as np
    import torch

    from rise_gym.calibration import calibrate_dreams
    from rise_gym.episodes import read_episodes
    from rise_gym.recordings import Recordings
    from rise_gym.starts import Starts

    card, config = model.task, model.config
    if task != card.name:
        card, config = task_card(task), replace(config, start_kind="initial")
    episodes = read_episodes(folder, limit=60)
    window, random = model.history_ticks, np.random.default_rng(0)
    every = Starts.from_episodes(
        episodes, card, window=window, mid_episode=1, generator=random, eventful_ticks=2 * card.chunk
    )
    recordings = Recordings.of(episodes, card)
    later = recordings.first.unique() + torch.from_numpy(every.tick[1::2])
    if 0 < sum(episode.success for episode in episodes) < len(episodes):
        begins = None if config.start_kind == "initial" else later
        config = replace(config, success_threshold=calibrate_dreams(model, recordings, begins=begins))
    return config, every.rows(range(min(len(every), 2 * STARTS)))
