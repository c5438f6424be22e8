"""Fine-tuning of a model of texts with images (T5Gemma 2): questions about images, classes, texts without images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from inputs.images import picture, png_head, stored, write_pictures
from models.test_hub import parts_of
from torch import Tensor

import antiphon
from antiphon.batch import Batch, Example, LazyFeatures, collate
from antiphon.cli.main import main
from antiphon.errors import ConfigError, DataError
from antiphon.generation.model import Model
from antiphon.models.folders.checkpoint import load_weights, save_model_folder
from antiphon.recipe import from_mapping
from antiphon.settings import SettingError
from antiphon.training.step import TrainStep
from antiphon.workflows import train
from antiphon.workflows.base import InitialModel, find_base
from antiphon.workflows.job import TrainingJob

QUESTIONS = ("what", "which colour is it")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    parts = parts_of("t5gemma2")
    with torch.no_grad():  # the size of the vectors of a trained one, so that images matter
        draw = torch.Generator().manual_seed(0)
        for parameter in parts.network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    save_model_folder(folder / "model", parts)
    return folder / "model"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight rows; the fourth and the eighth are texts without an image."""
    folder = tmp_path_factory.mktemp("table")
    rows = ["image\tprompt\tcaption\tlabel"]
    for number, name in enumerate(write_pictures(folder, 8)):
        rows.append(f"{name}\t{QUESTIONS[number % 2]} {number}\tword {number}\t{('cat', 'dog')[number % 2]}")
    (folder / "table.tsv").write_text("\n".join(rows) + "\n")
    return folder / "table.tsv"


def recipe(base: Path, output: Path, data: Any, **sections: Any) -> dict[str, Any]:
    training = {"max_steps": 4, "batch_tokens": 90, "lr": 1e-2, "warmup_steps": 0, **sections.pop("training", {})}
    data = data if isinstance(data, dict) else {"train": {"path": str(data)}}
    generation = {"max_new_tokens": 6}
    return {
        "task": "caption",
        "data": data,
        "model": {"base": str(base)},
        "training": training,
        "generation": generation,
        "output": str(output),
        **sections,
    }


def job_of(base: Path, folder: Path, data: Any, **sections: Any) -> TrainingJob:
    """A run that is not started, of a network of float64."""
    config = from_mapping(recipe(base, folder / "run", data, **sections))
    begin = find_base(config, folder / "run").parts
    begin = replace(begin, network=begin.network.double())
    return TrainingJob(config, folder / "run", torch.device("cpu"), base=InitialModel(begin), quiet=True)


def gradients(step: TrainStep, examples: list[Example]) -> tuple[float, dict[str, Tensor]]:
    """The summed loss of a batch, and its gradients."""
    step.network.zero_grad(set_to_none=True)
    found = step.network(step.collate(examples), step.objective.criterion)
    found.objective.backward()
    return float(found.objective.detach()), {
        name: weight.grad.clone() for name, weight in step.network.named_parameters() if weight.grad is not None
    }


def weights(run: Path) -> dict[str, Tensor]:
    return load_weights(run / "model" / "model.safetensors")


def test_a_batch_has_the_loss_and_gradients_of_its_rows(base: Path, table: Path, tmp_path: Path) -> None:
    step = job_of(base, tmp_path, table, training={"batch_tokens": 10_000}).loop
    step.network.train()
    examples = next(step.parts.batches)
    assert len(examples) == 8
    loss, whole = gradients(step, examples)
    singles = [gradients(step, [example]) for example in examples]
    assert sum(one for one, _ in singles) == pytest.approx(loss, abs=1e-9)
    assert {*whole} == {name for name, _ in step.network.named_parameters()} and whole.keys() == singles[3][1].keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(sum(one[name] for _, one in singles), gradient, rtol=1e-9, atol=1e-9)
    assert any(bool(whole[name].any()) for name in whole if "vision.patches" in name)


