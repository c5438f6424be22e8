"""The probability of each token of an answer, by forced decoding.

    source, = source_inputs(model, ["in 3 hours"], config)
    token_confidence(model, [source], [ids], config)        # [0.99, 0.98, 1.0, 0.97]: one for each of `answer.tokens`

They are the model's own, before any temperature, logits processor or constraint. The sum of their logarithms and those
of special tokens (the end), which are not among the tokens, is `answer.score`.
"""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.config import GenerationConfig
from antiphon.generation.prompting import special_tokens_of
from antiphon.generation.protocols import AnsweringModel
from antiphon.inputs.limits import source_limit
from antiphon.search.engine import forced_log_p
from antiphon.search.requests import SourceInput


def token_confidence(
    model: AnsweringModel, parts: Sequence[SourceInput], ids: Sequence[Sequence[int]], config: GenerationConfig
) -> list[float]:
    """The probabilities of the tokens of an answer, whose source has these parts, which were answered by `ids`.

    Special tokens are not among them, as they are not among `Generation.tokens`.
    """
    network, tokenizer = model.network, model.target_tokenizer
    found: list[float] = []
    each = special_tokens_of(model.input_kind, network, parts, model.special_tokens)
    for part, own, special_tokens in zip(parts, ids, each, strict=True):
        target = special_tokens.with_first(list(own))
        pair = (part.ids, target)
        (log_p,) = forced_log_p(network, [pair], special_tokens, window=source_limit(network, config))
        scored = zip(special_tokens.without_first(target), log_p.exp().tolist(), strict=True)
        found += [probability for id, probability in scored if tokenizer.visible([id])]
    return found
