"""The benchmarks: their arithmetic, and miniatures of those that need neither trained weights nor OpenGL."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import fake_env
import imageio.v3 as imageio
import numpy as np
import pytest

from rise_gym.agents.flow_policy import FlowPolicy, FlowPolicyConfig
from rise_gym.agents.named import named_agent
from rise_gym.agents.trainable import save_policy
from rise_gym.episodes import write_episodes
from rise_gym.errors import InvalidCheckpoint
from rise_gym.evaluation import EpisodeResult
from rise_gym.progress_uncertainty import ProgressUncertainty, ProgressUncertaintyConfig
from rise_gym.recordings import Recordings
from rise_gym.starts import Starts, load_starts
from rise_gym.tasks import BOX_CLOSE, TASKS, TaskCard
from rise_gym.types import Episode
from rise_gym.world_model import CompositionalWorldModel

FOLDER = Path(__file__).parents[1] / "benchmarks"
CELL = {
    "success_rate": 0.5,
    "success_ci95": [0.1, 0.9],
    "score_mean": 8.0,
    "score_ci95": [7.0, 9.0],
    "successes": [1, 0] * 50,
}
"""What playing a cell of a table gives, where a test does not play."""


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a benchmark as if it was the script that runs."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr("sys.argv", ["benchmark.py"])
    return importlib.import_module


def episode(number: int, *, success: bool, length: int = 45, task: TaskCard = BOX_CLOSE) -> Episode:
    """A square that wanders; progress reaches 1 in successes and 0.3 in failures."""
    rng = np.random.default_rng(number)
    frames = np.full((length, 64, 64, 3), 90, np.uint8)
    for tick in range(length):
        frames[tick, 20:30, tick : tick + 10] = (230, 40, 60)
    return Episode(
        task=task.name,
        instruction=task.instruction,
        frames=dict.fromkeys(BOX_CLOSE.cameras, frames),
        proprio=np.full((length, 14), 0.01, np.float32),
        actions=rng.uniform(-0.5, 0.5, (length, 14)).astype(np.float32),
        success=success,
        score=10.0 if success else 2.5,
        source="rollout",
        policy="base",
        seed=100_000 + number,
        progress=np.linspace(0, 1.0 if success else 0.3, length, dtype=np.float32),
    )


@pytest.fixture(scope="module")
def held_out_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The dataset of a task: six episodes, every other a success."""
    data = tmp_path_factory.mktemp("data")

    @cache
    def written(task: str) -> Path:
        folder, card = data / f"held_out_{task}", TASKS[task]
        write_episodes(folder, [episode(number, success=number % 2 == 0, task=card) for number in range(6)], card)
        return folder

    return written


@pytest.fixture(scope="module")
def held_out(held_out_of: Callable[[str], Path]) -> Path:
    """That of box closing."""
    return held_out_of(BOX_CLOSE.name)


