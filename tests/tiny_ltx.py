"""The classes of the full-size world model, tiny, with random weights: for tests on a CPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from rise_gym.ltx_codec import LTXCodec
from rise_gym.ltx_dynamics import LTXDynamics, LTXDynamicsConfig
from rise_gym.tasks import BOX_CLOSE, TaskCard
from rise_gym.value import ProgressValue, ProgressValueConfig
from rise_gym.world_model import CompositionalWorldModel

AUTOENCODER: dict[str, Any] = {
    "latent_channels": 8, "block_out_channels": [8, 8, 8, 8], "decoder_block_out_channels": [8, 8, 8, 8],
    "layers_per_block": [1, 1, 1, 1, 1], "decoder_layers_per_block": [1, 1, 1, 1, 1], "patch_size": 2,
}  # fmt: skip
"""8 frames, and 16 pixels of height and width, a latent; LTX-Video's own has 8, 32 and 32."""

TRANSFORMER: dict[str, Any] = {
    "in_channels": 8, "out_channels": 8, "num_attention_heads": 2, "attention_head_dim": 8, "cross_attention_dim": 16,
    "num_layers": 4, "caption_channels": 12,
}  # fmt: skip

CONFIG = LTXDynamicsConfig(
    transformer=TRANSFORMER, action_width=16, action_depth=2, action_heads=2, action_head_width=4, action_hidden=16,
    sigmas=(1.0, 0.5),
)  # fmt: skip


def tiny_codec(seed: int = 0) -> LTXCodec:
    """Random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LTXCodec(settings=AUTOENCODER).eval()


def tiny_dynamics(codec: LTXCodec, task: TaskCard = BOX_CLOSE, *, seed: int = 0, **changes: Any) -> LTXDynamics:
    """Random weights everywhere: untrained, actions would change nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LTXDynamics.of(replace(CONFIG.fitted(task, codec.compression), **changes), task)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def tiny_world(task: TaskCard = BOX_CLOSE) -> CompositionalWorldModel:
    """All three parts."""
    codec = tiny_codec()
    size = tuple(pixels // 16 for pixels in task.image_size)
    value = ProgressValue.of(ProgressValueConfig(latent_channels=8, latent_size=size, widths=(8, 8), hidden=16), task)
    return CompositionalWorldModel(codec=codec, dynamics=tiny_dynamics(codec, task), value=value, task=task)
