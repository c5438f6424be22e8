"""Required and forbidden phrases: what a text holds, by the automaton and by looking; what the search does with it."""

from __future__ import annotations

import itertools
import random
import re
import unicodedata

import pytest
import torch
from counts import count
from generation.test_model import KINDS, TEXTS, model
from search.toys import NAMES, SPECIAL, toy

from antiphon.config import GenerationConfig
from antiphon.constraints.automaton import Automaton, is_forbidden
from antiphon.constraints.constraint import CLOSED, DEAD
from antiphon.constraints.phrases import PhraseConstraint
from antiphon.constraints.spelling import TokenTexts
from antiphon.errors import ConfigError, DataError, ModelError
from antiphon.generation.restricting import ConstraintBuilder, restrict
from antiphon.search.engine import SourceInput, answer, forced_scores, stream
from antiphon.text import Tokenizer, train_tokenizer
from antiphon.text.bytes import ByteTable
from antiphon.text.vocabulary import Specials


class Letters:
    """A vocabulary of few tokens: `written` from id 3 on."""

    content, suffix = b"", ".json"

    def __init__(self, *written: bytes) -> None:
        self.size = 3 + len(written)
        self.specials = Specials(pad=0, start=1, end=2, unk=None, control=frozenset({0, 1, 2}))
        self.table = ByteTable({3 + i: content for i, content in enumerate(written)}, strips=False)

    def encode(self, texts, *, ends: bool) -> list[list[int]]:
        ids = {self.table.bytes([id]): id for id in range(3, self.size)}
        return [[ids[letter.encode()] for letter in text] + [2] * ends for text in texts]

    def decode(self, ids) -> str:
        return self.table.decode(ids)

    def piece(self, id: int) -> str:
        return self.table.show(id)


def letters(*written: bytes) -> TokenTexts:
    return TokenTexts(Tokenizer(Letters(*written)))


def holds(text: str, phrase: str) -> bool:
    """By looking at every place, with the words of `re`; only for scripts with spaces."""
    text = re.sub("[\u3400-\u9fff]", " ", text)  # a script without spaces: no part of a word
    text = "".join("x" if unicodedata.category(char)[0] == "M" else char for char in text)  # a mark is part of one
    before = r"(?<!\w)" if re.match(r"\w", phrase[0]) else ""
    after = r"(?!\w)" if re.match(r"\w", phrase[-1]) else ""
    return re.search(before + re.escape(phrase) + after, text) is not None


def test_the_automaton_finds_what_looking_finds() -> None:
    dice = random.Random(0)
    for _ in range(2000):
        phrases = ["".join(dice.choices("aéB .-", k=dice.randint(1, 4))) for _ in range(dice.randint(1, 4))]
        required, forbidden = list(dict.fromkeys(phrases[:2])), phrases[2:]
        text = "".join(dice.choices("aéB .-ö", k=dice.randint(0, 12)))
        automaton = Automaton(required, forbidden)
        place, found = automaton.read(0, text)
        found |= automaton.found_at_border[place]
        assert [bool(found >> i & 1) for i in range(len(required))] == [holds(text, phrase) for phrase in required]
        assert is_forbidden(found) == any(holds(text, phrase) for phrase in forbidden)


@pytest.mark.parametrize(
    ("text", "phrase", "there"),
    [
        ("concatenate", "cat", False), ("the cat.", "cat", True), ("cats", "cat", False), ("un café", "caf", False),
        ("東京都に行く", "京都", True), ("ไปกรุงเทพ", "กรุง", True), ("bcat", "-", False), ("a-b", "-", True),
        ("in 35", "in 3", False), ("in 3, 5", "in 3", True), ("дома", "дом", False), ("cafe\u0301", "cafe", False),
    ],
)  # fmt: skip
def test_a_phrase_is_whole_words_but_in_scripts_without_spaces(text: str, phrase: str, there: bool) -> None:
    automaton = Automaton([phrase], [])
    place, found = automaton.read(0, text)
    assert bool(found | automaton.found_at_border[place]) == there


@pytest.mark.parametrize("kind", KINDS)
def test_costs_are_what_following_says(kind: str) -> None:
    """The costs of all tokens at once = following each; and where n tokens are needed, one of them leads to n - 1."""
    spelling, dice = model(kind).restrictor.spelling, random.Random(kind)
    size = model(kind).network.vocab_size
    for required, forbidden in [(["Häuser", "we go"], ["go in"]), (["in"], ["hello world", "we"]), ([], ["é", "e"])]:
        restriction = PhraseConstraint(
            spelling, required=required, forbidden=forbidden, end=2, size=size, closed=[0, 1]
        )
        state = restriction.start
        for _ in range(40):
            costs = restriction.costs(state).tolist()
            for id in range(size):
                following = restriction.follow(state, id)
                if id == 2:
                    assert (costs[id] == 0) == (following != DEAD) and costs[id] in (0, CLOSED)
                else:
                    assert costs[id] == restriction.need(following), (id, spelling.bytes[id])
            need = restriction.need(state)
            assert not need or need == CLOSED or min(costs) <= need - 1
            nearer = [id for id in range(3, size) if costs[id] < need]
            going = [id for id in range(3, size) if costs[id] < CLOSED]
            state = restriction.follow(state, dice.choice(nearer if nearer and dice.random() < 0.5 else going))


