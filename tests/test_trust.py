"""What to believe of a dream: read from recorded results, judged by its figures, shown on one page that opens alone."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest

from rise_gym.commands.report import report
from rise_gym.comparison import ranked
from rise_gym.errors import InvalidResults
from rise_gym.evaluation import plain
from rise_gym.reliability import false_success, reliability
from rise_gym.report import write_trust_page
from rise_gym.tasks import BOX_CLOSE, TASKS
from rise_gym.trust import TrustFigures, Verdict, bundled_trust, load_trust, read_results, save_trust, verdicts

ROOT = Path(__file__).parents[1]
TITLES = (
    "How far the dream can be trusted",
    "Does it rank policies rightly?",
    "How far ahead does it hold?",
    "Does it know what a deviation is worth?",
    "Does it know when it is wrong?",
    "Do its claims come true?",
    "Can it be fooled?",
    "Does it do as it is told?",
    "Does learning in it help?",
    "Does a second round help?",
)
NOBODY = {"success": 0.0, "score": 0.0, "episode_return": 0.0}
FROM = {"command": "python benchmarks/some.py", "commit": "0123456789abcdef-dirty", "machine": {"cpus": 2}}


def figure(value: float, spread: float = 0.05) -> dict[str, Any]:
    return {"value": value, "ci95": [value - spread, value + spread]}


def cell(row: str, rate: float, wins: int, *, task: str = "box_close") -> dict[str, Any]:
    """A policy that solves the first so many of 100 episodes."""
    return {
        "task": task, "row": row, "episodes": 100, "seed": 100_000, "success_rate": rate,
        "success_ci95": [rate - 0.1, rate + 0.1], "successes": [1] * wins + [0] * (100 - wins),
        "learning": {"steps": 24_000}, **FROM,
    }  # fmt: skip


def records() -> dict[str, Any]:
    """One of each file, of made-up figures; every aim is met."""
    return dict(json.loads(_recorded()))  # as it is read, and nothing in it is the same object twice


@cache
def _recorded() -> str:
    means = [{"success": n / 9, "score": float(n), "episode_return": n / 9} for n in range(9)]
    rows = [{"policy": f"policy {n}", "exploits": n == 8, "true": one, "imagined": one} for n, one in enumerate(means)]
    claims = reliability(np.linspace(0, 1, 40), np.linspace(0, 1, 40))
    curve = {"value": [25.0, 23.5], "ci95": [[24.0, 26.0], [22.0, 25.0]]}
    told = {"count": 90, "auroc": figure(0.9), "coverage": figure(0.9), "roc": [[0.0, 0.4], [1.0, 1.0]]}
    probe = {
        name: {"starts": 20, "chunks": 12.0, "imagined": figure(0.6), "true": figure(0.6 - gap), "gap": figure(gap)}
        for name, gap in (("policy alone", 0.0), ("adversary", 0.4), ("charged for uncertainty", 0.1))
    }
    command = {"own_grey": 6.0, "others_grey": 0.2, "true_correlation": 0.9, "passed": {"expected": True, "seen": True}}
    played = {"episodes": 100, "success_rate": 0.5, "success_ci95": [0.4, 0.6]}
    pair = {"only_first_succeeds": 40, "only_second_succeeds": 0}
    gained = {**pair, "success_points": 40.0, "success_points_ci95": [30.0, 50.0]}
    found: dict[str, Any] = {
        "imagined_vs_real": {
            "tasks": {
                "BoxClose": {
                    "policies": rows, "starts": 50, "doubts": [], **ranked(rows),
                    "false_success": false_success(np.ones(4, bool), np.array([1, 1, 1, 0], bool)),
                }
            }
        },
        "drift": {
            "drift": {"failure": {"count": [9, 5], "psnr_db": curve, "joint_rad": curve, "progress": curve}},
            "ranking": {
                "level": 0.5, "breaks_after": None, "within_a_state": [figure(0.8), figure(0.7)],
                "over_policies": [figure(0.9), figure(0.9)],
            },
        },
        "deviations": {
            "episodes": 220, "successes": 99, "moments": 4700,
            "after_ticks": [
                {"ticks": 10 * n, "correlation": 0.17, "ci95": [0.12, 0.22]} for n in (1, 2, 3, 5)
            ],
        },
        "uncertainty": {
            "worst_share": 0.25, "level": 0.9, "cost": {"step_s": 1.3, "step_without_s": 1.0, "ratio": 1.3},
            "errors": {what: {"chunks_1": told, "chunks_2": told} for what in ("pictures", "progress_gained")},
        },
        "calibration": {
            "success": claims, "progress": {"chunks_1": claims},
            "false_success": false_success(np.ones(4, bool), np.array([1, 1, 1, 0], bool)),
        },
        "exploit": {"settings_measured": probe},
        "action_fidelity": {"tasks": {"box_close": {"starts": 8, "commands": {"open the left hand": command}}}},
        "dynamics": {
            "shuffled_actions": {"ratio": 3.0},
            "counterfactual": {"difference_correlation": figure(0.8), "best_in_top_three": figure(0.9)},
        },
        "improvement": {"policies": {"base": played, "rise": played}, "paired": {"rise - base": gained}},
        "rounds": {
            "policies": {"one round": played, "two rounds": {**played, "note": "new episodes are its own"}},
            "paired": {"two rounds - one round": gained, "one round - base": gained},
        },
    }  # fmt: skip
    cells = {"base": 50, "ppo": 50, "sac": 50, "ppo_residual": 80, "sac_residual": 80}
    reinforcement = {f"reinforcement/box_close_{row}": cell(row, wins / 100, wins) for row, wins in cells.items()}
    return json.dumps({name: {**record, **FROM} for name, record in found.items()} | reinforcement)


def written(folder: Path, found: Mapping[str, Any]) -> Path:
    for name, record in found.items():
        path = folder / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
    return folder


def judged(folder: Path, found: Mapping[str, Any]) -> dict[str, Verdict]:
    """Verdicts by what they are about."""
    return {one.about: one for one in verdicts(read_results(written(folder, found)))}


class Page(HTMLParser):
    """What a page would load, its headings, and its words outside of tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.headings: list[str] = []
        self.words = 0
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._inside.pop() == tag, f"</{tag}> is out of place"

    def handle_data(self, data: str) -> None:
        if self._inside[-1:] == ["h2"]:
            self.headings.append(data)
        if "table" not in self._inside and "style" not in self._inside:
            self.words += len(data.split())


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of all records."""
    folder = written(tmp_path_factory.mktemp("records"), records())
    return write_trust_page(folder / "page.html", BOX_CLOSE, read_results(folder)).read_text()


def test_the_page_has_a_section_for_everything_that_was_asked(page: str) -> None:
    assert Page(page).headings == [*TITLES, "Where the figures come from"]
    for text in (
        "9 policies, 50 matched episodes each",
        "of its successes 0 were dreamt to fail",
        "ranked rightly over all 2 chunks",
        '<td>50 ticks</td><td class="number">0.17 (0.12 to 0.22)</td>',
        "a dream step takes 1.30 times as long",
        "1 of 4 dreamt successes are none",
        '<td>charged for uncertainty</td><td class="number">with</td>',
        '<td>adversary</td><td class="number">without</td>',
        "<td>open the left hand</td>",
        "pictures are wrong 3.0 times as much",
        "PPO from scratch: 24000 imagined chunks judged",
        "+30.0 (+21.0 to +39.0)",
        "<td>two rounds - one round</td>",
        "commit 0123456789ab with uncommitted changes",
    ):
        assert text in page, text
    assert "ot measured" not in page


def test_the_page_needs_no_other_file_and_its_pictures_decode(page: str) -> None:
    found = Page(page)
    assert len(found.loaded) == 5
    for source in found.loaded:
        kind, _, content = source.partition(",")
        assert kind == "data:image/png;base64"
        assert imageio.imread(io.BytesIO(base64.b64decode(content))).ndim == 3
    assert not re.search(r"https?://|@import|<script", page)


def test_what_was_not_recorded_says_so_and_how_it_is_measured(tmp_path: Path) -> None:
    folder = written(tmp_path, {"exploit": records()["exploit"]})
    page = write_trust_page(tmp_path / "page.html", BOX_CLOSE, read_results(folder)).read_text()
    assert Page(page).headings == [*TITLES, "Where the figures come from"]
    assert page.count("Not measured; <code>python benchmarks/") == 8
    assert "<b>Not measured:</b> the order of policies, " in page
    assert page.count(">not measured</td>") == len(verdicts(TrustFigures())) - 1


def test_verdicts_follow_the_figures(tmp_path: Path) -> None:
    good = judged(tmp_path / "good", records())
    without_aim = ("how far ahead", "the worth of", "the cost", "dreamt successes", "what PPO from", "what SAC from")
    for about, one in good.items():
        assert one.state == ("no aim was set" if about.startswith(without_aim) else "met"), one
    bad = records()
    of = bad["imagined_vs_real"]["tasks"]["BoxClose"]
    of["success"]["pearson"] = {"value": 0.97, "ci95": [0.77, 1.0]}  # high enough, but not surely so
    of["success"]["mmrv"] = figure(0.1)
    bad["drift"]["ranking"]["breaks_after"] = 1
    bad["uncertainty"]["errors"]["progress_gained"]["chunks_1"] |= {"auroc": figure(0.69)}
    bad["exploit"]["settings_measured"]["charged for uncertainty"]["gap"] = figure(0.38)
    bad["action_fidelity"]["tasks"]["box_close"]["commands"]["open the left hand"]["passed"]["seen"] = False
    bad["dynamics"]["counterfactual"]["best_in_top_three"] = figure(0.6)
    bad["improvement"]["paired"]["rise - base"] |= {"success_points": 20.0, "success_points_ci95": [9.0, 31.0]}
    bad["reinforcement/box_close_sac_residual"] = cell("sac_residual", 0.48, 48)
    bad["rounds"]["paired"]["two rounds - one round"]["success_points_ci95"] = [-3.0, 5.0]
    found = judged(tmp_path / "bad", bad)
    for about in (
        "the order of policies", "the price of choosing by the dream", "warnings of errors in progress gained",
        "uncertainty against an adversary", "action fidelity", "the best of eight chunks", "what RISE gains",
        "what SAC as a residual gains", "a second round",
    ):  # fmt: skip
        assert found[about].state == "not met", found[about]
    assert found["the order of policies"].answer == "It looks so, but 9 policies leave it open."
    assert found["the order of policies"].figure == "0.97 (0.77 to 1.00)"
    assert found["how far ahead rankings hold"].figure.startswith("1 of 2 chunks")
    assert found["action fidelity"].answer == "Not where it was told to open the left hand."
    assert found["what SAC as a residual gains"].answer.startswith("No difference that could be told: 48.0% success")
    assert found["what PPO as a residual gains"].state == found["warnings of errors in pictures"].state == "met"


def test_where_an_adversary_finds_nothing_there_is_nothing_to_stop(tmp_path: Path) -> None:
    found = records()
    found["exploit"]["settings_measured"]["adversary"]["gap"] = {"value": -0.1, "ci95": [-0.2, 0.04]}
    one = judged(tmp_path, found)["uncertainty against an adversary"]
    assert one.state == "not met"
    assert one.answer.startswith("This adversary exploits nothing")


def test_few_policies_are_warned_of(tmp_path: Path) -> None:
    found = records()
    of = found["imagined_vs_real"]["tasks"]["BoxClose"]
    of["policies"], of["starts"] = of["policies"][:3], 10
    trust = read_results(written(tmp_path, {"imagined_vs_real": found["imagined_vs_real"]}))
    assert trust.compared is not None
    assert len(trust.compared["doubts"]) == 2
    assert "Careful: 3 policies hardly make a ranking" in write_trust_page(tmp_path / "p", BOX_CLOSE, trust).read_text()


def test_policies_that_are_all_alike_are_warned_of(tmp_path: Path) -> None:
    """Nothing correlates then: not a number, for which a recorded file has null."""
    found = records()["imagined_vs_real"]
    alike = [{"policy": f"policy {n}", **dict.fromkeys(("true", "imagined"), NOBODY)} for n in range(9)]
    found["tasks"]["BoxClose"] |= {"policies": alike, **plain(ranked(alike))}
    trust = read_results(written(tmp_path, {"imagined_vs_real": found}))
    page = write_trust_page(tmp_path / "page.html", BOX_CLOSE, trust).read_text()
    assert "success is the same for all policies" in page
    assert judged(tmp_path, {})["the order of policies"].state == "not measured"


def test_errors_of_a_new_kind_are_judged_and_second_opinions_only_shown(tmp_path: Path) -> None:
    found = records()["uncertainty"]
    weak = {"chunks_1": {"auroc": figure(0.7), "count": 9}}
    found["errors"] |= {"grippers": weak, "progress_gained_told_by_frames": weak}
    of = judged(tmp_path, {"uncertainty": found})
    assert of["warnings of errors in grippers"].state == "not met"
    assert of["warnings of errors in progress gained"].state == "met"
    assert [about for about in of if "told by" in about] == []
    page = write_trust_page(tmp_path / "page.html", BOX_CLOSE, read_results(tmp_path)).read_text()
    assert "<td>grippers, 1 chunk</td>" in page
    assert "<td>progress gained told by frames, 1 chunk</td>" in page


def test_an_unfinished_comparison_is_none(tmp_path: Path) -> None:
    found = {"exploit": records()["exploit"], "imagined_vs_real": {"tasks": {"BoxClose": {"unfinished": True}}}}
    assert judged(tmp_path, found)["the order of policies"].state == "not measured"


def test_results_of_another_task_are_not_taken_for_this_ones(tmp_path: Path) -> None:
    found = {"drift": records()["drift"], "reinforcement/box_close_ppo": cell("ppo", 0.5, 50)}
    found["exploit_brick_sort"] = {**records()["exploit"], "task": "brick_sort"}
    written(tmp_path, found)
    trust = read_results(tmp_path, "brick_sort")
    assert trust.exploit is not None
    assert (trust.drift, list(trust.learnt)) == (None, [])
    assert read_results(tmp_path).exploit is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "holds no results of 'box_close'"),
        ("{", "can't be read as JSON"),
        ("[]", "must hold a JSON object"),
        ('{"errors": {}}', "lacks worst_share, level"),
    ],
)
def test_a_bad_folder_is_told(tmp_path: Path, content: str | None, told: str) -> None:
    if content is not None:
        (tmp_path / "uncertainty.json").write_text(content)
    with pytest.raises(InvalidResults, match=told):
        read_results(tmp_path)
    with pytest.raises(InvalidResults, match="is no folder"):
        read_results(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("spoilt", "told"),
    [
        ({"tasks": []}, "tasks must hold a JSON object, it holds a list"),
        ({"tasks": {"BoxClose": {"starts": 50, "policies": []}}}, "BoxClose lacks policies, success; measure it again"),
    ],
)
def test_a_task_whose_figures_are_damaged_is_told(tmp_path: Path, spoilt: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidResults, match=told):
        read_results(written(tmp_path, {"imagined_vs_real": spoilt}))


@pytest.mark.parametrize("name", ["calibration", "drift", "deviations", "uncertainty", "exploit", "dynamics", "rounds"])
def test_figures_that_are_damaged_inside_are_told_with_their_name(tmp_path: Path, name: str) -> None:
    found = records()[name]
    spoilt = {key: [{}] if isinstance(value, list) else {"odd": {}} for key, value in found.items() if key not in FROM}
    with pytest.raises(InvalidResults, match=rf"what is recorded of {name} is damaged inside.*measure it again"):
        read_results(written(tmp_path, {name: {**found, **spoilt}}))


def test_what_is_saved_says_the_same(tmp_path: Path) -> None:
    trust = read_results(written(tmp_path, records()))
    save_trust(tmp_path / "saved", trust)
    assert verdicts(load_trust(tmp_path / "saved")) == verdicts(trust)
    (tmp_path / "saved").write_text('{"compared": null, "unknown": 1}')
    with pytest.raises(InvalidResults, match="save_trust"):
        load_trust(tmp_path / "saved")


def test_the_command_tells_verdicts_and_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report(written(tmp_path, {"rounds": records()["rounds"]}))
    told = capsys.readouterr().out
    assert "met: Does a second round of policy and world model help? +40.0 (+30.0 to +50.0) points\n" in told
    assert "not measured: Do better policies look better in the dream?\n" in told
    assert "Does a second round help?" in (tmp_path / "trust.html").read_text()


def test_what_is_bundled_is_small_and_says_what_it_is_of(tmp_path: Path) -> None:
    found = bundled_trust("box_close")
    assert found is not None
    page = write_trust_page(tmp_path / "page.html", BOX_CLOSE, found).read_text()
    assert "of the models that are bundled with this package" in page
    assert "python benchmarks/drift.py; commit " in page
    assert {one.about for one in verdicts(found) if one.state != "not measured"} >= {"the order of policies"}
    assert [bundled_trust(task) for task in TASKS if task != "box_close"] == [None] * (len(TASKS) - 1)
    assert (ROOT / "rise_gym/bundled/box_close/trust.json").stat().st_size < 100_000


def test_the_recorded_page_is_read_in_five_minutes() -> None:
    found = Page((ROOT / "benchmarks/results/trust.html").read_text())
    assert found.headings[: len(TITLES)] == list(TITLES)
    assert found.words < 900
