"""A tokenizer with more words: each becomes one token, and the ids of all others stay.

wider = extend(tokenizer, ["<de>", "Stundenplan"])
wider.vocab_size - tokenizer.vocab_size        # 2
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from tokenizers import AddedToken
from tokenizers import Tokenizer as Rust

from antiphon.errors import ConfigError
from antiphon.text.counted import counted, more_counted
from antiphon.text.single import made_of, single
from antiphon.text.tokenizer import Tokenizer, clean_text


def extend(tokenizer: Tokenizer, words: Sequence[str]) -> Tokenizer:
    """`tokenizer` with a token for each of `words`, which gets the next free id.

    A word is found wherever it stands, inside of others too. Raises ConfigError for a word that is one token already,
    and for a tokenizer that cannot grow: no tokenizer.json can say it, or special ids lie behind its own.
    """
    words = [clean_text(word) for word in dict.fromkeys(words)]
    for word in words:
        if not word.strip():
            raise ConfigError("a word that is added must have a letter, but one is empty. Drop it.")
    if counted(tokenizer) is not None:
        return more_counted(tokenizer, words)
    content, record = single(tokenizer)
    rust = Rust.from_str(json.dumps(content))
    for word in words:
        if rust.token_to_id(word) is not None:
            raise ConfigError(f"a word that is added must be new, but `{word:.60}` is a token already. Drop it.")
        if not spelling(tokenizer, word):
            raise ConfigError(f"a word that is added must be spelled by the base's tokens, but `{word:.60}` has none.")
    # Where a text gets a leading space, the space behind a word belongs to the next one, as in training.py.
    leads = record is None and (tokenizer.tokens("a") or [""])[0].startswith("▁")
    rust.add_tokens([AddedToken(word, rstrip=leads, normalized=False) for word in words])
    ids = [rust.token_to_id(word) for word in words]
    if ids != list(range(tokenizer.vocab_size, tokenizer.vocab_size + len(words))):
        raise ConfigError(
            "a tokenizer can get more words where its own ids are the last ones, but the base's padding or end stands "
            "behind them. Leave `add` out."
        )
    if record is not None:
        record = replace(record, size=max(record.size, tokenizer.vocab_size + len(words)))
    return made_of(json.loads(rust.to_str()), record, like=tokenizer)


def spelling(tokenizer: Tokenizer, word: str) -> list[int]:
    """The ids that spell `word` in a tokenizer that does not have it as a token."""
    return tokenizer.vocabulary.encode([clean_text(word)], ends=False)[0]
