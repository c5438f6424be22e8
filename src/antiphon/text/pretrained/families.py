"""Reads the record and the files of the tokenizers in a Hugging Face folder.

The kind follows from the files, checked in this order: those of M2M-100 and Marian, tokenizer.json, a sentencepiece
model, vocab.json with merges.txt. The ids of padding, start and end and the size of the vocabulary come from `config`,
the parsed config.json of the model. Classes and paths that a file names are ignored.
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
from antiphon.text.pretrained.source import DEFAULT_TOKENS, MASK_ROLES, TokenizerSource
from antiphon.text.vocabulary import as_model_error, reset_training_settings, template

_SENTINEL = re.compile(r"<extra_id_\d+>")
_SPOKEN = re.compile(r"<lang:\w+>")
_KNOWN = ("tokenizer.json", "spiece.model", "sentencepiece.bpe.model", "source.spm", "vocab.json", "merges.txt")
_BYT5_SENTINELS, _T5_SENTINELS, _MAX_SENTINELS = 125, 100, 10_000

Files = dict[str, bytes]


def read_pretrained(path: Path, config: Mapping[str, Any]) -> list[tuple[TokenizerRecord, Files]]:
    """The record and the files of a folder's tokenizer; two of each if source and target have separate ones."""
    source = TokenizerSource(path, config)
    return [
        (check_record(record, where=source.where), {**files, **source.config_files()})
        for record, files in _read(source, path)
    ]


def _read(source: TokenizerSource, path: Path) -> list[tuple[TokenizerRecord, Files]]:
    if "blenderbot" in source.model_type and "small" in source.model_type:
        raise ModelError(f"`{path}` must be of a family that is built, but has the tokenizer of BlenderbotSmall.")
    has = {name: source.folder.read(name) for name in ("tokenizer.json", "vocab.json", "sentencepiece.bpe.model")}
    if source.folder.read("source.spm") is not None:
        return _marian(source)
    if has["vocab.json"] and has["sentencepiece.bpe.model"] and source.model_type == "m2m_100":
        return [_m2m(source, has["vocab.json"], has["sentencepiece.bpe.model"])]
    if has["vocab.json"] and has["sentencepiece.bpe.model"] and source.model_type == "speech_to_text":
        return [_speech2text(source, has["vocab.json"], has["sentencepiece.bpe.model"])]
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
    with as_model_error(where, "tokenizer.json"):
        rust = tokenizers.Tokenizer.from_buffer(content)
        reset_training_settings(rust)
        ids, tokens = rust.get_vocab(), rust.get_added_tokens_decoder()
        before, after = template(rust)
    base = source.base("json", ids)
    masks = {"<mask>", *(text for role, text in source.role_tokens().items() if role in MASK_ROLES)}
    added = [
        AddedToken(id, token.content, "mark", token.lstrip)
        for id, token in sorted(tokens.items())
        if token.special and (token.content in masks or _SENTINEL.fullmatch(token.content))
    ]
    known = {each.text for each in added}
    controls = {*source.role_tokens().values(), *source.extra_special_tokens()} - known
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
    with as_model_error(where, "sentencepiece model"):
        file = read_spm(content)
    family = _family(source, source.extra_special_tokens())
    layout: Layout = family if name == "sentencepiece.bpe.model" else _spiece(source)
    pieces, _ = first_pieces(file, layout)
    ids = {text: id for id, (text, _) in enumerate(pieces)}
    placed, codes = source.token_ids(), []
    if layout in FAIRSEQ:
        own = [text for text in source.extra_special_tokens() if CODES[layout].fullmatch(text)]
        codes = own or {"mbart": MBART, "mbart50": MBART50}.get(layout, [])
        behind = [*codes, source.role_tokens().get("mask_token", "<mask>")]
    else:
        count = source.own.get("extra_ids", _T5_SENTINELS)
        most = count if type(count) is int and 0 <= count <= _MAX_SENTINELS and layout == "t5" else 0
        behind = [f"<extra_id_{i}>" for i in reversed(range(most))]
    for text in behind:
        ids.setdefault(text, placed.get(text, len(ids)))
    ids |= {text: id for text, id in placed.items() if text not in ids}
    masks = {
        *(text for role, text in source.role_tokens().items() if role in MASK_ROLES),
        "<mask>",
        "<mask_1>",
        "<mask_2>",
    }
    text_tokens = source.text_tokens()
    added = [
        AddedToken(id, text, _role(text, masks, text_tokens), text == "<mask>")
        for text, id in sorted(ids.items(), key=lambda entry: entry[1])
        if id >= len(pieces) or text in masks or _SENTINEL.fullmatch(text)
    ]
    base = source.base("spm", ids)
    unk = ids.get("<unk>", base.unk)
    frame = _frame(source, layout, base.end) if layout in FAIRSEQ else ((), (base.end,))
    languages = {code: ids[code] for code in codes}
    record = replace(base, layout=layout, unk=unk, before=frame[0], after=frame[1], added=tuple(added))
    return _speak(source, replace(record, languages=languages)), {".spm": content}


