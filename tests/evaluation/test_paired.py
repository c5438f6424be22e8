"""benchmarks/paired.py: the paired bootstrap and the exchange test."""

from __future__ import annotations

import importlib.util
import json
import math
import random
import sys
from pathlib import Path

import pytest

from antiphon.errors import DataError

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "paired.py"
SPEC = importlib.util.spec_from_file_location("paired", FILE)
assert SPEC is not None and SPEC.loader is not None
paired = importlib.util.module_from_spec(SPEC)
sys.modules["paired"] = paired
SPEC.loader.exec_module(paired)


def answers(wins: int, losses: int, ties: int) -> tuple[list[str], list[str], list[list[str]]]:
    """Two systems of which one alone is right on `wins` examples, the other on `losses`."""
    first = ["a"] * wins + ["x"] * losses + ["a"] * ties
    second = ["x"] * wins + ["a"] * losses + ["a"] * ties
    return first, second, [["a"]] * (wins + losses + ties)


@pytest.mark.parametrize(("wins", "losses"), [(30, 10), (25, 20), (12, 12), (8, 0)])
def test_the_exchange_test_of_exact_matches_is_the_sign_test(wins: int, losses: int) -> None:
    found = paired.paired(*answers(wins, losses, 60), metric="exact_match", samples=4000)
    n, extreme = wins + losses, max(wins, losses)
    exact = min(1.0, 2 * sum(math.comb(n, k) for k in range(extreme, n + 1)) / 2**n)
    assert found.exchange_p == pytest.approx(exact, abs=0.03)
    assert found.difference == pytest.approx(100 * (wins - losses) / (n + 60))


def test_the_interval_is_that_of_the_difference() -> None:
    found = paired.paired(*answers(60, 20, 120), metric="exact_match", samples=4000)
    half = 1.96 * 100 * ((80 / 200 - (40 / 200) ** 2) / 200) ** 0.5  # of a mean of values 1, -1, 0
    assert found.interval == pytest.approx((20 - half, 20 + half), abs=1)
    assert found.bootstrap_p < 0.001 and found.exchange_p < 0.001


def test_a_pair_is_compared_by_example_not_by_intervals() -> None:
    """Scores whose intervals overlap widely, and a lead that is there on nearly every example."""
    dice = random.Random(0)
    words = [[dice.choice("abcdefgh") for _ in range(20)] for _ in range(100)]
    rights = [dice.randrange(1, 19) for _ in words]
    first = [" ".join([*row[:k], *["z"] * (20 - k)]) for row, k in zip(words, rights, strict=True)]
    second = [" ".join([*row[: k - 1], *["z"] * (21 - k)]) for row, k in zip(words, rights, strict=True)]
    references = [[" ".join(row)] for row in words]
    found = paired.paired(first, second, references, metric="rouge1", samples=500)
    assert found.bootstrap_p < 0.01 and found.exchange_p < 0.01 and found.interval[0] > 0
    back = paired.paired(second, first, references, metric="rouge1", samples=500)
    assert back.difference == pytest.approx(-found.difference) and back.bootstrap_p == found.bootstrap_p
    same = paired.paired(first, first, references, metric="bleu:tokenize=none", samples=50)
    assert same.difference == 0 and same.bootstrap_p == 1 and same.exchange_p == 1


def test_a_metric_that_is_an_error_counts_the_other_way() -> None:
    first, second, references = answers(30, 5, 20)
    found = paired.paired(first, second, references, metric="wer", samples=200)
    assert found.first < found.second and found.difference > 0 and found.interval[0] > 0


def test_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, references = answers(9, 1, 5)
    files = [tmp_path / name for name in ("first", "second", "references")]
    for file, lines in zip(files, (first, second, [row[0] for row in references]), strict=True):
        file.write_text("".join(f"{line}\n" for line in lines))
    named = list(map(str, files))
    settings = ["--metric", "exact_match", "--samples", "100"]
    assert paired.main([*named[:2], "--references", named[2], *settings]) == 0
    assert json.loads(capsys.readouterr().out)["examples"] == 15
    files[1].write_text("a\n")
    with pytest.raises(SystemExit):
        paired.main([*named[:2], "--references", named[2], *settings])
    assert "`second` must have 15 lines, as `first` has, but has 1" in capsys.readouterr().err
    with pytest.raises(DataError, match="at least 2 examples"):
        paired.paired(["a"], ["a"], [["a"]])
