"""Answers that exist already: measured as a model's are, alone and by segment."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

import antiphon
from antiphon.cli.scores import as_json
from antiphon.errors import ConfigError, DataError, UsageError
from antiphon.evaluation.measuring import measure_answers
from antiphon.evaluation.metrics import measure, parse_metrics
from antiphon.evaluation.segments import segment_scores
from antiphon.evaluation.test_set import from_files, names_of_files, of_recipe, table
from antiphon.evaluation.translation import bleu
from antiphon.generation.answers import Generation

PAIRS = [("one", "1 2 3"), ("two", ["2 3 4 5", "2"]), {"source": "three", "target": "3 3"}]
ANSWERS = ["1 2 3", "2 3 5", "3"]


class Fixed:
    """A model with these answers."""

    labels = ()

    def generate(self, sources: list[str], **search: object) -> list[Generation]:
        return [Generation(text, [text], -1.0, 0.5, True) for text in ANSWERS]


def test_answers_are_measured_as_a_models_are() -> None:
    metrics, groups = ["bleu:effective_order=true", "chrf", "ter", "exact_match"], ["a", "b", "a"]
    mine = measure_answers(ANSWERS, PAIRS, metrics, groups=groups)
    theirs = antiphon.evaluate(Fixed(), PAIRS, metrics, groups=groups)  # type: ignore[arg-type]
    assert {name: (one.score, one.interval) for name, one in mine.items()} == {
        name: (one.score, one.interval) for name, one in theirs.items()
    }
    assert mine.grouped is not None and mine.grouped.groups.keys() == {"a", "b"}
    assert [answer.text for answer in mine.answers] == ANSWERS and math.isnan(mine.answers[0].score)
    assert mine.seconds is None and "answered" not in repr(mine) and json.loads(as_json(mine))["seconds"] is None
    assert "3 pairs" in mine._repr_html_() and "answered" not in mine._repr_html_()


def test_sources_may_be_absent_where_no_metric_needs_them() -> None:
    report = measure_answers(["a"], [(None, "a")], "exact_match")
    assert report["exact_match"].score == 100 and "None" not in report._repr_html_()


@pytest.mark.parametrize(
    ("answers", "pairs", "metrics", "words"),
    [
        (["a"], [("s", "a"), ("s", "b")], ["chrf"], "there are 2 pairs and 1 answers"),
        ("a", [("s", "a")], ["chrf"], "`answers` must be a list of texts"),
        ([None], [("s", "a")], ["chrf"], "`answers` must be a list of texts"),
        ([], [], ["chrf"], "at least one pair"),
        (["a"], [("s", "a")], [], "at least one metric"),
        (["a"], [("s", None)], ["chrf"], r"pairs\[0\]"),
        (["a"], [("s", "a")], ["chrff"], "did you mean `chrf`"),
    ],
)
def test_what_is_wrong_is_one_line(answers: list, pairs: list, metrics: list, words: str) -> None:
    with pytest.raises((ConfigError, DataError), match=words) as caught:
        measure_answers(answers, pairs, metrics)
    assert "\n" not in str(caught.value)


def test_scores_of_segments() -> None:
    draw = random.Random(3)
    references = [[" ".join(draw.choice("abc") for _ in range(draw.randrange(2, 9)))] for _ in range(30)]
    answers = [row[0] if draw.random() < 0.2 else row[0][2:] + " b a" for row in references]
    for name in ("chrf", "ter", "rouge1", "rougeL", "wer", "cer", "exact_match", "accuracy"):
        [metric] = parse_metrics([name])
        each = [metric([answer], [row]).score for answer, row in zip(answers, references, strict=True)]
        assert segment_scores(metric, answers, references) == pytest.approx(each), name
    [metric] = parse_metrics(["bleu:smooth_method=add-k"])
    each = [
        bleu([answer], [row], smooth_method="add-k", effective_order=True).score
        for answer, row in zip(answers, references, strict=True)
    ]
    assert segment_scores(metric, answers, references) == pytest.approx(each)


def test_segments_of_odd_metrics() -> None:
    [wer] = parse_metrics(["wer"])
    assert segment_scores(wer, ["a b", "", "a"], [[""], [""], ["a"]]) == [200, 0, 0]

    @antiphon.register("metric", "test_source_length")
    def lengths(answers: list[str], references: list[list[str]], *, sources: list[str]) -> float:
        return float(sum(map(len, sources)))

    try:
        [metric] = parse_metrics(["test_source_length"])
        assert segment_scores(metric, ["a", "b"], [["a"], ["b"]], ["x", "xyz"]) == [1, 3]
    finally:
        antiphon.registry.unregister("metric", "test_source_length")


def test_the_mean_of_segments_is_the_score_of_a_metric_that_is_a_mean() -> None:
    answers, references = ["a b", "c d", "e"], [["a b"], ["c x"], ["f"]]
    [metric] = parse_metrics(["rouge1"])
    scores = segment_scores(metric, answers, references)
    assert sum(scores) / 3 == pytest.approx(measure(answers, references, ["rouge1"])["rouge1"].score)


def test_test_sets_of_files(tmp_path: Path) -> None:
    for name, lines in (
        ("s.txt", "x\ny\n"),
        ("a.txt", "1\n2\n"),
        ("b.txt", "3\n4\n"),
        ("short.txt", "1\n"),
        ("no", ""),
    ):
        (tmp_path / name).write_text(lines)
    source, one, other, short, empty = (str(tmp_path / name) for name in ("s.txt", "a.txt", "b.txt", "short.txt", "no"))
    found = from_files(source, [one, other])
    assert [(each.source, tuple(each.references)) for each in found] == [("x", ("1", "3")), ("y", ("2", "4"))]
    assert found[1].place == f"{source}:2" and names_of_files(found) == ["s.txt", "s.txt"]
    assert [each.source for each in from_files(None, [one, other])] == [None, None]
    with pytest.raises(DataError, match=r"has 2 and `.*short.txt` has 1"):
        from_files(None, [one, short])
    with pytest.raises(DataError, match="at least one line"):
        from_files(None, [empty])
    with pytest.raises(UsageError, match="compare needs a test set"):
        of_recipe(str(tmp_path), command="compare")
    assert table("x.tsv", fields={"source_field": 1})[0].source_field == 1
    assert [each.tag for each in table("[{path: a.tsv, tag: fre}, {path: b.tsv, tag: dut}]")] == ["fre", "dut"]