@pytest.mark.parametrize("name", ["dynamics", "dynamics_table"])
def test_without_opencv_one_line_says_how_to_get_it(
    name: str, benchmark: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = benchmark(name)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(SystemExit, match=r"pip install 'rise-gym\[benchmarks\]'"):
        command.main(output=tmp_path / "figures.json")


def test_throughput_miniature(benchmark: Callable[[str], Any], tiny_world: Path, tmp_path: Path) -> None:
    path = tmp_path / "throughput.json"
    benchmark("throughput").main(quick=True, output=path, world_model=str(tiny_world), batches=(1, 2))
    found = json.loads(path.read_text())
    assert [row["batch"] for row in found["dream"]] == [1, 2]
    for row in found["dream"]:
        assert row["view_frames_per_s"] == pytest.approx(30 * row["steps_per_s"])
        assert row["real_time_factor"] == pytest.approx(row["steps_per_s"])  # a chunk is a second of the robot
        assert row["gflop_per_step"] > 0
    assert found["import_s"] > 0
    assert {"commit", "machine", "command", "seconds"} <= set(found)


def test_dynamics_miniature(benchmark: Callable[[str], Any], tiny_world: Path, held_out: Path, tmp_path: Path) -> None:
    path = tmp_path / "dynamics.json"
    benchmark("dynamics").main(quick=True, output=path, world_model=str(tiny_world), data=held_out, states=0)
    found = json.loads(path.read_text())
    assert set(found["quality"]) == {"success", "failure"}
    for by_name in found["quality"].values():
        assert set(by_name) == {"imagined", "last_frame", "codec_alone"}
        for measures in by_name["imagined"].values():
            assert set(measures["psnr_db"]) == {*BOX_CLOSE.cameras, "mean"}
    still = found["quality"]["success"]["last_frame"]
    assert still["chunk_1"]["psnr_db"]["mean"] > still["chunk_2"]["psnr_db"]["mean"]  # the square wanders off
    assert found["shuffled_actions"]["ratio"] > 0


def test_a_perfect_world_has_perfect_figures(
    benchmark: Callable[[str], Any], counting_world: Callable[..., CompositionalWorldModel]
) -> None:
    dynamics = benchmark("dynamics")
    brightness = np.arange(45, dtype=np.uint8)[:, None, None, None]
    views = np.broadcast_to(brightness, (45, 64, 64, 3)).copy()
    one = episode(0, success=True)
    bright = Episode(
        **{**one.__dict__, "frames": dict.fromkeys(BOX_CLOSE.cameras, views), "actions": np.zeros_like(one.actions)}
    )
    recordings = Recordings.of([bright, bright], BOX_CLOSE)
    moments = dynamics.starts(recordings, True, 5)
    assert (moments + 20 <= recordings.last[moments]).all()
    np.testing.assert_array_equal(
        dynamics.imagined_frames(counting_world(), recordings, moments, moments),
        dynamics.true_frames(recordings, moments),
    )


def test_value_miniature(benchmark: Callable[[str], Any], tiny_world: Path, held_out: Path, tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    benchmark("value").main(quick=True, output=path, world_model=str(tiny_world), data=held_out)
    found = json.loads(path.read_text())
    assert found["successes"] == 3
    assert 0 <= found["auroc_all_frames"]["value"] <= 1


def test_value_figures_of_a_value_that_is_right(benchmark: Callable[[str], Any]) -> None:
    recordings = Recordings.of([episode(n, success=n % 2 == 0) for n in range(4)], BOX_CLOSE)
    progress = recordings.progress.numpy().astype(np.float64)
    found = benchmark("value").measured(recordings, progress, BOX_CLOSE)
    assert found["auroc_last_40_percent"]["value"] == 1.0
    assert 0.5 < found["auroc_all_frames"]["value"] < 1.0
    assert found["pearson_with_progress"]["value"] == pytest.approx(1)
    assert found["pearson_with_stage_score"]["value"] > 0.9


def test_deviations_miniature(
    benchmark: Callable[[str], Any], tiny_world: Path, held_out: Path, tmp_path: Path
) -> None:
    path = tmp_path / "deviations.json"
    benchmark("deviations").main(quick=True, output=path, world_model=str(tiny_world), data=held_out)
    found = json.loads(path.read_text())
    assert found["episodes"] == 4
    assert [row["ticks"] for row in found["after_ticks"]] == [10, 20, 30, 50]
    benchmark("summary").main(results=tmp_path)
    assert "| 50 | " in (tmp_path / "README.md").read_text()


def test_stage_score_counts_whole_stages(benchmark: Callable[[str], Any]) -> None:
    recordings = Recordings.of([episode(0, success=True, length=41)], BOX_CLOSE)
    score = benchmark("value").frame_columns(recordings, np.zeros(41), BOX_CLOSE)["score"]
    assert score.tolist() == [0.0] * 10 + [2.5] * 10 + [5.0] * 10 + [7.5] * 10 + [10.0]


def test_paired_comparison(benchmark: Callable[[str], Any]) -> None:
    def results(outcomes: list[bool]) -> list[EpisodeResult]:
        return [
            EpisodeResult(seed=n, is_success=done, score=10.0 * done, episode_return=float(done), steps=3)
            for n, done in enumerate(outcomes)
        ]

    found = benchmark("improvement").paired(results([True, True, True, False]), results([False, True, False, True]))
    assert found["success_points"] == 25.0
    assert (found["only_first_succeeds"], found["only_second_succeeds"]) == (2, 1)
    low, high = found["success_points_ci95"]
    assert low < 25 < high


def test_episodes_are_played_once_for_the_same_weights(
    benchmark: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    improvement, played = benchmark("improvement"), list[str]()

    def play(name: str, policy: str, seeds: range, processes: int, *, task: str) -> list[EpisodeResult]:
        played.append(f"{name} of {task}")
        return [EpisodeResult(seed=seed, is_success=True, score=10.0, episode_return=1.0, steps=3) for seed in seeds]

    monkeypatch.setattr(improvement, "played_episodes", play)
    (tmp_path / "policy").mkdir()
    manifest = tmp_path / "policy" / "rise_gym.json"
    for weights in ("first", "first", "second"):
        manifest.write_text(weights)
        policy = str(tmp_path / "policy")
        results, _ = improvement.kept_or_played("rise", policy, range(100_000, 100_003), 1, tmp_path / "kept")
        assert [one.seed for one in results] == [100_000, 100_001, 100_002]
    improvement.kept_or_played("rise", policy, range(100_000, 100_003), 1, tmp_path / "kept", task="brick_sort")
    assert played == ["rise of box_close", "rise of box_close", "rise of brick_sort"]


def test_checkpoints_are_measured_in_the_order_of_their_steps(
    benchmark: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plateau = benchmark("plateau")

    def kept(name: str, policy: str, seeds: range, processes: int, keep: Path) -> tuple[list[EpisodeResult], float]:
        done = policy == "late"
        rows = [EpisodeResult(seed=seed, is_success=done, score=7.5, episode_return=0.5, steps=3) for seed in seeds]
        return rows, 1.0

    monkeypatch.setattr(plateau, "kept_or_played", kept)
    plateau.main(checkpoints={5000: "late", 2000: "early"}, quick=True, output=tmp_path / "plateau.json")
    rows = json.loads((tmp_path / "plateau.json").read_text())["checkpoints"]
    assert [(row["steps"], row["success_rate"], row["episodes"]) for row in rows] == [(2000, 0.0, 4), (5000, 1.0, 4)]
    record = tmp_path / "plateau.json"
    before = json.loads(record.read_text())
    plateau.main(checkpoints={7000: "late", 5000: "early"}, quick=True, output=record, earlier=record)
    rows = json.loads(record.read_text())["checkpoints"]
    assert [(row["steps"], row["success_rate"]) for row in rows] == [(2000, 0.0), (5000, 0.0), (7000, 1.0)]
    assert rows[0]["commit"] == before["commit"]
    record.write_text(json.dumps(before | {"seeds": [1, 2]}))
    with pytest.raises(ValueError, match="not comparable"):
        plateau.main(checkpoints={7000: "late"}, quick=True, output=tmp_path / "other.json", earlier=record)
    record.write_text(json.dumps(before))
    benchmark("summary").main(results=tmp_path)
    assert "| 5000 | 4 | 100.0 % |" in (tmp_path / "README.md").read_text()


def test_policies_that_are_not_there_are_named(benchmark: Callable[[str], Any], tmp_path: Path) -> None:
    found, missing = benchmark("improvement").existing({"base": str(tmp_path), "recap": "bundled:box_close/nothing"})
    assert found == {"base": str(tmp_path)}
    assert len(missing) == 1
    assert missing[0].startswith("recap: ")


def test_policies_dream_whole_episodes_the_same_whenever(
    benchmark: Callable[[str], Any], tiny_world: Path, random_starts: Starts
) -> None:
    compared, policies = benchmark("imagined_vs_real"), benchmark("_policies")
    model = CompositionalWorldModel.from_pretrained(tiny_world)
    starts, found = random_starts.rows([0, 1]), {}
    for climbs in (0, 2):
        quality = policies.Quality(name="random", policy="random", climbs=climbs)
        agent = policies.VariedAgent("box_close", quality, model)
        found[climbs] = compared.imagined(agent, starts, model, horizon_s=3.0)
        assert found[climbs] == compared.imagined(agent, starts, model, horizon_s=3.0)
    assert found[0] != found[2]  # who climbs acts differently
    assert all(0 <= result.score <= 10 and result.steps <= 3 for results in found.values() for result in results)


def test_there_are_enough_policies_and_each_has_a_name_of_its_own(benchmark: Callable[[str], Any]) -> None:
    qualities = benchmark("_policies").qualities("base", "rise", {"recap": "runs/recap"})
    assert len({quality.name for quality in qualities}) == len(qualities) >= 20
    assert sum(quality.climbs > 0 for quality in qualities) >= 2
    assert qualities[-1].policy == "runs/recap"


def test_whole_dreams_count_where_they_begin_at_the_beginning(benchmark: Callable[[str], Any]) -> None:
    figures = {}
    for task in TASKS:
        figures[task] = benchmark("imagined_vs_real").Plan(task=task, world_model=f"bundled:{task}/world_model").figure
    assert figures == {"box_close": "success", "brick_sort": "gain", "backpack_pack": "success"}


def test_a_late_chunk_waits_where_the_joints_are(benchmark: Callable[[str], Any]) -> None:
    chunks = np.arange(2 * 10 * 14, dtype=np.float32).reshape(2, 10, 14) / 280
    proprio = BOX_CLOSE.unscale_action(np.full((2, 14), 0.25))
    late = benchmark("_policies").delayed(chunks, proprio, BOX_CLOSE, 3)
    np.testing.assert_allclose(late[:, :3], 0.25, atol=1e-6)
    np.testing.assert_array_equal(late[:, 3:], chunks[:, :7])
    np.testing.assert_array_equal(benchmark("_policies").delayed(chunks, proprio, BOX_CLOSE, 0), chunks)


@pytest.mark.parametrize("task", ["box_close", "brick_sort"])
def test_drift_calibration_and_uncertainty_miniatures_share_their_dreams(
    task: str,
    benchmark: Callable[[str], Any],
    tiny_world_of: Callable[[str], Path],
    held_out_of: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drift, calibration, uncertainty = benchmark("drift"), benchmark("calibration"), benchmark("uncertainty")
    dreamt: list[int] = []
    dreams = benchmark("_recorded_dreams")
    measure = dreams.drift_rows
    monkeypatch.setattr(dreams, "drift_rows", lambda *a, **how: dreamt.append(len(a[2])) or measure(*a, **how))
    how: dict[str, Any] = {"task": task, "world_model": str(tiny_world_of(task)), "data": held_out_of(task)}
    of = "" if task == "box_close" else f"_{task}"
    for _ in range(2):  # what is measured is taken
        drift.main(quick=True, output=tmp_path / f"drift{of}.json", states=0, keep=tmp_path / "kept", **how)
    kept = {"keep": tmp_path / "peaks", "keep_drift": tmp_path / "kept"}
    calibration.main(quick=True, output=tmp_path / f"calibration{of}.json", **kept, **how)
    uncertainty.main(quick=True, output=tmp_path / f"uncertainty{of}.json", keep=tmp_path / "kept", **how)
    assert dreamt == [3]
    assert [path.name.rpartition("_")[0] for path in (tmp_path / "kept").iterdir()] == [f"recorded_actions{of}"]
    found = json.loads((tmp_path / f"drift{of}.json").read_text())
    assert found["task"] == task
    assert set(found["drift"]) == {"success", "failure"}
    assert found["drift"]["success"]["count"] == [2, 2, 2]
    claims = json.loads((tmp_path / f"calibration{of}.json").read_text())
    assert claims["progress"]["chunks_1"]["count"] == claims["success"]["count"] == 3
    told = json.loads((tmp_path / f"uncertainty{of}.json").read_text())
    assert told["errors"]["pictures"]["chunks_1"]["count"] == 3
    assert told["cost"]["step_s"] > 0
    for name in ("drift", "calibration", "uncertainty"):
        assert (tmp_path / f"{name}{of}.png").stat().st_size > 1000
    benchmark("summary").main(results=tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert ("## Drift (3" if task == "box_close" else "## Drift: BrickSort (3") in page
    assert f"(calibration{of}.png)" in page
    assert f"(uncertainty{of}.png)" in page
    assert f"`drift{of}.json`" in page


def test_rankings_break_where_the_dream_no_longer_knows_better(benchmark: Callable[[str], Any]) -> None:
    ranking_figures = benchmark("_branched_rankings").ranking_figures
    true = np.array([[0.1, 0.2], [0.2, 0.4], [0.3, 0.6]])  # of three policies, after one chunk and after two
    states = [{"true": true, "imagined": np.stack([true[:, 0], true[::-1, 1]], axis=1)} for _ in range(5)]
    equal = {"true": np.full((3, 2), 0.1), "imagined": true}
    found = ranking_figures([*states, equal])
    assert found["decisive_states"] == [5, 5]
    assert [one["value"] for one in found["within_a_state"]] == pytest.approx([1, -1])
    assert found["breaks_after"] == 1
    assert found["over_policies"][1]["value"] < 0
    right = ranking_figures([{"true": true, "imagined": true}] * 3)
    assert right["breaks_after"] is None


def test_branches_go_on_for_as_many_chunks_as_are_asked_for(
    benchmark: Callable[[str], Any], counting_world: Callable[..., CompositionalWorldModel]
) -> None:
    env = fake_env.FakeEnv(record_ticks=True)
    moment = benchmark("_branching").Moment(
        state=fake_env.FakeState(0.1, 0),
        window=np.zeros((7, 3, 64, 64, 3), np.uint8),
        observation=env.set_state(fake_env.FakeState(0.1, 0)),
        progress=0.1,
    )
    agents = [fake_env.FakeAgent(), fake_env.FakeAgent()]
    found = benchmark("_branched_rankings").branched(env, counting_world(), agents, moment, 12, 0)
    true, imagined = np.array(found["true"]), np.array(found["imagined"])
    assert true.shape == imagined.shape == (2, 12)
    assert (true[:, 2:] == true[:, 2:3]).all()  # the episode is over, after 25 ticks at the latest
    assert (imagined[:, -1] > imagined[:, 7]).all()  # the dream goes on
    ranking = benchmark("_branched_rankings").ranking_figures([found] * 2)
    assert len(ranking["within_a_state"]) == len(ranking["over_policies"]) == 12


def test_a_policy_that_ranks_and_is_not_there_is_told_before_anything_is_dreamt(
    benchmark: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drift = benchmark("drift")
    monkeypatch.delattr(drift, "RecordedDreams")
    with pytest.raises(InvalidCheckpoint, match="nothing"):
        drift.main(task="brick_sort", rise="bundled:brick_sort/nothing", output=tmp_path / "drift.json", keep=tmp_path)


@pytest.mark.parametrize("task", ["box_close", "brick_sort"])
def test_exploit_miniature(
    task: str,
    benchmark: Callable[[str], Any],
    tiny_world_of: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exploit, name = benchmark("exploit"), "exploit.json" if task == "box_close" else f"exploit_{task}.json"
    replica = {"box_close": fake_env.SINGLE_ID, "brick_sort": fake_env.BRICK_ID}[task]
    monkeypatch.setattr(exploit, "env_id_of", lambda *_: replica)
    monkeypatch.setattr(exploit, "load_policy", lambda *_, **__: fake_env.FakeAgent(10))
    how: dict[str, Any] = {
        "task": task,
        "world_model": str(tiny_world_of(task)),
        "keep": tmp_path / "kept",
        "output": tmp_path / name,
    }
    exploit.main(quick=True, **how)
    found = json.loads((tmp_path / name).read_text())
    assert found["task"] == task
    names = ["policy alone", "adversary", "charged for uncertainty", "truncated when uncertain"]
    assert list(found["settings_measured"]) == names
    monkeypatch.delattr(exploit, "exploited")  # what is measured is taken
    exploit.main(quick=True, **how)
    assert json.loads((tmp_path / name).read_text())["settings_measured"] == found["settings_measured"]
    benchmark("summary").main(results=tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert "| charged for uncertainty | 2" in page
    assert ("## Exploit probe (2" if task == "box_close" else "## Exploit probe: BrickSort (2") in page


def comparison_cell(number: int) -> dict[str, Any]:
    """A policy that succeeds in `number` of 10 episodes, and dreams one success less."""
    sides = {"true": number, "imagined": max(number - 1, 0)}
    return {
        "policy": f"policy {number}",
        "exploits": number == 3,
        **{
            side: {"success": count / 10, "score": float(count), "episode_return": count / 10, "gain": count / 100}
            for side, count in sides.items()
        },
        "episodes": {side: {"success": [1] * count + [0] * (10 - count)} for side, count in sides.items()},
    }


def test_imagined_against_real_goes_on_policy_by_policy(
    benchmark: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compared, policies = benchmark("imagined_vs_real"), benchmark("_policies")
    asked = list[int]()
    killed = [True]

    def measured(self: Any, quality: Any) -> dict[str, Any]:
        if len(asked) == 4 and killed:
            raise KeyboardInterrupt
        asked.append(round(10 * quality.noise))
        return comparison_cell(asked[-1])

    class Nothing:
        def close(self) -> None: ...

    def prepared(self: Any) -> None:
        self._short = Nothing()

    named = [policies.Quality(name=f"policy {n}", policy="random", noise=n / 10) for n in range(9)]
    monkeypatch.setattr(compared, "qualities", lambda *_: named)
    monkeypatch.setattr(compared.Cells, "measured", measured)
    monkeypatch.setattr(compared.Cells, "_prepare", prepared)
    how: dict[str, Any] = {"output": tmp_path / "imagined_vs_real.json", "starts": 10}
    with pytest.raises(KeyboardInterrupt):
        compared.main(**how)
    kept = json.loads(how["output"].read_text())["tasks"]["BoxClose"]
    assert (kept["unfinished"], kept["policies_count"], len(kept["policies"])) == (True, 4, 4)
    benchmark("summary").main(results=tmp_path)
    assert "4 policies so far" in (tmp_path / "README.md").read_text()
    compared.main(**how, measured_only=True)
    assert json.loads(how["output"].read_text())["tasks"]["BoxClose"]["policies_count"] == 4
    killed.clear()
    compared.main(**how)
    assert asked == list(range(9))  # none of them twice
    found = json.loads(how["output"].read_text())
    task = found["tasks"]["BoxClose"]
    assert {"commit", "machine", "command"} <= set(found)
    assert (task["policies_count"], task["starts"], len(task["policies"])) == (9, 10, 9)
    assert task["pearson"] == task["success"]["pearson"]["value"] > 0.98
    assert task["mmrv"] == pytest.approx(0.1 / 9)  # policies 0 and 1 are dreamt alike
    assert len(task["pearson_ci95"]) == len(task["spearman_ci95"]) == len(task["mmrv_ci95"]) == 2
    assert task["false_success"]["missed_successes"] == 8
    assert "careful: a success rate of 10 episodes" in capsys.readouterr().out
    assert (tmp_path / "imagined_vs_real_box_close.png").stat().st_size > 1000
    benchmark("summary").main(results=tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert "| policy 8 | 80.0 % | 70.0 % |" in page
    assert "(imagined_vs_real_box_close.png)" in page


def test_imagined_against_real_keeps_the_policies_that_were_measured_besides(
    benchmark: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compared, policies = benchmark("imagined_vs_real"), benchmark("_policies")
    weights = {"mine": "first"}

    def weights_of(name: str) -> str:
        if name == "mine" and not weights:
            raise InvalidCheckpoint("'mine' is no folder")
        return weights.get(name, name)

    usual = [policies.Quality(name=f"policy {n}", policy="random", noise=n / 10) for n in range(3)]
    more = policies.Quality(name="more", policy="mine")
    monkeypatch.setattr(compared, "_weights", weights_of)
    monkeypatch.setattr(compared, "qualities", lambda base, rise, given: [*usual, *([more] if given else [])])
    monkeypatch.setattr(compared.Cells, "_prepare", lambda self: None)
    monkeypatch.setattr(
        compared.Cells,
        "measured",
        lambda self, one: comparison_cell(round(10 * one.noise)) | {"policy": one.name, "of": asdict(one)},
    )
    monkeypatch.setattr(compared, "summed", lambda cells, _: dict.fromkeys(compared.FIGURES) | {"policies": cells})
    monkeypatch.setattr(compared, "show", lambda _: None)
    monkeypatch.setattr(compared, "scatter_plot", lambda *_: b"")
    output = tmp_path / "imagined_vs_real.json"

    def recorded() -> list[str]:
        return [cell["policy"] for cell in json.loads(output.read_text())["tasks"]["BoxClose"]["policies"]]

    compared.main(output=output, starts=10, more={"more": "mine"})
    assert recorded() == ["policy 0", "policy 1", "policy 2", "more"]
    compared.main(output=output, starts=10)
    assert recorded() == ["policy 0", "policy 1", "policy 2", "more"]
    weights.clear()  # on another machine
    compared.main(output=output, starts=10)
    assert recorded() == ["policy 0", "policy 1", "policy 2", "more"]
    weights["mine"] = "second"
    capsys.readouterr()
    compared.main(output=output, starts=10)
    assert "'more' was measured with other weights or settings and leaves the record" in capsys.readouterr().out
    assert recorded() == ["policy 0", "policy 1", "policy 2"]
    compared.main(output=output, starts=10, more={"more": "mine"})
    compared.main(output=output, starts=12)
    assert recorded() == ["policy 0", "policy 1", "policy 2"]


def test_the_summary_shows_what_was_recorded_and_leaves_out_what_was_not(
    benchmark: Callable[[str], Any], tmp_path: Path
) -> None:
    row = {
        "episodes": 200,
        "success_rate": 0.355,
        "success_ci95": [0.29, 0.42],
        "score_mean": 6.25,
        "score_ci95": [6, 7],
    }
    pair = {
        "success_points": 12.5,
        "success_points_ci95": [4.0, None],
        "only_first_succeeds": 40,
        "only_second_succeeds": 15,
    }
    recorded = {
        "seeds": [100_000, 100_199],
        "policies": {"base": {**row, "note": "cloned"}},
        "paired": {"rise - base": pair},
        "command": "python benchmarks/improvement.py",
        "seconds": 120.0,
    }
    (tmp_path / "improvement.json").write_text(json.dumps(recorded))
    benchmark("summary").main(results=tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert "| base | cloned | 200 | 35.5 % | 29 to 42 | 6.25 | 6.00 to 7.00 |" in page
    assert "| rise - base | +12.5 | - | 40 | 15 |" in page
    assert "## Speed" not in page
    assert "| - | without pre-training | not recorded yet | - | - | - | - | 15 % | 7.43 |" in page
    assert (
        "| one round | the new episodes are the base's; all steps in the refreshed dream | not recorded yet |" in page
    )
    assert "| failure | full | not recorded yet | - | - | - | - | 23.90 | 0.82 | 0.54 | 66.84 | 0.07 |" in page


def test_trainings_from_several_seeds_are_held_against_their_own_bases(benchmark: Callable[[str], Any]) -> None:
    def cell(row: str, seed: int, successes: list[int]) -> dict[str, Any]:
        labels = {"task": "box_close", "row": row, "training_seed": seed, "score_mean": 5.0}
        return {**labels, "successes": successes, "success_rate": sum(successes) / len(successes)}

    base, rise = [1, 0, 0, 0], [1, 1, 1, 0]
    page = "".join(
        benchmark("summary").over_training_seeds(
            [cell("rise", 1, rise), cell("base", 0, base), cell("base", 1, base[::-1]), cell("rise", 0, rise),
             cell("control", 0, base)]
        )
    )  # fmt: skip
    assert "| box_close | base | 25.0 %, 25.0 % | 25.0 % | 5 | - |" in page
    assert "| box_close | rise | 75.0 %, 75.0 % | 75.0 % | 5 | +50.0 (" in page
    assert "control" not in page


def test_findings_are_held_against_the_papers_on_the_same_seeds(
    benchmark: Callable[[str], Any], tmp_path: Path
) -> None:
    def record(folder: str, name: str, successes: list[int], **labels: Any) -> None:
        rate = sum(successes) / len(successes)
        cell = {**labels, "success_rate": rate, "success_ci95": [0, 1], "score_mean": 5.0, "score_ci95": [4, 6]}
        cell |= {
            "episodes": len(successes),
            "replica_episodes": 0,
            "gradient_steps": 0,
            "note": "",
            "task": "box_close",
        }
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{name}.json").write_text(json.dumps({**cell, "successes": successes}))

    for row, successes in {"rise": [1] * 20, "base": [0] * 20, "recap": [1] * 19 + [0]}.items():
        record("main_table", row, successes, row=row, training_seed=0)
    for variant, successes in {"ratio 0.6": [0] * 10, "ratio 0.9": [1] * 10, "ratio 0.1": [0] * 9 + [1]}.items():
        record("ablations", variant, successes, table="offline_ratio", variant=variant)
    benchmark("summary").main(results=tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert "| box_close | main | rise | base | 60 | +100.0 | 100.0 to 100.0 | agrees |" in page
    assert "| box_close | main | rise | recap | 35 | +5.0 | 0.0 to 15.0 | open |" in page
    assert "| box_close | main | base | ppo | 25 | not recorded yet |" in page
    assert "| box_close | offline ratio | ratio 0.6 | ratio 0.9 | 20 | -100.0 | -100.0 to -100.0 | differs |" in page
    assert "| box_close | offline ratio | ratio 0.6 | ratio 0.1 | 45 | -10.0 | -30.0 to 0.0 | open |" in page


def test_a_recorded_cell_of_the_main_table_is_not_measured_again(
    benchmark: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table, cells, folder = benchmark("main_table"), benchmark("_cells"), tmp_path / "cells"
    asked: list[str] = []

    def played(made: Any, *, title: str, episodes: int, **how: Any) -> dict[str, Any]:
        asked.append(title)
        return {"episodes": episodes, "replica_episodes": 0, "gradient_steps": None, **CELL}

    monkeypatch.setattr(cells, "played", played)
    for name in ("base_1", "rise_1", "ppo_0"):
        (tmp_path / "box_close" / name / "checkpoint").mkdir(parents=True)
    for rows in (("base",), ("base", "ppo", "rise")):
        table.main(output=folder, rows=rows, training_seeds=2, workspace=tmp_path)
    assert asked == [f"box_close_{name}" for name in ("base_0", "base_1", "ppo_0", "rise_0", "rise_1")]
    found = table.ordered(cells.recorded_cells(folder))
    assert [cell["row"] for cell in found] == ["base", "base", "ppo", "rise", "rise"]
    assert "50.0%" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no method is called cloning"):
        table.main(output=folder, rows=("cloning",), workspace=tmp_path)


def test_agents_learn_in_the_dream_and_are_saved(
    benchmark: Callable[[str], Any],
    tiny_world: Path,
    held_out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agents, cells = benchmark("reinforcement"), benchmark("_cells")
    narrow = FlowPolicyConfig(channels=(2, 4, 4), grid_channels=2, context_width=16, head_width=32, head_blocks=1)
    base = save_policy(tmp_path / "base", FlowPolicy.of(narrow, BOX_CLOSE))
    played: list[Any] = []

    def play(made: Any, **how: Any) -> dict[str, Any]:
        played.append(named_agent(made.policy, task="box_close"))
        return {"episodes": how["episodes"], **CELL}

    monkeypatch.setattr(cells, "played", play)
    world = CompositionalWorldModel.from_pretrained(tiny_world)
    doubt = ProgressUncertaintyConfig(chunk=world.longest_chunk, later=len(world.dynamics.config.later))
    world.progress_uncertainty = ProgressUncertainty.of(doubt, BOX_CLOSE)
    doubting = world.save_pretrained(tmp_path / "world", starts=load_starts(tiny_world / "starts.npz"))
    how: dict[str, Any] = {"world_model": str(doubting), "base": str(base), "workspace": tmp_path / "made"}
    how["data"] = held_out
    for _ in range(2):  # what is recorded is not made again
        agents.main(quick=True, output=tmp_path / "reinforcement", **how)
    kinds = ["FlowPolicy", "Sb3Agent", "Sb3Agent", "ResidualPolicy", "ResidualPolicy", "ResidualPolicy"]
    assert [type(agent).__name__ for agent in played] == kinds
    benchmark("summary").main(results=tmp_path)
    assert "| sac residual | box_close | 1 |" in (tmp_path / "README.md").read_text()
    with pytest.raises(SystemExit, match="no row is called dqn"):
        agents.main(rows=("dqn",), output=tmp_path, **how)


def test_a_policy_that_is_there_is_not_made_again(benchmark: Callable[[str], Any], tmp_path: Path) -> None:
    workshop_of = benchmark("_workshop")
    budget = workshop_of.Budget.miniature()
    for name in ("base_1", "rise_1", "ppo_1"):
        (tmp_path / "box_close" / name / "checkpoint").mkdir(parents=True)
    workshop = workshop_of.Workshop("box_close", 1, budget, tmp_path)
    (tmp_path / "box_close" / "rollouts_1").mkdir()
    assert workshop.base().policy == str(tmp_path / "box_close" / "base_1" / "checkpoint")
    assert (workshop.rise().replica_episodes, workshop.rise().gradient_steps) == (2, 2)
    assert workshop.ppo().gradient_steps is None


def test_ablations_differ_in_what_their_rows_say(
    benchmark: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ablations, cells, workshop = benchmark("ablations"), benchmark("_cells"), benchmark("_workshop")
    made: list[dict[str, Any]] = []
    played: list[float] = []

    def play(made: Any, *, advantage: float = 1.0, **how: Any) -> dict[str, Any]:
        played.append(advantage)
        return {"episodes": 100, **CELL}

    monkeypatch.setattr(cells, "played", play)
    monkeypatch.setattr(workshop, "improve", lambda out, **how: made.append(how))
    monkeypatch.setattr(workshop, "collect", lambda folder, **how: None)
    ablations.main(output=tmp_path / "cells", tables=("offline_ratio", "horizon", "steering"), workspace=tmp_path)
    assert [how["offline_ratio"] for how in made[:4]] == [0.1, 0.3, 0.6, 0.9]
    assert [how["max_imagined_chunks"] for how in made[4:]] == [1, 2, 3, 5]
    assert len({how["steps"] for how in made}) == 1
    assert played == [1.0] * 9 + [-0.1, -1.0]
    with pytest.raises(SystemExit, match="no table is called size"):
        ablations.main(output=tmp_path / "cells", tables=("size",), workspace=tmp_path)
    with pytest.raises(SystemExit, match="no row is called bin 3"):
        ablations.main(output=tmp_path / "cells", variants=("bin 3",), workspace=tmp_path)
    ablations.main(output=tmp_path / "one", tables=("horizon", "steering"), variants=("bin 5",), workspace=tmp_path)
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["box_close_steering_bin_5.json"]


def test_world_models_of_the_table_of_modules_differ_in_one_thing(
    benchmark: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop_of, worlds = benchmark("_workshop"), benchmark("_world_models")
    trained: dict[str, dict[str, Any]] = {}

    def train(part: str, out: Path, **how: Any) -> None:
        assert f"{out.name}/{part}" not in trained
        trained[f"{out.name}/{part}"] = how
        (out / part).mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(worlds, "train", train)
    monkeypatch.setattr(workshop_of, "collect", lambda folder, **how: None)
    models = worlds.WorldModels(workshop_of.Workshop("box_close", 0, workshop_of.Budget(), tmp_path))
    made = [models.made(name) for _ in range(2) for name in worlds.VARIANTS]
    assert made[:5] == made[5:]
    assert len(set(made)) == 5
    begun = {name.split("_0/")[0]: how for name, how in trained.items() if name.startswith("world_begun")}
    assert len(begun["world_begun"]["data"]) == 9  # demonstrations, mishaps, random targets of three tasks
    assert begun["world_begun"]["data"] == begun["world_begun_mixed"]["data"]
    assert [how.get("task_centric") for how in begun.values()] == [True, None, False]
    assert [folder.name for folder in begun["world_begun_on_one_task"]["data"]] == ["demonstrations", "rollouts_0"]
    assert len({how["steps"] for how in begun.values()}) == 1
    values = [how for name, how in trained.items() if name.endswith("/value")]
    assert [how.get("progress_weight") for how in values] == [None, 0.0, None]
    assert [how.get("td_weight") for how in values] == [None, None, 0.0]
    last = {name: how for name, how in trained.items() if name.endswith("/dynamics") and "begun" not in name}
    assert len(last) == 5
    assert [Path(how.pop("initial")).name for how in last.values()] == [
        "world_begun_0", "world_begun_on_one_task_0", "world_begun_mixed_0", "world_begun_0", "world_begun_0",
    ]  # fmt: skip
    assert all(how == next(iter(last.values())) for how in last.values())


def test_a_world_model_is_made_from_scratch(
    benchmark: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all sizes as they are, on next to nothing."""
    workshop_of, worlds = benchmark("_workshop"), benchmark("_world_models")

    def collect(folder: Path, *, task: str, **how: Any) -> None:
        if not folder.is_dir():
            episodes = [episode(number, success=number == 0, length=14, task=TASKS[task]) for number in range(2)]
            write_episodes(folder, episodes, TASKS[task])

    monkeypatch.setattr(workshop_of, "collect", collect)
    monkeypatch.setattr(workshop_of.Workshop, "base", lambda self: workshop_of.Made(policy="base"))
    workshop = workshop_of.Workshop("brick_sort", 0, workshop_of.Budget.miniature(), tmp_path)
    folder = worlds.WorldModels(workshop).made("full")
    model = CompositionalWorldModel.from_pretrained(folder, task="brick_sort")
    assert model.dynamics.renderer is None
    assert model.tasks == ("brick_sort",)  # the only one that it was taught in the end
    begun = (tmp_path / "brick_sort" / "rollouts_0", tmp_path / "backpack_pack" / "random")
    assert all(place.is_dir() for place in begun)
    monkeypatch.delattr(worlds, "train")  # what is made is taken
    assert worlds.WorldModels(workshop).made("full") == folder


def test_rise_is_improved_in_each_of_those_world_models(
    benchmark: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ablations, cells, workshop = benchmark("ablations"), benchmark("_cells"), benchmark("_workshop")
    used: list[str] = []
    monkeypatch.setattr(cells, "played", lambda made, **how: {"episodes": 100, **CELL})
    monkeypatch.setattr(workshop, "improve", lambda out, *, world_model, **how: used.append(world_model))
    monkeypatch.setattr(workshop, "collect", lambda folder, **how: None)
    monkeypatch.setattr(ablations.WorldModels, "made", lambda self, name: name)
    ablations.main(output=tmp_path / "ablations", tables=("modules",), workspace=tmp_path)
    assert used == list(ablations.VARIANTS) == list(ablations.PAPER_MODULES)
    benchmark("summary").main(results=tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert "| box_close | full | 50.0 % | 10 to 90 | 8 | 100 |" in page
    assert "| 15 % | 7.43 |" in page
    assert "## Ablations" not in page


def test_all_tables_of_the_paper_are_one_command(
    benchmark: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper, cells, workshop = benchmark("paper"), benchmark("_cells"), benchmark("_workshop")
    played: list[str] = []
    steps: list[int] = []

    def play(made: Any, *, title: str, episodes: int, **how: Any) -> dict[str, Any]:
        played.append(title)
        return {"episodes": episodes, **asdict(made), **CELL}

    monkeypatch.setattr(cells, "played", play)
    for name in ("train", "improve", "collect", "baseline"):
        monkeypatch.setattr(workshop, name, lambda *_, **how: steps.append(how.get("steps") or 0))
    monkeypatch.setattr(paper.ablations.WorldModels, "made", lambda self, name: name)
    monkeypatch.setattr(paper.dynamics_table, "main", lambda *, output, **how: output.write_text('{"rows": {}}'))
    for _ in range(2):  # what is recorded is not played again
        paper.main(quick=True, workspace=tmp_path)
    rows, ablations = len(TASKS) * len(paper.main_table.ROWS), sum(map(len, paper.ablations.TABLES.values()))
    assert len(played) == len(set(played)) == rows + ablations
    assert 0 < max(steps) <= 10  # a miniature trains nothing for long
    page = (tmp_path / "quick_results" / "README.md").read_text()
    for part in ("## Main table (replica, 1 episodes", "## Ablations", "## Modules", "## Beside the paper"):
        assert part in page


def test_dynamics_table_miniature(
    benchmark: Callable[[str], Any], tiny_world: Path, held_out: Path, tmp_path: Path
) -> None:
    path, tables = tmp_path / "dynamics_table.json", benchmark("dynamics_table")
    tables.main(quick=True, output=path, checkpoints=dict.fromkeys(tables.MODELS, str(tiny_world)), data=held_out)
    found = json.loads(path.read_text())
    for rows in found["rows"].values():
        assert list(rows) == [*tables.MODELS, tables.LAST_FRAME]
        assert rows["full"] == rows["without pre-training"]  # the same model
        assert rows["full"]["lpips"] == "not available"
        assert rows["full"]["frechet_distance_of_features"] > 0
    benchmark("summary").main(results=tmp_path)
    assert "| success | last frame copied |" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("task", ["box_close", "backpack_pack"])
def test_rounds_differ_in_whose_episodes_are_new_and_in_nothing_that_counts(
    task: str, benchmark: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds, workshop_of = benchmark("rounds"), benchmark("_workshop")
    improved: dict[str, dict[str, Any]] = {}
    collected: dict[str, dict[str, Any]] = {}
    refreshed: list[list[Path]] = []

    def improve(out: Path, **how: Any) -> None:
        assert out.name not in improved
        improved[out.name] = how
        (out / "checkpoint").mkdir(parents=True)

    def refresh(world_model: str, card: Any, data: list[Path], out: Path, config: Any) -> Path:
        assert config.steps == 1500
        refreshed.append(data)
        return out / "checkpoint"

    def kept(name: str, policy: str, seeds: range, *_: Any, **how: Any) -> tuple[list[EpisodeResult], float]:
        assert how["task"] == task
        done = name == "two_rounds"
        return [
            EpisodeResult(seed=seed, is_success=done, score=7.5, episode_return=0.5, steps=3) for seed in seeds
        ], 1.0

    monkeypatch.setattr(rounds, "improve", improve)
    monkeypatch.setattr(rounds, "refresh_world_model", refresh)
    monkeypatch.setattr(rounds, "kept_or_played", kept)
    monkeypatch.setattr(rounds, "collect", lambda folder, **how: collected.update({str(folder): how}))
    monkeypatch.setattr(workshop_of, "collect", lambda folder, **how: None)
    name = "rounds.json" if task == "box_close" else f"rounds_{task}.json"
    for _ in range(2):  # what is made is taken
        rounds.main(task=task, output=tmp_path / name, workspace=tmp_path, episodes=4)
    (more,) = collected.values()
    two = improved["two_rounds_0"]
    assert (more["episodes"], more["first_seed"]) == (two["round_episodes"], two["first_seed"]) == (60, 70_000)
    assert (more["noise"], more["policy"]) == (0.5, f"bundled:{task}/base")
    assert {more["task"], *[how["task"] for how in improved.values()]} == {task}
    assert two["world_model"] == f"bundled:{task}/world_model"
    halves = improved["one_round_half_0"], improved["one_round_begun_again_0"]
    for steps, count in (("steps", 1000), ("warmup_steps", 1600)):
        assert two["rounds"] * two[steps] == improved["one_round_0"][steps] == count
        assert sum(how[steps] for how in halves) == count
    assert halves[1]["policy"].endswith("one_round_half_0/checkpoint")
    assert all(data == improved["one_round_0"]["data"] == halves[1]["data"] for data in refreshed)
    assert two["data"] == refreshed[0][:2]
    found = json.loads((tmp_path / name).read_text())
    assert found["task"] == task
    assert found["paired"]["two rounds - one round, begun again"]["success_points"] == 100.0
    assert found["policies"]["two rounds"]["replica_episodes"] == 280
    benchmark("summary").main(results=tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert page.count("| two rounds - one round | +100.0 |") == 1
    assert page.count("## Rounds (") == 1
    assert page.count("## Rounds: BackpackPack (") == (task == "backpack_pack")
    with pytest.raises(ValueError, match="even number"):
        rounds.Plan(steps=3)


def test_a_dream_beside_the_truth(
    benchmark: Callable[[str], ModuleType], tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = benchmark("dream_film")
    monkeypatch.setattr(films, "played", lambda task, policy, seed: episode(seed, success=True))
    films.main(folder=tmp_path, world_model=str(tiny_world), seed=0)
    pictures = imageio.imread(tmp_path / "dream_box_close.webp", index=..., plugin="pillow")
    drawn = 21 + films.HOLD_S * films.FRAMES_A_SECOND  # of 40 ticks
    assert 10 < len(pictures) <= drawn  # equal pictures are stored once
    true, imagined = (pictures[0][rows, 160:352, :3].astype(float) for rows in (slice(26, 218), slice(222, 414)))
    assert abs(true - imagined).mean() < 4  # both begin with the recorded picture
