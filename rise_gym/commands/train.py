"""`rise-gym train`: codec, dynamics, value and policy, from recorded datasets."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tyro

from rise_gym.commands._policy_part import PolicyJob, train_policy_part
from rise_gym.commands._shared import Device, Spread, chosen_device, known_task, require_at_least
from rise_gym.commands._world_parts import (
    Architecture,
    FullSize,
    PartJob,
    Precision,
    ProgressFrom,
    WorldPart,
    train_world_part,
)
from rise_gym.errors import RiseGymError
from rise_gym.starts import StartKind

Part = WorldPart | Literal["policy"]


def train(
    part: Annotated[Part, tyro.conf.Positional],
    out: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    data: list[Path],
    task: str = "box_close",
    steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    minutes: float | None = None,
    architecture: Architecture = "compact",
    sharded: bool = False,
    precision: Precision = "auto",
    text_encoder: str | None = None,
    dry_run: bool = False,
    initial: str | None = None,
    initial_share: float = 0.0,
    backbone: str | None = None,
    across_tasks: bool = False,
    task_centric: bool = True,
    instructed: bool = False,
    progress_weight: float | None = None,
    td_weight: float | None = None,
    motion: bool = False,
    progress_from: ProgressFrom = "recordings",
    start_kind: StartKind | None = None,
    world_model: str | None = None,
    spread: Spread = "quantile",
    demonstration_share: float | None = None,
    image_shift_px: int | None = None,
    check_episodes: int = 0,
    device: Device = "auto",
    seed: int = 0,
) -> None:
    """Train one part from recorded datasets.

    Codec, value and dynamics go, in this order, into one folder `out`; once all three are there, `out/checkpoint` is a
    world model. It starts where episodes of the last dataset do, and what counts as done in a dream is calibrated on
    them: let that be one which the dynamics did not learn from. A value learns measured progress where all episodes
    have it (replicas), else elapsed time on successes. Dynamics trained where a value lies already also learn what
    matters to it, and to expect what a chunk gains.
    The renderer, then, becomes part of the dynamics: it draws each frame anew, by the robot's geometry.
    The decoder, then, goes on with the codec's, so that it shows what the dynamics imagines as well as can be.
    The uncertainty, last, is of the progress that a dream says is gained: train it on episodes that nothing else of the
    world model learnt from, among them some of a policy that does not do what it means to.
    A policy goes into `out/checkpoint` as well.

    With `--across-tasks` the datasets of a world model's part may be of any tasks: dynamics is trained on all of them
    first, then with `--initial` on one. The checkpoint then serves every task of its datasets, each with starts from
    the last dataset of it.

    With `--architecture ltx` codec and dynamics are the paper's, at full size, from public weights (`--initial`
    Lightricks/LTX-Video, or RISE's file for the dynamics): its codec is taken as it is, its dynamics trains on as many
    processes as `torchrun` or `accelerate launch` starts. `docs/full_size.md` walks through it.

    Args:
        part: codec, value, dynamics, renderer, decoder, uncertainty or policy.
        out: where to; the same command goes on where it was.
        data: dataset folders.
        task: name of the task, or its file; across tasks that whose card is written into the checkpoint.
        steps: gradient steps; by default what the bundled models took.
        batch_size: rows of a batch, of all processes together.
        learning_rate: its peak.
        minutes: stop after so many, even if steps are left.
        architecture: of codec and dynamics: this project's compact one, or LTX-Video's at the paper's size.
        sharded: for ltx: each process holds only its share of the model.
        precision: for ltx: of most arithmetic; auto is bfloat16 on a GPU.
        text_encoder: for ltx: folder or hub id with the text encoder that RISE's weights were trained with.
        dry_run: for ltx: print how many parameters there are and, for the dynamics, what memory they take, and stop.
        initial: policy, or folder with the codec, the value or the dynamics, to start from; by default from nothing. A
            renderer is drawn into the dynamics there, by default into that in `out`.
        initial_share: for the dynamics and the renderer: how much of the initial weights the final ones keep.
        backbone: for a policy: make it a VLA that sees and reads by this public vision-language model, a hub id or a
            folder, say HuggingFaceTB/SmolVLM2-500M-Video-Instruct, instead of the compact one. Only its action expert
            learns. Takes the extra `vla`.
        across_tasks: the datasets may be of several tasks, with the same robot and cameras.
        task_centric: for the dynamics, across tasks: each batch is from two of them, as in the paper.
        instructed: for the dynamics: it is told the instruction as well, which tells tasks apart.
        motion: for the dynamics, going on from one with a renderer: show it what moves by itself, if it was not shown
            that yet, and train the renderer on afterwards. One without a renderer is shown it anyway.
        progress_weight, td_weight: for the value: of its two losses, progress and temporal differences; 0 leaves one
            out.
        progress_from: for the dynamics: whose progress it learns to expect: the recorded, where all episodes have it,
            or what the value in `out` makes of their frames, as in the paper.
        start_kind: for a world model: what dreams in its checkpoint begin from, unless an env is told otherwise;
            "mid_episode" where what matters comes from outside of the pictures, as bricks on a belt do. By default as
            it was, or the beginnings of episodes.
        world_model: for a policy: learn from rollouts too, with the advantage that this world model gives them (the
            paper's RECAP); without it only demonstrations are cloned.
        spread: how those advantages fill the bins: as they are (the paper), or by rank.
        demonstration_share: and what fraction of the recorded moments are the demonstrations'; by default as they come.
        image_shift_px: for a policy: by how much pictures are shifted at random while it learns, each way.
        check_episodes: for a policy: every 1500 steps play so many replica episodes, to see where it levels off; the
            curve goes to `out/checks.jsonl` and feeds nothing.
        device: where to; auto is a GPU, if there is one. An ltx trains where Accelerate puts it.
        seed: of the training.
    """
    options = locals()  # as they were given
    full_size = FullSize(sharded=sharded, precision=precision, text_encoder=text_encoder, dry_run=dry_run)
    _check_options(part, architecture, full_size, options)
    card = known_task(task)
    given = {
        "steps": steps, "batch_size": batch_size, "minutes": minutes, "learning_rate": learning_rate, "seed": seed,
        "device": chosen_device(device),
    }  # fmt: skip
    overrides = {name: value for name, value in given.items() if value is not None}
    if part == "policy":
        train_policy_part(
            PolicyJob(
                card=card, data=data, out=out, overrides=overrides, initial=initial, backbone=backbone,
                world_model=world_model, spread=spread, demonstration_share=demonstration_share,
                image_shift_px=image_shift_px, check_episodes=check_episodes,
            )
        )  # fmt: skip
        return
    weights = {"progress_weight": progress_weight, "td_weight": td_weight}
    train_world_part(
        PartJob(
            part=part, card=card, data=data, out=out, overrides=overrides, initial=initial, initial_share=initial_share,
            weights={name: weight for name, weight in weights.items() if weight is not None},
            across_tasks=across_tasks, task_centric=task_centric, instructed=instructed, motion=motion,
            progress_from=progress_from, start_kind=start_kind,
            architecture=architecture, full_size=full_size,
        )
    )  # fmt: skip


_OF_PARTS: dict[str, tuple[Part, ...]] = {
    "initial": ("codec", "value", "dynamics", "renderer", "policy"),
    "initial_share": ("dynamics", "renderer"),
    "backbone": ("policy",),
    "across_tasks": get_args(WorldPart),
    "task_centric": ("dynamics",),
    "instructed": ("dynamics",),
    "motion": ("dynamics",),
    "progress_weight": ("value",),
    "td_weight": ("value",),
    "progress_from": ("dynamics",),
    "start_kind": get_args(WorldPart),
    "world_model": ("policy",),
    "spread": ("policy",),
    "demonstration_share": ("policy",),
    "image_shift_px": ("policy",),
    "check_episodes": ("policy",),
}
"""Which parts an option is of, where it is not of all."""


def _check_options(part: Part, architecture: Architecture, full_size: FullSize, given: Mapping[str, Any]) -> None:
    """Refuse what would be passed over: somebody counts on it.

    Raises:
        RiseGymError: for an option of another part or architecture.
    """
    if architecture == "compact" and full_size != FullSize():
        raise RiseGymError(
            "--sharded, --precision, --text-encoder and --dry-run go with --architecture ltx: add that, or leave them"
        )
    if architecture != "compact" and part == "policy":
        raise RiseGymError(
            f"--architecture {architecture} is of codec, dynamics and value, not of a policy: leave it out"
        )
    usual = signature(train).parameters
    require_at_least(0, check_episodes=given["check_episodes"])
    if not given["data"]:
        raise RiseGymError("datasets were wanted after --data, none came: name one folder or more")
    for name in ("spread", "demonstration_share"):
        if part == "policy" and given["world_model"] is None and given[name] != usual[name].default:
            raise RiseGymError(
                f"--{name.replace('_', '-')} is of advantages, which --world-model gives: add that, or leave it out"
            )
    for name, parts in _OF_PARTS.items():
        if part not in parts and given[name] != usual[name].default:
            raise RiseGymError(
                f"--{name.replace('_', '-')} is of the {' and the '.join(parts)}, not of the {part}: leave it out"
            )
