"""The first values of tables of token vectors, and which tables are left as they are."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn

from antiphon.models.front import InputEmbedding
from antiphon.nn import Sinusoidal
from antiphon.nn.embedding import Embedding, scale_if_new


def front(table: nn.Embedding) -> InputEmbedding:
    return InputEmbedding(table, Sinusoidal(table.embedding_dim))


@pytest.mark.parametrize("padding_idx", [None, 0, -1, 7])
def test_vectors_begin_with_length_one(padding_idx: int | None) -> None:
    table = Embedding(400, 64, padding_idx=padding_idx)
    rows = [row for row in range(400) if padding_idx is None or row != padding_idx % 400]
    assert float(table.weight.detach()[rows].norm(dim=1).mean()) == pytest.approx(1, abs=0.02)
    if padding_idx is not None:
        assert not table.weight[padding_idx].any()


@pytest.mark.parametrize("padding_idx", [None, 0, -1, 7])
@pytest.mark.parametrize("shape", [(400, 64), (30, 16), (8, 2)])
def test_a_new_table_of_torch_is_scaled_with_a_warning(shape: tuple[int, int], padding_idx: int | None) -> None:
    table = nn.Embedding(*shape, padding_idx=padding_idx)
    before = table.weight.detach().clone()
    with pytest.warns(UserWarning, match=rf"Embedding\({shape[0]}, {shape[1]}\) was scaled") as caught:
        front(table)
    assert "test_embedding.py" in caught[0].filename, "the warning points at the caller's line"
    assert torch.equal(table.weight, before * shape[1] ** -0.5)
    with warnings.catch_warnings():  # once alone
        warnings.simplefilter("error")
        front(table)
    assert torch.equal(table.weight, before * shape[1] ** -0.5)


def trained(table: nn.Embedding, kind: type[torch.optim.Optimizer]) -> None:
    table(torch.arange(4)).sum().backward()
    kind(table.parameters(), lr=1e-3).step()  # type: ignore[call-arg]


def trained_and_cleared(table: nn.Embedding) -> None:
    optimizer = torch.optim.Adam(table.parameters(), lr=1e-3)
    table(torch.arange(4)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def with_no_grad(table: nn.Embedding) -> None:
    with torch.no_grad():
        table.weight.copy_(torch.randn(table.weight.shape))


TOUCHED: dict[str, Callable[[nn.Embedding], object]] = {
    "state_dict": lambda table: table.load_state_dict({"weight": torch.randn(table.weight.shape)}),
    "SGD": lambda table: trained(table, torch.optim.SGD),
    "Adam": lambda table: trained(table, torch.optim.Adam),
    "AdamW": lambda table: trained(table, torch.optim.AdamW),
    "Adam and zero_grad": trained_and_cleared,
    "uniform_": lambda table: table.weight.data.uniform_(-0.1, 0.1),
    "normal_": lambda table: nn.init.normal_(table.weight, std=0.02),
    "xavier_uniform_": lambda table: nn.init.xavier_uniform_(table.weight),
    "N(0, 1) on purpose": lambda table: nn.init.normal_(table.weight),
    "copy_": with_no_grad,
    "one row": lambda table: nn.init.zeros_(table.weight[3]),
    "a gradient": lambda table: table(torch.arange(4)).sum().backward(),
}


@pytest.mark.parametrize("padding_idx", [None, 0])
@pytest.mark.parametrize("name", TOUCHED)
def test_a_table_that_was_written_to_is_left_as_it_is(name: str, padding_idx: int | None) -> None:
    table = nn.Embedding(60, 16, padding_idx=padding_idx)
    TOUCHED[name](table)
    unchanged(table)


def unchanged(table: nn.Embedding) -> None:
    before = table.weight.detach().clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        front(table)
    assert torch.equal(table.weight, before)


class OwnTable(nn.Embedding):
    pass


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Embedding.from_pretrained(torch.randn(60, 16)),
        lambda: nn.Embedding.from_pretrained(torch.randn(60, 16), freeze=False),
        lambda: nn.Embedding.from_pretrained(torch.randn(60, 16), freeze=False, padding_idx=0),
        lambda: nn.Embedding(60, 16, _weight=torch.randn(60, 16)),
        lambda: Embedding(60, 16),
        lambda: Embedding(60, 1),
        lambda: OwnTable(60, 16),
    ],
)
def test_tables_that_somebody_made_otherwise_are_left_as_they_are(make: Callable[[], nn.Embedding]) -> None:
    unchanged(make())


def test_a_table_whose_parameter_was_exchanged_is_left_as_it_is() -> None:
    table = nn.Embedding(60, 16)
    table.weight = nn.Parameter(torch.randn(60, 16) * 0.1)
    unchanged(table)
    table.weight.data = torch.randn(60, 16) + 1
    unchanged(table)


def test_a_copy_or_another_type_of_a_trained_table_is_left_as_it_is() -> None:
    table = nn.Embedding(60, 16)
    trained(table, torch.optim.Adam)
    unchanged(copy.deepcopy(table))
    unchanged(copy.deepcopy(table).double())


def test_a_table_without_numbers_is_left_as_it_is() -> None:
    with torch.device("meta"):
        table = nn.Embedding(60, 16)
    scale_if_new(table)
    assert table.weight.is_meta
