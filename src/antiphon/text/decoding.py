"""Default decoders for tokenizer.json files that have none, by the kind of tokenizer.

Without a decoder the tokenizers library joins tokens with spaces, which is correct for whole-word tokenizers only.

| how texts become tokens                            | how tokens become text                         |
|----------------------------------------------------|------------------------------------------------|
| bytes as printable characters (GPT-2, BART)        | the bytes of the characters                    |
| "▁" for spaces, by Metaspace (T5, Pegasus, mBART)  | spaces for "▁", but for the first              |
| "▁" for spaces, by a normalizer (SentencePiece BPE) | the same, and bytes for <0x..>                 |
| WordPiece (BERT), or BPE with its mark             | parts with the mark of a continuation joined   |
| BPE with a mark after words (GPT, FSMT)            | spaces for the mark, but for the last          |
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import tokenizers
from tokenizers import decoders

_SPACE = "▁"


def complete_decoder(rust: tokenizers.Tokenizer) -> None:
    """Set the decoder of a tokenizer that has none; whole-word tokenizers need none."""
    if rust.decoder is not None:
        return
    content = json.loads(rust.to_str())
    cuts = {part["type"]: part for part in _parts(content["pre_tokenizer"])}
    forms = list(_parts(content["normalizer"]))
    fallback = [decoders.ByteFallback(), decoders.Fuse()] if content["model"].get("byte_fallback") else []
    if "ByteLevel" in cuts or any(part["type"] == "ByteLevel" for part in forms):
        rust.decoder = decoders.ByteLevel()
    elif "Metaspace" in cuts:
        cut = cuts["Metaspace"]
        scheme = cut.get("prepend_scheme", "always")
        joined = decoders.Metaspace(replacement=cut["replacement"], prepend_scheme=scheme, split=cut.get("split", True))
        rust.decoder = decoders.Sequence([decoders.ByteFallback(), joined]) if fallback else joined
    elif any(part["type"] == "Replace" and part.get("content") == _SPACE for part in forms):
        led = any(part["type"] == "Prepend" for part in forms)
        strip = [decoders.Strip(content=" ", left=1, right=0)] if led else []
        rust.decoder = decoders.Sequence([decoders.Replace(_SPACE, " "), *(fallback or [decoders.Fuse()]), *strip])
    elif suffix := content["model"].get("end_of_word_suffix"):
        rust.decoder = decoders.BPEDecoder(suffix=suffix)
    elif content["model"].get("type") == "WordPiece":
        rust.decoder = decoders.WordPiece(prefix=content["model"]["continuing_subword_prefix"], cleanup=False)
    elif prefix := content["model"].get("continuing_subword_prefix"):
        rust.decoder = decoders.WordPiece(prefix=prefix, cleanup=False)


def _parts(part: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The parts of a normalizer or pre-tokenizer sequence; or the single one itself."""
    if part is not None:
        for each in part.get("pretokenizers", part.get("normalizers", [part])):
            yield from [each] if each is part else _parts(each)
