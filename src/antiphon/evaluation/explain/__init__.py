"""Explanations: which tokens of a source each word of an answer depends on, and whether the order is faithful.

explanation = explain(model, "in 3 hours", method="integrated-gradients")
print(explanation)
faithfulness_of(model, sources)["leave-one-out"].interval
"""

from __future__ import annotations

from antiphon.evaluation.explain.explain import explain, faithfulness_of
from antiphon.evaluation.explain.explanation import Explanation
from antiphon.evaluation.explain.faithfulness import Faithfulness, FaithfulnessTest
from antiphon.evaluation.explain.methods import METHODS

__all__ = ["METHODS", "Explanation", "Faithfulness", "FaithfulnessTest", "explain", "faithfulness_of"]
