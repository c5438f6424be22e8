"""docs/back-translation.md from its first command to its last, on a few made-up sentences."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from antiphon import load
from antiphon.cli.main import main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "back-translation.md"
NUMBERS = ["one", "two", "three", "four", "five"]
WORDS = {"one": "eins", "two": "zwei", "three": "drei", "four": "vier", "five": "fünf"}


def files(folder: Path) -> None:
    """24 pairs, and target text of its own: 10 lines, one of them empty."""
    sources = [f"{a} {b}" for a in NUMBERS for b in NUMBERS if a != b]
    targets = [" ".join(WORDS[word] for word in source.split()) for source in sources]
    (folder / "train.en").write_text("\n".join(sources) + "\n")
    (folder / "train.de").write_text("\n".join(targets) + "\n", encoding="utf-8")
    (folder / "val.en").write_text("one two\nthree four\n")
    (folder / "val.de").write_text("eins zwei\ndrei vier\n")
    alone = [f"{a} {b} {a}" for a in ("eins", "zwei", "drei") for b in ("vier", "fünf", "eins")]
    (folder / "mono.de").write_text("\n".join([*alone, ""]) + "\n", encoding="utf-8")


def tiny(recipe: str) -> str:
    """The page's recipe with a network and a run that take a second."""
    shape = "model: {preset: tiny, d_model: 16, ffn_dim: 24, num_heads: 2, max_length: 64}"
    training = "training: {max_steps: 4, batch_tokens: 80, warmup_steps: 1}"
    for section, small in (("model", shape), ("training", training)):
        assert len(re.findall(rf"^{section}: .*$", recipe, re.MULTILINE)) == 1
        recipe = re.sub(rf"^{section}: .*$", small, recipe, flags=re.MULTILINE)
    return recipe.replace("vocab_size: 8000", "vocab_size: 300")


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files(tmp_path)
    page = PAGE.read_text(encoding="utf-8")
    recipes = re.findall(r"^```yaml\n# (\S+)\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert [name for name, _ in recipes] == ["reverse.yaml", "forward.yaml"]
    for name, recipe in recipes:
        (tmp_path / name).write_text(tiny(recipe), encoding="utf-8")
    commands = [line for line in page.splitlines() if line.startswith("antiphon ")]
    assert [command.split()[1] for command in commands] == ["train", "generate", "train", "evaluate"]
    for command in commands:
        extra = ["--max-new-tokens", "8"] if "generate" in command else []  # a model that has learned nothing rambles
        assert main([*command.split()[1:], *extra, "--quiet"]) == 0, command

    made = (tmp_path / "mono.en").read_text(encoding="utf-8").splitlines()
    assert len(made) == 10 and made[-1] == ""  # a line for each, so that the two files stay aligned
    model = load(tmp_path / "runs" / "forward", device="cpu")
    marked, plain = (model.source_tokenizer.tokens(text) for text in ("<bt> one two", "one two"))
    assert marked[0] == "<bt>" and "<bt>" not in plain  # one token, trained into the tokenizer
    said = json.loads((tmp_path / "runs" / "forward" / "metrics.jsonl").read_text().splitlines()[-1])
    assert said["step"] == 4
