"""The result of the check of an export."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OnnxReport:
    """The result of the check on `answers` answers with `tokens` tokens in all, to `sources`.

    `difference`: the largest of the encoder's output and of the logits, between the model and the float32 files;
    `largest`: the largest of these numbers themselves.
    `equal`: the answers whose greedy tokens are the model's. With int8, `quantized_difference` and `equal` are those
    of the quantized files.
    """

    difference: float
    largest: float
    tokens: int
    answers: int
    equal: int
    sources: str
    quantized_difference: float | None = None

    def lines(self) -> list[str]:
        """What the check found, in one to three lines of text."""
        found = [
            f"checked on {self.answers} sources ({self.sources}), {self.tokens} tokens: the largest difference of the "
            f"encoder's output and the logits (up to {self.largest:.3g}) is {self.difference:.1e} in float32"
        ]
        if self.quantized_difference is not None:
            found.append(f"with int8 it is {self.quantized_difference:.1e}")
        return [*found, f"greedy answers equal to the model's: {self.equal} of {self.answers}"]
