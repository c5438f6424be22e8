"""The methods of explanations: by their definitions, with every kind of attention, and what they refuse."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy
import pytest
import torch
from generation.test_maps import Silent, model_of
from generation.test_model import model
from generation.test_speech import speech_model
from search.toys import NAMES, toy
from torch.nn import functional

import antiphon
from antiphon.batch import Tokens
from antiphon.errors import ConfigError, DataError, ModelError
from antiphon.evaluation.explain import METHODS, explain, gradients
from antiphon.evaluation.explain.deletion import leave_one_out
from antiphon.evaluation.explain.gradients import baseline, input_x_gradient, integrated_gradients, token_vectors
from antiphon.evaluation.explain.pair import ExplainedPair, word_spans
from antiphon.evaluation.explain.rollout import attention_rollout
from antiphon.generation.model import Model
from antiphon.search.engine import forced_log_p
from antiphon.search.special_tokens import SpecialTokens

PAIR = "in 3 hours we go", "ein Haus, zwei"


def with_network(network: torch.nn.Module) -> Model:
    """A model in bytes with this network."""
    return Model.from_parts(replace(model("bytes").parts, network=network))


@pytest.mark.parametrize(("kind", "units"), [("bpe", "words"), ("characters", "tokens")])
def test_integrated_gradients_add_up(kind: str, units: str) -> None:
    held = model(kind, max_length=60)
    pair = ("in 3 ho", "ein H")
    found = explain(held, *pair, units=units, test=False)
    whole = ExplainedPair(held, *pair, units=units)
    ends = [token_vectors(whole), baseline(whole, token_vectors(whole))]
    with gradients._gradients(whole):
        scores = torch.cat([gradients._scores_of(whole, end[None]) for end in ends]).detach()
    torch.testing.assert_close(found.scores, scores[0], msg="the score is that of the source itself")
    assert found.completeness is not None and found.completeness.holds
    sums, difference = found.weights.sum(1), scores[0] - scores[1]
    assert bool(((sums - difference).abs() <= 0.02 * difference.abs().clamp_min(1.0)).all())
    assert float(sums.abs().min()) > 1e-3, "the test needs differences"
    assert not found.weights[:, [place for place, out in enumerate(found.special) if out]].any()
    assert found.special == [False] * (len(found.special) - 1) + [True]


def test_gradients_are_those_of_the_source_alone() -> None:
    """By a hook on the source's table, which the decoder shares, at the same points of the path."""
    held = model("bpe", max_length=60)
    assert held.network.source.table is held.network.target.table
    pair = ExplainedPair(held, "in 3 ho", "ein")
    start, end = baseline(pair, token_vectors(pair)), token_vectors(pair)
    ids = torch.tensor([pair.source_ids])
    tokens = Tokens(torch.arange(len(pair.source_ids))[None])

    def at(point: float) -> torch.Tensor:
        leaf = (start + (end - start) * point).requires_grad_()
        hook = held.network.source.table.register_forward_hook(lambda *_: leaf[None])
        with gradients._gradients(pair):
            memory = held.network.encode(ids, tokens)
            hook.remove()
            each = [torch.autograd.grad(score, leaf, retain_graph=True)[0] for score in pair.scores(memory)[0]]
        return (torch.stack(each) * (end - start)).sum(-1)

    torch.testing.assert_close(input_x_gradient(pair), at(1.0))
    nodes, shares = numpy.polynomial.legendre.leggauss(6)
    expected = sum(share / 2 * at((node + 1) / 2) for node, share in zip(nodes, shares, strict=True))
    torch.testing.assert_close(gradients._integral(pair, start, end, 6), expected)


def test_leave_one_out_is_the_score_without_the_token() -> None:
    held = model("characters", max_length=60)
    pair = ExplainedPair(held, "a b3", "in go", units="tokens")
    found = leave_one_out(pair)
    whole = forced_log_p(held.network, [(pair.source_ids, pair.target_ids)], held.special_tokens)[0]
    for place in range(len(pair.source_ids) - 1):
        rest = [id for other, id in enumerate(pair.source_ids) if other != place]
        log_p = forced_log_p(held.network, [(rest, pair.target_ids)], held.special_tokens)[0]
        torch.testing.assert_close(found[:, place], (whole - log_p)[: len(pair.units)])
    assert not found[:, -1].any()


