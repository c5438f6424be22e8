"""Waiting requests: each is returned once, in order, with its own decoder state."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch

from antiphon.batch import Tokens
from antiphon.nn.state import DecoderState, MemoryState
from antiphon.search import request_queue
from antiphon.search.request_queue import Prepared, RequestQueue, Waiting
from antiphon.search.requests import Request


def prepare(requests: Sequence[Request]) -> Prepared:
    first = torch.tensor([int(request.source[0]) for request in requests])
    tokens = Tokens(torch.zeros(len(requests), 1, dtype=torch.long))
    state = DecoderState([(MemoryState(tokens, k=first), MemoryState(tokens, v=-first))], width=2)
    return Prepared(state, 2.0 * first)


@pytest.mark.parametrize("ahead", [1, 7, 40, 2048])
def test_each_comes_once_with_its_own_state(ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_queue, "ENCODE_AHEAD_TOKENS", ahead)
    dice, calls = random.Random(ahead), []
    requests = [Request([row] * dice.randint(1, 5), limit=9) for row in range(53)]
    late = [Waiting(row, request) for row, request in enumerate(requests)]

    def counted(requests: Sequence[Request]) -> Prepared:
        calls.append([request.source for request in requests])
        return prepare(requests)

    left, found = RequestQueue(late[:30]), []
    left.add(late[30:])
    while left:
        most = dice.randint(1, 9)
        taken = list(left.take(most, prepare=counted))
        assert sum(len(some) for some, _ in taken) == min(most, len(requests) - len(found))
        for some, prepared in taken:
            sources = [int(each.request.source[0]) for each in some]
            assert prepared.state._states[0].source["k"].tolist() == sources
            assert prepared.state._states[1].source["v"].tolist() == [-each for each in sources]
            assert prepared.scores.tolist() == [2 * each for each in sources]
            found += some
    assert [each.request for each in found] == requests and [each.number for each in found] == list(range(53))
    longest = [len(sources) * max(map(len, sources)) for sources in calls]
    assert all(size <= max(ahead, 9 * 5) for size in longest)
    assert len(calls) < 10 if ahead == 2048 else len(calls) > 3


def test_requests_with_prefixes_of_one_length_are_prepared_together() -> None:
    waiting = [Waiting(row, Request([row], limit=9, prefix=[3] * length)) for row, length in enumerate([0, 0, 2, 2, 0])]
    calls: list[list[int]] = []

    def counted(requests: Sequence[Request]) -> Prepared:
        calls.append([len(request.prefix) for request in requests])
        return prepare(requests)

    queue = RequestQueue(waiting)
    taken = [each for some, _ in queue.take(9, prepare=counted) for each in some]
    assert taken == waiting and calls == [[0, 0], [2, 2], [0]]


def test_a_request_is_taken_back_unless_it_is_encoded() -> None:
    queue = RequestQueue(Waiting(row, Request([row] * 300, limit=9)) for row in range(5))
    list(queue.take(1, prepare=prepare))
    assert queue.remove(3) and not queue.remove(0) and not queue.remove(3)
    assert [each.number for some, _ in queue.take(9, prepare=prepare) for each in some] == [1, 2, 4]
