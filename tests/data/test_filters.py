"""Each filter against a plain count of the same thing, what it removed, and settings that are wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from antiphon import register
from antiphon.config import DataConfig
from antiphon.data.filters import Duplicates, Filters, Pair, load_filters
from antiphon.data.lines import Cursor, DataPlace, DataRow
from antiphon.errors import ConfigError, DataError


def pair(source: str, target: str = "", front: str = "") -> Pair:
    return Pair(source, target, DataRow({}, DataPlace("x", 1), Cursor(), (), front))


def kept(settings: object, pairs: list[Pair]) -> list[Pair]:
    drops = filters(settings).begin()
    return [one for one, name in zip(pairs, drops(pairs), strict=True) if name is None]


def filters(settings: object) -> Filters:
    return load_filters(DataConfig(train=[("a", "b")], filters=settings).filters)


TEXTS = ["", " ", "a", "a b", "a b c", "one two three four", "日本語", "日本 語", "x" * 50]


@pytest.mark.parametrize("unit", ["words", "characters"])
def test_length_and_ratio_count_units(unit: str) -> None:
    pairs = [pair(source, target) for source in TEXTS for target in TEXTS]

    def size(text: str) -> int:
        return len(text.split()) if unit == "words" else len(text)

    found = kept([{"length": {"min": 2, "max": 4, "unit": unit}}], pairs)
    assert found == [one for one in pairs if 2 <= size(one.source) <= 4 and 2 <= size(one.target) <= 4]
    assert 0 < len(found) < len(pairs)
    found = kept([{"ratio": {"most": 1.5, "unit": unit}}], pairs)

    def ratio(one: Pair) -> float:
        sizes = sorted([size(one.source), size(one.target)])
        return sizes[1] / sizes[0] if sizes[0] else (1 if sizes[1] == 0 else float("inf"))

    assert found == [one for one in pairs if ratio(one) <= 1.5]
    assert 0 < len(found) < len(pairs)


def test_one_setting_stands_alone() -> None:
    pairs = [pair("a", "b c"), pair("a", "b c d")]
    assert kept([{"ratio": 2}], pairs) == kept([{"ratio": {"most": 2.0}}], pairs) == pairs[:1]
    assert kept([{"length": 2}], pairs) == kept([{"length": {"max": 2}}], pairs) == pairs[:1]


def test_duplicates_keeps_the_first_of_equal_pairs_with_equal_fronts() -> None:
    pairs = [
        pair("a", "b"),
        pair("a", "c"),
        pair("a", "b"),
        pair("a", "b", "<fre> "),
        pair("<fre> a", "b"),
        pair("", "ab"),
    ]
    assert kept(["duplicates"], pairs) == [pairs[0], pairs[1], pairs[3], pairs[5]]
    # one that is dropped before was not seen
    assert kept([{"length": {"min": 2}}, "duplicates"], [pair("a", "b"), pair("a b", "c d")]) == [pair("a b", "c d")]


def test_duplicates_needs_what_its_page_says() -> None:
    filter, many = Duplicates(), 200_000
    for number in range(many):
        filter(pair(f"{number}", "x"))
    size = sys.getsizeof(filter._seen) + sum(map(sys.getsizeof, filter._seen))
    assert 70 < size / many < 115


@pytest.mark.parametrize(
    ("text", "scripts"),
    [
        ("Hello", {"Latin"}),
        ("Привет", {"Cyrillic"}),
        ("日本", {"Han"}),
        ("日本のカタカナ", {"Katakana"}),  # 4 of 7; Han has 2
        ("ＡＢＣ", {"Latin"}),
        ("한국어", {"Hangul"}),
        ("שלום", {"Hebrew"}),
        ("Привет ab", {"Cyrillic"}),
        ("aˈaːʰ", {"Latin"}),
        ("1984 …", {"Latin", "Cyrillic", "Han", "Katakana", "Hangul", "Hebrew"}),  # no letter speaks against any
    ],
)
def test_script(text: str, scripts: set[str]) -> None:
    for name in ("Latin", "Cyrillic", "Han", "Katakana", "Hangul", "Hebrew"):
        alone = bool(kept([{"script": {"target": name}}], [pair("x", text)]))
        assert alone == (name in scripts)
    assert kept([{"script": {"source": ["Han", "Katakana", "Hiragana"], "share": 1}}], [pair("日本のカタカナ")])


def test_filters_apply_in_order_and_say_which_dropped() -> None:
    drops = filters([{"length": {"max": 2}}, "duplicates", {"length": {"min": 2}}]).begin()
    pairs = [pair("a b c", "a"), pair("a b", "a b"), pair("a b", "a b"), pair("a", "a")]
    assert drops(pairs) == ["length", None, "duplicates", "length (2)"]


def test_ones_own_filter_is_a_function_or_a_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ownfilters.py").write_text(
        "def short(pair, *, most=2):\n    return len(pair.source) <= most\n"
        "class Ends:\n    def __init__(self, *, letter):\n        self.letter = letter\n"
        "    def __call__(self, pair):\n        return pair.target.endswith(self.letter)\n"
        "def broken(pair):\n    return 1 / 0\n"
    )
    monkeypatch.delitem(sys.modules, "ownfilters", raising=False)
    load = lambda *items: load_filters(items, tmp_path)  # noqa: E731
    assert load("ownfilters:short").begin()([pair("abc")]) == ["ownfilters:short"]
    assert load({"ownfilters:short": {"most": 3}}).begin()([pair("abc")]) == [None]
    ends = load({"ownfilters:Ends": {"letter": "x"}}).begin()
    assert ends([pair("a", "bx")])[0] is None and ends([pair("a", "b")])[0] == "ownfilters:Ends"
    register("filter", "test_no_x")(_no_x)
    assert load("test_no_x").begin()([pair("x")]) == ["test_no_x"]
    with pytest.raises(DataError, match=r"`ownfilters:broken` raised ZeroDivisionError: .* \(x:1\)"):
        load("ownfilters:broken").begin()([pair("a")])
    for wrong in ({"ownfilters:short": {"mst": 3}}, {"ownfilters:Ends": None}, {"ownfilters:short": 3}):
        with pytest.raises(ConfigError, match=r"`data\.filters\.0"):
            load(wrong)


def _no_x(one: Pair) -> bool:
    return "x" not in one.source


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("duplicates", r"`filters` must be a list of filters"),
        ([3], r"`filters\.0` must be a name, or one name with its settings, but is 3"),
        ([{"length": {}, "ratio": 2}], r"`filters\.0` must be a name"),
        (["duplicate"], "`duplicate` is not a known filter, did you mean `duplicates`?"),
        ([{"length": {"mx": 3}}], r"`data\.filters\.0\.mx` is not a known setting, did you mean `max`?"),
        ([{"length": {"min": 3, "max": 2}}], r"`data\.filters\.0\.min` must be at most `max` \(2\), but is 3"),
        ([{"ratio": 0.5}], r"`data\.filters\.0\.most` must be at least 1, but is 0.5"),
        ([{"script": "Cyrilic"}], "must be a script of Unicode, but is `Cyrilic`, did you mean `Cyrillic`?"),
        (["script"], "must have a script for `source` or `target`"),
        (["ratio"], r"`data\.filters\.0\.most` must be given"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(settings: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("?", r"\?")) as caught:
        filters(settings)
    assert "\n" not in str(caught.value)
