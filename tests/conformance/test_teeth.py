"""Each law finds the attention that breaks it on purpose, and says which law, how much and where."""

from __future__ import annotations

import pytest
from conformance.saboteurs import (
    Aside,
    BareMask,
    Branches,
    Centred,
    Counts,
    Deaf,
    Diluted,
    Doubles,
    Forgets,
    Guesses,
    HalfGradient,
    Hides,
    Idle,
    Leaks,
    Lies,
    Moody,
    Narrow,
    OwnDice,
    Parity,
    Peeks,
    Raises,
    ReadsRoom,
    Roomy,
    Roots,
    RowNumber,
    Running,
    SegmentBlind,
    Stale,
    Together,
    WrongShape,
    WrongType,
    changed,
)

import antiphon
from antiphon.conformance import LAWS, BrokenLaw, examine
from antiphon.nn import ScoreRule, Window

NUMBER = "largest difference is"
BREAKERS = [  # the law, the role, what breaks it, and words of the message
    ("shape", "encoder", Narrow, "must be (4, 5, 16) of torch.float64, but is (4, 5, 8)"),
    ("causality", "decoder", Peeks, "query position 0, key position 1"),
    ("padding", "encoder", Diluted, NUMBER),
    ("batch", "encoder", RowNumber, "and alone, row"),
    ("packing", "encoder", SegmentBlind, "packed and alone"),
    ("patches", "encoder", Diluted, "in a batch and alone, query position"),
    ("patches", "cross", RowNumber, "in a batch and alone"),
    ("unused", "encoder", Leaks, "1e30 at padding"),
    ("unused", "decoder", ReadsRoom, "NaN in unused places"),
    ("visible keys", "decoder", Hides, "hides every key, row 0, head 2, query position 3"),
    ("visible keys", "decoder", Deaf, "row 0, query position 3"),
    ("element-wise", "cross", Centred, "score of single numbers"),
    ("element-wise", "cross", BareMask, "must give one bool"),
    ("additive", "decoder", Doubles, "head"),
    (
        "reach",
        "decoder",
        Lies,
        "beyond its reach (2, 2, 0) is visible, row 0, head 0, query position 3, key position 0",
    ),
    ("back end sdpa", "encoder", Moody, "of sdpa and of eager"),
    ("back end blocks", "encoder", Lies, "of blocks and of eager"),
    ("back end flex", "encoder", Centred, "flex"),
    ("back end kernel", "encoder", Moody, "of kernel and of eager"),
    ("steps", "decoder", Forgets, "a row cut into"),
    ("caches", "decoder", Roomy, "a cache of 64 places"),
    ("ring cache", "decoder", Lies, "a ring filled by"),
    ("joining", "decoder", Counts, "row"),
    ("beams", "cross", Together, "3 hypotheses folded and apart"),
    ("reorder", "decoder", Aside, "after a reordering"),
    ("recorded step", "decoder", Counts, "the logits of step"),
    ("gradients", "decoder", HalfGradient, "and a difference quotient"),
    ("gradients", "decoder", Roots, "the gradient by `rate` in torch.float64 is not finite"),
    ("parameters", "encoder", Idle, "`spare` gets no gradient"),
    ("parameters", "encoder", Stale, "an update of `slope`"),
    ("checkpointing", "encoder", OwnDice, NUMBER),
    ("half precision", "decoder", Parity, "bfloat16 and float32"),
    ("images", "encoder", Diluted, "the loss of a batch and of each image"),
    ("saving", "decoder", changed(), 'saved as {"window": 2} and loaded'),
    ("tracing", "decoder", Branches, "Branches"),
    ("search", "decoder", Guesses, "cached and uncached"),
    ("search", "decoder", Aside, "beam search"),
]
LAW = {law.name: law for law in LAWS}
NEEDS_GPU = {"back end varlen"}


def part_name(value: object) -> str:
    return getattr(value, "__name__", type(value).__name__)


@pytest.mark.parametrize(
    ("law", "role", "part", "words"), BREAKERS, ids=[f"{law}-{part_name(part)}" for law, _, part, _ in BREAKERS]
)
def test_a_law_finds_what_breaks_it(law: str, role: str, part: object, words: str) -> None:
    table = examine(part, role, laws=[LAW[law]])  # type: ignore[arg-type]
    assert [(row.law, row.verdict) for row in table.rows] == [(law, "fail")], str(table)
    with pytest.raises(antiphon.AttentionError) as caught:
        table.require()
    text = str(caught.value)
    assert f"in the {role} role breaks the law `{law}` ({LAW[law].says})" in text
    assert part_name(part) in text or isinstance(part, Window)
    assert words in text, text
    assert "\n" not in text


def test_every_law_has_something_that_breaks_it() -> None:
    assert {law for law, *_ in BREAKERS} | NEEDS_GPU == set(LAW)


def test_a_users_own_mixer_keeps_all_laws_in_the_role_that_it_takes() -> None:
    table = examine(Running)
    assert {row.role for row in table.rows if row.verdict == "pass"} == {"decoder"}
    assert not table.failures, str(table)
    refused = [row for row in table.rows if row.role != "decoder"]
    assert [(row.law, row.verdict) for row in refused] == [("shape", "skip")] * 2
    assert "`Running` is a decoder's" in refused[0].reason


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Raises, ["`score` of the rule `Raises` of the decoder attention raised ValueError", "(4, 1, 1, 1)"]),
        (WrongShape, ["`score` of the rule `WrongShape`", "broadcasts to (4, 4, 5, 5)", "gave (2, 2)"]),
        (WrongType, ["`mask` of the rule `WrongType`", "torch.bool", "gave torch.int64"]),
    ],
)
def test_bad_input_names_the_rule_the_role_and_both_shapes(rule: type[ScoreRule], words: list[str]) -> None:
    with pytest.raises(BrokenLaw, match="in the decoder role breaks the law `shape`") as caught:
        antiphon.check_attention(rule, role="decoder")
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(caught.value.table.rows) == 1  # what gives no output is asked nothing else


def test_the_error_names_the_first_law_and_those_after_it() -> None:
    with pytest.raises(BrokenLaw) as caught:
        examine(RowNumber, "encoder", laws=[LAW["padding"], LAW["batch"], LAW["saving"]]).require()
    assert [row.verdict for row in caught.value.table.rows] == ["pass", "fail", "pass"]
    with pytest.raises(BrokenLaw, match=r"breaks the law `additive`.*also breaks `reach`"):
        examine(Doubles() & Lies(), "encoder", laws=[LAW["additive"], LAW["reach"]]).require()
