"""A vision-language backbone of the real classes that is tiny, with random weights and a vocabulary of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Sequence, Split, WhitespaceSplit

from rise_gym.agents.vla import VisionLanguagePolicy, VlaConfig
from rise_gym.tasks import BOX_CLOSE

WORDS = f"{BOX_CLOSE.instruction} , Advantage: 1 2 3 4 5 6 7 8 9 10".lower().split()
SMALL = VlaConfig(
    expert_width=32, expert_heads=2, flow_steps=2, noise_draws=2, shift_px=0, light_jitter=0.0, temperature=1.0
)


def tokenizer() -> Tokenizer:
    """Every word of box closing's prompts is a token, everything else is one and the same."""
    words = ["<filler>", "<unknown>", *dict.fromkeys(WORDS)]
    made = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unknown>"))
    made.normalizer = Lowercase()
    made.pre_tokenizer = Sequence([WhitespaceSplit(), Split(",", "isolated")])
    return made


def settings(layers: int = 2, width: int = 24) -> dict[str, Any]:
    """A SmolVLM whose pictures of 64 pixels are four tokens each."""
    text = {
        "model_type": "llama", "vocab_size": 64, "hidden_size": width, "intermediate_size": 48,
        "num_hidden_layers": layers, "num_attention_heads": 2, "num_key_value_heads": 1, "pad_token_id": 0,
    }  # fmt: skip
    vision = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 64, "patch_size": 16,
    }  # fmt: skip
    return {"model_type": "smolvlm", "text_config": text, "vision_config": vision, "scale_factor": 2}


def tiny_vla(*, config: VlaConfig = SMALL, chunk: int | None = None) -> VisionLanguagePolicy:
    """An untrained policy for box closing on it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VisionLanguagePolicy.of(config, settings(), tokenizer(), BOX_CLOSE, chunk=chunk).eval()


def published(folder: Path) -> Path:
    """Writes the backbone as one lies on the hub: a language model with a head, its tokenizer beside it."""
    from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedTokenizerFast

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForImageTextToText.from_config(AutoConfig.for_model(**settings())).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer(), unk_token="<unknown>").save_pretrained(folder)
    return folder