def test_rollout_of_one_layer_by_hand() -> None:
    """Encoder (I + A) / 2; decoder C R / 2 of its only layer, scaled to a sum of 1."""
    held = model_of(encoder_layers=1, decoder_layers=1)
    pair = ExplainedPair(held, "one two three", "four five", units="tokens")
    maps = held.attention("one two three", "four five")
    encoder = (torch.eye(len(pair.source_ids)) + maps.encoder[0].mean(0)) / 2
    expected = (maps.cross[0].mean(0) @ encoder)[: len(pair.units)]
    torch.testing.assert_close(attention_rollout(pair), expected.double(), rtol=1e-4, atol=1e-6)
    two = attention_rollout(ExplainedPair(model_of(), "one two three", "four five"))
    torch.testing.assert_close(two.sum(1), torch.ones(len(two), dtype=torch.float64))


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_attention(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "MAX_POINTS", 64)
    held = with_network(toy(name, vocabulary=model("bytes").target_tokenizer.vocab_size))
    for method in METHODS:
        if method == "rollout" and any(role is None for role in _maps(held)):
            with pytest.raises(ModelError, match=r"rollout needs the weights .* has none\. Choose"):
                explain(held, "we go", "in 3", method=method, test=False)
            continue
        found = explain(held, "we go", "in 3", method=method, test=False)
        assert found.weights.shape == (2, len(found.source_tokens)) and bool(found.weights.isfinite().all())
        assert bool(found.weights.any())


def _maps(held: Model) -> list[torch.Tensor | None]:
    maps = held.attention("we go", "in 3")
    roles = (maps.cross, maps.encoder, maps.decoder)
    return [None if found is None or found.isnan().any() else found for found in roles]


def test_a_mixer_without_weights_is_named() -> None:
    held = model_of({"encoder": Silent()})
    with pytest.raises(ModelError, match="mixer `Silent` in layer 1 of the encoder attention has none"):
        explain(held, "one two", "three", method="rollout")
    assert explain(held, "one two", "three", method="leave-one-out", test=False).weights.any()


def test_sources_in_windows() -> None:
    held = model("bytes", max_length=24)
    source = "hello, world. This is it! " * 2
    for method in METHODS:
        found = explain(held, source, "go", method=method, overflow="window", test=False)
        assert len(found.source_tokens) > 48 and bool(found.weights[0, 40:50].any()), method
        assert found.completeness is None or found.completeness.holds
    with pytest.raises(DataError, match="the source must have at most 24 tokens"):
        explain(held, source, "go")
    assert len(explain(held, source, "go", overflow="truncate", test=False).source_tokens) == 24


def test_a_label_is_explained_among_the_labels() -> None:
    parts = replace(model("bytes").parts, task="classification", labels={"0": "go", "1": "in hours", "2": "Haus"})
    held = Model.from_parts(parts)
    answer = held.generate("we go in")[0]
    found = explain(held, "we go in")
    assert found.answer == answer.text and found.units == [answer.text] and found.is_label
    assert found.probability(0) == pytest.approx(answer.probabilities[answer.text])
    assert found.completeness is not None and found.completeness.holds
    other = next(label for label in held.labels if label != answer.text)
    assert explain(held, "we go in", other, test=False).probability(0) == pytest.approx(answer.probabilities[other])
    deleted = explain(held, "we go in", method="leave-one-out", test=False)
    without = held.generate("we go i")[0].probabilities[answer.text]  # bytes: the last one is a token
    assert float(deleted.weights[0, -2]) == pytest.approx(math.log(answer.probabilities[answer.text] / without))


