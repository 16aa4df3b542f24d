"""The advantage as words of the prompt, as in the paper: one of ten numbers after the instruction.

A policy that was pre-trained on text then needs no new weights to be told how good a chunk was, or is to be.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rise_gym.advantage import advantage_bin

PROMPT = "{instruction}, Advantage: {advantage}"
"""Where both stand; the advantage comes last, so that everything before it is the same for all of them."""


def prompt_of(instruction: str, advantage: float, *, template: str = PROMPT, bins: int = 10) -> str:
    """The instruction with an advantage in [-1, 1] as its bin, from 1 to `bins`; NaN was not told, and adds nothing."""
    return prompts_of([instruction], torch.tensor([advantage]), template=template, bins=bins)[0]


def prompts_of(instruction: Sequence[str], advantage: Tensor, *, template: str = PROMPT, bins: int = 10) -> list[str]:
    """`prompt_of` for B instructions and advantages (B,)."""
    advantage = advantage.detach().cpu()
    chosen = 1 + advantage_bin(advantage.nan_to_num(0.0), bins)
    rows = zip(instruction, chosen.tolist(), advantage.isnan().tolist(), strict=True)
    return [text if untold else template.format(instruction=text, advantage=number) for text, number, untold in rows]
