"""The reranking example, with two tiny models."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from generation.test_model import TEXTS, model

import antiphon
from antiphon.generation.model import Model
from antiphon.text import load_task
from antiphon.text.task import reverse_words

FILE = Path(__file__).resolve().parents[2] / "examples" / "rerank.py"
SPEC = importlib.util.spec_from_file_location("rerank", FILE)
assert SPEC is not None and SPEC.loader is not None
rerank = importlib.util.module_from_spec(SPEC)
sys.modules["rerank"] = rerank
SPEC.loader.exec_module(rerank)


def test_the_task_reverses_the_targets_words() -> None:
    task = load_task("right_to_left")
    assert task.pair({"source": "a b", "target": "in  3 hours"}) == ("a b", "hours 3  in")
    assert task.pair({"source": "a b"}) == ("a b", None)
    for text in (*TEXTS, "", " ", "a  b "):
        assert reverse_words(reverse_words(text)) == text


def test_both_models_scores_choose(tmp_path: Path) -> None:
    reversed_model = Model.from_parts(replace(model(seed=2).parts, task="right_to_left"))
    folders = [str(held.save(tmp_path / str(seed))) for seed, held in enumerate((model(seed=1), reversed_model))]
    left, right = (antiphon.load(folder, device="cpu", dtype="float64") for folder in folders)
    lists = rerank.candidates(left, right, TEXTS[:3], 4)
    for source, entries in zip(TEXTS[:3], lists, strict=True):
        for text, forward, backward in entries:
            assert forward * len(left.target_tokenizer.encode(text)) == pytest.approx(left.score(source, text)[0])
            reverse = reverse_words(text)
            length = len(right.target_tokenizer.encode(reverse))
            assert backward * length == pytest.approx(right.score(source, reverse)[0])
        assert rerank.pick(entries, 0.0) == max(entries, key=lambda entry: entry[1])[0]
        assert rerank.pick(entries, 1.0) == max(entries, key=lambda entry: entry[2])[0]


def test_the_weight_is_the_best_on_validation_data() -> None:
    lists = [[("one two three four", -1.0, -2.0), ("five six seven eight", -2.0, -0.5)]] * 2
    weight, scores = rerank.tune(lists, ["five six seven eight"] * 2, tokenize="13a")
    assert scores[0] == 0 and max(scores) == pytest.approx(100) and rerank.pick(lists[0], weight).startswith("five")
    assert rerank.pick(lists[0], weight - 0.1).startswith("one")


def test_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(model(seed=seed).save(tmp_path / str(seed))) for seed in (1, 2)]
    for name, texts in (("s", TEXTS[:2]), ("t", TEXTS[1:3])):
        (tmp_path / name).write_text("\n".join(text.replace("\n", " ") for text in texts) + "\n")
    source, target = str(tmp_path / "s"), str(tmp_path / "t")
    rerank.main([*folders, "--valid", source, target, "--input", source, "--n-best", "3"])
    shown = capsys.readouterr()
    assert shown.err.count("BLEU") == 11 and shown.err.count("<") == 1
    assert shown.out.count("\n") >= 2
