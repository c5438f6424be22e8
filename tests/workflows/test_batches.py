"""Batches for a loop of one's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from models.hand_made import PAIRS, by_hand, tokenizer
from workflows.test_fine_tuning import BART, published

import antiphon
from antiphon.batch import Batch
from antiphon.errors import AntiphonError, ConfigError, DataError
from antiphon.text import Tokenizer, train_tokenizer
from antiphon.workflows.batches import BatchLoader, batches

MANY = [(" ".join(["in 3 hours"] * (1 + i % 5)) + f" {i}", " ".join(["Stunden"] * (1 + i % 7)) + f" {i}") for i in range(90)]  # fmt: skip  # noqa: E501


def order(loader: BatchLoader) -> list[list[int]]:
    """The pairs of each batch of the next pass."""
    return [batch.index.tolist() for batch in loader]


def test_every_pair_comes_once_in_each_pass_and_in_another_order() -> None:
    loader = batches(MANY, tokenizer(), batch_tokens=200)
    passes = [order(loader) for _ in range(3)]
    for each in passes:
        assert sorted(index for batch in each for index in batch) == list(range(90))
    assert len({json.dumps(each) for each in passes}) == 3
    assert loader.epoch == 3


def test_a_batch_holds_the_ids_of_its_pairs() -> None:
    for batch in batches(MANY, tokenizer(), batch_tokens=200):
        assert max(batch.source.numel(), batch.labels.numel()) <= 200
        for row, index in enumerate(batch.index.tolist()):
            source, target = (tokenizer().encode(text) for text in MANY[index])
            assert batch.source[row][batch.source_tokens.valid[row]].tolist() == source
            assert batch.labels[row][batch.label_mask[row]].tolist() == target
            assert batch.target_ids[row][batch.target_tokens.valid[row]].tolist() == [
                tokenizer().start_id,
                *target[:-1],
            ]
            assert batch.source[row][len(source) :].eq(tokenizer().pad_id).all()
        assert torch.equal(batch.labels.flatten()[batch.label_places], batch.labels[batch.label_mask])


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    first = [order(loader) for loader in [batches(MANY, tokenizer(), batch_tokens=200)] for _ in range(4)]
    again = batches(MANY, tokenizer(), batch_tokens=200)
    again.epoch = 2
    assert order(again) == first[2] and again.epoch == 3 and order(again) == first[3]
    assert order(batches(MANY, tokenizer(), batch_tokens=200, seed=1)) != first[0]
    torch.manual_seed(5)
    assert order(batches(MANY, tokenizer(), batch_tokens=200)) == first[0], "the global generator has no part in it"


def test_without_shuffle_the_pairs_stand_in_their_order() -> None:
    loader = batches(MANY, tokenizer(), batch_tokens=200, shuffle=False)
    assert [index for batch in order(loader) for index in batch] == list(range(90))
    assert order(loader) == order(loader)


@pytest.mark.parametrize("batch_tokens", [60, 100, 200, 4096])
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_pass_has_as_many_batches_as_len_says(batch_tokens: int, shuffle: bool) -> None:
    loader = batches(MANY, tokenizer(), batch_tokens=batch_tokens, shuffle=shuffle)
    said = [len(loader)]
    for _ in range(8):
        made = sum(1 for _ in loader)
        assert made == said[-1]
        said.append(len(loader))
    assert len(set(said)) == 1, "a schedule over epochs * len(loader) steps needs passes of one length"


def test_a_schedule_of_torch_over_all_passes() -> None:
    network = by_hand(["full"])
    loader = batches(MANY, tokenizer(), batch_tokens=300)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, epochs=4, steps_per_epoch=len(loader))
    for _ in range(4):
        for batch in loader:
            optimizer.zero_grad()
            network(batch).backward()
            optimizer.step()
            schedule.step()
    with pytest.raises(ValueError, match=r"Tried to step"):
        schedule.step()
        schedule.step()


def test_len_in_the_middle_of_a_pass_leaves_the_pass_as_it_is() -> None:
    loader = batches(MANY, tokenizer(), batch_tokens=200)
    expected, found = order(batches(MANY, tokenizer(), batch_tokens=200)), []
    for batch in loader:
        assert len(loader) == len(expected)
        found.append(batch.index.tolist())
    assert found == expected


def test_two_passes_at_once_do_not_disturb_each_other() -> None:
    loader, other = (batches(MANY, tokenizer(), batch_tokens=200) for _ in range(2))
    expected = order(other), order(other)
    found: tuple[list[list[int]], list[list[int]]] = ([], [])
    for one, two in zip(loader, loader, strict=True):
        found[0].append(one.index.tolist())
        found[1].append(two.index.tolist())
    assert found == expected


def test_a_pass_that_is_left_early_is_followed_by_a_whole_one() -> None:
    loader, other = (batches(MANY, tokenizer(), batch_tokens=200) for _ in range(2))
    for number, _ in enumerate(loader):
        if number == 1:
            break
    order(other)
    assert order(loader) == order(other)
    assert loader.epoch == 2


def test_two_tokenizers() -> None:
    target = train_tokenizer([pair[1] for pair in PAIRS], kind="characters", vocab_size=300)
    expected = next(iter(batches(PAIRS, tokenizer(), target, shuffle=False)))
    assert expected.labels[2][expected.label_mask[2]].tolist() == target.encode("gestern")
    assert expected.source[2][expected.source_tokens.valid[2]].tolist() == tokenizer().encode("yesterday")
    for pair in ((tokenizer(), target), [tokenizer(), target]):
        found = next(iter(batches(PAIRS, pair, shuffle=False)))
        assert torch.equal(found.labels, expected.labels) and torch.equal(found.source, expected.source)


def test_the_start_of_a_pretrained_model(tmp_path: Path) -> None:
    folder = published(tmp_path / "published", "bart", {**BART, "decoder_start_token_id": 2})
    model = antiphon.load(folder, device="cpu")
    batch = next(iter(batches([("in 3 hours", "hours"), ("in", "3 in 3")], model, shuffle=False)))
    assert model.special_tokens.start == 2 != tokenizer().start_id
    assert batch.target_ids[:, 0].tolist() == [2, 2]
    assert batch.source[1, -1] == model.special_tokens.pad
    for row, text in enumerate(("hours", "3 in 3")):
        labels = batch.labels[row][batch.label_mask[row]].tolist()
        assert labels[-1] == model.special_tokens.end and model.tokenizer.decode(labels) == text
    summed = -float(model.network.eval()(batch).detach()) * int(batch.label_mask.sum())
    assert sum(model.score(["in 3 hours", "in"], ["hours", "3 in 3"])) == pytest.approx(summed, abs=1e-3)


def test_the_model_of_hand_made_parts_gives_its_tokenizers() -> None:
    model = antiphon.Model(by_hand(), tokenizer())
    found, expected = (next(iter(batches(PAIRS, each))) for each in (model, tokenizer()))
    assert torch.equal(found.labels, expected.labels) and torch.equal(found.target_ids, expected.target_ids)


LONG = [*PAIRS, ("in 3 hours " * 20, "in 3 Stunden"), ("in 3 hours", "in 3 Stunden " * 20)]


def test_a_longer_source_may_be_read_in_windows() -> None:
    (batch,) = batches(LONG[:-1], tokenizer(), max_length=20, overflow="window")
    assert batch.source.shape[1] > 20
    assert by_hand(["full"], max_length=20)(batch).isfinite()


def test_a_side_that_is_too_long() -> None:
    with pytest.raises(DataError) as error:
        batches(LONG, tokenizer(), max_length=20)
    assert "20" in str(error.value) and "\n" not in str(error.value)
    assert "`max_length`" in str(error.value) and "data." not in str(error.value)
    (kept,) = order(batches(LONG, tokenizer(), max_length=20, overflow="skip"))
    assert sorted(kept) == list(range(6))
    (cut,) = batches(LONG, tokenizer(), max_length=20, overflow="truncate", shuffle=False)
    assert len(cut.index) == 8 and cut.source.shape[1] == cut.labels.shape[1] == 20
    assert cut.source[6, -1] == tokenizer().end_id == cut.labels[7, -1]
    with pytest.raises(
        AntiphonError, match=r"2 skipped as too long. Raise `max_length`, or set `overflow` to truncate"
    ):
        batches(LONG[-2:], tokenizer(), max_length=20, overflow="skip")


def test_a_pair_that_no_batch_can_hold_is_named_with_both_numbers() -> None:
    with pytest.raises(DataError, match=r"batch_tokens.*but is 20"):
        batches(LONG, tokenizer(), batch_tokens=20)


def pairs_of_a_generator() -> Iterator[tuple[str, str]]:
    yield from PAIRS


@pytest.mark.parametrize(
    "make",
    [
        pairs_of_a_generator,
        lambda: [list(pair) for pair in PAIRS],
        lambda: tuple(PAIRS),
        lambda: zip(*zip(*PAIRS, strict=True), strict=True),
        lambda: [{"source": source, "target": target} for source, target in PAIRS],
        lambda: iter([{"source": source, "target": target} for source, target in PAIRS]),
        lambda: dict(PAIRS).items(),
    ],
)
def test_pairs_in_all_forms(make: Any) -> None:
    found, expected = (batches(pairs, tokenizer(), shuffle=False) for pairs in (make(), PAIRS))
    for _ in range(2):
        one, other = next(iter(found)), next(iter(expected))
        assert torch.equal(one.source, other.source) and torch.equal(one.labels, other.labels)


@pytest.mark.parametrize("suffix", ["tsv", "jsonl"])
def test_pairs_of_a_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pairs.{suffix}"
    lines = ["\t".join(pair) if suffix == "tsv" else json.dumps(dict(zip(("source", "target"), pair, strict=True))) for pair in PAIRS]  # fmt: skip  # noqa: E501
    path.write_text("\n".join(lines) + "\n")
    expected = next(iter(batches(PAIRS, tokenizer(), shuffle=False)))
    for named in ({"path": str(path)}, {"path": path}):
        found = next(iter(batches(named, tokenizer(), shuffle=False)))
        assert torch.equal(found.source, expected.source) and torch.equal(found.labels, expected.labels)


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([], "pair.*empty"),
        (iter([]), "pair.*empty"),
        ([("a",)], "pair|two"),
        ([("a", "b", "c")], "pair|two"),
        (["just a text", "another"], "just a text"),
        ([("a", 3)], "3"),
        ([("a", None)], "target|None|null"),
        ([("a", "")], "empty|no pair|left"),
        ({"path": "nowhere.tsv"}, "nowhere.tsv"),
        ("pairs.tsv", "`pairs`.*path.*pairs.tsv"),
        ({}, "`pairs`.*empty"),
        ({"pth": "pairs.tsv"}, "`pairs.pth`.*`path`"),
        (7, "`pairs`.*7"),
        (None, "`pairs`.*is empty"),
    ],
)
def test_pairs_that_are_none_are_named_in_one_line(pairs: Any, words: str) -> None:
    with pytest.raises(AntiphonError, match=words) as error:
        batches(pairs, tokenizer())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch_tokens": 0}, "`batch_tokens`.*0"),
        ({"batch_tokens": 10.5}, "`batch_tokens`.*10.5"),
        ({"batch_tokens": True}, "`batch_tokens`.*(True|true)"),
        ({"max_length": 0}, "`max_length`.*0"),
        ({"max_length": "long"}, "`max_length`.*long"),
        ({"overflow": "split"}, "`overflow`.*split"),
        ({"seed": "x"}, "`seed`.*x"),
        ({"seed": None}, "`seed`"),
        ({"shuffle": "no"}, "`shuffle`.*no"),
    ],
)
def test_settings_that_make_no_sense_are_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        batches(PAIRS, tokenizer(), **settings)


@pytest.mark.parametrize("given", ["bert", None, [], [None], [1, 2, 3], by_hand])
def test_what_is_no_tokenizer_is_named(given: Any) -> None:
    with pytest.raises(AntiphonError, match=r"tokenizer"):
        batches(PAIRS, given)


def test_a_model_beside_a_second_tokenizer_is_refused() -> None:
    with pytest.raises(AntiphonError, match=r"`target_tokenizer`"):
        batches(PAIRS, antiphon.Model(by_hand(), tokenizer()), tokenizer())


def test_a_pass_number_that_is_none_is_refused() -> None:
    loader = batches(PAIRS, tokenizer())
    for wrong in (-1, "2", 1.5):
        loader.epoch = wrong  # type: ignore[assignment]
        with pytest.raises(ConfigError, match=r"`epoch`"):
            next(iter(loader))


def test_it_is_what_antiphon_exports() -> None:
    assert antiphon.batches is batches
    assert isinstance(next(iter(antiphon.batches(PAIRS, tokenizer()))), Batch) and isinstance(tokenizer(), Tokenizer)
