"""Folders as the hub has them: real tokenizer files trained on a few sentences, written by transformers or by hand.

folder = FOLDERS["mbart50"](tmp_path, texts)       # with a `reference`, the tokenizer of transformers, and its config
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
from transformers.models.bart.tokenization_bart import BartTokenizer
from transformers.models.blenderbot.tokenization_blenderbot import BlenderbotTokenizer
from transformers.models.byt5.tokenization_byt5 import ByT5Tokenizer
from transformers.models.m2m_100.tokenization_m2m_100 import M2M100Tokenizer
from transformers.models.marian.tokenization_marian import MarianTokenizer
from transformers.models.mbart.tokenization_mbart import MBartTokenizer
from transformers.models.mbart50.tokenization_mbart50 import MBart50Tokenizer
from transformers.models.nllb.tokenization_nllb import NllbTokenizer
from transformers.models.pegasus.tokenization_pegasus import PegasusTokenizer
from transformers.models.t5.tokenization_t5 import T5Tokenizer

Texts = Sequence[str]
TEXT = """
the of and to in is that it was for on are with as his they be at one have this from or had by hot word but
what some we can out other were all there when up use your how said an each she which their time will way
about many then them write would like so these her long make thing see him two has look more day could go come
did number sound no most people my over know water than call first who may down side been now find der die und
das nicht ein eine mit für auf dem sich den von ist im Straße Mädchen über können größer Haus Hund läuft
schnell le la les des est à été où français garçon cœur naïve 日本 語 です 今日 مرحبا сегодня погода 2024 3,50 1.000
don't it's
"""
WORDS = TEXT.split()
PRINTABLE = "".join(map(chr, range(33, 127)))


def sentences() -> list[str]:
    """What the tokenizers are trained on: made up of words in several scripts, every printable ASCII character too."""
    rng = random.Random("hub")
    made = [" ".join(rng.choices(WORDS, k=rng.randint(2, 12))).capitalize() + rng.choice(".!?") for _ in range(600)]
    return [*made, " ".join(PRINTABLE), PRINTABLE]


@dataclass
class HubFolder:
    """path: the folder. reference: transformers' tokenizer for it. config: what its config.json says."""

    path: Path
    reference: Any
    config: dict[str, Any]
    sides: dict[str, str] = field(default_factory=dict)  # the languages that the reference was set to


def train_spm(texts: Texts, **settings: Any) -> bytes:
    """A sentencepiece model of about `vocab_size` pieces."""
    model = io.BytesIO()
    given = {"vocab_size": 400, "hard_vocab_limit": False, "minloglevel": 2, "num_threads": 1, **settings}
    if given.get("model_type") == "bpe":
        del given["hard_vocab_limit"]
    sentencepiece.SentencePieceTrainer.Train(sentence_iterator=iter(texts), model_writer=model, **given)
    return model.getvalue()


def pieces_of(content: bytes) -> list[tuple[str, float]]:
    """The pieces and scores, as sentencepiece itself says them."""
    model = sentencepiece.SentencePieceProcessor(model_proto=content)
    return [(model.id_to_piece(id), model.get_score(id)) for id in range(model.vocab_size())]


def charsmap_of(content: bytes) -> bytes | None:
    """The normalizer's table: field 2 of field 3, found by its place before the flags that follow it."""
    from antiphon.text.pretrained.pieces import read_spm

    return read_spm(content).charsmap or None


def finish(folder: Path, reference: Any, config: dict[str, Any], **sides: str) -> HubFolder:
    config = {"vocab_size": len(reference), "pad_token_id": reference.pad_token_id, **config}
    config.setdefault("eos_token_id", reference.eos_token_id)
    (folder / "config.json").write_text(json.dumps(config))
    return HubFolder(folder, reference, config, sides)


