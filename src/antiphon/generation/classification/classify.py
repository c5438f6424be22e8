"""Answers of a classification: every label is scored for every source, and the best label is the answer.

    answer = classify(model, ["a fine film"], ["negative", "positive"], GenerationConfig())[0]
    answer.text, answer.probabilities       # 'positive', {'negative': 0.02, 'positive': 0.98}

A label's probability is exp(score) divided by the sum of exp(score) over all labels; the score is the model's
log-probability of the label's text and the end token. A classifier calls it confidence; `Generation.confidence` is here
too the geometric mean of the probabilities of the label's tokens, including the end token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from antiphon.config import GenerationConfig
from antiphon.errors import DataError
from antiphon.generation.answers import Generation
from antiphon.generation.classification.labels import label_scores
from antiphon.generation.protocols import AnsweringModel
from antiphon.generation.restricting import texts_of_rows
from antiphon.settings import require, show

_OF_A_SEARCH = ("temperature", "prefix", "required", "forbidden")  # settings without a meaning for labels
MOST_SHOWN = 10  # labels in a message


def classify(
    model: AnsweringModel,
    rows: Sequence[Any],
    labels: Sequence[str],
    config: GenerationConfig,
    *,
    first_row: int = 0,
    prompts: Sequence[tuple[int, ...]] = (),
) -> list[Generation]:
    """For each of `rows` (of the model's input kind) its most probable label, with the next ones as alternatives, in
    all `config.n_best`.

    `config.allowed` restricts the labels; probabilities are then among those. `prompts`: the ids before the label of
    each row. Raises ConfigError for a setting that does not apply to labels, DataError for a source that is too long
    and for an allowed text that is no label.
    """
    refuse_search(config)
    choices = _choices(labels, config, len(rows), first_row)
    spelled = [model.target_tokenizer.encode(label) for label in labels]
    tokens = [model.target_tokenizer.pieces(ids) for ids in spelled]
    answers: list[Generation] = []
    found = label_scores(model, rows, labels, config=config, first_row=first_row, prompts=prompts)
    for scores, choice in zip(found, choices, strict=True):
        order = sorted(choice, key=lambda i: (-scores[i], i))
        weights = {i: math.exp(scores[i] - scores[order[0]]) for i in choice}
        shares = {labels[i]: weight / sum(weights.values()) for i, weight in weights.items()}
        ranked = [
            Generation(
                text=labels[i],
                tokens=tokens[i],
                score=scores[i],
                confidence=math.exp(scores[i] / len(spelled[i])),
                finished=True,
                probabilities=shares,
            )
            for i in order[: config.n_best]
        ]
        answers.append(replace(ranked[0], alternatives=ranked[1:]))
    return answers


def _choices(labels: Sequence[str], config: GenerationConfig, count: int, first_row: int) -> list[list[int]]:
    """The indices of the labels that are allowed for each of `count` sources."""
    choices = []
    for row, allowed in enumerate(texts_of_rows("allowed", config.allowed, count), first_row + 1):
        unknown = next((text for text in allowed or () if text not in labels), None)
        if unknown is not None:
            known = ", ".join(labels[:MOST_SHOWN]) + (", ..." if len(labels) > MOST_SHOWN else "")
            problem = f"must be labels of the model ({known}), but {show(unknown)} is none"
            raise DataError(f"`allowed` of input {row} {problem}. Change it.")
        choices.append([i for i, label in enumerate(labels) if allowed is None or label in allowed])
    return choices


def refuse_search(config: GenerationConfig) -> None:
    """Raises ConfigError for a search setting that does not apply to labels."""
    for name in _OF_A_SEARCH:
        free = getattr(config, name) is None
        require(free, name, "must be left out of a classification, whose answers are its labels, but is given")
