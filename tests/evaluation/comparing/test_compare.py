"""`antiphon.compare`: what it takes, what it finds, what it refuses, and how it shows itself."""

from __future__ import annotations

import doctest
import json
import random
from xml.etree import ElementTree

import pytest
from rich.cells import cell_len

import antiphon
from antiphon.errors import ConfigError, DataError
from antiphon.evaluation.comparing import Comparison, compare
from antiphon.evaluation.comparing import systems as home
from antiphon.evaluation.comparing.differences import letter
from antiphon.evaluation.evaluate import evaluate
from antiphon.generation.answers import Generation

LONG = "runs/a-very-long-name-of-a-system-that-fits-no-column/model-"


def corpus(count: int = 60) -> tuple[list[str], list[str], list[list[str]]]:
    """Sources with tags, references, and the answers of a good and two bad systems."""
    draw = random.Random(4)
    letters = [[draw.choice("abcdefghij") for _ in range(draw.randrange(4, 15))] for _ in range(count)]
    references = [" ".join([*row, f"w{n}"] if n % 3 == 0 else row) for n, row in enumerate(letters)]
    sources = [f"<{draw.choice(['fre', 'dut'])}> {text.upper()}" for text in references]

    def system(share: float) -> list[str]:
        return [" ".join(w if draw.random() > share else "x" for w in text.split()) for text in references]

    return sources, references, [system(0.05), system(0.4), system(0.4)]


@pytest.fixture(scope="module")
def three() -> Comparison:
    sources, references, systems = corpus()
    return compare(systems, references, sources, ["chrf", "bleu", "wer"], samples=200, trials=300)


class Upper:
    """A model that answers in lower case, without the tag."""

    labels = ()

    def __init__(self) -> None:
        self.asked: list = []

    def generate(self, sources: list[str], **search: object) -> list[Generation]:
        self.asked.append((sources, search))
        return [Generation(text.split(" ", 1)[1].lower(), [], -1.0, 0.5, True) for text in sources]


def test_the_example_of_the_docstring() -> None:
    assert compare is antiphon.compare
    assert doctest.testmod(home).failed == 0


def test_scores_and_intervals_are_those_of_evaluate(three: Comparison) -> None:
    sources, references, systems = corpus()

    class Model(Upper):
        def generate(self, sources: list[str], **search: object) -> list[Generation]:
            return [Generation(text, [], -1.0, 0.5, True) for text in systems[1]]

    report = evaluate(Model(), list(zip(sources, references, strict=True)), ["chrf", "bleu", "wer"])  # type: ignore[arg-type]
    whole = compare(systems[:2], references, metrics=["chrf", "bleu", "wer"], trials=10)
    for metric, result in report.items():
        assert three.results[metric][1].score == result.score
        assert whole.intervals[metric][1] == pytest.approx(result.interval)


def test_verdicts(three: Comparison) -> None:
    assert len(three.differences) == 9 and three.verdicts[0].startswith("A is better than B by ")
    assert "after Holm's correction for 3 pairs)." in three.verdicts[0]
    assert three.difference("chrf", 1, 2).better is None
    assert three.difference("chrf", 1, 2).verdict.startswith("No difference between B and C is shown in chrF (")
    worse = three.difference("wer", 0, 1)
    assert worse.lower_is_better and worse.difference > 0 and worse.better == worse.ahead == "A"
    assert worse.verdict.startswith(f"A is better than B by {worse.difference:.2f} WER (95 %: ")
    for one in three.differences:
        assert one.p is not None and one.p_holm is not None and one.p <= one.p_holm


def test_groups_count_every_segment_once(three: Comparison) -> None:
    assert list(three.groups) == ["length", "frequency", "tag"]
    for kind in three.groups:
        places = [place for group in three.places_of(kind).values() for place in group]
        assert sorted(places) == list(range(60))
        parts = [three.wins(0, 1, group) for group in three.places_of(kind).values()]
        assert tuple(map(sum, zip(*parts, strict=True))) == three.wins(0, 1)
    wins, ties, losses = three.wins(0, 1)
    assert wins > losses and three.wins(1, 0) == (losses, ties, wins)
    assert three.group_score(0, range(60)) == pytest.approx(three.results["chrf"][0].score)


