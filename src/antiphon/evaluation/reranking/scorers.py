"""What orders candidates: minimum Bayes risk by a metric, a metric without references, or a second model.

| `by`                                      | score of a candidate                                                  |
|-------------------------------------------|-----------------------------------------------------------------------|
| a metric (chrf, bleu, comet, one's own)   | its expected score with the other candidates as references            |
| a metric that needs no references         | its score                                                             |
| a model                                   | the weighted mean of both models' log-probability a token             |

The first is minimum Bayes risk decoding (Kumar and Byrne 2004, section 2; Eikema and Aziz 2020, equation 6; Freitag et
al. 2022): the candidate with the highest utility, sum over r of P(r) metric(candidate, r). The references r are the
candidates, and P(r) is estimated from them: by how often each was sampled, or for the n best of a beam search by the
model's probability a token.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from antiphon.errors import ConfigError
from antiphon.evaluation.metrics import Metric
from antiphon.evaluation.reranking.candidates import CandidateList
from antiphon.evaluation.reranking.pairwise import pairwise
from antiphon.evaluation.segments import scores_of
from antiphon.generation.translator import Translator
from antiphon.settings import show
from antiphon.text.task import reverse_words

RIGHT_TO_LEFT = "right_to_left"


class CandidateScorer(Protocol):
    """Scores candidates; higher is better."""

    def __call__(self, lists: Sequence[CandidateList]) -> list[list[float]]:
        """A score for each candidate of each list."""
        ...

    def calls(self, lists: Sequence[CandidateList]) -> int:
        """The number of segments that are scored."""
        ...


@dataclass(frozen=True)
class MinimumBayesRisk:
    """The expected utility of each candidate under a metric."""

    metric: Metric

    def __call__(self, lists: Sequence[CandidateList]) -> list[list[float]]:
        tables = pairwise(self.metric, [each.texts for each in lists], [each.source for each in lists])
        return [(table @ each.weights).tolist() for table, each in zip(tables, lists, strict=True)]

    def calls(self, lists: Sequence[CandidateList]) -> int:
        return sum(len(each.answers) ** 2 for each in lists)


@dataclass(frozen=True)
class MetricScore:
    """The score of each candidate under a metric that needs no references."""

    metric: Metric

    def __call__(self, lists: Sequence[CandidateList]) -> list[list[float]]:
        texts = [text for each in lists for text in each.texts]
        if not texts:
            return [[] for _ in lists]
        sources, none = [each.source for each in lists for _ in each.answers], [[""]] * len(texts)
        result = self.metric(texts, none, sources)
        sign = -1.0 if result.lower_is_better else 1.0
        scores = iter(scores_of(self.metric, result, texts, none, sources))
        return [[sign * next(scores) for _ in each.answers] for each in lists]

    def calls(self, lists: Sequence[CandidateList]) -> int:
        return sum(len(each.answers) for each in lists)


@dataclass(frozen=True)
class SecondModel:
    """The mean log-probability a token of the answering model and of another, the other's with `weight`. The other
    model may be trained with `task: right_to_left` (Liu et al. 2016): it scores the words in reverse order."""

    model: Translator
    other: Translator
    weight: float = 0.5

    def __call__(self, lists: Sequence[CandidateList]) -> list[list[float]]:
        sources = [each.source for each in lists for _ in each.answers]
        texts = [text for each in lists for text in each.texts]
        own, others = (mean_scores(model, sources, texts) for model in (self.model, self.other))
        both = iter([(1 - self.weight) * a + self.weight * b for a, b in zip(own, others, strict=True)])
        return [[next(both) for _ in each.answers] for each in lists]

    def calls(self, lists: Sequence[CandidateList]) -> int:
        return 2 * sum(len(each.answers) for each in lists)


def mean_scores(model: Translator, sources: Sequence[str], texts: Sequence[str]) -> list[float]:
    """The log-probability a token of each text as an answer to its source, in nats, end included; of the reversed text
    for a model of the task right_to_left."""
    outputs = [reverse_words(text) for text in texts] if model.task == RIGHT_TO_LEFT else list(texts)
    lengths = [max(len(model.target_tokenizer.encode(text)), 1) for text in outputs]
    return [score / length for score, length in zip(model.score(sources, outputs), lengths, strict=True)]


def needs_references(metric: Metric) -> bool:
    """Whether a metric compares answers with references: unless its second parameter has a default, or its setting
    `reference_free` is true."""
    if metric.settings.get("reference_free"):
        return False
    try:
        parameters = [p for p in inspect.signature(metric.function).parameters.values() if p.kind != p.KEYWORD_ONLY]
    except ValueError:  # some functions that are not written in Python have no signature
        return True
    return len(parameters) < 2 or parameters[1].default is inspect.Parameter.empty


def check_weight(weight: float) -> float:
    """`weight`; ConfigError unless it is from 0 to 1."""
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
        raise ConfigError(f"`weight` of the second model must be from 0 to 1, but is {show(weight)}.")
    return float(weight)
