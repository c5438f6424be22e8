"""A ring cache gives what a growing cache gives: steps, chunks, prefill, rows of their own lengths, beams."""

from __future__ import annotations

import pytest
import torch
from counts import count
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.nn.attention import Attention
from antiphon.nn.cache import KeyValueCache
from antiphon.nn.mixers import Memory
from antiphon.nn.noise import Noise
from antiphon.nn.ring import RingCache, make_cache
from antiphon.nn.rules import Alibi, Full, PrefixLM, ScoreRule, Shaw, Sinks, SoftCap, Window
from antiphon.nn.state import DecoderState, MemoryState

HEADS, DIM, WIDTH = 4, 6, 24
LIKE = torch.zeros(1, dtype=torch.float64)
RULES = {
    "window": Window(4),
    "window of one": Window(1),
    "window with first keys": Window(3, sinks=2),
    "dilated, first keys": Window(2, dilation=3, sinks=1),
    "alibi": Alibi() & Window(5),
    "cap and terms": SoftCap(3.0) & Shaw(2) & Window(4, sinks=1),
    "sinks": Sinks() & Window(3),
}


def attention(rule: ScoreRule, *, rotary: bool = False) -> Attention:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = Attention(rule, num_kv_heads=2, rotary=rotary)
        made.setup(d_model=WIDTH, num_heads=HEADS, head_dim=DIM, role="decoder", bias=True, dropout=0.0, noise=Noise())
        rule.setup(num_heads=HEADS, head_dim=DIM, role="decoder")
    return made.double().eval()


def caches(rule: ScoreRule, rows: int, capacity: int, *, aligned: bool) -> list[KeyValueCache]:
    """One that grows, and a ring."""
    assert rule.reach is not None and rule.reach[0] is not None
    left, _, sinks = rule.reach
    ring = RingCache(rows, left=left, sinks=sinks, num_heads=2, head_dim=DIM, like=LIKE, aligned=aligned)
    return [KeyValueCache(rows, capacity, num_heads=2, head_dim=DIM, like=LIKE, aligned=aligned), ring]


@pytest.mark.parametrize("rotary", [True, False])
@pytest.mark.parametrize("name", list(RULES))
def test_steps_chunks_and_prefill_equal_the_whole_row(name: str, rotary: bool) -> None:
    made = attention(RULES[name], rotary=rotary)
    x = torch.randn(3, 20, WIDTH, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.no_grad():
        whole, _ = made(x, Tokens(torch.arange(20)[None]), None)
        for cuts in ([1] * 20, [20], [13, 1, 1, 5], [2, 9, 1, 8], [1, 19]):
            state, parts, start = made.begin(3, 20), [], 0
            assert isinstance(state, RingCache)
            for length in cuts:
                tokens = Tokens(torch.arange(start, start + length)[None])
                out, _ = made(x[:, start : start + length], tokens, state)
                parts.append(out)
                start += length
            torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-12)


