"""Labels as answers: trained, saved, loaded, scored; and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import antiphon
from antiphon.errors import ConfigError, DataError
from antiphon.workflows import train

GOOD, BAD = ["good", "fine", "great", "lovely"], ["bad", "poor", "awful", "dull"]
ROWS = [(f"{a} {b}", str(int(words is GOOD))) for words in (GOOD, BAD) for a in words for b in words]
LABELS = {"0": "negative", "1": "positive"}


def recipe(output: Path, data: dict[str, Any] | None = None, **sections: Any) -> dict[str, Any]:
    return {
        "task": "classification",
        "data": {"train": ROWS, "valid": ROWS[::3], "labels": LABELS, **(data or {})},
        "tokenizer": {"source": {"kind": "words", "vocab_size": 300}, "target": {"kind": "words", "vocab_size": 300}},
        "model": {"preset": "tiny", "d_model": 32, "ffn_dim": 48, "num_heads": 2, "max_length": 64},
        "training": {"max_steps": 60, "batch_tokens": 64, "warmup_steps": 5, "lr": 5e-3},
        "validation": {"every_steps": 60, "metrics": ["accuracy", "macro_f1"]},
        "output": str(output),
        **sections,
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(recipe(tmp_path_factory.mktemp("labels") / "run"), quiet=True)


def test_a_classifier_learns_and_answers_with_the_names(run):
    answers = run.model.generate(["lovely fine", "dull awful"])
    assert [answer.text for answer in answers] == ["positive", "negative"]
    assert next(row["accuracy"] for row in run.metrics if "accuracy" in row) > 90
    saved = json.loads((run.folder / "model" / "task.json").read_text())
    assert saved == {"task": "classification", "labels": LABELS}


def test_probabilities_are_those_of_forced_scores(run):
    model = antiphon.load(run.folder)
    texts = ["good dull", "great", "words never seen", ""]
    for text, answer in zip(texts, model.generate(texts, n_best=2), strict=True):
        scores = {name: model.score([text], [name])[0] for name in ("negative", "positive")}
        weights = {name: math.exp(score) for name, score in scores.items()}
        assert answer.probabilities is not None
        for name, weight in weights.items():
            assert answer.probabilities[name] == pytest.approx(weight / sum(weights.values()), rel=1e-4)
        assert sum(answer.probabilities.values()) == pytest.approx(1)
        assert answer.text == max(scores, key=scores.__getitem__)
        assert answer.score == pytest.approx(scores[answer.text], rel=1e-4)
        length = len(model.target_tokenizer.encode(answer.text))  # the end included
        assert answer.confidence == pytest.approx(math.exp(answer.score / length), rel=1e-4)
        assert [other.text for other in answer.alternatives] == [min(scores, key=scores.__getitem__)]


def test_a_batch_is_its_rows_alone_and_a_stream_the_answer(run):
    texts = ["good", "bad bad bad bad bad bad", "fine dull great"]
    together = run.model.generate(texts)
    for text, answer in zip(texts, together, strict=True):
        alone = run.model.generate(text)[0]
        assert alone.text == answer.text and alone.score == pytest.approx(answer.score, rel=1e-5)
        assert "".join(run.model.stream(text)) == answer.text


def test_labels_without_a_list_are_those_of_the_data(tmp_path):
    made = train(recipe(tmp_path / "run", {"labels": []}, training={"max_steps": 1}, validation={}), quiet=True)
    assert made.model.labels == ["0", "1"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"valid": [*ROWS, ("fair", "2")]}, r"a label must be one of `0`, `1`, but is `2` \(pairs\[32\]\)"),
        ({"train": [*ROWS, ("fair", "2")]}, r"a label must be one of `0`, `1`, but is `2` \(pairs\[32\]\)"),
        ({"labels": {**LABELS, "2": "neutral"}}, "each label must have examples to learn from, but `neutral` has none"),
        ({"train": [*ROWS, ("fair", " ")], "labels": []}, r"a row must have a label, but has none \(pairs\[32\]\)"),
        (
            {"filters": [{"length": {"max": 3}}], "train": [*ROWS, ("a b c d", "2"), ("", "3")], "labels": []},
            r"each label must have .*`2` has none left: 34 pairs read, .*1 dropped by length\. Loosen `data.filters`",
        ),
        (
            {"train": [*ROWS, ("", "2")], "labels": []},
            r"`2` has none left: .* empty side\. Give it examples with a text",
        ),
        (
            {"labels": {"0": "n " * 99, "1": "p"}},
            r"at most `model.max_length` tokens \(64\), but `n n .*` has \d+\. Give",
        ),
        ({"labels": {"0": "same", "1": "same"}}, "2 to 1000 labels, but `data.labels` names 1"),
        ({"train": ROWS[:8], "labels": []}, "2 to 1000 labels, but the training data has 1"),
        ({"train": [(f"a{i}", f"b{i}") for i in range(1001)], "labels": []}, "2 to 1000 labels, but .* has 1001"),
    ],
)
def test_bad_labels_are_one_line_and_leave_no_run(tmp_path, data, message):
    with pytest.raises(DataError, match=message):
        train(recipe(tmp_path / "run", data), quiet=True)
    assert not (tmp_path / "run").exists()


def test_labels_that_the_tokenizer_cannot_tell_apart_are_refused(tmp_path):
    changed = {"labels": {"0": "Pos", "1": "POS"}}
    with pytest.raises(DataError, match="labels must differ in their tokens, but `Pos` and `POS` are the same"):
        train(recipe(tmp_path / "run", changed, tokenizer={"kind": "bpe", "vocab_size": 300, "lowercase": True}))
    assert not (tmp_path / "run").exists()


def test_labels_of_another_task_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"`data.labels` must be left out, but is given: the task is `text`"):
        train(recipe(tmp_path / "run", task="text"), quiet=True)


@pytest.mark.parametrize(("name", "value"), [("temperature", 1.0), ("prefix", "a"), ("required", ["good"])])
def test_settings_of_a_search_are_refused_by_name(run, name, value):
    with pytest.raises(ConfigError, match=f"`{name}` must be left out of a classification"):
        run.model.generate("good", **{name: value})


@pytest.mark.parametrize(("name", "value"), [("temperature", 1.0), ("prefix", "a"), ("forbidden", ["good"])])
def test_settings_of_a_search_are_refused_before_training(tmp_path, name, value):
    with pytest.raises(ConfigError, match=f"`generation.{name}` must be left out of a classification"):
        train(recipe(tmp_path / "run", generation={name: value}), quiet=True)
    assert not (tmp_path / "run").exists()


def test_labels_are_a_list_or_a_mapping(tmp_path):
    with pytest.raises(
        ConfigError, match=r"`data.labels` must be a list of labels or a mapping, but is the text `good`"
    ):
        train(recipe(tmp_path / "run", {"labels": "good"}), quiet=True)


def test_allowed_narrows_the_labels(run):
    answer = run.model.generate("lovely great", allowed=["negative"])[0]
    assert answer.text == "negative" and answer.probabilities == {"negative": 1.0}
    assert answer.score == pytest.approx(run.model.score(["lovely great"], ["negative"])[0], rel=1e-4)
    assert "".join(run.model.stream("lovely great", allowed=["negative"])) == "negative"
    texts = ["lovely great", "", "dull awful"]
    free = run.model.generate(texts)
    narrow = run.model.generate(texts, allowed=[["positive", "negative"], None, ["positive"]])
    assert narrow[:2] == free[:2] and [found.text for found in narrow[2:]] == ["positive"]


@pytest.mark.parametrize("allowed", [["negative", "neutral"], [["negative"], ["neutral"]]])
def test_an_allowed_text_is_a_label(run, allowed):
    row = 1 if isinstance(allowed[0], str) else 2
    message = rf"`allowed` of input {row} must be labels of the model \(negative, positive\), but the text `neutral`"
    with pytest.raises(DataError, match=message):
        run.model.generate(["good", "bad"], allowed=allowed)


def test_aligned_references_are_labels_too(run, tmp_path, capsys):
    from antiphon.cli.main import main

    (tmp_path / "s").write_text("lovely fine\ndull awful\n")
    files = ["--source", str(tmp_path / "s"), "--target", str(tmp_path / "t")]
    for labels in ("1\n0\n", "positive\nnegative\n"):
        (tmp_path / "t").write_text(labels)
        assert main(["evaluate", str(run.folder), *files, "--metrics", "accuracy", "--json", "--quiet"]) == 0
        assert json.loads(capsys.readouterr().out)["metrics"]["accuracy"]["score"] == 100
    (tmp_path / "t").write_text("1\nneutral\n")
    assert main(["evaluate", str(run.folder), *files, "--metrics", "accuracy", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert "a label must be one of `0`, `1`, but is `neutral`" in error and "s:2)" in error
