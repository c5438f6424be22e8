"""Compares models or lists of answers: `antiphon.compare`.

>>> texts = ["the dog bit the man", "a cat sat here", "it rains"]
>>> a, b = ["the dog bit a man", "a cat sat here", "it rains"], ["a dog bit", "the cat sits here", "rain"]
>>> print(compare([a, b], texts, metrics=["exact_match"]).verdicts[0])
No difference between A and B is shown in exact_match (A is ahead by 66.67, 95 %: 0.00 to 100.00, p = 0.494).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from antiphon.errors import ConfigError, DataError
from antiphon.evaluation.bootstrap import SAMPLES
from antiphon.evaluation.comet import comet
from antiphon.evaluation.comparing.comparison import Comparison
from antiphon.evaluation.comparing.differences import differences, letter
from antiphon.evaluation.comparing.grouping import (
    RARE_IN_TRAINING,
    groups_by_length,
    groups_by_rarity,
    groups_by_tag,
    word_counts,
)
from antiphon.evaluation.comparing.resampling import TRIALS
from antiphon.evaluation.measuring import checked_metrics
from antiphon.evaluation.metrics import Metric, know_labels
from antiphon.evaluation.segments import scores_of
from antiphon.evaluation.test_set import TAG
from antiphon.evaluation.translation import SACREBLEU, shared_references
from antiphon.generation.answers import Generation
from antiphon.settings import show

if TYPE_CHECKING:
    from antiphon.generation.translator import Translator

    Answers = Sequence[str | Generation]
    System = Translator | Answers


def compare(
    systems: Sequence[System] | Mapping[str, System],
    references: Sequence[str | Sequence[str]],
    sources: Sequence[Any] | None = None,
    metrics: Sequence[object] | str = ("bleu", "chrf"),
    *,
    names: Sequence[str] | None = None,
    tags: Sequence[str] | None = None,
    training: Iterable[str] | Mapping[str, int] | None = None,
    samples: int = SAMPLES,
    trials: int = TRIALS,
    **search: Any,
) -> Comparison:
    """Compare two or more systems on one test set: scores, significance, groups and examples.

    systems: models, or lists of answers in the order of the test set; a mapping gives their names, else they are A, B,
    C. references: for each segment a text or a list of texts. sources: what models answer, and what some metrics need.
    metrics: as in `antiphon.evaluate`; segments are compared by the first. tags: a name for each segment, such as its
    language (by default the tag that sources begin with, as in `<fre> …`). training: target texts of the training data,
    or counts of their words, by which words are rare (by default those that stand once in the references). samples: of
    the paired bootstrap. trials: of approximate randomisation. search: settings of `Model.generate`.

    Raises DataError if numbers differ, for a test set of fewer than 2 segments, for fewer than 2 systems, or for one
    that is given twice; ConfigError for an unknown metric or setting. Tests and corrections: `resampling.py`.
    """
    given = _named(systems, names)
    rows = _references(references)
    if sources is not None and len(sources) != len(rows):
        raise DataError(f"each source needs its reference, but there are {len(sources)} sources and {len(rows)}.")
    for label, count in (("samples", samples), ("trials", trials)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ConfigError(f"`{label}` must be a whole number of at least 1, but is {show(count)}.")
    parsed = checked_metrics(metrics)
    labels: Sequence[str] = ()
    answers = []
    for name, system in given.items():
        found, own_labels = _answers(name, system, sources, search)
        if len(found) != len(rows):
            raise DataError(
                f"each system must have one answer for each of the {len(rows)} references, but `{name}` has "
                f"{len(found)}."
            )
        labels = labels or own_labels
        answers.append(found)
    known = know_labels(parsed, labels or _labels(rows))
    return compare_answers(
        list(given), answers, rows, None if sources is None else list(sources), known, tags, training, samples, trials
    )


def compare_answers(
    names: list[str],
    answers: list[list[str]],
    references: list[list[str]],
    sources: list[Any] | None,
    metrics: Sequence[Metric],
    tags: Sequence[str] | None,
    training: Iterable[str] | Mapping[str, int] | None,
    samples: int,
    trials: int,
) -> Comparison:
    """The comparison of answers whose numbers are checked already."""
    groups = _groups(references, sources, tags, training)
    same = {(i, j) for i, j in combinations(range(len(names)), 2) if answers[i] == answers[j]}
    results = {}
    for metric in metrics:
        if metric.function is comet:  # loading its network takes longer than scoring: once for all systems
            metric([text for texts in answers for text in texts], references * len(names), (sources or []) * len(names))
        with shared_references():
            results[metric.name] = [metric(texts, references, sources) for texts in answers]
    intervals, found = {}, []
    for metric in metrics:
        intervals[metric.name], rows = differences(
            metric.name,
            names,
            results[metric.name],
            same=same,
            as_sacrebleu=metric.function in SACREBLEU,
            samples=samples,
            trials=trials,
        )
        found += rows
    main = metrics[0]
    scores = [
        scores_of(main, result, texts, references, sources)
        for result, texts in zip(results[main.name], answers, strict=True)
    ]
    rare = "once in the references" if training is None else f"at most {RARE_IN_TRAINING} times in the training data"
    return Comparison(
        names, answers, references, sources, results, intervals, found, scores, groups, rare, samples, trials
    )


def _named(systems: object, names: Sequence[str] | None) -> dict[str, Any]:
    """The systems by name, two or more and each once."""
    if isinstance(systems, Mapping):
        given, labels = list(systems.values()), [str(name) for name in systems]
    elif isinstance(systems, list | tuple):
        given, labels = list(systems), [letter(place) for place in range(len(systems))]
    else:
        raise DataError(f"`systems` must be a list of models or of answers, but is {show(systems)}.")
    if names is not None:
        labels = [str(name) for name in names]
    if len(labels) != len(given):
        raise DataError(f"`names` must have one for each of {len(given)} systems, but has {len(labels)}.")
    if len(given) < 2:
        raise DataError(f"a comparison needs at least 2 systems, but has {len(given)}.")
    for one, other in combinations(range(len(given)), 2):
        if given[one] is given[other] or labels[one] == labels[other]:
            raise DataError(f"each system must be given once, but `{labels[one]}` and `{labels[other]}` are the same.")
    return dict(zip(labels, given, strict=True))


def _references(references: object) -> list[list[str]]:
    if not isinstance(references, list | tuple):
        raise DataError(f"`references` must be a list with the references of each segment, but is {show(references)}.")
    rows = [[row] if isinstance(row, str) else list(row) if isinstance(row, list | tuple) else [] for row in references]
    for number, row in enumerate(rows):
        if not row or not all(isinstance(text, str) for text in row):
            raise DataError(
                f"the references of a segment must be a text or a list of texts, but are {references[number]!r:.80} "
                f"(references[{number}])."
            )
    if len(rows) < 2:
        raise DataError(f"a comparison needs at least 2 segments, but has {len(rows)}: one is no sample.")
    return rows


def _answers(
    name: str, system: Any, sources: Sequence[Any] | None, search: dict[str, Any]
) -> tuple[list[str], Sequence[str]]:
    """The answers of a system, and the labels if it is a classification model."""
    if isinstance(system, str | os.PathLike) or system is None:
        raise ConfigError(
            f"a system must be a model or a list of answers, but `{name}` is {show(system)}. Load a model with "
            "antiphon.load(folder), or read the file."
        )
    if isinstance(system, list | tuple):
        for number, one in enumerate(system, 1):
            if not isinstance(one, str | Generation):
                raise DataError(f"an answer must be a text, but answer {number} of `{name}` is {one!r:.80}.")
        return [one if isinstance(one, str) else one.text for one in system], ()
    if sources is None:
        raise DataError(f"a model needs `sources` to answer, but there are none (`{name}`).")
    return [answer.text for answer in system.generate(list(sources), **search)], system.labels


def _labels(references: list[list[str]]) -> list[str]:
    """The labels of a classification, the same for all systems, so that their statistics have the same columns."""
    return sorted({text for row in references for text in row})


def _groups(
    references: list[list[str]],
    sources: Sequence[Any] | None,
    tags: Sequence[str] | None,
    training: Iterable[str] | Mapping[str, int] | None,
) -> dict[str, list[str]]:
    """The groups of each kind, without kinds that have one group."""
    counts = training if training is None or isinstance(training, Mapping) else word_counts(training)
    found = {"length": groups_by_length(references), "frequency": groups_by_rarity(references, counts)}
    if tags is not None:
        if len(tags) != len(references):
            raise DataError(f"`tags` must have one for each of {len(references)} segments, but has {len(tags)}.")
        found["tag"] = [str(tag) for tag in tags]
    elif sources is not None and all(isinstance(source, str) and TAG.match(source) for source in sources):
        found["tag"] = groups_by_tag(sources)
    return {kind: names for kind, names in found.items() if len(set(names)) > 1}
