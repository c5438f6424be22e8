"""Compares exported files with the model: the encoder's output, the logits of every step, and greedy answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from antiphon.batch import Tokens, pad
from antiphon.config import GenerationConfig
from antiphon.export.onnx.metadata import OnnxMetadata
from antiphon.export.onnx.report import OnnxReport
from antiphon.export.onnx.runner import Array, OnnxModel
from antiphon.generation.model import Model
from antiphon.search.engine import answer

MAX_SOURCES, MAX_TOKENS = 16, 24  # of the check, and the tokens of an answer


@dataclass(frozen=True, slots=True)
class OnnxTrial:
    """Rows of source ids; the model's greedy answers to them, the decoder's input ids (B,T) and its logits (B,T,V) for
    them, and the memory (B,S,D). `sources` says where the rows come from."""

    rows: list[list[int]]
    answers: list[list[int]]
    target: Array
    logits: Array
    hidden: Array
    sources: str

    @property
    def largest(self) -> float:
        """The largest number that is compared."""
        return max(float(np.abs(part).max()) for part in (self.logits, self.hidden))

    @classmethod
    def of(cls, model: Model, texts: Sequence[str] | None) -> OnnxTrial:
        """The trial on `texts`, or on random ids."""
        rows, sources = _rows_of(model, texts or ()), "texts of the run"
        if not rows:
            rows, sources = random_rows(model), "random ids"
        network, ids = model.network, model.special_tokens
        most = max(1, min(MAX_TOKENS, network.max_length - 2 - len(ids.first)))
        config = GenerationConfig(beam_size=1, max_new_tokens=most)
        found = answer(network, rows, config, ids)
        answers = [[id for id in ids.without_first(each[0].ids) if id != ids.end] for each in found]
        starts = [[ids.start, *ids.first, *each] for each in answers]
        target, _ = pad(starts, pad_id=ids.pad)
        with torch.no_grad():
            memory = network.encode(*pad(rows, pad_id=ids.pad))
            # All rows have the positions of the longest, as in a batch that is decoded step by step.
            hidden, _ = network.decode(target, Tokens(torch.arange(target.shape[1])[None]), memory)
            logits = network.logits(hidden)
        return cls(rows, answers, target.numpy(), logits.numpy(), memory.hidden.numpy(), sources)


def compare(folder: Path, metadata: OnnxMetadata, trial: OnnxTrial) -> OnnxReport:
    """Run the files of `folder` on the trial's sources."""
    runner = OnnxModel(folder, metadata, None, None)
    ids, mask = runner.pad(trial.rows)
    hidden = runner.encode(ids, mask)
    begun = 1 + len(metadata.ids.first)
    logits, cache = runner.first_step(trial.target[:, :begun], hidden, mask)
    found = [logits]
    for step in range(begun, trial.target.shape[1]):
        logits, cache = runner.next_step(trial.target[:, step : step + 1], hidden, mask, cache)
        found.append(logits)
    limits = np.full(len(trial.rows), MAX_TOKENS)
    most = max(1, min(MAX_TOKENS, metadata.max_target_tokens - 2 - len(metadata.ids.first)))
    answers = runner.search(hidden, mask, np.minimum(limits, most))
    parts = ((np.concatenate(found, 1), trial.logits), (hidden, trial.hidden))
    return OnnxReport(
        difference=max(float(np.abs(own - theirs).max()) for own, theirs in parts),
        largest=trial.largest,
        tokens=sum(map(len, trial.answers)) + len(trial.answers),
        answers=len(trial.answers),
        equal=sum(own == theirs for own, theirs in zip(answers, trial.answers, strict=True)),
        sources=trial.sources,
    )


def _rows_of(model: Model, texts: Sequence[str]) -> list[list[int]]:
    """The ids of the first texts that are not empty nor too long."""
    kind, limit = model.input_kind, model.network.max_length
    rows = model.source_tokenizer.encode_batch([text for text in texts if not kind.is_empty(text)])
    return [row for row in rows if len(row) <= limit][:MAX_SOURCES]


def random_rows(model: Model, *, count: int = MAX_SOURCES, most: int = 24, seed: int = 0) -> list[list[int]]:
    """Rows of random ids of several lengths, with the tokenizer's special tokens around them."""
    tokenizer = model.source_tokenizer
    usual = tokenizer.visible(range(tokenizer.vocab_size))
    chosen = torch.Generator().manual_seed(seed)
    most = max(1, min(most, model.network.max_length - 4))
    return [
        tokenizer.enclose([usual[int(torch.randint(len(usual), (), generator=chosen))] for _ in range(length)])
        for length in (1 + (most - 1) * i // max(1, count - 1) for i in range(count))
    ]
