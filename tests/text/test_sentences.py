"""Texts are cut behind sentences, in every script, and nothing is lost."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.generation.long_inputs.overflow import split
from antiphon.text import train_tokenizer
from antiphon.text.sentences import sentences

BYTES = train_tokenizer(["a"], kind="bytes", vocab_size=260)

ONE = {
    "English": "This is a sentence. ",
    "Hindi": "यह एक वाक्य है। ",
    "Sanskrit": "धर्मक्षेत्रे कुरुक्षेत्रे॥ ",
    "Urdu": "یہ ایک جملہ ہے۔ ",
    "Arabic": "هل هذه جملة؟ ",
    "Arabic, a clause": "هذه جملة قصيرة؛ ",
    "Chinese": "这是一个句子。",
    "Japanese": "これは文です。",
    "Japanese, half-width": "これは文です｡ ",
    "Burmese": "ဒါက ဝါကျ တစ်ခု။ ",
    "Armenian": "Սա նախադասություն է։ ",
    "Amharic": "ይህ ዓረፍተ ነገር ነው። ",
    "Khmer": "នេះ គឺជា ប្រយោគ។ ",
    "Tibetan": "འདི་ནི་ ཚིག་གྲུབ་ ཡིན། ",
    "Thai": "นี่คือประโยค ",
    "ellipsis": "And so on… ",
    "a line": "A heading\n",
    "Greek": "Είναι αυτό πρόταση; ",
    "brackets": "(This is one.) ",
    "a quotation in brackets": "[He said “no!”] ",
}


@pytest.mark.parametrize("name", ONE)
def test_parts_end_where_sentences_end(name: str) -> None:
    # F10: only the marks of English, Chinese and Japanese were known.
    one = ONE[name]
    parts = split((one * 5).strip(), tokenizer=BYTES, limit=int(2.6 * len(BYTES.encode(one))))
    assert [part.count(one.strip()) for part in parts] == [2, 2, 1]
    assert all(part.endswith(one.strip()[-1]) for part in parts)


@pytest.mark.parametrize(
    ("language", "text", "cut"),
    [
        (None, "Dr. Smith came. See fig. 2. He left.", ["Dr. Smith came. ", "See fig. 2. ", "He left."]),
        ("en_XX", "It is e.g. this. Mr. J. R. Low did.", ["It is e.g. this. ", "Mr. J. R. Low did."]),
        ("eng_Latn", "Pi is 3.14 here. “No.” Ok?", ["Pi is 3.14 here. ", "“No.” ", "Ok?"]),
        ("de", "Am 3. März kam Dr. Bos. Gut.", ["Am 3. März kam Dr. Bos. ", "Gut."]),
        ("deu_Latn", "Am 3. März kam er. Gut.", ["Am 3. März kam er. ", "Gut."]),
        ("de_DE", "Am 3. März kam er. Gut.", ["Am 3. März kam er. ", "Gut."]),
        ("no_such", "One. Two.", ["One. ", "Two."]),
        ("", "One. Two.", ["One. ", "Two."]),
        (None, "He (Dr. Bos et al.) left. It (see p.) is.", ["He (Dr. Bos et al.) left. ", "It (see p.) is."]),
        (None, "a; b; C", ["a; b; C"]),
    ],
)
def test_abbreviations_and_numbers_by_language(language: str | None, text: str, cut: list[str]) -> None:
    assert list(sentences(text, language)) == cut


ODD = ["Dr. ", "“", "(", ".", "\n", "\r\n", " ", "\u3000", "x" * 90, "🙂", "!"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([*ONE.values(), *ODD])))
def test_nothing_is_lost(pieces: list[str]) -> None:
    text = "".join(pieces * 9)
    assert "".join(sentences(text)) == text


def test_a_sentence_goes_on_over_the_stretches_that_are_looked_at() -> None:
    words = "word " * 1500 + "ends. "  # 7,506 characters
    assert list(sentences(words * 4)) == [words] * 4
    long = "word " * 4000  # longer than a stretch, and without an end
    found = list(sentences(long))
    assert "".join(found) == long and all(part.endswith(" ") for part in found)


@pytest.mark.parametrize("unit", ['"“([', "Dr. ", "“", "a", '."', "\n"])
def test_time_is_linear(unit: str) -> None:
    began = time.process_time()
    list(sentences(unit * (300_000 // len(unit))))
    assert time.process_time() - began < 5
