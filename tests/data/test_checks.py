"""The filters for faults of texts: each drops what it names and keeps what looks like it, alone and in a recipe."""

from __future__ import annotations

import random
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from antiphon.config import SourceConfig
from antiphon.data import DataReport, Mixture, load_filters
from antiphon.data.checks.languages import Language, PairSample
from antiphon.data.checks.letters import letter_array
from antiphon.data.checks.overlap import HeldOutIndex, Overlap, sketch
from antiphon.data.checks.texts import has_odd, is_copy, is_garbled, is_unusual, numbers_differ, urls_differ
from antiphon.data.filters import Ratio
from antiphon.data.lines import Cursor, DataPlace, DataRow, Pair
from antiphon.errors import ConfigError
from antiphon.text import load_task


def words(text: str) -> list[str]:
    return text.split()


ENGLISH = words("the a man woman dog house is runs eats sleeps in on with red small garden street and old happy cat")
GERMAN = words("der die mann frau hund haus ist läuft isst schläft im auf mit roter kleine garten straße und alte")
FRENCH = words("le la homme femme chien maison est court mange dort dans sur avec rouge petit jardin rue et vieux")


def pair(source: str, target: str = "x", number: int = 0) -> Pair:
    return Pair(source, target, DataRow({}, DataPlace("held", 7), Cursor(number)))


def sentence(words: list[str], chance: random.Random) -> str:
    return " ".join(chance.choice(words) for _ in range(chance.randint(5, 14)))


def corpus(size: int = 3000) -> list[Pair]:
    chance = random.Random(1)
    return [pair(sentence(ENGLISH, chance), sentence(GERMAN, chance)) for _ in range(size)]


def test_letters_are_lower_case_without_marks_and_each_text_stands_alone() -> None:
    batch = letter_array(["Ein  HAUS!?", "", "日本 ３", "Straße-İ"])
    texts = ["".join(map(chr, batch.codes[one:two])) for one, two in zip(batch.starts, batch.starts[1:], strict=False)]
    assert texts == [" ein haus ", " ", " 日本 3 ", " straße İ "]
    assert batch.sizes().tolist() == [8, 0, 4, 8]


@pytest.mark.parametrize(
    ("text", "garbled"),
    [
        ("für Ö", False),
        ("fÃ¼r", True),
        ("fã¼r", True),  # lower-cased
        ("donâ€™t", True),
        ("donâ\x80\x99t", True),  # read as Latin-1
        ("日本".encode().decode("latin-1"), True),
        ("привет, как дела".encode().decode("cp1251"), True),
        ("привет РСФСР С№ 5", False),
        ("amanhã» não À la carte MENÜ“ Spaß“", False),
        ("plain", False),
    ],
)
def test_utf8_that_was_read_as_another_encoding(text: str, garbled: bool) -> None:
    assert is_garbled(text) is garbled


def test_every_letter_of_latin_1_is_found_when_it_is_read_wrongly() -> None:
    for code in range(0xC0, 0x180):
        for page in ("latin-1", "cp1252"):
            read = "".join(bytes([byte]).decode(page, "ignore") or chr(byte) for byte in chr(code).encode())
            assert is_garbled(f"a {read} b"), (chr(code), page)


def test_odd_characters_are_those_that_no_text_needs() -> None:
    fine = (
        "tab\t line\n nbsp\u00a0 joiner\u200d\u200c marks\u200e\u200f 👨\u200d👩\u200d👧 \U0001f3f4\U000e0067 日本 ½ …"
    )
    assert not has_odd(fine)
    for odd in "\x00\x08\x1b\x7f\x85\u00ad\u200b\u2028\u202e\u2060\ufeff\ue000\ufffe\U000f0000\ud800":
        assert has_odd(f"a{odd}b"), hex(ord(odd))


def test_normal_forms() -> None:
    assert not is_unusual("é ½ ﾊ Ａ 가")
    assert is_unusual(unicodedata.normalize("NFD", "é")) and is_unusual("ﬁnal") and is_unusual("ﻻ")
    assert is_unusual("é", "NFD") and is_unusual("Ａ", "NFKC")


