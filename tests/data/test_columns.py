"""Parquet files and data sets of the hub: the same rows as JSONL, from any row on, and one line where they fail."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from corpora import bytes_tokenizer
from counts import count
from pyarrow import parquet

from antiphon.config import SourceConfig, source_list
from antiphon.data import Batches, load_corpus
from antiphon.data.columns import _groups_behind, hub_files
from antiphon.data.sources import cases, check_files, records, rows, text_bytes
from antiphon.errors import ConfigError, DataError
from antiphon.recipe import read_recipe
from antiphon.text import load_task

TASK = load_task("translation")
FIELDS: Any = {"source_field": "translation.en", "target_field": "translation.de"}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # else five tries to reach it take 24 seconds


def some(size: int = 2500) -> list[dict[str, Any]]:
    chance = random.Random(0)
    return [
        {
            "id": number,
            "translation": {"en": f"e{number}", "de": [f"d{number}.{part}" for part in range(chance.randint(1, 3))]},
        }
        for number in range(size)
    ]


def write_parquet(path: Path, found: list[dict[str, Any]], group: int = 300) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(found), path, row_group_size=group)
    return str(path)


def folder(path: Path, found: list[dict[str, Any]]) -> str:
    """A data set as the hub holds them: a folder with a file a shard."""
    write_parquet(path / "data" / "train-00000-of-00002.parquet", found[:700])
    write_parquet(path / "data" / "train-00001-of-00002.parquet", found[700:])
    write_parquet(path / "data" / "test-00000-of-00001.parquet", found[:3])
    return f"hub:{path}"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[SourceConfig]:
    path = tmp_path_factory.mktemp("columns")
    lines = path / "x.jsonl"
    lines.write_text("".join(json.dumps(found) + "\n" for found in some()))
    return [
        SourceConfig(path=str(lines), **FIELDS),
        SourceConfig(path=write_parquet(path / "x.parquet", some()), **FIELDS),
        SourceConfig(path=folder(path / "set", some()), split="train", **FIELDS),
    ]


def test_all_give_the_same_pairs_at_the_same_rows(both: list[SourceConfig]) -> None:
    lines, *others = ([(*pair, place.line) for *pair, place in records(source, TASK)] for source in both)
    assert len(lines) > 4000 and all(other == lines for other in others)
    whole, *others = ([(one, targets) for one, targets, _ in cases(source, TASK)] for source in both)
    assert len(whole) == 2500 and all(other == whole for other in others)
    for source in both:
        check_files(source)


@pytest.mark.parametrize("kind", [1, 2])
def test_reading_goes_on_from_any_row(both: list[SourceConfig], kind: int) -> None:
    everything = list(rows(both[kind]))
    chance = random.Random(1)
    for number in [0, 1, len(everything) - 1, *(chance.randrange(len(everything)) for _ in range(12))]:
        assert list(rows(both[kind], everything[number].cursor)) == everything[number + 1 :]


def test_row_groups_in_front_are_not_read(both: list[SourceConfig]) -> None:
    assert both[1].path is not None
    with parquet.ParquetFile(both[1].path) as file:
        assert _groups_behind(file, 0) == (list(range(9)), 0)
        assert _groups_behind(file, 299) == (list(range(9)), 0)
        assert _groups_behind(file, 300) == (list(range(1, 9)), 300)
        assert _groups_behind(file, 2500) == ([], 2500)


def test_splits_files_and_sizes(both: list[SourceConfig]) -> None:
    test = SourceConfig(path=both[2].path, split="test", **FIELDS)
    assert [one for one, _, _ in cases(test, TASK)] == ["e0", "e1", "e2"]
    files, size = hub_files(both[2])
    assert len(files) == 3 and size == sum(Path(file).stat().st_size for file in files)
    assert text_bytes(both[2]) == 4 * size
    assert both[1].path is not None and text_bytes(both[1]) == 4 * Path(both[1].path).stat().st_size


def message(source: SourceConfig) -> str:
    with pytest.raises(DataError) as caught:
        list(records(source, TASK))
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".")
    return text


def test_what_is_wrong_is_one_line(tmp_path: Path, both: list[SourceConfig]) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 this is none")
    assert "must be whole parquet data" in message(SourceConfig(path=str(tmp_path / "x.parquet"), **FIELDS))
    assert "cannot be read" in message(SourceConfig(path=str(tmp_path / "none.parquet"), **FIELDS))
    source = SourceConfig(path=write_parquet(tmp_path / "y.parquet", some(5)), source_field="id", target_field="nme")
    assert "`nme`" in message(source) and "y.parquet:1)" in message(source)
    empty = SourceConfig(path=write_parquet(tmp_path / "z.parquet", some(1)[:0] or [{}]), **FIELDS)
    assert "is empty" in message(empty) or "is not among" in message(empty)
    assert "Bad split: dev" in message(SourceConfig(path=both[2].path, split="dev"))
    assert "BuilderConfig 'x' not found" in message(SourceConfig(path=both[2].path, split="train", name="x"))
    assert "cannot be read" in message(SourceConfig(path=f"hub:{tmp_path / 'none'}", split="train"))
    text = message(SourceConfig(path="hub:wmt/wmt19", split="train", name="de-en"))
    assert "`hub:wmt/wmt19` cannot be read" in text and "the network" in text


def test_the_code_of_a_data_set_is_never_run(tmp_path: Path) -> None:
    path = tmp_path / "set"
    source = SourceConfig(path=folder(path, some(800)), split="train", **FIELDS)
    (path / "set.py").write_text("raise SystemExit('this code ran')\n")
    assert "no longer supported" in message(source)


def test_a_data_set_that_changed_is_refused(tmp_path: Path) -> None:
    source = SourceConfig(path=folder(tmp_path / "set", some(800)), split="train", **FIELDS)
    one = bytes_tokenizer()

    def batches() -> Batches:
        made = load_corpus(
            source, task=TASK, source_tokenizer=one, target_tokenizer=one, max_length=99, streaming="always"
        )
        return Batches(made, batch_tokens=300, seed=0)

    state = batches().state()
    again = batches()
    again.restore(state)
    assert next(again) == next(batches())
    write_parquet(tmp_path / "set" / "data" / "train-00001-of-00002.parquet", some(801)[700:])
    with pytest.raises(
        DataError, match=r"train-00001-of-00002\.parquet` had [\d,]+ bytes and has [\d,]+\. Put it back"
    ):
        batches().restore(state)


def test_a_recipe_leaves_the_name_of_a_hub_source_as_it_is(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    hub = '{path: "hub:wmt/wmt19", split: train}'
    recipe.write_text(f"data: {{train: [{hub}, {{path: x.parquet}}]}}\ntraining: {{max_steps: 1}}\noutput: run\n")
    found = source_list(read_recipe(recipe).data.train)
    assert [source.path for source in found] == ["hub:wmt/wmt19", str(tmp_path / "x.parquet")]


def test_the_settings_of_a_hub_source() -> None:
    for wrong in ({"path": "hub:x"}, {"path": "hub:", "split": "train"}, {"path": "x.tsv", "split": "train"}):
        with pytest.raises(ConfigError, match="split"):
            SourceConfig(**wrong)
    made = SourceConfig(path="hub:wmt/wmt19", split="train")
    assert made.files == [] and made.hub == "wmt/wmt19" and made.title == "hub:wmt/wmt19"


def test_no_mutant_escapes_as_another_error(tmp_path: Path) -> None:
    chance = random.Random(0)
    good = Path(write_parquet(tmp_path / "good.parquet", some(20), group=7)).read_bytes()
    path, read = tmp_path / "x.parquet", 0
    for _ in range(count("hostile_files")):
        data = bytearray(good)
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(data[: chance.choice([len(data), len(data), chance.randrange(len(data))])])
        try:
            read += len(list(records(SourceConfig(path=str(path), **FIELDS), TASK)))
        except DataError as error:
            assert "\n" not in str(error)
    assert read > 0
