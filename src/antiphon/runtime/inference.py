"""How the search asks the network: without dropout, rows of ids as tensors, and the log-probability of given tokens."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from antiphon.batch import Tokens, pad
from antiphon.models.protocol import Seq2Seq


@contextlib.contextmanager
def evaluating(network: Seq2Seq) -> Iterator[None]:
    """The network without dropout and without gradients; its mode is put back."""
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
    """Rows of ids, or of features, on `device`, with their tokens.

    Where no row is padded they have one shared row of positions, so that masks are shared too.
    """
    ids, tokens = pad(rows, pad_id=0)  # any id will do: the network reads zeros at padding
    even = all(len(row) == len(rows[0]) for row in rows)
    return ids.to(device), Tokens((tokens.pos[:1] if even else tokens.pos).to(device))


def log_probabilities(network: Seq2Seq, hidden: Tensor) -> Tensor:
    """(…, D) -> (…, V), float32 or finer whatever the network's type."""
    return log_softmax(network.logits(hidden))


def log_softmax(logits: Tensor) -> Tensor:
    """(…, V) -> (…, V), float32 or finer."""
    return (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(-1)


def label_log_p(network: Seq2Seq, hidden: Tensor, labels: Tensor, *, chunk: int = 1024) -> Tensor:
    """The log-probability of labels (n,) after hidden (n, D); the logits exist for `chunk` of them at a time."""
    parts = [hidden.new_zeros(0, dtype=torch.float32)]
    for start in range(0, labels.shape[0], chunk):
        log_p = log_probabilities(network, hidden[start : start + chunk])
        parts.append(log_p.gather(1, labels[start : start + chunk, None])[:, 0])
    return torch.cat(parts)


def sum_type(device: torch.device) -> torch.dtype:
    """The type in which log-probabilities are summed: float64, but for Apple's GPUs, which have none."""
    return torch.float32 if device.type == "mps" else torch.float64