def decoder(own: KeyValueCache, *, width: int) -> DecoderState:
    """The state of one layer, over a memory that nobody reads."""
    memory = Tokens(torch.zeros(own.hypothesis["k"].shape[0] // width, 1, dtype=torch.long))
    return DecoderState([(own, MemoryState(memory))], width=width)


def pick(generator: torch.Generator, low: int, high: int) -> int:
    return int(torch.randint(low, high, (), generator=generator))


@pytest.mark.parametrize("aligned", [True, False])
def test_any_history_equals_a_cache_that_grows(aligned: bool) -> None:
    """Chunks of any length, with rows that wait, behind reorders, drops and sources written into other slots."""
    generator = torch.Generator().manual_seed(5 + aligned)
    names, kept = list(RULES), {name: attention(rule) for name, rule in RULES.items()}
    for trial in range(count("ring")):
        made, rows, width = kept[names[trial % len(names)]], 3, 2
        pairs = [caches(made.rule, rows * width, 60, aligned=aligned) for _ in range(2)]
        sides = [[decoder(cache, width=width) for cache in pair] for pair in pairs]  # two batches, growing and ring
        places = [torch.zeros(rows * width, dtype=torch.long) for _ in sides]
        for _ in range(12):
            which = pick(generator, 0, 2)
            step(made, sides[which], places, which, generator, aligned=aligned)
            if pick(generator, 0, 2):
                index = torch.randint(0, width, (places[which].numel(),), generator=generator)
                index += torch.arange(places[which].numel()) // width * width
                for state in sides[which]:
                    state.reorder(index)
                places[which] = places[which][index]
            if not aligned and pick(generator, 0, 4) == 0:
                # A source of one batch leaves, and one of the other joins in its place.
                slot, there = pick(generator, 0, rows), pick(generator, 0, rows)
                for state, (cache, pair) in zip(
                    sides[which], zip(pairs[1 - which], range(2), strict=True), strict=True
                ):
                    state.write(torch.tensor([slot]), one_source(made, cache, there, width, ring=bool(pair)))
                own = slice(slot * width, slot * width + width)
                places[which][own] = places[1 - which][there * width : there * width + width]


def one_source(made: Attention, cache: KeyValueCache, source: int, width: int, *, ring: bool) -> DecoderState:
    """A copy of the cache's rows of one source."""
    found = caches(made.rule, cache.hypothesis["k"].shape[0], 60, aligned=False)[ring]
    for mine, theirs in ((found, cache), (found.common, cache.common)):
        assert mine is not None and theirs is not None
        mine.hypothesis = {name: leaf.clone() for name, leaf in theirs.hypothesis.items()}
    found._reach = cache._reach
    state = decoder(found, width=width)
    state.drop(torch.tensor([source]))
    return state


def step(
    made: Attention,
    states: list[DecoderState],
    places: list[Tensor],
    which: int,
    generator: torch.Generator,
    *,
    aligned: bool,
) -> None:
    """New tokens, of which rows may have fewer or none, into both caches; their outputs must agree."""
    place, length = places[which], pick(generator, 1, 9)
    if int(place.max()) + length > 60:
        return
    pos = place[:, None] + torch.arange(length)
    if aligned:
        pos = pos[:1]
    else:
        fewer = torch.randint(0, length + 1, (place.numel(), 1), generator=generator)
        waits = torch.arange(length) >= fewer
        if pick(generator, 0, 2):  # padding on the left
            pos, waits = pos - (length - fewer), torch.arange(length) < length - fewer
        pos = pos.masked_fill(waits, -1)
    x = torch.randn(place.numel(), length, WIDTH, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        outs = [made(x, Tokens(pos.clone()), state.layers[0][0])[0] for state in states]
    difference = (outs[0] - outs[1]).masked_fill((pos < 0)[:, :, None], 0).abs().max()
    assert float(difference) <= 1e-12, f"{made.rule.spec}: {float(difference):.2g}"
    places[which] = place + (pos >= 0).sum(1)
    ring = states[1].layers[0][0]
    for leaf in (ring.hypothesis["k"], ring.hypothesis["v"]):
        assert not leaf[:, :, :-1][:, :, ring.used("k", leaf).shape[2] :].any()
    assert ring.common is not None
    free = ring.common.hypothesis["k_pos"] < 0
    assert not ring.hypothesis["k"].masked_fill(~free[:, None, :, None], 0)[:, :, :-1].any()


def test_first_tokens_stay_and_the_last_ones_turn() -> None:
    ring = RingCache(1, left=2, sinks=2, num_heads=1, head_dim=1, like=LIKE)

    def put(*pos: int) -> tuple[list[float], list[int]]:
        k = torch.tensor(pos, dtype=torch.float64).view(1, 1, -1, 1)
        found, _, keys = ring.update(k, k, Tokens(torch.tensor([pos])))
        return found.flatten().tolist(), keys.pos[0].tolist()

    assert put(0, 1, 2) == ([0, 1, 2], [0, 1, 2])
    assert put(3) == ([0, 1, 2, 3], [0, 1, 2, 3])
    assert put(4) == ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
    assert put(5) == ([0, 1, 5, 3, 4], [0, 1, 5, 3, 4])
    keys = [0, 1, 5, 3, 4, 6, 7, 8, 9, 10]
    assert put(6, 7, 8, 9, 10) == (keys, keys)
    assert put(11) == ([0, 1, 11, 9, 10], [0, 1, 11, 9, 10])


def test_memory_does_not_grow_with_the_target() -> None:
    made = attention(Window(8, sinks=1))
    sizes = [
        sum(leaf.numel() for leaf in (*state.hypothesis.values(), *state.common.hypothesis.values()))
        for state in (made.begin(2, capacity) for capacity in (16, 8192))
        if state.common is not None
    ]
    assert len(sizes) == 2 and sizes[0] == sizes[1]
    state, seen = made.begin(2, 8192), []
    assert isinstance(state, RingCache)
    for place in range(40):
        k = torch.zeros(2, 2, 1, DIM, dtype=torch.float64)
        seen.append(state.update(k, k, Tokens(torch.tensor([[place]])))[0].shape[2])
    assert seen == [*range(1, 10), *[9] * 31]


def test_only_a_bounded_reach_that_is_shorter_makes_a_ring() -> None:
    def kind(rule: ScoreRule, capacity: int) -> type:
        return type(make_cache(2, capacity, rule.reach, num_heads=1, head_dim=2, like=LIKE))

    assert kind(Window(4, sinks=1), 6) is RingCache
    assert kind(Window(4, sinks=1), 5) is KeyValueCache
    assert kind(Full(), 100) is KeyValueCache
    assert kind(PrefixLM(2), 100) is KeyValueCache
    cross = Attention(Window(2))
    cross.setup(d_model=WIDTH, num_heads=HEADS, head_dim=DIM, role="cross", bias=True, dropout=0.0, noise=Noise())
    assert isinstance(cross.begin(1, 9, Memory(torch.zeros(1, 3, WIDTH), Tokens(torch.arange(3)[None]))), MemoryState)


def test_layers_share_a_ledger_by_their_reach() -> None:
    rules = [Window(3), Window(3), Window(4), Full()]
    layers = [
        (attention(rule).begin(2, 50), MemoryState(Tokens(torch.zeros(2, 1, dtype=torch.long)))) for rule in rules
    ]
    DecoderState(layers, width=1)
    ledgers = [own.common for own, _ in layers]
    assert ledgers[0] is ledgers[1] and len({id(ledger) for ledger in ledgers}) == 3


def test_an_aligned_ring_refuses_rows_of_their_own_positions() -> None:
    ring = RingCache(2, left=2, sinks=0, num_heads=1, head_dim=1, like=LIKE)
    k = torch.zeros(2, 1, 1, 1, dtype=torch.float64)
    with pytest.raises(AssertionError, match="one shared row"):
        ring.update(k, k, Tokens(torch.tensor([[0], [1]])))
