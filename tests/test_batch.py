"""Batches and their tokens on another device."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from antiphon.batch import Batch, Example, LazyFeatures, Tokens, collate
from antiphon.errors import ConfigError

EXAMPLES = [Example([5, 6, 2], [7, 2], 3), Example([5, 2], [8, 9, 2], 1)]
DEVICES = ["cpu", torch.device("cpu"), "auto", pytest.param("cuda", marks=pytest.mark.gpu)]


def packed() -> Tokens:
    segment, prefix = torch.tensor([[1, 1, 2, 0]]), torch.tensor([[True, False, True, False]])
    return Tokens(torch.tensor([[0, 1, 0, -1]]), segment=segment, prefix=prefix)


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_elsewhere_has_the_same_values(device: str | torch.device) -> None:
    batch = collate(EXAMPLES, pad_id=0, start_id=1)
    moved = batch.to(device)
    assert moved is not batch and isinstance(moved, Batch)
    for field in fields(Batch):
        one, other = getattr(batch, field.name), getattr(moved, field.name)
        if isinstance(one, Tokens):
            one, other = one.pos, other.pos
        assert torch.equal(one, other.cpu()) and one.dtype == other.dtype, field.name
        if device != "auto" and field.name != "index":
            assert other.device.type == torch.device(device).type, field.name
    assert moved.index.device.type == "cpu"


@pytest.mark.parametrize("device", DEVICES)
def test_segments_and_prefixes_go_too_and_what_layers_shared_stays(device: str | torch.device) -> None:
    tokens = packed()
    tokens.memo["mask"] = torch.ones(3)
    moved = tokens.to(device)
    for name in ("pos", "segment", "prefix"):
        one, other = getattr(tokens, name), getattr(moved, name)
        assert torch.equal(one, other.cpu()) and one.dtype == other.dtype, name
    assert not moved.memo and tokens.memo
    assert Tokens(torch.arange(3)[None]).to(device).segment is None


def test_features_go_too() -> None:
    batch = collate([Example(torch.randn(5, 8), [7, 2], 0)], pad_id=0, start_id=1)
    assert torch.equal(batch.to("cpu").source, batch.source)


@pytest.mark.parametrize("device", ["cuda:97", "cdua", "", "cpu:1", "cuda:x", "meta", None, 0, 3.5])
def test_a_device_that_is_not_there_is_named(device: object) -> None:
    batch = collate(EXAMPLES, pad_id=0, start_id=1)
    for part in (batch, batch.source_tokens):
        with pytest.raises(ConfigError, match=r"`device`") as error:
            part.to(device)  # type: ignore[arg-type]
        assert str(device) in str(error.value) or not device
        assert "\n" not in str(error.value)


def test_a_batch_is_what_its_examples_are() -> None:
    batch = collate(EXAMPLES, pad_id=0, start_id=1)
    assert batch.source.tolist() == [[5, 6, 2], [5, 2, 0]] and batch.index.tolist() == [3, 1]
    assert batch.target_ids.tolist() == [[1, 7, 0], [1, 8, 9]] and batch.labels.tolist() == [[7, 2, 0], [8, 9, 2]]
    assert isinstance(batch.label_places, Tensor) and batch.label_places.tolist() == [0, 1, 3, 4, 5]


def test_a_prompt_is_read_and_has_no_labels() -> None:
    batch = collate([Example([5, 6, 2], [7, 2], 0, [9, 9]), Example([5], [3, 4, 2], 1)], pad_id=0, start_id=1)
    assert batch.target_ids.tolist() == [[1, 9, 9, 7], [1, 3, 4, 0]]
    assert batch.labels[batch.label_mask].tolist() == [7, 2, 3, 4, 2]
    assert batch.labels.flatten()[batch.label_places].tolist() == [7, 2, 3, 4, 2]
    assert batch.target_tokens.pos.tolist() == [[0, 1, 2, 3], [0, 1, 2, -1]]


def test_lazy_features_are_those_that_were_computed_before() -> None:
    rows = [torch.arange(6.0).reshape(3, 2), torch.ones(1, 2)]
    lazy = [LazyFeatures(len(row), lambda row=row: row) for row in rows]
    made, given = (collate([Example(row, [2], 0) for row in side], pad_id=0, start_id=1) for side in (lazy, rows))
    assert [len(row) for row in lazy] == [3, 1]
    assert torch.equal(made.source, given.source) and torch.equal(made.source_tokens.pos, given.source_tokens.pos)


def test_the_grid_of_tokens_is_selected_and_moved_with_them() -> None:
    grid = torch.arange(8).reshape(2, 2, 2)
    tokens = Tokens(torch.tensor([[0, 1], [0, -1]]), grid=grid)
    for made in (tokens.fresh(), tokens.to("cpu")):
        assert made.grid is not None and torch.equal(made.grid, grid)
    turned = tokens.select(torch.tensor([1, 0])).grid
    assert turned is not None and torch.equal(turned, grid.flip(0))
