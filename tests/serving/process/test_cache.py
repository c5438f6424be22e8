"""The cache of answers: its bounds, and what its key depends on."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest

from antiphon.config import GenerationConfig
from antiphon.serving.process.cache import AnswerCache, cache_key
from antiphon.serving.process.messages import SubmitInput
from antiphon.serving.process.preparing import SearchDefaults, prepare
from antiphon.serving.service import GenerateCall, ModelInfo
from antiphon.settings import plain

OTHER: dict[str, Any] = {  # another value than the default for every search setting, with what it needs beside it
    "beam_size": 2, "n_best": 3, "min_new_tokens": 1, "max_new_tokens": 7, "length_penalty": 0.5,
    "length_penalty_kind": "gnmt", "patience": 1.0, "coverage_penalty": 0.1, "beam_groups": 2,
    "diversity_penalty": 0.5, "no_repeat_ngram": 3, "repetition_penalty": 1.5, "temperature": 0.7, "top_k": 5,
    "top_p": 0.5, "min_p": 0.1, "seed": 3, "source_language": "de", "target_language": "de", "prefix": "a",
    "prompt": "a", "allowed": ["a"], "required": ["a"], "forbidden": ["a"], "overflow": "split", "max_source_tokens": 9,
    "template": False, "batch_size": 3, "timestamps": "words", "previous_text": True, "fallback_temperatures": [0.5],
    "compression_ratio_threshold": 2.0, "log_probability_threshold": -1.0, "no_speech_threshold": 0.5,
    "ctc_weight": 0.3,
}  # fmt: skip
NEEDS: dict[str, dict[str, Any]] = {
    "diversity_penalty": {"beam_groups": 2}, "top_k": {"temperature": 1.0}, "top_p": {"temperature": 1.0},
    "min_p": {"temperature": 1.0}, "seed": {"temperature": 1.0},
}  # fmt: skip


def key(settings: dict[str, Any], *, text: Any = "hello", model: tuple[Any, ...] = ("a", 1), **call: Any) -> bytes:
    """The key of the last input of a call."""
    info = ModelInfo(
        task="text", input="speech" if isinstance(text, bytes) else "text", generation=plain(GenerationConfig())
    )
    search, row = SearchDefaults(info), call.pop("row", 0)
    inputs = [text] * (row + 1)
    config = search.checked(settings, count=len(inputs))
    message = prepare(GenerateCall(inputs=inputs, **call), config, search=search, info=info)[-1]
    return cache_key(list(model), message, sampled=config.samples)


def test_every_setting_is_tried() -> None:
    assert {field.name for field in dataclasses.fields(GenerationConfig)} == set(OTHER)


@pytest.mark.parametrize("name", sorted({*OTHER} - {"batch_size"}))
def test_every_setting_that_changes_an_answer_is_part_of_the_key(name: str) -> None:
    needs = NEEDS.get(name, {})
    assert key({**needs, name: OTHER[name]}) != key(needs)
    assert key({**needs, name: OTHER[name]}) == key({**needs, name: OTHER[name]})


def test_what_changes_no_answer_is_not() -> None:
    assert key({"batch_size": 3}) == key({}) == key({"beam_size": 4, "seed": 5}) == key({}, row=3)
    assert key({"length_penalty": 1}) == key({"length_penalty": 1.0})
    assert key({}, stream=True) == key({})
    assert key({"prefix": ["x", "a"]}, row=1) == key({"prefix": "a"})
    assert key({"forbidden": [["x"], ["a"]]}, row=1) == key({"forbidden": ["a"]})
    details = ("alignment", "token_confidence")
    assert key({}, details=details) == key({}, details=(*reversed(details), "alignment"))


def test_what_else_is_part_of_the_key() -> None:
    different = [
        key({}), key({}, text="Hello"), key({}, text="hello\ud800"), key({}, text=b"hello"), key({}, model=("b", 1)),
        key({}, model=("a", 2)), key({}, details=("alignment",)), key({"temperature": 1.0}),
        key({"temperature": 1.0}, row=1), key({}, text='hello"]'), key({}, model=("a1", 1)), key({}, text=""),
    ]  # fmt: skip
    assert len(set(different)) == len(different)


def test_a_model_that_samples_by_itself() -> None:
    """The row counts although the call says nothing of a temperature."""
    message = [SubmitInput(job=1, input="a", row=row, settings={}) for row in range(2)]
    assert len({cache_key(["a", 1], each, sampled=True) for each in message}) == 2


def test_the_least_recently_used_answer_leaves() -> None:
    cache = AnswerCache(max_entries=3, max_bytes=10**6)
    for name in (b"a", b"b", b"c"):
        cache.put(name, {"text": name.decode()}, ["note"])
    assert cache.get(b"a") == ({"text": "a"}, ("note",))
    cache.put(b"d", {"text": "d"}, [])
    assert cache.get(b"b") is None
    assert cache.get(b"a") and cache.get(b"c") and cache.get(b"d")
    assert (cache.hits, cache.misses, len(cache)) == (4, 1, 3)


def test_the_bytes_are_bounded() -> None:
    cache, draw = AnswerCache(max_entries=10**6, max_bytes=20_000), random.Random(2)
    for _ in range(3000):
        cache.put(bytes([draw.randrange(100)]), {"text": "x" * draw.randrange(2000)}, [])
        assert 0 < cache.bytes <= 20_000
    assert cache.bytes == sum(len(content) + 200 for content in cache._entries.values())
    cache.put(b"large", {"text": "x" * 20_000}, [])
    assert cache.get(b"large") is None and len(cache) > 3, "it does not push out all others"


def test_no_cache() -> None:
    cache = AnswerCache(max_entries=0, max_bytes=10**6)
    cache.put(b"a", {"text": "a"}, [])
    assert cache.get(b"a") is None and cache.bytes == 0
