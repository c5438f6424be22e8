"""The probability of each token of an answer, by forced decoding.

    token_confidence(model, [AnsweredPart(source_ids, answer_ids, special_tokens)])     # [0.99, 0.98, 1.0, 0.97]

They are the model's own, before any temperature, logits processor or constraint. The sum of their logarithms and those
of special tokens (the end), which are not among the tokens, is `answer.score`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from antiphon.generation.protocols import AnsweringModel
from antiphon.inputs.kind import Source
from antiphon.search.engine import forced_log_p
from antiphon.search.special_tokens import SpecialTokens


class AnsweredPart(NamedTuple):
    """A part of a source, as the network reads it; the ids of its answer; and the special tokens of these."""

    source: Source
    ids: Sequence[int]
    special_tokens: SpecialTokens


def token_confidence(model: AnsweringModel, parts: Sequence[AnsweredPart], *, window: int | None = None) -> list[float]:
    """The probabilities of the tokens of an answer, one for each of `Generation.tokens`.

    `parts` are those of its source. Sources of more than `window` tokens (None: the network's `max_length`) are encoded
    in windows.
    """
    found: list[float] = []
    for source, ids, special_tokens in parts:
        target = special_tokens.with_first(ids)
        (log_p,) = forced_log_p(model.network, [(source, target)], special_tokens, window=window)
        scored = zip(special_tokens.without_first(target), log_p.exp().tolist(), strict=True)
        found += [probability for id, probability in scored if model.target_tokenizer.visible([id])]
    return found
