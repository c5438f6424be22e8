"""Answers without a model, for documents."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from hypothesis import strategies as st

from antiphon.documents import AlignedSpan, Document, Joined, Segment, SegmentAnswer

Ask = Callable[[Sequence[Segment]], list[SegmentAnswer]]


def same(segments: Sequence[Segment]) -> list[SegmentAnswer]:
    """Every answer is its segment."""
    return [SegmentAnswer(segment.text) for segment in segments]


def word_by_word(segments: Sequence[Segment]) -> list[SegmentAnswer]:
    """Capitals for small letters and the reverse, with the alignment of the words."""
    answers = []
    for segment in segments:
        text = "".join(char.swapcase() if len(char.swapcase()) == 1 else char for char in segment.text)
        spans = [AlignedSpan(match.span(), match.span(), 0.9) for match in re.finditer(r"\w+", segment.text)]
        answers.append(SegmentAnswer(text, spans, 0.5))
    return answers


def backwards(segments: Sequence[Segment]) -> list[SegmentAnswer]:
    """The words in the reverse order, with their alignment."""
    answers = []
    for segment in segments:
        text, spans = "", []
        for match in reversed(list(re.finditer(r"\S+", segment.text))):
            text += " " if text else ""
            spans.append(AlignedSpan(match.span(), (len(text), len(text) + len(match[0])), 0.8))
            text += match[0]
        answers.append(SegmentAnswer(text, spans))
    return answers


def any_answer(seed: int, texts: Sequence[str]) -> Ask:
    """Answers from `texts`, with alignments that mean nothing."""

    def ask(segments: Sequence[Segment]) -> list[SegmentAnswer]:
        draw = random.Random(seed)
        answers = []
        for segment in segments:
            text = draw.choice([*texts, segment.text, segment.text * 2])
            spans = [
                AlignedSpan(_span(draw, len(segment.text)), _span(draw, len(text)), draw.random()) for _ in range(6)
            ]
            answers.append(SegmentAnswer(text, spans))
        return answers

    return ask


def _span(draw: random.Random, size: int) -> tuple[int, int]:
    a, b = draw.randint(0, size), draw.randint(0, size + 2)  # some are empty or outside
    return min(a, b), max(a, b)


def translate(document: Document, ask: Ask) -> Joined:
    """Both rounds, as a server does it."""
    answers = ask(document.segments)
    return document.join(answers, ask(document.repairs(answers)))


any_texts = st.text(
    st.one_of(
        st.sampled_from("ab Az.!?,;:\"'()-\n\r\t \x0b\x85\u2028\xa0é日。<>&{}%@/0123"), st.characters(codec="utf-8")
    ),
    max_size=60,
)