def padded(batch: Batch, rows: int) -> Batch:
    """The batch with more padding behind each source."""
    source = torch.nn.functional.pad(batch.source, (0, 0, 0, rows), value=3.0)
    pos = torch.nn.functional.pad(batch.source_tokens.pos, (0, rows), value=-1)
    return replace(batch, source=source, source_tokens=replace(batch.source_tokens, pos=pos))


def test_padding_changes_nothing(base: Path, table: Path, tmp_path: Path) -> None:
    step = job_of(base, tmp_path, table).loop
    batch = step.collate(next(step.parts.batches))
    with torch.no_grad():
        one, other = (step.network(each) for each in (batch, padded(batch, 5)))
    assert float(one) == pytest.approx(float(other), abs=1e-12)


def test_lengths_are_positions_and_known_before_decoding(base: Path, table: Path, tmp_path: Path) -> None:
    """A file that is an image by its head alone is found where its batch is made."""
    job = job_of(base, tmp_path, table, training={"batch_tokens": 60})
    tokenizer, kind = job.data.tokenizers[0], Model.from_parts(job.parts).input_kind
    corpus, batches = job.data.train, job.batches
    lengths = [
        len(tokenizer.encode("\n\n")) - 1 + 3 + len(tokenizer.encode(f"\n\n{QUESTIONS[n % 2]} {n}")) for n in range(8)
    ]
    for number in (0, 1, 2, 4):
        example = corpus[number]
        assert isinstance(example.source, LazyFeatures) and len(example.source) == lengths[number]
        row = example.source.load()
        assert int((row[:, -1] == 0).sum()) == lengths[number] and len(row) == lengths[number] + 4
        given = {"image": table.parent / f"{number}.png", "text": f"{QUESTIONS[number % 2]} {number}"}
        network = job.parts.network
        (asked,) = kind.whole(kind.read(given, "texts"), network=network, config=job.config.generation)
        torch.testing.assert_close(row, asked)  # training reads as generation does
    for _ in range(batches.batches_per_epoch or 0):
        rows = next(batches)
        assert len(rows) * max(len(row.source) for row in rows) <= 60
    (table.parent / "head.png").write_bytes(png_head(50, 50).getvalue())
    (table.parent / "head.tsv").write_text("image\tprompt\tcaption\nhead.png\twhat\ta\n")
    with pytest.raises(DataError, match=r"head.png` .* cannot be read .* `data.bad_rows: skip` leaves such rows out"):
        train(recipe(base, tmp_path / "head", table.parent / "head.tsv"), quiet=True)


