"""BLEU, chrF and TER as sacreBLEU computes them (Post 2018, "A Call for Clarity in Reporting BLEU Scores").

Scores and signatures equal those of the command `sacrebleu`. Scale: 0 to 100.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from antiphon.evaluation.bleu_notes import bleu_note
from antiphon.evaluation.result import MetricResult, References, choice
from antiphon.evaluation.sums import bleu_scores, chrf_scores, ter_scores
from antiphon.registry import register


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
    metric = BLEU(
        lowercase=lowercase,
        force=True,  # or it warns on stderr about tokenized text, which is what `tokenize="none"` is for
        tokenize=tokenizer,
        smooth_method=smooth_method,
        smooth_value=smooth_value,
        max_ngram_order=max_ngram_order,
        effective_order=effective_order,
    )
    value = BLEU.SMOOTH_DEFAULTS[smooth_method] if smooth_value is None else smooth_value
    scores = partial(
        bleu_scores,
        order=max_ngram_order,
        smooth_method=smooth_method,
        smooth_value=value or 0.0,
        effective_order=effective_order,
    )
    result = _result(metric, hypotheses, references, scores)
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

    metric = CHRF(
        char_order=char_order,
        word_order=word_order,
        beta=beta,
        lowercase=lowercase,
        whitespace=whitespace,
        eps_smoothing=eps_smoothing,
    )
    return _result(metric, hypotheses, references, partial(chrf_scores, beta=beta, eps_smoothing=eps_smoothing))


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

    metric = TER(normalized=normalized, no_punct=no_punct, asian_support=asian_support, case_sensitive=case_sensitive)
    return _result(metric, hypotheses, references, ter_scores, lower_is_better=True)


def _result(
    metric: Any,
    hypotheses: Sequence[str],
    references: References,
    many_scores_of: Callable[[Any], Any],
    *,
    lower_is_better: bool = False,
) -> MetricResult:
    # The two steps of sacreBLEU's corpus_score(), separately, so that the interval reuses the statistics of the first.
    statistics = metric._extract_corpus_statistics(hypotheses, _streams(references))
    return MetricResult(
        metric._aggregate_and_compute(statistics).score,
        metric.get_signature().format(),
        statistics,
        lambda total: metric._compute_score_from_stats(total).score,
        lower_is_better,
        many_scores_of=many_scores_of,
    )


def _streams(references: References) -> list[list[str | None]]:
    """References by answer -> sacreBLEU's streams, by reference number; None where an answer has fewer."""
    width = max(len(row) for row in references)
    return [[row[place] if place < len(row) else None for row in references] for place in range(width)]
