"""Plain texts: what is sent to a model, and that all else comes back."""

from __future__ import annotations

import pytest
from documents.stubs import any_answer, any_texts, same, translate, word_by_word
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.documents import Protection, SegmentAnswer, read_text
from antiphon.documents.splitting import MAX_SEGMENT_CHARACTERS, sentence_spans

KINDS = ["placeholders", "urls", "emails", "numbers"]


def test_sentences_are_sent_and_everything_between_them_stays() -> None:
    text = "\n  Dr. Smith came.  He left.\r\n\r\n\t--- \n• One item\n3\nAnd the end"
    document = read_text(text, language="en")
    assert [segment.text for segment in document.segments] == [
        "Dr. Smith came.", "He left.", "• One item", "3", "And the end",
    ]  # fmt: skip
    joined = document.join([SegmentAnswer(f"<{i}>") for i in range(5)])
    assert joined.content == "\n  <0>  <1>\r\n\r\n\t--- \n<2>\n<3>\n<4>"
    assert [text[slice(*one.source_span)] for one in joined.segments] == [one.source for one in joined.segments]
    assert [joined.content[slice(*one.target_span)] for one in joined.segments] == ["<0>", "<1>", "<2>", "<3>", "<4>"]


@settings(max_examples=300, deadline=None)
@given(any_texts, st.booleans())
def test_equal_answers_give_the_text(text: str, protect: bool) -> None:
    document = read_text(text, language="en", protection=Protection(KINDS if protect else []))
    assert translate(document, same).content == text
    assert document.join(same(document.segments)).content == text


@settings(max_examples=200, deadline=None)
@given(any_texts, st.integers(0, 99))
def test_white_space_stays_whatever_the_answers(text: str, seed: int) -> None:
    document = read_text(text, language="en")
    joined = translate(document, any_answer(seed, ["X\nY", "\t", "", "Z"]))
    assert isinstance(joined.content, str)
    gaps, done = "", 0
    for one in joined.segments:
        gaps, done = gaps + text[done : one.source_span[0]], one.source_span[1]
    rest, done = "", 0
    for one in joined.segments:
        rest, done = rest + joined.content[done : one.target_span[0]], one.target_span[1]
        assert "\n" not in joined.content[slice(*one.target_span)], "an answer brings no line"
    assert gaps == rest


def test_a_long_sentence_is_cut_between_words_and_never_lost() -> None:
    text = "word, " * 700 + "end."
    document = read_text(text, language="en")
    assert len(document.segments) > 3
    assert max(len(segment.text) for segment in document.segments) <= MAX_SEGMENT_CHARACTERS
    assert all(segment.text.endswith((",", ".")) for segment in document.segments)
    assert translate(document, word_by_word).content == text.swapcase()
    whole = "x" * 5000  # without a space there is no place to cut: the model's `overflow` does it
    assert [segment.text for segment in read_text(whole).segments] == [whole]


def test_no_sentence_ends_within_what_is_protected() -> None:
    text = "See {{ a… Name }} and www.example.com/a.B here. Next"
    free = [segment.text for segment in read_text(text, language="en").segments]
    kept = [segment.text for segment in read_text(text, language="en", protection=Protection(KINDS)).segments]
    assert any("{{ a…" in one and "Name" not in one for one in free)
    assert kept == ["See {{ a… Name }} and www.example.com/a.B here.", "Next"]
    assert sentence_spans("a b " * 400, "en", [(0, 1600)]) == [(0, 1599)]


def test_only_protected_strings_need_no_model() -> None:
    text = "{name}\n%s: https://a.b/c\n42\nText 7"
    document = read_text(text, protection=Protection(KINDS))
    assert [segment.text for segment in document.segments] == ["Text 7"]


def test_the_number_of_answers_is_checked() -> None:
    document = read_text("One. {a} two.", language="en", protection=Protection(KINDS))
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        document.join([])
    lost = [SegmentAnswer("x")] * 2
    with pytest.raises(ValueError, match="are more"):
        document.join(lost, [SegmentAnswer("y")] * 3)
    with pytest.raises(ValueError, match="are more"):
        document.join(same(document.segments), [SegmentAnswer("y")])
