"""A base with more words: `tokenizer: {add: [...]}` beside `model.base`.

    parts = with_words(parts, ["<de>"])

The vector of a new word is the mean of the vectors of the tokens that spelled it before, so that its logit is never
above all of theirs; all other vectors stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from antiphon.models.build import build_network
from antiphon.models.checkpoint import Parts, named_weights, put_weights
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.text import Tokenizer
from antiphon.text.extending import extend, spelling

_TABLES = {  # what has a row for each id, and the side whose ids these are
    "source.table.weight": "source",
    "target.table.weight": "target",
    "output.weight": "target",
    "output_bias": "target",
}


@torch.no_grad()
def with_words(parts: Parts, words: Sequence[str]) -> Parts:
    """`parts` with a token for each of `words` on both sides. ConfigError as of `extend`."""
    words = list(dict.fromkeys(words))
    source = extend(parts.source_tokenizer, words)
    target = source if parts.shared else extend(parts.target_tokenizer, words)
    network = like(parts, source=source.vocab_size, target=target.vocab_size)
    own, sides = named_weights(network), {"source": parts.source_tokenizer, "target": parts.target_tokenizer}
    grown = {
        name: _grown(tensor, sides[_TABLES[name]], words, size=len(own[name])) if name in _TABLES else tensor
        for name, tensor in named_weights(parts.network).items()
    }
    put_weights(network, grown, where="the extended base")
    network.eval()
    return replace(parts, network=network, source_tokenizer=source, target_tokenizer=target)


def like(parts: Parts, *, source: int = 0, target: int = 0) -> EncoderDecoder:
    """A network with the shape that `parts` say and fresh weights; its tables have room for `source` and `target` ids.

    They are never smaller than those of the network that is there, which may have more rows than its tokenizer has ids.
    """
    old = parts.network
    return build_network(
        parts.model,
        parts.attention,
        source_vocab=max(source, old.source.table.num_embeddings),
        target_vocab=max(target, old.target.table.num_embeddings),
        shared=old.source.table is old.target.table,
    )


def _grown(table: Tensor, tokenizer: Tokenizer, words: Sequence[str], *, size: int) -> Tensor:
    """table (V, …) with `size` rows, those of the new words the mean of those of the tokens that spell them."""
    grown = torch.cat([table, table.new_zeros(size - len(table), *table.shape[1:])])
    for id, word in enumerate(words, start=tokenizer.vocab_size):
        grown[id] = table[spelling(tokenizer, word)].mean(dim=0)
    return grown
