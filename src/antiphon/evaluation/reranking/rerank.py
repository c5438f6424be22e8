"""`antiphon.rerank`: the best of several candidates by a metric or a second model, in place of the most probable one.

found = rerank(model, texts, by="chrf", candidates=32, temperature=1.0)     # minimum Bayes risk over samples
found = rerank(model, texts, by={"bleu": {"tokenize": "none"}})             # over the n best of a beam search
found = rerank(model, texts, by=other_model, weight=0.3)
print(found.cost)
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from antiphon.config import GenerationConfig
from antiphon.display import joined, note
from antiphon.display.html import Markup
from antiphon.errors import ConfigError
from antiphon.evaluation.metrics import Metric, parse_metrics
from antiphon.evaluation.reranking.candidates import CandidateList, n_best_candidates, sampled_candidates
from antiphon.evaluation.reranking.cost import RerankCost
from antiphon.evaluation.reranking.scorers import (
    CandidateScorer,
    MetricScore,
    MinimumBayesRisk,
    SecondModel,
    check_weight,
    needs_references,
)
from antiphon.generation.answers import Answers, Generation
from antiphon.generation.load import load
from antiphon.generation.model import Model
from antiphon.generation.translator import Translator
from antiphon.inputs.text import texts_of
from antiphon.settings import override, show

DEFAULT_CANDIDATES, MAX_CANDIDATES = 16, 2**12


class RerankedAnswers(Answers):
    """The answers of `rerank`, in the order of its inputs, each with its `rerank_score`; `cost` is what they took."""

    def __init__(self, answers: Iterable[Generation], cost: RerankCost) -> None:
        super().__init__(answers)
        self.cost = cost

    def _repr_html_(self) -> str:
        """The answers as HTML for notebooks, with the cost."""
        return joined(Markup(super()._repr_html_()), note(str(self.cost))).html


def rerank(
    model: Translator,
    texts: str | Sequence[str],
    by: object = "chrf",
    *,
    candidates: int = DEFAULT_CANDIDATES,
    weight: float = 0.5,
    **search: Any,
) -> RerankedAnswers:
    """The best of `candidates` answers to each text, by minimum Bayes risk or by another score.

    `by`: a metric (a name or a mapping {name: settings}, as for `evaluate`), by minimum Bayes risk: each candidate is
    measured against the others as references. A metric that needs no references is computed directly. A model, or its
    folder: both models' mean log-probability a token, the second one's with `weight`. `search` are settings of
    `Model.generate`; with a `temperature` the candidates are samples, otherwise the n best of a beam search. `n_best`
    of the answers, best first, are in `alternatives`.

    ConfigError for an unknown metric or setting, and for a classification, whose labels are all scored anyway.
    """
    return Reranker(model, by, candidates=candidates, weight=weight).generate(texts, **search)


class Reranker:
    """A model whose answers are reranked: `generate` as of `Model`, and `cost`, the cost of all calls so far."""

    def __init__(
        self, model: Translator, by: object, *, candidates: int = DEFAULT_CANDIDATES, weight: float = 0.5
    ) -> None:
        if isinstance(candidates, bool) or not isinstance(candidates, int) or not 1 <= candidates <= MAX_CANDIDATES:
            raise ConfigError(f"`candidates` must be from 1 to {MAX_CANDIDATES}, but is {show(candidates)}.")
        if model.labels:
            raise ConfigError("reranking needs generated answers, but this model chooses among its labels.")
        self.model, self.generation, self.candidates, self.cost = model, model.generation, candidates, RerankCost()
        self.scorer = scorer_of(model, by, weight=check_weight(weight))

    def generate(self, texts: str | Sequence[str], *, first_row: int = 0, **search: Any) -> RerankedAnswers:
        """The best answer to each text, see `rerank`."""
        asked = search.pop("n_best", self.generation.n_best)
        kept = override(GenerationConfig(beam_size=MAX_CANDIDATES), {"n_best": asked})
        if kept.n_best > self.candidates:
            raise ConfigError(
                f"`n_best` must be at most the number of candidates ({self.candidates}), but is {kept.n_best}. Raise "
                "`candidates`."
            )
        config = override(self.generation, {**search, "n_best": 1})
        sources = texts_of(texts, "texts", names=first_row > 0)
        began = time.perf_counter()
        if config.temperature is None:
            lists = n_best_candidates(self.model, sources, self.candidates, first_row=first_row, **search)
        else:
            lists = sampled_candidates(self.model, sources, self.candidates, first_row=first_row, **search)
        generated = time.perf_counter()
        scores = self.scorer(lists)
        cost = RerankCost(
            len(sources),
            sum(len(each.answers) for each in lists),
            self.scorer.calls(lists),
            generated - began,
            time.perf_counter() - generated,
        )
        self.cost += cost
        ranked = [_ranked(each, own, kept.n_best) for each, own in zip(lists, scores, strict=True)]
        return RerankedAnswers(ranked, cost)


def scorer_of(model: Translator, by: object, *, weight: float) -> CandidateScorer:
    """The scorer for `by`, see `rerank`."""
    if isinstance(by, str | Path) and Path(by).is_dir():
        by = load(by, device=model.network.device if isinstance(model, Model) else "auto")
    if isinstance(by, Translator):
        return SecondModel(model, by, weight)
    if not isinstance(by, str | Mapping | Metric):
        raise ConfigError(f"`by` must be a metric, a model or its folder, but is {show(by)}.")
    (metric,) = parse_metrics([by])
    return MinimumBayesRisk(metric) if needs_references(metric) else MetricScore(metric)


def _ranked(candidates: CandidateList, scores: Sequence[float], n_best: int) -> Generation:
    """The candidate with the highest score, with the next ones as alternatives; of equal ones the more probable."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], -candidates.weights[i], -candidates.answers[i].score))
    ranked = [replace(candidates.answers[i], rerank_score=scores[i], alternatives=[]) for i in order[:n_best]]
    return replace(ranked[0], alternatives=ranked[1:])
