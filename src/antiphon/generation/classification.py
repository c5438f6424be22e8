"""Answers of a classification: every label is scored for every text, so that nothing else can be said.

    answer = classify(model, ["a fine film"], ["negative", "positive"], GenerationConfig())[0]
    answer.text, answer.probabilities       # 'positive', {'negative': 0.02, 'positive': 0.98}

A label's probability is its score, the model's log-probability of its text and the end, among those of all labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from antiphon.config import GenerationConfig
from antiphon.errors import ConfigError
from antiphon.generation.answers import Generation
from antiphon.generation.labels import Model, label_scores

_OF_A_SEARCH = ("temperature", "prefix", "required", "forbidden")  # there is none here


def classify(
    model: Model, texts: Sequence[str], labels: Sequence[str], config: GenerationConfig, *, first_row: int = 0
) -> list[Generation]:
    """For each text its most probable label, with the next ones as alternatives up to `config.n_best`.

    Raises ConfigError for a setting that asks for another answer, DataError for a text that is too long.
    """
    for name in _OF_A_SEARCH:
        if getattr(config, name) is not None:
            raise ConfigError(
                f"`{name}` must be left out of a classification, whose answers are its labels, but is given."
            )
    spelled = [model.target_tokenizer.encode(label) for label in labels]
    tokens = [model.target_tokenizer.pieces(ids) for ids in spelled]
    answers: list[Generation] = []
    for scores in label_scores(model, texts, labels, config=config, first_row=first_row):
        top = max(scores)
        weights = [math.exp(score - top) for score in scores]
        shares = {label: weight / sum(weights) for label, weight in zip(labels, weights, strict=True)}
        order = sorted(range(len(labels)), key=lambda i: (-scores[i], i))
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
