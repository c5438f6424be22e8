"""`antiphon.explain`: which source tokens each word of an answer depends on."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import torch

from antiphon.errors import DataError
from antiphon.evaluation.explain.explanation import Explanation
from antiphon.evaluation.explain.faithfulness import DeletionTest, FaithfulnessTest
from antiphon.evaluation.explain.methods import METHODS, method_of
from antiphon.evaluation.explain.pair import ExplainedPair
from antiphon.generation.translator import Translator


def explain(
    model: Translator,
    source: str,
    target: str | None = None,
    *,
    method: str = "integrated-gradients",
    units: str = "words",
    test: bool = True,
    seed: int = 0,
    **search: object,
) -> Explanation:
    """Explain an answer: the attributions of each of its words to the tokens of the source.

    `target` None: the model's own answer, by the settings `search` of `Model.generate`; a classification explains the
    probability of its label among all labels. `method`: integrated-gradients, input-x-gradient, rollout or
    leave-one-out (`METHODS` describes them). `units`: whether the answer is cut into words or tokens. `test`: also run
    the deletion test (`DeletionTest`), with random orders drawn from `seed`.

    ConfigError for an unknown method, DataError for an empty or too long text, ModelError for a model that the method
    cannot explain: one of speech, an ensemble, one that transformers computes; a quantized one by gradients; a mixer
    without weights by rollout.
    """
    about = method_of(method)
    began = time.perf_counter()
    pair = ExplainedPair(model, source, target, units=units, **search)
    weights, completeness = about.compute(pair)
    whole = pair.scores_without(torch.ones(1, len(pair.source_ids), dtype=torch.bool))[0]
    tested = DeletionTest(pair, seed=seed).of(weights) if test else None
    return Explanation(
        method=method,
        source=pair.source,
        answer=pair.answer,
        source_tokens=pair.source_tokens,
        special=(~pair.removable).tolist(),
        units=[unit.text for unit in pair.units],
        weights=weights,
        scores=whole,
        is_label=pair.is_label,
        completeness=completeness,
        faithfulness=tested,
        seconds=time.perf_counter() - began,
    )


def faithfulness_of(
    model: Translator,
    sources: Sequence[str],
    targets: Sequence[str] | None = None,
    *,
    methods: Iterable[str] = tuple(METHODS),
    units: str = "words",
    seed: int = 0,
    **search: object,
) -> dict[str, FaithfulnessTest]:
    """The deletion test of each method over many sources; `targets` None: the model's own answers.

    Sources with fewer than two tokens are left out, since there is no order to test. DataError if none remains.
    """
    named = {name: method_of(name) for name in methods}
    if targets is not None and len(targets) != len(sources):
        raise DataError(f"there must be one target for each source, but there are {len(sources)} and {len(targets)}.")
    found: dict[str, FaithfulnessTest] = {name: FaithfulnessTest(name, []) for name in named}
    for row, source in enumerate(sources):
        pair = ExplainedPair(model, source, None if targets is None else targets[row], units=units, **search)
        if int(pair.removable.sum()) < 2:
            continue
        deletion = DeletionTest(pair, seed=seed + row)
        for name, about in named.items():
            weights, completeness = about.compute(pair)
            found[name].tests.append(deletion.of(weights))
            if completeness is not None:
                found[name].incomplete.append(not completeness.holds)
    if not all(test.tests for test in found.values()):
        raise DataError(f"the deletion test needs sources of two or more tokens, but none of {len(sources)} has these.")
    return found
