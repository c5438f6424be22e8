"""Row 15 in the service: many calls at once, of random lengths and settings, some given up: no answer differs."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from typing import Any

from counts import count
from serving.process.tools import Served, collect, first_event, same, until

from antiphon.generation.model import Model
from antiphon.serving.service import CallTimeout, GenerateCall

CLIENTS = 40
SETTINGS: list[dict[str, Any]] = [
    {"beam_size": 1, "max_new_tokens": 40},
    {"beam_size": 4, "max_new_tokens": 30},
    {"beam_size": 2, "n_best": 2, "max_new_tokens": 20, "no_repeat_ngram": 2},
    {"beam_size": 2, "max_new_tokens": 20, "forbidden": ["a", "in"]},
    {"overflow": "split", "max_source_tokens": 60, "max_new_tokens": 10},
]
LETTERS = "abcdefg hinostuw äöü.,"


def text(draw: random.Random) -> str:
    """A text of 0 to 300 characters; short ones come again."""
    length = draw.choice([0, 1, 2, draw.randrange(20), draw.randrange(300)])
    return "".join(draw.choice(LETTERS) for _ in range(length))


def test_answers_under_load_are_those_without(served: Served, offline: Model) -> None:
    number, answered = count("served_inputs"), defaultdict[int, list[tuple[str, dict[str, Any]]]](list)

    async def client(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(max(1, number // CLIENTS // 3)):
            which = draw.randrange(len(SETTINGS))
            inputs = [text(draw) for _ in range(draw.randrange(1, 6))]
            settings = SETTINGS[which]
            call = GenerateCall(
                inputs=inputs, settings=settings, stream=draw.random() < 0.4, cached=draw.random() < 0.8
            )
            match draw.randrange(10):
                case 0:
                    await first_event(served.service, call)
                case 1:
                    late = GenerateCall(inputs=inputs, settings=settings, timeout_seconds=draw.uniform(0.001, 0.2))
                    try:
                        await collect(served.service, late)
                    except CallTimeout:
                        pass
                case 2:
                    await served.service.score(inputs, inputs, settings={"overflow": "truncate"})
                case _:
                    found = await collect(served.service, call)
                    answered[which] += zip(inputs, (each.answer for each in found), strict=True)

    async def clients() -> None:
        await asyncio.gather(*(client(seed) for seed in range(CLIENTS)))
        await until(lambda: served.numbers()["running"] == 0)

    served.run(clients(), seconds=1200)
    model = served.service._model(None)
    left = [model._running, model._shared, model.active, model.scheduler._waiting, model.scheduler._turns]
    assert not any(left) and (model.scheduler.queued, model.scheduler.queued_size) == (0, 0)
    compared = 0
    for which, pairs in answered.items():
        inputs = list({own for own, _ in pairs})
        wanted = dict(zip(inputs, offline.generate(inputs, **SETTINGS[which]), strict=True))
        for own, answer in pairs:
            assert same(answer, wanted[own]), (own, SETTINGS[which])
            compared += 1
    assert compared > number // 3
