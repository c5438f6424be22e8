"""Every registered attention keeps every law, in every role; a kind that is added is checked without a line here."""

from __future__ import annotations

import pytest

import antiphon.nn  # noqa: F401  (registers the kinds)
from antiphon.conformance import examine
from antiphon.conformance.subject import ROLES
from antiphon.registry import lookup, names

# Settings to check a kind with, where it has no defaults, or where others reach further than those.
SAMPLES: dict[str, list[object]] = {
    "window": [
        {"window": 3},
        {"window": {"window": 2, "dilation": 2, "sinks": 1}},
        {"window": {"window": 2, "right": 4}},
    ],
    "qk_norm": ["qk_norm", {"qk_norm": {"shared": True, "eps": 1e-3}}],
    "rotary": [{"rotary": {"base": 50.0, "factor": 4.0}}],
    "block_local": [{"block_local": 3}, {"block_local": {"size": 2, "neighbours": 1, "global_tokens": 2}}],
    "prefix_lm": [{"prefix_lm": 3}],
    "soft_cap": [{"soft_cap": 1.5}],
    "shaw": [{"shaw": 3}],
    "sinks": [{"sinks": 2}],
    "delta": ["delta", {"delta": {"gated": False}}],
    "torch_multihead": ["torch_multihead", {"torch_multihead": {"add_bias_kv": True, "add_zero_attn": True}}],
    "additive": ["additive", {"additive": {"scorer": "mlp"}}],
}
COMPOSED: list[object] = [
    {"all": ["alibi", {"window": 3}]},
    {"all": ["qk_norm", {"shaw": 2}, {"soft_cap": 1.5}, "sinks"]},
]
ONLY = {"merged": ("cross",)}  # the roles of a kind that has not all
CASES = [
    (spec, role) for name in names("attention") for spec in SAMPLES.get(name, [name]) for role in ONLY.get(name, ROLES)
]
CASES += [(spec, "decoder") for spec in COMPOSED]


@pytest.mark.parametrize(("spec", "role"), CASES, ids=[f"{spec}-{role}" for spec, role in CASES])
def test_every_law_is_kept(spec: object, role: str) -> None:
    table = examine(spec, role)  # type: ignore[arg-type]
    assert not table.failures, f"\n{table}"
    kept = {row.law for row in table.rows if row.verdict == "pass"}
    assert {"shape", "padding", "batch", "gradients", "parameters", "checkpointing", "saving", "search"} <= kept
    assert {"patches", "images"} <= kept or role != "encoder"  # of either front, in two dimensions


def test_roles_that_a_kind_has_not() -> None:
    table = examine("merged")
    skipped = {row.role: row.reason for row in table.rows if row.verdict == "skip" and row.law == "shape"}
    assert set(skipped) == {"encoder", "decoder"}
    assert all("`merged` must be the cross-attention of a decoder, but is" in reason for reason in skipped.values())


def test_samples_are_of_kinds_that_there_are() -> None:
    assert set(SAMPLES) <= set(names("attention"))
    assert all(callable(lookup("attention", name)) for name in SAMPLES)
