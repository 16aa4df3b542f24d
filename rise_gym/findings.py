"""What is wrong, or odd, with data: which field, what was found, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rise_gym.errors import InvalidDataset

Level = Literal["error", "warning"]
_NAMED = 12  # episodes that a message names


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing about data that somebody should know.

    Attributes:
        level: an error spoils what is learnt from the data; a warning may be meant so.
        field: of the mapping, the dataset or the task card. found: what is there. advice: what to do.
        episodes: which ones; empty is all.
    """

    level: Level
    field: str
    found: str
    advice: str
    episodes: tuple[int, ...] = ()

    def __str__(self) -> str:
        where = f" in episode{'s' * (len(self.episodes) > 1)} {named(self.episodes)}" if self.episodes else ""
        return f"{self.field}: {self.found}{where}; {self.advice}"


def named(episodes: Sequence[int]) -> str:
    """Numbers of episodes for a message, the first few."""
    rest = len(episodes) - _NAMED
    return ", ".join(map(str, episodes[:_NAMED])) + (f" and {rest} more" if rest > 0 else "")


class Damage:
    """What can't be read of a dataset: what is wrong, once, with all the episodes that it spoils."""

    def __init__(self) -> None:
        self._episodes: dict[str, list[int]] = {}

    def add(self, episode: int, error: InvalidDataset) -> None:
        """An episode, by its number, and one thing that is wrong with it."""
        self._episodes.setdefault(str(error), []).append(episode)

    def __contains__(self, episode: int) -> bool:
        return any(episode in episodes for episodes in self._episodes.values())

    def findings(self) -> list[Finding]:
        """An error each; what a message says last, after a semicolon, is what to do."""
        found = []
        for text, episodes in self._episodes.items():
            what, _, advice = text.rpartition("; ")
            found.append(Finding(level="error", field="data", found=what, advice=advice, episodes=tuple(episodes)))
        return found


def refuse(findings: Iterable[Finding], what: str) -> None:
    """Raises InvalidDataset: if there are errors among the findings, naming all of them."""
    errors = [str(finding) for finding in findings if finding.level == "error"]
    if errors:
        raise InvalidDataset(f"{what} can't be used as it is:\n- " + "\n- ".join(errors))
