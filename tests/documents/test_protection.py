"""Protected strings and glossaries: what is found, and that it holds whatever a model answers."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence

import pytest
from documents.stubs import Ask, any_answer, same, translate, word_by_word
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.documents import KINDS, Protection, Segment, SegmentAnswer, read_html, read_text
from antiphon.documents.protection import MAX_REQUIRED, DocumentProtection, Protected
from antiphon.errors import ConfigError

STRINGS = [
    "{name}", "{0:>3}", "{}", "{{ user.name }}", "${x}", "%{count}", "%s", "%d", "%1$s", "%(n)d", "%.2f", "%1",
    "<x id=1/>", "</g>", ":smile:", "https://a.b/c_(d)?e=f&g=%20", "http://x.org", "www.example.com/a.b", "me@x.co.uk",
    "first.last+tag@sub.example.org", "42", "3,141.59", "10:30", "2024-05-03", "1'000", "007",
]  # fmt: skip


@pytest.mark.parametrize("text", STRINGS)
def test_what_is_found(text: str) -> None:
    found = Protection(KINDS).find(f"a word {text}, and {text}.")
    assert [one.output for one in found] == [text, text]
    assert [one.start for one in found] == [7, 13 + len(text)]
    assert Protection().find(text) == []


@pytest.mark.parametrize(
    "text", ["100%ig", "50 % der", "a < b > c", "one: two: three", "a@b", "word.word", "{\nx}", "5% of", "%", "at: x"]
)
def test_what_is_not_found(text: str) -> None:
    assert Protection(["placeholders", "urls", "emails"]).find(text) == []


def test_where_a_url_ends() -> None:
    found = Protection(["urls"]).find("(see https://a.b/c). And https://a.b/c_(d), or “www.x.y/z…”")
    assert [one.output for one in found] == ["https://a.b/c", "https://a.b/c_(d)", "www.x.y/z…"]


def test_numbers_beside_letters_are_checked_and_not_required() -> None:
    segment = read_text("The 3rd of 5 A4 pages", protection=Protection(["numbers"])).segments[0]
    assert segment.required == ("5",)
    own = DocumentProtection(Protection(["numbers"]))
    protected = own.find("The 3rd of 5")

    def is_kept(source: str, protected: list[Protected], answer: str) -> bool:
        return own.holds(source, protected, answer)

    assert is_kept("The 3rd of 5", protected, "Die 3. von 5")
    assert not is_kept("The 3rd of 5", protected, "Die 3. von 15")
    assert not is_kept("The 3rd of 5", protected, "Die 3. von 5,5")
    assert not is_kept("The 3rd of 5", protected, "Die 3. von 5 und 5")
    assert not is_kept("The 3rd of 5", protected, "Die dritte von 5")


def hostile(seed: int) -> Ask:
    """A model that drops and repeats words, and repeats what it was asked for."""

    def ask(segments: Sequence[Segment]) -> list[SegmentAnswer]:
        draw = random.Random(seed)
        answers = []
        for segment in segments:
            words = re.findall(r"\S+", segment.text)
            chosen = [word for word in words for _ in range(draw.choice([0, 0, 1, 2]))]
            chosen += draw.choices([*STRINGS, "7", "4", "{na", "me}", "http:", "", "ein Wort"], k=draw.randint(0, 2))
            draw.shuffle(chosen)
            answers.append(SegmentAnswer(draw.choice(["", " "]).join(chosen)))
        return answers

    return ask


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.sampled_from([*STRINGS, "word", "and", "Two", "(", ")", ".", ",", "x"]), min_size=1, max_size=12),
    st.sampled_from([" ", " ", "  ", "\n"]),
    st.integers(0, 10_000),
)
def test_each_string_as_often_as_in_the_source(words: list[str], gap: str, seed: int) -> None:
    text = gap.join(words)
    protection = Protection(KINDS)
    expected = Counter(one.output for one in protection.find(text))
    for ask in (hostile(seed), word_by_word, any_answer(seed, ["", "{name}{name}", "%s 42 %d", text])):
        for read in (read_text, read_html):
            if read is read_html and set("<>&") & set(text):
                continue  # these are markup
            result = str(translate(read(text, protection=protection), ask).content)
            found = Counter(one.output for one in protection.find(result))
            assert {one: found[one] for one in expected} == expected, result


def test_without_the_second_round_such_segments_stay() -> None:
    document = read_text("Dear {name}, hello. And you.", language="en", protection=Protection(["placeholders"]))
    lost = [SegmentAnswer("Liebe Namen, hallo."), SegmentAnswer("Und Sie.")]
    joined = document.join(lost)
    assert joined.content == "Dear {name}, hello. Und Sie."
    assert joined.warnings == ["segment 1 is left as it is, since its answer lacks or repeats a protected string."]
    again = document.repairs(lost)
    assert [segment.text for segment in again] == ["Dear", "hello"]
    joined = document.join(lost, [SegmentAnswer("Lieber", confidence=0.5), SegmentAnswer("hallo", confidence=0.9)])
    assert joined.content == "Lieber {name}, hallo. Und Sie."
    assert joined.warnings == [] and joined.segments[0].confidence == 0.5


def test_an_empty_answer_loses_no_text() -> None:
    joined = read_text("One.\nTwo.").join([SegmentAnswer("  "), SegmentAnswer("Zwei.")])
    assert joined.content == "One.\nZwei."
    assert joined.warnings == ["segment 1 is left as it is, since its answer is empty."]


GLOSSARY = {"cat": "Katze", "big cat": "Großkatze", "US": "USA", "it": "es", "手机": "phone"}


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("The cat sat.", ["Katze"]),
        ("Cats and concat stay.", []),
        ("Cat! CAT! cAt!", ["Katze", "Katze"]),
        ("A big cat and a cat.", ["Großkatze", "Katze"]),
        ("The US and us.", ["USA"]),
        ("iPhone手机and", ["phone"]),
        ("It is it", ["es", "es"]),
    ],
)
def test_phrases_of_a_glossary(text: str, phrases: list[str]) -> None:
    assert [one.output for one in Protection((), GLOSSARY).find(text)] == phrases
    segment = read_text(text, protection=Protection((), GLOSSARY)).segments[0]
    assert segment.required == tuple(dict.fromkeys(phrases))


def test_a_glossary_holds_without_the_models_help() -> None:
    document = read_text("I saw the big cat there.", language="en", protection=Protection((), GLOSSARY))
    assert document.segments[0].required == ("Großkatze",)
    assert document.join([SegmentAnswer("Die Großkatze sah ich.")]).content == "Die Großkatze sah ich."
    joined = translate(document, word_by_word)
    assert joined.content == "i SAW THE Großkatze THERE."
    assert translate(document, same).content == "I saw the Großkatze there."


def test_placeholders_come_before_a_glossary() -> None:
    found = Protection(KINDS, {"name": "Name"}).find("{name} name https://name.org")
    assert [one.output for one in found] == ["{name}", "Name", "https://name.org"]


def test_at_most_so_many_phrases_are_required() -> None:
    text = " and ".join(f"{{a{i}}}" for i in range(100)) + " x"
    segments = read_text(text, protection=Protection(["placeholders"])).segments
    assert all(len(segment.required) <= MAX_REQUIRED for segment in segments)
    assert translate(read_text(text, protection=Protection(["placeholders"])), hostile(1)).content.count("{a99}") == 1


def test_wrong_settings() -> None:
    with pytest.raises(ConfigError, match=r"`protect` must name some of placeholders, .*, but has `x`"):
        Protection(["x"])
    with pytest.raises(ConfigError, match="`glossary` must have no empty phrase"):
        Protection((), {" ": "x"})
    with pytest.raises(ConfigError, match="at most 10,000 entries, but has 10,001"):
        Protection((), {f"a{i}": "b" for i in range(10_001)})
