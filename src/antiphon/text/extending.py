"""Adding words to a tokenizer: each becomes one token, and all existing ids stay.

extended = extend(tokenizer, ["<de>", "Stundenplan"])
extended.vocab_size - tokenizer.vocab_size        # 2
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from tokenizers import AddedToken
from tokenizers import Tokenizer as Rust

from antiphon.errors import ConfigError
from antiphon.text.id_tables import extend_id_table, id_table_vocabulary
from antiphon.text.json_form import from_json_form, to_json_form
from antiphon.text.tokenizer import Tokenizer
from antiphon.utf8 import clean_text


def extend(tokenizer: Tokenizer, words: Sequence[str]) -> Tokenizer:
    """`tokenizer` with a new token for each of `words`, with the next free ids.

    A word is matched anywhere in a text, inside other words too. Raises ConfigError for a word that is one token
    already, and for a tokenizer that cannot be extended: it has no tokenizer.json form, or special ids follow its own.
    """
    words = [clean_text(word) for word in dict.fromkeys(words)]
    for word in words:
        if not word.strip():
            raise ConfigError("a word that is added must have a letter, but one is empty. Drop it.")
    if id_table_vocabulary(tokenizer) is not None:
        return extend_id_table(tokenizer, words)
    content, record = to_json_form(tokenizer)
    rust = Rust.from_str(json.dumps(content))
    for word in words:
        if rust.token_to_id(word) is not None:
            raise ConfigError(f"a word that is added must be new, but `{word:.60}` is a token already. Drop it.")
        if not spelling(tokenizer, word):
            raise ConfigError(f"a word that is added must be spelled by the base's tokens, but `{word:.60}` has none.")
    # If texts get a leading space, the space after an added word belongs to the next word, as in training.py.
    leads = record is None and (tokenizer.tokens("a") or [""])[0].startswith("▁")
    rust.add_tokens([AddedToken(word, rstrip=leads, normalized=False) for word in words])
    ids = [rust.token_to_id(word) for word in words]
    if ids != list(range(tokenizer.vocab_size, tokenizer.vocab_size + len(words))):
        raise ConfigError(
            "a tokenizer can get more words only if its own ids are the last ones, but the base's padding or end "
            "comes after them. Leave `add` out."
        )
    if record is not None:
        record = replace(record, size=max(record.size, tokenizer.vocab_size + len(words)))
    return from_json_form(json.loads(rust.to_str()), record, like=tokenizer)


def spelling(tokenizer: Tokenizer, word: str) -> list[int]:
    """The ids of `word` in a tokenizer that does not have it as a single token."""
    return tokenizer.vocabulary.encode([clean_text(word)], ends=False)[0]
