"""The deletion test: by its definition on a model whose scores are known."""

from __future__ import annotations

import math

import pytest
import torch
from generation.test_model import model

from antiphon.errors import DataError
from antiphon.evaluation.explain import Faithfulness, FaithfulnessTest, explain, faithfulness_of
from antiphon.evaluation.explain.faithfulness import DeletionTest, _counts
from antiphon.evaluation.explain.pair import ExplainedPair
from antiphon.evaluation.explain.terminal import table_lines


class Additive(ExplainedPair):
    """Two units whose probability is the share of their weights that is there."""

    own = torch.tensor([[8.0, 4, 2, 1, 1, 0], [1, 1, 2, 4, 8, 0]], dtype=torch.float64)

    def __init__(self) -> None:
        self.removable = torch.tensor([True] * 5 + [False])
        self.source_ids, self.units = list(range(6)), [("one", (0,)), ("two", (1,))]

    def scores_without(self, kept: torch.Tensor) -> torch.Tensor:
        return ((kept.double() @ self.own.T + 1e-9) / 16).log()


def test_the_right_order_is_better_than_chance_and_its_reverse_worse() -> None:
    pair = Additive()
    right, wrong = (DeletionTest(pair).of(sign * pair.own) for sign in (1, -1))
    # In the right order 8/16 remain after one token, then 4/16, 2/16 and 1/16; kept are the others.
    assert right.deleted[0].tolist() == pytest.approx([0.5, 0.25, 0.125, 0.0625])
    assert right.kept[1].tolist() == pytest.approx([0.5, 0.75, 0.875, 0.9375])
    assert right.shares[0].tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert right.comprehensiveness == pytest.approx(1 - (0.5 + 0.25 + 0.125 + 0.0625) / 4)
    assert right.sufficiency == pytest.approx(1 - (0.5 + 0.75 + 0.875 + 0.9375) / 4)
    assert wrong.deleted[0].tolist() == pytest.approx([0.9375, 0.875, 0.75, 0.5])
    assert right.gain > 0.1 and wrong.gain < -0.1
    assert right.random_comprehensiveness == wrong.random_comprehensiveness == pytest.approx(0.5, abs=0.15)
    assert right.random_sufficiency == pytest.approx(0.5, abs=0.15)
    assert right.verdict == "better than random order" and wrong.verdict == "not better than random order"
    assert DeletionTest(pair, seed=1).of(pair.own).random_comprehensiveness != right.random_comprehensiveness
    curve = right.curves()["in this order"]
    assert curve[0] == (0.0, pytest.approx(1.0)) and curve[-1] == (pytest.approx(80.0), pytest.approx(0.0625))


def test_the_numbers_of_deleted_tokens() -> None:
    assert _counts(0) == _counts(1) == [] and _counts(2) == [1] and _counts(5) == [1, 2, 3, 4]
    long = _counts(300)
    assert long[0] == 1 and long[-1] == 299 and len(long) == 10


def test_the_mean_over_answers_has_an_interval() -> None:
    def of(gain: float) -> Faithfulness:
        full = torch.ones(1, dtype=torch.float64)
        row = torch.full((1, 1), 0.5, dtype=torch.float64)
        return Faithfulness(row, full, row - gain, row, row, row)

    test = FaithfulnessTest("rollout", [of(gain) for gain in (0.1, 0.2, 0.3, 0.2)])
    assert test.mean("gain") == pytest.approx(0.2) and test.better_than_random
    assert test.interval is not None and 0.1 <= test.interval.low < 0.2 < test.interval.high <= 0.3
    chance = FaithfulnessTest("rollout", [of(gain) for gain in (0.3, -0.3, 0.2, -0.2)])
    assert not chance.better_than_random
    assert FaithfulnessTest("rollout", [of(0.1)]).interval is None
    lines = list(table_lines({"rollout": test}))
    assert lines[2].startswith("| rollout | +0.200 [0.1") and len(lines) == 3


def test_many_sources() -> None:
    held = model("bpe", max_length=60)
    tests = faithfulness_of(held, ["in 3 hours", "hello, world", "a"], methods=["leave-one-out"], units="words")
    assert set(tests) == {"leave-one-out"} and 2 <= len(tests["leave-one-out"].tests) <= 3
    with pytest.raises(DataError, match="needs sources of two or more tokens"):
        faithfulness_of(model("characters", max_length=60), ["a"], methods=["leave-one-out"])
    with pytest.raises(DataError, match="there are 1 and 2"):
        faithfulness_of(held, ["a"], ["b", "c"])


def test_a_source_of_one_token_has_no_order() -> None:
    found = explain(model("characters", max_length=60), "a", "in", method="leave-one-out")
    assert found.faithfulness is not None and found.faithfulness.steps == 0
    assert "too few tokens" in found.notes[-1] and found.as_json()["faithfulness"] == {}
    assert "<svg" not in found.to_html()


def test_leave_one_out_is_faithful_for_a_random_model() -> None:
    """Its first deletion is, by its definition, the one that takes the most from a unit."""
    found = explain(model("characters", max_length=60), "in 3 ho", "ein", method="leave-one-out")
    assert found.faithfulness is not None
    best = found.faithfulness.full - found.faithfulness.deleted[:, 0]
    assert bool((best >= found.faithfulness.full - found.faithfulness.random_deleted[:, 0] - 1e-12).all())
    assert math.isfinite(found.faithfulness.gain)
