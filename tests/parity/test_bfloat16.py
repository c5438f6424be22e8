"""T5 in bfloat16: how far its logits are from float32, beside the reference's own.

Weights as T5 is initialized, shapes of the size of the small ones. Rounding the weights alone costs half of what is
measured here. Random weights of no training's size (reference.randomize) say nothing: attention that is not scaled
turns a rounded score of a hundred into another key, in the reference as much as here.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from parity import reference
from parity.test_families import our_logits, rows, their_logits
from torch import Tensor

from antiphon.generation.model import Model
from antiphon.models.folders.hub import load_pretrained

GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "d_ff": 512}  # 1.1 and Flan


@pytest.mark.parametrize("changes", [{}, GATED], ids=["1.0", "1.1"])
@pytest.mark.parametrize("seed", range(2))
def test_logits_are_within_a_hundredth_of_the_largest(changes: dict[str, object], seed: int, tmp_path: Path) -> None:
    shape = {"vocab_size": 1000, "d_model": 256, "d_kv": 64, "d_ff": 1024, "num_layers": 4, "num_heads": 4}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = transformers.T5Config(**shape | {"decoder_start_token_id": 0} | changes)
        theirs = transformers.T5ForConditionalGeneration(config).eval()
    theirs.save_pretrained(tmp_path)
    reference.write_tokenizer(tmp_path, theirs)
    sources, targets = rows(theirs, seed)
    exact = torch.cat(our_logits(Model.from_parts(load_pretrained(tmp_path)), sources, targets))
    found = our_logits(Model.from_parts(load_pretrained(tmp_path, dtype=torch.bfloat16)), sources, targets)
    short = type(theirs).from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    (norm, most), (their_norm, _) = (deviation(rows, exact) for rows in (found, their_logits(short, sources, targets)))
    assert most < 1e-2  # also that it is finite
    assert norm < 1.5e-2 and norm < 1.1 * their_norm


def deviation(found: list[Tensor], exact: Tensor) -> tuple[float, float]:
    """|found - exact| over |exact|: of the norms, and of the largest values."""
    away = torch.cat(found).float() - exact
    return float(away.norm() / exact.norm()), float(away.abs().max() / exact.abs().max())
