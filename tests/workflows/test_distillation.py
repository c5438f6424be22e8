"""From a teacher's run folder to a student: weight 0 is plain training, wrong teachers, copied layers, its answers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from antiphon import ConfigError, ModelError, load, train
from antiphon.cli.main import main

PAIRS = [(f"{a} {b}", f"{b.upper()} {a.upper()}") for a in ("one", "two", "three") for b in ("four", "five", "six")]


def recipe(output: Path, **sections: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "data": {"train": PAIRS, "valid": PAIRS[::4]},
        "tokenizer": {"kind": "bpe", "vocab_size": 290},
        "model": {"preset": "tiny", "d_model": 16, "ffn_dim": 24, "num_heads": 2, "max_length": 64},
        "training": {"max_steps": 8, "batch_tokens": 60, "save_every_steps": 4, "warmup_steps": 2},
        "validation": {"every_steps": 8, "samples": 0},
        "output": str(output),
    }
    return {name: {**base.get(name, {}), **sections.get(name, {})} for name in base if name != "output"} | {
        "output": str(output)
    }


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with 3+3 layers."""
    folder = tmp_path_factory.mktemp("teacher") / "run"
    train(recipe(folder, model={"encoder_layers": 3, "decoder_layers": 3}), quiet=True)
    return folder


def student(output: Path, teacher: Path, training: dict[str, Any] | None = None, **distillation: Any) -> dict[str, Any]:
    """With 4+1 layers, and the teacher's tokenizer."""
    learned = {"distillation": {"teacher": str(teacher), **distillation}, **(training or {})}
    kind = {"kind": str(teacher / "model" / "tokenizer.json")}
    shape = {"encoder_layers": 4, "decoder_layers": 1}
    return recipe(output, tokenizer=kind, model=shape, training=learned)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load(folder, device="cpu").network.named_parameters())


def equal(one: Path, other: Path) -> bool:
    mine, theirs = weights(one), weights(other)
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_weight_0_is_plain_training_and_another_weight_is_not(teacher: Path, tmp_path: Path) -> None:
    train(student(tmp_path / "none", teacher, {"distillation": None}), quiet=True)
    for weight in (0, 0.5):
        train(student(tmp_path / str(weight), teacher, weight=weight), quiet=True)
    assert equal(tmp_path / "none", tmp_path / "0")
    assert not equal(tmp_path / "none", tmp_path / "0.5")
    heat = train(student(tmp_path / "heat", teacher, temperature=3), quiet=True)
    assert not equal(heat.folder, tmp_path / "0.5")
    assert len(list((heat.folder / "model").iterdir())) == 6  # nothing of the teacher


def test_resumed_is_uninterrupted_and_another_teacher_is_refused(teacher: Path, tmp_path: Path) -> None:
    mine = tmp_path / "teacher"
    shutil.copytree(teacher, mine)
    for output, ends in (("whole", (8,)), ("parts", (3, 8))):
        for end in ends:
            train(student(tmp_path / output, mine, {"max_steps": end}, copy_layers=True), resume=True, quiet=True)
    assert equal(tmp_path / "whole", tmp_path / "parts")
    train(
        recipe(tmp_path / "other", model={"encoder_layers": 3, "decoder_layers": 3}, training={"seed": 1}), quiet=True
    )
    with pytest.raises(ConfigError, match=r"must keep its recipe, but `training\.distillation\.teacher` was"):
        moved = {"distillation": {"teacher": str(tmp_path / "other"), "copy_layers": True}}
        train(student(tmp_path / "whole", mine, moved), resume=True, quiet=True)
    shutil.copy(tmp_path / "other" / "model" / "model.safetensors", mine / "model")
    with pytest.raises(ModelError, match="must find its teacher as it was, but the weights in") as caught:
        again = student(tmp_path / "whole", mine, {"max_steps": 9}, copy_layers=True)
        train(again, resume=True, quiet=True)
    assert "\n" not in str(caught.value)


