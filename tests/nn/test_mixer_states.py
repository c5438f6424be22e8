"""What mixers keep: rows that are padded, batched, packed, reordered and stepped are rows alone; memory in bytes."""

from __future__ import annotations

import pytest
import torch
from nn.toy_mixers import RECURRENT, ROLES, WIDTH, draw, each, each_recurrent, leaves, make, row, run, same, source
from torch import Tensor

from antiphon.batch import Tokens
from antiphon.nn.cache import KeyValueCache
from antiphon.nn.mixers import Memory, Recurrence
from antiphon.nn.state import MemoryState


@pytest.mark.parametrize("role", ROLES)
@each
def test_padding_changes_nothing_on_either_side_or_within(name: str, role: str) -> None:
    mixer, x, memory = make(name, role), draw(2, 7, WIDTH), source(role)
    plain_out, plain_state = run(mixer, x, row(7), memory), mixer.begin(2, 7, memory)
    for pattern in ([-1, -1], [7, 7], [3, 5]):  # before which tokens padding stands; -1: before the first
        places = sorted([*range(7), *(place - 0.5 for place in pattern)])
        pos = torch.tensor([[int(place) if place >= 0 and place == int(place) else -1 for place in places]])
        padded = draw(2, 9, WIDTH, seed=9)
        padded[:, pos[0] >= 0] = x
        same(run(mixer, padded, Tokens(pos), memory)[:, pos[0] >= 0], plain_out)
        if role == "cross":  # and where the memory is padded
            hidden = torch.zeros(2, 9, WIDTH, dtype=torch.float64)
            hidden[:, pos[0] >= 0] = x
            read, want = Memory(hidden, Tokens(pos)), Memory(x, row(7))
            same(run(mixer, x, row(7), read), run(mixer, x, row(7), want))
        if role == "decoder":
            _, state = mixer(padded, Tokens(pos), mixer.begin(2, 9))
            new = draw(2, 1, WIDTH, seed=5)
            _, plain_state = mixer(x, row(7), mixer.begin(2, 9))
            after, unpadded = (mixer(new, Tokens(torch.tensor([[7]])), each_)[0] for each_ in (state, plain_state))
            same(after, unpadded)


@each_recurrent
def test_padding_leaves_a_memory_as_it_is_bit_by_bit(name: str) -> None:
    mixer, x = make(name, "decoder"), draw(2, 5, WIDTH)
    _, state = mixer(x, row(5), mixer.begin(2, 9))
    before = state.hypothesis["memory"].clone()
    mixer(torch.full((2, 6, WIDTH), torch.nan, dtype=torch.float64), Tokens(torch.full((1, 6), -1)), state)
    assert torch.equal(state.hypothesis["memory"], before)
    single = mixer.begin(2, 9)
    for i, pos in enumerate([-1, 0, -1, -1, 1, 2, 3, 4, -1]):
        token = x[:, pos : pos + 1] if pos >= 0 else draw(2, 1, WIDTH, seed=i)
        mixer(token, Tokens(torch.tensor([[pos]])), single)
    steps = mixer.begin(2, 9)
    for pos in range(5):
        mixer(x[:, pos : pos + 1], Tokens(torch.tensor([[pos]])), steps)
    assert torch.equal(single.hypothesis["memory"], steps.hypothesis["memory"])


@pytest.mark.parametrize("role", ROLES)
@each
def test_rows_of_a_batch_are_rows_alone_with_gradients(name: str, role: str) -> None:
    mixer, lengths = make(name, role), [7, 2, 5]
    x, tokens = draw(3, 7, WIDTH), Tokens.of_lengths(torch.tensor(lengths), 7)
    hidden, read = draw(3, 7, WIDTH, seed=2), Tokens.of_lengths(torch.tensor(lengths[::-1]), 7)
    memory = Memory(hidden * read.valid[..., None], read) if role == "cross" else None
    together = run(mixer, x, tokens, memory)
    alone = []
    for i, length in enumerate(lengths):
        size = lengths[::-1][i]
        own = None if memory is None else Memory(hidden[i : i + 1, :size], row(size))
        alone.append(run(mixer, x[i : i + 1, :length], row(length), own))
        same(together[i, :length], alone[-1][0])
    whole = sum((part.square().sum() for part in alone), torch.zeros((), dtype=torch.float64))
    parameters = list(mixer.parameters())
    one = torch.autograd.grad(together[tokens.valid].square().sum(), parameters)
    for found, wanted in zip(one, torch.autograd.grad(whole, parameters), strict=True):
        same(found, wanted, most=1e-9)


