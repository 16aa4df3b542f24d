"""The action expert of a VLA: a small transformer over an action chunk that looks at the backbone's hidden states.

Its tokens are the proprioception and one for each tick of the noisy chunk; they see each other both ways, and in every
block the prefix of pictures and prompt as one layer of the backbone left it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rise_gym.agents.flow_layers import SINUSOIDS, sinusoids
from rise_gym.agents.vla_backbone import Prefix


@dataclass(frozen=True)
class Perception:
    """What the expert needs of an observation, computed once however often it is asked.

    Attributes:
        sights: for each block, keys and values of the prefix, (B, heads, S, w) each. told: bool (B, 1, 1, S).
        proprio: (B, P), normalised.
    """

    sights: tuple[tuple[Tensor, Tensor], ...]
    told: Tensor
    proprio: Tensor

    def repeated(self, times: int) -> Perception:
        """All rows, so many times one after the other."""
        sights = tuple((keys.repeat(times, 1, 1, 1), values.repeat(times, 1, 1, 1)) for keys, values in self.sights)
        return Perception(sights, self.told.repeat(times, 1, 1, 1), self.proprio.repeat(times, 1))


class _Sight(nn.Module):
    """What a source shows to who attends to it."""

    def __init__(self, source_width: int, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.RMSNorm(source_width)  # hidden states of a backbone grow from layer to layer
        self.layer = nn.Linear(source_width, 2 * width, bias=False)

    def forward(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Source (B, S, D) -> keys and values (B, heads, S, w)."""
        keys, values = self.layer(self.norm(source)).chunk(2, dim=-1)
        return _by_head(keys, self.heads), _by_head(values, self.heads)


class _Attention(nn.Module):
    """What the expert's tokens take from what they are shown."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.RMSNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.leave = nn.Linear(width, width, bias=False)

    def forward(self, hidden: Tensor, sight: tuple[Tensor, Tensor], told: Tensor | None = None) -> Tensor:
        query = _by_head(self.query(self.norm(hidden)), self.heads)
        found = functional.scaled_dot_product_attention(query, *sight, attn_mask=told)
        return self.leave(found.transpose(1, 2).flatten(2))


def _by_head(parts: Tensor, heads: int) -> Tensor:
    """(B, S, W) -> (B, heads, S, W / heads)."""
    return parts.unflatten(-1, (heads, -1)).transpose(1, 2)


class _Block(nn.Module):
    """The tokens look at each other, then at the prefix, then think; what they were is kept beside."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.each_other = _Sight(width, width, heads)
        self.among = _Attention(width, heads)
        self.look = _Attention(width, heads)
        self.norm = nn.RMSNorm(width)
        self.gate = nn.Linear(width, 2 * 3 * width, bias=False)
        self.leave = nn.Linear(3 * width, width, bias=False)

    def forward(self, hidden: Tensor, sight: tuple[Tensor, Tensor], told: Tensor) -> Tensor:
        hidden = hidden + self.among(hidden, self.each_other(hidden))
        hidden = hidden + self.look(hidden, sight, told)
        gate, content = self.gate(self.norm(hidden)).chunk(2, dim=-1)
        return hidden + self.leave(functional.silu(gate) * content)


class ActionExpert(nn.Module):
    """The flow's velocity over an action chunk, token by token.

    Args:
        chunk, actions, proprio: K, A and P.
        prefix_width, prefix_layers: of the backbone; blocks look at its layers at equal distances, the last one at the
            last.
        width, heads, blocks: its own size.

    Raises:
        ValueError: if heads do not divide the width, or there are more blocks than layers to look at.
    """

    def __init__(
        self,
        *,
        chunk: int,
        actions: int,
        proprio: int,
        prefix_width: int,
        prefix_layers: int,
        width: int,
        heads: int,
        blocks: int,
    ) -> None:
        super().__init__()
        if width % heads or not 1 <= blocks <= prefix_layers:
            raise ValueError(
                f"the expert's heads have to divide its width, and its blocks be from 1 to the backbone's "
                f"{prefix_layers} layers; got width {width}, {heads} heads and {blocks} blocks"
            )
        self.looked_at = [round((block + 1) * prefix_layers / blocks) for block in range(blocks)]
        self.proprio = nn.Linear(proprio, width)
        self.enter = nn.Linear(actions, width)
        self.time = nn.Sequential(nn.Linear(SINUSOIDS + width, width), nn.SiLU(), nn.Linear(width, width))
        self.place = nn.Parameter(0.02 * torch.randn(1 + chunk, width))
        self.sights = nn.ModuleList(_Sight(prefix_width, width, heads) for _ in range(blocks))
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(blocks))
        last = nn.Linear(width, actions)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.leave = nn.Sequential(nn.RMSNorm(width), last)

    def perceive(self, prefix: Prefix, proprio: Tensor) -> Perception:
        """What the chunk depends on: the backbone's prefix, and normalised proprio (B, P)."""
        layers = [prefix.layers[index].to(self.place.dtype) for index in self.looked_at]
        sights = tuple(sight(layer) for sight, layer in zip(self.sights, layers, strict=True))
        return Perception(sights, prefix.told[:, None, None], proprio)

    def forward(self, noisy: Tensor, sigma: Tensor, seen: Perception) -> Tensor:
        """Noisy chunk (B, K, A) of unit variance, noise level (B,) in [0, 1] -> velocity (B, K, A).

        Untrained it is the best linear guess for actions of unit variance; the transformer adds to that.
        """
        level = sigma[:, None, None]
        spread = (level.square() + (1 - level).square()).sqrt()
        ticks = self.enter(noisy / spread)  # (B, K, W)
        time = sinusoids(sigma)[:, None].expand(-1, ticks.shape[1], -1)
        ticks = ticks + self.time(torch.cat([ticks, time], dim=-1))
        hidden = torch.cat([self.proprio(seen.proprio)[:, None], ticks], dim=1) + self.place
        for block, sight in zip(self.blocks, seen.sights, strict=True):
            hidden = block(hidden, sight, seen.told)
        return (2 * level - 1) / spread.square() * noisy + self.leave(hidden[:, 1:]) / spread