def test_a_copied_student_holds_the_teachers_layers(teacher: Path, tmp_path: Path) -> None:
    run = train(student(tmp_path / "run", teacher, {"max_steps": 1, "lr": 1e-12}, copy_layers=True), quiet=True)
    mine, theirs = weights(run.folder), weights(teacher)
    for one, other in ((0, 0), (1, 1), (2, 1), (3, 2)):
        name = "encoder.layers.{}.mixer.q.weight"
        torch.testing.assert_close(mine[name.format(one)], theirs[name.format(other)], rtol=0, atol=1e-6)
    name = "decoder.layers.0.cross.v.weight"
    torch.testing.assert_close(mine[name], theirs[name], rtol=0, atol=1e-6)
    same = student(tmp_path / "same", teacher, {"max_steps": 1, "lr": 1e-12}, copy_layers=True)
    same["model"] |= {"encoder_layers": 3, "decoder_layers": 3}
    asked = ["one four", "three five"]
    found, wanted = train(same, quiet=True).model, load(teacher, device="cpu")
    assert found.score(asked, asked) == pytest.approx(wanted.score(asked, asked), abs=1e-4)


def refused(config: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        train(config, quiet=True)
    assert not Path(config["output"]).exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_teacher_that_transformers_computes_is_refused_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from generation.test_wrapped import make

    teacher = make("mvp", tmp_path / "mvp")
    config = recipe(tmp_path / "run", training={"distillation": {"teacher": str(teacher)}})
    with pytest.warns(UserWarning, match="transformers computes it"):
        message = refused(config)
    assert "`training.distillation.teacher` must be a model of a family of ours" in message


def test_wrong_teachers_are_one_line(teacher: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    other = student(out, teacher)
    other["tokenizer"] = {"kind": "bytes"}
    said = refused(other)
    assert "`training.distillation.teacher` must share the student's target tokenizer" in said
    assert str(teacher) in said and "the recipe's (260 ids)" in said
    nowhere = student(out, teacher, {"distillation": {"teacher": str(tmp_path / "nowhere")}})
    assert "`training.distillation.teacher` cannot be used: there is no model at" in refused(nowhere)
    longer = student(out, teacher)
    longer["model"] |= {"max_length": 65}
    assert f"must read rows of 65 tokens, as the student does, but `{teacher}` reads 64" in refused(longer)
    wider = student(out, teacher, copy_layers=True)
    wider["model"] |= {"d_model": 32}
    assert "`training.distillation.copy_layers` needs a student of the teacher's width" in refused(wider)
    assert "`training.r_drop` must be 0 beside" in refused(student(out, teacher, {"r_drop": 1.0}))
    assert "needs one teacher, but there are 2" in refused(
        student(out, teacher, {"distillation": {"teacher": [str(teacher)] * 2, "copy_layers": True}})
    )
    assert "`training.distillation.weight` must be at least 0 and at most 1" in refused(student(out, teacher, weight=2))


def test_teachers_in_a_list_are_an_ensemble(teacher: Path, tmp_path: Path) -> None:
    pair = student(tmp_path / "run", teacher, {"distillation": {"teacher": [str(teacher), str(teacher)]}})
    one = student(tmp_path / "one", teacher)
    first, second = train(pair, quiet=True), train(one, quiet=True)
    for mine, theirs in zip(weights(first.folder).values(), weights(second.folder).values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-3)


def test_a_sequence_level_student_from_files(teacher: Path, tmp_path: Path) -> None:
    """The commands of docs/distillation.md, in small: the teacher's answers are a second source."""
    for number, name in enumerate(("train.en", "train.fr")):
        (tmp_path / name).write_text("".join(pair[number] + "\n" for pair in PAIRS))
    words = ["generate", teacher, "--input", tmp_path / "train.en", "--output", tmp_path / "train.distilled.fr"]
    assert main([str(word) for word in (*words, "--beam-size", 4, "--max-new-tokens", 6, "--quiet")]) == 0
    assert len((tmp_path / "train.distilled.fr").read_text().splitlines()) == len(PAIRS)
    (tmp_path / "recipe.yaml").write_text(
        f"""
data:
  train: [{{source: train.en, target: train.fr}}, {{source: train.en, target: train.distilled.fr}}]
tokenizer: {{kind: {teacher}/model/tokenizer.json}}
model: {{preset: student, d_model: 16, ffn_dim: 24, num_heads: 2, max_length: 64}}
training: {{max_steps: 3, batch_tokens: 60, distillation: {{teacher: {teacher}, weight: 0.7}}}}
"""
    )
    out = tmp_path / "student"
    assert main(["train", str(tmp_path / "recipe.yaml"), "--output", str(out), "--quiet"]) == 0
    made = load(out, device="cpu")
    assert (len(made.network.encoder.layers), len(made.network.decoder.layers)) == (6, 2)
