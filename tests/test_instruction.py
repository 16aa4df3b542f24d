"""Words to vectors."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from rise_gym.instruction import InstructionEncoder, word_ids


@pytest.fixture(scope="module")
def encoder() -> InstructionEncoder:
    torch.manual_seed(0)
    return InstructionEncoder(24)


def encode(encoder: InstructionEncoder, *texts: str) -> Tensor:
    with torch.no_grad():
        return encoder(texts)


def test_word_ids_are_the_same_in_every_process() -> None:
    text = "Fold the rear flap, then close the lid."
    code = f"from rise_gym.instruction import word_ids; print(word_ids({text!r}, 1024))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert other.strip() == str(word_ids(text, 1024))


def test_case_and_punctuation_do_not_matter_but_words_do() -> None:
    assert word_ids("Close the LID!", 1024) == word_ids("close the lid", 1024)
    assert word_ids("close the lid", 1024) != word_ids("open the lid", 1024)
    assert all(0 < word < 1024 for word in word_ids("close the lid", 1024))


def test_rows_do_not_depend_on_their_batch(encoder: InstructionEncoder) -> None:
    texts = ("close the box", "put the red cup into the box, and then close it", "fold")
    together = encode(encoder, *texts, texts[0])
    assert together.shape == (4, 24)
    for row, text in enumerate(texts):
        torch.testing.assert_close(together[row], encode(encoder, text)[0])
    assert torch.equal(together[0], together[3])


def test_different_words_and_different_order_are_told_apart(encoder: InstructionEncoder) -> None:
    rows = encode(encoder, "cup before box", "box before cup", "lid before box")
    assert (rows[0] - rows[1]).abs().max() > 1e-3
    assert (rows[0] - rows[2]).abs().max() > 1e-3


def test_long_and_empty_texts_are_finite(encoder: InstructionEncoder) -> None:
    assert encode(encoder, "", "word " * 500, "...").isfinite().all()
