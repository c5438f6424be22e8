"""COMET by another Python. The package here is a stand-in of a few lines: what is tested is the way there and back."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from antiphon.errors import ConfigError, DataError, WorkError
from antiphon.evaluation import comet as home
from antiphon.evaluation.comet import comet
from antiphon.evaluation.comparing import compare
from antiphon.evaluation.evaluate import evaluate
from antiphon.evaluation.metrics import parse_metrics

STUB = '''
"""Scores by length, and notes what it was asked."""
import json, pathlib, types
HERE = pathlib.Path(__file__).parent
print("a library that talks to standard output")
def download_model(name):
    if name == "no/such-model":
        raise KeyError("Model 'no/such-model' not supported by COMET.")
    return "/downloaded/" + name
def load_from_checkpoint(path):
    class Model:
        def predict(self, data, batch_size, gpus):
            with open(HERE / "asked.jsonl", "a") as file:
                file.write(json.dumps({"path": path, "data": data, "batch_size": batch_size}) + "\\n")
            print("Predicting", flush=True)
            scores = [len(row["mt"]) / (len(row["src"]) + len(row["ref"])) for row in data]
            return types.SimpleNamespace(scores=scores, system_score=sum(scores) / len(scores))
    return Model()
'''


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python whose packages are stand-ins for COMET and PyTorch."""
    packages = tmp_path / "packages"
    (packages / "comet").mkdir(parents=True)
    (packages / "comet" / "__init__.py").write_text(STUB)
    (packages / "torch.py").write_text("from types import SimpleNamespace as S\ncuda = S(is_available=lambda: False)\n")
    (packages / "unbabel_comet-2.2.7.dist-info").mkdir()
    (packages / "unbabel_comet-2.2.7.dist-info" / "METADATA").write_text("Name: unbabel-comet\nVersion: 2.2.7\n")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{packages}" exec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    monkeypatch.delenv(home.VARIABLE, raising=False)
    return python


def asked(environment: Path) -> list[dict]:
    file = environment.parent / "packages" / "comet" / "asked.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_there_and_back(environment: Path) -> None:
    result = comet(["Hünd", "ab"], [["dog!"], ["xy", "wxyz"]], sources=["cat!", "s "], python=str(environment))
    expected = [4 / 8, (2 / 4 + 2 / 6) / 2]
    assert result.score == pytest.approx(100 * sum(expected) / 2)
    assert [part for part, _ in result.statistics] == pytest.approx(expected)
    assert result.interval is not None and not result.lower_is_better
    assert result.signature == "nrefs:var|refs:mean|model:Unbabel/wmt22-comet-da|unbabel-comet:2.2.7"
    [call] = asked(environment)
    assert call["path"] == "/downloaded/Unbabel/wmt22-comet-da" and call["batch_size"] == 16
    assert call["data"][0] == {"src": "cat!", "mt": "Hünd", "ref": "dog!"}


def test_what_was_scored_is_not_scored_again(environment: Path) -> None:
    class Echo:
        labels = ()

        def generate(self, texts: list[str]) -> list:
            return [type("Answer", (), {"text": text}) for text in texts]

    metric = {"comet": {"python": str(environment)}}
    pairs = [("a", "b"), ("cc", "d"), ("a", "b")]
    report = evaluate(Echo(), pairs, [metric], groups=["x", "y", "x"])  # type: ignore[arg-type]
    assert report.grouped is not None
    assert report.grouped.groups["x"]["comet"].score == pytest.approx(50)
    [call] = asked(environment)  # the groups cost no second process, and equal rows no second score
    assert len(call["data"]) == 2


def test_the_environment_variable_names_it_too(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(home.VARIABLE, str(environment))
    assert comet(["ab"], [["cd"]], sources=["ef"]).score == 50


def test_a_path_is_a_checkpoint(environment: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.ckpt"
    checkpoint.write_text("")
    comet(["ab"], [["cd"]], sources=["ef"], python=str(environment), model=str(checkpoint))
    assert asked(environment)[0]["path"] == str(checkpoint)


def test_it_is_checked_before_anything_is_generated_and_without_a_model(environment: Path) -> None:
    parse_metrics([{"comet": {"python": str(environment), "model": "no/such-model"}}])
    assert asked(environment) == []


def test_sources_are_needed(environment: Path) -> None:
    [metric] = parse_metrics([{"comet": {"python": str(environment)}}])
    with pytest.raises(DataError, match="`comet` needs the source of each answer"):
        metric(["a"], [["b"]])
    assert metric(["a"], [["b"]], ["c"]).score == 50


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, r"neither its setting `python` nor ANTIPHON_COMET_PYTHON names one\. docs/comet\.md"),
        ({"python": "/no/such/python"}, r"cannot be started \(`/no/such/python`: No such file"),
        ({"python": "PLAIN"}, r"must have the package unbabel-comet, but `.*` has not"),
        ({"python": "STUB", "batch_size": 0}, "`batch_size` of comet must be a whole number of at least 1, but is 0"),
        ({"python": "STUB", "model": 3}, "`model` of comet must be a name or a path, but is 3"),
        ({"python": "STUB", "modle": "x"}, "does not take these settings .*modle"),
    ],
)
def test_what_is_missing_is_one_clear_line(environment: Path, tmp_path: Path, settings: dict, words: str) -> None:
    plain = tmp_path / "plain"
    plain.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    plain.chmod(0o755)
    places = {"STUB": str(environment), "PLAIN": str(plain)}
    settings = {key: places.get(value, value) for key, value in settings.items()}
    with pytest.raises(ConfigError, match=words) as caught:
        parse_metrics([{"comet": settings}])
    assert "\n" not in str(caught.value)


def test_what_fails_there_is_told_in_one_line(environment: Path) -> None:
    with pytest.raises(WorkError, match=r"exit code 1; its last line was: KeyError.*no/such-model") as caught:
        comet(["a"], [["b"]], sources=["c"], python=str(environment), model="no/such-model")
    assert "\n" not in str(caught.value)


def test_systems_are_compared_by_one_process(environment: Path) -> None:
    metrics = [{"comet": {"python": str(environment)}}]
    found = compare([["a", "bb"], ["aaa", "bbb"]], ["xx", "yy"], ["s", "t"], metrics, samples=20, trials=20)
    [request] = asked(environment)
    assert len(request["data"]) == 4
    [one] = found.differences
    assert one.better is None and one.tests["randomisation"] is not None and "B is ahead" in one.verdict
    assert found.segment_scores[0] == pytest.approx([100 / 3, 200 / 3])
    with pytest.raises(DataError, match="needs the source of each answer"):
        compare([["a", "bb"], ["aaa", "bbb"]], ["xx", "yy"], metrics=metrics)


def test_a_model_of_quality_estimation_reads_no_reference(environment: Path) -> None:
    (metric,) = parse_metrics([{"comet": {"python": str(environment), "model": "kiwi", "reference_free": True}}])
    found = metric(["abcd"], [["a reference"]], ["ab"])
    assert found.score == pytest.approx(100 * 4 / 2) and found.signature.startswith("nrefs:0|model:kiwi")
    assert asked(environment)[-1]["data"] == [{"src": "ab", "mt": "abcd", "ref": ""}]
    with pytest.raises(ConfigError, match="`reference_free` of comet must be true or false, but is 3"):
        parse_metrics([{"comet": {"python": str(environment), "reference_free": 3}}])