def _merges(source: TokenizerSource, vocab: bytes, merges: bytes) -> tuple[TokenizerRecord, Files]:
    """BART, which puts <s> and </s> around a text, and Blenderbot, which puts a space before and the end after it."""
    ids = vocabulary_of(vocab, where=str(source.folder.path / "vocab.json"))
    placed = source.token_ids()
    ids |= {text: id for text, id in placed.items() if text not in ids}
    base, names = source.base("merges", ids), {**DEFAULT_TOKENS, "mask_token": "<mask>", **source.role_tokens()}
    blender = "blenderbot" in (source.model_type + source.kind).lower()
    first = [] if blender else [ids[name] for name in (names.get("cls_token", names["bos_token"]),) if name in ids]
    masks, text_tokens = {names["mask_token"]}, source.text_tokens()
    controls = {*names.values(), *source.extra_special_tokens()} & ids.keys() | placed.keys()
    strips = source.stripping_tokens() | (masks if blender else set())
    added = tuple(
        AddedToken(ids[text], text, _role(text, masks, text_tokens), text in strips) for text in sorted(controls)
    )
    spaced = source.flag("add_prefix_space", blender)
    record = replace(base, before=tuple(first), after=(base.end,), added=added, spaced=spaced)
    return record, {".vocab.json": vocab, ".merges.txt": merges}


def _m2m(source: TokenizerSource, vocab: bytes, spm: bytes) -> tuple[TokenizerRecord, Files]:
    ids = vocabulary_of(vocab, where=str(source.folder.path / "vocab.json"))
    codes = WMT21 if source.text_setting("language_codes") == "wmt21" else M2M100
    languages = {code: len(ids) + i for i, code in enumerate(codes)}
    tokens = {f"__{code}__": id for code, id in languages.items()}
    base = source.base("pieces", ids | tokens)
    control = {text for text in (*DEFAULT_TOKENS.values(), *source.role_tokens().values()) if text in ids}
    added = (
        *(AddedToken(ids[text], text) for text in sorted(control)),
        *(AddedToken(id, text) for text, id in tokens.items()),
    )
    added = (*added, *_words(source, ids | tokens))
    record = replace(base, before=(LANGUAGE,), after=(base.end,), added=added, languages=languages)
    return _speak(source, record), {".vocab.json": vocab, ".spm": spm}


def _speech2text(source: TokenizerSource, vocab: bytes, spm: bytes) -> tuple[TokenizerRecord, Files]:
    """Speech2Text, whose languages, if it translates, are pieces of the model: <lang:de>."""
    if source.flag("do_upper_case"):
        raise ModelError(
            f"`do_upper_case` of `{source.where}` must be false, since texts keep their case, but is true."
        )
    ids = vocabulary_of(vocab, where=str(source.folder.path / "vocab.json"))
    base = source.base("pieces", ids)
    control = {text for text in (*DEFAULT_TOKENS.values(), *source.role_tokens().values()) if text in ids}
    control |= {text for text in ids if _SPOKEN.fullmatch(text)}
    added = (*(AddedToken(ids[text], text) for text in sorted(control)), *_words(source, ids))
    return replace(base, after=(base.end,), added=added), {".vocab.json": vocab, ".spm": spm}


def _marian(source: TokenizerSource) -> list[tuple[TokenizerRecord, Files]]:
    """Two sentencepiece models with one vocabulary; two vocabularies with `separate_vocabs`."""
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
    """ByT5: sentinels after the bytes, <extra_id_0> first."""
    listed = [text for text in source.extra_special_tokens() if _SENTINEL.fullmatch(text)]
    names = listed or [f"<extra_id_{i}>" for i in range(_BYT5_SENTINELS)]
    ids = {"<pad>": 0, "</s>": 1, "<unk>": 2} | {text: 259 + i for i, text in enumerate(names)}
    base = source.base("bytes", ids)
    masks = tuple(AddedToken(ids[text], text, "mark") for text in names)
    return replace(base, after=(base.end,), added=(*masks, *_words(source, ids))), {}


def _words(source: TokenizerSource, ids: Mapping[str, int]) -> tuple[AddedToken, ...]:
    """The words that were added to a tokenizer after its own `ids`, in order."""
    placed, text_tokens, last = source.token_ids(), source.text_tokens(), max(ids.values(), default=-1)
    found = sorted((id, text) for text, id in placed.items() if text in text_tokens and id > last and text not in ids)
    return tuple(AddedToken(id, text, "text") for id, text in found)


def _role(text: str, masks: Collection[str], text_tokens: Collection[str]) -> Role:
    return "mark" if text in masks or _SENTINEL.fullmatch(text) else "text" if text in text_tokens else "control"


def _spiece(source: TokenizerSource) -> Layout:
    return "pegasus" if "pegasus" in (source.model_type + source.kind).lower() else "t5"


def _family(source: TokenizerSource, tokens: Iterable[str]) -> Layout:
    """The fairseq family of a folder, by the tokenizer class it names, else by its languages."""
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
    """The position of the language token: after the end in mBART, before the text in later families."""
    behind = family == "mbart" or source.flag("legacy_behaviour")
    return ((), (end, LANGUAGE)) if behind else ((LANGUAGE,), (end,))


def _speak(source: TokenizerSource, record: TokenizerRecord) -> TokenizerRecord:
    """The record with the languages that the folder names; the family's default for an unnamed source language."""
    if not record.languages:
        return record
    codes = {id: code for code, id in record.languages.items()}
    usual = next((code for code in ("en_XX", "eng_Latn", "en") if code in record.languages), next(iter(codes.values())))
    spoken = source.text_setting("src_lang")
    forced = source.config.get("forced_bos_token_id")
    target = (
        source.text_setting("tgt_lang")
        or codes.get(forced if isinstance(forced, int) else -1)
        or codes.get(record.start)
    )
    behind = record.after[-1:] == (LANGUAGE,) and source.model_type == "mbart"
    return replace(record, source_language=spoken or usual, target_language=target, starts_with_language=behind)