@pytest.mark.parametrize("role", ROLES)
@each
def test_packed_rows_are_rows_alone(name: str, role: str) -> None:
    mixer, x, lengths = make(name, role), draw(1, 12, WIDTH), [5, 1, 4]
    counts, reads = [*lengths, 2], [2, 6, 3]
    pos = torch.tensor([[*(i for length in lengths for i in range(length)), -1, -1]])
    segment = torch.tensor([[1] * 5 + [2] + [3] * 4 + [0, 0]])
    hidden = draw(1, 11, WIDTH, seed=4)
    read = Tokens(
        torch.tensor([[i for length in reads for i in range(length)]]),
        segment=torch.tensor([[1] * 2 + [2] * 6 + [3] * 3]),
    )
    memory = Memory(hidden, read) if role == "cross" else None
    whole = run(mixer, x, Tokens(pos, segment=segment), memory)
    for part, part_of, length, size in zip(x.split(counts, 1), whole.split(counts, 1), lengths, reads, strict=False):
        own = None
        if memory is not None:
            own = Memory(hidden.split(reads, 1)[reads.index(size)], row(size))
        same(part_of, run(mixer, part, row(length), own))


@each
def test_reorder_then_step_is_step_then_reorder(name: str) -> None:
    mixer, x, index = make(name, "decoder"), draw(6, 5, WIDTH), torch.tensor([2, 0, 1, 5, 5, 3])
    new, place, outs = draw(6, 1, WIDTH, seed=8), Tokens(torch.tensor([[5]])), []
    first, second = (mixer(x, row(5), mixer.begin(6, 8))[1] for _ in range(2))
    first.reorder(index)
    outs.append(mixer(new[index], place.fresh(), first)[0])
    found = mixer(new, place.fresh(), second)[0]
    second.reorder(index)
    same(outs[0], found[index])
    for one, other in zip(leaves(first), leaves(second), strict=True):
        same(one, other)
    for state in (first, second):
        state.drop(torch.tensor([2, 0]), 2)  # two hypotheses a source
    assert all(leaf.shape[0] in (1, 4) for leaf in leaves(first))
    fresh = mixer(x[:2], row(5), mixer.begin(2, 8))[1]
    first.write(torch.tensor([1]), fresh, 2)
    for mine, theirs in zip(leaves(first), leaves(fresh), strict=True):
        assert torch.equal(mine[2:], theirs)


@each
def test_nothing_outside_what_is_used_is_read(name: str) -> None:
    mixer, x = make(name, "decoder"), draw(2, 4, WIDTH)
    clean, spoilt = (mixer(x, row(4), mixer.begin(2, 9))[1] for _ in range(2))
    if isinstance(spoilt, KeyValueCache):
        for leaf in spoilt.hypothesis.values():
            leaf[:, :, 5:] = torch.nan
    outs = [mixer(draw(2, 1, WIDTH), Tokens(torch.tensor([[4]])), state)[0] for state in (clean, spoilt)]
    assert torch.equal(*outs) and outs[0].isfinite().all()
    if isinstance(mixer, Recurrence):  # which has no slots, but padding
        padded = torch.full((2, 6, WIDTH), torch.nan, dtype=torch.float64)
        padded[:, 1:5] = x
        same(run(mixer, padded, Tokens(torch.tensor([[-1, 0, 1, 2, 3, -1]])))[:, 1:5], run(mixer, x, row(4)))


@pytest.mark.parametrize("role", ["encoder", "decoder"])
@each_recurrent
def test_training_memory_is_linear_in_length(name: str, role: str) -> None:
    mixer, kept = make(name, role, chunk=16), []
    for length in (256, 512, 1024):
        seen: dict[int, int] = {}

        def keep(tensor: Tensor, seen: dict[int, int] = seen) -> Tensor:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            out = run(mixer, draw(1, length, WIDTH).requires_grad_(), row(length))
        kept.append(sum(seen.values()))
        del out
    assert kept[2] - kept[1] < 2.05 * (kept[1] - kept[0]), kept


@each_recurrent
def test_a_decoders_memory_is_of_one_size_and_wide(name: str) -> None:
    mixer = make(name, "decoder").to(torch.bfloat16)
    sizes = [mixer.begin(2, capacity).hypothesis["memory"] for capacity in (8, 8192)]
    assert sizes[0].shape == sizes[1].shape and sizes[0].dtype == torch.float32
    assert make(name, "decoder").begin(2, 8).hypothesis["memory"].dtype == torch.float64
    out, state = mixer(draw(2, 5, WIDTH).bfloat16(), row(5), mixer.begin(2, 8))
    assert out.dtype == torch.bfloat16 and out.isfinite().all()
    assert state.hypothesis["memory"].dtype == torch.float32


def test_a_state_of_a_memory_is_computed_once_a_source() -> None:
    for name in RECURRENT:
        state = make(name, "cross").begin(4, 0, source("cross"))
        assert isinstance(state, MemoryState) and state.source["memory"].shape[0] == 2
