"""Options of `reset` where there are none: what a dream takes must not be passed over elsewhere without a word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rise_gym.errors import InvalidStart


def refuse_options(options: Mapping[str, Any] | None, advice: str) -> None:
    """Refuse all of them; `advice` says what decides about an episode instead.

    Raises:
        InvalidStart: if there is one.
    """
    if options:
        raise InvalidStart(f"reset takes no options here, got {', '.join(map(str, options))}: {advice}")
