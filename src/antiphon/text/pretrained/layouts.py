"""Builds a tokenizer of the tokenizers library from a sentencepiece model, or from vocab.json and merges.txt.

The mapping from the pieces of a sentencepiece model to ids depends on the family:

| layout         | ids                                                                                              |
|----------------|--------------------------------------------------------------------------------------------------|
| t5, plain      | as in the model, then the sentinels                                                              |
| pegasus        | pad, end, <mask_1>, <mask_2>, <unk_2> to <unk_102>, then the model's from 2 on: + 103             |
| mbart, mbart50, nllb | <s>, <pad>, </s>, <unk>, then the model's from 3 on: + 1 (fairseq), languages, <mask>      |

Spaces are handled as in the published tokenizer.json files of these families, so that ids are equal.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from antiphon.errors import ModelError
from antiphon.text.pretrained.pieces import CONTROL, NORMAL, UNKNOWN, USER_DEFINED, SpmFile
from antiphon.text.pretrained.record import Layout, TokenizerRecord

PEGASUS_SKIPPED = 103
FAIRSEQ = ("mbart", "mbart50", "nllb")
FAIRSEQ_FIRST = ("<s>", "<pad>", "</s>", "<unk>")


def first_pieces(file: SpmFile, layout: Layout) -> tuple[list[tuple[str, float]], int]:
    """The pieces in the order of a layout's ids, without languages and sentinels, and the id of the unknown piece."""
    pieces = [(piece.text, piece.score) for piece in file.pieces]
    unk = next((id for id, piece in enumerate(file.pieces) if piece.type == UNKNOWN), 0)
    if layout == "pegasus":
        head = [*pieces[:2], ("<mask_1>", 0.0), ("<mask_2>", 0.0)]
        skipped = [(f"<unk_{i}>", -100.0) for i in range(2, PEGASUS_SKIPPED)]
        return [*head, *skipped, *pieces[2:]], unk + PEGASUS_SKIPPED
    if layout in FAIRSEQ:
        return [*((name, 0.0) for name in FAIRSEQ_FIRST), *pieces[3:]], 3
    return pieces, unk


def from_spm(file: SpmFile, record: TokenizerRecord) -> Tokenizer:
    """The tokenizer of a sentencepiece model in a layout, without the added tokens of the record."""
    pieces, unk = first_pieces(file, record.layout)
    if len({text for text, _ in pieces}) < len(pieces):
        raise ModelError(f"a sentencepiece model for `{record.layout}` must have each piece once, but has one twice.")
    if file.unigram:
        rust = Tokenizer(models.Unigram(pieces, unk_id=unk, byte_fallback=file.byte_fallback))
    else:
        rust = Tokenizer(
            models.BPE(
                vocab={text: id for id, (text, _) in enumerate(pieces)},
                merges=_merges(pieces, file),
                unk_token=pieces[unk][0],
                fuse_unk=True,
                byte_fallback=file.byte_fallback,
            )
        )
    space = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    table = [normalizers.Precompiled(file.charsmap)] if file.charsmap else []
    if record.layout in ("pegasus", "mbart50", "nllb"):
        lines = [] if table or record.layout != "pegasus" else [normalizers.Replace("\n", " ")]
        table += [*lines, normalizers.Replace(Regex(" {2,}"), " ")]
        rust.pre_tokenizer = space
    else:
        rust.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), space])
    if table:
        rust.normalizer = normalizers.Sequence(table)
    joined = decoders.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    rust.decoder = decoders.Sequence([decoders.ByteFallback(), joined]) if file.byte_fallback else joined
    for piece in file.pieces:
        known = rust.token_to_id(piece.text) is not None
        if known and piece.type in (CONTROL, USER_DEFINED):
            rust.add_tokens([AddedToken(piece.text, normalized=False, special=piece.type == CONTROL)])
    ids = {*(record.pad, record.end, unk), *range(len(FAIRSEQ_FIRST) if record.layout in FAIRSEQ else 0)}
    if record.layout == "pegasus":
        ids.update(range(PEGASUS_SKIPPED + 2))
    rust.add_special_tokens([pieces[id][0] for id in sorted(ids) if id < len(pieces)])
    return rust


def from_merges(vocab: dict[str, int], merges: bytes, record: TokenizerRecord, *, where: str) -> Tokenizer:
    """Byte-level BPE (Radford et al. 2019) from a vocab.json and the lines of a merges.txt."""
    lines = [line.removesuffix("\r") for line in merges.decode().split("\n")]  # line ends of a Windows checkout
    pairs = [tuple(line.split(" ")) for line in lines if line.strip() and not line.startswith("#version")]
    wrong = next((pair for pair in pairs if len(pair) != 2 or "".join(pair) not in vocab), None)
    if wrong:
        raise ModelError(
            f"merges.txt in `{where}` must join tokens to tokens of vocab.json, but has `{' '.join(wrong):.40}`."
        )
    rust = Tokenizer(models.BPE(vocab=vocab, merges=[(pair[0], pair[1]) for pair in pairs], fuse_unk=False))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=record.spaced)
    rust.decoder = decoders.ByteLevel()
    ids = {id for id in (record.pad, record.end, record.unk) if id is not None}
    controls = {each.text for each in record.added if each.role == "control"}
    rust.add_special_tokens([token for token, id in vocab.items() if id in ids or token in controls])
    return rust


def _merges(pieces: Sequence[tuple[str, float]], file: SpmFile) -> list[tuple[str, str]]:
    """The merges of a sentencepiece BPE model: each split of a piece into two pieces, ordered by the piece's score."""
    normal = {piece.text for piece in file.pieces if piece.type == NORMAL}
    ranked = [
        (-score, id, text[:cut], text[cut:])
        for id, (text, score) in enumerate(pieces)
        if text in normal
        for cut in range(1, len(text))
        if text[:cut] in normal and text[cut:] in normal
    ]
    return [
        (left, right) for _, group in itertools.groupby(sorted(ranked), key=lambda e: e[1]) for *_, left, right in group
    ]
