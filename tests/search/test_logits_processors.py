"""Each logits processor, and topk, against a definition in plain Python."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from antiphon.search.constants import NEG_INF
from antiphon.search.next_token.logits_processors import (
    DecodedTokens,
    LogitsProcessor,
    MinNewTokens,
    NoRepeatNgram,
    RepetitionPenalty,
    SuppressTokens,
)
from antiphon.search.next_token.topk import topk


def decoded(history: Tensor, prefixes: list[int]) -> DecodedTokens:
    return DecodedTokens(history, torch.tensor(prefixes))


def case(seed: int) -> tuple[Tensor, DecodedTokens, list[list[float]]]:
    """Random scores, histories over few ids so that much is repeated, and the scores as lists."""
    torch.manual_seed(seed)
    rows, size, length = 7, 6, seed % 9
    scores = torch.randn(rows, size, dtype=torch.float64)
    prefixes = [random.Random(row + seed).randint(0, length) for row in range(rows)]
    return scores, decoded(torch.randint(0, size, (rows, length)), prefixes), scores.tolist()


def check(processor: LogitsProcessor, definition) -> None:
    for seed in range(60):
        scores, tokens, plain = case(seed)
        found = processor(scores, tokens).tolist()
        for row, history in enumerate(tokens.history.tolist()):
            expected = [
                definition(plain[row][id], id, history, int(tokens.prefix_lengths[row]))
                for id in range(len(plain[row]))
            ]
            assert found[row] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_no_repeat_ngram(size: int) -> None:
    def definition(score: float, id: int, history: list[int], prefix: int) -> float:
        after = [*history, id]
        before = [history[i : i + size] for i in range(len(history) - size + 1)]
        return NEG_INF if len(after) >= size and after[-size:] in before else score

    check(NoRepeatNgram(size), definition)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_repetition_penalty(factor: float) -> None:
    def definition(score: float, id: int, history: list[int], prefix: int) -> float:
        return score if id not in history else score * factor if score < 0 else score / factor

    check(RepetitionPenalty(factor), definition)
    check(
        RepetitionPenalty(factor, start=3), lambda score, id, history, prefix: definition(score, id, [3, *history], 0)
    )
    assert RepetitionPenalty(factor).takes_logits and not RepetitionPenalty(factor, logits=False).takes_logits


@pytest.mark.parametrize("least", [1, 3])
def test_min_new_tokens(least: int) -> None:
    def definition(score: float, id: int, history: list[int], prefix: int) -> float:
        return NEG_INF if id == 2 and len(history) - prefix < least else score

    check(MinNewTokens(least, end=2), definition)


def test_suppress_tokens() -> None:
    check(SuppressTokens([4, 0]), lambda score, id, history, prefix: NEG_INF if id in (0, 4) else score)


@pytest.mark.parametrize("size", [1, 5, 64, 300, 1000, 4097])
@pytest.mark.parametrize("values", ["distinct", "few", "equal", "forbidden"])
def test_topk_is_a_stable_sort(size: int, values: str) -> None:
    """Also where scores are equal, within a block and across them: the lower id comes first."""
    torch.manual_seed(size)
    scores = {
        "distinct": torch.randn(9, size),
        "few": torch.randint(-3, 3, (9, size)).float(),
        "equal": torch.zeros(9, size),
        "forbidden": torch.randn(9, size).masked_fill(torch.rand(9, size) < 0.98, NEG_INF),
    }[values]
    for k in (1, 2, 4, 8, 16):
        found, ids = topk(scores, k)
        for row, plain in enumerate(scores.tolist()):
            order = sorted(range(size), key=lambda id: (-plain[id], id))[:k]
            there = [id for id in order if plain[id] > NEG_INF]  # which of the impossible ones come is of no matter
            assert ids[row].tolist()[: len(there)] == there
            assert found[row].tolist() == [plain[id] for id in order]