def t5(folder: Path, texts: Texts) -> HubFolder:
    spm = train_spm(texts, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    sentinels = [(f"<extra_id_{i}>", 0.0) for i in reversed(range(100))]
    made = T5Tokenizer(vocab=[*pieces_of(spm), *sentinels], _spm_precompiled_charsmap=charsmap_of(spm))
    made.save_pretrained(folder)
    return finish(folder, T5Tokenizer.from_pretrained(folder), {"model_type": "t5", "decoder_start_token_id": 0})


def t5_spm(folder: Path, texts: Texts) -> HubFolder:
    """As t5-small was published: spiece.model, and tokenizer_config.json without ids."""
    made = t5(folder, texts)
    spm = train_spm(texts, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    (folder / "tokenizer.json").unlink()
    (folder / "spiece.model").write_bytes(spm)
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 512, "extra_ids": 100}))
    return made


def pegasus(folder: Path, texts: Texts) -> HubFolder:
    spm = train_spm(texts, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    skipped = [(f"<unk_{i}>", -100.0) for i in range(2, 103)]
    pieces = pieces_of(spm)
    vocab = [*pieces[:2], ("<mask_1>", 0.0), ("<mask_2>", 0.0), *skipped, *pieces[2:]]
    made = PegasusTokenizer(vocab=vocab, _spm_precompiled_charsmap=charsmap_of(spm))
    made.save_pretrained(folder)
    (folder / "spiece.model").write_bytes(spm)
    found = PegasusTokenizer.from_pretrained(folder)
    return finish(folder, found, {"model_type": "pegasus", "decoder_start_token_id": 0})


def pegasus_spm(folder: Path, texts: Texts) -> HubFolder:
    made = pegasus(folder, texts)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PegasusTokenizer"}))
    return made


def fairseq(spm: bytes, codes: Sequence[str]) -> list[tuple[str, float]]:
    head = [(name, 0.0) for name in ("<s>", "<pad>", "</s>", "<unk>")]
    return [*head, *pieces_of(spm)[3:], *((code, 0.0) for code in codes), ("<mask>", 0.0)]


def mbart(folder: Path, texts: Texts) -> HubFolder:
    from transformers.models.mbart.tokenization_mbart import FAIRSEQ_LANGUAGE_CODES

    spm = train_spm(texts, normalization_rule_name="identity")
    made = MBartTokenizer(vocab=fairseq(spm, FAIRSEQ_LANGUAGE_CODES), src_lang="en_XX", tgt_lang="ro_RO")
    made.save_pretrained(folder)
    found = MBartTokenizer.from_pretrained(folder)
    start = found.convert_tokens_to_ids("ro_RO")
    config = {"model_type": "mbart", "decoder_start_token_id": start}
    (folder / "sentencepiece.bpe.model").write_bytes(spm)
    return finish(folder, found, config, source="en_XX", target="ro_RO")


def mbart_spm(folder: Path, texts: Texts) -> HubFolder:
    made = mbart(folder, texts)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"src_lang": "en_XX", "tgt_lang": "ro_RO"}))
    return made


def mbart50(folder: Path, texts: Texts) -> HubFolder:
    from transformers.models.mbart50.tokenization_mbart50 import FAIRSEQ_LANGUAGE_CODES

    spm = train_spm(texts)
    made = MBart50Tokenizer(
        vocab=fairseq(spm, FAIRSEQ_LANGUAGE_CODES),
        _spm_precompiled_charsmap=charsmap_of(spm),
        src_lang="de_DE",
        tgt_lang="fr_XX",
    )
    made.save_pretrained(folder)
    (folder / "sentencepiece.bpe.model").write_bytes(spm)
    found = MBart50Tokenizer.from_pretrained(folder)
    config = {"model_type": "mbart", "decoder_start_token_id": 2}
    return finish(folder, found, config, source="de_DE", target="fr_XX")


