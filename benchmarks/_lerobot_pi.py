"""Small ones of lerobot's pi0 and pi0.5: its own classes, whose two language models it has in one size each.

Their sizes are numbers in one function of lerobot's, which is answered here with smaller ones. What their classes fix
stays: a vocabulary of 257 152 words, SigLIP's 27 layers, and a language model of 2048, for that is what pictures are
projected to. So the smallest has 1.5 billion parameters, with the head that speaks.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

TOKENIZER = "google/paligemma-3b-pt-224"
"""The hub id that lerobot's processors load; it asks for consent there."""
_SIZES = {
    "gemma_2b": {"width": 2048, "depth": 1, "mlp_dim": 64},
    "gemma_300m": {"width": 64, "depth": 1, "mlp_dim": 64},
}
_HEADS = {"num_heads": 8, "num_kv_heads": 1, "head_dim": 32}  # their loss counts on eight


def small_pi(kind: str, features: dict[str, Any]) -> Any:
    """A policy `pi0` or `pi05` with random weights, of which the expert alone learns."""
    place = f"lerobot.policies.{kind}"
    modeling: Any = importlib.import_module(f"{place}.modeling_{kind}")
    modeling.get_gemma_config = lambda variant: modeling.GemmaConfig(**_SIZES[variant], **_HEADS)
    name = kind.upper()
    config = getattr(importlib.import_module(f"{place}.configuration_{kind}"), f"{name}Config")
    return getattr(modeling, f"{name}Policy")(config(
        **features, chunk_size=10, n_action_steps=10, num_inference_steps=2, image_resolution=(56, 56),
        train_expert_only=True, dtype="bfloat16",
    ))  # fmt: skip


def put_tokenizer(tokenizer: Any) -> None:
    """A tokenizer of `transformers` where the hub's cache would have theirs, for no hub can be reached."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from transformers import AutoConfig

    repository = Path(HF_HUB_CACHE) / f"models--{TOKENIZER.replace('/', '--')}"
    revision = "0" * 40
    snapshot = repository / "snapshots" / revision
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs/main").write_text(revision)
    tokenizer.save_pretrained(snapshot)
    AutoConfig.for_model("paligemma").save_pretrained(snapshot)
