"""Is our full-size dynamics the network that RISE published? Its own class and ours, with the same weights.

    python benchmarks/ltx_against_rise.py --rise CHECKOUT       # of RISE's repository; wants einops beside this project

Both are tiny (four blocks of width 16; the action encoder and the text are at their full width, which RISE's class
fixes), with random weights that go from theirs to ours through a file of theirs and `rise_gym.ltx_weights`. RISE's
code is imported from the checkout and no part of this project.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import _common as common
import torch
import tyro
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from rise_gym.ltx_codec import LTXCodec
from rise_gym.ltx_dynamics import LTXDynamics, LTXDynamicsConfig
from rise_gym.ltx_size import LTXSize
from rise_gym.ltx_weights import WEIGHTS_NAME, public_dynamics
from rise_gym.tasks import BOX_CLOSE, add_task

MODULE = "dynamics_model.models.ltx_models.action_encoder_control"
LOGGED = 1_990_672_572  # parameters, as the published code logs them when it loads its model
TRANSFORMER: dict[str, Any] = {
    "in_channels": 8, "out_channels": 8, "num_attention_heads": 2, "attention_head_dim": 8, "cross_attention_dim": 16,
    "num_layers": 4, "caption_channels": 4096,
}  # fmt: skip
NARROW = {"layers_per_block": [1] * 5, "decoder_layers_per_block": [1] * 5, "latent_channels": 8}
CODEC = {**NARROW, "block_out_channels": [8] * 4, "decoder_block_out_channels": [8] * 4}
TASK = replace(BOX_CLOSE, name="paper_shape", title="PaperShape", image_size=(192, 256), control_hz=30.0, chunk=50)


def main(*, rise: Path, output: Path | None = None) -> None:
    """Compare them and record by how much they differ.

    Args:
        rise: a checkout of RISE's repository.
        output: the result; default: `benchmarks/results/ltx_against_rise.json`.
    """
    sys.path.insert(0, str(rise / "dynamics"))
    theirs_of: Any = importlib.import_module(MODULE).LTXVideoTransformer3DModel
    torch.manual_seed(0)
    theirs = theirs_of(**TRANSFORMER).eval()
    for name, parameter in theirs.named_parameters():
        torch.nn.init.normal_(parameter, std=0.05 if "act_vit" in name else 0.3)
    empty = 0.3 * torch.randn(26, 4096)
    ours = _ours(theirs, empty)
    with common.recorded("ltx_against_rise", output, quick=False) as figures, torch.no_grad():
        window = torch.randn(2, 8, 3, 8, 6, 8), torch.tensor([0.7, 0.2]), torch.rand(2, 50, 14) * 2 - 1
        latents, level, actions = window
        found = ours(latents[:, :4], latents[:, 4:], level, actions)
        wanted = _asked(theirs, latents, level, actions, empty)[:, 4:]
        size = LTXSize.of(LTXDynamicsConfig(), TASK)
        figures |= {
            "weights": len(theirs.state_dict()),
            "velocity_std": float(wanted.std()),
            "largest_difference": float((found - wanted).abs().max()),
            "parameters_full_size": size.dynamics,
            "parameters_logged_by_rise": LOGGED,
            "of_which_unused": LOGGED - size.dynamics,
        }
        common.show("Full-size dynamics against RISE's class", ["figure", "value"], list(figures.items())[3:])


def _ours(theirs: torch.nn.Module, empty: Tensor) -> LTXDynamics:
    """Ours with their weights, read from a file as they publish it."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / WEIGHTS_NAME
        save_file({name: weight.contiguous() for name, weight in theirs.state_dict().items()}, file)
        config = LTXDynamicsConfig(transformer=TRANSFORMER)
        return public_dynamics(file, add_task(TASK), LTXCodec(settings=CODEC), config=config, empty=empty)


def _asked(theirs: torch.nn.Module, latents: Tensor, level: Tensor, actions: Tensor, empty: Tensor) -> Tensor:
    """Velocity of latents (B, f, V, c, h, w) as RISE's pipeline asks for it: a row a view, a text of 128 tokens."""
    batch, frames, views, channels, height, width = latents.shape
    rows = latents.permute(0, 2, 1, 4, 5, 3).reshape(batch * views, frames * height * width, channels)
    future = (torch.arange(frames) >= 4).float().repeat_interleave(height * width)
    text, mask = torch.randn(batch, 128, 4096), torch.zeros(batch, 128, dtype=torch.bool)
    text[:, :26], mask[:, 0] = empty, True  # beyond the 26th it attends to none
    found = theirs(
        hidden_states=rows, encoder_hidden_states=text, encoder_attention_mask=mask, n_view=views, return_dict=False,
        timestep=1000 * level.repeat_interleave(views)[:, None] * future, num_frames=frames, height=height, width=width,
        rope_interpolation_scale=[8 / 30, 32, 32], action_tokens=functional.pad(actions[:, 1::2], (0, 16)),
    )[0]["video"]  # fmt: skip
    return found.view(batch, views, frames, height, width, channels).permute(0, 2, 1, 5, 3, 4)


if __name__ == "__main__":
    tyro.cli(main)
