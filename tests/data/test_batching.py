"""The order of batches: a pure function of (seed, epoch, position), within the budget, each example once an epoch."""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import torch
from corpora import TASK, TOP, bytes_tokenizer, streamed
from counts import count

from antiphon.batch import Example, collate
from antiphon.config import SourceConfig
from antiphon.data import Batches, InMemory, length_batches, load_corpus, padding_waste
from antiphon.errors import ConfigError, DataError

BUDGET = 200


def corpus(*, seed: int = 0, size: int = 300, longest: int = 40) -> InMemory:
    """Pairs of random lengths; each holds its own number, so that examples can be told apart."""
    chance = random.Random(seed)
    rows = [(chance.randint(1, longest), chance.randint(1, longest)) for _ in range(size)]
    return InMemory(Example([i] * source, [i] * target, i) for i, (source, target) in enumerate(rows))


@pytest.fixture(params=["memory", "streamed"])
def any_corpus(request: pytest.FixtureRequest, tmp_path: Path) -> object:
    return corpus() if request.param == "memory" else streamed(tmp_path, pool_tokens=2000)


def epoch_of(batches: Batches) -> list[list[Example]]:
    """The rest of the epoch."""
    found, now = [], batches.epoch
    while batches.epoch == now:
        found.append(next(batches))
    return found


def test_each_example_exactly_once_an_epoch_and_never_over_the_budget(any_corpus) -> None:
    batches = Batches(any_corpus, batch_tokens=BUDGET, seed=3)
    everything = {
        example.index: example
        for pool in any_corpus.pools(TOP, seed=0, epoch=0, first=1.0)
        for example in pool.examples
    }
    orders = []
    for number in range(3):
        assert batches.epoch == number and batches.position == 0
        found = epoch_of(batches)
        assert Counter(example.index for batch in found for example in batch) == Counter(everything.keys())
        assert all(example == everything[example.index] for batch in found for example in batch)
        for batch in found:
            tensors = collate(batch, pad_id=0, start_id=1)
            assert tensors.source.numel() <= BUDGET and tensors.target_ids.numel() <= BUDGET
        orders.append([[example.index for example in batch] for batch in found])
    assert orders[0] != orders[1] != orders[2]
    assert {frozenset(batch) for batch in orders[0]} != {frozenset(batch) for batch in orders[1]}  # others meet


def test_the_order_follows_from_the_seed(any_corpus) -> None:
    def first(seed: int) -> list[list[Example]]:
        return list(islice(Batches(any_corpus, batch_tokens=BUDGET, seed=seed), 60))

    random.seed(1)
    once = first(0)
    random.seed(2)  # the global state plays no part
    assert once == first(0)
    assert once != first(1)


def test_saved_and_restored_anywhere_is_uninterrupted(any_corpus) -> None:
    whole = list(islice(Batches(any_corpus, batch_tokens=BUDGET, seed=7), 200))
    chance = random.Random(0)
    for _ in range(count("data_order")):
        place = chance.randrange(150)
        batches = Batches(any_corpus, batch_tokens=BUDGET, seed=7)
        for _ in islice(batches, place):
            pass
        state = json.loads(json.dumps(batches.state()))
        other = Batches(any_corpus, batch_tokens=BUDGET, seed=7)
        for _ in islice(other, chance.randrange(40)):  # wherever it stood before
            pass
        other.restore(state)
        assert (other.epoch, other.position) == (batches.epoch, batches.position)
        # and a second time, from a state taken after a restore
        between = chance.randrange(20)
        assert list(islice(other, between)) == whole[place : place + between]
        again = Batches(any_corpus, batch_tokens=BUDGET, seed=7)
        again.restore(other.state())
        assert list(islice(again, 20)) == whole[place + between : place + between + 20]


def test_epoch_and_position_count_what_was_given() -> None:
    batches = Batches(corpus(), batch_tokens=BUDGET, seed=0)
    size = batches.batches_per_epoch
    assert size is not None
    for number in range(2 * size + 3):
        assert (batches.epoch, batches.position) == divmod(number, size)
        next(batches)
        size = batches.batches_per_epoch if number + 1 == 2 * size else size


def test_without_shuffling_the_order_is_the_corpus(any_corpus) -> None:
    batches = Batches(any_corpus, batch_tokens=BUDGET, seed=0, shuffle=False)
    found = [example.index for batch in epoch_of(batches) for example in batch]
    pools = any_corpus.pools(TOP, seed=0, epoch=0, first=1.0)
    assert found == [example.index for pool in pools for example in pool.examples]
    assert sorted(found) == list(range(len(found)))


def test_an_example_over_the_budget_names_both_numbers_and_the_remedy(tmp_path: Path) -> None:
    long = corpus()
    long.append([1] * 300, [1] * 5)
    for seed in range(2):
        with pytest.raises(DataError) as caught:
            Batches(long, batch_tokens=299, seed=seed)
        text = str(caught.value)
        assert "`batch_tokens` must be at least the longest example (300), but is 299 (pairs[300])." in text
        assert "`data.max_length`" in text
    assert len(epoch_of(Batches(long, batch_tokens=300, seed=0))) > 1
    stream = streamed(tmp_path)
    with pytest.raises(DataError, match=r"longest example \(\d+\), but is 3 \(.*x\.en:\d+\)"):
        Batches(stream, batch_tokens=3, seed=0)


