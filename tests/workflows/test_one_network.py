"""One network in four ways: read from torch.nn.Transformer, by hand, saved and loaded, and as the base of a run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import antiphon
from antiphon.batch import Batch
from antiphon.models import Decoder, Encoder, EncoderDecoder, InputEmbedding, Shape
from antiphon.nn import Embedding, Sinusoidal
from antiphon.nn.positions import sinusoids
from antiphon.text import Tokenizer, train_tokenizer

PAIRS = [(f"in {n} hours", f"in {n} Stunden") for n in range(1, 40)]
WIDTH = 16


def by_hand(tokenizer: Tokenizer) -> EncoderDecoder:
    shape = Shape(d_model=WIDTH, num_heads=2, ffn_dim=32, norm_placement="post", final_norm=True)
    encoder = Encoder(["full"] * 2, shape=shape)
    decoder = Decoder(["full"] * 2, ["full"] * 2, shape=shape)
    table = Embedding(tokenizer.vocab_size, WIDTH)
    return EncoderDecoder(
        InputEmbedding(table, Sinusoidal(WIDTH)), encoder, InputEmbedding(table, Sinusoidal(WIDTH)), decoder
    )


def gradients(network: EncoderDecoder, batch: Batch) -> dict[str, Tensor]:
    network.zero_grad()
    network.eval()(batch).backward()
    return {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}


@pytest.fixture
def theirs() -> nn.Transformer:
    torch.manual_seed(0)
    return nn.Transformer(WIDTH, 2, 2, 2, 32, dropout=0.0, batch_first=True).eval()


def test_equal_answers_scores_and_gradients(theirs: nn.Transformer, tmp_path: Path) -> None:
    tokenizer = train_tokenizer([text for pair in PAIRS for text in pair], kind="bpe", vocab_size=280)
    words = Embedding(tokenizer.vocab_size, WIDTH)
    (batch,) = antiphon.batches(PAIRS[:8], tokenizer, shuffle=False)

    read = antiphon.from_torch(theirs, source=words)
    hand = by_hand(tokenizer)
    hand.load_state_dict(read.state_dict())
    torch.save(hand.state_dict(), tmp_path / "weights.pt")
    again = by_hand(tokenizer)
    again.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    models = {"read": antiphon.Model(read, tokenizer), "hand": antiphon.Model(again, tokenizer)}
    models["loaded"] = antiphon.load(models["hand"].save(tmp_path / "hand"), device="cpu")
    still = {"max_steps": 1, "lr": 1e-30, "weight_decay": 0.0, "warmup_steps": 0, "schedule": "constant"}
    recipe = {"data": {"train": PAIRS}, "model": {"base": str(tmp_path / "hand")}, "training": still}
    models["trained"] = antiphon.train({**recipe, "output": str(tmp_path / "run")}, device="cpu", quiet=True).model

    texts = ["in 3 hours", "in 17 hours", "hours"]
    wanted, scores = models["read"].generate(texts, beam_size=3), models["read"].score(*zip(*PAIRS[:3], strict=True))
    slopes = gradients(read, batch)
    for name, model in models.items():
        assert model.generate(texts, beam_size=3) == wanted, name
        assert model.score(*zip(*PAIRS[:3], strict=True)) == scores, name
        found = gradients(model.network, batch)
        assert found.keys() == slopes.keys(), name
        for key, slope in slopes.items():
            torch.testing.assert_close(found[key], slope, rtol=0, atol=1e-7, msg=f"{name}: {key}")

    # And all of them are PyTorch's own.
    def embedded(ids: Tensor) -> Tensor:
        return words(ids) * math.sqrt(WIDTH) + sinusoids(torch.arange(ids.shape[1])[None], WIDTH)

    later = torch.ones(batch.labels.shape[1], batch.labels.shape[1], dtype=torch.bool).triu(1)
    padding = ~batch.source_tokens.valid.expand(batch.source.shape)
    hidden = theirs(
        embedded(batch.source), embedded(batch.target_ids), tgt_mask=later,
        src_key_padding_mask=padding, memory_key_padding_mask=padding,
    )  # fmt: skip
    loss = nn.functional.cross_entropy((hidden @ words.weight.T)[batch.label_mask], batch.labels[batch.label_mask])
    torch.testing.assert_close(models["trained"].network(batch), loss)
    loss.backward()
    assert words.weight.grad is not None
    torch.testing.assert_close(slopes["source.table.weight"], words.weight.grad, rtol=0, atol=1e-6)
