"""The tests of a difference: against exact values, against sacreBLEU, and on systems that are equal."""

from __future__ import annotations

import doctest
import gzip
import math
import random
from pathlib import Path

import numpy as np
import pytest
from counts import count

from antiphon.evaluation.comparing import compare, resampling
from antiphon.evaluation.comparing.resampling import (
    bootstrap_p,
    bootstrap_scores,
    holm,
    randomisation_p,
    sacrebleu_p,
)
from antiphon.evaluation.metrics import measure
from antiphon.evaluation.result import MetricResult

WMT = Path("metrics-reference") / "wmt17-en-de"


def answers(wins: int, losses: int, ties: int) -> tuple[list[list[str]], list[str]]:
    """Two systems of which the first alone is right on `wins` segments, the second on `losses`; and the references."""
    first = ["a"] * wins + ["x"] * losses + ["a"] * ties
    second = ["x"] * wins + ["a"] * losses + ["a"] * ties
    return [first, second], ["a"] * (wins + losses + ties)


@pytest.mark.parametrize(("wins", "losses"), [(30, 10), (25, 20), (12, 12), (8, 0)])
def test_randomisation_of_exact_matches_is_the_sign_test(wins: int, losses: int) -> None:
    [found] = compare(*answers(wins, losses, 60), metrics=["exact_match"], trials=4000).differences
    n, extreme = wins + losses, max(wins, losses)
    exact = min(1.0, 2 * sum(math.comb(n, k) for k in range(extreme, n + 1)) / 2**n)
    assert found.p == found.tests["randomisation"] == pytest.approx(exact, abs=0.03)
    assert found.difference == pytest.approx(100 * (losses - wins) / (n + 60))
    assert found.better == ("A" if exact < 0.05 else None)


def test_the_interval_is_that_of_the_difference() -> None:
    [found] = compare(*answers(20, 60, 120), metrics=["exact_match"], samples=4000).differences
    half = 1.96 * 100 * ((80 / 200 - (40 / 200) ** 2) / 200) ** 0.5  # of a mean of values 1, -1, 0
    assert found.interval == pytest.approx((20 - half, 20 + half), abs=1)
    assert found.p is not None and found.p < 0.001
    two_sided = math.erfc(20 / (half / 1.96) / 2**0.5)
    assert found.tests["bootstrap"] == pytest.approx(two_sided, abs=0.002)


def test_segments_are_paired() -> None:
    """Scores whose intervals overlap widely, and a lead that is there on nearly every segment."""
    draw = random.Random(0)
    words = [[draw.choice("abcdefgh") for _ in range(20)] for _ in range(100)]
    rights = [draw.randrange(1, 19) for _ in words]
    first = [" ".join([*row[:k], *["z"] * (20 - k)]) for row, k in zip(words, rights, strict=True)]
    second = [" ".join([*row[: k - 1], *["z"] * (21 - k)]) for row, k in zip(words, rights, strict=True)]
    references = [" ".join(row) for row in words]
    [found] = compare([first, second], references, metrics=["rouge1"], samples=500, trials=500).differences
    [low, high] = found.intervals
    assert low is not None and high is not None and low.low < high.high, "alone they overlap"
    assert found.p is not None and found.p < 0.01 and found.interval is not None and found.interval.high < 0
    [back] = compare([second, first], references, metrics=["rouge1"], samples=500, trials=500).differences
    assert back.difference == pytest.approx(-found.difference) and back.p == pytest.approx(found.p, abs=0.01)


def test_equal_answers_have_p_1() -> None:
    texts = ["a b c d", "e f g h"] * 5
    [found] = compare([list(texts), list(texts)], texts, metrics=["bleu"], samples=50, trials=50).differences
    assert set(found.tests.values()) == {1.0} and found.p_holm == 1 and "all answers are equal" in found.verdict


@pytest.fixture
def systems(data_folder: Path) -> tuple[list[list[str]], list[str]]:
    """120 segments of three systems of WMT 2017, and the references."""

    def lines(name: str) -> list[str]:
        with gzip.open(data_folder / WMT / f"{name}.de.gz", "rt", encoding="utf-8", newline="\n") as file:
            return [next(file).removesuffix("\n") for _ in range(120)]

    return [lines(name) for name in ("KIT.4950", "xmu.4910", "PROMT-Rule-based.4735")], lines("reference")


