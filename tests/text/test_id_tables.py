"""Marian, M2M-100 and ByT5 with other vocabularies, given back to transformers, which gives equal ids.

Their ids are not a tokenizer.json's: a vocab.json counts the pieces of sentencepiece, or they are bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from antiphon.errors import ConfigError
from antiphon.text import Tokenizer, load_pretrained_tokenizers, pretrained_files
from antiphon.text.extending import extend
from antiphon.text.trimming import trim

hub = pytest.importorskip("text.hub", reason="needs transformers, which writes the folders", exc_type=ImportError)

FEW = ["The Hund can see le garçon.", "Der Hund läuft schnell", "2024 word by word"]
OTHERS = [*hub.sentences()[:60], "☃ unseen 日本語", "", " two  spaces ", ">>deu<< The Hund"]
WORDS = ["<ago>", "Stundenplan", "Stunden"]
MIXED = ["<ago> in Stundenplan", "ab<ago>cd Stunden", "Stundenplan", " <ago>  <ago>"]
COUNTED = ["marian", "marian_apart", "m2m"]


def pair(folder: Path, config: dict[str, Any]) -> tuple[Tokenizer, Tokenizer]:
    found = load_pretrained_tokenizers(folder, config)
    return found[0], found[-1]


def published(folder: Path, source: Tokenizer, target: Tokenizer) -> Any:
    """transformers' tokenizer for the folder that we write."""
    from transformers import AutoTokenizer

    folder.mkdir()
    (folder / "config.json").write_text("{}")
    for name, content in pretrained_files(source, target).items():
        (folder / name).write_bytes(content)
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("name", COUNTED)
def test_trimmed_and_given_back(name: str, tmp_path: Path) -> None:
    made = hub.make(name, tmp_path / "whole", hub.sentences())
    sides = pair(made.path, made.config)
    whole = sides[0].paired(sides[1])
    used = {id for side in sides for ids in side.encode_batch(FEW) for id in ids}
    if name == "marian_apart":
        fewer = [trim(side, {id for ids in side.encode_batch(FEW) for id in ids}) for side in sides]
    else:
        fewer = [trim(whole, used)] * 2
    new = (fewer[0].tokenizer, fewer[1].tokenizer.as_target())
    for old, side, kept in zip(sides, new, (one.old_ids for one in fewer), strict=True):
        assert side.vocab_size == len(kept) < old.vocab_size
        for text, ids, before in zip(FEW, side.encode_batch(FEW), old.encode_batch(FEW), strict=True):
            assert [kept[id] for id in ids] == before
            assert side.decode(ids) == old.decode(before), text
        places = {id: place for place, id in enumerate(kept)}
        for text, ids in zip(OTHERS, old.encode_batch(OTHERS), strict=True):
            assert side.encode(text) == [places.get(id, side.unk_id) for id in ids], text
    assert (new[0].pad_id, new[0].end_id, new[0].unk_id) == (new[1].pad_id, new[1].end_id, new[1].unk_id)

    theirs = published(tmp_path / "back", *new)
    for text in [*FEW, *OTHERS[:40]]:
        assert theirs(text).input_ids == new[0].encode(text), text
        assert theirs(text_target=text).input_ids == new[1].encode(text), text
    again = pair(tmp_path / "back", {**made.config, **sizes(new), "pad_token_id": new[0].pad_id, "eos_token_id": None})
    for text in [*FEW, *OTHERS]:
        assert again[0].encode(text) == new[0].encode(text) and again[1].encode(text) == new[1].encode(text)
    assert again[0].languages == new[0].languages == sides[0].languages


def sizes(pair: tuple[Tokenizer, Tokenizer]) -> dict[str, int | None]:
    names = ("vocab_size", "decoder_vocab_size")
    return {name: side.vocab_size for name, side in zip(names, pair, strict=True)} | {"decoder_start_token_id": None}


@pytest.mark.parametrize("name", ["marian", "m2m", "byt5"])
def test_extended_and_given_back(name: str, tmp_path: Path) -> None:
    made = hub.make(name, tmp_path / "whole", hub.sentences())
    sides = pair(made.path, made.config)
    whole = sides[0].paired(sides[1])
    wide = extend(whole, WORDS)
    new = (wide, wide.as_target())
    first = whole.vocab_size
    assert wide.vocab_size == first + 3
    for old, side in zip(sides, new, strict=True):
        assert [side.encode(text) for text in (*FEW, *OTHERS)] == [old.encode(text) for text in (*FEW, *OTHERS)]
        assert side.alone("<ago>Stunden Stundenplan")[:2] == [first, first + 2]
        assert side.alone("Stundenplan") == [first + 1] and side.decode([first + 1]) == "Stundenplan"
        assert side.tokens("<ago>") == ["<ago>"]
    theirs = published(tmp_path / "back", *new)
    for text in [*MIXED, *FEW]:
        assert theirs(text).input_ids == new[0].encode(text), text
        assert theirs(text_target=text).input_ids == new[1].encode(text), text
    again = pair(tmp_path / "back", {**made.config, "vocab_size": wide.vocab_size})
    wide.save(tmp_path / "own")
    for found in (again[0], Tokenizer.load(tmp_path / "own")):
        assert found.vocab_size == wide.vocab_size
        for text in [*MIXED, *FEW, *OTHERS]:
            assert found.encode(text) == wide.encode(text), text
            assert found.decode(found.encode(text)) == wide.decode(wide.encode(text))


@pytest.mark.parametrize("name", ["marian", "m2m"])
def test_trimmed_then_extended_and_trimmed_again(name: str, tmp_path: Path) -> None:
    made = hub.make(name, tmp_path / "whole", hub.sentences())
    whole = pair(made.path, made.config)[0]
    used = {id for ids in whole.encode_batch(FEW) for id in ids}
    fewer = trim(whole, used).tokenizer
    wide = extend(fewer, WORDS)
    assert published(tmp_path / "back", wide, wide.as_target())(MIXED[0]).input_ids == wide.encode(MIXED[0])
    again = trim(wide, {id for ids in wide.encode_batch(FEW[:1]) for id in ids})
    assert again.tokenizer.vocab_size < wide.vocab_size
    for text in (FEW[0], MIXED[2], "<ago>"):
        assert [again.old_ids[id] for id in again.tokenizer.encode(text)] == wide.encode(text), text


def test_what_cannot_change_says_why(tmp_path: Path) -> None:
    made = {name: hub.make(name, tmp_path / name, hub.sentences()) for name in ("byt5", "marian", "marian_apart")}
    found = {name: pair(one.path, one.config)[0] for name, one in made.items()}
    with pytest.raises(ConfigError, match="a tokenizer of bytes needs all of its 256, so it cannot be trimmed"):
        trim(found["byt5"], {5})
    with pytest.raises(ConfigError, match=r"a Marian with two vocabularies would have two\. Leave `add` out"):
        extend(found["marian_apart"], WORDS)
    with pytest.raises(ConfigError, match="must be new, but `▁der` is a token already"):
        extend(found["marian"], ["▁der"])
    with pytest.raises(ConfigError, match="must be new, but `<extra_id_3>` is a token already"):
        extend(found["byt5"], ["<extra_id_3>"])
