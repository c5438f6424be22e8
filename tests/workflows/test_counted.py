"""Marian and M2M-100 as a base with fewer and more words, and given back to transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from workflows.test_fine_tuning import STILL, tuned
from workflows.test_trimming import logits

import antiphon
from antiphon.workflows import train

hub = pytest.importorskip("text.hub", reason="needs transformers, which writes the folders", exc_type=ImportError)

SHAPE = {
    "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 20, "decoder_ffn_dim": 20, "max_position_embeddings": 64,
}  # fmt: skip
PAIRS = [("The Hund can see", "le garçon est là"), ("Der Hund läuft schnell", "the dog"), ("2024 word", "by word")]


def base(name: str, folder: Path) -> Path:
    """A random checkpoint with a real tokenizer."""
    import transformers

    made = hub.make(name, folder, hub.sentences())
    marks = {"pad_token_id": made.reference.pad_token_id, "eos_token_id": made.reference.eos_token_id}
    size = {"vocab_size": max(len(made.reference), made.config.get("vocab_size", 0))}
    torch.manual_seed(0)
    if name == "marian":
        start = {"decoder_start_token_id": marks["pad_token_id"]}
        model = transformers.MarianMTModel(transformers.MarianConfig(**SHAPE, **marks, **size, **start))
    else:
        config = transformers.M2M100Config(**SHAPE, **marks, **size, decoder_start_token_id=2)
        model = transformers.M2M100ForConditionalGeneration(config)
        model.generation_config.forced_bos_token_id = made.reference.lang_token_to_id["__fr__"]
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", ["marian", "m2m"])
def test_a_base_is_trimmed_extended_and_given_back(name: str, tmp_path: Path) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    folder = base(name, tmp_path / "base")
    data = {"train": [(f"<ago> {source}", target) for source, target in PAIRS], "valid": PAIRS[:1]}
    tokenizer = {"trim": True, "add": ["<ago>"]}
    run = train(tuned(tmp_path / "run", folder, data=data, tokenizer=tokenizer, training=STILL), quiet=True)
    old, new = antiphon.load(folder, device="cpu"), antiphon.load(run.folder, device="cpu")
    assert new.network.vocab_size == new.tokenizer.vocab_size < old.network.vocab_size
    assert new.tokenizer.languages == old.tokenizer.languages
    for source, target in PAIRS:
        assert new.source_tokenizer.tokens(source) == old.source_tokenizer.tokens(source)
        pieces = new.target_tokenizer.pieces(range(new.network.vocab_size), specials=True)
        whole = {
            old.target_tokenizer.pieces([id], specials=True)[0]: id for id in range(old.target_tokenizer.vocab_size)
        }
        kept = [id for id, piece in enumerate(pieces) if piece in whole]
        assert len(kept) == len(pieces) - 1  # the new word
        mine, theirs = logits(new, source, target)[:, kept], logits(old, source, target)
        torch.testing.assert_close(mine, theirs[:, [whole[pieces[id]] for id in kept]])
    if name == "m2m":
        assert new.target_tokenizer.pieces([*new.special_tokens.first], specials=True) == ["__fr__"]

    new.save(tmp_path / "back", format="huggingface")
    theirs, reference = (kind.from_pretrained(tmp_path / "back") for kind in (AutoModelForSeq2SeqLM, AutoTokenizer))
    source, target = f"<ago> {PAIRS[0][0]}", PAIRS[0][1]
    ids = reference(source).input_ids
    assert ids == new.source_tokenizer.encode(source)
    labels = reference(text_target=target).input_ids
    assert labels == new.target_tokenizer.encode(target)
    begun = torch.tensor([[theirs.config.decoder_start_token_id, *labels[:-1]]])
    with torch.no_grad():
        found = theirs.eval()(input_ids=torch.tensor([ids]), decoder_input_ids=begun).logits[0]
    torch.testing.assert_close(found, logits(new, source, target), rtol=1e-4, atol=1e-5)
