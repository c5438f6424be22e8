"""Prints the files of the package in which a function is called between two files of text and the loss of a batch, in
the order in which they are entered first. A process of its own: what other tests import must not be entered."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import FrameType

import torch

import antiphon
from antiphon.batch import collate
from antiphon.config import AttentionConfig, ModelConfig, SourceConfig
from antiphon.data import Batches, load_corpus
from antiphon.models.build import build_network
from antiphon.nn.loss import CrossEntropy
from antiphon.text import load_task
from antiphon.text.training import train_tokenizer

PACKAGE = Path(antiphon.__file__).parent
LINES = {
    "source": ["in 3 hours", "in 4 hours and 5 minutes"],
    "target": ["in 3 Stunden", "in 4 Stunden und 5 Minuten"],
}


def entered(folder: Path) -> list[str]:
    for name, lines in LINES.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    tokenizer = train_tokenizer([line for lines in LINES.values() for line in lines], kind="bpe", vocab_size=270)
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
            batch = collate(next(iter(batches)), pad_id=tokenizer.pad_id, start_id=tokenizer.pad_id)
            return network(batch, loss).objective
        finally:
            sys.setprofile(None)

    step(traced=False)  # what is imported and made once is no part of a step
    assert step(traced=True).isfinite()
    return list(found)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(entered(Path(sys.argv[1]))))
