"""Trimming and extending tokenizers with a separate id table: vocab.json (Marian, M2M-100), or bytes as ids (ByT5).

    trimmed, old_ids = trim_id_table(tokenizer, used={5, 17, 300})     # old_ids: the old id of each new one
    extended = extend_id_table(tokenizer, ["<de>"])

The sentencepiece models stay byte for byte as they are: a piece that loses its id becomes the unknown token, as in
transformers. Marian's two models share one vocab.json; M2M-100's language tokens follow its last id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from antiphon.errors import ConfigError
from antiphon.text.json_form import ids_of, remap_ids
from antiphon.text.pretrained.files import json_mapping, vocabulary_of
from antiphon.text.pretrained.record import AddedToken, TokenizerRecord
from antiphon.text.pretrained.vocabulary import PretrainedVocabulary
from antiphon.text.tokenizer import Tokenizer

_CONFIG, _VOCAB = ".tokenizer_config.json", ".vocab.json"
_LANGUAGE_TOKEN = re.compile(r">>.+<<")  # Marian: the target's language
_ADDED = ".added_tokens.json"


def id_table_vocabulary(tokenizer: Tokenizer) -> PretrainedVocabulary | None:
    """The vocabulary of a tokenizer of one of these kinds; None for others."""
    known = tokenizer.vocabulary
    if isinstance(known, PretrainedVocabulary) and known.record.kind in ("pieces", "bytes"):
        return known
    return None


def trim_id_table(tokenizer: Tokenizer, used: Collection[int]) -> tuple[Tokenizer, list[int]]:
    """A tokenizer with only the ids `used`, special tokens and languages, and the old id of each of its ids.

    ConfigError for a tokenizer of bytes.
    """
    known = id_table_vocabulary(tokenizer)
    assert known is not None
    record = known.record
    if record.kind == "bytes":
        raise ConfigError("a tokenizer of bytes needs all of its 256, so it cannot be trimmed. Leave it out.")
    ids = vocabulary_of(known.raw_files[_VOCAB], where="vocab.json")
    own, wanted = ids_of(record), {*used}
    kept = {id for text, id in ids.items() if id in wanted or id in own or _LANGUAGE_TOKEN.fullmatch(text)}
    # Special tokens have equal ids in the two vocabularies of a model, since config.json has them once.
    alike = (record.end, record.unk, record.pad, record.start) if record.layout == "marian" else ()
    order = list(dict.fromkeys([*(id for id in alike if id in kept), *sorted(kept)]))
    order += sorted(own - {*order})  # languages and added words, whose ids follow those of vocab.json
    places = {old: new for new, old in enumerate(order)}
    vocab = {text: places[id] for text, id in sorted(ids.items(), key=lambda e: places.get(e[1], -1)) if id in kept}
    made = _rebuilt(tokenizer, remap_ids(record, places.__getitem__, size=len(places)), {_VOCAB: _json_bytes(vocab)})
    return made, order


def extend_id_table(tokenizer: Tokenizer, words: Sequence[str]) -> Tokenizer:
    """A tokenizer with a new token for each of `words`, with the next ids.

    ConfigError for a word that is a token already, and for a model with two vocabularies.
    """
    known = id_table_vocabulary(tokenizer)
    assert known is not None
    record = known.record
    if record.layout == "marian" and ".source.spm" not in known.raw_files:
        raise ConfigError(
            "a word that is added must have one id, but a Marian with two vocabularies would have two. Leave `add` out."
        )
    there = {known.piece(id) for id in range(known.size)}
    twice = next((word for word in words if word in there), None)
    if twice is not None:
        raise ConfigError(f"a word that is added must be new, but `{twice:.60}` is a token already. Drop it.")
    added = [AddedToken(known.size + i, word, "text") for i, word in enumerate(words)]
    size = max(record.size, known.size + len(words))
    return _rebuilt(tokenizer, replace(record, size=size, added=(*record.added, *added)), {})


def _rebuilt(tokenizer: Tokenizer, record: TokenizerRecord, files: Mapping[str, bytes]) -> Tokenizer:
    """A tokenizer with a changed record and changed files. Entries of tokenizer_config.json with ids are rewritten."""
    known = id_table_vocabulary(tokenizer)
    assert known is not None
    kept = {suffix: content for suffix, content in known.raw_files.items() if suffix != _ADDED}
    small = json_mapping(known.raw_files.get(_CONFIG, b"{}"), where=_CONFIG)
    small.pop("added_tokens_decoder", None)
    if any(each.role == "text" for each in record.added):  # transformers then adds none by itself
        small["added_tokens_decoder"] = {str(each.id): _added_token_json(each) for each in record.added}
    content = {_CONFIG: _json_bytes(small)} if small else {}
    vocabulary = PretrainedVocabulary(record, {**kept, **content, **files}, where="the changed tokenizer")
    return Tokenizer(vocabulary.of_side(known.side), ends=tokenizer.ends)


def _added_token_json(token: AddedToken) -> dict[str, object]:
    """An added token in the format of tokenizer_config.json."""
    flags = {"lstrip": token.strips, "rstrip": False, "normalized": False, "single_word": False}
    return {"content": token.text, **flags, "special": token.role != "text"}


def _json_bytes(content: Mapping[str, object]) -> bytes:
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()
