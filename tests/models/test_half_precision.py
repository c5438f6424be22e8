"""Activations beyond 65,504, the largest number of float16: bfloat16 is finite, float16 is finite or refused by name.

Each family of checkpoints with random weights, whose feed-forward networks are made so large that their outputs leave
the range of float16. Norms bring them back, so that in a wider type nothing is lost.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from parity import reference
from torture.figures import FigureRecorder

from antiphon.config import GenerationConfig
from antiphon.errors import ModelError, NonFiniteError
from antiphon.generation.model import Model
from antiphon.models.folders.hub import load_pretrained
from antiphon.search import engine

LARGEST = 65_504
FACTOR = 3e4


def made(name: str, folder: Path) -> Path:
    """A checkpoint whose feed-forward networks have outputs beyond float16."""
    theirs = reference.make(reference.FAMILIES[name], 3, folder)
    for key, parameter in theirs.named_parameters():
        if any(part in key for part in (".wo.weight", "fc2.weight", "down_proj.weight")):
            parameter.data.mul_(FACTOR)
    theirs.save_pretrained(folder)
    return folder


def answers(model: Model, dtype: torch.dtype) -> float:
    """Answers by a beam, whose scores are numbers; the largest output of a feed-forward network."""
    seen: list[float] = []
    hooks = [
        layer.ffn.register_forward_hook(lambda module, given, found: seen.append(float(found.abs().max())))
        for part in (model.network.encoder, model.network.decoder)
        for layer in part.layers
    ]
    dice, size = random.Random(0), min(model.network.table_sizes)
    sources = [[dice.randrange(3, size - 1) for _ in range(length)] for length in (1, 4, 9)]
    config = GenerationConfig(beam_size=4, n_best=2, max_new_tokens=6)
    try:
        found = engine.answer(model.network.to(dtype), sources, config, model.special_tokens)
    finally:
        for hook in hooks:
            hook.remove()
    for hypotheses in found:
        assert all(torch.tensor([each.score, each.rank]).isfinite().all() for each in hypotheses)
    return max(seen)


def scores(model: Model, dtype: torch.dtype) -> None:
    """The scores of given targets are numbers."""
    found = engine.forced_scores(model.network.to(dtype), [([5, 6, 7], [8, 9])], model.special_tokens)
    assert torch.tensor(found).isfinite().all()


@pytest.mark.parametrize("name", list(reference.FAMILIES))
def test_beyond_float16(name: str, tmp_path: Path, figures: FigureRecorder) -> None:
    folder = made(name, tmp_path)
    wide = Model.from_parts(load_pretrained(folder, dtype=torch.bfloat16))
    largest = answers(wide, torch.bfloat16)
    scores(wide, torch.bfloat16)
    assert largest > LARGEST, "the test needs activations that float16 does not have"
    figures.add("families finite in bfloat16", 1)
    figures.most("activation", largest)
    try:
        narrow = Model.from_parts(load_pretrained(folder, dtype=torch.float16))
    except ModelError as error:
        assert "float16" in str(error) and "bfloat16" in str(error) and name in str(error)
        figures.add("families refused in float16 by name", 1)
        return
    finite = 0
    for run in (answers, scores):
        try:
            run(narrow, torch.float16)
            finite += 1
        except NonFiniteError as error:
            assert "float16" in str(error) and "bfloat16" in str(error), error
    figures.add(
        "families finite in float16" if finite == 2 else "families whose answers in float16 are refused by name", 1
    )
