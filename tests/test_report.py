"""The report opens alone, says what was measured, and its material is what the world model and the env gave."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import fake_env
import gymnasium
import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from rise_gym.comparison import ranked
from rise_gym.errors import SaveFailed
from rise_gym.evaluation import EpisodeResult
from rise_gym.reliability import false_success, reliability
from rise_gym.report import (
    Clip,
    Dream,
    Example,
    PolicyResult,
    ReportData,
    read_curves,
    write_report,
    write_trust_report,
)
from rise_gym.report_material import clip_of, imagine_beside, play_and_record, telling_seeds
from rise_gym.tasks import BOX_CLOSE
from rise_gym.trust import TrustFigures
from rise_gym.types import Episode

STEPS = np.arange(20.0, 400.0, 20.0)


def result(name: str, rate: float, note: str = "") -> PolicyResult:
    return PolicyResult.of(
        name,
        {
            "episodes": 200,
            "success_rate": rate,
            "success_ci95": [rate - 0.06, rate + 0.06],
            "score_mean": 10 * rate,
            "score_ci95": [10 * rate - 0.4, 10 * rate + 0.4],
            "return_mean": rate,
        },
        note=note,
    )


def frames(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 3, 64, 64, 3), dtype=np.uint8)


def dream() -> Dream:
    rise = np.linspace(0.2, 0.4, 11)
    return Dream(
        title="a dream", true=frames(11), imagined=frames(11), true_progress=rise, imagined_progress=rise, chunk=10
    )


def example(title: str) -> Example:
    clips = (
        Clip(label="base", frames=frames(12), success=False, score=2.5),
        Clip(label="RISE", frames=frames(7), success=True, score=10.0),
    )
    return Example(title=title, clips=clips)


@pytest.fixture(scope="module")
def report() -> ReportData:
    return ReportData(
        task=BOX_CLOSE,
        results=(result("expert", 0.93), result("base", 0.345, "cloned <well>"), result("RISE", 0.78)),
        before="base",
        after="RISE",
        training={
            "loss": (STEPS, 1 / STEPS),
            "imagined/advantage_mean": (STEPS, STEPS / 400),
            **{f"imagined_bins/{number}": (STEPS, np.full_like(STEPS, 0.1)) for number in range(1, 11)},
        },
        dreams=(dream(),),
        better=(example("seed 100012"),),
        failing=(),
        facts={"commit": "abc & def"},
    )


@pytest.fixture(scope="module")
def folder(report: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where that report was written."""
    return write_report(tmp_path_factory.mktemp("written") / "report", report).parent


