"""Metrics: how near answers are to their references, each with a signature that says exactly what was computed.

A metric is a function of answers and, for each, one or more references; it gives a `MetricResult`. BLEU, chrF and TER
are sacreBLEU's (Post 2018, "A Call for Clarity in Reporting BLEU Scores"), so a score here equals the one that its
command prints. All are on a scale of 0 to 100. Example:

>>> bleu, = parse_metrics([{"bleu": {"tokenize": "none"}}])
>>> round(bleu(["a b c d"], [["a b c d", "d c b a"]]).score, 2)
100.0

A metric of one's own is such a function under `@antiphon.register("metric", "name")`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from antiphon.errors import AntiphonError, ConfigError, DataError
from antiphon.evaluation.bootstrap import Interval, interval_of
from antiphon.registry import lookup, nearest, register

References = Sequence[Sequence[str]]


@dataclass(frozen=True)
class MetricResult:
    """A score with what was computed.

    `score` is on the metric's own scale; `signature` names every choice behind it, so that two scores can be compared.
    `statistics` (one row a segment) and `score_of` (the score of their sum) are what the interval is drawn from; a
    metric may leave them out.
    """

    score: float
    signature: str = ""
    statistics: Sequence[Sequence[float]] = field(default=(), repr=False)
    score_of: Callable[[Any], float] | None = field(default=None, repr=False)

    @cached_property
    def interval(self) -> Interval | None:
        """The 95 % interval of a bootstrap over segments (Koehn 2004), drawn when it is first asked for; the same at
        every call.

        None where the metric gives no statistics or there is only one segment.
        """
        if self.score_of is None or len(self.statistics) < 2:
            return None
        return interval_of(self.statistics, self.score_of)


@dataclass(frozen=True)
class Metric:
    """A metric with its settings, ready to be called; `name` is its key in reports and in `metrics.jsonl`."""

    name: str
    function: Callable[..., MetricResult | float]
    settings: Mapping[str, Any]

    def __call__(self, hypotheses: Sequence[str], references: References) -> MetricResult:
        """The score of `hypotheses`, each against all of its `references`; DataError where their numbers differ."""
        _check(hypotheses, references)
        result = self.function(list(hypotheses), [list(row) for row in references], **self.settings)
        return result if isinstance(result, MetricResult) else MetricResult(float(result))


def parse_metrics(items: Sequence[object]) -> list[Metric]:
    """Metrics from their descriptions: a name, a mapping {name: settings}, or `name:setting=value:…` as on the command
    line.

    One that is parsed already stays as it is. Each other is tried on one pair, so that a wrong setting shows here and
    not after hours of training. Raises ConfigError.
    """
    names = [item.name if isinstance(item, Metric) else _describe(item)[0] for item in items]
    metrics = [item if isinstance(item, Metric) else _parse(*_describe(item), names) for item in items]
    labels = [metric.name for metric in metrics]
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigError(f"the metric `{label}` is asked for twice with equal settings. Remove one.")
    return metrics


def _parse(name: str, settings: dict[str, Any], names: Sequence[str]) -> Metric:
    """The metric, tried once; its settings are part of its name where `names` has it more than once."""
    told = "".join(f":{key}={value}" for key, value in settings.items()) if names.count(name) > 1 else ""
    metric = Metric(name + told, lookup("metric", name), settings)
    try:
        metric(["a"], [["a"]])
    except AntiphonError:
        raise
    except TypeError as error:
        raise ConfigError(f"the metric `{name}` does not take these settings ({error}).") from error
    except Exception as error:  # a metric of a user's own may raise anything
        raise ConfigError(f"the metric `{name}` cannot be computed ({type(error).__name__}: {error}).") from error
    return metric


def measure(hypotheses: Sequence[str], references: References, metrics: Sequence[object]) -> dict[str, MetricResult]:
    """Each metric of `metrics` (as in `parse_metrics`, or already parsed), by name."""
    return {metric.name: metric(hypotheses, references) for metric in parse_metrics(metrics)}


def _describe(item: object) -> tuple[str, dict[str, Any]]:
    if isinstance(item, str):
        name, *rest = item.split(":")
        while rest and "=" not in rest[0]:  # the name is `module:Name`
            name = f"{name}:{rest.pop(0)}"
        pairs = [part.partition("=") for part in rest]
        return name, {key: _value(text) for key, _, text in pairs}
    if isinstance(item, Mapping) and len(item) == 1:
        [(name, settings)] = item.items()
        if isinstance(settings, Mapping) or settings is None:
            return str(name), {str(key): value for key, value in (settings or {}).items()}
    raise ConfigError(f"a metric must be a name or a mapping {{name: settings}}, but is {item!r}.")


def _value(text: str) -> bool | int | float | str:
    """A setting's value as it is typed on a command line."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _check(hypotheses: Sequence[str], references: References) -> None:
    if len(hypotheses) != len(references):
        raise DataError(
            f"each answer needs its references, but there are {len(hypotheses)} answers and "
            f"{len(references)} references."
        )
    if not hypotheses:
        raise DataError("a metric needs at least one answer, but there is none.")
    for number, row in enumerate(references, 1):
        if isinstance(row, str) or not row:
            raise DataError(
                f"the references of an answer must be a list of one or more texts, but those of answer {number} "
                f"are {row!r:.100}."
            )


