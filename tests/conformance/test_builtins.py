"""Every registered attention keeps every law, in every role; a kind that is added is checked without a line here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from counts import count

import antiphon.nn  # noqa: F401  (registers the kinds)
from antiphon.conformance import LAWS, examine
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
COMPILED = ("back end flex", "tracing")  # these laws trace a rule for compilation, half of the time of all laws


def some(roles: tuple[str, ...], *, first: int, number: int) -> list[str]:
    """`number` of the roles, from number `first` on around; so that each role comes with many kinds."""
    return [roles[(first + i) % len(roles)] for i in range(min(number, len(roles)))]


def cases() -> Iterator[tuple[object, str, bool]]:
    """Kinds with their settings, in a role, and whether the laws that compile are checked in it."""
    for place, name in enumerate(names("attention")):
        roles = ONLY.get(name, ROLES)
        compiled = some(roles, first=place, number=count("roles_compiled"))
        for number, spec in enumerate(SAMPLES.get(name, [name])):
            for role in roles if number == 0 else some(roles, first=place, number=count("roles_of_samples")):
                yield spec, role, role in compiled
    for spec in COMPOSED:
        yield spec, "decoder", True


CASES = list(cases())


@pytest.mark.parametrize(("spec", "role", "compiles"), CASES, ids=[f"{spec}-{role}" for spec, role, _ in CASES])
def test_every_law_is_kept(spec: object, role: str, compiles: bool) -> None:
    laws = [law for law in LAWS if compiles or law.name not in COMPILED]
    assert len(laws) == len(LAWS) - (0 if compiles else len(COMPILED))
    table = examine(spec, role, laws=laws)  # type: ignore[arg-type]
    assert not table.failures, f"\n{table}"
    kept = {row.law for row in table.rows if row.verdict == "pass"}
    assert {"shape", "padding", "batch", "gradients", "parameters", "checkpointing", "saving", "search"} <= kept
    assert {"patches", "images"} <= kept or role != "encoder"  # of either front, in two dimensions


def test_every_kind_is_in_each_role_and_traced_in_one() -> None:
    for name in names("attention"):
        mine = [case for case in CASES if case[0] in SAMPLES.get(name, [name])]
        assert {role for _, role, _ in mine} == set(ONLY.get(name, ROLES)) and any(compiles for *_, compiles in mine)
    assert {role for _, role, compiles in CASES if compiles} == set(ROLES)


def test_roles_that_a_kind_has_not() -> None:
    table = examine("merged")
    skipped = {row.role: row.reason for row in table.rows if row.verdict == "skip" and row.law == "shape"}
    assert set(skipped) == {"encoder", "decoder"}
    assert all("`merged` must be the cross-attention of a decoder, but is" in reason for reason in skipped.values())


def test_samples_are_of_kinds_that_there_are() -> None:
    assert set(SAMPLES) <= set(names("attention"))
    assert all(callable(lookup("attention", name)) for name in SAMPLES)
