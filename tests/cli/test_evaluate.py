"""`antiphon evaluate` on several files, by tag and by file, and on the test set of a run's own recipe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import antiphon

FRENCH, DUTCH = [("one two", "three"), ("three", "four")], [("four", "five"), ("five six", "two"), ("one", "one")]


@pytest.fixture
def model(model_folder: Path) -> antiphon.Model:
    return antiphon.load(model_folder)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, pairs in (("fre", FRENCH), ("dut", DUTCH)):
        (tmp_path / f"{name}.tsv").write_text("".join(f"{one}\t{other}\n" for one, other in pairs))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_groups_are_separate_evaluations(run, model_folder: Path, model: antiphon.Model, folder: Path) -> None:
    tables = [word for name in ("fre", "dut") for word in ("--data", f"{{path: {name}.tsv, tag: {name}}}")]
    ended = run("evaluate", model_folder, *tables, "--by", "tag", "--metrics", "per,cer", "--json")
    assert ended.code == 0
    report = json.loads(ended.out)
    assert list(report["groups"]) == ["fre", "dut"] and report["segments"] == 5
    alone = {}
    for name, pairs in (("fre", FRENCH), ("dut", DUTCH)):
        alone[name] = antiphon.evaluate(model, [(f"<{name}> {one}", other) for one, other in pairs], ["per", "cer"])
        for metric in ("per", "cer"):
            found = report["groups"][name]["metrics"][metric]
            assert found["score"] == pytest.approx(alone[name][metric].score)
            assert found["interval"] == pytest.approx(list(alone[name][metric].interval or ()))
    for metric in ("per", "cer"):
        mean = (alone["fre"][metric].score + alone["dut"][metric].score) / 2
        assert report["macro"][metric]["score"] == pytest.approx(mean)


def test_by_file(run, model_folder: Path, folder: Path) -> None:
    words = ["evaluate", model_folder, "--data", "fre.tsv", "--data", folder / "dut.tsv", "--metrics", "cer"]
    lines = run(*words, "--by", "file").lines
    assert [line.split()[:2] for line in lines[2:5]] == [["file", "pairs"], ["fre.tsv", "2"], ["dut.tsv", "3"]]
    assert lines[5].startswith("macro mean")
    assert len(run(*words).lines) == 1


def test_a_source_without_a_tag(run, model_folder: Path, folder: Path) -> None:
    ended = run("evaluate", model_folder, "--data", "fre.tsv", "--by", "tag", "--quiet")
    assert ended.code == 2 and "but this one is `one two` (fre.tsv:1)" in ended.err and ended.err.count("\n") == 1


def test_all_references_of_a_row_count(run, model_folder: Path, model: antiphon.Model, folder: Path) -> None:
    right = model.generate("one two")[0].text
    (folder / "several.jsonl").write_text(json.dumps({"source": "one two", "target": ["nothing", right]}) + "\n")
    ended = run("evaluate", model_folder, "--data", "several.jsonl", "--metrics", "exact_match,bleu", "--json")
    found = json.loads(ended.out)
    assert found["segments"] == 1
    assert found["metrics"]["exact_match"]["score"] == 100
    assert "nrefs:2" in found["metrics"]["bleu"]["signature"]


def test_fields_of_tables(run, model_folder: Path, model: antiphon.Model, folder: Path) -> None:
    flipped = [answer.text for answer in model.generate([target for _, target in FRENCH])]
    given = ["--data", "fre.tsv", "--source-field", 1, "--target-field", 0]
    for words in (given, ["--data", "{path: fre.tsv, source_field: 1, target_field: 0}"]):
        assert run("evaluate", model_folder, *words, "--output", "answers").code == 0
        assert (folder / "answers").read_text().splitlines() == flipped


def test_metrics_as_in_a_recipe(run, model_folder: Path, folder: Path) -> None:
    words = ["evaluate", model_folder, "--data", "fre.tsv", "--json", "--metrics"]
    found = json.loads(run(*words, "[{bleu: {tokenize: none}}, chrf]").out)["metrics"]
    assert list(found) == ["bleu", "chrf"] and "tok:none" in found["bleu"]["signature"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "{path: fre.tsv, tga: fre}"], "`tga` is not a known setting (--data), did you mean `tag`?"),
        (["--data", "{path: fre.tsv"], "(--data:1)"),
        (["--data", "none.tsv"], "`none.tsv` cannot be read"),
        (["--data", "fre.tsv", "--metrics", "[bleu"], "(--metrics:1)"),
        (["--data", "fre.tsv", "--by", "tga"], "`--by` must be one of tag, file"),
        (["--data", "fre.tsv", "--source", "fre.tsv", "--target", "fre.tsv"], "needs either"),
        (["--source-field", "a"], "belong to --data"),
        (["--data", "fre.tsv", "--metrics", "wre"], "did you mean `wer`?"),
    ],
)
def test_what_is_wrong_is_one_line(run, model_folder: Path, folder: Path, words: list[str], said: str) -> None:
    ended = run("evaluate", model_folder, "--quiet", *words)
    assert ended.code == 2 and said in ended.err and ended.err.count("\n") == 1


def test_answers_do_not_replace_what_is_read(run, model_folder: Path, folder: Path) -> None:
    before = (folder / "dut.tsv").read_bytes()
    words = ["evaluate", model_folder, "--data", "fre.tsv", "--data", "dut.tsv", "--quiet"]
    ended = run(*words, "--output", folder / "dut.tsv")
    assert ended.code == 2 and "must be another file" in ended.err
    assert (folder / "dut.tsv").read_bytes() == before


RECIPE = """
task: text
data:
  train: {path: fre.tsv, tag: fre}
  valid: {path: several.jsonl}
  test: [{path: fre.tsv, tag: fre}, {path: dut.tsv, tag: dut}]
