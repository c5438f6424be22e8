"""The arithmetic of `antiphon inspect --world` against what real networks compute, store and hold."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from antiphon.batch import Batch, Example, collate
from antiphon.config import AttentionConfig, ModelConfig, TrainingConfig
from antiphon.inspection.scaling.activations import ActivationSettings, activation_bytes
from antiphon.inspection.scaling.flops import BatchShape, count_flops
from antiphon.inspection.scaling.memory import OPTIMIZERS, optimizer_bytes
from antiphon.inspection.scaling.shape import network_shape
from antiphon.inspection.scaling.step_time import DECODER_KERNELS, ENCODER_KERNELS, OTHER_KERNELS
from antiphon.models.build import build_network
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.loss import CrossEntropy
from antiphon.training.evaluated import SwitchingOptimizer
from antiphon.training.optim import build_optimizer

SMALL: dict[str, Any] = {"preset": "small", "d_model": 64, "ffn_dim": 192, "encoder_layers": 2, "decoder_layers": 2}
VOCABULARY = 500


def build(attention: Mapping[str, Any] | None = None, **model: Any) -> EncoderDecoder:
    config = ModelConfig(**{**SMALL, **model})
    shared = config.tie_embeddings
    sizes: dict[str, Any] = {"source_vocab": VOCABULARY, "target_vocab": VOCABULARY}
    network = build_network(config, AttentionConfig(**(attention or {})), **sizes, shared=bool(shared), warn=False)
    network.train()
    network.noise.set(seed=0, step=0, micro_batch=0)
    return network


def batch_of(shape: BatchShape) -> Batch:
    draw = torch.Generator().manual_seed(0)
    sides = [int(shape.source), int(shape.target)]
    rows = [
        [torch.randint(4, VOCABULARY, (n,), generator=draw).tolist() for n in sides] for _ in range(int(shape.rows))
    ]
    return collate([Example(*row, index) for index, row in enumerate(rows)], pad_id=0, start_id=1)


def _attention_flops(q: Any, k: Any, v: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return 4 * q[0] * q[1] * q[2] * k[2] * q[3]


def _attention_backward_flops(gradient: Any, q: Any, k: Any, v: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return 2 * _attention_flops(q, k, v)  # without the scores that fused attention computes again


def _product_flops(into: Any, a: Any, b: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return 2 * a[0] * a[1] * b[1]


# What torch.utils.flop_counter does not know: fused attention on a CPU, and a product that adds in place.
MISSING = {
    torch.ops.aten.addmm_: _product_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
}
SHORT, LONG = BatchShape(4, 24, 16, 64), BatchShape(2, 512, 300, 600)
CASES: list[tuple[dict[str, Any], dict[str, Any], BatchShape, float]] = [
    ({}, {}, SHORT, 0.0),
    ({"preset": "tiny"}, {}, SHORT, 0.0),
    ({"num_kv_heads": 2, "attention_dropout": 0.1}, {}, SHORT, 0.0),
    ({"tie_embeddings": False, "activation": "geglu", "norm_placement": "sandwich"}, {}, SHORT, 0.0),
    ({"encoder_layers": 3, "decoder_layers": 1, "head_dim": 24}, {}, LONG, 0.0),
    ({}, {"encoder": {"window": 64}, "decoder": {"window": 64}}, LONG, 0.0),
    ({}, {"encoder": "additive", "decoder": "differential", "cross": "sigmoid"}, SHORT, 0.0),
    ({}, {"encoder": "shaw", "decoder": "relative"}, SHORT, 0.0),
    ({"num_kv_heads": 2}, {"cross": "merged"}, SHORT, 0.0),
    ({}, {"encoder": "torch_multihead", "decoder": "torch_multihead", "cross": "torch_multihead"}, SHORT, 0.0),
    ({}, {"encoder": "linear", "cross": "linear"}, BatchShape(4, 100, 70, 280), 0.0),
    # The first chunk of a recurrence reads a memory that is zero, and no gradient goes there.
    ({}, {"decoder": "linear"}, BatchShape(4, 100, 70, 280), 0.01),
    ({}, {"encoder": "delta", "decoder": "delta", "cross": "delta"}, BatchShape(4, 100, 70, 280), 0.01),
]


@pytest.mark.parametrize(
    "model, attention, shape, tolerance, checkpoint",
    [*((*case, False) for case in CASES), *((*case, True) for case in CASES[:2])],
)
def test_operations_are_those_that_are_counted(
    model: dict[str, Any], attention: dict[str, Any], shape: BatchShape, tolerance: float, checkpoint: bool
) -> None:
    network = build(attention, **model)
    network.checkpoint_activations(checkpoint)
    with FlopCounterMode(display=False, custom_mapping=MISSING) as counter:
        network(batch_of(shape), CrossEntropy(0.1)).objective.backward()
    found = count_flops(network_shape(network), shape, checkpoint=checkpoint)
    assert found.training == pytest.approx(counter.get_total_flops(), rel=tolerance, abs=0.5)
    assert found.forward == pytest.approx(sum(found.parts.values())) and found.training >= found.model > found.forward


def test_frozen_weights_get_no_product() -> None:
    network = build()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    network.target.table.weight.requires_grad_(True)  # also the source's and the output's
    with FlopCounterMode(display=False, custom_mapping=MISSING) as counter:
        network(batch_of(SHORT), CrossEntropy()).objective.backward()
    shape = network_shape(network)
    assert shape.trainable == VOCABULARY * 64
    assert count_flops(shape, SHORT).training == pytest.approx(counter.get_total_flops(), rel=0.1)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parameters_and_optimizer_state_are_those_of_the_run(name: str) -> None:
    network = build(bias=True)
    with torch.device("meta"):
        shape = network_shape(build(bias=True))
    assert shape == network_shape(network)
    assert shape.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert shape.parameters == shape.root + sum(layer.parameters for layer in shape.layers)
    if name == "schedule_free":
        pytest.importorskip("schedulefree", reason="needs `pip install antiphon[optim]`")
    optimizer = build_optimizer(network, TrainingConfig(optimizer=name, schedule="constant", max_steps=9))
    if isinstance(optimizer, SwitchingOptimizer):
        optimizer.train()
    network(batch_of(SHORT)).backward()
    optimizer.step()
    held = sum(
        value.numel() * value.element_size()
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, Tensor) and value.dim() > 0
    )
    assert optimizer_bytes(shape, name, {}) == pytest.approx(held, rel=0.01)


class LiveMemory(TorchDispatchMode):
    """The bytes of all tensors that operations create and that still exist, and their peak."""

    def __init__(self, known: Iterator[Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.seen: dict[int, int] = {tensor.untyped_storage()._cdata: 0 for tensor in known}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in self.seen:
                storage = tensor.untyped_storage()
                self.seen[storage._cdata] = storage.nbytes()
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self.drop, storage._cdata)
        return found

    def drop(self, key: int) -> None:
        self.now -= self.seen.pop(key, 0)


WIDE = BatchShape(32, 24, 16, 512)
STORED: list[tuple[dict[str, Any], dict[str, Any], BatchShape, bool]] = [
    ({}, {}, WIDE, False),
    ({"dropout": 0.0, "norm_placement": "post"}, {}, WIDE, False),
    ({"attention_dropout": 0.1, "activation_dropout": 0.1}, {}, WIDE, False),
    ({"activation": "geglu", "norm_placement": "sandwich"}, {}, WIDE, False),
    ({"preset": "tiny"}, {}, WIDE, False),
    ({}, {}, BatchShape(2, 320, 300, 600), True),
    ({}, {"encoder": {"window": 64}, "decoder": {"window": 64}}, BatchShape(2, 512, 300, 600), True),
    ({}, {"encoder": "additive", "decoder": "differential"}, WIDE, False),
    ({}, {"encoder": "linear", "decoder": "delta"}, WIDE, False),
]


@pytest.mark.parametrize(
    "model, attention, shape, fused, checkpoint",
    [*((*case, False) for case in STORED), *((*case, True) for case in (STORED[0], STORED[5]))],
)
@pytest.mark.parametrize("half", [False, True])
def test_activations_take_the_memory_that_is_computed(
    model: dict[str, Any], attention: dict[str, Any], shape: BatchShape, fused: bool, checkpoint: bool, half: bool
) -> None:
    network = build(attention, **{"d_model": 128, "ffn_dim": 512, **model})
    network.checkpoint_activations(checkpoint)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    held = [*network.parameters(), *network.buffers(), *(one.grad for one in network.parameters())]
    batch = batch_of(shape)
    with LiveMemory(iter(held)) as memory:
        with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
            loss = network(batch, CrossEntropy(0.1))
        loss.objective.backward()
    settings = ActivationSettings(half=half, fused=fused, checkpoint=checkpoint)
    found = activation_bytes(network_shape(network), shape, settings)
    assert 0.9 < found.total / memory.peak < (1.25 if checkpoint else 1.12)
    assert found.touched >= found.layers


FREE = (
    "empty", "empty_like", "new_empty", "empty_strided", "detach", "lift_fresh", "is_same_size",
    "unsafe_split_with_sizes", "_unsafe_view", "reshape",
)  # fmt: skip


class Kernels(TorchDispatchMode):
    """Counts operations that compute something: neither views nor allocations."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        empty = ("empty", "empty_like", "new_empty", "empty_strided", "detach", "lift_fresh", "is_same_size")
        self.count += not function.is_view and name not in (
            *empty,
            "unsafe_split_with_sizes",
            "_unsafe_view",
            "reshape",
        )
        return function(*args, **(kwargs or {}))


def test_kernels_are_those_that_are_dispatched() -> None:
    def count(encoder: int, decoder: int) -> int:
        layers = {"encoder_layers": encoder, "decoder_layers": decoder}
        network, batch = build({"backend": "sdpa"}, preset="base", **layers), batch_of(SHORT)
        with Kernels() as kernels:
            with torch.autocast("cpu", torch.bfloat16):
                loss = network(batch, CrossEntropy(0.1))
            loss.objective.backward()
        return kernels.count

    one, encoder, decoder = count(1, 1), count(2, 1), count(1, 2)
    assert encoder - one == pytest.approx(ENCODER_KERNELS, rel=0.1)
    assert decoder - one == pytest.approx(DECODER_KERNELS, rel=0.1)
    assert 2 * one - (encoder + decoder - one) == pytest.approx(OTHER_KERNELS, rel=0.15)