def test_the_model_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    held = model("bpe", max_length=60)
    table, frozen = held.network.source.table, held.network.frozen
    trained = [parameter.requires_grad for parameter in held.network.parameters()]
    before = held.score(*PAIR)
    pair = ExplainedPair(held, *PAIR)
    input_x_gradient(pair)
    monkeypatch.setattr(held.network, "encode", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        integrated_gradients(pair)
    monkeypatch.undo()
    assert held.network.source.table is table and held.network.frozen == frozen
    assert [parameter.requires_grad for parameter in held.network.parameters()] == trained
    assert all(parameter.grad is None for parameter in held.network.parameters())
    assert held.score(*PAIR) == before


def test_own_answers_and_words() -> None:
    held = model("bpe", max_length=60)
    found = explain(held, "hello", beam_size=1, method="leave-one-out", test=False)
    assert found.answer == held.generate("hello", beam_size=1)[0].text
    assert "".join(found.units) == re.sub(r"\s", "", found.answer)
    assert word_spans("a t͡ʃ, 日本") == [(0, 1), (2, 5), (5, 6), (7, 8), (8, 9)]


def test_integrated_gradients_equal_input_x_gradient_where_the_score_is_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = ExplainedPair(model("bpe", max_length=60), *PAIR)
    weights = torch.randn(len(pair.units), *token_vectors(pair).shape, dtype=torch.float64)
    monkeypatch.setattr(gradients, "_scores_of", lambda _, vectors: torch.einsum("nsd,usd->nu", vectors, weights))
    found, complete = integrated_gradients(pair)
    torch.testing.assert_close(found, input_x_gradient(pair))
    assert complete.largest < 1e-9 and complete.points == gradients.FIRST_POINTS


def test_what_does_not_converge_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "FIRST_POINTS", 1)
    monkeypatch.setattr(gradients, "MAX_POINTS", 1)
    found = explain(model("bpe", max_length=60), *PAIR, test=False)
    assert found.completeness is not None and not found.completeness.holds
    assert any(line.startswith("not complete") for line in found.notes)


def test_what_cannot_be_explained_is_named() -> None:
    held = model("bpe", max_length=60)
    with pytest.raises(ConfigError, match=r"`method` must be one of .* but is `rollot`, did you mean `rollout`"):
        explain(held, *PAIR, method="rollot")
    with pytest.raises(ConfigError, match="`units` must be words or tokens"):
        explain(held, *PAIR, units="lines")
    with pytest.raises(DataError, match="`source` must have at least one token"):
        explain(held, "  ")
    with pytest.raises(ModelError, match="this model reads images or sound"):
        explain(speech_model(), "hello.wav")
    with pytest.raises(ModelError, match="explanation needs a network of this toolkit, but this is a Other"):
        explain(type("Other", (), {})(), "hello")
    int8 = Model.from_parts(replace(held.parts, network=toy("paper", vocabulary=300).float())).quantize()
    with pytest.raises(ModelError, match="an explanation by gradients needs the model's own weights"):
        explain(int8, "we go", "in 3")
    assert explain(int8, "we go", "in 3", method="leave-one-out", test=False).weights.any()


def test_an_ensemble_is_refused(tmp_path) -> None:
    folder = model_of().save(tmp_path / "model")
    with pytest.raises(ModelError, match="an explanation needs a single model, but this is an ensemble"):
        explain(antiphon.load([folder, folder], device="cpu"), "one")


def test_the_vector_of_the_unknown_token_is_the_baseline() -> None:
    held = model("bpe", max_length=60)
    pair = ExplainedPair(held, *PAIR)
    vectors = baseline(pair, token_vectors(pair))
    unknown = held.network.source.table.weight[held.source_tokenizer.unk_id]
    assert all(torch.equal(vector, unknown) for vector in vectors[:-1])
    assert torch.equal(vectors[-1], token_vectors(pair)[-1])
    with torch.no_grad():
        kept = unknown.clone()
        unknown.zero_()
        mean = baseline(pair, token_vectors(pair))[0]
        unknown.copy_(kept)
    assert float(mean.norm()) > 0
    assert functional.cosine_similarity(mean, held.network.source.table.weight.mean(0), dim=0) > 0.9


def test_first_tokens_are_no_units() -> None:
    tokens = SpecialTokens(pad=0, start=1, end=2, first=(5,))
    held = Model.from_parts(model("bytes").parts)
    held.special_tokens = tokens
    pair = ExplainedPair(held, "we go", "in 3", units="tokens")
    assert pair.target_ids[0] == 5 and pair.target_ids[-1] == 2
    assert [unit.places for unit in pair.units][-1] == (len(pair.target_ids) - 2,)
