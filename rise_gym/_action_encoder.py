"""A chunk of actions as tokens that a video transformer reads in place of a text: the paper's action encoder.

A small transformer over one token a frame, and one more in front that stands for the chunk. Its last layer begins at
zero, so that a video model which it is added to begins as it was.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ActionEncoder(nn.Module):
    """Actions (B, F, channels) in [-1, 1] -> tokens (B, 1 + F, out).

    Args:
        channels: of an action; fewer that come are followed by zeros.
        width, depth, heads, head_width, hidden: of its transformer. out: width of the tokens. dropout: while training.
    """

    def __init__(
        self,
        *,
        channels: int,
        width: int,
        depth: int,
        heads: int,
        head_width: int,
        hidden: int,
        out: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.channels, self.width = channels, width
        self.enter = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, width), nn.LayerNorm(width))
        self.chunk_token = nn.Parameter(torch.randn(width))
        self.dropout = nn.Dropout(dropout)
        self.attention = nn.ModuleList(_Attention(width, heads, head_width, dropout) for _ in range(depth))
        self.feed_forward = nn.ModuleList(_feed_forward(width, hidden, dropout) for _ in range(depth))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, out))
        for parameter in self.leave[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, actions: Tensor) -> Tensor:
        """Actions (B, F, A), A at most `channels` -> (B, 1 + F, out)."""
        padded = functional.pad(actions, (0, self.channels - actions.shape[-1]))
        tokens = torch.cat([self.chunk_token.expand(len(actions), 1, -1), self.enter(padded)], dim=1)
        tokens = self.dropout(tokens + positions(tokens.shape[1], self.width).to(tokens))
        for attention, feed_forward in zip(self.attention, self.feed_forward, strict=True):
            tokens = tokens + attention(tokens)
            tokens = tokens + feed_forward(tokens)
        return self.leave(tokens)


def positions(count: int, width: int) -> Tensor:
    """Where a token stands, (count, width): sin and cos of its index at width / 2 wavelengths from 2π to 20 000π."""
    rates = 10_000.0 ** -torch.linspace(0, 1, width // 2 + 1, dtype=torch.float64)[:-1]
    angles = torch.arange(count, dtype=torch.float64)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, head_width: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.norm = nn.LayerNorm(width)
        self.asked = nn.Linear(width, 3 * heads * head_width, bias=False)  # queries, keys and values
        self.leave = nn.Sequential(nn.Linear(heads * head_width, width), nn.Dropout(dropout))

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.asked(self.norm(tokens)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        rate = self.rate if self.training else 0.0
        found = functional.scaled_dot_product_attention(query, key, value, dropout_p=rate)
        return self.leave(found.transpose(1, 2).flatten(2))


def _feed_forward(width: int, hidden: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, width),
        nn.Dropout(dropout),
    )
