"""The result of the check of an export."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OnnxReport:
    """The result of the check on `answers` answers with `tokens` tokens in all, to `sources`.

    `difference`: the largest of the encoder's output and of the logits, between the model and the float32 files.
    `equal`: the answers whose greedy tokens are the model's. With int8, `quantized_difference` and `equal` are those
    of the quantized files.
    """

    difference: float
    tokens: int
    answers: int
    equal: int
    sources: str
    quantized_difference: float | None = None
