"""Each command on a small model: what goes in, what comes out, in which order, and what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

import antiphon

TEXTS = ["one two", "three", "", "four five six seven", "one"]


@pytest.fixture(scope="session")
def model(model_folder: Path) -> antiphon.Model:
    return antiphon.load(model_folder)


def test_generate_gives_a_line_for_each_line_in_their_order(run, model_folder: Path, model: antiphon.Model) -> None:
    ended = run("generate", model_folder, input="\n".join(TEXTS) + "\n")
    assert ended.code == 0
    assert ended.lines == [answer.text.replace("\n", " ") for answer in model.generate(TEXTS)]
    assert ended.lines[2] == ""
    assert ended.err.startswith("antiphon: cpu") and "float32, 1 thread" in ended.err


def test_quiet_says_nothing(run, model_folder: Path) -> None:
    assert run("generate", model_folder, "--quiet", input="one\n").err == ""


def test_generate_from_file_to_file(run, model_folder: Path, model: antiphon.Model, tmp_path: Path) -> None:
    source, target = tmp_path / "in.gz", tmp_path / "out"
    source.write_bytes(gzip.compress("\r\n".join(TEXTS).encode()))
    ended = run("generate", model_folder, "--input", source, "--output", target, "--beam-size", 1)
    assert (ended.code, ended.out) == (0, "")
    expected = [answer.text.replace("\n", " ") for answer in model.generate(TEXTS, beam_size=1)]
    assert target.read_bytes().decode().removesuffix("\n").split("\n") == expected


def test_generate_json_keeps_everything(run, model_folder: Path, model: antiphon.Model) -> None:
    ended = run("generate", model_folder, "--json", "--n-best", 2, input="\n".join(TEXTS))
    rows = [json.loads(line) for line in ended.lines]
    for row, answer in zip(rows, model.generate(TEXTS, n_best=2), strict=True):
        assert list(row) == ["text", "tokens", "score", "confidence", "finished", "alternatives"]
        assert row["text"] == answer.text and row["tokens"] == answer.tokens and row["finished"] == answer.finished
        assert row["score"] == pytest.approx(answer.score) and row["confidence"] == pytest.approx(answer.confidence)
        assert [other["text"] for other in row["alternatives"]] == [other.text for other in answer.alternatives]


def test_generate_n_best_gives_n_lines_for_each_input(run, model_folder: Path, model: antiphon.Model) -> None:
    ended = run("generate", model_folder, "--n-best", 2, input="\n".join(TEXTS))
    expected = []
    for answer in model.generate(TEXTS, n_best=2):
        texts = [answer.text, *(other.text for other in answer.alternatives)]
        expected += [text.replace("\n", " ") for text in [*texts, "", ""][:2]]
    assert ended.lines == expected


def test_generate_stream_joins_to_the_same_text(run, model_folder: Path) -> None:
    plain, streamed = (run("generate", model_folder, *flags, input="\n".join(TEXTS)) for flags in ([], ["--stream"]))
    assert streamed.code == 0
    assert streamed.out == plain.out


def test_sampling_is_a_function_of_the_seed(run, model_folder: Path) -> None:
    def sample(seed: int) -> str:
        return run("generate", model_folder, "--temperature", 1.5, "--seed", seed, input="\n".join(TEXTS)).out

    assert sample(1) == sample(1)
    assert len({sample(seed) for seed in range(4)}) > 1


def test_nothing_in_nothing_out(run, model_folder: Path) -> None:
    ended = run("generate", model_folder, input="")
    assert (ended.code, ended.out) == (0, "")


def test_invalid_utf8_is_exit_2_after_the_answers_before_it(run, model_folder: Path) -> None:
    ended = run("generate", model_folder, "--quiet", input=b"one\ntwo\n\xff\nfour\n")
    assert ended.code == 2
    assert len(ended.lines) == 2
    assert "standard input:3" in ended.err and ended.err.count("\n") == 1


def test_a_source_that_is_too_long_is_an_error_or_cut_as_asked(run, model_folder: Path) -> None:
    long = "one two three " * 100
    ended = run("generate", model_folder, "--quiet", input=long)
    assert ended.code == 2 and "64" in ended.err and ended.err.count("\n") == 1
    assert run("generate", model_folder, "--overflow", "truncate", input=long).code == 0


def test_a_model_that_is_not_there(run, tmp_path: Path) -> None:
    ended = run("generate", tmp_path / "none", "--quiet")
    assert ended.code == 2 and "there is no model at" in ended.err and ended.err.count("\n") == 1


def files(folder: Path, *sides: list[str]) -> list[Path]:
    made = []
    for number, side in enumerate(sides):
        made.append(folder / f"side{number}")
        made[-1].write_text("".join(f"{line}\n" for line in side), encoding="utf-8")
    return made


def test_evaluate_is_what_python_says(run, model_folder: Path, model: antiphon.Model, tmp_path: Path) -> None:
    targets = [answer.text.replace("\n", " ") for answer in model.generate(TEXTS)]
    targets[0] += " x"
    source, target = files(tmp_path, TEXTS, targets)
    words = ["evaluate", model_folder, "--source", source, "--target", target]
    ended = run(*words, "--metrics", "bleu:tokenize=none,chrf,exact_match", "--json")
    assert ended.code == 0
    report = json.loads(ended.out)
    mine = antiphon.evaluate(
        model, list(zip(TEXTS, targets, strict=True)), metrics=[{"bleu": {"tokenize": "none"}}, "chrf", "exact_match"]
    )
    assert report["segments"] == len(TEXTS)
    for name, result in mine.items():
        assert report["metrics"][name]["score"] == pytest.approx(result.score)
        assert report["metrics"][name]["signature"] == result.signature
        assert result.interval is not None
        assert report["metrics"][name]["interval"] == pytest.approx(list(result.interval))
    assert report["metrics"]["exact_match"]["score"] == pytest.approx(80.0)
    table = run(*words, "--metrics", "exact_match,chrf").lines
    assert [line.split()[0] for line in table] == ["exact_match", "chrf"]
    assert table[0].split()[1] == "80.00"


def test_evaluate_with_several_references(run, model_folder: Path, model: antiphon.Model, tmp_path: Path) -> None:
    right = [answer.text.replace("\n", " ") for answer in model.generate(TEXTS)]
    source, wrong, other = files(tmp_path, TEXTS, ["nothing"] * len(TEXTS), right)
    words = ["evaluate", model_folder, "--source", source, "--metrics", "exact_match", "--json", "--target"]
    assert json.loads(run(*words, wrong).out)["metrics"]["exact_match"]["score"] == 0
    both = json.loads(run(*words, wrong, "--target", other).out)["metrics"]["exact_match"]
    assert both["score"] == 100 and "nrefs:2" in both["signature"]


def test_evaluate_a_table_and_keep_the_answers(run, model_folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "pairs.jsonl"
    table.write_text("".join(json.dumps({"en": text, "de": text}) + "\n" for text in ("one", "two")))
    answers = tmp_path / "answers"
    words = ["evaluate", model_folder, "--data", table, "--source-field", "en", "--target-field", "de"]
    assert run(*words, "--output", answers).code == 0
    assert answers.read_text().count("\n") == 2
    ended = run("evaluate", model_folder, "--data", table, "--quiet")
    assert ended.code == 2 and "source" in ended.err and "pairs.jsonl:1" in ended.err


def test_evaluate_refuses_sides_of_different_length(run, model_folder: Path, tmp_path: Path) -> None:
    source, target, empty = files(tmp_path, ["a", "b", "c"], ["a", "b"], [])
    ended = run("evaluate", model_folder, "--source", source, "--target", target, "--quiet")
    assert ended.code == 2 and "has 3" in ended.err and "has 2" in ended.err
    ended = run("evaluate", model_folder, "--source", empty, "--target", empty, "--quiet")
    assert ended.code == 2 and "is empty" in ended.err
    ended = run("evaluate", model_folder, "--source", source, "--target", source, "--metrics", "blue", "--quiet")
    assert ended.code == 2 and "did you mean `bleu`?" in ended.err


def test_score_is_what_python_says(run, model_folder: Path, model: antiphon.Model, tmp_path: Path) -> None:
    targets = ["two", "", "three", "four", "five six"]
    source, target = files(tmp_path, TEXTS, targets)
    ended = run("score", model_folder, "--source", source, "--target", target)
    assert ended.code == 0
    assert [float(line) for line in ended.lines] == pytest.approx(model.score(TEXTS, targets), abs=1e-5)
    ended = run("score", model_folder, "--source", "-", "--target", target, "--json", input="\n".join(TEXTS))
    assert [json.loads(line)["score"] for line in ended.lines] == pytest.approx(model.score(TEXTS, targets))


def test_score_refuses_sides_of_different_length(run, model_folder: Path, tmp_path: Path) -> None:
    source, target = files(tmp_path, ["a", "b", "c"], ["a", "b"])
    ended = run("score", model_folder, "--source", source, "--target", target, "--quiet")
    assert ended.code == 2 and ended.out == "" and "has 3" in ended.err and "has 2" in ended.err
    ended = run("score", model_folder, "--source", "-", "--target", target, "--quiet", input="a\nb\nc\n")
    assert ended.code == 2 and "ends before line 3" in ended.err


def test_tokenizer_encode(run, model_folder: Path, model: antiphon.Model) -> None:
    ids = run("tokenizer", "encode", model_folder, input="\n".join(TEXTS))
    assert [[int(id) for id in line.split()] for line in ids.lines] == [model.tokenizer.encode(text) for text in TEXTS]
    tokens = run("tokenizer", "encode", model_folder, "--tokens", input="one two\n")
    assert tokens.lines == [" ".join(model.tokenizer.tokens("one two"))]


RECIPE = """
data:
  train: {source: a.txt, target: b.txt}