def test_p_values_are_sacrebleus(systems) -> None:
    """Equal, since the samples and the counting of ties are the same. Their bootstrap adds in float32, on which one
    count in 400 may turn."""
    from sacrebleu.metrics import BLEU, CHRF, TER
    from sacrebleu.significance import PairedTest

    texts, references = systems
    named = list(zip("ABC", texts, strict=True))
    theirs = {"bleu": BLEU(), "chrf": CHRF(), "ter": TER()}
    found = compare(texts, references, metrics=list(theirs), samples=400, trials=400)
    for kind, test in (("ar", "randomisation"), ("bs", "sacrebleu_bootstrap")):
        _, scores = PairedTest(named, theirs, [references], test_type=kind, n_samples=400)()
        for metric, key in zip(theirs, list(scores)[1:], strict=True):
            for other in (1, 2):
                ours = found.difference(metric, 0, other).tests[test]
                theirs_p = scores[key][other].p_value  # type: ignore[union-attr]
                within = 1e-12 if kind == "ar" else 1.1 / 401
                assert ours == pytest.approx(theirs_p, abs=within), (metric, test, other)
            assert found.results[metric][1].score == pytest.approx(scores[key][1].score)  # type: ignore[union-attr]


def test_blocks_of_trials_leave_the_tosses_as_they_are(systems, monkeypatch: pytest.MonkeyPatch) -> None:
    results = [measure(text, [[row] for row in systems[1]], ["bleu"])["bleu"] for text in systems[0]]
    whole = randomisation_p(results, trials=1000)
    monkeypatch.setattr(resampling, "_BLOCK_CELLS", 32 * 120)
    assert randomisation_p(results, trials=1000) == whole


def test_the_tests_have_the_right_size_and_power() -> None:
    """Of pairs of equal systems 5 % have p < 0.05; sacreBLEU's bootstrap finds a difference in more."""
    draw, pairs, segments = np.random.default_rng(0), count("equal_systems"), 200
    found = {"randomisation": 0, "bootstrap": 0, "sacrebleu": 0, "power": 0}
    for seed in range(pairs):
        lengths = draw.integers(5, 30, segments).astype(float)
        rates = draw.beta(2, 6, (segments, 1))
        errors = draw.binomial(lengths[:, None].astype(int), rates, (segments, 2)).astype(float)
        for worse in (0.0, 1.0):
            tables = [np.stack([errors[:, place] + worse * place, lengths], 1) for place in range(2)]
            results = [wer(table) for table in tables]
            exchanged = randomisation_p(results, trials=500, seed=seed)
            assert exchanged is not None
            if worse:
                found["power"] += exchanged[0, 1] < 0.05
                continue
            scores = bootstrap_scores(results, samples=500, seed=seed)
            apart, measured = scores[1] - scores[0], results[1].score - results[0].score
            found["randomisation"] += exchanged[0, 1] < 0.05
            found["bootstrap"] += bootstrap_p(apart, measured) < 0.05
            found["sacrebleu"] += sacrebleu_p(apart, measured) < 0.05
    within = 0.02 if pairs >= 1000 else 0.045
    assert found["randomisation"] / pairs == pytest.approx(0.05, abs=within)
    assert found["bootstrap"] / pairs == pytest.approx(0.05, abs=within)
    assert found["sacrebleu"] > found["bootstrap"]
    assert found["power"] / pairs > 0.9, "one more error a segment is found"


def wer(table: np.ndarray) -> MetricResult:
    [result] = measure(["a"], [["a"]], ["wer"]).values()
    return MetricResult(
        float(result.scores(table.sum(0)[None])[0]),
        statistics=table,  # pyright: ignore[reportArgumentType]
        score_of=result.score_of,
        many_scores_of=result.many_scores_of,
    )


def test_trials_that_equal_the_difference() -> None:
    """Of 4 segments on which one system is right alone, every 8th trial has all of them on one side, and none more."""
    results = [measure(texts, [["a"]] * 4, ["exact_match"])["exact_match"] for texts in (["a"] * 4, ["x"] * 4)]
    with_ties, without = (randomisation_p(results, trials=4000, ties=ties) for ties in (True, False))
    assert with_ties is not None and with_ties[0, 1] == pytest.approx(1 / 8, abs=0.02)
    assert without == {(0, 1): 1 / 8}, "sacreBLEU's way, but for the smallest p that 4 segments can have"


def test_statistics_of_other_columns_are_not_exchanged() -> None:
    one, other = (MetricResult(0.0, "", [[0.0] * width] * 3, sum) for width in (2, 3))
    assert randomisation_p([one, other]) is None


def test_holm() -> None:
    assert doctest.testmod(resampling).failed == 0
    assert holm([0.02]) == [0.02] and holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.001, 0.02, 0.03, 0.04]) == pytest.approx([0.004, 0.06, 0.06, 0.06])
