"""`rise-gym demo`: the whole way in a quarter of an hour."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from rise_gym.commands._improving import improve_policy
from rise_gym.commands._progress import progress_bar
from rise_gym.commands._shared import LATENTS, env_id_of, known_task, load_recordings, require_at_least
from rise_gym.commands.collect import collect
from rise_gym.commands.evaluate import agent_factory
from rise_gym.tasks import task_card

if TYPE_CHECKING:
    from rise_gym.evaluation import EpisodeResult


def demo(
    out: Annotated[Path, tyro.conf.Positional] = Path("runs/demo"),
    /,
    *,
    task: str = "box_close",
    demonstrations: int = 40,
    rollouts: int = 60,
    steps: int = 300,
    minutes: float = 8.0,
    episodes: int = 40,
    seed: int = 100_000,
) -> None:
    """The main job in a quarter of an hour: record, improve in imagination, measure in the replica, report.

    Args:
        out: where data, runs and `report/report.html` go; the same command goes on where it was.
        task: name of the task, or its file.
        demonstrations: expert episodes to record.
        rollouts: episodes of the base policy to record.
        steps: gradient steps of improvement; no simulator step is taken in it.
        minutes: stop improving after so many, even if steps are left.
        episodes: replica episodes to measure each policy with.
        seed: the first of their seeds.
    """
    from rise_gym.agents.improve import ImproveConfig
    from rise_gym.evaluation import play, summarise

    require_at_least(1, demonstrations=demonstrations, rollouts=rollouts, episodes=episodes)
    require_at_least(0, seed=seed)
    config = ImproveConfig.climbing().changed(minutes=minutes, steps=steps)  # refuses what is none, before the work
    task = known_task(task).name
    base, world_model = f"bundled:{task}/base", f"bundled:{task}/world_model"
    # the first of those that the base learnt from: others, of another hand, would first of all unlearn it
    collect(out / "demonstrations", episodes=demonstrations, first_seed=100, noise=1.8, task=task)
    collect(out / "rollouts", who="policy", policy=base, episodes=rollouts, first_seed=20_000, noise=0.5, task=task)
    recordings = load_recordings([out / "demonstrations", out / "rollouts"], task_card(task))
    improve_policy(recordings, out / "improved", base, world_model, config, out / LATENTS)
    results: dict[str, dict[str, Any]] = {}
    played: dict[str, list[EpisodeResult]] = {}
    for name, policy in (("base", base), ("rise", str(out / "improved" / "checkpoint"))):
        began = time.monotonic()
        with progress_bar(f"measuring {name} in the replica", episodes) as step:
            played[name] = []
            agent = agent_factory(policy, task_card(task))
            for result in play(env_id_of("Mujoco", task), agent, range(seed, seed + episodes), processes=2):
                played[name].append(result)
                step()
        results[name] = summarise(
            played[name], env_id=env_id_of("Mujoco", task), policy=policy, seconds=time.monotonic() - began
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
    from rise_gym.trust import TrustFigures, bundled_trust
    from rise_gym.world_model import CompositionalWorldModel

    card = task_card(task)
    policies = {name: AgentActor(load_policy(result["policy"])) for name, result in results.items()}
    model = CompositionalWorldModel.from_pretrained(f"bundled:{task}/world_model")
    env = gymnasium.make(env_id_of("Mujoco", task), record_ticks=True, disable_env_checker=True)

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
        trust=bundled_trust(task) or TrustFigures(),
        failing=shown("Still fails", failing, lambda clips: not clips[1].success),
        facts={"seeds": f"{first} and up", **{name: str(value) for name, value in machine().items()}},
    )
    return write_report(out / "report", data)