def test_the_group_score_is_that_of_its_segments(three: Comparison) -> None:
    _, references, systems = corpus()
    places = three.places_of("tag")["fre"]
    alone = evaluate_texts([systems[0][place] for place in places], [references[place] for place in places])
    assert three.group_score(0, places) == pytest.approx(alone)


def evaluate_texts(answers: list[str], references: list[str]) -> float:
    from antiphon.evaluation.measuring import measure_answers

    return measure_answers(answers, [(None, text) for text in references], "chrf")["chrf"].score


def test_segments_that_differ_most(three: Comparison) -> None:
    ahead, behind = three.contrasts(0, 1, 4)
    leads = [one.first - one.second for one in ahead]
    assert len(ahead) == 4 and leads == sorted(leads, reverse=True)
    every = [a - b for a, b in zip(three.segment_scores[0], three.segment_scores[1], strict=True)]
    assert leads[0] == max(every)
    assert all(one.second > one.first for one in behind)


def test_lower_is_better_for_segments() -> None:
    found = compare([["a b", "c d"], ["a b", "c x"]], ["a b", "c d"], metrics=["wer"], samples=9, trials=9)
    assert found.wins(0, 1) == (1, 1, 0) and [one.place for one in found.contrasts(0, 1, 5)[0]] == [1]
    assert found.ranking == [0, 1]


def test_models_and_answers_side_by_side() -> None:
    sources, references, systems = corpus(10)
    model, answers = Upper(), [Generation(text, [], -1.0, 0.5, True) for text in systems[1]]
    found = compare(
        {"model": model, "file": systems[0], "made": answers},  # type: ignore[dict-item]
        references,
        sources,
        "exact_match",
        samples=20,
        trials=20,
        beam_size=3,
    )
    assert model.asked == [(sources, {"beam_size": 3})]
    assert found.names == ["model", "file", "made"] and found.results["exact_match"][0].score == 100
    assert found.answers[2] == systems[1]


def test_words_are_rare_in_the_training_data_where_it_is_given() -> None:
    _, references, systems = corpus(12)
    often = compare(systems[:2], references, training=[" ".join(references)] * 6, samples=9, trials=9)
    assert "frequency" not in often.groups, "no word is rare: one group says nothing"
    some = compare(systems[:2], references, training=["a b c d e"] * 6, samples=9, trials=9)
    assert "frequency" in some.groups and "at most 5 times in the training data" in some.table


def test_several_references_and_labels() -> None:
    references = [["good", "fine"], ["bad"], ["good"], ["bad", "fine"]]
    systems = [["good", "bad", "good", "bad"], ["fine", "good", "good", "fine"]]
    found = compare(systems, references, metrics=["macro_f1", "accuracy", "bleu:effective_order=true"], samples=50)
    assert found.differences[0].tests["randomisation"] is not None, "columns are the same labels for both"
    assert "nrefs:2" not in found.results["bleu"][0].signature and "nrefs:var" in found.results["bleu"][0].signature


def test_a_metric_without_statistics_has_no_p() -> None:
    _, references, systems = corpus(8)

    @antiphon.register("metric", "test_mean_length")
    def length(answers: list[str], references: list[list[str]]) -> float:
        return float("nan") if answers[0] == systems[1][0] else sum(map(len, answers)) / len(answers)

    try:
        found = compare(systems[:2], references, metrics=["test_mean_length"])
        [one] = found.differences
        assert one.p is None and one.interval is None and one.better is None
        assert "no statistics of segments" in one.verdict and "no statistics" in " ".join(found.table.split())
        assert json.loads(found.as_json())["metrics"]["test_mean_length"]["systems"]["B"]["score"] is None
        ElementTree.fromstring(found._repr_html_())
    finally:
        antiphon.registry.unregister("metric", "test_mean_length")


