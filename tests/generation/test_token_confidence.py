"""The probability of each token of an answer: with the end token they make up its score."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from generation.test_model import KINDS, model
from generation.test_speech import clips, speech_model

from antiphon.generation.answering import AnsweringEngine
from antiphon.generation.requests import source_inputs
from antiphon.generation.token_confidence import AnsweredPart, token_confidence
from antiphon.search.engine import answer, forced_log_p

TEXTS = ["hello, world", "we go in 3 hours", "ein Haus"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_logarithms_add_up_to_the_score(kind: str) -> None:
    compared = 0
    for seed in range(4):
        held = model(kind, seed=seed)
        # What a search changes (processors, constraints, a prefix) changes neither the score nor these.
        config = replace(held.generation, n_best=2, beam_size=3, no_repeat_ngram=2, prefix="h" if seed % 2 else None)
        sources = source_inputs(held, TEXTS, config)
        for source, found in zip(sources, answer(held.network, sources, config, held.special_tokens), strict=True):
            for hypothesis in found:
                confidence = token_confidence(held, [AnsweredPart(source.ids, hypothesis.ids, held.special_tokens)])
                tokens = held.target_tokenizer.pieces(hypothesis.ids)
                assert len(confidence) == len(tokens) and all(0 < each <= 1 for each in confidence)
                (log_p,) = forced_log_p(held.network, [(source.ids, hypothesis.ids)], held.special_tokens)
                pairs = zip(hypothesis.ids, log_p.tolist(), strict=True)
                special = sum(value for id, value in pairs if not held.target_tokenizer.visible([id]))  # the end token
                assert sum(map(math.log, confidence)) + special == pytest.approx(hypothesis.score, abs=1e-8)
                compared += 1
    assert compared > 15


def test_a_source_in_parts_has_the_tokens_of_all_parts() -> None:
    held = model("bytes", max_length=40)
    config = replace(held.generation, overflow="split", max_source_tokens=12)
    text = "we go. In 3 hours. Hello, world. This is it!"
    parts = source_inputs(held, [text], config)
    assert len(parts) > 2
    found = [each[0].ids for each in answer(held.network, parts, config, held.special_tokens)]
    pairs = [AnsweredPart(part.ids, ids, held.special_tokens) for part, ids in zip(parts, found, strict=True)]
    confidence = token_confidence(held, pairs)
    (whole,) = held.generate([text], overflow="split", max_source_tokens=12)
    assert len(confidence) == len(whole.tokens)
    alone = [token_confidence(held, [pair]) for pair in pairs]
    assert confidence == pytest.approx([each for part in alone for each in part])


def test_the_prompt_of_a_speech_model_is_no_token() -> None:
    held = speech_model()
    engine = AnsweringEngine(held)
    call = engine.submit(clips())
    while engine.busy:
        engine.step()
    for row, own in zip(call.rows, held.generate(clips()), strict=True):
        (job,) = row.parts
        assert job.hypotheses is not None
        part = AnsweredPart(job.request.source, job.hypotheses[0].ids, job.special_tokens)
        confidence = token_confidence(held, [part])
        assert len(confidence) == len(own.tokens)
        assert sum(map(math.log, confidence)) >= own.score - 1e-8
