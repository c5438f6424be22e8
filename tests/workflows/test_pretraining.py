"""Plain text in a recipe: trained, resumed as uninterrupted, and its tokenizer used again for pairs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from antiphon.errors import ConfigError
from antiphon.models.folders.checkpoint import load_weights
from antiphon.recipe import read_recipe
from antiphon.text import DENOISING_TOKENS, DenoisingTokens, Tokenizer
from antiphon.workflows import train

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["one", "two", "three", "four", "five", "six"]
TEXTS = [f"{a} {b} {c} {a}. {c} {b}!" for a in WORDS for b in WORDS[:3] for c in WORDS[:3]]


def recipe(folder: Path, output: str, **data: Any) -> dict[str, Any]:
    (folder / "text.txt").write_text("\n".join(TEXTS))
    (folder / "pairs.tsv").write_text("".join(f"{text}\tyes\n" for text in TEXTS[:40]))
    text = {"text": str(folder / "text.txt"), "objective": "span_corruption"}
    sources = {"train": [text, {"path": str(folder / "pairs.tsv")}], "valid": text}
    return {
        "data": {**sources, **data},
        "tokenizer": {"kind": "bpe", "vocab_size": 300, "lowercase": True},
        "model": {"preset": "tiny", "d_model": 32, "ffn_dim": 48, "num_heads": 2, "max_length": 16},
        "training": {"max_steps": 8, "batch_tokens": 200, "save_every_steps": 2, "warmup_steps": 5},
        "validation": {"every_steps": 4},
        "output": str(folder / output),
    }


@pytest.mark.parametrize("streaming", ["never", "always"])
def test_resumed_is_uninterrupted(tmp_path: Path, streaming: str) -> None:
    whole = train(recipe(tmp_path, "whole", streaming=streaming), quiet=True)
    half = recipe(tmp_path, "half", streaming=streaming)
    half["training"]["max_steps"] = 4
    train(half, quiet=True)
    half["training"]["max_steps"] = 8
    again = train(half, resume=True, quiet=True)
    weights = [load_weights(run.folder / "model" / "model.safetensors") for run in (whole, again)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    losses = [[row["valid_loss"] for row in run.metrics if "valid_loss" in row] for run in (whole, again)]
    assert losses[0] == losses[1]


def test_its_tokenizer_serves_a_classification(tmp_path: Path) -> None:
    run = train(recipe(tmp_path, "pretrained"), quiet=True)
    file = run.folder / "tokenizers" / "source.json"
    marks = DenoisingTokens(Tokenizer.load(file))
    assert len({marks.mask, *marks.sentinels}) == len(DENOISING_TOKENS)
    (tmp_path / "labels.tsv").write_text("".join(f"{text}\t{number % 2}\n" for number, text in enumerate(TEXTS)))
    fine = recipe(tmp_path, "fine", valid=None, train={"path": str(tmp_path / "labels.tsv")})
    made = train({**fine, "task": "classification", "tokenizer": {"kind": str(file)}}, quiet=True)
    assert made.model.generate(["one two. <mask>"])[0].text in ("0", "1")
    mixed = recipe(tmp_path, "mixed", valid=None)
    mixed["data"]["train"][1]["path"] = str(tmp_path / "labels.tsv")  # plain text beside pairs has no label
    assert train({**mixed, "task": "classification"}, quiet=True).model.generate(["one"])[0].text in ("0", "1")


def test_metrics_need_pairs(tmp_path: Path) -> None:
    asked = recipe(tmp_path, "run")
    asked["validation"]["metrics"] = ["bleu"]
    with pytest.raises(ConfigError, match=r"`validation\.metrics` must be left out, since `data\.valid` is plain text"):
        train(asked, quiet=True)
    wrong = recipe(tmp_path, "run", train={"text": str(tmp_path / "text.txt"), "objective": "span_corruptio"})
    with pytest.raises(ConfigError, match=r"`data\.train\.objective` cannot be used.*did you mean `span_corruption`"):
        train(wrong, quiet=True)
    assert not (tmp_path / "run").exists()


def test_the_recipe_in_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "pretraining.md").read_text()
    [block] = re.findall(r"```yaml\n(# pretrain\.yaml\n.*?)```", page, re.DOTALL)
    (tmp_path / "pretrain.yaml").write_text(block)
    (tmp_path / "news.txt").write_text("\n".join(TEXTS))
    (tmp_path / "held-out.txt").write_text("\n".join(TEXTS[:20]))
    monkeypatch.chdir(tmp_path)
    config = read_recipe("pretrain.yaml", {"training.max_steps": "3", "model.d_model": "32", "model.ffn_dim": "32"})
    assert train(config, quiet=True).metrics
