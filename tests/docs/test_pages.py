"""The Python of the pages runs as it stands, but for blocks whose mark says what they need (tests/page_commands.py)."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from counts import count
from inputs.sounds import encoded, tone
from inputs.test_audio import model_of
from models.test_hub import parts_of
from page_commands import PAGES, passages
from parity.test_languages import checkpoint
from workflows.test_fine_tuning import T5, published

from antiphon import load, train
from antiphon.models.folders.hub import save_pretrained
from antiphon.registry import names as registered
from antiphon.registry import unregister

ROOT = Path(__file__).resolve().parents[2]


RUN = {  # page -> how many blocks the tests run; where no other test is named, one in this file
    "README.md": 2,
    "docs/attention.md": 9,
    "docs/compare-and-explain.md": 8,  # tests/examples, as a notebook
    "docs/comparing.md": 1,
    "docs/coming-from-transformers.md": 4,  # test_coming_from.py
    "docs/documents.md": 1,
    "docs/explaining.md": 2,
    "docs/fine-tuning.md": 3,
    "docs/first-steps.md": 9,
    "docs/images.md": 3,  # tests/inputs/test_image.py
    "docs/notebooks.md": 2,
    "docs/onnx.md": 1,  # tests/export/test_onnx.py
    "docs/pretrained.md": 4,  # the third one in tests/generation/test_speech.py
    "docs/pretraining.md": 1,
    "docs/reports.md": 2,
    "docs/search.md": 2,
    "docs/serving.md": 3,  # test_serving_page.py
    "docs/sound.md": 3,
    "docs/speech.md": 1,  # tests/generation/test_timed.py
    "docs/speed.md": 1,
    "docs/sweeps.md": 1,  # tests/sweeps/test_sweeps_page.py
    "docs/training.md": 2,  # the first one in test_variants.py
}

PAGE_PAIRS, PAGE_ANSWERS, PAGE_STEPS = count("page_pairs"), count("page_answers"), count("page_steps")


def blocks(page: str) -> list[str]:
    """The Python of a page, in its order, but for what a mark excepts."""
    return [passage.text for passage in passages(page) if passage.python and not passage.kind]


def test_every_block_is_run_by_a_test() -> None:
    """A block that is new needs a place in a test, and a line here."""
    assert {page: len(found) for page in PAGES if (found := blocks(page))} == RUN


def tiny(folder: Path, **search: Any) -> None:
    """A run in `folder` that has learned next to nothing."""
    pairs = [("in 3 hours", "in 3 Stunden"), ("in 4 hours", "in 4 Stunden")]
    train(
        {
            "data": {"train": pairs, "valid": pairs},
            "tokenizer": {"kind": "bytes"},
            "model": {"preset": "tiny", "d_model": 32, "ffn_dim": 32},
            "training": {"max_steps": 2},
            "generation": search,
            "output": str(folder),
        },
        quiet=True,
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, from which modules can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_loop_of_ones_own(folder: Path) -> None:
    code = next(block for block in blocks("docs/training.md") if "OneCycleLR" in block)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/training.md", "exec"), names)
    answers = names["model"].generate([source for source, _ in names["pairs"]])
    assert [answer.text for answer in answers] == [target for _, target in names["pairs"]]
    assert (folder / "by-hand" / "model.safetensors").exists()


def shortened(page: str) -> list[str]:
    """The blocks of a page whose run is shorter than printed (tests/counts.toml)."""
    steps, printed = count("page_steps"), "\n".join(blocks(page))
    changes = {
        r'"max_steps": 100\b': f'"max_steps": {steps}',
        r'"every_steps": 50\b': f'"every_steps": {steps // 2}',
        r"\bcorpus\.train\b": f"corpus.train[:{PAGE_PAIRS}]",
        r"\bcorpus\.valid\[:\d+\]": f"corpus.valid[:{PAGE_ANSWERS}]",
    }
    assert all(re.search(full, printed) for full in changes)
    found = blocks(page)
    for full, short in changes.items():
        found = [re.sub(full, short, block) for block in found]
    return found


def test_notebooks(folder: Path) -> None:
    names: dict[str, object] = {}
    for block in shortened("docs/notebooks.md"):
        exec(compile(block, "docs/notebooks.md", "exec"), names)
    assert (folder / "runs" / "notebook" / "snapshots" / f"step-{PAGE_STEPS}").is_dir()


def test_write_your_own_attention(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    try:
        for block in shortened("docs/attention.md"):
            exec(compile(block, "docs/attention.md", "exec"), names)
    finally:
        sys.modules.pop("own", None)
        for module, kind in (("fade", "Fade"), ("distance", "Distance")):
            if f"{module}:{kind}" in registered("attention"):
                unregister("attention", f"{module}:{kind}")
            sys.modules.pop(module, None)
    said = capsys.readouterr().out
    assert "the rule `Fade`" in said and "the mixer `Distance`" in said
    assert "the attention function `cosine`" in said and "the scorer `CustomAttention`" in said
    assert said.count("\nTrue\n") == 2, "streamed = generated, and PyTorch's Transformer = what was read from it"


def test_readme(folder: Path) -> None:
    tiny(folder / "runs" / "demo")
    code, pretrained = blocks("README.md")
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert len(code.strip().splitlines()) <= 12
    checkpoint("nllb", folder / "published", seed=0)
    published_name = re.search(r'load\("(facebook/.*?)"\)', pretrained)
    assert published_name is not None
    local = pretrained.replace(published_name[1], "published")
    exec(compile(local, "README.md", "exec"), names)
    assert (folder / "nllb" / "model.safetensors").exists()


def test_pretrained(folder: Path) -> None:
    """Folders stand in for what the hub has: a name that is a folder is read there."""
    published(folder / "google-t5" / "t5-small", "t5", T5)
    shutil.copytree(folder / "google-t5" / "t5-small", folder / "flan-t5-base")
    checkpoint("nllb", folder / "facebook" / "nllb-200-distilled-600M", seed=0)
    names: dict[str, Any] = {}
    loading, languages, _, images = blocks("docs/pretrained.md")
    exec(compile(loading, "docs/pretrained.md", "exec"), names)
    assert (folder / "mine" / "model.safetensors").exists() and (folder / "theirs" / "config.json").exists()
    exec(compile(languages, "docs/pretrained.md", "exec"), names)
    assert "deu_Latn" in names["model"].target_tokenizer.languages and names["german"] is not names["model"]
    save_pretrained(folder / "t5gemma-2-270m-270m", parts_of("t5gemma2"))
    for name in ("cat.png", "dog.png"):
        pytest.importorskip("PIL.Image").new("RGB", (20, 30)).save(folder / name)
    exec(compile(images, "docs/pretrained.md", "exec"), names)


def test_pretraining(folder: Path) -> None:
    (code,) = blocks("docs/pretraining.md")
    exec(compile(code, "docs/pretraining.md", "exec"), names := {})
    try:
        texts = [f"in {n} hours" for n in range(9)]
        (folder / "news.txt").write_text("\n".join(texts))
        recipe = {
            "data": {"train": {"text": "news.txt", "objective": {"second_half": {"share": 0.7}}}},
            "tokenizer": {"kind": "bytes"},
            "model": {"preset": "tiny", "d_model": 32, "ffn_dim": 32},
            "training": {"max_steps": 1},
            "output": "runs/pretrained",
        }
        assert train(recipe, quiet=True).metrics[-1]["step"] == 1
    finally:
        unregister("objective", "second_half")
    marks = SimpleNamespace(mask=99)
    assert names["second_half"]([1, 2, 3, 4], None, marks) == ([1, 2, 99], [3, 4])


def test_search(folder: Path) -> None:
    tiny(folder / "model", beam_size=2)
    model, texts = load(folder / "model"), ["in 3 hours", "in 4 hours", "today"]
    given: list[dict[str, Any]] = []

    def generate(texts: list[str], **search: Any) -> list[Any]:
        given.append(search)
        answers.append(model.generate(texts, **search))
        return answers[-1]

    answers: list[list[Any]] = []
    code, reranked = blocks("docs/search.md")
    exec(compile(code, "docs/search.md", "exec"), {"model": SimpleNamespace(generate=generate), "texts": texts})
    exec(compile(reranked, "docs/search.md", "exec"), names := {"model": model, "texts": texts})
    assert len(names["answers"]) == 3 and names["answers"].cost.inputs == 3
    assert [list(search) for search in given] == [["required", "forbidden"], ["required"], ["allowed"]]
    assert all("Haus" in answer.text and "Hund" not in answer.text for answer in answers[0])
    first, _, last = (answer.text for answer in answers[1])
    assert "Haus" in first and "am See" in last and "2026" in last
    assert {answer.text for answer in answers[2]} <= {"positive", "negative"}


def test_sound(folder: Path) -> None:
    clip = tone(4000, rate=8000)
    for name, format in (("seven.wav", "WAV"), ("a.wav", "WAV"), ("b.flac", "FLAC")):
        (folder / name).write_bytes(encoded(clip, rate=8000, format=format))
    read, answered, louder = blocks("docs/sound.md")
    exec(compile(read, "docs/sound.md", "exec"), names := {})
    assert names["features"].shape == (names["frames"], 80) and torch.allclose(names["samples"], clip, atol=1e-4)
    model = model_of({"mel_bins": 8, "sampling_rate": 8000})
    exec(compile(answered, "docs/sound.md", "exec"), {"model": model, "samples": clip})
    exec(compile(louder, "docs/sound.md", "exec"), names := {"__name__": "louder"})
    unregister("augmentation", "louder")
    changed = names["Louder"](most=3.0).of_row(clip, Random(0)) / clip
    assert 1 < float(changed[1]) < 3 and torch.allclose(changed[1:5], changed[1].expand(4))


def test_explaining(folder: Path) -> None:
    tiny(folder / "model")
    names: dict[str, Any] = {"model": load(folder / "model"), "sources": ["in 3 hours"], "targets": ["in 3 Stunden"]}
    (folder / "test.gold").write_text("0-0 1-1 2?2\n")
    for block in blocks("docs/explaining.md"):
        exec(compile(block, "docs/explaining.md", "exec"), names)
    assert names["found"].units == ["in", "3", "Stunden"] and (folder / "explanation.html").is_file()


def test_documents(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny(folder / "runs" / "mine", max_new_tokens=40)
    (code,) = blocks("docs/documents.md")
    exec(compile(code, "docs/documents.md", "exec"), {})
    printed = capsys.readouterr().out
    for kept in ("<p>", "{name}", "<b>", "Stunden", "</b>", "<a href='x'>", "https://example.com", "</a>", "</p>"):
        assert printed.count(kept) == 1, kept


def test_comparing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("docs/comparing.md")
    exec(compile(code, "docs/comparing.md", "exec"), names := {})
    printed = capsys.readouterr().out
    assert "No difference between old and new is shown in chrF (new is ahead by " in " ".join(printed.split())
    assert names["page"].startswith("<!doctype html>")


def test_speed(folder: Path) -> None:
    tiny(folder / "runs" / "mine")
    (code,) = blocks("docs/speed.md")
    exec(compile(code, "docs/speed.md", "exec"), names := {})
    assert names["model"].generate("in 3 hours")


def test_fine_tuning(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("peft")
    names: dict[str, object] = {}
    for block in blocks("docs/fine-tuning.md"):
        exec(compile(block, "docs/fine-tuning.md", "exec"), names)
    assert capsys.readouterr().out.splitlines() == ["True", "True", "<ago> True"]
    assert (folder / "runs" / "ago-lora" / "adapter" / "adapter_model.safetensors").exists()


def test_the_recipes_for_a_pretrained_family_run(folder: Path) -> None:
    rows = [(f"in {n} hours", f"in {n} Stunden") for n in range(4)]
    published(folder / "t5", "t5", T5)
    for side in ("train", "valid"):
        lines = [json.dumps({"document": source, "summary": target}) for source, target in rows]
        (folder / f"{side}.jsonl").write_text("\n".join(lines))
        lines = ["sentence\tlabel", *(f"{source}\t{n % 2}" for n, (source, _) in enumerate(rows))]
        (folder / f"{side}.tsv").write_text("\n".join(lines))
    page = (ROOT / "docs/fine-tuning.md").read_text(encoding="utf-8")
    found = [
        block for block in re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE) if "t5-small" in block
    ]
    assert len(found) == 2
    labels: list[list[str]] = []
    for number, block in enumerate(found):
        file = folder / f"{number}.yaml"
        short = block.replace("google-t5/t5-small", "t5").replace("max_length: 512", "max_length: 64")
        file.write_text(
            re.sub(r"max_steps: \d+", "max_steps: 1", short.replace("max_new_tokens: 128", "max_new_tokens: 9"))
        )
        run = train(file, quiet=True)
        assert run.metrics[-1]["step"] == 1 and run.metrics[-1]["trainable_parameters"] > 0
        labels.append(run.model.labels)
    assert labels == [[], ["negative", "positive"]]


def test_the_page_of_reports(folder: Path) -> None:
    showing, reporter = blocks("docs/reports.md")
    names: dict[str, Any] = {}
    exec(compile(reporter, "docs/reports.md", "exec"), names)
    try:
        tiny(folder / "runs" / "mine")
        exec(compile(showing, "docs/reports.md", "exec"), names)
    finally:
        unregister("reporter", "slow-steps")
    assert (folder / "mine.html").read_text(encoding="utf-8").startswith("<!doctype html>")
