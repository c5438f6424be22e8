"""Decoding state: rows that are reordered, dropped and written keep what belongs to them."""

from __future__ import annotations

import pytest
import torch

from antiphon.batch import Tokens
from antiphon.nn.cache import KeyValueCache, to_cache_type
from antiphon.nn.state import DecoderState, MemoryState, State

LIKE = torch.zeros(1, dtype=torch.float64)


def state(sources: int, width: int, *, aligned: bool = True, seed: int = 0) -> DecoderState:
    generator = torch.Generator().manual_seed(seed)
    memory = Tokens.of_lengths(torch.arange(1, sources + 1), sources)
    layers = []
    for _ in range(2):
        cache = KeyValueCache(sources * width, 6, num_heads=2, head_dim=3, like=LIKE, aligned=aligned)
        keys = torch.randn(sources, 2, sources, 3, generator=generator, dtype=torch.float64)
        layers.append((cache, MemoryState(memory, k=keys)))
    return DecoderState(layers, width=width)


def fill(made: DecoderState, pos: torch.Tensor, seed: int) -> tuple[torch.Tensor, Tokens]:
    tokens, out = Tokens(pos), None
    for number, (cache, _) in enumerate(made.layers):
        rows = cache.hypothesis["k"].shape[0]
        generator = torch.Generator().manual_seed(seed + number)
        new = torch.randn(rows, 2, pos.shape[1], 3, generator=generator, dtype=torch.float64)
        out = cache.update(new, -new, tokens)
    assert out is not None
    return out[0], out[2]


def test_update_returns_all_keys_with_their_positions() -> None:
    made = state(2, 2)
    fill(made, torch.tensor([[0, 1, 2]]), 1)
    keys, tokens = fill(made, torch.tensor([[3]]), 2)
    assert keys.shape == (4, 2, 4, 3)
    assert tokens.pos.tolist() == [[0, 1, 2, 3]]


def test_rows_of_other_lengths_keep_their_own_positions() -> None:
    made = state(2, 1, aligned=False)
    fill(made, torch.tensor([[0, 1, 2], [0, -1, -1]]), 1)
    keys, tokens = fill(made, torch.tensor([[3], [1]]), 2)
    assert tokens.pos.tolist() == [[0, 1, 2, 3], [0, 1, -1, -1]]
    assert not keys[1, :, 2:].any()  # free slots hold zeros


def test_reorder_then_step_is_step_then_reorder() -> None:
    index = torch.tensor([2, 0, 1, 5, 5, 3])
    first, second = state(2, 3), state(2, 3)
    for made in (first, second):
        fill(made, torch.tensor([[0, 1]]), 1)
    first.reorder(index)
    before = first.layers[1][0].hypothesis["k"].clone()
    second.reorder(index)
    assert torch.equal(before, second.layers[1][0].hypothesis["k"])
    untouched = state(2, 3)
    keys, _ = fill(untouched, torch.tensor([[0, 1]]), 1)
    assert torch.equal(before[:, :, :2], keys[index])


def test_drop_keeps_sources_and_their_hypotheses() -> None:
    made = state(3, 2)
    keys, _ = fill(made, torch.tensor([[0, 1]]), 1)
    memory = made.layers[0][1].source["k"].clone()
    made.drop(torch.tensor([2, 0]))
    assert torch.equal(made.layers[1][0].hypothesis["k"][:, :, :2], keys[[4, 5, 0, 1]])
    assert torch.equal(made.layers[0][1].source["k"], memory[[2, 0]])
    assert made.layers[0][1].tokens.pos.tolist() == [[0, 1, 2], [0, -1, -1]]
    assert made.layers[0][1].tokens is made.layers[1][1].tokens  # the layers go on sharing masks


def test_write_puts_another_states_sources_in_slots() -> None:
    made, other = state(3, 2, aligned=False), state(3, 2, aligned=False, seed=5)
    other.drop(torch.tensor([1]))
    fill(made, torch.tensor([[0]]).expand(6, -1), 1)
    keys, _ = fill(other, torch.tensor([[0, 1]]).expand(2, -1), 3)
    made.write(torch.tensor([2]), other)
    assert torch.equal(made.layers[1][0].hypothesis["k"][4:, :, :2], keys)
    assert made.layers[0][0].common.hypothesis["count"].tolist() == [1, 1, 1, 1, 2, 2]


