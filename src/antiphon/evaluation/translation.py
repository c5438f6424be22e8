"""BLEU, chrF and TER as sacreBLEU computes them (Post 2018, "A Call for Clarity in Reporting BLEU Scores").

Scores and signatures equal those of the command `sacrebleu`. Scale: 0 to 100.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import Any

from antiphon.evaluation.bleu_notes import bleu_note
from antiphon.evaluation.result import MetricResult, References, choice
from antiphon.evaluation.sums import bleu_scores, chrf_scores, ter_scores
from antiphon.registry import register

_shared: ContextVar[dict[Any, Any] | None] = ContextVar("shared_references", default=None)


@register("metric", "bleu")
def bleu(
    hypotheses: Sequence[str],
    references: References,
    *,
    tokenize: str | None = None,
    lowercase: bool = False,
    smooth_method: str = "exp",
    smooth_value: float | None = None,
    max_ngram_order: int = 4,
    effective_order: bool = False,
) -> MetricResult:
    """BLEU (Papineni et al. 2002).

    `tokenize`: a tokenizer of sacreBLEU; None is 13a, the usual one in papers, "none" is for texts that are tokenized
    already. The result has a `note` if references without word spaces are used with the default tokenizer, or if no
    answer has `max_ngram_order` tokens, which makes the score 0.
    """
    from sacrebleu.metrics.bleu import BLEU

    tokenizer = "13a" if tokenize is None else tokenize
    choice("bleu", "tokenize", tokenizer, sorted(name for name in BLEU.TOKENIZERS if name))
    choice("bleu", "smooth_method", smooth_method, sorted(BLEU.SMOOTH_DEFAULTS))
    settings = {
        "lowercase": lowercase,
        "force": True,  # or it warns on stderr about tokenized text, which is what `tokenize="none"` is for
        "tokenize": tokenizer,
        "smooth_method": smooth_method,
        "smooth_value": smooth_value,
        "max_ngram_order": max_ngram_order,
        "effective_order": effective_order,
    }
    value = BLEU.SMOOTH_DEFAULTS[smooth_method] if smooth_value is None else smooth_value
    scores = partial(
        bleu_scores,
        order=max_ngram_order,
        smooth_method=smooth_method,
        smooth_value=value or 0.0,
        effective_order=effective_order,
    )
    result = _result(BLEU, settings, hypotheses, references, scores)
    note = bleu_note(
        result.statistics,
        references,
        order=None if effective_order else max_ngram_order,
        default_tokenizer=tokenize is None,
    )
    return replace(result, note=note)


@register("metric", "chrf")
def chrf(
    hypotheses: Sequence[str],
    references: References,
    *,
    char_order: int = 6,
    word_order: int = 0,
    beta: int = 2,
    lowercase: bool = False,
    whitespace: bool = False,
    eps_smoothing: bool = False,
) -> MetricResult:
    """chrF (Popović 2015), the F-score of character n-grams; `word_order=2` is chrF++."""
    from sacrebleu.metrics.chrf import CHRF

    settings = {
        "char_order": char_order,
        "word_order": word_order,
        "beta": beta,
        "lowercase": lowercase,
        "whitespace": whitespace,
        "eps_smoothing": eps_smoothing,
    }
    scores = partial(chrf_scores, beta=beta, eps_smoothing=eps_smoothing)
    return _result(CHRF, settings, hypotheses, references, scores)


@register("metric", "ter")
def ter(
    hypotheses: Sequence[str],
    references: References,
    *,
    normalized: bool = False,
    no_punct: bool = False,
    asian_support: bool = False,
    case_sensitive: bool = False,
) -> MetricResult:
    """TER (Snover et al. 2006), the edits a word; lower is better."""
    from sacrebleu.metrics.ter import TER

    settings = {
        "normalized": normalized,
        "no_punct": no_punct,
        "asian_support": asian_support,
        "case_sensitive": case_sensitive,
    }
    return _result(TER, settings, hypotheses, references, ter_scores, lower_is_better=True)


SACREBLEU = (bleu, chrf, ter)


@contextmanager
def shared_references() -> Iterator[None]:
    """While it is open, the n-grams of references are counted once for all answers that are measured against them.

    For chrF they take about 35 KB of memory a segment.
    """
    token = _shared.set({})
    try:
        yield
    finally:
        _shared.reset(token)


def _result(
    kind: type,
    settings: dict[str, Any],
    hypotheses: Sequence[str],
    references: References,
    many_scores_of: Callable[[Any], Any],
    *,
    lower_is_better: bool = False,
) -> MetricResult:
    # The two steps of sacreBLEU's corpus_score(), separately, so that the interval reuses the statistics of the first.
    metric = kind(**settings)
    statistics = metric._extract_corpus_statistics(hypotheses, _streams_or_known(metric, settings, references))
    return MetricResult(
        metric._aggregate_and_compute(statistics).score,
        metric.get_signature().format(),
        statistics,
        lambda total: metric._compute_score_from_stats(total).score,
        lower_is_better,
        many_scores_of=many_scores_of,
    )


def _streams_or_known(metric: Any, settings: dict[str, Any], references: References) -> list[list[str | None]] | None:
    """The references as sacreBLEU takes them, or None if they are shared and `metric` has been given what it counts."""
    known = _shared.get()
    if known is None:
        return _streams(references)
    key = (type(metric), *settings.items(), *map(tuple, references))
    if key not in known:
        known[key] = metric._cache_references(_streams(references)), metric.num_refs
    metric._ref_cache, metric.num_refs = known[key]
    return None


def _streams(references: References) -> list[list[str | None]]:
    """References by answer -> sacreBLEU's streams, by reference number; None where an answer has fewer."""
    width = max(len(row) for row in references)
    return [[row[place] if place < len(row) else None for row in references] for place in range(width)]
