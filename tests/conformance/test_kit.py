"""What can be checked, how the verdict reads, and how two tensors are compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conformance.saboteurs import Doubles, RowNumber

import antiphon
from antiphon.conformance import LAWS, LawTable, check_attention, examine
from antiphon.conformance.meter import DifferenceMeter
from antiphon.errors import ConfigError
from antiphon.nn import Alibi, Window

FEW = [law for law in LAWS if law.name in ("shape", "additive", "reach")]


@pytest.mark.parametrize(
    ("attention", "name"),
    [
        (Alibi, "the rule `Alibi`"),
        (Window(3), "the rule `Window`"),
        ("alibi", "the rule `Alibi`"),
        ({"window": 3}, "the rule `Window`"),
        ({"all": ["alibi", {"window": 3}]}, "the rule `Alibi & Window`"),
        ("antiphon.nn:Alibi", "the rule `Alibi`"),
        ("additive", "the mixer `Additive`"),
    ],
)
def test_an_attention_is_named_as_in_a_recipe_or_given(attention: object, name: str) -> None:
    table = examine(attention, "encoder", laws=FEW)  # type: ignore[arg-type]
    assert table.name == name
    assert [row.law for row in table.rows] == ["shape", "additive", "reach"]
    assert not table.failures


def test_an_instance_is_left_as_it_was() -> None:
    rule = Alibi()
    examine(rule, "decoder", laws=FEW)
    assert not list(rule.buffers()) and rule.role is None


def test_all_roles_unless_one_is_named() -> None:
    table = examine("alibi", laws=FEW)
    assert [row.role for row in table.rows] == [role for role in ("encoder", "decoder", "cross") for _ in FEW]


@pytest.mark.parametrize(
    ("attention", "role", "words"),
    [
        ("alibbi", None, "did you mean `alibi`"),
        ("alibi", "decodr", "`role` must be one of encoder, decoder, cross, but is `decodr`"),
        (Window, None, "it takes window"),
        (dict, None, "`module:Name`, but it makes a dict"),
        ("no_such_module:Fade", None, "cannot be imported"),
    ],
)
def test_what_cannot_be_checked_is_a_wrong_input(attention: object, role: str | None, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_attention(attention, role)  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_a_class_in_a_module_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_fade.py").write_text(
        "from antiphon.nn import ScoreRule\n"
        "class Fade(ScoreRule):\n"
        "    additive = True\n"
        "    def score(self, score, batch, head, q_pos, k_pos):\n"
        "        return score - 0.1 * (q_pos - k_pos).abs()\n"
    )
    monkeypatch.chdir(tmp_path)
    table = antiphon.check_attention("my_fade:Fade", role="decoder")
    assert {row.law: row.verdict for row in table.rows}["saving"] == "pass"
    assert all(row.role == "decoder" for row in table.rows)


def test_a_class_without_a_name_is_checked_but_for_saving() -> None:
    class Local(Alibi):
        """Nobody can import it."""

    table = examine(Local, "encoder", laws=[law for law in LAWS if law.name == "saving"])
    assert [(row.verdict, "no name" in row.reason) for row in table.rows] == [("skip", True)]


def test_the_table_is_read_by_people_and_programs() -> None:
    table = examine(RowNumber, "encoder", laws=[law for law in LAWS if law.name in ("padding", "batch", "reach")])
    lines = str(table).splitlines()
    assert lines[0] == "the rule `RowNumber`: 1 pass, 1 fail, 1 skip"
    assert lines[1].split() == ["law", "role", "verdict", "largest", "difference", "where,", "or", "why", "not"]
    assert [line.split()[:3] for line in lines[2:]] == [
        ["padding", "encoder", "pass"],
        ["batch", "encoder", "fail"],
        ["reach", "encoder", "skip"],
    ]
    assert "and alone, row" in lines[3] and lines[4].endswith("it states no reach")
    read = json.loads(json.dumps(table.as_json(), allow_nan=False))
    assert (read["attention"], read["passed"]) == ("the rule `RowNumber`", False)
    assert read["rows"][1]["difference"] > 1e-3 and read["rows"][1]["law"] == "batch"


def test_an_infinite_difference_has_a_form_in_json() -> None:
    table = examine(Doubles, "decoder", laws=[law for law in LAWS if law.name == "element-wise"])
    assert json.loads(json.dumps(LawTable(table.name, table.rows).as_json(), allow_nan=False))["passed"]


def test_the_worst_of_several_comparisons_is_kept() -> None:
    meter = DifferenceMeter()
    zeros = torch.zeros(2, 3)
    meter.equal(zeros + 1e-12, zeros, axes=("row", "place"), what="near")
    assert not meter.broken and meter.where.startswith("near")
    other = zeros.clone()
    other[1, 2] = 0.25
    meter.context = "grouped"
    meter.equal(other, zeros, axes=("row", "place"), what="far")
    meter.equal(zeros + 1e-5, zeros, axes=("row", "place"), what="nearer")
    assert meter.broken and meter.difference == 0.25 and meter.where == "grouped: far, row 1, place 2"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_is_the_largest_difference(bad: float) -> None:
    meter = DifferenceMeter()
    meter.equal(torch.tensor([0.0, bad]), torch.zeros(2), axes=("place",), what="x")
    assert meter.broken and meter.difference == float("inf") and meter.where == "x, place 1"
    equal = DifferenceMeter()
    equal.equal(torch.tensor([bad]), torch.tensor([bad]), axes=("place",), what="x")
    assert equal.broken == (bad != bad)


def test_other_shapes_differ() -> None:
    meter = DifferenceMeter()
    meter.equal(torch.zeros(2, 1), torch.zeros(2, 3), axes=("row", "place"), what="x")
    assert meter.broken and "(2, 1) instead of (2, 3)" in meter.where