def packed(*rows: list[int]) -> Tokens:
    """Tokens of rows of segments; a row's first two tokens are a prefix."""
    segment = torch.tensor(rows)
    pos = torch.stack([(row[:, None] == row).tril(-1).sum(1).where(row > 0, torch.tensor(-1)) for row in segment])
    return Tokens(pos, segment, torch.arange(segment.shape[1])[None] < torch.tensor([[2]] * len(rows)))


def test_a_packed_memory_keeps_its_segments_when_rows_leave_and_others_come() -> None:
    tokens = packed([1, 1, 2, 2], [1, 2, 2, 0], [1, 2, 3, 3])

    def layers(tokens: Tokens, keys: torch.Tensor) -> DecoderState:
        return DecoderState([(State(), MemoryState(tokens, k=keys)) for _ in range(2)], width=2)

    made = layers(tokens, torch.arange(3.0)[:, None])
    memory = made.layers[0][1]
    assert isinstance(memory, MemoryState)
    made.drop(torch.tensor([2, 0]))
    found, kept = memory.tokens, tokens.select(torch.tensor([2, 0]))
    for mine, theirs in ((found.pos, kept.pos), (found.segment, kept.segment), (found.prefix, kept.prefix)):
        assert mine is not None and theirs is not None and torch.equal(mine, theirs)
    other = packed([1, 2, 2, 2])
    made.write(torch.tensor([1]), layers(other, torch.full((1, 1), 9.0)))
    assert memory.tokens.segment is not None and memory.tokens.segment.tolist() == [[1, 2, 3, 3], [1, 2, 2, 2]]
    assert memory.tokens.pos.tolist() == [[0, 0, 0, 1], [0, 0, 1, 2]]
    assert memory.tokens is not found


def test_dropped_rows_of_a_packed_memory_are_read_as_alone() -> None:
    from antiphon.nn import Attention, Full, Memory, Noise

    torch.manual_seed(0)
    mixer = Attention(Full())
    mixer.setup(d_model=8, num_heads=2, head_dim=4, role="cross", bias=True, dropout=0.0, noise=Noise())
    hidden, asked = torch.randn(3, 4, 8), torch.randn(3, 2, 8)
    tokens, queries = packed([1, 1, 2, 2], [1, 2, 2, 0], [1, 2, 2, 2]), packed([1, 2], [1, 2], [1, 2])
    hidden = hidden * tokens.valid[..., None]
    keep = torch.tensor([2, 0])
    state = DecoderState([(State(), mixer.begin(3, 0, Memory(hidden, tokens)))], width=1)
    state.drop(keep)
    found, _ = mixer(asked[keep], queries.select(keep), state.layers[0][1])
    whole, _ = mixer(asked, queries, mixer.begin(3, 0, Memory(hidden, tokens)))
    torch.testing.assert_close(found, whole[keep])


@pytest.mark.parametrize("kernel", [True, False])
def test_what_is_too_large_for_float16_is_its_largest_number(kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the kernel and without it: an infinite key would give NaN."""
    if not kernel:
        monkeypatch.setattr(to_cache_type, "lowering", None)
    x = torch.tensor([1e6, -1e6, 65504.0, -65504.0, 65519.0, 1.5, 0.0, -3.25])[None, None, None].contiguous()
    found = to_cache_type(x, torch.float16)
    assert found.dtype == torch.float16
    wanted = [65504.0, -65504.0, 65504.0, -65504.0, 65504.0, 1.5, 0.0, -3.25]
    assert found.flatten().tolist() == wanted
    odd = x[0]  # three dimensions, which no kernel takes
    assert to_cache_type(odd, torch.float16).flatten().tolist() == wanted
    assert to_cache_type(x, torch.float32) is x or torch.equal(to_cache_type(x, torch.float32), x)
