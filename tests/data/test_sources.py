"""Records of every format, and each message about bad data, by making the mistake."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import struct
import sys
import zlib
from pathlib import Path

import pytest
import zstandard
from counts import count

from antiphon.config import SourceConfig
from antiphon.data.lines import LineReader, count_lines, opened
from antiphon.data.sources import cases, check_files, records, rows, text_bytes
from antiphon.errors import ConfigError, DataError
from antiphon.text import Task, load_task

TASK = load_task("translation")
PAIRS = [("a", "A"), ("b c", "B C"), ("", "D"), ("ü\u2028\x0c\x85x", "“Ü”"), ("e", "E\rE")]


def frames(data: bytes) -> bytes:
    """zstd data of two frames, with a checksum each, and a skippable one between."""
    pack = zstandard.ZstdCompressor(write_checksum=True).compress
    return pack(data[: len(data) // 3]) + struct.pack("<II", 0x184D2A50, 3) + b"any" + pack(data[len(data) // 3 :])


PACK = {".gz": gzip.compress, ".zst": frames}


def write(path: Path, text: str | bytes) -> str:
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(PACK.get(path.suffix, bytes)(data))
    return str(path)


def pairs_of(source: object, task: Task = TASK) -> list[tuple[str, str]]:
    return [(left, right) for left, right, _ in records(source, task)]


def aligned(folder: Path, left: str | bytes, right: str | bytes, suffix: str = "") -> SourceConfig:
    return SourceConfig(source=write(folder / f"x.en{suffix}", left), target=write(folder / f"x.de{suffix}", right))


def table(folder: Path, name: str, text: str | bytes, left: object = None, right: object = None) -> SourceConfig:
    return SourceConfig(path=write(folder / name, text), source_field=left, target_field=right)  # pyright: ignore


# formats


@pytest.mark.parametrize("gz", ["", ".gz", ".zst"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_aligned_lines_end_at_line_feeds_only(tmp_path: Path, gz: str, end: str, last: bool) -> None:
    left, right = (end.join(side) + (end if last else "") for side in zip(*PAIRS, strict=True))
    found = list(records(aligned(tmp_path, left, right, gz), TASK))
    assert [(one, other) for one, other, _ in found] == PAIRS
    assert [str(place) for *_, place in found] == [f"{tmp_path / 'x.en'}{gz}:{line}" for line in range(1, 6)]


def test_one_carriage_return_is_dropped_and_no_more(tmp_path: Path) -> None:
    assert pairs_of(aligned(tmp_path, b"a\r\r\n\r\n", b"A\nB\n")) == [("a\r", "A"), ("", "B")]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    assert pairs_of(aligned(tmp_path, b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", b"A\nB\n")) == [("a", "A"), ("\ufeffb", "B")]


@pytest.mark.parametrize("gz", ["", ".gz", ".zst"])
def test_every_table_gives_what_the_standard_library_wrote(tmp_path: Path, gz: str) -> None:
    pairs = [("a", "A"), ('say "hi", you', "B\nB"), ("tab\there", "C"), (" d ", "D")]
    path = tmp_path / "plain.csv"
    with open(path, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("source", "target"), *pairs])
    assert pairs_of(table(tmp_path, f"x.csv{gz}", path.read_bytes())) == pairs
    lines = "".join(json.dumps({"target": target, "source": source}) + "\n" for source, target in pairs)
    assert pairs_of(table(tmp_path, f"x.jsonl{gz}", lines)) == pairs
    flat = [pair for pair in pairs if "\t" not in "".join(pair) and "\n" not in "".join(pair)]
    assert pairs_of(table(tmp_path, f"x.tsv{gz}", "".join("\t".join(pair) + "\n" for pair in flat))) == flat


@pytest.mark.parametrize(
    ("text", "left", "right", "wanted"),
    [
        ("a\tA\nb\tB\n", None, None, [("a", "A"), ("b", "B")]),
        ('"a\t"A\n', None, None, [('"a', '"A')]),  # quotes are text in TSV
        ("a\tA\tlicence\n", None, None, [("a", "A")]),
        ("target\tsource\nA\ta\n", None, None, [("a", "A")]),
        ("de\ten\nA\ta\n", "en", "de", [("a", "A")]),
        ("1\tA\ta\n2\tB\tb\n", 2, 1, [("a", "A"), ("b", "B")]),
        ("en\tde\tn\na\tA\t1\n", "en", 1, [("a", "A")]),
        ("a\tA\n\nb\tB\n", None, None, [("a", "A"), ("b", "B")]),
    ],
)
def test_tsv_columns(tmp_path: Path, text: str, left: object, right: object, wanted: object) -> None:
    assert pairs_of(table(tmp_path, "x.tsv", text, left, right)) == wanted


def test_csv_columns_by_name_number_and_line_of_a_record_of_several_lines(tmp_path: Path) -> None:
    text = 'de,en\n"A\nA",a\nB,b\n'
    assert pairs_of(table(tmp_path, "x.csv", text, "en", "de")) == [("a", "A\nA"), ("b", "B")]
    assert pairs_of(table(tmp_path, "y.csv", "A,a\n", 1, 0)) == [("a", "A")]
    assert [row.place.line for row in rows(table(tmp_path, "x.csv", text, "en", "de"))] == [3, 4]


def test_jsonl_numbers_and_inner_keys(tmp_path: Path) -> None:
    text = '{"translation": {"en": "a", "de": "A"}}\n\n{"translation": {"en": 5, "de": true}}\n'
    source = table(tmp_path, "x.jsonl", text, "translation.en", "translation.de")
    assert pairs_of(source) == [("a", "A"), ("5", "true")]


def test_tag_and_prefix_stand_before_each_source(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tsv", "a\tA\nb\tB\n")
    source = SourceConfig(path=path, tag="fre", prefix="say: ")
    assert pairs_of(source) == [("<fre> say: a", "A"), ("<fre> say: b", "B")]
    assert [one for one, _, _ in cases(source, TASK)] == ["<fre> say: a", "<fre> say: b"]
    assert pairs_of(SourceConfig(path=path, prefix="say: "))[0] == ("say: a", "A")


def test_names_of_columns_are_not_learned_as_a_pair(tmp_path: Path) -> None:
    text = message(table(tmp_path, "x.tsv", "sentence\tlabel\ngood\t1\n"))
    assert "looks like names of columns" in text and "x.tsv:1)" in text and "to 0 and 1" in text
    assert pairs_of(table(tmp_path, "x.tsv", "sentence\tlabel\ngood\t1\n", "sentence", "label")) == [("good", "1")]
    pair = [("sentence", "label"), ("good", "1")]
    assert pairs_of(table(tmp_path, "x.tsv", "sentence\tlabel\ngood\t1\n", 0, 1)) == pair
    # a first pair whose words are not all usual names is a pair
    assert pairs_of(table(tmp_path, "x.tsv", "word\tw ɜː d\n")) == [("word", "w ɜː d")]


def test_a_task_of_ones_own_sees_every_column(tmp_path: Path) -> None:
    task = Task("verdict", lambda record: (f"{record['title']}: {record['text']}", record["label"]))
    wanted = [("t: x", "1")]
    assert pairs_of(table(tmp_path, "x.csv", "title,text,label\nt,x,1\n"), task) == wanted
    assert pairs_of(table(tmp_path, "x.jsonl", '{"title": "t", "text": "x", "label": 1}\n'), task) == wanted
    assert pairs_of([{"title": "t", "text": "x", "label": 1}], task) == wanted


def test_several_sources_are_read_one_behind_the_other(tmp_path: Path) -> None:
    both = (aligned(tmp_path, "a\n", "A\n"), table(tmp_path, "x.tsv", "b\tB\n"))
    assert pairs_of(both) == [("a", "A"), ("b", "B")]


def test_pairs_from_python() -> None:
    found = list(records(iter([("a", "A"), ["b", "B"]]), TASK))
    assert [(left, right, str(place)) for left, right, place in found] == [
        ("a", "A", "pairs[0]"),
        ("b", "B", "pairs[1]"),
    ]


@pytest.mark.parametrize("name", ["x.tsv", "x.csv.gz", "x.csv.zst", "x.jsonl", "lists.jsonl.zst", "aligned", "several"])
def test_reading_goes_on_from_every_cursor(tmp_path: Path, name: str) -> None:
    texts = {
        "x.tsv": "source\ttarget\na\tA\n\nü\tB\nc\tC",
        "x.csv.gz": 'source,target\na,A\n"b\nb",B\n\nc,C\n',
        "x.jsonl": '{"source": "ä", "target": "A"}\n\n{"source": "b", "target": "B"}\n',
        "lists.jsonl.zst": '{"source": "ä", "target": ["A", "B", "C"]}\n\n{"source": "b", "target": ["B"]}\n'
        '{"source": "c", "target": ["1", "2"]}\n{"source": "d", "target": "D"}\n',
    }
    texts["x.csv.zst"] = texts["x.csv.gz"]
    if name in texts:
        data: object = table(tmp_path, name, texts[name])
    else:
        data = aligned(tmp_path, "a\nü\n\nd", "A\nB\nC\r\nD\n", ".zst")
        if name == "several":
            data = (data, table(tmp_path, "y.tsv", texts["x.tsv"]), table(tmp_path, "y.csv", texts["x.csv.gz"]))
    everything = list(rows(data))
    for number, row in enumerate(everything):
        assert list(rows(data, row.cursor)) == everything[number + 1 :]
    assert len({row.cursor for row in everything}) == len(everything)


# messages


def message(source: object, task: Task = TASK) -> str:
    with pytest.raises(DataError) as caught:
        pairs_of(source, task)
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".") and caught.value.exit_code == 2
    return text


@pytest.mark.parametrize(("left", "right"), [("a\nb\nc\n", "A\n"), ("a\n", "A\nB\nC"), ("a\n" * 3000, "A\n" * 2999)])
def test_sides_of_different_length(tmp_path: Path, left: str, right: str) -> None:
    source = aligned(tmp_path, left, right)
    counts = [len(left.splitlines()), len(right.splitlines())]
    shorter = source.files[counts.index(min(counts))]
    text = message(source)
    assert f"x.en` has {counts[0]} and" in text and f"x.de` has {counts[1]} " in text
    assert f"{shorter}:{min(counts)}" in text and "Align" in text
    with pytest.raises(DataError) as early:
        check_files(source)
    assert str(early.value) == text


def test_empty_files(tmp_path: Path) -> None:
    for source in (aligned(tmp_path, "", "A\n"), aligned(tmp_path, "a\n", ""), aligned(tmp_path, "", "")):
        assert "is empty" in message(source)
        with pytest.raises(DataError, match="is empty"):
            check_files(source)
    for name, text in {"x.tsv": "", "x.csv": "", "x.jsonl": "", "y.csv": "source,target\n", "y.jsonl": "\n\n"}.items():
        assert f"{tmp_path / name}` is empty" in message(table(tmp_path, name, text))


def test_missing_files(tmp_path: Path) -> None:
    for path in ("none.tsv", "none.csv.gz", "\0.tsv", "\ud800.tsv"):
        source = SourceConfig(path=str(tmp_path / path))
        assert "cannot be read" in message(source)
        with pytest.raises(DataError, match="cannot be read"):
            text_bytes(source)
        with pytest.raises(DataError, match="cannot be read"):
            check_files(source)
    (tmp_path / "folder.tsv").mkdir()
    assert "cannot be read (Is a directory)" in message(SourceConfig(path=str(tmp_path / "folder.tsv")))


@pytest.mark.parametrize("gz", ["", ".gz", ".zst"])
def test_a_bad_encoding_names_the_line(tmp_path: Path, gz: str) -> None:
    source = aligned(tmp_path, b"a\nb\nc\n", b"A\nB\xfc\nC\n", gz)
    assert f"byte 0xfc at column 2 is not ({tmp_path / 'x.de'}{gz}:2). Convert" in message(source)
    assert f"({tmp_path / 'x.csv'}:2)" in message(table(tmp_path, "x.csv", "source,target\na,ü\n".encode("latin1")))
    assert ":1)" in message(table(tmp_path, "x.tsv", "a\tA\n".encode("utf-16")))


def test_a_missing_column(tmp_path: Path) -> None:
    text = message(table(tmp_path, "x.tsv", "english\tgerman\na\tA\n", "englisch", "german"))
    assert (
        "the column `englisch`" in text and "has `english`, `german`, did you mean `english`?" in text and ":1)" in text
    )
    assert "`source_field`" in text
    text = message(table(tmp_path, "x.csv", "en,de\na,A\n"))
    assert "field `source`" in text and "en, de" in text and "x.csv:2)" in text and "`source_field`" in text
    text = message(table(tmp_path, "y.tsv", "a\tA\nb\n"))
    assert "column 1" in text and "has 1 columns" in text and "y.tsv:2)" in text
    text = message(table(tmp_path, "x.jsonl", '{"source": "a", "target": "A"}\n{"source": "a", "targt": "A"}\n'))
    assert "x.jsonl:2)" in text and "target" in text
    text = message(table(tmp_path, "y.jsonl", '{"en": "a", "de": "A"}\n', "en", "dee"))
    assert "`dee`" in text and "did you mean `de`?" in text and "y.jsonl:1)" in text
    assert "is a list" in message(table(tmp_path, "z.jsonl", '{"source": [["a"]], "target": "A"}\n'))
    assert "is an empty list (" in message(table(tmp_path, "v.jsonl", '{"source": "a", "target": []}\n'))
    assert "is not among" in message(table(tmp_path, "w.jsonl", '{"t": {"de": null}}\n', "t.en", "t.de"))


def test_a_stray_separator(tmp_path: Path) -> None:
    text = message(table(tmp_path, "x.tsv", "source\ttarget\na\tA\tA\n"))
    assert "header (2)" in text and "has 3" in text and "x.tsv:2)" in text


def test_broken_csv_and_json(tmp_path: Path) -> None:
    assert "x.csv:3)" in message(table(tmp_path, "x.csv", 'source,target\na,A\n"b,B\nc,C\n'))
    assert "x.csv:2)" in message(table(tmp_path, "x.csv", 'source,target\n"b"b,B\n'))
    assert "x.jsonl:2)" in message(table(tmp_path, "x.jsonl", '{"source": "a", "target": "A"}\n{"source": \n'))
    assert "is a list (" in message(table(tmp_path, "y.jsonl", "[1, 2]\n"))
    assert "y.jsonl:1)" in message(table(tmp_path, "y.jsonl", "[" * 100_000 + "\n"))
    assert "y.jsonl:1)" in message(table(tmp_path, "y.jsonl", '{"source": ' + "9" * 5000 + "}\n"))


@pytest.mark.parametrize("packed", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["plain", "cut", "flipped", "empty", "tail"])
def test_bad_packed_data(tmp_path: Path, damage: str, packed: str) -> None:
    whole = PACK[packed]("".join(f"{number * 7919}\n" for number in range(20_000)).encode())
    broken = {
        "plain": b"a\nb\n",
        "cut": whole[: len(whole) // 2],
        "flipped": whole[:500] + bytes([whole[500] ^ 255]) + whole[501:],
        "empty": b"",
        "tail": whole[:-3],
    }
    file = tmp_path / f"x.tsv{packed}"
    file.write_bytes(broken[damage])
    text = message(SourceConfig(path=str(file), source_field=0, target_field=0))
    wanted = f"must be whole {'gzip' if packed == '.gz' else 'zstd'} data"
    assert ("is empty" if damage == "empty" else wanted) in text and file.name in text
    if damage != "empty":
        with pytest.raises(DataError, match=wanted):
            count_lines(str(file))


@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
def test_no_mutant_escapes_as_another_error(tmp_path: Path, packed: str) -> None:
    chance, file, read = random.Random(0), tmp_path / f"x.jsonl{packed}", 0
    text = "".join(json.dumps({"source": ["ä"] * row, "target": ["b", "c"]}) + "\n" for row in range(9))
    good = PACK.get(packed, bytes)(text.encode())
    for _ in range(count("hostile_files")):
        data = bytearray(good)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        file.write_bytes(data[: chance.choice([len(data), len(data), chance.randrange(len(data))])])
        try:
            read += len(pairs_of(SourceConfig(path=str(file))))
        except DataError as error:
            assert "\n" not in str(error)
    assert read > 0 or packed


def test_a_missing_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, library in {"x.tsv.zst": "zstandard", "x.parquet": "pyarrow", "hub:x": "datasets"}.items():
        monkeypatch.setitem(sys.modules, library, None)
        path = name if name.startswith("hub:") else write(tmp_path / name, "a\tA\n")
        with pytest.raises(ConfigError, match=rf"the library {library}, which is not installed.*antiphon\[data\]"):
            pairs_of(SourceConfig(path=path, split="train" if path == name else None))


def test_an_unknown_format(tmp_path: Path) -> None:
    for name in ("x.parquet.gz", "x.txt.gz", "x"):
        with pytest.raises(ConfigError, match=r"`path` must end in \.tsv, \.csv, \.jsonl"):
            pairs_of(SourceConfig(path=str(tmp_path / name)))


def test_what_is_no_pair() -> None:
    for item in (("a",), ("a", 1), "ab", 5, ("a", "b", "c")):
        text = message([("a", "A"), item])
        assert "pairs[1]" in text and "two texts" in text
    assert "is a str" in message("train.en")
    assert "has none (pairs[0])" in message([{"source": "a"}])


# lines


@pytest.mark.parametrize("text", [b"", b"\n", b"a", b"a\n", b"a\nb", b"\n\n\n", b"a\n\n"])
@pytest.mark.parametrize("name", ["x", "x.gz", "x.zst"])
def test_lines_are_counted_as_they_are_read(tmp_path: Path, text: bytes, name: str) -> None:
    file = write(tmp_path / name, text)
    lines = LineReader(file)
    assert list(lines) == text.decode().split("\n")[: count_lines(file)]
    assert lines.number == count_lines(file) and lines.offset == len(text) and lines.count_rest() == 0


def test_a_gzip_file_of_several_members_is_one_text(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"a\nb") + gzip.compress(b"c\nd\n"))
    assert list(LineReader(str(tmp_path / "x.gz"))) == ["a", "bc", "d"]
    with opened(str(tmp_path / "x.gz")) as stream:
        assert zlib.crc32(stream.read()) == zlib.crc32(b"a\nbc\nd\n")


# odd texts, from ../shared/data/odd-inputs


def odd(folder: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (folder / "odd-inputs" / name).read_text(encoding="utf-8").split("\n") if line]


@pytest.mark.data
def test_odd_texts_arrive_as_they_are(tmp_path: Path, data_folder: Path) -> None:
    texts = [row["text"] for row in odd(data_folder, "odd_lines.jsonl")]
    texts += json.loads((data_folder / "odd-inputs" / "blns" / "blns.json").read_text(encoding="utf-8"))
    pairs = [(text, str(number)) for number, text in enumerate(texts)]
    whole = "".join(json.dumps({"source": source, "target": target}) + "\n" for source, target in pairs)
    assert pairs_of(table(tmp_path, "x.jsonl", whole)) == pairs
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([("source", "target"), *pairs])
    # A carriage return before a line feed inside a field is the line's own: it is dropped.
    expected = [(source.replace("\r\n", "\n"), target) for source, target in pairs]
    assert pairs_of(table(tmp_path, "x.csv", stream.getvalue().encode("utf-8", "surrogatepass"))) == expected
    lines = [(source, target) for source, target in pairs if "\n" not in source and not source.endswith("\r")]
    assert len(lines) > 500
    sides = ["".join(pair[side] + "\n" for pair in lines) for side in (0, 1)]
    assert pairs_of(aligned(tmp_path, *sides)) == lines
    cells = [pair for pair in lines if "\t" not in pair[0]]
    assert pairs_of(table(tmp_path, "x.tsv", "".join("\t".join(pair) + "\n" for pair in cells))) == cells


@pytest.mark.data
def test_invalid_utf8_is_found_in_its_line(tmp_path: Path, data_folder: Path) -> None:
    for row in odd(data_folder, "odd_bytes.jsonl"):
        data = bytes.fromhex(row["hex"]).replace(b"\n", b"")
        source = aligned(tmp_path, b"a\n" + data + b"\nc\n", b"A\nB\nC\n")
        if row["valid_utf8"]:
            assert len(pairs_of(source)) == 3
        else:
            assert "x.en:2). Convert" in message(source)
    raw = (data_folder / "odd-inputs" / "utf8tests" / "utf8tests.bin").read_bytes()
    with pytest.raises(UnicodeDecodeError) as caught:
        raw.decode()
    number = raw[: caught.value.start].count(b"\n") + 1
    text = message(aligned(tmp_path, raw, raw))
    assert f"x.en:{number})" in text and f"0x{raw[caught.value.start]:02x}" in text
