"""Reranking: candidates of a model in the order of a metric, by minimum Bayes risk, or of a second model.

found = rerank(model, ["in 3 hours"], by="chrf", candidates=16)
found[0].text, found[0].rerank_score, found.cost
"""

from __future__ import annotations

from antiphon.evaluation.reranking.candidates import n_best_candidates, sampled_candidates
from antiphon.evaluation.reranking.cost import RerankCost
from antiphon.evaluation.reranking.rerank import RerankedAnswers, Reranker, rerank
from antiphon.evaluation.reranking.scorers import mean_scores

__all__ = [
    "RerankCost",
    "RerankedAnswers",
    "Reranker",
    "mean_scores",
    "n_best_candidates",
    "rerank",
    "sampled_candidates",
]