def test_json(three: Comparison) -> None:
    found = json.loads(three.as_json(examples=2))
    assert found["segments"] == 60 and found["systems"] == ["A", "B", "C"] and found["correction"] == "holm"
    pairs = found["metrics"]["bleu"]["pairs"]
    assert [pair["systems"] for pair in pairs] == [["A", "B"], ["A", "C"], ["B", "C"]]
    for pair in pairs:
        assert len(pair["scores"]) == 2 and all(len(each) == 2 for each in pair["intervals"])
        assert pair["difference"] == pytest.approx(pair["scores"][1] - pair["scores"][0])
        assert 0 < pair["p"] <= 1 and set(pair["tests"]) == {"randomisation", "bootstrap", "sacrebleu_bootstrap"}
    assert found["metrics"]["wer"]["lower_is_better"] is True
    assert found["groups"]["tag"]["fre"]["pairs"][0].keys() == {"systems", "wins", "ties", "losses"}
    changes = found["examples"][0]["changes"]
    assert {kind for _, kind in changes} <= {"same", "first", "second"} and len(found["examples"]) <= 12


def test_the_table_fits_80_columns(three: Comparison) -> None:
    _, references, systems = corpus(20)
    named = compare(
        {f"{LONG}{number}": texts for number, texts in enumerate(systems)},
        ["今日は良い天気ですから、公園に行きましょう。" * 3, *references[1:]],
        samples=20,
        trials=20,
    )
    many = compare([[f"{text} {n}" for text in systems[0]] for n in range(5)], references, samples=20, trials=20)
    for found in (three, named, many):
        assert [line for line in found.table.splitlines() if cell_len(line) > 80] == []
    assert f"A is {LONG}0." in named.table and "corrected for the 3 pairs" in " ".join(named.table.split())
    assert len(many.pairs_shown) == 4 and "`as_json()` or `to_html()`" in many.table
    assert "by tag" in three.table and "(once in the references)" in three.table


def test_marks_are_around_the_words_that_differ() -> None:
    found = compare([["the dog bit him"] * 3, ["the old cat bit him"] * 3], ["the dog bit him"] * 3, metrics=["chrf"])
    assert "the [dog] bit him" in found.table and "the [old cat] bit him" in found.table


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([["a", "b"]], ["a", "b"]), "at least 2 systems, but has 1"),
        (("ab", ["a", "b"]), "`systems` must be a list"),
        ((["runs/a", ["a", "b"]], ["a", "b"]), r"must be a model or a list of answers, .*antiphon\.load"),
        (([["a", "b"], ["a"]], ["a", "b"]), "one answer for each of the 2 references, but `B` has 1"),
        (([["a"], ["b"]], ["a"]), "at least 2 segments, but has 1"),
        (([[], []], []), "at least 2 segments, but has 0"),
        (([["a", None], ["a", "b"]], ["a", "b"]), "answer 2 of `A` is None"),
        (([["a", "b"], ["a", "b"]], "ab"), "`references` must be a list"),
        (([["a", "b"], ["a", "b"]], ["a", None]), r"but are None \(references\[1\]\)"),
        (([["a", "b"], ["a", "b"]], ["a", "b"], ["s"]), "there are 1 sources and 2"),
        (([["a", "b"], Upper()], ["a", "b"]), "a model needs `sources`"),
        (([["a", "b"], ["a", "b"]], ["a", "b"], None, ["blue"]), "did you mean `bleu`"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: tuple, words: str) -> None:
    with pytest.raises((ConfigError, DataError), match=words) as caught:
        compare(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"names": ["a"]}, "`names` must have one for each of 2 systems"),
        ({"names": ["a", "a"]}, "`a` and `a` are the same"),
        ({"tags": ["x"]}, "`tags` must have one for each of 2 segments"),
        ({"samples": 0}, "`samples` must be a whole number of at least 1, but is 0"),
        ({"trials": 1.5}, "`trials` must be"),
    ],
)
def test_wrong_settings(settings: dict, words: str) -> None:
    with pytest.raises((ConfigError, DataError), match=words):
        compare([["a", "b"], ["a", "c"]], ["a", "b"], **settings)


def test_the_same_system_twice() -> None:
    texts = ["a", "b"]
    with pytest.raises(DataError, match="`A` and `B` are the same"):
        compare([texts, texts], ["a", "b"])


def test_letters() -> None:
    assert [letter(place) for place in (0, 25, 26, 53)] == ["A", "Z", "A2", "B3"]