tokenizer: {kind: bpe, vocab_size: 280, shared: false}
model: {preset: tiny, d_model: 16, num_heads: 2, ffn_dim: 32, encoder_layers: 1, decoder_layers: 1}
training: {max_steps: 4, warmup_steps: 1, batch_tokens: 128, save_every_steps: 2, log_every_steps: 1, keep_last: 3}
output: run
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "a.txt").write_text("one two\nthree four\nfive\n" * 4)
    (tmp_path / "b.txt").write_text("eins zwei\ndrei vier\nfünf\n" * 4)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "recipe.yaml"


def test_tokenizer_train(run, recipe: Path, tmp_path: Path) -> None:
    ended = run("tokenizer", "train", recipe, "--output", "tokenizers")
    assert ended.code == 0
    assert sorted(file.name for file in (tmp_path / "tokenizers").iterdir()) == ["source.json", "target.json"]
    encoded = run("tokenizer", "encode", "tokenizers", "--side", "target", "--tokens", input="fünf\n")
    assert encoded.code == 0 and len(encoded.lines) == 1
    again = run("tokenizer", "train", recipe, "--output", "tokenizers", "--tokenizer.shared", "true")
    assert again.code == 2 and "not there yet" in again.err
    assert run("tokenizer", "train", recipe, "--output", "one", "--tokenizer.shared", "true").code == 0
    assert [file.name for file in (tmp_path / "one").iterdir()] == ["tokenizer.json"]


