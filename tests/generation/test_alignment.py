"""Word alignments from cross-attention, and the characters of each token."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from generation.test_model import KINDS, model
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.batch import Example, collate
from antiphon.documents import AlignedSpan
from antiphon.errors import DataError
from antiphon.generation.attention import alignment
from antiphon.generation.attention.alignment import align, align_pairs
from antiphon.generation.attention.maps import layer_weights
from antiphon.generation.attention.token_spans import token_spans
from antiphon.generation.model import Model
from antiphon.text import Tokenizer, train_tokenizer

TRAINED = {
    kind: train_tokenizer(["in 3 hours, ein Haus, zwei Häuser 日本"] * 3, kind=kind, vocab_size=size)
    for kind, size in [("bpe", 290), ("unigram", 290), ("bytes", 260), ("characters", 290)]
}
PAIRS = [("in 3 hours", "in 3 Stunden"), ("hello world", "hallo Welt!"), ("a", "b c d e f g")]


def words(text: str, spans: list[AlignedSpan]) -> list[str]:
    return [text[slice(*span.source)] for span in spans]


@pytest.mark.parametrize("kind", TRAINED)
@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("in 3hours,äé日本\u0301\t\n 😀"), max_size=30))
def test_the_spans_of_tokens_are_the_text(kind: str, text: str) -> None:
    tokenizer = TRAINED[kind]
    ids = tokenizer.encode(text)
    spans = token_spans(tokenizer, ids, text)
    assert len(spans) == len(ids)
    covered = set()
    last = (0, 0)
    for id, span in zip(ids, spans, strict=True):
        if span is not None:
            assert 0 <= span[0] < span[1] <= len(text) and span >= last, "in order"
            written = tokenizer.decode([id])
            if "\ufffd" not in written:  # a part of a character has all of it
                assert text[slice(*span)].strip() == written.strip()
            covered |= set(range(*span))
            last = span
    assert all(char.isspace() for place, char in enumerate(text) if place not in covered)


def test_spans_of_a_tokenizer_that_changes_texts() -> None:
    tokenizer = train_tokenizer(["the café is open, in 3 hours"] * 9, kind="bpe", vocab_size=290, lowercase=True)
    text = "The Café  is OPEN"
    ids = tokenizer.encode(text)
    found = [text[slice(*span)].strip() for span in token_spans(tokenizer, ids, text) if span is not None]
    assert "".join(found).replace(" ", "") == "TheCaféisOPEN"


def test_spans_with_unknown_tokens() -> None:
    import tokenizers
    from tokenizers import models, pre_tokenizers

    from antiphon.text.vocabulary import JsonVocabulary

    rust = tokenizers.Tokenizer(
        models.WordLevel({"<unk>": 0, "a": 1, "b": 2, "<pad>": 3, "</s>": 4}, unk_token="<unk>")
    )
    rust.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = Tokenizer(JsonVocabulary(rust.to_str().encode(), where="test"))
    text = "a house b"
    spans = token_spans(tokenizer, tokenizer.encode(text), text)
    assert [text[slice(*span)].strip() if span else None for span in spans] == ["a", "house", "b", None]


def test_long_texts_that_change_are_placed_by_position() -> None:
    tokenizer = train_tokenizer(["abc " * 50], kind="bpe", vocab_size=270, lowercase=True)
    text = "ABC " * 1500
    spans = [span for span in token_spans(tokenizer, tokenizer.encode(text), text) if span]
    assert spans[0][0] < 8 and spans[-1][1] > len(text) - 8


@pytest.mark.parametrize("kind", KINDS)
def test_each_word_of_the_answer_has_words_of_the_source(kind: str) -> None:
    held = model(kind, max_length=60)
    for (source, target), spans in zip(PAIRS, align_pairs(held, *zip(*PAIRS, strict=True)) or [], strict=True):
        assert spans == align(held, source, target), "alone as in a batch"
        assert spans, "some word is aligned"
        for (a, b), (c, d), weight in spans:
            assert source[a:b] in source.split() and (target[c:d] in target.replace("!", " !").split())
            assert 0 < weight <= 1


def test_weights_are_those_of_the_maps() -> None:
    """By the definition, for a text of one token a word."""
    held = model("characters", max_length=60)
    source, target = "a b", "b"
    (first, *_rest) = align(held, source, target) or []
    tokens = held.special_tokens
    read, answer = held.source_tokenizer.encode(source), held.target_tokenizer.encode(target)
    batch = collate([Example(read, tokens.with_first(answer), 0)], pad_id=tokens.pad, start_id=tokens.start)
    layers = [weights for weights in layer_weights(held.network, batch)["cross"] if weights is not None]
    mean = torch.stack(layers).mean((0, 2))[0, 0]
    pieces = held.source_tokenizer.pieces(read, specials=True)
    places = [pieces.index("a"), len(pieces) - 1 - pieces[::-1].index("b")]
    both = [float(mean[place]) for place in places]
    assert any(first.weight == pytest.approx(value, abs=1e-5) or first.weight >= value for value in both)


def test_what_has_no_alignment() -> None:
    held = model("bpe", max_length=20)
    assert align(held, "", "x") == [] and align(held, "x", " ") == []
    assert align(held, "x", "x " * 50) == [], "the answer is longer than the model takes"
    assert align(held, "x " * 50, "x"), "a long source is read in windows"
    assert align_pairs(held, [], []) == []
    with pytest.raises(DataError, match="one target for each source"):
        align_pairs(held, ["a"], [])


def test_batches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    held = model("bpe", max_length=60)
    whole = align_pairs(held, *zip(*PAIRS * 3, strict=True))
    monkeypatch.setattr(alignment, "_MAX_CELLS", 1)
    assert align_pairs(held, *zip(*PAIRS * 3, strict=True)) == whole


def test_an_int8_model_has_alignments() -> None:
    held = model("bpe", max_length=60)
    held.network.float()
    assert align(held.quantize(), *PAIRS[0])


def test_the_words_of_a_template_are_no_part_of_the_source() -> None:
    bare = model("bpe", max_length=60)
    held = Model.from_parts(replace(bare.parts, template="hello world: {}"))
    spans = align(held, "in 3 hours", "in 3 Stunden")
    assert spans and all("in 3 hours"[slice(*span.source)] in ("in", "3", "hours") for span in spans)
    whole = align(bare, "hello world: in 3 hours", "in 3 Stunden") or []
    shift = len("hello world: ")
    weights = {(span.source, span.target): span.weight for span in whole}
    shared = [span for span in spans if ((span.source[0] + shift, span.source[1] + shift), span.target) in weights]
    assert shared, "the same weights, at other places"
    for span in shared:
        place = (span.source[0] + shift, span.source[1] + shift), span.target
        assert span.weight == pytest.approx(weights[place])