CASES = [
    (["a b"], []),
    (["ab"], ["b"]),
    (["b", "a"], ["a b", "b a"]),
    ([], ["a", "b b"]),
    (["aa", "a"], []),
]  # in an alphabet of a, b and the space


@pytest.mark.parametrize(("required", "forbidden"), CASES, ids=str)
def test_a_beam_as_wide_as_the_tree_finds_the_best_answer_of_all_that_are_right(
    required: list[str], forbidden: list[str]
) -> None:
    spelling = letters(b"a", b"b", b" ")
    for number in range(-(-count("beam_oracle") // 25)):
        dice = random.Random(number)
        network = toy(dice.choice(NAMES), seed=number, vocabulary=6, d_model=8)
        limit = 5 if len(required) < 2 else 6
        source = [dice.randrange(3, 6) for _ in range(3)]
        going = range(3, 6)
        texts = [list(ids) for n in range(limit) for ids in itertools.product(going, repeat=n)]
        answers = [[*ids, SPECIAL.end] for ids in texts]
        if not required:
            answers += [list(ids) for ids in itertools.product(going, repeat=limit)]
        right = []
        for ids in answers:
            text = spelling.tokenizer.decode(ids)
            if all(holds(text, phrase) for phrase in required) and not any(holds(text, phrase) for phrase in forbidden):
                right.append(ids)
        scores = forced_scores(network, [(source, ids) for ids in right], SPECIAL)
        ranked = sorted(zip(scores, right, strict=True), key=lambda entry: -entry[0] / len(entry[1]))
        restriction = PhraseConstraint(spelling, required=required, forbidden=forbidden, end=2, size=6, closed=[0, 1])
        config = GenerationConfig(beam_size=4 * 3 ** (limit - 1), n_best=4, max_new_tokens=limit)
        found = answer(network, [SourceInput(source, 0, restriction=restriction)], config, SPECIAL)[0]
        assert [hypothesis.ids for hypothesis in found] == [ids for _, ids in ranked[:4]]
        assert [hypothesis.score for hypothesis in found] == pytest.approx([score for score, _ in ranked[:4]], abs=1e-9)


WORDS = ["Häuser", "zwei", "3 hours", "in", "Stunden", "we go", "é", "hello, world.", "xyz", "日本", "drei", "!"]


def case(dice: random.Random) -> tuple[list[str], list[str]]:
    """Random phrases that do not contradict each other."""
    while True:
        required = dice.sample(WORDS, dice.randint(0, 3))
        forbidden = [*dice.sample(WORDS, dice.randint(0, 3)), *dice.choices(["e", "a", "ß", "."], k=1)]
        if not any(phrase == other or holds(phrase, other) for phrase in required for other in forbidden):
            return required, forbidden


def settings_of(dice: random.Random) -> dict[str, object]:
    beam_size = dice.choice([1, 2, 3, 4])
    more: list[dict[str, object]] = [{}, {"no_repeat_ngram": 1}, {"min_new_tokens": 4}, {"coverage_penalty": 0.3}]
    if beam_size == 4:
        more.append({"beam_groups": 2, "diversity_penalty": 0.5})
    return {"beam_size": beam_size, "max_new_tokens": dice.choice([None, 36]), **dice.choice(more)}


def test_all_required_phrases_and_no_forbidden_one() -> None:
    """Every answer and alternative, in batches of rows with phrases of their own, over all kinds of tokenizers."""
    rows = missing = wrong = unfinished = 0
    batch = 10
    for number in range(-(-count("constraints") // batch)):
        dice = random.Random(number)
        held = model(KINDS[number % 4], seed=number % 3, max_length=90)
        cases, settings = [case(dice) for _ in range(batch)], settings_of(dice)
        settings["n_best"] = settings["beam_size"]
        texts = dice.choices(["hello, world", "we go in 3 hours", "ein Haus"], k=batch)
        required, forbidden = ([list(phrases) for phrases in part] for part in zip(*cases, strict=True))
        for found, (musts, nevers) in zip(
            held.generate(texts, required=required, forbidden=forbidden, **settings), cases, strict=True
        ):
            rows += 1
            for each in (found, *found.alternatives):
                missing += sum(
                    phrase not in each.text if phrase == "日本" else not holds(each.text, phrase) for phrase in musts
                )
                wrong += sum(phrase in each.text if phrase == "日本" else holds(each.text, phrase) for phrase in nevers)
                unfinished += bool(musts) and not each.finished
    assert (missing, wrong, unfinished) == (0, 0, 0), f"of {rows} rows"


@pytest.mark.parametrize("kind", KINDS)
def test_alone_is_in_a_batch_and_streamed(kind: str) -> None:
    held, dice = model(kind, max_length=90), random.Random(kind)
    texts = ["hello, world", "we go", "ein Haus", "drei", "in 3 hours we go"]
    cases = [([], []), *(case(dice) for _ in texts[1:])]
    for settings in ({"beam_size": 1}, {"beam_size": 3, "n_best": 3}, {"beam_size": 4, "beam_groups": 2}):
        settings = {"max_new_tokens": 30, **settings}
        together = held.generate(
            texts, required=[row[0] for row in cases], forbidden=[row[1] or None for row in cases], **settings
        )
        for text, found, (required, forbidden) in zip(texts, together, cases, strict=True):
            own = {"required": required, "forbidden": forbidden, **settings}
            alone = held.generate(text, **own)[0]
            assert [each.text for each in (alone, *alone.alternatives)] == [
                each.text for each in (found, *found.alternatives)
            ]
            assert alone.score == pytest.approx(found.score, abs=1e-9)
            assert "".join(held.stream(text, **own)) == alone.text
        assert together[0].text == held.generate(texts[0], **settings)[0].text


def test_a_phrase_that_is_not_in_sight_changes_nothing() -> None:
    held, texts = model(), ["hello, world", "we go in 3 hours", "ein Haus"]
    for settings in ({"beam_size": 1}, {"beam_size": 4, "n_best": 4}, {"temperature": 1.0, "n_best": 3}):
        free = held.generate(texts, **settings)
        assert held.generate(texts, forbidden=["Zebra am See"], **settings) == free
    said = free[0].text.split()[0] if free[0].text.split() else "x"
    assert not holds(held.generate(texts, forbidden=[said], **settings)[0].text, said)


@pytest.mark.parametrize("settings", [{"beam_size": 3}, {"temperature": 1.0, "n_best": 2}], ids=str)
def test_a_score_is_the_models_own(settings: dict[str, object]) -> None:
    held = model("bytes", max_length=90)
    required = [] if "temperature" in settings else ["drei"]
    restriction = PhraseConstraint(
        held.restrictor.spelling, required=required, forbidden=["a"], end=2, size=260, closed=[0, 1]
    )
    source = held.source_tokenizer.encode("we go")
    config = GenerationConfig(max_new_tokens=20, no_repeat_ngram=2, **settings)
    for found in answer(held.network, [SourceInput(source, 0, restriction=restriction)], config, held.special_tokens)[
        0
    ]:
        assert found.score == pytest.approx(
            forced_scores(held.network, [(source, found.ids)], held.special_tokens)[0], abs=1e-8
        )


def test_a_prefix_counts_and_what_is_tight_is_spelled_at_once() -> None:
    held = model("bytes", max_length=90)
    found = held.generate("hello", required=["ein Haus"], prefix="ein Ha", max_new_tokens=3)[0]
    assert found.text == "ein Haus" and found.finished
    both = held.generate("hello", required=["in 3", "3 hours"], max_new_tokens=16, beam_size=1)[0].text
    assert holds(both, "in 3") and holds(both, "3 hours")
    once = held.generate("hello", required=["drei", "drei"], max_new_tokens=5)[0]
    assert once.text == "drei"


def test_what_cannot_be_is_one_line_with_the_row() -> None:
    held = model("bytes", max_length=40)
    for settings, error, message in [
        ({"required": ["the cat"], "forbidden": ["cat"]}, DataError, "required` of input 1 must not conflict .*`cat`"),
        ({"required": [None, ["cat"]], "forbidden": ["cat"]}, DataError, "of input 2 must not conflict"),
        ({"required": ["\ufffd"]}, DataError, "of input 1 must be phrases that the vocabulary can spell"),
        ({"required": ["x" * 50]}, DataError, r"input 1 must fit into 12 tokens, but needs 51, .*max_length \(40\)"),
        ({"required": ["drei"], "max_new_tokens": 4}, DataError, "must fit into 4 tokens, but needs 5"),
        ({"required": ["a"], "prefix": "cat is", "forbidden": ["cat"]}, DataError, "prefix of input 1 must hold no"),
        ({"required": [["a"]]}, ConfigError, r"one for each input \(here 2\), but has lists for 1"),
        ({"required": ["a", ["b"]]}, ConfigError, "a mixture of both"),
        ({"required": "a"}, ConfigError, "must be a list, but is the text `a`"),
        ({"required": [" a"]}, ConfigError, "`required` must be phrases without space around them"),
        ({"forbidden": [""]}, ConfigError, "`forbidden` must be phrases without space around them"),
        ({"required": ["a"], "temperature": 1.0}, ConfigError, "`required` needs a beam search"),
        ({"required": [f"w{i}" for i in range(63)]}, DataError, "must be at most 62 phrases, but are 63"),
    ]:
        with pytest.raises(error, match=message):
            held.generate(["x", "y"], **settings)
    long = "one two. " * 9
    with pytest.raises(DataError, match=r"source of input 2 must not be split where .* has \d parts"):
        held.generate(["x", long], required=["a"], overflow="split")
    assert not holds(held.generate(long, forbidden=["a", "e"], overflow="split")[0].text, "a")


def test_forbidden_separators_between_required_phrases_are_avoided() -> None:
    held = model("bytes", max_length=60)
    text = held.generate("x", required=["a", "b"], forbidden=["a b", "b a"], beam_size=1, max_new_tokens=6)[0].text
    assert holds(text, "a") and holds(text, "b") and not holds(text, "a b") and not holds(text, "b a")
    spelling = letters(b"a", b"b", b" ")
    stuck = PhraseConstraint(spelling, required=["a", "b"], forbidden=["a b", "b a", "a a", "b b", "  "], end=2, size=6)
    assert stuck.need(stuck.start) > 3


def test_a_tokenizer_without_fixed_strings_is_refused() -> None:
    class Odd(Letters):
        def decode(self, ids) -> str:
            return super().decode(ids).upper()

    with pytest.raises(ModelError, match="need a tokenizer whose tokens are fixed strings"):
        TokenTexts(Tokenizer(Odd(b"a", b"b")))


def test_the_fewest_tokens_are_found() -> None:
    spelling = letters(b"a", b"b", b"ab", b"ba", b"bab", b"\xc3", b"\xa9", " é".encode())
    assert spelling.spell(b"abab") == (5, 5)
    assert spelling.spell("aé".encode()) == (3, 8, 9)
    assert spelling.spell(b"c") is None and spelling.spell(b"") == ()
    assert torch.equal(spelling.whole.sort().values, torch.tensor([3, 4, 5, 6, 7, 10]))


def test_streams_are_certain_before_the_end() -> None:
    held = model("bytes", max_length=90)
    restriction = held.restrictor.make(None, ("drei",), ("a",), row=0)
    source = SourceInput(held.source_tokenizer.encode("we go"), 0, restriction=restriction)
    assert (
        len(list(stream(held.network, source, GenerationConfig(beam_size=3, max_new_tokens=30), held.special_tokens)))
        > 1
    )


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_forbidden_may_go_on_to_another_word(kind: str) -> None:
    """Also where the next letter is written byte by byte."""
    found = model(kind, max_length=90).generate("x", forbidden=["Haus"], required=["Hausübung"], max_new_tokens=24)[0]
    assert holds(found.text, "Hausübung") and not holds(found.text, "Haus")


def test_phrases_are_taken_in_the_case_and_form_of_the_tokenizer() -> None:
    tokenizer = train_tokenizer([*TEXTS, "e\u0301"], kind="bpe", vocab_size=300, lowercase=True, normalize="nfd")
    made = ConstraintBuilder(tokenizer, SPECIAL, tokenizer.vocab_size)

    def one(**texts: object) -> object:
        return restrict(GenerationConfig(beam_size=2, **texts), made, count=1, first_row=0)[0]

    assert tokenizer.normal("Häuser") == unicodedata.normalize("NFD", "häuser")
    for ids, holds in ((tokenizer.encode("ein haus, a"), True), (tokenizer.encode("ein hut, a"), False)):
        required, forbidden = one(required=["Haus", "HAUS"]), one(forbidden=["HAUS"])
        states = [required.start, forbidden.start]
        for id in ids[:-1]:
            states = [rule.follow(state, id) for rule, state in zip((required, forbidden), states, strict=True)]
        assert (required.need(states[0]) <= 1, states[1] == DEAD) == (holds, holds)
    with pytest.raises(DataError, match=r"`required` of input 1 must not conflict .*haus"):
        one(required=["Haus"], forbidden=["hAUS"])
    assert one(allowed=["Ein Haus", "ein haus"]).longest == one(allowed=["ein haus"]).longest


def test_a_text_that_its_ids_do_not_hold_stays_as_it_is() -> None:
    letters = Tokenizer(Letters(b"a", b"b"))
    assert letters.normal("ab") == "ab"
