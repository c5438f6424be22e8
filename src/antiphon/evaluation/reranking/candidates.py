"""Candidates for answers: the n best of a beam search, or samples, with their estimated probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from antiphon.config.generation import TEXT_OF_ROWS
from antiphon.generation.answers import Generation
from antiphon.generation.translator import Translator
from antiphon.settings import override

_OF_ROWS = (*TEXT_OF_ROWS, "allowed", "required", "forbidden")  # settings that may have an entry for each row


@dataclass(frozen=True)
class CandidateList:
    """The different candidates for one source, with their estimated probabilities, which add up to 1."""

    source: str
    answers: list[Generation]
    weights: list[float]

    @property
    def texts(self) -> list[str]:
        """The texts of the candidates."""
        return [answer.text for answer in self.answers]


def n_best_candidates(
    model: Translator, sources: Sequence[str], count: int, *, first_row: int = 0, **search: Any
) -> list[CandidateList]:
    """The `count` best answers of a beam search for each source, of equal texts the best one, weighted by
    `confidence_weights`."""
    config = override(model.generation, {**search, "n_best": 1})
    beam = max(config.beam_size, count)
    beam += -beam % config.beam_groups
    settings = {**search, "beam_size": beam, "n_best": count}
    lists = []
    for source, answer in zip(sources, model.generate(list(sources), first_row=first_row, **settings), strict=True):
        different: dict[str, Generation] = {}
        for each in (replace(answer, alternatives=[]), *answer.alternatives):
            different.setdefault(each.text, each)
        answers = list(different.values())
        lists.append(CandidateList(source, answers, confidence_weights(answers)))
    return lists


def sampled_candidates(
    model: Translator, sources: Sequence[str], count: int, *, first_row: int = 0, **search: Any
) -> list[CandidateList]:
    """`count` samples for each source, weighted by their frequency. Each is drawn as a row of its own, since samples of
    one row are all different."""
    settings = {**search, "n_best": 1, **_repeated(search, len(sources), count)}
    rows = [source for source in sources for _ in range(count)]
    found = model.generate(rows, first_row=first_row * count, **settings)
    lists = []
    for row, source in enumerate(sources):
        own = found[row * count : (row + 1) * count]
        weights = sample_weights([answer.text for answer in own])
        first = {answer.text: answer for answer in reversed(own)}
        lists.append(CandidateList(source, [first[text] for text in weights], list(weights.values())))
    return lists


def sample_weights(texts: Sequence[str]) -> dict[str, float]:
    """The frequency of each different text, in the order of the samples."""
    counts: dict[str, float] = {}
    for text in texts:
        counts[text] = counts.get(text, 0.0) + 1 / len(texts)
    return counts


def confidence_weights(answers: Sequence[Generation]) -> list[float]:
    """The model's probability a token of each answer, scaled to a sum of 1.

    That of the whole answer would favour short answers, as a beam search without a length penalty does: on Multi30k
    (docs/search.md) its choice by BLEU had a lower BLEU than the beam search.
    """
    weights = [answer.confidence for answer in answers]
    total = sum(weights)
    return [weight / total if total else 1 / len(weights) for weight in weights]


def _repeated(search: Mapping[str, Any], count: int, times: int) -> dict[str, Any]:
    """The settings of `search` that have an entry for each of `count` rows, with each entry `times` times."""
    found = {}
    for name in _OF_ROWS:
        given = search.get(name)
        if not isinstance(given, list | tuple) or len(given) != count:
            continue
        # A list of texts is one list for all rows, except that of prefixes and prompts.
        if name in TEXT_OF_ROWS or any(not isinstance(entry, str) for entry in given):
            found[name] = [entry for entry in given for _ in range(times)]
    return found
