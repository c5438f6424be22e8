"""From a Hugging Face folder to the record and the files of its tokenizers.

What the folder has decides: M2M-100's and Marian's files first, then tokenizer.json, a sentencepiece model, vocab.json
with merges.txt. `config` is its parsed config.json: the ids of padding, start and end, and the size of the vocabulary,
are the model's to say. No class that a file names is looked up, no path that it names is opened.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import tokenizers

from antiphon.errors import ModelError
from antiphon.text.pretrained.engines import load_spm
from antiphon.text.pretrained.files import vocabulary_of
from antiphon.text.pretrained.languages import CODES, M2M100, MBART, MBART50, WMT21
from antiphon.text.pretrained.layouts import FAIRSEQ, first_pieces
from antiphon.text.pretrained.pieces import read_spm
from antiphon.text.pretrained.record import LANGUAGE, AddedToken, Frame, Layout, Role, TokenizerRecord, check_record
from antiphon.text.pretrained.source import MARKS, USUAL, TokenizerSource
from antiphon.text.vocabulary import forget_training, template, working

_SENTINEL = re.compile(r"<extra_id_\d+>")
_KNOWN = ("tokenizer.json", "spiece.model", "sentencepiece.bpe.model", "source.spm", "vocab.json", "merges.txt")
_BYT5_SENTINELS, _T5_SENTINELS, _MOST_SENTINELS = 125, 100, 10_000

Files = dict[str, bytes]


def read_pretrained(path: Path, config: Mapping[str, Any]) -> list[tuple[TokenizerRecord, Files]]:
    """The record and the files of a folder's tokenizer; of the source's and the target's where they are apart."""
    source = TokenizerSource(path, config)
    return [
        (check_record(record, where=source.where), {**files, **source.small()}) for record, files in _read(source, path)
    ]


def _read(source: TokenizerSource, path: Path) -> list[tuple[TokenizerRecord, Files]]:
    if "blenderbot" in source.model_type and "small" in source.model_type:
        raise ModelError(f"`{path}` must be of a family that is built, but has the tokenizer of BlenderbotSmall.")
    has = {name: source.folder.read(name) for name in ("tokenizer.json", "vocab.json", "sentencepiece.bpe.model")}
    if source.folder.read("source.spm") is not None:
        return _marian(source)
    if has["vocab.json"] and has["sentencepiece.bpe.model"] and source.model_type == "m2m_100":
        return [_m2m(source, has["vocab.json"], has["sentencepiece.bpe.model"])]
    if has["tokenizer.json"] is not None:
        return [_json(source, has["tokenizer.json"])]
    if "byt5" in source.kind.lower():
        return [_bytes(source)]
    for name in ("spiece.model", "sentencepiece.bpe.model"):
        if (content := source.folder.read(name)) is not None:
            return [_spm(source, content, name)]
    merges = source.folder.read("merges.txt")
    if has["vocab.json"] is not None and merges is not None:
        return [_merges(source, has["vocab.json"], merges)]
    raise ModelError(f"`{path}` must hold a tokenizer ({', '.join(_KNOWN)}), but has none that can be read.")


def _json(source: TokenizerSource, content: bytes) -> tuple[TokenizerRecord, Files]:
    where = str(source.folder.path / "tokenizer.json")
    with working(where, "tokenizer.json"):
        rust = tokenizers.Tokenizer.from_buffer(content)
        forget_training(rust)
        ids, tokens = rust.get_vocab(), rust.get_added_tokens_decoder()
        before, after = template(rust)
    base = source.base("json", ids)
    marks = {"<mask>", *(text for role, text in source.named().items() if role in MARKS)}
    added = [
        AddedToken(id, token.content, "mark", token.lstrip)
        for id, token in sorted(tokens.items())
        if token.special and (token.content in marks or _SENTINEL.fullmatch(token.content))
    ]
    known = {each.text for each in added}
    controls = {*source.named().values(), *source.listed()} - known
    added += [AddedToken(ids[text], text) for text in sorted(controls) if text in ids and ids[text] not in tokens]
    family = _family(source, [token.content for token in tokens.values()])
    languages = _languages(family, {token.content: id for id, token in tokens.items()})
    places = dict.fromkeys(languages.values(), LANGUAGE)
    frame = tuple(places.get(id, id) for id in before), tuple(places.get(id, id) for id in after)
    if languages and (family == "nllb" or source.kind or LANGUAGE not in (*frame[0], *frame[1])):
        frame = _frame(source, family, base.end)
    record = replace(base, before=frame[0], after=frame[1], added=tuple(added), languages=languages)
    return _speak(source, record), {".json": content}


