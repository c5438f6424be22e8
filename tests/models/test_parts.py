"""A big batch of sources, encoded in parts = the same at once."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from search.toys import NAMES, source_of, toy

from antiphon.batch import Tokens
from antiphon.models import parts, seq2seq
from antiphon.nn.mixers import Memory
from antiphon.runtime.inference import as_rows, evaluating


@pytest.mark.parametrize("name", NAMES)
def test_parts_are_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, dice, sizes = copy.deepcopy(toy(name)).double(), random.Random(name), []
    encode = network._encode

    def counted(source: torch.Tensor, tokens: Tokens) -> Memory:
        sizes.append(len(source))
        return encode(source, tokens)

    with evaluating(network):
        source, tokens = as_rows([source_of(dice) for _ in range(23)], network.device)
        whole = network.encode(source, tokens)
        monkeypatch.setattr(network, "_encode", counted)
        for module in (parts, seq2seq):
            monkeypatch.setattr(module, "MAX_PART_TOKENS", 3 * source.shape[1])
        found = network.encode(source, tokens)
    assert max(sizes) <= 3 and sum(sizes) == 23
    assert torch.allclose(found.hidden, whole.hidden, rtol=0, atol=1e-12)
    assert found.tokens is tokens