def test_train_generate_average(run, recipe: Path, tmp_path: Path) -> None:
    ended = run("train", recipe, "--output", "other", "--training.lr", "3e-3", "--seed", "5", "--quiet")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    config = (tmp_path / "other" / "config.yaml").read_text()
    assert "lr: 0.003" in config and "seed: 5" in config
    assert not (tmp_path / "run").exists()
    assert run("generate", "other", "--quiet", input="one\n").code == 0
    again = run("train", recipe, "--output", "other", "--training.lr", "3e-3", "--seed", "5", "--quiet")
    assert again.code == 2 and "--resume" in again.err
    longer = ["train", recipe, "--output", "other", "--training.lr", "3e-3", "--seed", "5", "--resume", "--quiet"]
    assert run(*longer, "--training.max-steps", "6").code == 0
    changed = run(*longer, "--training.lr", "4e-3")
    assert changed.code == 2 and "training.lr" in changed.err
    averaged = run("average", "other", "--last", "2", "--output", "mean")
    assert averaged.code == 0
    assert run("generate", "mean", "--quiet", input="one\n").code == 0
    assert run("average", "other", "--last", "2", "--output", "mean", "--quiet").code == 2
    assert run("average", "other", "--last", "9", "--output", "mean9", "--quiet").code == 2


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--training.lr", "fast"], "`training.lr` must be a number"),
        (["--model.num-heads", "3"], "`num_heads`"),
        (["--training.lrr", "1"], "did you mean `--training.lr`?"),
        (["--data.train", "{source: a.txt, target: nowhere.txt}"], "nowhere.txt"),
        (["--task", "transaltion"], "did you mean `translation`?"),
    ],
)
def test_train_refuses_before_anything_is_written(
    run, recipe: Path, tmp_path: Path, flags: list[str], said: str
) -> None:
    ended = run("train", recipe, "--quiet", *flags)
    assert ended.code == 2 and said in ended.err and ended.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_import_registers_a_task(run, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "my_cli_parts.py").write_text(
        "import antiphon\n"
        "@antiphon.register('task', 'loud_for_cli')\n"
        "def loud(record):\n    return record['source'].upper(), record.get('target')\n"
    )
    ended = run("train", recipe, "--task", "loud_for_cli", "--import", "my_cli_parts", "--quiet")
    assert (ended.code, ended.err) == (0, "")
    assert json.loads((tmp_path / "run" / "model" / "task.json").read_text())["task"] == "loud_for_cli"


def test_export_names_a_remedy_of_its_own(run, model_folder: Path, tmp_path: Path) -> None:
    ended = run("export", model_folder, "--to", "huggingface", "--output", tmp_path / "made")
    assert ended.code == 2 and "for transformers must have" in ended.err
    assert ended.err.endswith("`--to ctranslate2` and `--to onnx` know more shapes.\n") and "`format`" not in ended.err
