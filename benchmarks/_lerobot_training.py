"""The command that trains a policy with lerobot on a dataset, as its users type it."""

from __future__ import annotations

from pathlib import Path

STEPS = 2
TRAINING = {
    "policy.type": "act", "policy.device": "cpu", "policy.push_to_hub": "false", "wandb.enable": "false",
    "policy.pretrained_backbone_weights": "null", "policy.chunk_size": 10, "policy.n_action_steps": 10,
    "policy.dim_model": 32, "policy.n_heads": 2, "policy.dim_feedforward": 32, "policy.n_encoder_layers": 1,
    "policy.n_vae_encoder_layers": 1, "steps": STEPS, "batch_size": 2, "num_workers": 0, "log_freq": 1,
    "dataset.repo_id": "somebody/dataset",
}  # fmt: skip
"""Of `lerobot-train`: a small policy, and nothing that asks a hub."""


def training_command(python: Path, dataset: Path, out: Path) -> list[str]:
    """`lerobot-train` of the environment that has this Python."""
    settings = {**TRAINING, "dataset.root": dataset, "output_dir": out}
    return [str(python.with_name("lerobot-train")), *(f"--{name}={value}" for name, value in settings.items())]
