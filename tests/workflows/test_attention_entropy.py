"""`validation.attention_entropy`: three figures at each validation, and training that does not notice."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import antiphon

PAIRS = [("one two three", "eins zwei drei"), ("two", "zwei"), ("three one", "drei eins"), ("two two", "zwei zwei")] * 4
NAMES = {"entropy_encoder", "entropy_decoder", "entropy_cross"}


def trained(folder: Path, *, validation: dict[str, Any], attention: dict[str, Any] | None = None) -> Any:
    return antiphon.train(
        {
            "data": {"train": PAIRS, "valid": PAIRS[:3]},
            "tokenizer": {"kind": "bytes", "vocab_size": 260},
            "model": {"preset": "tiny", "d_model": 16, "num_heads": 2, "ffn_dim": 24, "dropout": 0.3},
            "attention": attention or {},
            "training": {"max_steps": 4, "batch_tokens": 64, "log_every_steps": 1},
            "validation": {"every_steps": 2, "samples": 0, **validation},
            "output": str(folder),
        },
        quiet=True,
    )


def test_entropies_are_measured_and_change_nothing(tmp_path: Path) -> None:
    with_, without = (
        trained(tmp_path / str(on), validation={"attention_entropy": on} if on else {}) for on in (True, False)
    )
    measured = [row for row in with_.metrics if "valid_loss" in row]
    assert len(measured) >= 2
    for row in measured:
        assert set(row) >= NAMES
        assert all(0 < row[name] < math.log(20) for name in NAMES)  # the longest side has fewer than 20 tokens
    assert not any(NAMES & set(row) for row in without.metrics)
    losses = [[row["loss"] for row in run.metrics if "loss" in row] for run in (with_, without)]
    assert losses[0] == losses[1]


def test_a_role_without_weights_has_no_figure(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", validation={"attention_entropy": True}, attention={"encoder": "linear"})
    row = next(row for row in run.metrics if "valid_loss" in row)
    assert NAMES & set(row) == {"entropy_decoder", "entropy_cross"}
    assert all(0 < row[name] < math.log(20) for name in ("entropy_decoder", "entropy_cross"))
