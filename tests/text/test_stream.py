"""Pieces of text are final, and joined they are the text."""

from __future__ import annotations

import io
import random

import pytest
import sentencepiece
from counts import count
from tokenizers import Tokenizer as Rust
from tokenizers import decoders, models, pre_tokenizers

from antiphon.text import StreamDecoder, Tokenizer


def streamed(tokenizer: Tokenizer, ids: list[int], rng: random.Random) -> list[str]:
    """The pieces when `ids` come in random portions."""
    stream, pieces = StreamDecoder(tokenizer), []
    while ids:
        size = rng.choice((1, 1, 1, 3))
        pieces.append(stream.push(ids[:size]))
        ids = ids[size:]
    return [*pieces, stream.finish()]


def test_joined_pieces_are_the_text(tokenizer, texts, figures):
    rng = random.Random(0)
    for seed in range(count("odd_texts")):
        ids = tokenizer.encode(texts(seed))
        assert "".join(streamed(tokenizer, ids, rng)) == tokenizer.decode(ids) == texts(seed)
    figures.add("texts streamed", count("odd_texts"))


def test_any_ids_stream_as_they_decode(tokenizer):
    """A model may give any ids: broken characters, special ids in the middle."""
    rng = random.Random(1)
    for _ in range(count("odd_texts")):
        ids = [rng.randrange(tokenizer.vocab_size) for _ in range(rng.randrange(20))]
        assert "".join(streamed(tokenizer, ids, rng)) == tokenizer.decode(ids)


def test_a_character_waits_for_its_bytes(tokenizer):
    ids = [id for id in tokenizer.encode("€") if id != tokenizer.end_id]
    stream = StreamDecoder(tokenizer)
    pieces = [stream.push([id]) for id in ids]
    assert "".join(pieces) == "€"
    assert pieces[-1] == "€"


@pytest.fixture(scope="module", params=["spm", "spm with bytes", "wordpiece"])
def foreign(request, training_texts, tmp_path_factory) -> Tokenizer:
    """Tokenizers that decode by rules of their own."""
    folder = tmp_path_factory.mktemp("foreign")
    if request.param == "wordpiece":
        words = ["[UNK]", "[PAD]", "in", "hour", "##s", "3", ".", "don", "'", "t", "[SEP]"]
        rust = Rust(models.WordPiece({word: id for id, word in enumerate(words)}, unk_token="[UNK]"))
        rust.pre_tokenizer = pre_tokenizers.Whitespace()
        rust.decoder = decoders.WordPiece()
        rust.add_special_tokens(["[UNK]", "[PAD]", "[SEP]"])
        rust.save(str(folder / "tokenizer.json"))
    else:
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(training_texts),
            model_writer=model,
            vocab_size=330 if "bytes" in request.param else 75,
            byte_fallback="bytes" in request.param,
            hard_vocab_limit=False,
            minloglevel=2,
        )
        (folder / "spiece.model").write_bytes(model.getvalue())
    return Tokenizer.load(folder)


def test_foreign_decoders_stream_as_they_decode(foreign):
    rng = random.Random(2)
    for _ in range(count("odd_texts")):
        ids = [rng.randrange(foreign.vocab_size) for _ in range(rng.randrange(20))]
        assert "".join(streamed(foreign, ids, rng)) == foreign.decode(ids)
    ids = foreign.encode("in 3 hours")
    pieces = streamed(foreign, ids, rng)
    assert "".join(pieces) == foreign.decode(ids)
    assert len([piece for piece in pieces if piece]) > 1  # it does not wait for the end
