"""What is counted of the first pairs of a corpus, in memory and streamed."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.config import DataConfig
from antiphon.data import Batches, DataProfile, load_corpus, profile
from antiphon.text import load_task, train_tokenizer

PAIRS = [("a b", "x y z"), ("c", "x"), ("a b c d", "y x")]


@pytest.mark.parametrize("streaming", ["never", "always"])
def test_lengths_and_words_are_those_of_the_data(streaming: str, tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in PAIRS))
    data = DataConfig(train={"path": str(tmp_path / "train.tsv"), "source_field": 0, "target_field": 1})
    tokenizer = train_tokenizer([text for pair in PAIRS for text in pair], kind="bytes")
    found = DataProfile()
    both = {"source_tokenizer": tokenizer, "target_tokenizer": tokenizer, "max_length": 50}
    corpus = load_corpus(data.train, task=load_task("text"), streaming=streaming, profile=found, **both)  # type: ignore[arg-type]
    batches = Batches(corpus, batch_tokens=100, seed=0)
    for _ in range(3):
        next(batches)  # later passes do not count again what is in memory
    lengths = sorted(len(tokenizer.encode(source)) for source, _ in PAIRS)
    assert sorted(found.source_lengths)[: len(lengths)] == lengths or streaming == "always"
    assert found.lengths("source")["max"] == lengths[-1]
    if streaming == "never":
        assert found.pairs == 3 and found.frequencies(["x", "y", "q"]) == {"x": 3, "y": 2, "q": 0}
        assert found.lengths("source")["mean"] == pytest.approx(sum(lengths) / 3, abs=0.01)
    else:
        assert found.frequencies(["x"])["x"] * 2 == found.frequencies(["y"])["y"] * 3


def test_only_the_first_pairs_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "MAX_PROFILE_PAIRS", 2)
    tokenizer = train_tokenizer([text for pair in PAIRS for text in pair], kind="bytes")
    found = DataProfile()
    both = {"source_tokenizer": tokenizer, "target_tokenizer": tokenizer, "max_length": 50}
    load_corpus(PAIRS, task=load_task("text"), profile=found, **both)  # type: ignore[arg-type]
    assert found.pairs == 2 and found.frequencies(["y", "x"]) == {"y": 1, "x": 2}
    assert DataProfile().lengths("target") == {}
