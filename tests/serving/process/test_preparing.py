"""The settings of calls: checked once, and never mixed up."""

from __future__ import annotations

import random
from typing import Any

import pytest

from antiphon.config import GenerationConfig
from antiphon.serving.process.preparing import SearchDefaults, length_settings, prepare
from antiphon.serving.service import BadInput, GenerateCall, ModelInfo
from antiphon.settings import override, plain

DEFAULT = GenerationConfig(beam_size=3, prefix="x")
INFO = ModelInfo(task="text", input="text", generation=plain(DEFAULT))


def test_settings_are_those_of_the_model_with_those_of_the_call() -> None:
    search, draw = SearchDefaults(INFO), random.Random(3)
    for _ in range(600):
        settings: dict[str, Any] = {"max_new_tokens": draw.randrange(1, 300)}
        if draw.random() < 0.5:
            settings["beam_size"] = draw.choice([3, 3.0, 4])
        if draw.random() < 0.3:
            settings["forbidden"] = ["f" * draw.randrange(1, 3000)]
        assert search.checked(settings, count=1) == override(DEFAULT, settings)
    assert len(search._known) == 128


def test_true_is_no_number_after_one_was_remembered() -> None:
    search = SearchDefaults(INFO)
    assert search.checked({"n_best": 1}, count=1).n_best == 1
    with pytest.raises(BadInput, match="`n_best` must be a whole number"):
        search.checked({"n_best": True}, count=1)
    with pytest.raises(BadInput, match="`prefix` must be a text"):
        search.checked({"prefix": object()}, count=1)


def test_only_what_differs_is_sent() -> None:
    search = SearchDefaults(INFO)

    def sent(settings: dict[str, Any]) -> list[dict[str, Any]]:
        call = GenerateCall(inputs=["a", "b"], settings=settings, first_row=4)
        messages = prepare(call, search.checked(settings, count=2), search=search, info=INFO)
        assert [each.row for each in messages] == [4, 5]
        return [each.settings for each in messages]

    assert sent({}) == sent({"beam_size": 3}) == sent({"prefix": ["x", "x"]}) == [{}, {}]
    assert sent({"prefix": [None, "y"], "n_best": 2}) == [{"prefix": None, "n_best": 2}, {"prefix": "y", "n_best": 2}]
    assert sent({"allowed": [["a"], None]}) == [{"allowed": ["a"]}, {}]


def test_settings_of_scores() -> None:
    assert length_settings(None) == length_settings({"overflow": None}) == {}
    assert length_settings({"overflow": "split", "max_source_tokens": 3}) == {
        "overflow": "split",
        "max_source_tokens": 3,
    }
    with pytest.raises(BadInput, match="`beam_size` is no setting of this call") as caught:
        length_settings({"beam_size": 3})
    assert caught.value.field == "beam_size"