tokenizer: {kind: characters, vocab_size: 300}
model: {preset: tiny, d_model: 16, num_heads: 2, ffn_dim: 32, encoder_layers: 1, decoder_layers: 1}
training: {max_steps: 2, warmup_steps: 1, batch_tokens: 64}
validation: {every_steps: 2, metrics: [error_rate, {wer: {lowercase: true}}], keep_best: wer}
generation: {max_new_tokens: 8}
output: run
"""


def test_a_run_is_evaluated_as_its_recipe_says(run, folder: Path) -> None:
    (folder / "several.jsonl").write_text(json.dumps({"source": "<fre> one", "target": ["two", "three"]}) + "\n")
    (folder / "recipe.yaml").write_text(RECIPE)
    assert run("train", "recipe.yaml", "--quiet").code == 0
    rows = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert any({"error_rate", "wer", "valid_loss"} <= set(row) for row in rows)
    whole = [run("evaluate", name, "--by", "tag", "--json") for name in ("run", "run/model")]
    assert [ended.code for ended in whole] == [0, 0]
    found = [json.loads(ended.out) for ended in whole]
    assert found[0]["metrics"] == found[1]["metrics"]
    assert list(found[0]["metrics"]) == ["error_rate", "wer"] and list(found[0]["groups"]) == ["fre", "dut"]
    assert "case:lc" in found[0]["metrics"]["wer"]["signature"]
    other = json.loads(run("evaluate", "run", "--metrics", "chrf", "--json").out)
    assert list(other["metrics"]) == ["chrf"] and other["segments"] == 5
    # A test set that is added or changed later does not make another run of it.
    again = run("train", "recipe.yaml", "--quiet", "--resume", "--data.test", "{path: dut.tsv}")
    assert (again.code, again.err) == (0, "")


def test_a_run_without_a_test_set(run, folder: Path) -> None:
    (folder / "several.jsonl").write_text(json.dumps({"source": "one", "target": ["two"]}) + "\n")
    (folder / "recipe.yaml").write_text(RECIPE)
    assert run("train", "recipe.yaml", "--quiet", "--data.test", "null").code == 0
    ended = run("evaluate", "run", "--quiet")
    assert ended.code == 2 and ended.err.count("\n") == 1
    assert (
        "the run's recipe has no `data.test` (`run/config.yaml`). Give --source and --target, or --data." in ended.err
    )
