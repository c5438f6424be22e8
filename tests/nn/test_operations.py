"""Operations: a PyTorch body, and a lowering that is asked first."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from antiphon.nn.operations import OPERATIONS, Operation


def test_a_lowering_is_asked_first_and_may_pass_a_call_on() -> None:
    operation = Operation(lambda x, *, by: x * by)
    assert operation(torch.ones(1), by=2) == 2
    operation.lowering = lambda x, *, by: x + 7 if by == 3 else NotImplemented
    assert operation(torch.ones(1), by=3) == 8
    assert operation(torch.ones(1), by=2) == 2


def test_nn_alone_has_no_lowering_and_a_runtime_sets_one_for_each() -> None:
    code = "import antiphon.nn; from antiphon.nn.operations import OPERATIONS as o; "
    state = "print(sum(each.lowering is not None for each in o.values()), len(o)); "
    command = [sys.executable, "-c", f"{code}{state}import antiphon.runtime; {state}"]
    alone, loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert alone.split()[0] == "0"
    assert loaded.split()[0] == loaded.split()[1] == str(len(OPERATIONS))


@pytest.mark.parametrize("width", [1, 3])
def test_exchanged_rows_are_those_of_the_body(width: int) -> None:
    exchange = OPERATIONS["exchange_rows"]
    leaf = torch.randn(2 * width, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    index = torch.tensor([(width - 1 - r % width) + r - r % width for r in range(2 * width)])
    fast, slow = leaf.clone(), leaf.clone()
    exchange(fast, index, width=width)
    exchange.body(slow, index, width=width)
    assert torch.equal(fast, slow) and torch.equal(slow, leaf[index])