@pytest.mark.parametrize(
    ("source", "target", "differ"),
    [
        ("15 cats", "15 Katzen", False),
        ("15 cats", "51 Katzen", True),
        ("two cats", "2 Katzen", False),  # small numbers may be words
        ("in the year", "im Jahr 1989", True),
        ("1,000,000.5 km", "1.000.000,5 km", False),
        ("7:30 PM", "19:30 Uhr", False),
        ("5 万 円", "50,000 yen", False),
        ("2 million", "2000000", False),
        ("in '99", "1999", False),
        ("May 3, 2020", "03.05.2020", False),
        ("１５ 匹", "15 cats", False),
        ("1999 and 2000", "2000 und 1998", True),
        ("12 34", "1234", False),  # cut otherwise
    ],
)
def test_numbers_that_contradict_each_other(source: str, target: str, differ: bool) -> None:
    assert numbers_differ(source, target) is differ
    assert numbers_differ(target, source) is differ


@pytest.mark.parametrize(
    ("source", "target", "differ"),
    [
        ("see https://a.org/x.", "siehe a https://a.org/x!", False),
        ("see http://a.org/", "siehe https://a.org", False),
        ("see www.a.org", "siehe", True),
        ("mail a@b.org", "Mail an a@c.org", True),
        ("a @ b", "c", False),
        ("no", "nein", False),
    ],
)
def test_urls_and_addresses_that_differ(source: str, target: str, differ: bool) -> None:
    assert urls_differ(source, target) is differ


@pytest.mark.parametrize(
    ("source", "target", "copy"),
    [
        ("A man sleeps in the garden.", "A man sleeps in the garden.", True),
        ("A man sleeps in the garden.", "a MAN sleeps in the garden !", True),
        ("A man sleeps in the garden.", "Ein Mann schläft im Garten.", False),
        ("Angela M.", "Angela M.", False),  # a name
        ("12345 67890 12345", "12345 67890 12345", False),  # no letters
        ("私は毎日学校に行く", "私は毎日学校に行く", True),  # nine letters, which count twice
        ("the dog and the cat and the dog", "the the the the the the", False),
    ],
)
def test_targets_that_repeat_their_source(source: str, target: str, copy: bool) -> None:
    assert is_copy(source, target) is copy


def test_the_ratio_can_know_what_is_usual() -> None:
    ratio = Ratio(most=2, unit="characters", usual=3)
    assert ratio(pair("abc", "x" * 9)) and ratio(pair("abc", "x" * 18)) and ratio(pair("abc", "x" * 5))
    assert not ratio(pair("abc", "x" * 19)) and not ratio(pair("abc", "x" * 4))


def test_a_third_language_and_exchanged_sides_are_found_and_nothing_else() -> None:
    chance, clean = random.Random(2), corpus()
    faulty = [pair(one.target, one.source) for one in clean[:30]]
    faulty += [pair(one.source, sentence(FRENCH, chance)) for one in clean[30:60]]
    faulty += [pair(sentence(FRENCH, chance), one.target) for one in clean[60:90]]
    faulty += [pair(one.source, clean[-at].source) for at, one in enumerate(clean[90:120], 1)]
    pairs = faulty + clean[120:]
    language = Language()
    language.learn(pairs)
    found = language.look([one.source for one in pairs], [one.target for one in pairs])
    assert found is not None
    assert found.swapped[:30].mean() >= 0.95 and found.wrong[30:120].mean() >= 0.95
    assert found.drops[120:].mean() < 0.01
    assert [language(one) for one in pairs[:40]] == (~found.drops[:40]).tolist()  # the filter is the finding
    assert language.keeps(pairs) == (~found.drops).tolist()


def test_two_sides_in_one_language_and_few_pairs_are_kept() -> None:
    chance = random.Random(3)
    same = [pair(sentence(ENGLISH, chance), sentence(ENGLISH, chance)) for _ in range(1000)]
    language = Language()
    language.learn(same)
    assert sum(language.keeps(same)) / len(same) > 0.995
    few = Language()
    few.learn(same[:200])
    assert few(pair("quelque chose en français", "x")) and few.look(["a"], ["b"]) is None


def test_each_source_has_a_profile_of_its_own() -> None:
    one, other = corpus(1000), corpus(1000)
    language = Language()
    language.learn([*one, *(pair(each.target, each.source, 1) for each in other)])
    assert language(one[0]) and language(pair(one[0].target, one[0].source, 1))
    assert not language(pair(one[0].target, one[0].source)) and not language(pair(one[0].source, one[0].target, 1))