def _spm(source: TokenizerSource, content: bytes, name: str) -> tuple[TokenizerRecord, Files]:
    where = str(source.folder.path / name)
    load_spm(content, where=where)
    with working(where, "sentencepiece model"):
        file = read_spm(content)
    family = _family(source, source.listed())
    layout: Layout = family if name == "sentencepiece.bpe.model" else _spiece(source)
    pieces, _ = first_pieces(file, layout)
    ids = {text: id for id, (text, _) in enumerate(pieces)}
    placed, codes = source.placed(), []
    if layout in FAIRSEQ:
        own = [text for text in source.listed() if CODES[layout].fullmatch(text)]
        codes = own or {"mbart": MBART, "mbart50": MBART50}.get(layout, [])
        behind = [*codes, source.named().get("mask_token", "<mask>")]
    else:
        count = source.own.get("extra_ids", _T5_SENTINELS)
        most = count if type(count) is int and 0 <= count <= _MOST_SENTINELS and layout == "t5" else 0
        behind = [f"<extra_id_{i}>" for i in reversed(range(most))]
    for text in behind:
        ids.setdefault(text, placed.get(text, len(ids)))
    ids |= {text: id for text, id in placed.items() if text not in ids}
    marks = {*(text for role, text in source.named().items() if role in MARKS), "<mask>", "<mask_1>", "<mask_2>"}
    written = source.written()
    added = [
        AddedToken(id, text, _role(text, marks, written), text == "<mask>")
        for text, id in sorted(ids.items(), key=lambda entry: entry[1])
        if id >= len(pieces) or text in marks or _SENTINEL.fullmatch(text)
    ]
    base = source.base("spm", ids)
    unk = ids.get("<unk>", base.unk)
    frame = _frame(source, layout, base.end) if layout in FAIRSEQ else ((), (base.end,))
    languages = {code: ids[code] for code in codes}
    record = replace(base, layout=layout, unk=unk, before=frame[0], after=frame[1], added=tuple(added))
    return _speak(source, replace(record, languages=languages)), {".spm": content}


def _merges(source: TokenizerSource, vocab: bytes, merges: bytes) -> tuple[TokenizerRecord, Files]:
    """BART, which encloses a text by <s> and </s>; Blenderbot, which puts a space before and the end behind it."""
    ids = vocabulary_of(vocab, where=str(source.folder.path / "vocab.json"))
    placed = source.placed()
    ids |= {text: id for text, id in placed.items() if text not in ids}
    base, names = source.base("merges", ids), {**USUAL, "mask_token": "<mask>", **source.named()}
    blender = "blenderbot" in (source.model_type + source.kind).lower()
    first = [] if blender else [ids[name] for name in (names.get("cls_token", names["bos_token"]),) if name in ids]
    marks, written = {names["mask_token"]}, source.written()
    controls = {*names.values(), *source.listed()} & ids.keys() | placed.keys()
    strips = source.stripping() | (marks if blender else set())
    added = tuple(AddedToken(ids[text], text, _role(text, marks, written), text in strips) for text in sorted(controls))
    spaced = source.flag("add_prefix_space", blender)
    record = replace(base, before=tuple(first), after=(base.end,), added=added, spaced=spaced)
    return record, {".vocab.json": vocab, ".merges.txt": merges}


def _m2m(source: TokenizerSource, vocab: bytes, spm: bytes) -> tuple[TokenizerRecord, Files]:
    ids = vocabulary_of(vocab, where=str(source.folder.path / "vocab.json"))
    codes = WMT21 if source.said("language_codes") == "wmt21" else M2M100
    languages = {code: len(ids) + i for i, code in enumerate(codes)}
    tokens = {f"__{code}__": id for code, id in languages.items()}
    base = source.base("pieces", ids | tokens)
    control = {text for text in (*USUAL.values(), *source.named().values()) if text in ids}
    added = (
        *(AddedToken(ids[text], text) for text in sorted(control)),
        *(AddedToken(id, text) for text, id in tokens.items()),
    )
    added = (*added, *_words(source, ids | tokens))
    record = replace(base, before=(LANGUAGE,), after=(base.end,), added=added, languages=languages)
    return _speak(source, record), {".vocab.json": vocab, ".spm": spm}


