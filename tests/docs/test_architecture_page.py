"""docs/architecture.md names files that exist, and the files that a training step enters."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import FrameType

import pytest
import torch
from structure import PACKAGE, PAGE, ROOT

from antiphon.batch import collate
from antiphon.config import AttentionConfig, ModelConfig, SourceConfig
from antiphon.data import Batches, load_corpus
from antiphon.models.build import build_network
from antiphon.nn.loss import CrossEntropy
from antiphon.text import load_task
from antiphon.text.training import train_tokenizer

ON_THE_PATH, ENTERED = 23, 36  # what a reader opens between a text and its loss; fewer is better (14 are aimed at)
ELSEWHERE = ("tests/", "docs/", "benchmarks/", "recipes/", "CHANGELOG.md", "CONTRIBUTING.md", "src/")


def paths_of(page: Path) -> list[str]:
    """The files and folders that a page names in backticks."""
    named = re.findall(r"`([\w./-]+(?:\.py|\.md|\.txt|/))`", page.read_text(encoding="utf-8"))
    return sorted(set(named))


@pytest.mark.parametrize("page", [PAGE, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_every_path_exists(page: Path) -> None:
    paths = paths_of(page)
    assert len(paths) > 4
    missing = [path for path in paths if not ((ROOT if path.startswith(ELSEWHERE) else PACKAGE) / path).exists()]
    assert missing == []


def listed() -> list[list[str]]:
    """The files of the page's two tables of the path, in their order."""
    tables = re.findall(r"<!-- path -->\n(.*?)\n\n", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    rows = [[line.split("|")[1] for line in table.splitlines()[2:]] for table in tables]
    return [[path for row in table for path in re.findall(r"`([^`]+)`", row)] for table in rows]


def entered(folder: Path) -> list[str]:
    """The files of the package in which a function is called between two files of text and the loss of a batch."""
    lines = ["in 3 hours", "in 4 hours and 5 minutes"], ["in 3 Stunden", "in 4 Stunden und 5 Minuten"]
    for name, side in zip(("source", "target"), lines, strict=True):
        (folder / name).write_text("".join(f"{line}\n" for line in side))
    tokenizer = train_tokenizer([*lines[0], *lines[1]], kind="bpe", vocab_size=270)
    model = ModelConfig(preset="tiny", d_model=32, num_heads=2, ffn_dim=32, max_length=64, dropout=0.1)
    size = tokenizer.vocab_size
    network = build_network(model, AttentionConfig(), source_vocab=size, target_vocab=size, shared=True, seed=0).train()
    loss, found = CrossEntropy(0.1), dict[str, None]()

    def enter(frame: FrameType, event: str, argument: object) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.is_relative_to(PACKAGE):
            found.setdefault(file.relative_to(PACKAGE).as_posix())

    def step(*, traced: bool) -> torch.Tensor:
        corpus = load_corpus(
            SourceConfig(source=str(folder / "source"), target=str(folder / "target")),
            task=load_task("translation"),
            source_tokenizer=tokenizer,
            target_tokenizer=tokenizer,
            max_length=64,
            streaming="always",  # so that reading and encoding are a part of the step
        )
        batches = Batches(corpus, batch_tokens=100, seed=0)
        sys.setprofile(enter if traced else None)
        try:
            rows = next(iter(batches))
            batch = collate(rows, pad_id=tokenizer.pad_id, start_id=tokenizer.pad_id)
            return network(batch, loss).objective
        finally:
            sys.setprofile(None)

    step(traced=False)  # what is imported and made once is no part of a step
    assert step(traced=True).isfinite()
    return list(found)


def test_the_path_from_a_text_to_the_loss_is_the_pages(tmp_path: Path) -> None:
    (path, helpers), found = listed(), entered(tmp_path)
    on_page = [*path, *helpers]
    assert len(on_page) == len(set(on_page)), "a file is named twice"
    unknown, absent = set(found) - set(on_page), set(on_page) - set(found)
    assert not unknown and not absent, f"entered, but not on the page: {unknown}; on the page alone: {absent}"
    assert path == [file for file in found if file in path], "the page has another order"
    assert len(path) <= ON_THE_PATH and len(on_page) <= ENTERED
