"""Tables that are not what they seem: stray and other separators, lone carriage returns, values that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from antiphon.config import SourceConfig
from antiphon.data.sources import records
from antiphon.errors import DataError
from antiphon.text import load_task

TASK = load_task("translation")


def pairs_of(folder: Path, name: str, content: str | bytes, **fields: Any) -> list[tuple[str, str]]:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    source = SourceConfig(path=str(folder / name), **fields)
    return [(left, right) for left, right, _ in records(source, TASK)]


def message(folder: Path, name: str, content: str | bytes, **fields: Any) -> str:
    with pytest.raises(DataError) as caught:
        pairs_of(folder, name, content, **fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


NUMBERS = {"source_field": 0, "target_field": 1}


@pytest.mark.parametrize("fields", [{}, NUMBERS])
@pytest.mark.parametrize(
    ("text", "row", "first", "has"),
    [
        ("one\teins\na\tb house\tein Haus\n", 2, 2, 3),
        ("a\tb house\tein Haus\none\teins\n", 2, 3, 2),
        ("one\teins\n\na\tb\t\tc\n", 3, 2, 4),
        ("one\teins\tCC-0\ntwo\tzwei\tCC-0\nthree\tdrei\n", 3, 3, 2),
        ("\none\teins\na\tb\tc\n", 3, 2, 3),
    ],
)
def test_rows_of_other_widths_are_refused(
    tmp_path: Path, text: str, row: int, first: int, has: int, fields: dict[str, int]
) -> None:
    # F3: part of the source was learned as the target.
    said = message(tmp_path, "x.tsv", text, **fields)
    assert f"as many columns as the first row ({first}), but has {has} ({tmp_path / 'x.tsv'}:{row})" in said
    assert "stray separator" in said


def test_a_csv_file_without_a_header_too(tmp_path: Path) -> None:
    said = message(tmp_path, "x.csv", "one,eins\na,b house,ein Haus\n", **NUMBERS)
    assert "first row (2), but has 3" in said and "x.csv:2)" in said


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("one\teins\tCC-0\ntwo\tzwei\tCC-0\n", [("one", "eins"), ("two", "zwei")]),
        ("one\teins\ntwo\tzwei\t\n", [("one", "eins"), ("two", "zwei")]),  # a tab at the end
        ("one\teins\t\ntwo\tzwei\n", [("one", "eins"), ("two", "zwei")]),
        ("one\teins\tCC-0\ntwo\tzwei\t\n", [("one", "eins"), ("two", "zwei")]),
        ("one\t\ntwo\tzwei\n", [("one", ""), ("two", "zwei")]),
        ("\n\none\teins\n", [("one", "eins")]),
    ],
)
def test_rows_that_are_meant(tmp_path: Path, text: str, pairs: list[tuple[str, str]]) -> None:
    assert pairs_of(tmp_path, "x.tsv", text) == pairs


def test_a_header_behind_blank_lines(tmp_path: Path) -> None:
    assert pairs_of(tmp_path, "x.csv", "\nsource,target\na,A\n") == [("a", "A")]
    assert "x.csv:2)" in message(tmp_path, "x.csv", "\nen,de\na,A\n", source_field="fr", target_field="de")


def test_a_row_without_the_target_says_so(tmp_path: Path) -> None:
    said = message(tmp_path, "x.tsv", "one\teins\nlonely\n")
    assert "must have the column 1 (`target`, counted from 0), but has 1 columns" in said and "x.tsv:2)" in said


@pytest.mark.parametrize(
    ("name", "text", "fields", "must", "found"),
    [
        ("x.csv", "source;target\na;A\n", {}, "commas", "semicolons"),
        ("x.csv", "en;de\na;A\n", {"source_field": "en", "target_field": "de"}, "commas", "semicolons"),
        ("x.csv", "source\ttarget\na\tA\n", {}, "commas", "tabs"),
        ("x.csv", "a;A\n", NUMBERS, "commas", "semicolons"),
        ("x.tsv", "a;A\nb;B\n", {}, "tabs", "semicolons"),
        ("x.tsv", "source,target\na,A\n", {}, "tabs", "commas"),
        ("x.tsv", "en|de\na|A\n", {"source_field": "en", "target_field": "de"}, "tabs", "bars"),
    ],
)
def test_another_separator_is_named(
    tmp_path: Path, name: str, text: str, fields: dict[str, Any], must: str, found: str
) -> None:
    said = message(tmp_path, name, text, **fields)
    assert f"separated by {must}, but seem to be separated by {found} ({tmp_path / name}:1). Write" in said


def test_quoted_fields_between_semicolons(tmp_path: Path) -> None:
    assert "Separate the columns by commas" in message(tmp_path, "x.csv", '"source";"target"\n"a";"A"\n')


def test_semicolons_in_a_text_are_text(tmp_path: Path) -> None:
    assert pairs_of(tmp_path, "x.tsv", "a; b\tA; B\n") == [("a; b", "A; B")]
    assert pairs_of(tmp_path, "x.csv", "source,target\na; b,A|B\n") == [("a; b", "A|B")]
    assert pairs_of(tmp_path, "y.csv", "text;\na;b\n", source_field="text;", target_field="text;") == [("a;b", "a;b")]


@pytest.mark.parametrize(
    "text", ["source,target\rone,eins\r", "source,target\none,ei\rns\n", "source,target\r\na,b\rc,d"]
)
def test_a_lone_carriage_return_is_named(tmp_path: Path, text: str) -> None:
    # F18: the remedy was to close quotes, where there were none.
    said = message(tmp_path, "x.csv", text)
    assert "carriage return outside of quotes" in said and "quote inside a field" not in said
    assert "x.csv:" in said and r"tr '\r' '\n'" in said


def test_carriage_returns_that_can_be_read(tmp_path: Path) -> None:
    assert pairs_of(tmp_path, "x.csv", 'source,target\n"a\rb",c\n') == [("a\rb", "c")]
    assert pairs_of(tmp_path, "x.csv", "source,target\r\na,b\r\n") == [("a", "b")]
    assert pairs_of(tmp_path, "x.tsv", "a\rb\tc\nd\te\n") == [("a\rb", "c"), ("d", "e")]


def test_a_tsv_file_whose_lines_end_with_carriage_returns_is_no_pair(tmp_path: Path) -> None:
    said = message(tmp_path, "x.tsv", "source\ttarget\rone\teins\r")
    assert "line feeds at the ends of its lines" in said and "x.tsv:1)" in said


def test_utf16_is_named(tmp_path: Path) -> None:
    for encoding in ("utf-16-le", "utf-16-be"):
        content = "\ufeffa\tA\nb\tB\n".encode(encoding)
        assert "iconv -f utf-16 -t utf-8" in message(tmp_path, "x.tsv", content)
    assert "iconv -f latin1 -t utf-8" in message(tmp_path, "x.tsv", "ä\tA\n".encode("latin1"))


NONE = [float("nan"), float("inf"), float("-inf")]


@pytest.mark.parametrize("value", [*NONE, [float("nan")], ["a", float("inf")], {"b": 1}, None, [None]])
def test_numbers_that_are_none_are_no_text(tmp_path: Path, value: object) -> None:
    # F11: they became the texts NaN and Infinity.
    for side in ("source", "target"):
        row = {"source": "a", "target": "A"} | {side: value}
        said = message(tmp_path, "x.jsonl", json.dumps(row) + "\n")
        assert f"the field `{side}` must be a text or a list of texts, but is " in said and "x.jsonl:1)" in said
        with pytest.raises(DataError, match=rf"the field `{side}` must be a text .*pairs\[0\]"):
            list(records([row], TASK))


@pytest.mark.parametrize("value", NONE)
def test_nested_ones_neither(tmp_path: Path, value: float) -> None:
    text = json.dumps({"t": {"en": "a", "de": value}}) + "\n"
    assert "the field `t.de`" in message(tmp_path, "x.jsonl", text, source_field="t.en", target_field="t.de")
    assert "the field `t.en`" in message(
        tmp_path, "x.jsonl", text.replace('"a"', "1e999"), source_field="t.en", target_field="t.en"
    )


def test_numbers_elsewhere_and_words_in_tables_do_not_matter(tmp_path: Path) -> None:
    assert pairs_of(tmp_path, "x.jsonl", '{"source": "a", "target": 1.5, "other": NaN}\n') == [("a", "1.5")]
    assert pairs_of(tmp_path, "x.jsonl", '{"source": true, "target": "NaN"}\n') == [("true", "NaN")]
    assert pairs_of(tmp_path, "x.csv", "source,target\nNaN,NA\n") == [("NaN", "NA")]


def test_a_template_does_not_see_them(tmp_path: Path) -> None:
    said = message(tmp_path, "x.jsonl", '{"a": NaN, "target": "b"}\n', source_field="{a}", target_field="target")
    assert "`a` is not among" in said


def test_a_parquet_file_neither(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table({"source": ["a"], "target": [float("nan")]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="the field `target` must be a text"):
        list(records(SourceConfig(path=str(tmp_path / "x.parquet")), TASK))


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.jsonl"])
def test_utf_16_without_its_mark_is_named(tmp_path: Path, name: str) -> None:
    for kind in ("utf-16-le", "utf-16-be"):
        said = message(tmp_path, name, "source,target\na,b\n".encode(kind))
        assert "has NUL bytes" in said and f"iconv -f {kind.replace('16-', '16')} -t utf-8" in said


def test_aligned_files_with_carriage_returns_alone_are_refused(tmp_path: Path) -> None:
    # F18: each side was one line, so that a whole file was one pair.
    for side in ("source", "target"):
        (tmp_path / side).write_bytes(b"one\rtwo\r")
    source = SourceConfig(source=str(tmp_path / "source"), target=str(tmp_path / "target"))
    with pytest.raises(DataError, match=r"but has carriage returns alone \(.*source:1\)"):
        list(records(source, load_task("translation")))
