"""Tables of published folders: their names, and tables of positions that files hold beside them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from models.test_hub import change, edit, logits, parts_of
from torch import Tensor

from antiphon.errors import ModelError
from antiphon.models.families import FAMILIES
from antiphon.models.folders.checkpoint import Parts
from antiphon.models.folders.hub import load_pretrained, save_pretrained
from antiphon.nn.positions import SINUSOIDS

ALIASED = [name for name in FAMILIES if name not in ("whisper", "t5gemma", "vision-encoder-decoder")]
NAMES = [["source"], ["target"], ["output"], ["target", "output"], ["source", "output"]]


@functools.cache
def made(name: str, *, tied: bool) -> tuple[Parts, Tensor]:
    """A model, which no test here changes, and its logits."""
    parts = parts_of(name, tied=tied)
    return parts, logits(parts)


@pytest.mark.parametrize("name", ALIASED)
@pytest.mark.parametrize("kept", NAMES, ids=str)
@pytest.mark.parametrize("tied", [True, False])
def test_the_one_table_of_both_sides_may_have_any_of_its_names(
    name: str, kept: list[str], tied: bool, tmp_path: Path
) -> None:
    """F14: MADLAD-400, for example, has the decoder's name and an output of its own."""
    if not tied and kept == ["output"]:
        return  # its vectors are nowhere
    if not tied and "output" not in kept:
        kept = [*kept, "output"]
    (parts, wanted), keys = made(name, tied=tied), FAMILIES[name].tables
    folder = save_pretrained(tmp_path, parts)

    def rename(weights: dict[str, Tensor]) -> None:
        table, output = weights[keys.shared], weights.get(keys.output)
        for key in keys.all():
            weights.pop(key, None)
        for which in kept:
            key = getattr(keys, which)
            weights[key] = (output if which == "output" and output is not None else table).clone()

    edit(folder, rename)
    assert torch.equal(logits(load_pretrained(folder)), wanted)


@pytest.mark.parametrize("name", ["marian", "t5gemma"])
def test_tables_that_are_apart_do_not_stand_for_each_other(name: str, tmp_path: Path) -> None:
    parts, keys = parts_of(name, shared=False), FAMILIES[name].tables
    folder = save_pretrained(tmp_path, parts)
    if name == "marian":
        change(folder / "config.json", share_encoder_decoder_embeddings=False, decoder_vocab_size=270)
    edit(folder, lambda weights: weights.pop(keys.source))
    with pytest.raises(ModelError, match="must hold"):
        load_pretrained(folder)


SINUSOIDAL = ["marian", "pegasus", "m2m_100"]


@pytest.mark.parametrize("name", SINUSOIDAL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("ending", ["weight", "weights"])
def test_a_stored_table_of_sinusoids_is_compared_with_the_computed_one(
    name: str, dtype: torch.dtype, ending: str, tmp_path: Path
) -> None:
    parts = parts_of(name)
    folder = save_pretrained(tmp_path, parts)
    record = parts.model.family
    assert record is not None
    usual = SINUSOIDS[record.sinusoids](torch.arange(42)[None], 16)[0]
    if name == "m2m_100":
        usual[record.pad_id] = 0

    def store(change: Callable[[Tensor], Tensor]) -> Callable[[dict[str, Tensor]], object]:
        table = change(usual.clone()).to(dtype).contiguous()
        return lambda weights: weights.update({f"model.decoder.embed_positions.{ending}": table})

    edit(folder, store(lambda table: table))
    assert torch.equal(logits(load_pretrained(folder)), logits(parts))
    changes: list[Callable[[Tensor], Tensor]] = [
        lambda table: table + 0.05 * (torch.arange(42)[:, None] == 7),
        lambda table: table.roll(1, 0),
        lambda table: table.unflatten(1, (2, 8)).transpose(1, 2).flatten(1),  # sines and cosines in turn
        lambda table: table[:, :8],
        lambda table: table * float("nan"),
    ]
    for other in changes:
        edit(folder, store(other))
        with pytest.raises(ModelError, match=rf"`model.decoder.embed_positions.{ending}` in .* must be the sinusoids"):
            load_pretrained(folder)