def _streams(references: References) -> list[list[str | None]]:
    """One row of references an answer -> sacreBLEU's streams, one a reference number; None where a row has fewer."""
    width = max(len(row) for row in references)
    return [[row[place] if place < len(row) else None for row in references] for place in range(width)]


def _choice(metric: str, setting: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        hint = nearest(str(value), known) or "."
        raise ConfigError(f"`{setting}` of {metric} must be one of {', '.join(known)}, but is `{value}`{hint}")


def _result(metric: Any, hypotheses: Sequence[str], references: References) -> MetricResult:
    # The two steps inside sacreBLEU's corpus_score(), apart, so that the interval reuses the statistics of the first.
    statistics = metric._extract_corpus_statistics(hypotheses, _streams(references))
    score = metric._aggregate_and_compute(statistics).score
    signature = metric.get_signature().format()
    return MetricResult(score, signature, statistics, lambda total: metric._compute_score_from_stats(total).score)


@register("metric", "bleu")
def bleu(
    hypotheses: Sequence[str],
    references: References,
    *,
    tokenize: str = "13a",
    lowercase: bool = False,
    smooth_method: str = "exp",
    smooth_value: float | None = None,
    max_ngram_order: int = 4,
    effective_order: bool = False,
) -> MetricResult:
    """BLEU (Papineni et al. 2002). `tokenize`: "none" for texts that are tokenized already; papers report 13a."""
    from sacrebleu.metrics.bleu import BLEU

    _choice("bleu", "tokenize", tokenize, sorted(name for name in BLEU.TOKENIZERS if name))
    _choice("bleu", "smooth_method", smooth_method, sorted(BLEU.SMOOTH_DEFAULTS))
    metric = BLEU(
        lowercase=lowercase,
        force=True,  # or it warns on stderr about tokenized text, which is what `tokenize="none"` is for
        tokenize=tokenize,
        smooth_method=smooth_method,
        smooth_value=smooth_value,
        max_ngram_order=max_ngram_order,
        effective_order=effective_order,
    )
    return _result(metric, hypotheses, references)


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
    return _result(metric, hypotheses, references)


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
    return _result(metric, hypotheses, references)


@register("metric", "exact_match")
def exact_match(hypotheses: Sequence[str], references: References, *, lowercase: bool = False) -> MetricResult:
    """The share of answers, in percent, that equal one of their references character by character."""

    def form(text: str) -> str:
        return text.lower() if lowercase else text

    hits = [[float(form(answer) in map(form, row)), 1.0] for answer, row in zip(hypotheses, references, strict=True)]
    counts = {len(row) for row in references}
    signature = f"nrefs:{counts.pop() if len(counts) == 1 else 'var'}|case:{'lc' if lowercase else 'mixed'}"
    return MetricResult(
        100.0 * sum(hit for hit, _ in hits) / len(hits),
        signature,
        hits,
        lambda total: 100.0 * float(total[0] / total[1]),
    )