@pytest.fixture(scope="module")
def tuned(base: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned")
    data = {"train": {"path": str(table)}, "valid": {"path": str(table)}, "test": {"path": str(table)}}
    validation = {"every_steps": 30, "metrics": ["exact_match"]}
    train(recipe(base, folder / "run", data, training={"max_steps": 60}, validation=validation), quiet=True)
    return folder / "run"


def test_questions_are_learned_answered_and_evaluated(
    tuned: Path, base: Path, table: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, untrained = antiphon.load(tuned, device="cpu"), antiphon.load(base, device="cpu")
    folder = table.parent
    asked: list[Any] = [
        {"image": folder / f"{number}.png", "text": f"{QUESTIONS[number % 2]} {number}"} for number in (0, 1, 2)
    ] + ["which colour is it 3"]
    wanted = ["word 0", "word 1", "word 2", "word 3"]
    assert sum(model.score(asked, wanted)) > sum(untrained.score(asked, wanted)) + 20
    assert model.score(asked[:1], wanted[:1]) != model.score([{**asked[0], "image": folder / "1.png"}], wanted[:1])
    answers = [answer.text for answer in model.generate(asked)]
    said = (tuned / "valid_answers.jsonl").read_text().splitlines()
    assert answers == [json.loads(line)["answer"] for line in said[:4]]
    first = str(folder / "0.png")
    assert main(["generate", str(tuned), first, "--prompt", "what 0", "--quiet"]) == 0
    assert main(["generate", str(tuned), first, "--prompt", "what 0", "--stream", "--quiet"]) == 0
    out = tuned.parent / "answers.tsv"
    assert main(["generate", str(tuned), "--input", str(table), "--output", str(out), "--quiet"]) == 0
    assert capfd.readouterr().out == f"{answers[0]}\n" * 2
    assert [line.split("\t")[-1] for line in out.read_text().splitlines()[1:5]] == answers
    assert main(["evaluate", str(tuned), "--metrics", "exact_match", "--output", str(out), "--quiet"]) == 0
    assert out.read_text().split("\n")[:4] == answers


def test_resumed_is_uninterrupted_with_any_workers(base: Path, table: Path, tmp_path: Path) -> None:
    """With augmentations, whose numbers depend on the epoch and the row."""
    augmented = {"train": {"path": str(table)}, "augment": [{"crop": 0.3}, {"blur": 1.0}]}

    def trained(name: str, data: dict[str, Any], steps: int, *, resume: bool = False) -> dict[str, Tensor]:
        training = {"max_steps": steps, "save_every_steps": 3}
        train(recipe(base, tmp_path / name, data, training=training), resume=resume, quiet=True)
        return weights(tmp_path / name)

    whole, beside = trained("whole", augmented, 6), trained("workers", {**augmented, "workers": 1}, 6)
    streamed = trained("streamed", {**augmented, "streaming": "always"}, 6)
    trained("parts", augmented, 3)
    parts = trained("parts", augmented, 6, resume=True)
    for other in (beside, parts):
        assert all(torch.equal(whole[name], other[name]) for name in whole)
    plain = trained("plain", {"train": {"path": str(table)}}, 6)
    assert not torch.equal(whole["source.vision.out.weight"], plain["source.vision.out.weight"])
    assert bool(torch.stack([weight.isfinite().all() for weight in streamed.values()]).all())
    again, before = antiphon.load(tmp_path / "whole", device="cpu"), antiphon.load(base, device="cpu")
    image = {"image": table.parent / "0.png", "text": "what"}
    assert again.score([image], ["a"]) != before.score([image], ["a"])


def test_the_vision_encoder_is_frozen_or_adapted(base: Path, table: Path, tmp_path: Path) -> None:
    groups = [{"match": "source.vision.*", "freeze": True}]
    train(recipe(base, tmp_path / "frozen", table, training={"groups": groups}), quiet=True)
    before, after = load_weights(base / "model.safetensors"), weights(tmp_path / "frozen")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and not any(".vision." in name for name in changed)
    assert {name for name in before if ".vision." not in name} == changed
    pytest.importorskip("peft")
    adapter = {"kind": "lora", "rank": 2, "targets": ["*.mixer.q", "source.vision.out"]}
    run = train(recipe(base, tmp_path / "lora", table, training={"adapter": adapter}), quiet=True)
    apart = antiphon.load(base, adapter=run.folder / "adapter", device="cpu")
    asked = [{"image": table.parent / "0.png", "text": "what"}]
    scores = [model.score(asked, ["a"])[0] for model in (apart, antiphon.load(run.folder, device="cpu"), run.model)]
    assert scores == pytest.approx([scores[0]] * 3, abs=1e-4)
    assert scores[0] != pytest.approx(antiphon.load(base, device="cpu").score(asked, ["a"])[0], abs=1e-4)
    learned = weights(run.folder)
    assert not torch.equal(learned["source.vision.out.weight"], before["source.vision.out.weight"])


def test_classes_of_images_and_a_source_field_beside_an_image(base: Path, table: Path, tmp_path: Path) -> None:
    run = train(recipe(base, tmp_path / "classes", table, task="classification"), quiet=True)
    model = antiphon.load(run.folder, device="cpu")
    assert model.labels == ["cat", "dog"]
    image = table.parent / "0.png"
    answer = model.generate([{"image": image, "text": "what 0"}])[0]
    assert sum(answer.probabilities.values()) == pytest.approx(1) and answer.text in ("cat", "dog")
    source = {"path": str(table), "source_field": "Q: {prompt}", "target_field": "caption"}
    asked = train(recipe(base, tmp_path / "text", {"train": source}, task="text"), quiet=True)
    tokens = asked.model.source_tokenizer
    job = job_of(base, tmp_path / "job", {"train": source}, task="text")
    row = job.data.train[0].source.load()
    assert tokens.decode([int(id) for id in row[row[:, -1] == 0][:, 0] if id < 256]).strip() == "Q: what 0"
    found = asked.model.score([{"image": image, "text": "what"}, {"image": image, "text": "Q: what"}], ["a", "a"])
    assert found[0] == pytest.approx(found[1], abs=1e-5)  # the template of the data


def test_texts_alone_are_trained_as_before(base: Path, tmp_path: Path) -> None:
    data = {"train": [("in 3", "3"), ("in 4", "4")]}
    job = job_of(base, tmp_path, data, task="text")
    batch = collate(next(job.batches), pad_id=0, start_id=2)
    assert batch.source.dim() == 2 and batch.source.dtype == torch.long
    train(recipe(base, tmp_path / "texts", data, task="text"), quiet=True)
    before, after = load_weights(base / "model.safetensors"), weights(tmp_path / "texts")
    unused = (".vision.", ".own.")  # also the vector of the end of an image
    assert all(torch.equal(before[name], after[name]) == any(each in name for each in unused) for name in before)


@pytest.mark.parametrize(
    ("rows", "sections", "message"),
    [
        ([("gone.png", "what", "a")], {}, r"gone.png` cannot be read .*table.tsv:2\)"),
        (
            [("0.png", "x" * 300, "a")],
            {"data": {"max_length": 200}},
            "a source must have at most 200 tokens, with those",
        ),
        ([("0.png", "what", "a")], {"data": {"augment": ["spec_augment"]}}, "`spec_augment` changes audio"),
        ([("0.png", "what", "a")], {"tokenizer": {"trim": True}}, "needs a base without ids of images"),
        ([("a.wav", "what", "a")], {}, "`a.wav` .* must be an image"),
    ],
)
def test_what_cannot_be_trained_is_one_line(
    rows: list[tuple[str, ...]], sections: dict[str, Any], message: str, base: Path, tmp_path: Path
) -> None:
    (tmp_path / "0.png").write_bytes(stored(picture(9, 20, channels=3)).getvalue())
    (tmp_path / "a.wav").write_bytes(b"RIFF\0\0\0\0WAVE")
    lines = ["\t".join(row) for row in (("image", "prompt", "caption"), *rows)]
    (tmp_path / "table.tsv").write_text("\n".join(lines) + "\n")
    sections = dict(sections)
    data = {"train": {"path": str(tmp_path / "table.tsv")}, **sections.pop("data", {})}
    with pytest.raises((DataError, SettingError, ConfigError), match=message) as caught:
        train(recipe(base, tmp_path / "run", data, **sections), quiet=True)
    assert "\n" not in str(caught.value)


def test_several_images_and_names_as_texts_are_refused(base: Path, tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(stored(picture(9, 20, channels=3)).getvalue())
    several = json.dumps({"image": ["0.png", "0.png"], "source": "compare", "target": "a"})
    (tmp_path / "several.jsonl").write_text(several + "\n")
    with pytest.raises(DataError, match=r"0.png 0.png` cannot be read"):
        train(recipe(base, tmp_path / "run", tmp_path / "several.jsonl", task="text"), quiet=True)
    data = {"train": [(str(tmp_path / "0.png"), "a")]}
    with pytest.raises(DataError, match="Call the column of the images `image`"):
        train(recipe(base, tmp_path / "run", data, task="text"), quiet=True)
    rows = [f"0.png\t{text}\ta" for text in ("x" * 90, "y")]
    (tmp_path / "long.tsv").write_text("\n".join(["image\tprompt\tcaption", *rows]) + "\n")
    long = {"train": {"path": str(tmp_path / "long.tsv")}, "max_length": 60, "overflow": "skip"}
    run = train(recipe(base, tmp_path / "run", long), quiet=True)
    assert "1 skipped as too long" in (run.folder / "report.html").read_text()
