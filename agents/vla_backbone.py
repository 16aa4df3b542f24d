"""A public vision-language model as the eyes and ears of a policy: SmolVLM and Idefics3, by `transformers`' classes.

What the policy sees and is told becomes one sequence, the *prefix*: the tokens of each camera's picture, then those
of the prompt. Nothing is generated; what counts are the hidden states between the language model's layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rise_gym.errors import InvalidCheckpoint, MissingPackage

if TYPE_CHECKING:
    from tokenizers import Tokenizer

INSTALL = "pip install 'rise-gym[vla]'"
_PARTS = ("vision_model", "connector", "text_model")


def require_packages() -> None:
    """Check that what loads public backbones is installed.

    Raises:
        MissingPackage: if `transformers` is not.
    """
    try:
        import tokenizers
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingPackage(
            f"a VLA with a public backbone needs packages that are not installed ({error}): {INSTALL}"
        ) from error
    del tokenizers


@dataclass(frozen=True)
class Prefix:
    """Hidden states (B, S, D) before the first layer of the language model and after each, and what is no filler.

    Attributes:
        layers: one tensor more than the model has layers, of S tokens each. told: bool (B, S).
    """

    layers: tuple[Tensor, ...]
    told: Tensor


class Backbone(nn.Module):
    """Pictures and a prompt -> hidden states.

    Args:
        settings: the `transformers` configuration of a SmolVLM or Idefics3 as plain data, with its `model_type`.
        image_px: side that pictures are brought to; None for what the model was trained on. Smaller pictures are fewer
            tokens: their number goes with the square.

    Raises:
        MissingPackage: without the extra `vla`.
        InvalidCheckpoint: if the model is of another family.
        ValueError: if `image_px` is not a multiple of the side of an image token.
    """

    def __init__(self, settings: Mapping[str, Any], image_px: int | None = None) -> None:
        super().__init__()
        require_packages()
        from transformers import AutoConfig, AutoModel

        self.model = AutoModel.from_config(AutoConfig.for_model(**settings))
        _check_family(self.model, str(settings.get("model_type")))
        vision = self.model.config.vision_config
        self.image_px: int = image_px or vision.image_size
        token_px = vision.patch_size * self.model.config.scale_factor
        if self.image_px % token_px or self.image_px > vision.image_size:
            raise ValueError(
                f"image_px has to be a multiple of {token_px} up to {vision.image_size}, the backbone's own, "
                f"got {self.image_px}"
            )
        self.image_tokens = (self.image_px // token_px) ** 2
        self.tokenizer: Tokenizer | None = None

    @property
    def width(self) -> int:
        """D, of a hidden state."""
        return int(self.model.config.text_config.hidden_size)

    @property
    def depth(self) -> int:
        """Layers of the language model."""
        return int(self.model.config.text_config.num_hidden_layers)

    def speak(self, tokenizer: Tokenizer) -> None:
        """Take the tokenizer that the model was trained with.

        Raises:
            InvalidCheckpoint: if it has more words than the model.
        """
        words, known = tokenizer.get_vocab_size(), self.model.get_input_embeddings().num_embeddings
        if words > known:
            raise InvalidCheckpoint(f"the tokenizer has {words} words, the backbone {known}: it is another model's")
        self.tokenizer = tokenizer

    def forward(self, images: Tensor, prompts: Sequence[str]) -> Prefix:
        """Images (B, V, 3, H, W) in [-1, 1] and B prompts -> the prefix, of S = V · image tokens + words."""
        seen = self._seen(images)  # (B, V·n, D)
        words, told = self._words(prompts)
        embedded = self.model.get_input_embeddings()(words)
        sequence = torch.cat([seen.to(embedded), embedded], dim=1)
        mask = torch.cat([told.new_ones(seen.shape[:2]), told], dim=1)
        run = self.model.text_model(
            inputs_embeds=sequence, attention_mask=mask.long(), use_cache=False, output_hidden_states=True
        )
        return Prefix(tuple(run.hidden_states), mask)

    def _seen(self, images: Tensor) -> Tensor:
        batch, views, _, height, width = images.shape
        flat, size = images.flatten(0, 1).to(self.model.dtype), self.image_px
        if (height, width) != (size, size):
            flat = functional.interpolate(flat, (size, size), mode="bilinear", antialias=True, align_corners=False)
        cells = size // self.model.config.vision_config.patch_size
        whole = torch.ones(len(flat), cells, cells, dtype=torch.bool, device=flat.device)
        patches = self.model.vision_model(pixel_values=flat, patch_attention_mask=whole).last_hidden_state
        tokens: Tensor = self.model.connector(patches)  # (B·V, n, D)
        return tokens.unflatten(0, (batch, views)).flatten(1, 2)

    def _words(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids (B, L), filled up at the end, and which of them are none of the filling."""
        if self.tokenizer is None:
            raise ValueError("the backbone has no tokenizer yet: give it the one it was trained with, by `speak`")
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch(list(prompts))]
        longest = max(map(len, rows))
        device = next(self.model.parameters()).device
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], dtype=torch.long, device=device)
        told = torch.tensor([[place < len(row) for place in range(longest)] for row in rows], dtype=torch.bool)
        return ids, told.to(device)


def fetch_backbone(name: str, *, layers: int | None = None) -> tuple[dict[str, Any], dict[str, Tensor], Tokenizer]:
    """A public backbone: its settings, its weights (float32) and its tokenizer.

    Args:
        name: hub id, as `HuggingFaceTB/SmolVLM2-500M-Video-Instruct`, or a folder that one was downloaded to.
        layers: keep the first so many of the language model's at most; SmolVLA acts on half of them. None keeps all.

    Raises:
        InvalidCheckpoint: if it can't be had, or is no model of this family.
        MissingPackage: without the extra `vla`.
    """
    require_packages()
    from transformers import AutoModel, AutoTokenizer

    try:
        model = AutoModel.from_pretrained(name, dtype=torch.float32, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(name, use_fast=True).backend_tokenizer
    except (OSError, ValueError, AttributeError) as error:  # of the hub, of a missing file, of a slow tokenizer
        raise InvalidCheckpoint(
            f"the backbone {name!r} could not be had, neither as a folder nor from the hub ({_first_line(error)}); "
            "check the spelling and the connection, or download it where there is one "
            f"(hf download {name} --local-dir FOLDER) and give the folder"
        ) from error
    _check_family(model, name)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if layers is not None:
        model.text_model.layers = model.text_model.layers[: max(1, layers)]
        model.config.text_config.num_hidden_layers = len(model.text_model.layers)
    return model.config.to_dict(), model.state_dict(), tokenizer


def _check_family(model: Any, name: str) -> None:
    missing = [part for part in _PARTS if not hasattr(model, part)]
    if missing:
        raise InvalidCheckpoint(
            f"a backbone of the SmolVLM or Idefics3 family was wanted, {name!r} is a {type(model).__name__} without "
            f"{' and '.join(missing)}: HuggingFaceTB/SmolVLM2-500M-Video-Instruct, say, is one"
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
