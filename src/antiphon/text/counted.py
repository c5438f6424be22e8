"""Tokenizers whose ids are not a file's places: a vocab.json counts the pieces (Marian, M2M-100), or ids are bytes.

    fewer, kept = fewer_counted(tokenizer, used={5, 17, 300})     # kept: the old id of each new one
    wider = more_counted(tokenizer, ["<de>"])

The sentencepiece models stay as they are, byte for byte: a piece that loses its id becomes the unknown token, as
transformers has it too. Marian's two models share a vocab.json, M2M-100's languages follow its last id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from antiphon.errors import ConfigError
from antiphon.text.pretrained.files import json_mapping, vocabulary_of
from antiphon.text.pretrained.record import AddedToken, TokenizerRecord
from antiphon.text.pretrained.vocabulary import PretrainedVocabulary
from antiphon.text.single import ids_of, moved
from antiphon.text.tokenizer import Tokenizer

_CONFIG, _VOCAB = ".tokenizer_config.json", ".vocab.json"
_STEERING = re.compile(r">>.+<<")  # Marian: the target's language
_PLACES = ".added_tokens.json"


def counted(tokenizer: Tokenizer) -> PretrainedVocabulary | None:
    """The vocabulary of a tokenizer of these kinds; None of another."""
    known = tokenizer.vocabulary
    if isinstance(known, PretrainedVocabulary) and known.record.kind in ("pieces", "bytes"):
        return known
    return None


def fewer_counted(tokenizer: Tokenizer, used: Collection[int]) -> tuple[Tokenizer, list[int]]:
    """A tokenizer with the ids `used` and all that steer the model, and the old id of each of its ids.

    ConfigError for one of bytes.
    """
    known = counted(tokenizer)
    assert known is not None
    record = known.record
    if record.kind == "bytes":
        raise ConfigError("a tokenizer of bytes needs all of its 256, so it cannot be trimmed. Leave it out.")
    ids = vocabulary_of(known.kept[_VOCAB], where="vocab.json")
    own, wanted = ids_of(record), {*used}
    kept = {id for text, id in ids.items() if id in wanted or id in own or _STEERING.fullmatch(text)}
    # Two vocabularies of one model have equal ids for what steers it, since its config.json says them once.
    alike = (record.end, record.unk, record.pad, record.start) if record.layout == "marian" else ()
    order = list(dict.fromkeys([*(id for id in alike if id in kept), *sorted(kept)]))
    order += sorted(own - {*order})  # languages and added words, behind vocab.json
    places = {old: new for new, old in enumerate(order)}
    vocab = {text: places[id] for text, id in sorted(ids.items(), key=lambda e: places.get(e[1], -1)) if id in kept}
    made = _made(tokenizer, moved(record, places.__getitem__, size=len(places)), {_VOCAB: _written(vocab)})
    return made, order


def more_counted(tokenizer: Tokenizer, words: Sequence[str]) -> Tokenizer:
    """A tokenizer with a token for each of `words`, which get the next ids.

    ConfigError for a word that is a token already, and where one model has two vocabularies.
    """
    known = counted(tokenizer)
    assert known is not None
    record = known.record
    if record.layout == "marian" and ".source.spm" not in known.kept:
        raise ConfigError(
            "a word that is added must have one id, but a Marian with two vocabularies would have two. Leave `add` out."
        )
    there = {known.piece(id) for id in range(known.size)}
    twice = next((word for word in words if word in there), None)
    if twice is not None:
        raise ConfigError(f"a word that is added must be new, but `{twice:.60}` is a token already. Drop it.")
    added = [AddedToken(known.size + i, word, "text") for i, word in enumerate(words)]
    size = max(record.size, known.size + len(words))
    return _made(tokenizer, replace(record, size=size, added=(*record.added, *added)), {})


def _made(tokenizer: Tokenizer, record: TokenizerRecord, files: Mapping[str, bytes]) -> Tokenizer:
    """The tokenizer of a changed record; of the small files only what names no ids stays, and its words are told."""
    known = counted(tokenizer)
    assert known is not None
    kept = {suffix: content for suffix, content in known.kept.items() if suffix != _PLACES}
    small = json_mapping(known.kept.get(_CONFIG, b"{}"), where=_CONFIG)
    small.pop("added_tokens_decoder", None)
    if any(each.role == "text" for each in record.added):  # then transformers places none by itself
        small["added_tokens_decoder"] = {str(each.id): _told(each) for each in record.added}
    content = {_CONFIG: _written(small)} if small else {}
    vocabulary = PretrainedVocabulary(record, {**kept, **content, **files}, where="the changed tokenizer")
    return Tokenizer(vocabulary.of_side(known.side), ends=tokenizer.ends)


def _told(token: AddedToken) -> dict[str, object]:
    """An added token as tokenizer_config.json has it."""
    flags = {"lstrip": token.strips, "rstrip": False, "normalized": False, "single_word": False}
    return {"content": token.text, **flags, "special": token.role != "text"}


def _written(content: Mapping[str, object]) -> bytes:
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()
