"""What the benchmark with openpi's own client does without it: its messages, its comparison, its place in results."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rise_gym.agents.openpi_layout import ALOHA
from rise_gym.tasks import BOX_CLOSE

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Imports a benchmark as if it was the script that runs."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr("sys.argv", ["benchmark.py"])
    return importlib.import_module


def test_what_is_written_for_their_client_is_what_our_own_would_send(
    benchmark: Callable[[str], Any], tmp_path: Path
) -> None:
    ours, inside = benchmark("openpi_roundtrip"), benchmark("_openpi_inside")
    seen = ours.observations(2)
    np.savez(tmp_path / "questions.npz", **ours.requests(seen))
    for row, message in enumerate(inside._observations(np.load(tmp_path / "questions.npz"))):
        shown = {name: column[row] for name, column in seen.items()}
        wanted = ALOHA.request(shown, BOX_CLOSE.instruction, BOX_CLOSE, None)
        assert message["prompt"] == wanted["prompt"]
        np.testing.assert_array_equal(message["state"], wanted["state"])
        for camera, picture in wanted["images"].items():
            np.testing.assert_array_equal(message["images"][camera], picture)


def test_differences_are_told_in_scaled_units(benchmark: Callable[[str], Any]) -> None:
    targets = ALOHA.to_wire(BOX_CLOSE.unscale_action(np.zeros((10, 14))), BOX_CLOSE)
    moved = ALOHA.to_wire(BOX_CLOSE.unscale_action(np.full((10, 14), 0.25)), BOX_CLOSE)
    assert benchmark("openpi_roundtrip")._apart(moved, targets) == pytest.approx(0.25, abs=1e-6)


def test_the_page_of_results_shows_both_ways(benchmark: Callable[[str], Any], tmp_path: Path) -> None:
    recorded = {
        "layout": "aloha", "command": "python it", "seconds": 60,
        "commit": "abc", "machine": {"cpus": 2, "platform": "Linux", "python": "3", "torch": "2"},
        "their_client_our_server": {
            "agrees": True, "differs_by": 1e-6, "one_by_one_differs_by": 2e-6, "enlarged_pictures_differ_by": 0.1,
            "versions": {"openpi-client": "0.1.2"},
        },
        "our_client_their_encoding": {"agrees": False, "failed": "nobody answered"},
    }  # fmt: skip
    (tmp_path / "openpi_roundtrip.json").write_text(json.dumps(recorded))
    benchmark("summary").main(results=tmp_path)
    page = (tmp_path / "README.md").read_text()
    for told in ("openpi-client 0.1.2", "one by one differs by | 2.0e-06 | yes", "no: nobody answered"):
        assert told in page, told
