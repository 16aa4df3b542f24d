"""What the tests of several agents share."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def dying_after() -> Callable[[int], Callable[[int, dict[str, float]], None]]:
    """Builds an `on_episode` that ends a run as a kill would: nothing is saved on the way out."""

    def build(episodes: int) -> Callable[[int, dict[str, float]], None]:
        def on_episode(count: int, figures: dict[str, float]) -> None:
            if count >= episodes:
                raise RuntimeError("killed")

        return on_episode

    return build
