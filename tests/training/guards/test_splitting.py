"""A micro-batch in parts: the gradients of the whole, with the same dropout bits, whatever the network is made of."""

from __future__ import annotations

import random
import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from antiphon.batch import Batch, Example, collate
from antiphon.config import AdapterConfig, AttentionConfig, DistillationConfig, ModelConfig, TrainingConfig
from antiphon.errors import WorkError
from antiphon.inputs.embeddings import FeatureEmbedding
from antiphon.models.build import build_network
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.models.stack import Decoder, Encoder, Shape
from antiphon.nn.convolutions import Convolutions
from antiphon.nn.loss import CrossEntropy
from antiphon.nn.mixout import add_mixout
from antiphon.nn.noise import RowRanges, number_sites
from antiphon.nn.positions import Sinusoidal
from antiphon.training.adapters import Adapter
from antiphon.training.guards.events import RunEvents
from antiphon.training.guards.splitting import MicroBatchSplitter, SplitSizes
from antiphon.training.objectives.distillation import Distillation
from antiphon.training.objectives.r_drop import PairedCrossEntropy, twice

SHAPE: dict[str, Any] = {
    "preset": "tiny", "d_model": 16, "ffn_dim": 24, "num_heads": 2, "dropout": 0.2, "attention_dropout": 0.2,
    "activation_dropout": 0.2, "layer_drop": 0.3, "word_dropout": 0.2, "encoder_layers": 2, "decoder_layers": 2,
}  # fmt: skip


def network(attention: Any = "full", **shape: Any) -> EncoderDecoder:
    config = AttentionConfig(encoder=attention, decoder=attention, cross=attention)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = build_network(
            ModelConfig(**{**SHAPE, **shape}), config, source_vocab=20, target_vocab=20, shared=True, seed=3
        )
    return made.double().train()


def batch(rows: int = 7, longest: int = 9, shortest: int = 2) -> Batch:
    chance = random.Random(rows)
    examples = []
    for index in range(rows):
        row = [chance.randrange(4, 20) for _ in range(chance.randrange(shortest, longest))]
        examples.append(Example([*row, 2], [*row[::-1][: chance.randrange(1, 8)], 2], index))
    return collate(examples, pad_id=0, start_id=1)


def gradients(made: EncoderDecoder, whole: Batch, sizes: SplitSizes, *, criterion: Any, paired: bool = False) -> Any:
    """The sums of the loss and the gradients, by parts, and the number of parts."""
    made.zero_grad(set_to_none=True)
    splitter, sums, count = MicroBatchSplitter(sizes, RunEvents(print)), [0.0, 0.0], 0
    for part in splitter.parts(whole, paired=paired):
        count += 1
        made.noise.set(seed=5, step=11, micro_batch=2, rows=part.rows)
        loss = made(twice(part.batch) if paired else part.batch, criterion(part.batch))
        (loss.objective / 100).backward()
        sums = [sums[0] + float(loss.objective.detach()), sums[1] + float(loss.nll.detach())]
    found = [None if each.grad is None else each.grad.clone() for each in made.parameters()]
    return torch.tensor(sums, dtype=torch.float64), found, count


