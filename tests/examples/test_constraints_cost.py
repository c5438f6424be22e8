"""The example that measures constraints, with a tiny model."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest
from generation.test_model import model

FILE = Path(__file__).resolve().parents[2] / "examples" / "constraints_cost.py"
SPEC = importlib.util.spec_from_file_location("constraints_cost", FILE)
assert SPEC is not None and SPEC.loader is not None
cost = importlib.util.module_from_spec(SPEC)
sys.modules["constraints_cost"] = cost
SPEC.loader.exec_module(cost)


def test_phrases_are_counted_as_whole_words() -> None:
    texts, phrases = ["ein Zaun .", "die Zaunlatte", "Zaun"], [["Zaun"], ["Zaun"], ["Zaun", "Latte"]]
    assert cost.count(texts, phrases, present=True) == 2
    assert cost.count(texts, phrases, present=False) == 2


def test_words_are_drawn_from_their_own_reference() -> None:
    references = ["grass fence green fence", "a b", ""]
    drawn = cost.draw(references, most=2, seed=1)
    assert [len(words) for words in drawn] == [2, 0, 0]
    assert len(set(drawn[0])) == 2 and set(drawn[0]) <= {"grass", "fence", "green"}
    assert drawn == cost.draw(references, most=2, seed=1)


def test_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = model(max_length=60).save(tmp_path / "model")
    for name, texts in (("s", ["hello", "in 3 hours"]), ("t", ["hello there", "hours again"])):
        (tmp_path / name).write_text("\n".join(texts) + "\n")
    files = [str(tmp_path / name) for name in "st"]
    cost.main([str(folder), *files, "--lines", "2", "--beam-size", "2"])
    table = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0].strip() for line in table] == ["required 0", "required 1", "required 2", "forbidden 1"]
    assert [re.findall(r"(?:missing|found) \d+ of \d+", line) for line in table[:3]] == [
        ["missing 0 of 0"],
        ["missing 0 of 2"],
        ["missing 0 of 4"],
    ]
    assert "found 0 of " in table[3]
    (tmp_path / "t").write_text("only one\n")
    with pytest.raises(SystemExit):
        cost.main([str(folder), *files])
    assert "2 and 1" in capsys.readouterr().err