def mbart50_spm(folder: Path, texts: Texts) -> HubFolder:
    made = mbart50(folder, texts)
    (folder / "tokenizer.json").unlink()
    said = {"src_lang": "de_DE", "tgt_lang": "fr_XX", "tokenizer_class": "MBart50Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return made


def nllb(folder: Path, texts: Texts) -> HubFolder:
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

    spm = train_spm(texts, model_type="bpe", vocab_size=300)
    normal = [text for text, _ in pieces_of(spm)[3:]]
    first, last = ["<s>", "<pad>", "</s>", "<unk>"], [*FAIRSEQ_LANGUAGE_CODES, "<mask>"]
    vocab = {text: id for id, text in enumerate([*first, *normal, *last])}  # as published
    ranks = {text: id for id, text in enumerate(normal)}
    merges = [
        (text[:cut], text[cut:])
        for text in normal
        for cut in range(1, len(text))
        if text[:cut] in ranks and text[cut:] in ranks
    ]
    made = NllbTokenizer(
        vocab=vocab,
        merges=merges,
        _spm_precompiled_charsmap=charsmap_of(spm),
        src_lang="eng_Latn",
        tgt_lang="deu_Latn",
    )
    made.save_pretrained(folder)
    (folder / "sentencepiece.bpe.model").write_bytes(spm)
    found = NllbTokenizer.from_pretrained(folder)
    config = {"model_type": "m2m_100", "decoder_start_token_id": 2}
    return finish(folder, found, config, source="eng_Latn", target="deu_Latn")


def nllb_spm(folder: Path, texts: Texts) -> HubFolder:
    made = nllb(folder, texts)
    (folder / "tokenizer.json").unlink()
    return made


def joint(*models: bytes) -> list[str]:
    """The pieces of several models, each once, in their order."""
    return list(dict.fromkeys(text for spm in models for text, _ in pieces_of(spm)[3:]))


def m2m(folder: Path, texts: Texts) -> HubFolder:
    spm = train_spm(texts)
    vocab = {text: id for id, text in enumerate(["<s>", "<pad>", "</s>", "<unk>", *joint(spm)[:-5]])}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "sentencepiece.bpe.model").write_bytes(spm)
    files = str(folder / "vocab.json"), str(folder / "sentencepiece.bpe.model")
    from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

    listed = [f"__{code}__" for code in FAIRSEQ_LANGUAGE_CODES["m2m100"]]  # as the hub's folder lists them
    made = M2M100Tokenizer(*files, src_lang="en", tgt_lang="fr", additional_special_tokens=listed)
    made.save_pretrained(folder)
    found = M2M100Tokenizer.from_pretrained(folder)
    config = {"model_type": "m2m_100", "decoder_start_token_id": 2, "vocab_size": len(vocab) + 100 + 8}
    return finish(folder, found, config, source="en", target="fr")


def speech2text(folder: Path, texts: Texts) -> HubFolder:
    """Of several languages, which are pieces of the model."""
    from transformers import Speech2TextTokenizer

    codes = [f"<lang:{code}>" for code in ("pt", "fr", "ru", "nl", "ro", "it", "es", "de")]
    spm = train_spm(texts, user_defined_symbols=codes)
    vocab = {text: id for id, text in enumerate(["<s>", "<pad>", "</s>", "<unk>", *joint(spm)])}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "sentencepiece.bpe.model").write_bytes(spm)
    files = str(folder / "vocab.json"), str(folder / "sentencepiece.bpe.model")
    made = Speech2TextTokenizer(*files)
    made.save_pretrained(folder)
    found = Speech2TextTokenizer.from_pretrained(folder)
    return finish(folder, found, {"model_type": "speech_to_text", "decoder_start_token_id": 2})


def marian(folder: Path, texts: Texts) -> HubFolder:
    sides = train_spm(texts[::2]), train_spm(texts[1::2], vocab_size=300)
    words = ["</s>", "<unk>", *joint(*sides), ">>fra<<", ">>deu<<", "<pad>"]
    for name, spm in zip(("source", "target"), sides, strict=True):
        (folder / f"{name}.spm").write_bytes(spm)
    (folder / "vocab.json").write_text(json.dumps({text: id for id, text in enumerate(words)}))
    files = (str(folder / name) for name in ("source.spm", "target.spm", "vocab.json"))
    made = MarianTokenizer(*files, source_lang="eng", target_lang="deu")
    made.save_pretrained(folder)
    found = MarianTokenizer.from_pretrained(folder)
    config = {"model_type": "marian", "decoder_start_token_id": found.pad_token_id, "eos_token_id": 0}
    return finish(folder, found, config)


