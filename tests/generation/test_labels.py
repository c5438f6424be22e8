"""Scores of labels: those of forced decoding, the encoder run once a text."""

from __future__ import annotations

from dataclasses import replace

import pytest
from generation.test_model import KINDS, model
from search.toys import NAMES, toy

from antiphon.config import GenerationConfig
from antiphon.errors import DataError
from antiphon.generation.classification.labels import label_scores
from antiphon.generation.ensemble import Ensemble
from antiphon.generation.model import Model

TEXTS = ["hello, world", "we go", "ein Haus, zwei", "in 3 hours", ""]
LABELS = ["go", "hours and hours", "x", "ein Haus"]


@pytest.mark.parametrize("kind", KINDS)
def test_label_scores_are_forced_scores(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held, asked = model(kind), []
    expected = [held.score([text] * len(LABELS), LABELS) for text in TEXTS]
    encode = held.network.encode
    monkeypatch.setattr(
        held.network, "encode", lambda ids, *rest, **how: asked.append(len(ids)) or encode(ids, *rest, **how)
    )
    for found, own in zip(label_scores(held, TEXTS, LABELS), expected, strict=True):
        assert found == pytest.approx(own, abs=1e-9)
    assert asked == [len(TEXTS)]
    one = label_scores(held, TEXTS, LABELS, config=GenerationConfig(batch_size=1))
    for found, own in zip(one, expected, strict=True):
        assert found == pytest.approx(own, abs=1e-9)
    assert asked[1:] == [1] * len(TEXTS)


@pytest.mark.parametrize("name", [*NAMES, "ensemble"])
def test_with_every_attention(name: str) -> None:
    kinds = model("bytes")
    size = kinds.target_tokenizer.vocab_size
    network = (
        Ensemble([toy("paper", vocabulary=size), toy("window", vocabulary=size)])
        if name == "ensemble"
        else toy(name, vocabulary=size)
    )
    held = Model.from_parts(replace(kinds.parts, network=network))
    for text, found in zip(TEXTS[:3], label_scores(held, TEXTS[:3], LABELS), strict=True):
        assert found == pytest.approx(held.score([text] * len(LABELS), LABELS), abs=1e-9)


def test_what_is_wrong_is_one_line() -> None:
    held = model("bytes", max_length=24)
    assert label_scores(held, [], LABELS) == []
    with pytest.raises(DataError, match="at least one label"):
        label_scores(held, ["a"], [])
    with pytest.raises(DataError, match="label 2 must have at most 24 tokens"):
        label_scores(held, ["a"], ["a", "b" * 24])
    with pytest.raises(DataError, match="input 2 must have at most 24 tokens"):
        label_scores(held, ["a", "b" * 24], ["a"])
    cut = label_scores(held, ["b" * 50], ["a"], config=GenerationConfig(overflow="truncate"))
    assert cut[0] == pytest.approx(label_scores(held, ["b" * 23], ["a"])[0], abs=1e-9)
