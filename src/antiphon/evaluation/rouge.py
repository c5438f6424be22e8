"""ROUGE (Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries") as Google's `rouge-score` computes it.

`rouge1`, `rouge2` count n-grams (section 2), `rougeL` the longest common subsequence of the whole texts (section 3.1),
`rougeLsum` the union of those of the sentences (section 3.2). Each is the mean F1 of the answers, in percent.

Words are lower-cased runs of [a-z0-9]: scores equal those of English papers, and are meaningless for other scripts.
`stemmer: true` uses Porter's stemmer, as most published tables do (ROUGE-1.5.5 with -m, PEGASUS, BART). With several
references for an answer, `best` takes the highest score, as `rouge-score` does; `mean` their mean; `rouge1` the score
against the reference with the highest ROUGE-1, as the authors of SciTLDR do (Cachola et al. 2020).

Sentences of `rougeLsum` end at line feeds. Answers of this toolkit are one line, so it equals `rougeL`, unless
`sentences: true` also splits after `.`, `!` and `?`; papers apply a sentence splitter to both sides first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from antiphon.errors import ConfigError
from antiphon.evaluation.result import MetricResult, References, choice, count_of, ratio
from antiphon.registry import register

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_WAYS = ("best", "mean", "rouge1")


@register("metric", "rouge1")
def rouge1(
    hypotheses: Sequence[str], references: References, *, stemmer: bool = False, references_by: str = "best"
) -> MetricResult:
    """ROUGE-1: the F1 of words, a mean over the answers, in percent."""
    return _rouge("rouge1", hypotheses, references, stemmer=stemmer, by=references_by)


@register("metric", "rouge2")
def rouge2(
    hypotheses: Sequence[str], references: References, *, stemmer: bool = False, references_by: str = "best"
) -> MetricResult:
    """ROUGE-2: the F1 of pairs of neighbouring words, a mean over the answers, in percent."""
    return _rouge("rouge2", hypotheses, references, stemmer=stemmer, by=references_by)


@register("metric", "rougeL")
def rouge_l(
    hypotheses: Sequence[str], references: References, *, stemmer: bool = False, references_by: str = "best"
) -> MetricResult:
    """ROUGE-L: the F1 of the longest common subsequence of words, a mean over the answers, in percent."""
    return _rouge("rougeL", hypotheses, references, stemmer=stemmer, by=references_by)


@register("metric", "rougeLsum")
def rouge_lsum(
    hypotheses: Sequence[str],
    references: References,
    *,
    stemmer: bool = False,
    references_by: str = "best",
    sentences: bool = False,
) -> MetricResult:
    """ROUGE-Lsum: ROUGE-L between sets of sentences, which end at line feeds and, with `sentences`, after . ! ?"""

    def split(text: str) -> str:
        return _SENTENCE_END.sub("\n", text) if sentences else text

    rows = [[split(text) for text in row] for row in references]
    answers = [split(text) for text in hypotheses]
    modifiers = f"|sentences:{'ends' if sentences else 'lines'}"
    return _rouge("rougeLsum", answers, rows, stemmer=stemmer, by=references_by, modifiers=modifiers)


def _rouge(
    kind: str, hypotheses: Sequence[str], references: References, *, stemmer: bool, by: str, modifiers: str = ""
) -> MetricResult:
    choice(kind, "references_by", by, _WAYS)
    scorer = _scorer(sorted({kind, "rouge1"}) if by == "rouge1" else [kind], stemmer=stemmer)
    parts: list[tuple[float, float]] = []
    for answer, row in zip(hypotheses, references, strict=True):
        found = [scorer(reference, answer) for reference in row]
        parts.append((_of_references([(one["rouge1" if by == "rouge1" else kind], one[kind]) for one in found], by), 1))
    stem = "porter" if stemmer else "none"
    return ratio(parts, f"{count_of(references)}|refs:{by}|stem:{stem}{modifiers}|rouge-score:{_version()}")


def _of_references(scores: Sequence[tuple[float, float]], by: str) -> float:
    """The score of an answer from one (selection key, score) for each reference."""
    if by == "mean":
        return sum(score for _, score in scores) / len(scores)
    return max(scores, key=lambda pair: pair[0])[1]


def _scorer(kinds: list[str], *, stemmer: bool) -> Callable[[str, str], dict[str, float]]:
    """A function of a reference and an answer that returns the F1 of each of `kinds`."""
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise ConfigError(
            f"the ROUGE metrics need the package rouge-score, but it cannot be imported ({error}). "
            "Install it with: pip install 'antiphon[metrics]'"
        ) from error
    scorer: Any = RougeScorer(kinds, use_stemmer=bool(stemmer))
    return lambda reference, answer: {name: made.fmeasure for name, made in scorer.score(reference, answer).items()}


def _version() -> str:
    from importlib.metadata import version

    return version("rouge-score")