def assert_equal_in_parts(made: EncoderDecoder, whole: Batch, **objective: Any) -> None:
    rows, width = whole.labels.shape[0], whole.source.shape[1] + whole.labels.shape[1]
    objective.setdefault("criterion", lambda part: CrossEntropy(0.1))
    wanted = gradients(made, whole, SplitSizes(), **objective)
    assert wanted[2] == 1
    for most in (1, 3):
        sizes = SplitSizes(fails_from=rows * width, part_most=most * width)
        found = gradients(made, whole, sizes, **objective)
        assert found[2] == -(-rows // most)
        torch.testing.assert_close(found[0], wanted[0], rtol=1e-12, atol=0)
        for one, other in zip(found[1], wanted[1], strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-14)


ATTENTIONS: dict[str, Any] = {
    "full": "full",
    "rules": {"all": ["relative", {"window": 3}]},
    "additive": "additive",
    "linear": "linear",
    "delta": "delta",
    "sigmoid": "sigmoid",
    "differential": "differential",
    "torch": {"torch_multihead": {"dropout": 0.3}},
    "torch with more keys": {"torch_multihead": {"dropout": 0.3, "add_zero_attn": True, "add_bias_kv": True}},
}


@pytest.mark.parametrize("attention", ATTENTIONS.values(), ids=ATTENTIONS)
def test_each_attention(attention: Any) -> None:
    assert_equal_in_parts(network(attention), batch())


def test_the_test_has_teeth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the rows of the whole, a part draws other bits."""
    whole = batch()
    made = network(layer_drop=0.0)
    monkeypatch.setattr(RowRanges, "count", property(lambda rows: -1))
    with pytest.raises(AssertionError):
        assert_equal_in_parts(made, whole)


def test_activations_that_are_computed_again() -> None:
    made = network()
    made.checkpoint_activations(True)
    assert_equal_in_parts(made, batch())


def test_sources_in_windows() -> None:
    made = network(max_length=16)
    made.source_window = 8
    whole = batch(longest=30, shortest=3)
    assert whole.source.shape[1] > 8
    assert_equal_in_parts(made, whole)
    made.checkpoint_activations(True)
    assert_equal_in_parts(made, whole)


def test_mixout_mixes_the_same_weights_in_each_part() -> None:
    made = network()
    add_mixout(made, 0.3, made.noise)
    number_sites(made)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1)  # away from the reference
    whole = batch(rows=16)  # as many rows as the weights have: no shape says which is which
    assert_equal_in_parts(made, whole)


def test_r_drop() -> None:
    made = network()
    assert_equal_in_parts(made, batch(), criterion=lambda part: PairedCrossEntropy(0.1, 3.0), paired=True)
    made = network({"torch_multihead": {"dropout": 0.3}})
    assert_equal_in_parts(made, batch(), criterion=lambda part: PairedCrossEntropy(0.1, 3.0), paired=True)
    made = network(max_length=16)
    made.source_window = 8
    whole = batch(longest=30, shortest=3)
    assert_equal_in_parts(made, whole, criterion=lambda part: PairedCrossEntropy(0.1, 3.0), paired=True)


def test_distillation() -> None:
    settings = TrainingConfig(distillation=DistillationConfig(teacher="t", weight=0.6, temperature=2.0))
    distillation = Distillation(network("additive", d_model=24), settings)
    assert_equal_in_parts(network(), batch(), criterion=distillation.criterion)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_an_adapter(kind: Any) -> None:
    pytest.importorskip("peft")
    made = network()
    Adapter(made, AdapterConfig(kind=kind, rank=2, dropout=0.3), seed=0)
    made.double().train()
    assert_equal_in_parts(made, batch())


class Scorer(nn.Module):
    """A scorer of the user's own, with PyTorch's dropout."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.drop, self.out = nn.Linear(width, 6), nn.Dropout(0.3), nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.drop(torch.tanh(self.inner(x))))


def test_a_scorer_with_dropout() -> None:
    made = network()
    shape = Shape(16, 2, ffn_dim=24, dropout=0.2, attention_dropout=0.2)
    encoder = Encoder([Scorer], shape=shape)
    decoder = Decoder([Scorer], [Scorer], shape=shape)
    other = EncoderDecoder(made.source, encoder, made.target, decoder).double().train()
    assert_equal_in_parts(other, batch())


def test_features_of_sounds() -> None:
    """A stride halves the positions of a source, and no row."""
    made = network()
    source = FeatureEmbedding(Convolutions(5, 16, strides=(1, 2)), Sinusoidal(16), most=64, dropout=0.2)
    other = EncoderDecoder(source, made.encoder, made.target, made.decoder, noise=made.noise).double().train()
    whole = batch()
    features = torch.randn(*whole.source.shape, 5, generator=torch.Generator().manual_seed(0)).double()
    assert_equal_in_parts(other, replace(whole, source=features))


class Drawing(nn.Module):
    """Adds noise from PyTorch's generator."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


def test_draws_of_a_custom_layer_are_named_once() -> None:
    made, lines = network(), []
    made.encoder.final = nn.Sequential(made.encoder.final, Drawing())
    whole = batch()
    width = whole.source.shape[1] + whole.labels.shape[1]
    splitter = MicroBatchSplitter(SplitSizes(width, 3 * width), RunEvents(lines.append))
    torch.manual_seed(0)
    losses = []
    for _ in range(2):
        for part in splitter.parts(whole):
            made.noise.set(seed=5, step=11, micro_batch=2, rows=part.rows)
            with splitter.watching(part.rows, made.device):
                losses.append(float(made(part.batch, CrossEntropy()).objective.detach()))
    assert len(losses) == 6 and [line for line in lines if "PyTorch's generator" in line] == lines and len(lines) == 1


def out_of_memory(kind: str) -> Exception:
    return {
        "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        "cpu": RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"),
        "mmap": RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."),
        "python": MemoryError(),
        "c++": RuntimeError("std::bad_alloc"),
        "cublas": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    }[kind]


@pytest.mark.parametrize("kind", ["cuda", "cpu", "mmap", "python", "c++", "cublas"])
def test_what_is_learned_from_a_failure(kind: str) -> None:
    whole, lines = batch(rows=8), []
    width = whole.source.shape[1] + whole.labels.shape[1]
    splitter = MicroBatchSplitter(SplitSizes(), RunEvents(lines.append))
    assert len([*splitter.parts(whole)]) == 1
    splitter.learn(out_of_memory(kind), step=7)
    assert splitter.sizes == SplitSizes(8 * width, 4 * width, step=7, failures=1)
    assert len(lines) == 1 and "step 7" in lines[0] and "\n" not in lines[0]
    assert [part.batch.labels.shape[0] for part in splitter.parts(whole)] == [4, 4]
    assert len([*splitter.parts(batch(rows=3))]) == 1  # smaller than what failed
    parts = splitter.parts(whole)
    next(parts)
    splitter.learn(out_of_memory(kind), step=9)
    assert splitter.sizes == SplitSizes(4 * width, 2 * width, step=7, failures=2) and len(lines) == 1
    for rows in (2, 1):
        parts = splitter.parts(whole)
        assert next(parts).batch.labels.shape[0] == rows
        if rows == 1:
            with pytest.raises(WorkError, match=r"step 11 for a single row of .*which cannot be split") as caught:
                splitter.learn(out_of_memory(kind), step=11)
            assert "\n" not in str(caught.value)
        else:
            splitter.learn(out_of_memory(kind), step=10)


def test_other_errors_pass() -> None:
    splitter = MicroBatchSplitter(SplitSizes(), RunEvents(print))
    list(splitter.parts(batch()))
    with pytest.raises(RuntimeError, match="shapes"):
        splitter.learn(RuntimeError("shapes"), step=1)
    splitter.enabled = False
    with pytest.raises(MemoryError):
        splitter.learn(MemoryError(), step=1)


def test_the_number_of_rows_of_a_part() -> None:
    sizes = SplitSizes(fails_from=100, part_most=50)
    assert sizes.most_rows(9, 10) == 9  # 90 positions fit
    assert sizes.most_rows(10, 10) == 5
    assert sizes.most_rows(11, 10) == 4  # three parts of equal sizes: 4, 4, 3
    assert sizes.most_rows(3, 60) == 1  # a row is longer than a part
    assert SplitSizes().most_rows(10, 10) == 10


def test_ranges_of_rows() -> None:
    rows = RowRanges(((1, 3),), 5, (1, 2, 3, 4, 5)).twice()
    assert rows.ranges == ((1, 3), (6, 8)) and rows.total == 10 and rows.count == 4
    whole = torch.arange(10)
    assert rows.take(whole).tolist() == [1, 2, 6, 7]
    assert rows.take(rows.widen(rows.take(whole))).tolist() == [1, 2, 6, 7]