def test_a_sample_is_spread_evenly_over_all_that_was_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.data.checks.languages.SAMPLE_PAIRS", 10)
    sample = PairSample()
    for number in range(1000):
        sample.add(pair(str(number)))
    numbers = [int(each.source) for each in sample.pairs]
    assert 10 <= len(numbers) < 20 and set(np.diff(numbers)) == {64}


def test_minhash_finds_what_the_similarity_of_all_pairs_finds() -> None:
    chance = random.Random(4)
    held = list(dict.fromkeys(sentence(ENGLISH, chance) for _ in range(120)))
    texts = [sentence(ENGLISH, chance) for _ in range(120)]
    for number, text in enumerate(held[:90]):
        words = text.split()
        words[chance.randrange(len(words))] = chance.choice(ENGLISH)
        texts[number] = " ".join(words)

    def trigrams(text: str) -> set[str]:
        letters = f" {re.sub(r'[^a-z]+', ' ', text)} "
        return {letters[at : at + 3] for at in range(len(letters) - 2)}

    def likeness(one: str, two: str) -> float:
        return 1.0 if one == two else len(sets[one] & sets[two]) / len(sets[one] | sets[two])

    sets = {text: trigrams(text) for text in [*held, *texts]}
    best = [max(likeness(text, other) for other in held) for text in texts]
    wanted = {number for number, value in enumerate(best) if value >= 0.6}
    found = HeldOutIndex(held).look(texts, 0.6)
    assert set(found) <= wanted and len(found) >= 0.95 * len(wanted) and len(wanted) > 50
    for number, (_, similarity) in found.items():
        assert similarity == pytest.approx(best[number], abs=0.002)


def test_sketches_do_not_depend_on_the_batch() -> None:
    texts = [*[one.source for one in corpus(1000)][:150], "", "x"]
    whole = sketch(texts)
    for number in (0, 63, 64, 149, 150, 151):
        assert (sketch([texts[number]]).signatures[0] == whole.signatures[number]).all()


def test_overlap_without_case_and_marks_but_short_texts_must_be_equal() -> None:
    overlap = Overlap()
    overlap.learn([pair("A man sleeps in the garden."), pair("cats")])
    assert not overlap(pair("a man sleeps in the garden !")) and not overlap(pair("A man sleeps in the gardens"))
    assert overlap(pair("Nothing like it was there before")) and overlap(pair("cat")) and not overlap(pair("Cats!"))
    assert overlap.look(["Cats"])[0] == (DataPlace("held", 7), 1.0)
    assert Overlap()(pair("anything"))  # nothing is held out


def test_filters_learn_from_the_data_and_from_what_is_held_out(tmp_path: Path) -> None:
    clean = corpus(1000)
    rows = [(one.source, one.target) for one in clean]
    rows[10], rows[20] = (rows[10][1], rows[10][0]), ("the old man sleeps in a small red house", rows[20][1])
    train, valid = (SourceConfig(path=str(tmp_path / f"{name}.tsv")) for name in ("train", "valid"))
    (tmp_path / "train.tsv").write_text("".join(f"{one}\t{two}\n" for one, two in rows), encoding="utf-8")
    (tmp_path / "valid.tsv").write_text("the old man sleeps in a small red house\tx\n", encoding="utf-8")
    filters = load_filters(("language", "overlap"), held_out=(valid, None))
    report = DataReport()
    kept = [item.place.line for item in Mixture(train, load_task("translation"), filters).once(report)]
    assert 1 <= report.dropped["overlap"] <= 4 and 11 not in kept and 21 not in kept
    assert report.dropped["language"] <= 5


@pytest.mark.parametrize(
    ("filters", "problem"),
    [
        ([{"overlap": {"similarity": 0.1}}], "a number from 0.5 to 1, but is 0.1"),
        ([{"language": {"deviations": True}}], "a number of at least 1, but is True"),
        ([{"copies": {"share": 2}}], "at most 1, but is 2"),
        ([{"normal_form": "NFX"}], "NFC"),
        ([{"numbers": {"digit": 2}}], "digits"),
    ],
)
def test_wrong_settings_are_one_line(filters: object, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_filters(filters)
    assert problem in str(error.value) and "\n" not in str(error.value) and "data.filters.0" in str(error.value)
