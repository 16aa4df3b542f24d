"""A tiny text encoder: what the robot is asked to do, as a vector. Shared by value and policy."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

_LONGEST = 64  # words; what comes after them is not read


@lru_cache(maxsize=4096)
def word_ids(instruction: str, vocabulary: int) -> tuple[int, ...]:
    """Ids in 1 to `vocabulary` - 1 of the words of a text, in order and whatever their case; 0 is left for padding.

    CRC-32 decides the id: unlike Python's own hash it is the same in every process, so a checkpoint keeps its meaning.
    """
    words = re.findall(r"\w+", instruction.lower())[:_LONGEST]
    return tuple(1 + zlib.crc32(word.encode()) % (vocabulary - 1) for word in words)


class InstructionEncoder(nn.Module):
    """Words to hashed ids, embedded in their order, pooled by learned attention: B texts -> (B, width).

    Equal texts in a batch are encoded once.
    """

    def __init__(self, width: int, *, vocabulary: int = 1024, word_width: int = 64) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.words = nn.Embedding(vocabulary, word_width, padding_idx=0)
        self.places = nn.Parameter(0.1 * torch.randn(_LONGEST, word_width))
        self.importance = nn.Linear(word_width, 1)
        self.leave = nn.Sequential(nn.Linear(word_width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, instructions: Sequence[str]) -> Tensor:
        """B texts -> (B, width)."""
        texts = list(dict.fromkeys(instructions))
        place = {text: row for row, text in enumerate(texts)}
        encoded = self._encode(self._ids(texts))
        if len(texts) == 1:
            return encoded.expand(len(instructions), -1)
        return encoded[torch.tensor([place[text] for text in instructions], device=encoded.device)]

    def _ids(self, texts: Sequence[str]) -> Tensor:
        """Padded ids (U, L) of U texts."""
        ids = [word_ids(text, self.vocabulary) for text in texts]
        longest = max(1, *(len(row) for row in ids)) if ids else 1
        padded = [row + (0,) * (longest - len(row)) for row in ids]
        return torch.tensor(padded, dtype=torch.long, device=self.places.device).view(len(texts), longest)

    def _encode(self, ids: Tensor) -> Tensor:
        tokens = self.words(ids) + self.places[: ids.shape[1]]  # (U, L, D)
        logits = self.importance(tokens.tanh()).squeeze(-1)
        # a large number rather than infinity: a text without words gives an even mean of its padding, not NaN
        logits = logits.masked_fill(ids == 0, -1e4)
        return self.leave((logits.softmax(-1)[..., None] * tokens).sum(1))
