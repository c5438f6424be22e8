"""A field made of several others."""

from __future__ import annotations

import pytest

from antiphon.config import SourceConfig
from antiphon.data import cases, records
from antiphon.errors import DataError
from antiphon.text import load_task

TASK = load_task("text")


def read(source: SourceConfig) -> list[tuple[str, str]]:
    return [(one, other) for one, other, _ in records(source, TASK)]


def test_columns_by_number(tmp_path):
    (tmp_path / "a.tsv").write_text("juosta\tjuoksin\tV;PST\nolla\tolin\tV;PST\n")
    source = SourceConfig(path=str(tmp_path / "a.tsv"), source_field="<{2}> {0}", target_field=1, tag="fin")
    assert read(source) == [("<fin> <V;PST> juosta", "juoksin"), ("<fin> <V;PST> olla", "olin")]


def test_keys_by_name_on_both_sides(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"premise": "p {x}", "hypothesis": "h", "label": 1, "why": "w"}\n')
    source = SourceConfig(
        path=str(tmp_path / "a.jsonl"), source_field="{premise} | {hypothesis}", target_field="{label}: {why}"
    )
    assert read(source) == [("p {x} | h", "1: w")]


def test_names_in_a_header(tmp_path):
    (tmp_path / "a.csv").write_text("lemma,form,tags\na,b,c\n")
    source = SourceConfig(path=str(tmp_path / "a.csv"), source_field="{tags} {lemma}", target_field="form")
    assert read(source) == [("c a", "b")]
    assert [(one, others) for one, others, _ in cases(source, TASK)] == [("c a", ["b"])]


def test_a_field_that_is_not_there_is_named_with_the_nearest_and_the_row(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"premise": "p", "target": "t"}\n')
    source = SourceConfig(path=str(tmp_path / "a.jsonl"), source_field="{premis}")
    with pytest.raises(DataError, match=r"`premis` is not among .*a.jsonl:1\), did you mean `premise`\?"):
        read(source)