def marian_apart(folder: Path, texts: Texts) -> HubFolder:
    sides = train_spm(texts[::2]), train_spm(texts[1::2], vocab_size=300)
    for name, spm in zip(("source", "target"), sides, strict=True):
        (folder / f"{name}.spm").write_bytes(spm)
        words = ["</s>", "<unk>", "<pad>", *joint(spm)]
        file = folder / ("vocab.json" if name == "source" else "target_vocab.json")
        file.write_text(json.dumps({text: id for id, text in enumerate(words)}))
    files = [str(folder / name) for name in ("source.spm", "target.spm", "vocab.json", "target_vocab.json")]
    made = MarianTokenizer(*files, source_lang="eng", target_lang="deu", separate_vocabs=True)
    made.save_pretrained(folder)
    found = MarianTokenizer.from_pretrained(folder)
    size = len(json.loads((folder / "target_vocab.json").read_text()))
    config = {"model_type": "marian", "decoder_vocab_size": size, "eos_token_id": 0}
    return finish(folder, found, config)


def level(texts: Texts, folder: Path, specials: list[str]) -> None:
    """vocab.json and merges.txt of a byte-level BPE."""
    rust = tokenizers.ByteLevelBPETokenizer()
    rust.train_from_iterator(texts, vocab_size=450, special_tokens=specials, show_progress=False)
    rust.save_model(str(folder))


def bart(folder: Path, texts: Texts) -> HubFolder:
    made = bart_old(folder, texts)
    made.reference.save_pretrained(folder)
    (folder / "vocab.json").unlink(missing_ok=True)
    return made


def bart_old(folder: Path, texts: Texts) -> HubFolder:
    level(texts, folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    found = BartTokenizer.from_pretrained(folder)
    config = {"model_type": "bart", "decoder_start_token_id": 2, "forced_eos_token_id": 2}
    return finish(folder, found, config)


def blenderbot(folder: Path, texts: Texts) -> HubFolder:
    """As the hub has it: a tokenizer.json whose template puts the end behind a text."""
    level(texts, folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    made = BlenderbotTokenizer.from_pretrained(folder)
    made._tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A </s>", pair="$A $B </s>", special_tokens=[("</s>", made.eos_token_id)]
    )
    made.save_pretrained(folder)
    (folder / "vocab.json").unlink(missing_ok=True)
    config = {"model_type": "blenderbot", "decoder_start_token_id": 0}
    return finish(folder, BlenderbotTokenizer.from_pretrained(folder), config)


def blenderbot_old(folder: Path, texts: Texts) -> HubFolder:
    made = blenderbot(folder, texts)
    level(texts, folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    return made


def byt5(folder: Path, texts: Texts) -> HubFolder:
    ByT5Tokenizer().save_pretrained(folder)
    found = ByT5Tokenizer.from_pretrained(folder)
    return finish(folder, found, {"model_type": "t5", "decoder_start_token_id": 0, "vocab_size": 384})


FOLDERS: dict[str, Callable[[Path, Texts], HubFolder]] = {
    make.__name__: make
    for make in (
        t5, t5_spm, pegasus, pegasus_spm, mbart, mbart_spm, mbart50, mbart50_spm, nllb, nllb_spm, m2m, speech2text,
        marian, marian_apart, bart, bart_old, blenderbot, blenderbot_old, byt5,
    )
}  # fmt: skip


def make(name: str, folder: Path, texts: Texts) -> HubFolder:
    """The folder called `name`, made without a word on the terminal."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.redirect_stdout(io.StringIO()):
        return FOLDERS[name](folder, texts)
