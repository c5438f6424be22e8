"""A trial of the network before it is dealt over ranks: one forward and backward pass of a few rows.

It measures the memory of activations, and finds what cannot be dealt: buffers that training changes, since each rank
would change its own. Weights, buffers and random state are as before afterwards.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from antiphon.batch import Batch
from antiphon.config import TrainingConfig
from antiphon.errors import ConfigError
from antiphon.models.seq2seq import EncoderDecoder
from antiphon.nn.loss import CrossEntropy
from antiphon.nn.noise import LayerDrop
from antiphon.training.objectives.joint_ctc import CTCObjective


@dataclass(frozen=True, slots=True)
class NetworkTrial:
    """`activation_bytes` are saved for the gradient of one position; `unused`: some weights got no gradient."""

    activation_bytes: float
    unused: bool


def try_network(network: EncoderDecoder, batch: Batch, settings: TrainingConfig) -> NetworkTrial:
    """Run `batch`, on the device of the network. ConfigError for a module that changes its own buffers."""
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    saved: dict[int, int] = {}

    def measured(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    trained = network.training
    network.train()
    skips = [(module, module.p) for module in network.modules() if isinstance(module, LayerDrop)]
    for module, _ in skips:
        module.p = 0.0  # a skipped layer would seem to be unused
    network.checkpoint_activations(settings.checkpoint_activations)
    low = settings.precision == "bfloat16"
    autocast: Any = torch.autocast(batch.labels.device.type, dtype=torch.bfloat16) if low else nullcontext()
    with torch.random.fork_rng(devices=[]), torch.autograd.graph.saved_tensors_hooks(measured, lambda tensor: tensor):
        torch.manual_seed(settings.seed)
        network.noise.set(seed=settings.seed, step=0, micro_batch=0)
        with autocast:
            loss = network(batch, CTCObjective(network, settings).joint(CrossEntropy()))
        loss.objective.backward()
    unused = any(each.grad is None for each in network.parameters() if each.requires_grad)
    for parameter in network.parameters():
        parameter.grad = None
    network.train(trained)
    for module, probability in skips:
        module.p = probability
    _refuse_changed_buffers(network, before)
    return NetworkTrial(sum(saved.values()) / (batch.source_tokens.pos.numel() + batch.labels.numel()), unused)


def _refuse_changed_buffers(network: nn.Module, before: dict[str, Tensor]) -> None:
    """Restore the buffers. ConfigError if the trial changed one."""
    changed = []
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            if name not in before or not torch.equal(buffer, before[name]):
                changed.append(name)
                if name in before:
                    buffer.copy_(before[name])
    if changed:
        module, _, buffer = changed[0].rpartition(".")
        kind = type(network.get_submodule(module)).__name__
        raise ConfigError(
            f"training on several ranks needs layers whose buffers stay as they are, but `{kind}` changes its buffer "
            f"`{buffer}` (`{changed[0]}`): each rank would change its own. Train it in one process."
        )
