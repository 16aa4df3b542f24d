"""The `rise-gym` command: the one place where world model, environments and agents are put together.

Long work shows its progress, can be interrupted with Ctrl-C at any moment, and goes on when the same command is given
again.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from rise_gym.errors import RiseGymError
from rise_gym.tasks import TaskCard, task_card

if TYPE_CHECKING:
    from rise_gym.agents.flow_policy import FlowPolicy
    from rise_gym.collection import Factory
    from rise_gym.evaluation import EpisodeResult
    from rise_gym.recordings import Recordings

Who = Literal["expert", "noisy_expert", "policy"]
Part = Literal["codec", "dynamics", "value", "policy"]
Spread = Literal["uniform", "quantile"]
LATENTS = ".latents"  # folder beside a dataset where encoded frames are kept


def main() -> None:
    """Entry point of `rise-gym`."""
    commands: dict[str, Callable[..., None]] = {
        "demo": demo,
        "collect": collect,
        "train": train,
        "improve": improve,
        "evaluate": evaluate,
        "doctor": doctor,
    }
    try:
        tyro.extras.subcommand_cli_from_dict(commands, prog="rise-gym", description=__doc__)
    except RiseGymError as error:
        print(f"rise-gym: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nrise-gym: interrupted; what was done is saved, the same command goes on from there", file=sys.stderr)
        sys.exit(130)


# -- data


def collect(
    folder: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    who: Who = "expert",
    policy: str = "bundled:box_close/base",
    episodes: int = 100,
    first_seed: int = 0,
    task: str = "box_close",
    noise: float = 1.0,
    processes: int = 2,
) -> None:
    """Record episodes of the replica as a LeRobot dataset.

    Args:
        folder: the dataset; episodes whose seeds it has already are skipped.
        who: the scripted expert, the expert with executed noise (near-misses, failures and recoveries), or a policy.
        policy: which policy, for `--who policy`: a folder or `bundled:<task>/<name>`.
        episodes: how many, one a seed.
        first_seed: the first seed; all have to be below 100000.
        task: name of the task.
        noise: factor of the noise (of the noisy expert, or added to a policy's actions as exploration).
        processes: how many run side by side.
    """
    from rise_gym.collection import CollectionConfig
    from rise_gym.collection import collect as run

    source: Literal["demonstration", "rollout"] = "demonstration" if who == "expert" else "rollout"
    config = CollectionConfig(
        episodes=episodes, first_seed=first_seed, task=task, source=source, policy=who if who != "policy" else policy,
        processes=processes,
    )  # fmt: skip
    chunk = task_card(task).chunk if who == "policy" else 1
    with _progress(f"collecting {who} episodes", episodes) as step:
        summary = run(
            config, folder, _replica(task, chunk=chunk, record_ticks=True), _actor(who, policy, task, noise),
            on_episode=lambda _: step(),
        )  # fmt: skip
    print(
        f"{folder}: {summary.episodes} episodes, {summary.frames} frames, {summary.successes} successful, "
        f"{summary.size_bytes / 1e6:.0f} MB"
    )


def _replica(task: str, **arguments: Any) -> Factory:
    from rise_gym.collection import Factory

    env_id = f"rise_gym:RiseMujoco-{task_card(task).title}-v0"
    return Factory(target="gymnasium:make", arguments={"id": env_id, "disable_env_checker": True, **arguments})


def _actor(who: Who, policy: str, task: str, noise: float) -> Factory:
    from rise_gym.collection import ExplorationNoise, Factory

    if who != "policy":
        factor = 0.15 * noise if who == "expert" else noise
        return Factory(target="rise_gym.agents.scripted:expert_actor", arguments={"noise": factor})
    agent = Factory(target="rise_gym.agents.flow_policy:load_policy", arguments={"name": policy, "task": task})
    base = ExplorationNoise()
    exploration = replace(base, joint_rad=base.joint_rad * noise, gripper_m=base.gripper_m * noise)
    return Factory(target="rise_gym.collection:AgentActor", arguments={"agent": agent, "noise": exploration})


def load_recordings(folders: list[Path], task: TaskCard) -> Recordings:
    """All episodes of several datasets, laid end to end."""
    from rise_gym.episodes import read_episodes
    from rise_gym.recordings import Recordings

    return Recordings.of([episode for folder in folders for episode in read_episodes(folder, task=task)], task)


# -- training


def train(
    part: Annotated[Part, tyro.conf.Positional],
    out: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    data: list[Path],
    task: str = "box_close",
    steps: int | None = None,
    learning_rate: float | None = None,
    minutes: float | None = None,
    initial: str | None = None,
    world_model: str | None = None,
    spread: Spread = "quantile",
    check_episodes: int = 0,
    seed: int = 0,
) -> None:
    """Train one part from recorded datasets.

    Codec, dynamics and value go, in this order, into one folder `out`; once all three are there, `out/checkpoint` is a
    world model. A value learns measured progress where all episodes have it (replicas), else elapsed time on successes.
    A policy goes into `out/checkpoint` as well.

    Args:
        part: codec, dynamics, value or policy.
        out: where to; the same command goes on where it was.
        data: dataset folders.
        task: name of the task.
        steps: gradient steps; by default what the bundled models took.
        learning_rate: its peak.
        minutes: stop after so many, even if steps are left.
        initial: policy, or folder with the dynamics, to start from; by default from nothing.
        world_model: for a policy: learn from rollouts too, with the advantage that this world model gives them (the
            paper's RECAP); without it only demonstrations are cloned.
        spread: how those advantages fill the bins: as they are (the paper), or by rank.
        check_episodes: for a policy: every 1500 steps play so many replica episodes, to see where it levels off; the
            curve goes to `out/checks.jsonl` and feeds nothing.
        seed: of the training.
    """
    card = task_card(task)
    recordings = load_recordings(data, card)
    given = {"steps": steps, "minutes": minutes, "learning_rate": learning_rate, "seed": seed}
    overrides = {name: value for name, value in given.items() if value is not None}
    if part == "policy":
        _train_policy(recordings, out, overrides, initial, world_model, spread, data[0] / LATENTS, check_episodes)
    else:
        _train_world_part(part, recordings, data, out, overrides, initial)


def _train_policy(
    recordings: Recordings,
    out: Path,
    overrides: dict[str, Any],
    initial: str | None,
    world_model: str | None,
    spread: Spread,
    latents: Path,
    check_episodes: int,
) -> None:
    import torch

    from rise_gym.agents.cloning import PolicyTraining, acting_moments, demonstration_moments, train_policy
    from rise_gym.agents.flow_policy import load_policy, save_policy

    config = PolicyTraining()
    config = replace(config, training=replace(config.training, **overrides))
    advantages, moments = torch.ones(len(recordings)), demonstration_moments(recordings)
    if world_model is not None:
        recordings, advantages = _labelled(recordings, world_model, spread, latents)
        moments = acting_moments(recordings)
    start = None if initial is None else load_policy(initial, task=recordings.task.name)
    with _progress("training the policy", config.training.steps) as step:
        policy = train_policy(
            recordings, advantages, config, out / "run", initial=start, moments=moments, on_progress=_shown(step),
            on_check=_replica_check(recordings.task.name, check_episodes, out) if check_episodes else None,
            check_every_steps=1500,
        )  # fmt: skip
    save_policy(out / "checkpoint", policy, card=_policy_card(policy, "trained on recordings", config))
    print(f"policy: {out / 'checkpoint'}")


def _labelled(recordings: Recordings, world_model: str, spread: Spread, latents: Path) -> tuple[Recordings, Any]:
    """Encoded recordings and the advantage of each moment."""
    from rise_gym._latent_cache import encoded_once
    from rise_gym.advantage import AdvantageConfig, label_recordings
    from rise_gym.world_model import CompositionalWorldModel

    model = CompositionalWorldModel.from_pretrained(world_model, task=recordings.task.name)
    encoded = encoded_once(recordings, model.codec, latents)
    labels = AdvantageConfig(scale=model.config.advantage_scale, spread=spread)
    return encoded, label_recordings(encoded, model.value, model.longest_chunk, labels)


def _policy_card(policy: FlowPolicy, how: str, config: Any) -> str:
    count = sum(parameter.numel() for parameter in policy.parameters())
    return (
        "---\nlibrary_name: rise_gym\nlicense: apache-2.0\ntags: [robotics, vla]\n---\n"
        f"# Policy for {policy.card.title}\n\n{policy.card.instruction}\n\n{count:,} parameters, {how}.\n\n"
        "```python\nfrom rise_gym.agents.flow_policy import load_policy\n\n"
        'policy = load_policy("this folder")\n```\n\n'
        f"Settings: `{config}`\n"
    )


def _train_world_part(
    part: Part, recordings: Recordings, data: list[Path], out: Path, overrides: dict[str, Any], initial: str | None
) -> None:
    from rise_gym._latent_cache import encoded_once
    from rise_gym.codec import CodecTraining, FrameCodec, train_codec
    from rise_gym.dynamics import VideoDynamics
    from rise_gym.dynamics_training import DynamicsTraining, train_dynamics
    from rise_gym.value_training import ValueTraining, calibrate_success, train_value

    config: Any = {"codec": CodecTraining, "dynamics": DynamicsTraining, "value": ValueTraining}[part]()
    if part == "value" and not bool(recordings.progress.isnan().any()):
        config = ValueTraining(
            progress_target="measured",
            progress_on="everything",
            success_margin=0.15,
            progress_only=0.5,
            td_weight=0.15,
        )
    config = replace(config, training=replace(config.training, **overrides))
    with _progress(f"training the {part}", config.training.steps) as step:
        shown, run = _shown(step), out / f"{part}_run"
        model: Any
        if part == "codec":
            model = train_codec(recordings, config, run, on_progress=shown)
        else:
            encoded = encoded_once(recordings, _saved_part(FrameCodec, out / "codec"), data[0] / LATENTS)
            if part == "dynamics":
                before = None if initial is None else _saved_part(VideoDynamics, Path(initial) / "dynamics")
                model = train_dynamics(encoded, config, run, initial=before, on_progress=shown)
            else:
                model = train_value(encoded, config, run, on_progress=shown)
                model.set_success_threshold(calibrate_success(model, encoded))
    model.save_pretrained(out / part)
    _seal(out, data, recordings.task)


def _saved_part(kind: Any, folder: Path) -> Any:
    if not folder.is_dir():
        raise RiseGymError(f"{folder} was wanted, it is not there; run `rise-gym train {folder.name}` first")
    return kind.from_pretrained(folder, local_files_only=True)


def _seal(out: Path, data: list[Path], task: TaskCard) -> None:
    """Once all three parts are there, write the world model's checkpoint, with starts from the last dataset."""
    import numpy as np

    from rise_gym.codec import FrameCodec
    from rise_gym.dynamics import VideoDynamics
    from rise_gym.episodes import read_episodes
    from rise_gym.starts import Starts
    from rise_gym.value import ProgressValue
    from rise_gym.world_model import CompositionalWorldModel

    kinds = {"codec": FrameCodec, "dynamics": VideoDynamics, "value": ProgressValue}
    if missing := [part for part in kinds if not (out / part).is_dir()]:
        print(f"{out}: still without {' and '.join(missing)}")
        return
    parts = {part: _saved_part(kind, out / part) for part, kind in kinds.items()}
    model = CompositionalWorldModel(task=task, **parts)
    episodes = read_episodes(data[-1], limit=24)
    window, random = model.history_ticks, np.random.default_rng(0)
    starts = Starts.from_episodes(episodes, task, window=window, mid_episode=1, generator=random)
    model.save_pretrained(out / "checkpoint", starts=starts, half_precision=True)
    print(f"world model: {out / 'checkpoint'}")


def improve(
    out: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    data: list[Path],
    policy: str = "bundled:box_close/base",
    world_model: str = "bundled:box_close/world_model",
    task: str = "box_close",
    steps: int | None = None,
    learning_rate: float | None = None,
    minutes: float | None = None,
    offline_ratio: float = 0.6,
    spread: Spread = "quantile",
    check_episodes: int = 0,
    seed: int = 0,
) -> None:
    """Improve a policy inside the world model's imagination (RISE); no simulator step is taken.

    Args:
        out: where to; the same command goes on where it was. TensorBoard curves are in `out/run/tensorboard`.
        data: recorded datasets: where imagination starts from, and what is mixed in.
        policy: where to start from.
        world_model: what imagines and judges; it stays as it is.
        task: name of the task.
        steps: gradient steps.
        learning_rate: its peak.
        minutes: stop after so many, even if steps are left.
        offline_ratio: fraction of recorded rows in a batch.
        spread: how advantages fill the bins: as they are (the paper), or by rank.
        check_episodes: every 1000 steps, play so many replica episodes to watch, into `out/checks.jsonl`; this
            never feeds training.
        seed: of the training.
    """
    given = {"steps": steps, "minutes": minutes, "learning_rate": learning_rate, "seed": seed}
    overrides = {name: value for name, value in given.items() if value is not None}
    recordings = load_recordings(data, task_card(task))
    improved = improve_policy(
        recordings, out, policy, world_model, overrides, data[0] / LATENTS, offline_ratio, spread, check_episodes
    )
    print(f"improved policy ({sum(p.numel() for p in improved.parameters()):,} parameters): {out / 'checkpoint'}")


def improve_policy(
    recordings: Recordings,
    out: Path,
    policy: str,
    world_model: str,
    overrides: dict[str, Any],
    latents: Path,
    offline_ratio: float = 0.6,
    spread: Spread = "quantile",
    check_episodes: int = 0,
) -> FlowPolicy:
    """Run RISE and save the policy to `out/checkpoint`."""
    from rise_gym.agents.flow_policy import load_policy, save_policy
    from rise_gym.agents.improve import ImproveConfig
    from rise_gym.agents.improve import improve as run
    from rise_gym.world_model import CompositionalWorldModel

    task = recordings.task.name
    model = CompositionalWorldModel.from_pretrained(world_model, task=task)
    encoded, advantages = _labelled(recordings, world_model, spread, latents)
    config = ImproveConfig(offline_ratio=offline_ratio, spread=spread)
    config = replace(config, training=replace(config.training, **overrides))
    with _progress("improving in imagination", config.training.steps) as step:
        improved = run(
            load_policy(policy, task=task), model, encoded, advantages, config, out / "run",
            on_progress=_shown(step), on_check=_replica_check(task, check_episodes, out) if check_episodes else None,
        )  # fmt: skip
    save_policy(out / "checkpoint", improved, card=_policy_card(improved, f"improved by RISE from {policy}", config))
    return improved


def _replica_check(task: str, episodes: int, out: Path) -> Callable[[int, FlowPolicy], None]:
    """Watches a policy under training on training seeds of the replica; for the eyes only, and for `checks.jsonl`."""
    from rise_gym.evaluation import evaluate as play

    def check(step: int, policy: FlowPolicy) -> None:
        result = play(_env_id("Mujoco", task), policy, episodes, 90_000)
        success, score = result["success_rate"], result["score_mean"]
        print(f"step {step}: replica success {success:.0%}, score {score:.2f} (n = {episodes})")
        with (out / "checks.jsonl").open("a") as lines:
            row = {name: result[name] for name in ("success_rate", "success_ci95", "score_mean", "episodes")}
            lines.write(json.dumps({"step": step, **row}) + "\n")

    return check


# -- measuring


def evaluate(
    env_id: Annotated[str, tyro.conf.Positional],
    /,
    *,
    policy: str = "bundled:box_close/rise",
    episodes: int = 50,
    seed: int = 100_000,
    advantage: float = 1.0,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    processes: int = 2,
) -> None:
    """Success and score of a policy over seeded episodes, with 95 % intervals.

    Args:
        env_id: a registered id, `RiseMujoco-BoxClose-v0` say.
        policy: a folder, `bundled:<task>/<name>`, `scripted` (replica only) or `random`.
        episodes: how many, seeds `seed` and up.
        seed: the first seed; reported figures use 100000 and up.
        advantage: what a policy is asked for, -1 to 1.
        json_file: also write the result there.
        processes: how many run side by side.
    """
    import rise_gym  # noqa: F401  (registers the ids)
    from rise_gym.evaluation import evaluate as play
    from rise_gym.evaluation import write_report_json

    spec_task = _task_of(env_id)
    with _progress(f"{policy} in {env_id}", episodes) as step:
        result = play(
            f"rise_gym:{env_id}" if ":" not in env_id else env_id, _agent(policy, spec_task), episodes, seed,
            policy=policy, processes=processes, advantage=advantage, chunk=1 if policy == "scripted" else None,
            on_episode=lambda _: step(),
        )  # fmt: skip
    result["env_id"] = env_id
    if json_file is not None:
        write_report_json(json_file, result)
    print(json.dumps(result, indent=2))


def _env_id(backend: str, task: str) -> str:
    return f"rise_gym:Rise{backend}-{task_card(task).title}-v0"


def _task_of(env_id: str) -> TaskCard:
    import gymnasium

    name = env_id.removeprefix("rise_gym:")
    if name not in gymnasium.registry:
        have = ", ".join(sorted(key for key in gymnasium.registry if key.startswith("Rise")))
        raise RiseGymError(f"no environment is called {env_id!r}; there are {have}")
    return task_card(gymnasium.registry[name].kwargs["task"])


def _agent(policy: str, task: TaskCard) -> Factory:
    """`scripted`, `random`, or a policy's folder or bundled name, to be built in each process."""
    from rise_gym.agents.flow_policy import load_policy
    from rise_gym.collection import Factory

    if policy == "scripted":
        return Factory(target="rise_gym.agents.scripted:expert_actor", arguments={"noise": 0.0})
    if policy == "random":
        return Factory(target="rise_gym.agents.baselines:RandomAgent", arguments={"task": task})
    load_policy(policy, task=task.name)  # a wrong name is told here, not by a worker process
    return Factory(target="rise_gym.agents.flow_policy:load_policy", arguments={"name": policy, "task": task.name})


def demo(
    out: Annotated[Path, tyro.conf.Positional] = Path("runs/demo"),
    /,
    *,
    task: str = "box_close",
    demonstrations: int = 30,
    rollouts: int = 60,
    minutes: float = 5.0,
    episodes: int = 40,
    seed: int = 100_000,
) -> None:
    """The main job in a quarter of an hour: record, improve in imagination, measure in the replica, report.

    Args:
        out: where data, runs and `report/report.html` go; the same command goes on where it was.
        task: name of the task.
        demonstrations: expert episodes to record.
        rollouts: episodes of the base policy to record.
        minutes: of improvement; no simulator step is taken in it.
        episodes: replica episodes to measure each policy with.
        seed: the first of their seeds.
    """
    from rise_gym.evaluation import play, summarise

    base, world_model = f"bundled:{task}/base", f"bundled:{task}/world_model"
    collect(out / "demonstrations", episodes=demonstrations, task=task)
    collect(out / "rollouts", who="policy", policy=base, episodes=rollouts, first_seed=20_000, task=task)
    recordings = load_recordings([out / "demonstrations", out / "rollouts"], task_card(task))
    improve_policy(recordings, out / "improved", base, world_model, {"minutes": minutes}, out / LATENTS)
    results: dict[str, dict[str, Any]] = {}
    played: dict[str, list[EpisodeResult]] = {}
    for name, policy in (("base", base), ("rise", str(out / "improved" / "checkpoint"))):
        began = time.monotonic()
        with _progress(f"measuring {name} in the replica", episodes) as step:
            played[name] = []
            agent = _agent(policy, task_card(task))
            for result in play(_env_id("Mujoco", task), agent, range(seed, seed + episodes), processes=2):
                played[name].append(result)
                step()
        results[name] = summarise(
            played[name], env_id=_env_id("Mujoco", task), policy=policy, seconds=time.monotonic() - began
        )
        print(f"{name}: success {results[name]['success_rate']:.0%}, score {results[name]['score_mean']:.2f}")
    page = _write_demo_report(out, task, results, played)
    print(f"report: {page}")


def _write_demo_report(out: Path, task: str, results: dict[str, Any], played: dict[str, Any]) -> Path:
    """Dreams beside the truth, and episodes that got better or still fail."""
    import gymnasium
    import torch

    from rise_gym.agents.flow_policy import load_policy
    from rise_gym.collection import AgentActor
    from rise_gym.evaluation import machine
    from rise_gym.report import Clip, Example, PolicyResult, ReportData, read_curves, write_report
    from rise_gym.report_material import clip_of, imagine_beside, play_and_record, telling_seeds
    from rise_gym.world_model import CompositionalWorldModel

    card = task_card(task)
    policies = {name: AgentActor(load_policy(result["policy"])) for name, result in results.items()}
    model = CompositionalWorldModel.from_pretrained(f"bundled:{task}/world_model")
    env = gymnasium.make(_env_id("Mujoco", task), record_ticks=True, disable_env_checker=True)

    def clips_of(seed: int) -> tuple[Clip, ...]:
        return tuple(
            clip_of(play_and_record(env, actor, seed, policy=name), card.cameras, name)
            for name, actor in policies.items()
        )

    def shown(title: str, seeds: list[int], wanted: Callable[[tuple[Clip, ...]], bool]) -> tuple[Example, ...]:
        """The first two that turn out so once more: a policy draws other noise when it plays alone."""
        played_again = ((seed, clips_of(seed)) for seed in seeds)
        fitting = ((seed, clips) for seed, clips in played_again if wanted(clips))
        return tuple(Example(title=f"{title}: seed {seed}", clips=clips) for seed, clips in islice(fitting, 2))

    better, failing = telling_seeds(played["base"], played["rise"], count=8)
    first = results["rise"]["seed"]
    dreams = []
    for seed in (first, first + 1):
        episode = play_and_record(env, policies["rise"], seed, policy="rise")
        for tick in (20, 70):
            title = f"Seed {seed}, from {tick / card.control_hz:.0f} s"
            noise = torch.Generator().manual_seed(seed)
            dreams.append(imagine_beside(model, episode, tick, chunks=2, generator=noise, title=title))
    data = ReportData(
        task=card,
        results=tuple(PolicyResult.of(name, result) for name, result in results.items()),
        before="base",
        after="rise",
        training=read_curves(out / "improved" / "run"),
        dreams=tuple(dreams),
        better=shown("Got better", better, lambda clips: clips[1].success and not clips[0].success),
        failing=shown("Still fails", failing, lambda clips: not clips[1].success),
        facts={"seeds": f"{first} and up", **{name: str(value) for name, value in machine().items()}},
    )
    return write_report(out / "report", data)


def doctor() -> None:
    """Say what this machine has, and what that means: versions, OpenGL, bundled weights."""
    import importlib.metadata as metadata

    from rich.console import Console
    from rich.table import Table

    table = Table("what", "found", "means")
    for name in ("rise-gym", "torch", "gymnasium", "diffusers", "mujoco", "stable-baselines3"):
        try:
            table.add_row(name, metadata.version(name), "")
        except metadata.PackageNotFoundError:
            table.add_row(name, "missing", f"pip install {name}")
    table.add_row(*_try("replica", lambda: _first_reset("Mujoco"), "RiseMujoco-BoxClose-v0 resets and draws"))
    table.add_row(*_try("dream", lambda: _first_reset("Imagined"), "RiseImagined-BoxClose-v0 resets"))
    Console().print(table)


def _try(what: str, check: Callable[[], object], means: str) -> tuple[str, str, str]:
    try:
        check()
    except RiseGymError as error:
        return what, "does not work", str(error)
    return what, "works", means


def _first_reset(backend: str) -> None:
    import gymnasium

    env = gymnasium.make(_env_id(backend, "box_close"))
    env.reset(seed=0)
    env.close()


# -- progress


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[..., None]]:
    """A progress bar; the function it yields advances by one, or to a given count with a note."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    with Progress(*columns) as bar:
        task = bar.add_task(what, total=total, note="")

        def step(completed: int | None = None, note: str = "") -> None:
            if completed is None:
                bar.advance(task)
            else:
                bar.update(task, completed=completed, note=note)

        yield step


def _shown(step: Callable[..., None]) -> Callable[[int, dict[str, float]], None]:
    return lambda count, figures: step(count, f"loss {figures['loss']:.4f}")
