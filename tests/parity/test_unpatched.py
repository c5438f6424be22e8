"""Every family of checkpoints against transformers as it comes: in float32, and in float64 with its own casts.

The other parity tests replace what the reference computes in float32 whatever its type (tests/parity/test_families.py).
Here nothing is replaced. The weights are smaller: those of the other tests let a rounding grow to 1e-4 on either side.
T5Gemma and T5Gemma 2 in float64 are left out: their references mask by the smallest float64, cast it to float32, and
give NaN.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from counts import count
from parity import reference
from parity.test_families import difference, our_logits, rows, their_logits
from torture.figures import FigureRecorder

from antiphon.generation.model import Model
from antiphon.models.folders.hub import load_pretrained

CASES = [(name, seed) for name in reference.FAMILIES for seed in range(count("unpatched_families"))]
SCALE = 0.3  # of matrices


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_logits_as_they_come(name: str, seed: int, tmp_path: Path, figures: FigureRecorder) -> None:
    theirs = reference.make(reference.FAMILIES[name], seed, tmp_path)
    for parameter in theirs.parameters():
        if parameter.dim() > 1 and parameter.requires_grad:
            parameter.data.mul_(SCALE)
    theirs.save_pretrained(tmp_path)
    sources, targets = rows(theirs, seed)
    wanted = their_logits(theirs, sources, targets)
    found = our_logits(Model.from_parts(load_pretrained(tmp_path, dtype=torch.float32)), sources, targets)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)
    figures.add("float32 configs within assert_close, nothing replaced", 1)
    figures.most("their difference", difference(found, wanted))
    if not name.startswith("t5gemma"):
        wide = our_logits(Model.from_parts(load_pretrained(tmp_path, dtype=torch.float64)), sources, targets)
        away = difference(wide, their_logits(theirs.double(), sources, targets))
        assert away < 1e-6
        figures.most("float64 difference, nothing replaced", away)