class Sources(HTMLParser):
    """Everything that the page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def test_page_needs_no_other_file_and_no_network(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    parser = Sources()
    parser.feed(page)
    assert len(parser.found) >= 7
    assert all(source.startswith(("data:image/png;base64,", "data:video/mp4;base64,")) for source in parser.found)
    assert not re.search(r"https?://|@import|<script", page)


def test_page_says_what_was_measured(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    for text in (
        "34.5 %",
        "78.0 %",
        "72 to 84",
        "+44",
        "cloned &lt;well&gt;",
        "abc &amp; def",
        "seed 100012",
        "a dream",
    ):
        assert text in page
    assert "failed in none of the episodes" in page
    assert BOX_CLOSE.instruction in page


def test_a_policy_that_got_worse_is_told_so(report: ReportData, tmp_path: Path) -> None:
    bare = replace(report, training={}, dreams=(), better=())
    page = write_report(tmp_path, replace(bare, before="RISE", after="base")).read_text()
    assert "did not rise" in page
    assert "-44" in page or "-43" in page


def test_pictures_and_films_lie_beside_the_page(report: ReportData, folder: Path) -> None:
    names = {"results.png", "training.png", "dream_1.png", "progress_1.png", "better_1.png"}
    assert {path.name for path in folder.glob("*.png")} == names
    for name in names:
        assert imageio.imread(folder / name).ndim == 3
    film = imageio.imread(folder / "dream_1.mp4", plugin="pyav")
    assert len(film) > len(report.dreams[0].true)
    assert film.shape[1] % 2 == film.shape[2] % 2 == 0


def test_film_shows_the_frames_it_was_given(report: ReportData, tmp_path: Path) -> None:
    dark = np.zeros((11, 3, 64, 64, 3), np.uint8)
    one = replace(report.dreams[0], true=dark, imagined=dark + 200)
    write_report(tmp_path, replace(report, training={}, dreams=(one,), better=()))
    frame = imageio.imread(tmp_path / "dream_1.mp4", plugin="pyav")[3].astype(int)
    shades = {int(np.median(frame[row, -100:-60])) // 20 for row in (120, 320)}
    assert shades == {0, 10} or shades == {0, 9}


def test_report_without_training_and_dreams(report: ReportData, tmp_path: Path) -> None:
    page = write_report(tmp_path, replace(report, training={}, dreams=(), better=())).read_text()
    assert "How it learnt" not in page
    assert "Imagination beside reality" not in page
    assert [path.name for path in tmp_path.glob("*.png")] == ["results.png"]


def trust_figures() -> TrustFigures:
    """Of four policies, one of which exploits the dream."""
    rows = [
        {
            "policy": f"policy <{n}>",
            "exploits": n == 3,
            "true": {"success": n / 5, "score": 2.0 * n, "episode_return": n / 5},
            "imagined": {"success": n / 6, "score": 1.8 * n, "episode_return": n / 6},
        }
        for n in range(4)
    ]
    claims = reliability(np.linspace(0, 1, 40), np.linspace(0, 1, 40) ** 2)
    curve = {"value": [25.0, 23.5], "ci95": [[24.0, 26.0], [22.0, 25.0]]}
    errors = {"value": [0.02, 0.07], "ci95": [[0.01, 0.03], [0.05, 0.09]]}
    ranks = [{"value": value, "ci95": [value - 0.2, value + 0.1]} for value in (0.8, 0.4)]
    gains = {"starts": 20, "chunks": 12.0}
    for name, value in (("imagined", 0.6), ("true", 0.2), ("gap", 0.4)):
        gains[name] = {"value": value, "ci95": [value - 0.1, value + 0.1]}  # type: ignore[assignment]
    wrong = false_success(np.array([1, 1, 0, 0], bool), np.array([1, 0, 0, 0], bool))
    told = {
        "auroc": {"value": 0.92, "ci95": [0.9, 0.94]},
        "coverage": {"value": 0.88, "ci95": [0.8, 0.93]},
        "roc": [[0.0, 0.4], [1.0, 1.0]],
    }
    return TrustFigures(
        compared={"policies": rows, "agreement": ranked(rows), "episodes": 50, "doubts": ["few policies"]},
        calibration={"success": claims, "false_success": wrong, "progress": {"chunks_1": claims}},
        drift={
            "drift": {"failure": {"count": [9, 5], "psnr_db": curve, "joint_rad": errors, "progress": errors}},
            "ranking": {"level": 0.5, "breaks_after": 1, "within_a_state": ranks, "over_policies": ranks},
        },
        uncertainty={"worst_share": 0.25, "level": 0.9, "errors": {"pictures": {"chunks_1": told}}},
        exploit={"settings_measured": {"policy alone": gains, "adversary": gains}},
    )


def test_trust_is_told_in_words_and_pictures(report: ReportData, tmp_path: Path) -> None:
    bare = replace(report, training={}, dreams=(), better=())
    page = write_report(tmp_path / "whole", replace(bare, trust=trust_figures())).read_text()
    alone = write_trust_report(tmp_path / "alone", BOX_CLOSE, trust_figures(), facts={"seeds": "130000 to 130049"})
    for text in (
        "4 policies, 50 matched episodes each",
        "Careful: few policies.",
        "1 of 2 dreamt successes are none: 50%",
        "pictures from 25.0 to 23.5 dB",
        "(Spearman 0.5 or more) for 1 chunk, then no longer",
        "the worst 25% of errors of pictures from the others with an area under the curve of 0.92 (0.90 to 0.94)",
        "adversary: +0.40 (+0.30 to +0.50)",
        "policy &lt;3&gt;",
    ):
        assert text in page
        assert text in alone.read_text()
    assert "130000 to 130049" in alone.read_text()
    names = {f"trust_{name}.png" for name in ("ranking", "calibration", "drift", "uncertainty", "exploit")}
    assert {path.name for path in alone.parent.glob("*.png")} == names
    for name in names:
        assert imageio.imread(alone.parent / name).ndim == 3
    parser = Sources()
    parser.feed(alone.read_text())
    assert len(parser.found) == 5
    assert all(source.startswith("data:image/png;base64,") for source in parser.found)
    assert "How far the dream" not in write_report(tmp_path / "without", bare).read_text()


def test_what_was_not_measured_is_left_out_and_what_cannot_be_is_told(tmp_path: Path) -> None:
    compared: Any = json.loads(json.dumps(trust_figures().compared))
    compared["agreement"]["success"]["pearson"] = {"value": None, "ci95": [None, None]}  # as JSON has it
    page = write_trust_report(tmp_path, BOX_CLOSE, TrustFigures(compared=compared)).read_text()
    assert "Pearson not computable" in page
    assert "Can it be fooled?" not in page
    assert [path.name for path in tmp_path.glob("*.png")] == ["trust_ranking.png"]


def test_impossible_folder_is_told(report: ReportData, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SaveFailed, match="file"):
        write_report(tmp_path / "file" / "report", replace(report, training={}, dreams=(), better=()))


def test_rows_have_to_be_there(report: ReportData) -> None:
    with pytest.raises(ValueError, match="nobody"):
        replace(report, after="nobody")
    with pytest.raises(ValueError, match="same ticks"):
        replace(report.dreams[0], imagined=frames(10))


def test_curves_of_a_resumed_run(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    for part, points in (("a", {20: 1.0, 40: 2.0}), ("b", {40: 3.0, 60: 4.0})):
        writer = SummaryWriter(str(tmp_path / "tensorboard"), filename_suffix=part)
        for step, value in points.items():
            writer.add_scalar("loss", value, step)
        writer.close()
    steps, values = read_curves(tmp_path)["loss"]
    assert steps.tolist() == [20, 40, 60]
    assert values.tolist() == [1, 3, 4]
    assert read_curves(tmp_path / "nothing") == {}


# -- material ---------------------------------------------------------------------------------------------------------


def bright_episode(count: int) -> Episode:
    """Every tick is one brighter than the last; the first joint never moves."""
    brightness = np.arange(count, dtype=np.uint8)[:, None, None, None]
    views = np.broadcast_to(brightness, (count, 64, 64, 3)).copy()
    return Episode(
        task="box_close",
        instruction=BOX_CLOSE.instruction,
        frames=dict.fromkeys(BOX_CLOSE.cameras, views),
        proprio=np.zeros((count, 14), np.float32),
        actions=np.zeros((count, 14), np.float32),
        success=True,
        score=10.0,
        source="rollout",
        policy="base",
        seed=100_000,
        progress=np.arange(count, dtype=np.float32) / 100,
    )


def test_dream_beside_an_episode_of_the_same_world(counting_world: Callable[..., Any]) -> None:
    episode = bright_episode(40)
    found = imagine_beside(
        counting_world(), episode, 12, chunks=2, generator=torch.Generator().manual_seed(0), title="here"
    )
    np.testing.assert_array_equal(found.true, found.imagined)
    np.testing.assert_array_equal(found.true[:, 0, 0, 0, 0], np.arange(12, 33))
    np.testing.assert_allclose(found.true_progress, found.imagined_progress, atol=1e-6)
    assert found.chunk == 10


@pytest.mark.parametrize("tick", [-1, 20])
def test_dream_needs_a_recording_that_is_long_enough(counting_world: Callable[..., Any], tick: int) -> None:
    with pytest.raises(ValueError, match="20 ticks before the end"):
        imagine_beside(
            counting_world(), bright_episode(40), tick, chunks=2, generator=torch.Generator(), title="too late"
        )


def test_played_episode_has_every_tick() -> None:
    env = gymnasium.make(fake_env.SINGLE_ID, chunk=5, record_ticks=True)
    episode = play_and_record(env, fake_env.FakeActor(), 100_003, policy="fake")
    clip = clip_of(episode, BOX_CLOSE.cameras, "fake")
    assert episode.seed == 100_003
    assert clip.frames.shape == (len(episode), 3, 64, 64, 3)
    assert (clip.success, clip.score) == (episode.success, episode.score)
    assert episode.progress is not None
    assert clip.frames[-1, 0, 0, 0, 0] == round(200 * float(episode.progress[-1])) + 20


def test_seeds_worth_showing() -> None:
    def results(outcomes: dict[int, bool]) -> list[EpisodeResult]:
        return [
            EpisodeResult(seed=seed, is_success=done, score=0.0, episode_return=0.0, steps=1)
            for seed, done in outcomes.items()
        ]

    before = results({5: False, 6: False, 7: True, 8: False})
    after = results({8: True, 7: False, 6: True, 5: False})
    assert telling_seeds(before, after, count=5) == ([6, 8], [5, 7])
    assert telling_seeds(before, after, count=1) == ([6], [5])
