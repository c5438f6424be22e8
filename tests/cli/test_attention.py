"""`antiphon attention list` and `check`."""

from __future__ import annotations

import json
from pathlib import Path

import own_attentions
import pytest

from antiphon.registry import names, register, unregister

PEEK = """
import torch
from antiphon.nn import Additive

class Peek(Additive):
    def forward(self, x, tokens, state):
        y, state = super().forward(x, tokens, state)
        return y + 0.1 * x.sum(1, keepdim=True), state
"""


def test_list_names_each_kind_with_what_it_is(run) -> None:
    ended = run("attention", "list")
    assert ended.code == 0 and ended.err == ""
    rows = {line.split()[0]: line for line in ended.lines}
    assert list(rows) == names("attention")
    assert rows["alibi"].split()[1] == "rule" and "linear penalty on distance" in rows["alibi"]
    assert rows["additive"].split()[1] == "mixer"
    assert rows["window"].split()[2].rstrip(",") == "window"
    assert "buckets=32, max_distance=128" in rows["relative"]


def test_what_is_registered_as_a_function_or_a_scorer_is_listed_so(run) -> None:
    register("attention", "zz function")(own_attentions.softmax)
    register("attention", "zz scorer")(own_attentions.CustomAttention)
    try:
        kinds = {kind["name"]: kind for kind in map(json.loads, run("attention", "list", "--json").lines)}
    finally:
        unregister("attention", "zz function")
        unregister("attention", "zz scorer")
    assert (kinds["zz function"]["kind"], kinds["zz function"]["settings"]) == ("function", "")
    assert (kinds["zz scorer"]["kind"], kinds["zz scorer"]["settings"]) == ("scorer", "hidden")
    assert kinds["torch_multihead"]["settings"].startswith("bias=True, dropout=0")


def test_list_as_json_is_a_line_each(run) -> None:
    kinds = [json.loads(line) for line in run("attention", "list", "--json").lines]
    assert [kind["name"] for kind in kinds] == names("attention")
    assert all(list(kind) == ["name", "kind", "settings", "what"] and kind["what"] for kind in kinds)


def test_a_kind_that_keeps_the_laws(run) -> None:
    ended = run("attention", "check", "window", "--role", "encoder", "--settings", "{window: 3, sinks: 1}")
    assert (ended.code, ended.err) == (0, "")
    assert ended.lines[0].startswith("the rule `Window`: ") and " 0 fail" in ended.lines[0]
    assert {line.split()[-1] for line in ended.lines if line.startswith("causality")} == set()  # a decoder's law
    assert any(line.split()[:3] == ["padding", "encoder", "pass"] for line in ended.lines)


def test_a_class_of_ones_own_that_breaks_one(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "peeking.py").write_text(PEEK)
    monkeypatch.chdir(tmp_path)
    ended = run("attention", "check", "peeking:Peek", "--role", "decoder", "--json")
    assert ended.code == 1
    table = json.loads(ended.out)
    assert not table["passed"]
    causality = next(row for row in table["rows"] if row["law"] == "causality")
    assert causality["verdict"] == "fail" and causality["difference"] > 0.01
    (line,) = ended.err.splitlines()
    assert line.startswith("antiphon: the mixer `Peek` in the decoder role breaks the law `causality`")
    assert "query position 0, key position 1" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["alibbi"], "did you mean `alibi`"),
        (["window"], "it takes window"),
        (["window", "--settings", "0"], "a whole number of at least 1"),
        (["window", "--settings", "{window"], "must be YAML"),
        (["alibi", "--role", "decodr"], "must be one of encoder, decoder, cross"),
        (["peeking_nowhere:Peek"], "cannot be imported"),
    ],
)
def test_a_wrong_input_is_exit_code_2(run, words: list[str], message: str) -> None:
    ended = run("attention", "check", *words)
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert message in line
