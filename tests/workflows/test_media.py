"""Models of sound by one word in a recipe, from training to `antiphon generate` and `evaluate`."""

from __future__ import annotations

import json
import math
import shlex
from glob import glob
from pathlib import Path
from typing import Any

import pytest
import yaml
from clips import WORDS, ClipInput, clip, write_clips, write_tar
from page_commands import passages

import antiphon
import antiphon.inputs
from antiphon.bulk.job import BulkJob, BulkShard
from antiphon.bulk.rows import rows_of
from antiphon.cli.main import main
from antiphon.data.media.references import located
from antiphon.errors import ConfigError, DataError
from antiphon.evaluation.test_set import from_tables, of_recipe, task_of
from antiphon.inputs import KINDS
from antiphon.serving.process.worker.model_info import input_of
from antiphon.serving.process.worker.results import sample_input, source_of
from antiphon.workflows import train

SHAPE = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 32, "ffn_dim": 48, "num_heads": 2, "max_length": 12}


@pytest.fixture(scope="module", autouse=True)
def kind():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(antiphon.inputs, "KINDS", (ClipInput, *KINDS))
        yield


def recipe(output: Path, data: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return {
        "task": "transcription",
        "data": data,
        "tokenizer": {"kind": "words", "vocab_size": 300},
        "model": {"input": "audio", "preset": "tiny", **SHAPE},
        "training": {"max_steps": 80, "batch_tokens": 64, "warmup_steps": 5, "lr": 5e-3},
        "validation": {"every_steps": 80, "metrics": ["exact_match"]},
        "generation": {"beam_size": 2},
        "output": str(output),
        **sections,
    }


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run whose clips have a question each: the word, or how many."""
    folder = tmp_path_factory.mktemp("asked")
    members: dict[str, bytes] = {}
    for number in range(32):
        word, question = number % 4, ("word", "digit")[number // 4 % 2]
        members[f"{number}.wav"] = clip(word, frames=3 + number % 3)
        answer = WORDS[word] if question == "word" else str(word)
        members[f"{number}.json"] = json.dumps({"prompt": f"which {question}", "text": answer}).encode()
    write_tar(folder / "0.tar", members)
    data = {name: {"path": str(folder / "*.tar")} for name in ("train", "valid", "test")}
    return train(recipe(folder / "run", data), quiet=True)


def test_a_question_beside_a_clip_is_read_and_not_answered(asked: Any) -> None:
    model = asked.model
    assert next(row["exact_match"] for row in asked.metrics if "exact_match" in row) > 90
    archive = asked.folder.parent / "0.tar"
    for number in (1, 2):
        clips = [f"{archive}!{number}.wav"] * 2
        answers = model.generate(clips, prompt=("which word", "which digit"))
        assert [answer.text for answer in answers] == [WORDS[number], str(number)]
        for answer, question in zip(answers, ("which word", "which digit"), strict=True):
            assert "which" not in " ".join(answer.tokens)
            scored = model.score(clips[:1], [answer.text], prompt=question)[0]
            assert answer.score == pytest.approx(scored, abs=1e-4)
            assert answer.confidence == pytest.approx(math.exp(answer.score / 2), rel=1e-4)
            assert "".join(model.stream(clips[0], prompt=question)) == answer.text
        reference = located(clips[0], prompt="which digit")
        assert model.generate([reference])[0].text == str(number)
    with pytest.raises(ConfigError, match=r"`prompt` must be one text, or one for each of the 2 inputs, but has 1"):
        model.generate(clips, prompt=("which word",))
    labels = antiphon.load(asked.folder, device="cpu")
    assert labels.generate(clips, prompt="which digit")[0].text == "2"


def test_prompts_of_one_length_share_a_batch(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    encode = asked.model.network.encode
    monkeypatch.setattr(
        asked.model.network, "encode", lambda source, *a, **k: sizes.append(len(source)) or encode(source, *a, **k)
    )
    archive = asked.folder.parent / "0.tar"
    asked.model.generate([f"{archive}!{n}.wav" for n in (0, 3, 6, 9)], prompt=("which word", "which digit") * 2)
    assert max(sizes) > 1


def test_a_test_set_keeps_its_questions(asked: Any) -> None:
    data, metrics = of_recipe(str(asked.folder))
    examples = from_tables(data, task_of(asked.model))
    report = antiphon.evaluate(asked.model, [(one.source, one.references) for one in examples], metrics)
    assert report["exact_match"].score > 90 and len(examples) == 32


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A classifier of clips in folders."""
    folder = tmp_path_factory.mktemp("classes")
    for number in range(24):
        (folder / "in" / WORDS[number % 4]).mkdir(parents=True, exist_ok=True)
        (folder / "in" / WORDS[number % 4] / f"{number}.wav").write_bytes(clip(number % 4, frames=4 + number % 5))
    data: dict[str, Any] = {name: {"path": str(folder / "in")} for name in ("train", "valid", "test")}
    data["workers"] = 1
    (folder / "recipe.yaml").write_text(
        yaml.safe_dump(
            recipe(folder / "run", data, task="classification", validation={"every_steps": 80, "metrics": ["accuracy"]})
        )
    )
    assert main(["train", str(folder / "recipe.yaml"), "--quiet"]) == 0
    return folder


def test_a_folder_of_labels_is_learned_and_answered(classes: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model: Any = antiphon.load(classes / "run", device="cpu")
    assert model.labels == sorted(WORDS)
    pieces = [model.source_tokenizer.pieces(model.source_tokenizer.encode(word)) for word in ("three", "wav")]
    assert len(pieces[0]) == 1 and len(pieces[1]) > 1  # trained on the labels alone
    clips = [str(classes / "in" / word / f"{number}.wav") for number, word in enumerate(WORDS)]
    assert main(["generate", str(classes / "run"), *clips, "--quiet"]) == 0
    assert capfd.readouterr().out.split() == WORDS
    assert main(["generate", str(classes / "run"), f"{classes}/in/t*/*.wav", "--json", "--quiet"]) == 0
    found = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert len(found) == 12 and all(Path(one["file"]).parent.name == one["text"] for one in found)
    assert sum(found[0]["probabilities"].values()) == pytest.approx(1)


def test_tables_of_clips_are_answered_beside_their_files(classes: Path, capfd: pytest.CaptureFixture[str]) -> None:
    table = write_clips(classes / "table", 4)
    out = classes / "answers.tsv"
    assert main(["generate", str(classes / "run"), str(table), "--output", str(out), "--quiet"]) == 0
    rows = [line.split("\t") for line in out.read_text().splitlines()]
    assert rows[0] == ["audio", "speaker", "text", "answer"] and all(row[2] == row[3] for row in rows[1:])
    job = BulkJob(task="generate", shards=(BulkShard(kind="table", files=(str(table),), output="x"),), models=("x",))
    model = antiphon.load(classes / "run", device="cpu")
    answers = model.generate([row.source for row in rows_of(job, job.shards[0], model)])
    assert [answer.text for answer in answers] == WORDS
    capfd.readouterr()
    arguments = ["--data", str(table), "--metrics", "accuracy", "--target-field", "text", "--source-field", "audio"]
    assert main(["evaluate", str(classes / "run"), *arguments, "--json", "--quiet"]) == 0
    assert json.loads(capfd.readouterr().out)["metrics"]["accuracy"]["score"] == 100


def test_a_served_model_takes_bytes_and_no_names(classes: Path) -> None:
    model = antiphon.load(classes / "run", device="cpu")
    assert input_of(model) == "speech"
    found = model.generate([source_of(model, clip(number)) for number in range(4)])
    assert [answer.text for answer in found] == WORDS
    with pytest.raises(DataError, match="a recording of `inputs` must be sound, but is not"):
        source_of(model, b"none")
    assert len(model.generate([sample_input(model)])[0].text) > 0


def test_the_commands_of_the_page(
    classes: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Those of docs/images-and-sound.md, in its order."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "digits").symlink_to(classes / "run")
    write_clips(tmp_path, 5).rename("test.tsv")
    (block,) = [passage for passage in passages("docs/images-and-sound.md") if not passage.inline and passage.kind]
    for line in block.text.splitlines():
        words = [found for word in shlex.split(line) for found in (sorted(glob(word)) if "*" in word else [word])]
        assert words[0] == "antiphon" and main([*words[1:], "--quiet"]) == 0
    printed = capfd.readouterr().out.splitlines()
    assert printed[:5] == printed[5:10] == [*WORDS, "zero"] and json.loads(printed[10])["file"] == "clips/0.wav"
    assert len((tmp_path / "answers.tsv").read_text().splitlines()) == 6 and "accuracy" in printed[-1]


def test_wrong_files_and_models_are_one_line(classes: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"none")
    assert main(["generate", str(classes / "run"), str(tmp_path / "bad.wav")]) == 2
    assert "bad.wav` must be sound, but is not" in capfd.readouterr().err
    assert main(["generate", str(classes / "run"), str(tmp_path / "bad.wav"), "--input", "x.txt"]) == 2
    assert "inputs must be files after MODEL or --input, but are both" in capfd.readouterr().err


def test_a_run_of_clips_resumes_to_the_same_weights(tmp_path: Path) -> None:
    table = write_clips(tmp_path / "data", 12)
    training = {"max_steps": 6, "batch_tokens": 48, "warmup_steps": 2, "lr": 5e-3, "save_every_steps": 2}

    def made(name: str, steps: int, workers: int, *, resume: bool = False) -> list[float]:
        data = {"train": {"path": str(table)}, "workers": workers}
        settings = recipe(tmp_path / name, data, training={**training, "max_steps": steps}, validation={})
        run = train(settings, resume=resume, quiet=True)
        return [float(weight.sum()) for weight in run.model.network.parameters()]

    whole = made("whole", 6, 0)
    made("parts", 3, 2)
    assert made("parts", 6, 2, resume=True) == whole


def test_bad_rows_of_training_and_validation(tmp_path: Path) -> None:
    table = write_clips(tmp_path / "data", 12)
    (tmp_path / "data" / "clips" / "5.wav").write_bytes(b"none")
    (tmp_path / "data" / "clips" / "6.wav").write_bytes(clip(2)[:70])
    data: dict[str, Any] = {"train": {"path": str(table)}, "valid": {"path": str(table)}}
    steps = {"training": {"max_steps": 2, "batch_tokens": 64}, "validation": {"every_steps": 2, "metrics": ["wer"]}}
    with pytest.raises(DataError, match=r"`clips/5.wav` \(.*train.tsv:7\) must be sound"):
        train(recipe(tmp_path / "run", data, **steps), quiet=True)
    with pytest.warns(UserWarning, match="a bad row is left out"):
        run = train(recipe(tmp_path / "run", {**data, "bad_rows": "skip"}, **steps), quiet=True)
    assert run.model is not None and "10 kept" in (run.folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("data", "sections", "message"),
    [
        ({"augment": ["louder"]}, {}, "augmentation"),
        ({"augment": "speed"}, {}, "must be a list of augmentations"),
        ({"train": {"text": "x.txt", "objective": "span_corruption"}}, {}, "pairs of an image or sound and a text"),
        ({"augment": ["speed"]}, {"model": {"preset": "tiny"}}, "changes images and sound, but sources are text"),
    ],
)
def test_wrong_recipes(tmp_path: Path, data: dict[str, Any], sections: dict[str, Any], message: str) -> None:
    table = write_clips(tmp_path / "data", 4)
    with pytest.raises((ConfigError, DataError), match=message):
        train(
            recipe(tmp_path / "run", {"train": {"path": str(table)}, **data}, **{"validation": {}, **sections}),
            quiet=True,
        )
    assert not (tmp_path / "run").exists()
