"""Writes a tokenizer as the files of a Hugging Face folder: those that it was read from, with their original names.

    published(source, target)["tokenizer.json"]         # bytes, to be written next to the model's config.json

If the folder had a sentencepiece model, or vocab.json with merges.txt, but no tokenizer.json, one is added, since
transformers needs other libraries to read those. The config files hold what transformers needs (class, special tokens,
languages). They are unchanged except for the languages, which are the current ones, and `auto_map`, which names code
and is dropped.
"""

from __future__ import annotations

import json

import tokenizers
from tokenizers import models, processors

from antiphon.text.decoding import complete_decoder
from antiphon.text.pretrained.files import json_mapping
from antiphon.text.pretrained.layouts import FAIRSEQ
from antiphon.text.pretrained.record import TokenizerRecord
from antiphon.text.pretrained.source import CONFIG_FILES
from antiphon.text.pretrained.vocabulary import PretrainedVocabulary
from antiphon.text.vocabulary import Vocabulary, reset_training_settings, template

CONFIG = CONFIG_FILES[0]
_NAMES = {
    ".json": "tokenizer.json",
    ".source.spm": "source.spm",
    ".target.spm": "target.spm",
    ".vocab.json": "vocab.json",
    ".merges.txt": "merges.txt",
    **{f".{name}": name for name in CONFIG_FILES},
}


def published(source: PretrainedVocabulary, target: PretrainedVocabulary) -> dict[str, bytes]:
    """The files of a folder by name. Marian's two vocabularies get separate files if they differ."""
    record = source.record
    found = {_name(suffix, record): content for suffix, content in source.raw_files.items()}
    if not source.shares(target):
        found["source.spm"] = found.pop("spiece.model")
        found["target.spm"], found["target_vocab.json"] = target.raw_files[".spm"], target.raw_files[".vocab.json"]
    if (content := source.as_json()) is not None:
        found["tokenizer.json"] = enclosed(content, source)
    small = json_mapping(found.get(CONFIG, b"{}"), where=CONFIG)
    small.pop("auto_map", None)
    for key, code in (("src_lang", record.source_language), ("tgt_lang", target.record.target_language)):
        if code is not None:
            small[key] = code
    if small:
        found[CONFIG] = (json.dumps(small, ensure_ascii=False, indent=2) + "\n").encode()
    return found


def enclosed(content: bytes, vocabulary: Vocabulary) -> bytes:
    """A tokenizer.json whose template adds the special ids around a text."""
    rust = tokenizers.Tokenizer.from_buffer(content)
    changed = rust.decoder is None or (isinstance(rust.model, models.BPE) and rust.model.dropout is not None)
    reset_training_settings(rust)
    complete_decoder(rust)
    if template(rust) == vocabulary.frame:
        return rust.to_str().encode() if changed else content
    before, after = ([(vocabulary.piece(id), id) for id in ids] for ids in vocabulary.frame)
    whole = " ".join([*(name for name, _ in before), "$A", *(name for name, _ in after)])
    framed = processors.TemplateProcessing(single=whole, pair=f"{whole} $B", special_tokens=[*before, *after])
    own = [] if rust.post_processor is None else [rust.post_processor]
    rust.post_processor = processors.Sequence([*own, framed]) if own else framed
    return rust.to_str().encode()


def _name(suffix: str, record: TokenizerRecord) -> str:
    if suffix == ".spm":
        fairseq = record.layout in FAIRSEQ or (record.kind == "pieces" and record.layout != "marian")
        return "sentencepiece.bpe.model" if fairseq else "spiece.model"
    return _NAMES[suffix]
