"""`antiphon compare` on files of answers, on models, on tables and on the test sets of runs; and what it refuses."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest

import antiphon
from antiphon.cli.compare import _names

SOURCES = ["one two", "three", "four five six", "two", "seven eight", "one"]
REFERENCES = ["one two", "three four", "five six", "two", "eight", "one one"]
GOOD = ["one two", "three four", "five six", "two two", "eight", "one"]
BAD = ["one", "four", "six seven", "two", "x", "one"]
FAST = ("--samples", 50, "--trials", 50)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    texts = {"src.txt": SOURCES, "ref.txt": REFERENCES, "good.txt": GOOD, "bad.txt": BAD, "other.txt": SOURCES}
    for name, lines in texts.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    (tmp_path / "bad.gz").write_bytes(gzip.compress((tmp_path / "bad.txt").read_bytes()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_files_of_answers(run, folder: Path) -> None:
    words = ["compare", "good.txt", "bad.gz", "--target", "ref.txt", "--metrics", "chrf,exact_match"]
    ended = run(*words)
    assert ended.code == 0 and ended.err == "", "without a model no device is started"
    assert "No difference between good.txt and bad.gz is shown in chrF (good.txt is ahead" in " ".join(
        ended.out.split()
    )
    assert max(map(len, ended.lines)) <= 80
    found = json.loads(run(*words, *FAST, "--json", "--examples", 1).out)
    mine = antiphon.compare([GOOD, BAD], REFERENCES, metrics=["chrf", "exact_match"], samples=50, trials=50)
    assert found["systems"] == ["good.txt", "bad.gz"] and found["samples"] == found["trials"] == 50
    for metric, content in found["metrics"].items():
        [pair] = content["pairs"]
        one = mine.difference(metric, 0, 1)
        assert (pair["difference"], pair["p"], pair["scores"]) == (one.difference, one.p, list(one.scores))
    assert len(found["examples"]) <= 2


def test_several_references_tags_and_training_data(run, folder: Path) -> None:
    (folder / "tags.txt").write_text("a\nb\n" * 3)
    (folder / "train.txt").write_text("one two five six\n" * 9)
    words = ["compare", "good.txt", "bad.txt", "--target", "ref.txt", "--target", "other.txt", *FAST, "--json"]
    found = json.loads(run(*words, "--tags", "tags.txt", "--training", "train.txt").out)
    assert "nrefs:2" in found["metrics"]["bleu"]["signature"]
    assert list(found["groups"]["tag"]) == ["a", "b"] and found["groups"]["tag"]["a"]["segments"] == 3
    assert found["rare_words"] == "at most 5 times in the training data"


def test_a_page_beside_the_table(run, folder: Path) -> None:
    ended = run("compare", "good.txt", "bad.txt", "--target", "ref.txt", *FAST, "--html", "page.html")
    assert "the page is `page.html`" in ended.err and "BLEU" in ended.out
    assert (folder / "page.html").read_text().startswith("<!doctype html>")


def test_models_answer_with_the_flags_of_the_search(run, folder: Path, model_folder: Path) -> None:
    shutil.copytree(model_folder, folder / "runs" / "second" / "model")
    model = antiphon.load(model_folder)
    words = ["compare", model_folder, "runs/second/model", "good.txt", "--source", "src.txt", "--target", "ref.txt"]
    ended = run(*words, *FAST, "--max-new-tokens", 4, "--metrics", "cer", "--json")
    assert ended.code == 0 and ended.err.count("answering 6 sources") == 2
    found = json.loads(ended.out)
    assert found["systems"][1:] == ["second", "good.txt"]
    answers = [answer.text for answer in model.generate(SOURCES, max_new_tokens=4)]
    expected = antiphon.evaluate(model, list(zip(SOURCES, REFERENCES, strict=True)), ["cer"], max_new_tokens=4)
    scores = [system["score"] for system in found["metrics"]["cer"]["systems"].values()]
    assert scores[0] == scores[1] == pytest.approx(expected["cer"].score)
    [equal, other, _] = found["metrics"]["cer"]["pairs"]
    assert equal["p"] == 1 and "all answers are equal" in equal["verdict"]
    assert other["systems"] == [found["systems"][0], "good.txt"]
    shown = [one["answers"] for one in found["examples"] if one["systems"] == other["systems"]]
    assert shown and all(one[0] in answers for one in shown)


def test_tables(run, folder: Path) -> None:
    rows = "".join(f"{one}\t{other}\n" for one, other in zip(SOURCES, REFERENCES, strict=True))
    (folder / "test.tsv").write_text(rows)
    words = ["compare", "good.txt", "bad.txt", *FAST, "--json", "--data"]
    by_table = json.loads(run(*words, "{path: test.tsv, tag: fre}").out)
    assert by_table["segments"] == 6 and by_table["examples"][0]["source"].startswith("<fre> ")


def test_names() -> None:
    assert _names(["a/x.txt", "b/y.gz"]) == ["x.txt", "y.gz"]
    assert _names(["runs/base/model", "runs/big"]) == ["base", "big"]
    assert _names(["a/x.txt", "b/x.txt", "c"]) == ["a/x.txt", "b/x.txt", "c"]


def test_the_test_set_of_a_recipe(run, folder: Path, model_folder: Path) -> None:
    for name, file in (("one", "ref.txt"), ("two", "ref.txt"), ("three", "other.txt")):
        shutil.copytree(model_folder, folder / name / "model")
        recipe = (
            f"data: {{test: {{source: {folder}/src.txt, target: {folder}/{file}}}}}\nvalidation: {{metrics: [cer]}}\n"
        )
        (folder / name / "config.yaml").write_text(recipe)
    found = json.loads(run("compare", "one", "two", "good.txt", *FAST, "--max-new-tokens", 3, "--json").out)
    assert list(found["metrics"]) == ["cer"] and found["systems"] == ["one", "two", "good.txt"]
    ended = run("compare", "one", "three", *FAST, "--quiet")
    assert ended.code == 2 and "have different test sets (`data.test`)" in ended.err and ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["good.txt"], "compare needs at least 2 systems, but has 1"),
        (["good.txt", "bad.txt"], "needs the references of the answers. Give --target"),
        (["good.txt", "./good.txt", "--target", "ref.txt"], "given once, but `good.txt` and `./good.txt` are the same"),
        (["good.txt", "none.txt", "--target", "ref.txt"], "`none.txt` must be a file of answers, or a model"),
        (["good.txt", "short.txt", "--target", "ref.txt"], "but `short.txt` has 2 and `ref.txt` has 6"),
        (["good.txt", "empty.txt", "--target", "ref.txt"], "but `empty.txt` is empty"),
        (["good.txt", "bad.txt", "--target", "empty.txt"], "at least one line, but `empty.txt` is empty"),
        (
            ["good.txt", "latin.txt", "--target", "ref.txt"],
            "UTF-8, but byte 0xe9 at column 4 is not (latin.txt:1)",
        ),
        (["one.txt", "uno.txt", "--target", "eins.txt"], "at least 2 segments, but has 1"),
        (["good.txt", "bad.txt", "--target", "ref.txt", "--target", "short.txt"], "`short.txt` has 2"),
        (["good.txt", "bad.txt", "--target", "ref.txt", "--data", "x.tsv"], "either --target"),
        (["good.txt", "bad.txt", "--source", "src.txt"], "references of --source. Give --target"),
        (["good.txt", "bad.txt", "--target", "ref.txt", "--source-field", "a"], "belong to --data"),
        (["good.txt", "bad.txt", "--target", "ref.txt", "--metrics", "blue"], "did you mean `bleu`"),
        (["good.txt", "bad.txt", "--target", "ref.txt", "--tags", "short.txt"], "each of the 6 lines of the test set"),
        (["good.txt", "bad.txt", "--target", "ref.txt", "--trials", "0"], "`--trials` must be"),
        (["good.txt", ".", "--target", "ref.txt"], "a model needs sources to answer (`.`). Give --source."),
        (["good.txt", "bad.txt", "--target", "ref.txt", "--n-best", "2"], "`--n-best` must be 1 here"),
    ],
)
def test_what_is_wrong_is_one_line(run, folder: Path, words: list[str], said: str) -> None:
    (folder / "short.txt").write_text("a\nb\n")
    (folder / "empty.txt").write_text("")
    (folder / "latin.txt").write_bytes(b"caf\xe9\n" * 6)
    for name in ("one.txt", "uno.txt", "eins.txt"):
        (folder / name).write_text("a\n")
    ended = run("compare", *words)
    assert ended.code == 2 and said in ended.err and ended.err.count("\n") == 1 and ended.out == ""
