"""A tokenizer as the files of a Hugging Face folder: those that it was read from, under their names there.

    published(source, target)["tokenizer.json"]         # bytes, to be written beside the model's config.json

Where the folder had a sentencepiece model, or vocab.json with merges.txt, and no tokenizer.json, there is one besides:
transformers needs other libraries to read those. The small files say what transformers must know (its class, special
tokens, languages). They are kept as they were, but for the languages, which are those of the texts now, and `auto_map`,
which names code.
"""

from __future__ import annotations

import json

import tokenizers
from tokenizers import models, processors

from antiphon.text.decoding import complete_decoder
from antiphon.text.pretrained.files import json_mapping
from antiphon.text.pretrained.layouts import FAIRSEQ
from antiphon.text.pretrained.record import TokenizerRecord
from antiphon.text.pretrained.source import SMALL
from antiphon.text.pretrained.vocabulary import PretrainedVocabulary
from antiphon.text.vocabulary import Vocabulary, forget_training, template

CONFIG = SMALL[0]
_NAMES = {
    ".json": "tokenizer.json",
    ".source.spm": "source.spm",
    ".target.spm": "target.spm",
    ".vocab.json": "vocab.json",
    ".merges.txt": "merges.txt",
    **{f".{name}": name for name in SMALL},
}


def published(source: PretrainedVocabulary, target: PretrainedVocabulary) -> dict[str, bytes]:
    """The files of a folder by their names; Marian's two vocabularies are told apart where the two are two."""
    record = source.record
    found = {_name(suffix, record): content for suffix, content in source.kept.items()}
    if not source.shares(target):
        found["source.spm"] = found.pop("spiece.model")
        found["target.spm"], found["target_vocab.json"] = target.kept[".spm"], target.kept[".vocab.json"]
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
    """A tokenizer.json that says itself, as its template, what stands before and behind a text."""
    rust = tokenizers.Tokenizer.from_buffer(content)
    changed = rust.decoder is None or (isinstance(rust.model, models.BPE) and rust.model.dropout is not None)
    forget_training(rust)
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
