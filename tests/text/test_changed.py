"""Published tokenizers with fewer and with more tokens: the folders of ten families, as transformers writes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from text import hub

from antiphon.text import Tokenizer
from antiphon.text.extending import extend, spelling
from antiphon.text.loading import load_pretrained_tokenizers
from antiphon.text.trimming import trim

TEXTS = hub.sentences()
FEW = [*TEXTS[:20], "the hot word", "größer als"]
COUNTED = ("m2m", "marian", "marian_apart", "byt5")  # test_counted.py
KINDS = [name for name in hub.FOLDERS if name not in COUNTED]


def read(name: str, folder: Path) -> tuple[Tokenizer, Tokenizer]:
    made = hub.make(name, folder, TEXTS)
    return load_pretrained_tokenizers(made.path, made.config)


@pytest.mark.parametrize("name", KINDS)
def test_trimmed_texts_are_split_as_before(name: str, tmp_path: Path) -> None:
    source, target = read(name, tmp_path / "hub")
    used = {id for side in (source, target) for ids in side.encode_batch(FEW) for id in ids}
    whole = source.paired(target)
    made = trim(whole, used)
    assert made.tokenizer.vocab_size < whole.vocab_size
    assert made.tokenizer.languages == whole.languages
    for mine, old in ((made.tokenizer, source), (made.tokenizer.as_target(), target)):
        for text in FEW:
            assert [made.old_ids[id] for id in mine.encode(text)] == old.encode(text), text
            assert mine.decode(mine.encode(text)) == old.decode(old.encode(text))
        for kind in ("pad_id", "start_id", "end_id", "unk_id"):
            id = getattr(mine, kind)
            assert (None if id is None else made.old_ids[id]) == getattr(old, kind), kind
    if (first := target.forced_first()) is not None:
        assert made.old_ids[made.tokenizer.as_target().forced_first() or 0] == first
    made.tokenizer.save(tmp_path, "tokenizer")
    again = Tokenizer.load(tmp_path)
    assert again.encode_batch(FEW) == made.tokenizer.encode_batch(FEW)


@pytest.mark.parametrize("name", KINDS)
def test_a_word_is_one_token_and_other_texts_stay(name: str, tmp_path: Path) -> None:
    source, target = read(name, tmp_path / "hub")
    whole = source.paired(target)
    made = extend(whole, ["<ago>", "Stundenplan"])
    size = whole.vocab_size
    assert made.vocab_size == size + 2 and spelling(whole, "Stundenplan")
    for text in FEW:
        assert made.encode(text) == source.encode(text)
        assert made.as_target().encode(text) == target.encode(text)
    found = made.encode("the <ago> hot Stundenplan word")
    assert [id for id in found if id >= size] == [size, size + 1]
    assert made.decode(made.encode("<ago> 7")).replace(" ", "") == "<ago>7"
    made.save(tmp_path, "tokenizer")
    assert Tokenizer.load(tmp_path).encode("the <ago> hot Stundenplan word") == found