def test_a_position_of_another_order_is_refused() -> None:
    state = Batches(corpus(), batch_tokens=BUDGET, seed=0).state()
    with pytest.raises(ConfigError, match=r"`training.seed` must be 0, .* but is 1"):
        Batches(corpus(), batch_tokens=BUDGET, seed=1).restore(state)
    with pytest.raises(ConfigError, match=r"`training.batch_tokens` must be 200, .* but is 100"):
        Batches(corpus(), batch_tokens=100, seed=0).restore(state)
    last = {**state, "next": 60}
    with pytest.raises(DataError, match="as it was when the position was saved"):
        Batches(corpus(size=20), batch_tokens=BUDGET, seed=0).restore(last)


def test_a_changed_file_is_refused_by_name(tmp_path: Path) -> None:
    def load(streaming: str) -> Batches:
        data = (SourceConfig(path=str(tmp_path / "x.tsv")), SourceConfig(path=str(tmp_path / "y.tsv")))
        one = bytes_tokenizer()
        made = load_corpus(
            data, task=TASK, source_tokenizer=one, target_tokenizer=one, max_length=99, streaming=streaming
        )
        return Batches(made, batch_tokens=BUDGET, seed=0)

    text = "".join(f"{number}\t{number}\n" for number in range(50))
    (tmp_path / "x.tsv").write_text(text)
    for streaming in ("never", "always"):
        (tmp_path / "y.tsv").write_text(text)
        state = json.loads(json.dumps(load(streaming).state()))
        load(streaming).restore(state)
        for changed, words in {
            text + "50\t50\n": f"y.tsv` had {len(text)} bytes and has {len(text) + 6}. Put it back",
            text.replace("25\t25", "25\t26"): "y.tsv` holds other text of the same length. Put it back",
        }.items():
            (tmp_path / "y.tsv").write_text(changed)
            with pytest.raises(DataError) as caught:
                load(streaming).restore(state)
            assert words in str(caught.value) and "\n" not in str(caught.value)
        (tmp_path / "y.tsv").write_text(text)
        load(streaming).restore(state)  # a copy of another date serves as well
    older = {key: value for key, value in state.items() if key != "files"}
    load("always").restore(older)


def test_padding_waste_is_what_the_tensors_hold() -> None:
    batches = Batches(corpus(), batch_tokens=1000, seed=0)
    found = epoch_of(batches)
    real = positions = 0
    for batch in found:
        tensors = collate(batch, pad_id=0, start_id=1)
        for tokens in (tensors.source_tokens, tensors.target_tokens):
            real += int(tokens.valid.sum())
            positions += tokens.valid.numel()
    assert padding_waste(found) == pytest.approx(1 - real / positions, abs=1e-12)
    assert padding_waste([]) == 0.0
    assert padding_waste([[Example([1], [1, 1], 0), Example([1, 1, 1], [1, 1], 1)]]) == pytest.approx(2 / 10)


def test_sorting_saves_padding() -> None:
    # Lengths that go together, as those of translations do.
    chance = random.Random(0)
    sizes = [chance.randint(2, 60) for _ in range(2000)]
    pairs = InMemory(Example([1] * size, [1] * max(1, size + chance.randint(-2, 2)), 0) for size in sizes)
    shuffled = padding_waste(epoch_of(Batches(pairs, batch_tokens=2000, seed=0)))
    as_it_is = padding_waste(epoch_of(Batches(pairs, batch_tokens=2000, seed=0, shuffle=False)))
    assert shuffled < 0.06 < 0.3 < as_it_is


def test_length_batches_is_one_pass_in_the_order_of_lengths() -> None:
    examples = list(corpus())
    found = list(length_batches(examples, batch_tokens=BUDGET))
    assert sorted(example.index for batch in found for example in batch) == list(range(300))
    longest = [max(len(example.source), len(example.target)) for batch in found for example in batch]
    assert longest == sorted(longest)
    assert all(len(batch) * max(len(x.source) for x in batch) <= BUDGET for batch in found)
    assert all(len(batch) * max(len(x.target) for x in batch) <= BUDGET for batch in found)
    assert list(length_batches([], batch_tokens=5)) == []


def test_sources_that_are_features_are_batched_as_ids_are() -> None:
    chance = random.Random(4)
    sizes = [(chance.randint(1, 30), chance.randint(1, 30)) for _ in range(50)]
    features = [torch.rand(frames, 3) for frames, _ in sizes]
    rows = InMemory(Example(row, [1] * size, i) for i, (row, (_, size)) in enumerate(zip(features, sizes, strict=True)))
    ids = InMemory(Example([1] * frames, [1] * size, i) for i, (frames, size) in enumerate(sizes))
    assert (len(rows), rows.tokens, rows.lengths(7)) == (50, ids.tokens, sizes[7])
    found, wanted = (epoch_of(Batches(held, batch_tokens=BUDGET, seed=1)) for held in (rows, ids))
    assert [[example.index for example in batch] for batch in found] == [[e.index for e in batch] for batch in wanted]
    for batch in found:
        whole = collate(batch, pad_id=0, start_id=1)
        for place, example in enumerate(batch):
            assert torch.equal(whole.source[place, whole.source_tokens.valid[place]], features[example.index])
    with pytest.raises(TypeError, match="must all be features"):
        rows.append([1, 2], [3])
    with pytest.raises(TypeError, match="must all be ids"):
        ids.append(features[0], [3])
