"""Inference helpers of search and scoring: evaluation mode, rows as tensors, and log-probabilities of tokens."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from antiphon.batch import Tokens, pad
from antiphon.models.protocol import Seq2Seq


@contextlib.contextmanager
def evaluating(network: Seq2Seq) -> Iterator[None]:
    """Run the network without dropout and gradients within the context; its mode is restored after it."""
    training = network.training
    if training:
        network.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        if training:
            network.train()


def as_rows(rows: Sequence[list[int] | Tensor], device: torch.device) -> tuple[Tensor, Tokens]:
    """Rows of ids, or of features, as a padded tensor on `device`, with their tokens.

    Rows of equal length share one row of positions, and so their masks.
    """
    ids, tokens = pad(rows, pad_id=0)  # any id: the network reads zeros at padding
    even = all(len(row) == len(rows[0]) for row in rows)
    return ids.to(device), Tokens((tokens.pos[:1] if even else tokens.pos).to(device))


def log_probabilities(network: Seq2Seq, hidden: Tensor) -> Tensor:
    """Log-probabilities (…, V) of hidden vectors (…, D), in float32 or wider whatever the type of the network."""
    return log_softmax(network.logits(hidden))


def log_softmax(logits: Tensor) -> Tensor:
    """Log-softmax of logits (…, V), in float32 or wider."""
    return (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(-1)


def label_log_p(network: Seq2Seq, hidden: Tensor, labels: Tensor, *, chunk: int = 1024) -> Tensor:
    """Log-probabilities (n,) of labels (n,) given hidden (n, D). Logits are computed for `chunk` of them at a time."""
    parts = [hidden.new_zeros(0, dtype=torch.float32)]
    for start in range(0, labels.shape[0], chunk):
        log_p = log_probabilities(network, hidden[start : start + chunk])
        parts.append(log_p.gather(1, labels[start : start + chunk, None])[:, 0])
    return torch.cat(parts)


def sum_type(device: torch.device) -> torch.dtype:
    """The type of sums of log-probabilities: float64, or float32 on Apple's GPUs, which have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64