def _marian(source: TokenizerSource) -> list[tuple[TokenizerRecord, Files]]:
    """One vocabulary and two ways to it; two vocabularies where `separate_vocabs` says so."""
    names = {".source.spm": "source.spm", ".target.spm": "target.spm", ".vocab.json": "vocab.json"}
    apart = source.flag("separate_vocabs")
    files = {suffix: source.folder.read(name) for suffix, name in names.items()}
    other = source.folder.read("target_vocab.json") if apart else b""
    if None in files.values() or other is None:
        lacking = [names[suffix] for suffix, content in files.items() if content is None] or ["target_vocab.json"]
        raise ModelError(f"`{source.where}` must hold {lacking[0]} beside source.spm, but does not. Restore it.")
    kept = {suffix: content for suffix, content in files.items() if content is not None}
    if not apart:
        return [(_marian_record(source, kept[".vocab.json"], "vocab.json", "vocab_size"), kept)]
    sides = [
        (".source.spm", kept[".vocab.json"], "vocab.json", "vocab_size"),
        (".target.spm", other, "target_vocab.json", "decoder_vocab_size"),
    ]
    return [
        (_marian_record(source, vocab, name, size), {".spm": kept[spm], ".vocab.json": vocab})
        for spm, vocab, name, size in sides
    ]


def _marian_record(source: TokenizerSource, vocab: bytes, name: str, size_key: str) -> TokenizerRecord:
    ids = vocabulary_of(vocab, where=str(source.folder.path / name))
    base = source.base("pieces", ids, size_key=size_key)
    return replace(base, layout="marian", after=(base.end,), added=_words(source, ids))


def _bytes(source: TokenizerSource) -> tuple[TokenizerRecord, Files]:
    """ByT5: sentinels behind the bytes, <extra_id_0> first."""
    listed = [text for text in source.listed() if _SENTINEL.fullmatch(text)]
    names = listed or [f"<extra_id_{i}>" for i in range(_BYT5_SENTINELS)]
    ids = {"<pad>": 0, "</s>": 1, "<unk>": 2} | {text: 259 + i for i, text in enumerate(names)}
    base = source.base("bytes", ids)
    marks = tuple(AddedToken(ids[text], text, "mark") for text in names)
    return replace(base, after=(base.end,), added=(*marks, *_words(source, ids))), {}


def _words(source: TokenizerSource, ids: Mapping[str, int]) -> tuple[AddedToken, ...]:
    """The words that were added to a tokenizer behind its own `ids`, in their order."""
    placed, written, last = source.placed(), source.written(), max(ids.values(), default=-1)
    found = sorted((id, text) for text, id in placed.items() if text in written and id > last and text not in ids)
    return tuple(AddedToken(id, text, "text") for id, text in found)


def _role(text: str, marks: Collection[str], written: Collection[str]) -> Role:
    return "mark" if text in marks or _SENTINEL.fullmatch(text) else "text" if text in written else "control"


def _spiece(source: TokenizerSource) -> Layout:
    return "pegasus" if "pegasus" in (source.model_type + source.kind).lower() else "t5"


def _family(source: TokenizerSource, tokens: Iterable[str]) -> Layout:
    """Which of the fairseq families, by the class that wrote the folder, else by its languages."""
    kind = source.kind.lower()
    codes = [text for text in tokens if CODES["nllb"].fullmatch(text)]
    if "nllb" in kind or (source.model_type == "m2m_100" and codes):
        return "nllb"
    if source.model_type != "mbart" and "mbart" not in kind:
        return "plain"
    many = sum(CODES["mbart"].fullmatch(text) is not None for text in tokens) > len(MBART)
    return "mbart50" if "mbart50" in kind or ("mbart" not in kind and many) else "mbart"


def _languages(family: Layout, tokens: Mapping[str, int]) -> dict[str, int]:
    pattern = CODES.get(family)
    found = {text: id for text, id in tokens.items() if pattern and pattern.fullmatch(text)}
    return dict(sorted(found.items(), key=lambda entry: entry[1]))


def _frame(source: TokenizerSource, family: Layout, end: int) -> tuple[Frame, Frame]:
    """Where a family writes the language: mBART behind the end, the later ones before the text."""
    behind = family == "mbart" or source.flag("legacy_behaviour")
    return ((), (end, LANGUAGE)) if behind else ((LANGUAGE,), (end,))


def _speak(source: TokenizerSource, record: TokenizerRecord) -> TokenizerRecord:
    """The record with the languages that the folder names; the usual one where it names none for the source."""
    if not record.languages:
        return record
    codes = {id: code for code, id in record.languages.items()}
    usual = next((code for code in ("en_XX", "eng_Latn", "en") if code in record.languages), next(iter(codes.values())))
    spoken = source.said("src_lang")
    forced = source.config.get("forced_bos_token_id")
    target = source.said("tgt_lang") or codes.get(forced if isinstance(forced, int) else -1) or codes.get(record.start)
    behind = record.after[-1:] == (LANGUAGE,) and source.model_type == "mbart"
    return replace(record, source_language=spoken or usual, target_language=target, starts_with_language=behind)
