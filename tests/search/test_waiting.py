"""Requests that wait: all come once, in order, with the state that is theirs."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.nn.state import DecoderState, MemoryState
from antiphon.search import waiting
from antiphon.search.hypotheses import Request
from antiphon.search.waiting import RequestQueue


def encode(sources: list[list[int] | Tensor]) -> DecoderState:
    first = torch.tensor([int(source[0]) for source in sources])
    tokens = Tokens(torch.zeros(len(sources), 1, dtype=torch.long))
    return DecoderState([(MemoryState(tokens, k=first), MemoryState(tokens, v=-first))], width=2)


@pytest.mark.parametrize("ahead", [1, 7, 40, 2048])
def test_each_comes_once_with_its_own_state(ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "AHEAD", ahead)
    dice, calls = random.Random(ahead), []
    requests = [Request([row] * dice.randint(1, 5), limit=9) for row in range(53)]

    def counted(sources: list[list[int] | Tensor]) -> DecoderState:
        calls.append(sources)
        return encode(sources)

    left, found = RequestQueue(requests), []
    while left:
        most = dice.randint(1, 9)
        taken = list(left.take(most, encode=counted))
        assert sum(len(some) for some, _ in taken) == min(most, len(requests) - len(found))
        for some, state in taken:
            assert state._states[0].source["k"].tolist() == [int(request.source[0]) for request in some]
            assert state._states[1].source["v"].tolist() == [-int(request.source[0]) for request in some]
            found += some
    assert found == requests
    longest = [len(sources) * max(map(len, sources)) for sources in calls]
    assert all(size <= max(ahead, 9 * 5) for size in longest)
    assert len(calls) < 10 if ahead == 2048 else len(calls) > 3
