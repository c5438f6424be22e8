"""Documents with a real model: a random network, which is as bad as models get, and its search with `required`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from documents.stubs import translate
from generation.test_model import model

from antiphon.documents import KINDS, Protection, Segment, SegmentAnswer, read_html, read_text
from antiphon.documents.markup import tokens
from antiphon.generation.attention.alignment import align_pairs

TEXT = (
    "Dear {name}, we go in 3 hours to https://a.b/c?d=1 or www.x.org. Write to me@x.org, %s!\n\n"
    "  {0} items: 12.5\nhello"
)


@pytest.mark.parametrize("kind", ["bpe", "bytes"])
@pytest.mark.parametrize("required", [True, False])
def test_protected_strings_and_tags(kind: str, required: bool) -> None:
    held = model(kind, max_length=400)
    sent: list[Segment] = []

    def ask(segments: Sequence[Segment]) -> list[SegmentAnswer]:
        if not segments:
            return []
        sent.extend(segments)
        texts = [segment.text for segment in segments]
        phrases = [list(segment.required) or None for segment in segments] if required else None
        answers = held.generate(texts, beam_size=2, max_new_tokens=60, required=phrases)
        alignments = align_pairs(held, texts, [answer.text for answer in answers]) or []
        pairs = zip(answers, alignments, strict=True)
        return [SegmentAnswer(answer.text, spans, answer.confidence) for answer, spans in pairs]

    protection = Protection(KINDS, {"hours": "Stunden"})
    expected = Counter(one.output for one in protection.find(TEXT))
    result = translate(read_text(TEXT, language="en", protection=protection), ask).content
    assert isinstance(result, str)
    found = Counter(one.output for one in protection.find(result))
    del expected["Stunden"]
    assert {one: found[one] for one in expected} == expected
    assert "Stunden" in result
    page = f"<div><p>Go <b>in <i>3</i> hours</b>,<br>{TEXT}</p><ul><li>hello <a href=x>world</a></ul></div>"
    result = translate(read_html(page, language="en", protection=protection), ask).content
    assert isinstance(result, str)
    tags = [token.raw for token in tokens(page) if token.kind != "text"]
    assert [token.raw for token in tokens(result) if token.kind != "text"] == tags
    assert any(segment.needs_alignment for segment in sent)
