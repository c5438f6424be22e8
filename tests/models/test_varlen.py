"""`attention.backend: varlen` in a whole network: who computes, and what is said where it cannot."""

from __future__ import annotations

import sys
import warnings

import pytest
import torch
from nn.test_backends import one_by_one
from torch import Tensor

from antiphon.batch import Batch, Example, collate
from antiphon.config import AttentionConfig, ModelConfig
from antiphon.models.build import build_network
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.backends import BACKENDS, Backend
from antiphon.nn.backends.varlen import PackedRows, plain_refuses, varlen
from antiphon.nn.scores import Scores

ROWS = [Example([5, 6, 7, 8, 9, 2], [6, 7, 2], 0), Example([5, 2], [8, 9, 10, 11, 2], 1)]


def network(backend: str) -> EncoderDecoder:
    model = ModelConfig(preset="tiny", d_model=32, num_heads=2, ffn_dim=32, max_length=32, dropout=0.0)
    config = AttentionConfig(backend=backend)  # type: ignore[arg-type]
    return build_network(model, config, source_vocab=12, target_vocab=12, shared=True).eval()


def batch() -> Batch:
    return collate(ROWS, pad_id=0, start_id=1)


def test_the_setting_names_it_and_a_processor_says_that_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["antiphon.nn.attend"], "_warned", set())
    with pytest.warns(UserWarning, match="`varlen` cannot compute .*: it needs a GPU and half precision; `eager` does"):
        found = network("varlen").logits(batch())
    torch.testing.assert_close(found, network("eager").logits(batch()), rtol=0, atol=0)


def test_it_computes_self_attention_in_encoder_and_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all but the kernel, which needs a GPU: padding is left out, and cross-attention is not its own."""
    calls: list[bool] = []

    def kernel(q: Tensor, k: Tensor, v: Tensor, found: PackedRows, *, scale: float, causal: bool) -> Tensor:
        calls.append(causal)
        return one_by_one(q, k, v, found, scale=scale, causal=causal)

    def refuses(q: Tensor, k: Tensor, scores: Scores, *, dropout: object) -> str | None:
        return plain_refuses(scores, dropout=None)

    monkeypatch.setattr(sys.modules[varlen.__module__], "kernel", kernel)
    monkeypatch.setitem(BACKENDS, "varlen", Backend("varlen", varlen, refuses, of_itself=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = network("varlen")
        found = made.logits(batch())
    assert calls == [False] * len(made.encoder.layers) + [True] * len(made.decoder.layers)
    torch.testing.assert_close(found, network("eager").logits(batch()), rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
def test_a_gpu_computes_by_it() -> None:
    on_gpu = Batch.to(batch(), torch.device("cuda"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = network("varlen").cuda().bfloat16().logits(on_gpu)
    wanted = network("eager").cuda().bfloat16().logits(on_gpu)
    torch.testing.assert_close(found.float(), wanted.float(), rtol=0.05, atol=0.05)
