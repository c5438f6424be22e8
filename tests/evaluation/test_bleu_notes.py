"""A BLEU that says nothing about the answers: where it is said, where not, and that the scores stay sacreBLEU's."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import sacrebleu

import antiphon
from antiphon.errors import ConfigError
from antiphon.evaluation.bleu_notes import unspaced
from antiphon.evaluation.metrics import parse_metrics
from antiphon.evaluation.translation import bleu
from antiphon.generation.answers import Generation

UNSPACED = {
    "Japanese": "今日はとても良い天気ですね。",
    "Chinese": "今天天气很好，我们去公园。",
    "Thai": "วันนี้อากาศดีมาก เราไปเที่ยวสวนสาธารณะกัน",
    "Lao": "ມື້ນີ້ອາກາດດີຫຼາຍ ພວກເຮົາໄປທ່ຽວສວນ",
    "Khmer": "ថ្ងៃនេះអាកាសធាតុល្អណាស់ យើងទៅសួន",
    "Burmese": "ဒီနေ့ရာသီဥတုအလွန်ကောင်းမွန်ပါသည်။",
    "Tibetan": "དེ་རིང་གནམ་གཤིས་ཡག་པོ་འདུག",
}
SPACED = [
    "The weather is fine today.", "今天 天气 很 好 ， 我们 去 公园 。", "今日 は とても 良い 天気 です ね 。",
    "오늘은 날씨가 정말 좋네요", "Сегодня хорошая погода", "آج موسم بہت اچھا ہے", "a b c 日本", "", "12:30",
    "Donaudampfschifffahrtsgesellschaft",
]  # fmt: skip


class _Echo:
    """Stands for a model: answers each text as it is."""

    labels: tuple[str, ...] = ()

    def generate(self, texts: list[str]) -> list[Generation]:
        return [Generation(text, [text], -1.0, 0.5, True) for text in texts]


def echo() -> Any:
    return _Echo()


@pytest.mark.parametrize("script", UNSPACED)
def test_a_script_without_spaces_is_named(script: str) -> None:
    text = UNSPACED[script]
    for texts in ([text], [text, "OK", text], [text[:3]] * 5, [f"{text}\n"] * 3):
        assert unspaced(texts) == script
    result = bleu([text] * 3, [[text]] * 3)
    assert f"the references are {script}" in result.note and "chrf" in result.note and "tokenize: " in result.note
    assert result.score == sacrebleu.corpus_bleu([text] * 3, [[text] * 3]).score and "tok:13a" in result.signature
    for tokenize in ("char", "zh", "13a", "none"):
        assert "the references are" not in bleu([text] * 3, [[text]] * 3, tokenize=tokenize).note


@pytest.mark.parametrize("text", SPACED)
def test_other_texts_are_not(text: str) -> None:
    assert unspaced([text] * 3) is None


def test_the_remedies_work() -> None:
    for script, tokenize in (("Chinese", "zh"), ("Thai", "char"), ("Burmese", "char")):
        text = UNSPACED[script]
        wanted = f"tokenize: {tokenize}"
        assert wanted in bleu([text], [[text]]).note
        found = bleu([text], [[text]], tokenize=tokenize)
        assert found.score == pytest.approx(100) and not found.note


def test_the_library_that_a_remedy_needs_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "MeCab", None)  # as where it is not installed
    monkeypatch.delitem(sys.modules, "sacrebleu.tokenizers.tokenizer_ja_mecab", raising=False)
    with pytest.raises(ConfigError, match=r"dependencies.* pip install sacrebleu\[ja\]\)\.$") as caught:
        parse_metrics(["bleu:tokenize=ja-mecab"])
    assert "\\n" not in str(caught.value) and "\n" not in str(caught.value)


def test_answers_of_three_tokens() -> None:
    short = bleu(["a b c", "d e"], [["a b c"], ["d e"]])
    assert short.score == 0 and "no answer has 4 tokens" in short.note and "\n" not in short.note
    assert short.score == sacrebleu.corpus_bleu(["a b c", "d e"], [["a b c", "d e"]]).score
    by_effective_order = bleu(["a b c", "d e"], [["a b c"], ["d e"]], effective_order=True)
    assert by_effective_order.score == pytest.approx(100) and not by_effective_order.note
    assert "eff:yes" in by_effective_order.signature
    assert not bleu(["a b c", "d e"], [["a b c"], ["d e"]], max_ngram_order=2).note
    assert "no answer has 3" in bleu(["a b"], [["a b"]], max_ngram_order=3).note
    # One answer of four tokens is enough for a score, and a wrong long answer is a fair 0.
    assert not bleu(["a b c d", "d e"], [["a b c d"], ["d e"]]).note
    assert not bleu(["x y z v w"], [["a b c"]]).note


def test_evaluate_warns_once_and_keeps_the_note() -> None:
    text = UNSPACED["Japanese"]
    pairs = [(text, text)] * 4
    with pytest.warns(UserWarning, match="bleu: the references are Japanese") as caught:
        report = antiphon.evaluate(echo(), pairs, metrics=["bleu", "chrf"], groups=["a", "b", "a", "b"])
    assert len(caught) == 1 and report.notes == [str(caught[0].message)]
    assert "the references are Japanese" in report._repr_html_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        antiphon.evaluate(echo(), pairs, metrics=["chrf", {"bleu": {"tokenize": "char"}}])
    mixed = [*pairs, *[("this is a longer text in English " * 9, "this is a longer text in English " * 9)] * 4]
    with pytest.warns(UserWarning, match="bleu: the references are Japanese"):  # of one group only
        antiphon.evaluate(echo(), mixed, metrics=["bleu"], groups=["ja"] * 4 + ["en"] * 4)


@pytest.fixture
def japanese(tmp_path: Path) -> Path:
    (tmp_path / "p.tsv").write_text("".join(f"day {n}\t{n}日は良い天気です。\n" for n in range(8)), encoding="utf-8")
    return tmp_path


def test_a_run_says_it_at_its_start_and_the_command_too(japanese: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = {
        "task": "text",
        "data": {"train": {"path": str(japanese / "p.tsv")}, "valid": {"path": str(japanese / "p.tsv")}},
        "tokenizer": {"kind": "bytes"},
        "model": {"preset": "tiny", "d_model": 16, "ffn_dim": 16, "num_heads": 2},
        "training": {"max_steps": 2},
        "validation": {"every_steps": 1, "metrics": ["bleu", "chrf"], "samples": 0},
        "generation": {"max_new_tokens": 8},
        "output": str(japanese / "run"),
    }
    antiphon.train(recipe)
    said = capsys.readouterr().err
    assert said.count("validation.metrics, bleu: the references are Japanese") == 1
    assert said.index("the references are Japanese") < said.index("step 1")
    from antiphon.cli.main import main

    files = ["--data", str(japanese / "p.tsv"), "--metrics", "bleu", "--max-new-tokens", "8", "--json"]
    assert main(["evaluate", str(japanese / "run"), *files]) == 0
    out, err = capsys.readouterr()
    assert "references are Japanese" in json.loads(out)["metrics"]["bleu"]["note"]
    assert err.count("antiphon: warning: bleu: the references are Japanese") == 1


def test_reports_and_answers_are_one_line() -> None:
    answer = Generation("two\nlines", ["two"] * 99, -1.5, 0.5, True, [Generation("b", [], -2.0, 0.1, False)])
    assert repr(answer) == "Generation('two\\nlines', score -1.500, confidence 50.0%, finished, 1 alternative)"
    report = antiphon.evaluate(echo(), [("a b c d e", "a b c d e")] * 4, groups=["x", "y"] * 2)
    assert repr(report).startswith("Report(bleu 100.00, chrf 100.00; 4 pairs, 2 groups, answered in 0:00")
