"""Sources of many files: patterns, lists, each row once, the order of an epoch and how well it is mixed, readers."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from corpora import TASK, bytes_tokenizer

from antiphon.config import DataConfig, SourceConfig
from antiphon.data import Batches, DataProfile, InMemory, Mixture, Streamed, load_corpus, load_filters, load_objectives
from antiphon.data.epochs.drawing import deal_shards, interleave, split_size
from antiphon.data.fingerprint import fingerprints, refuse_changes
from antiphon.data.shards import expand, shards
from antiphon.data.sources import check_files, records
from antiphon.errors import DataError, ReadError
from antiphon.registry import register, unregister
from antiphon.text import Tokenizer, make_sampler, train_tokenizer

SHARDS, ROWS = 10, 60


def row(number: int) -> dict[str, str]:
    return {"source": f"row {number} " + "a " * (number * 7 % 9), "target": f"Zeile {number}"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten shards of sixty rows in JSON lines, in aligned text and as plain text, and one file of them all."""
    made = tmp_path_factory.mktemp("shards")
    rows = [row(number) for number in range(SHARDS * ROWS)]
    (made / "all.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    for shard in range(SHARDS):
        own = rows[shard * ROWS : shard * ROWS + ROWS]
        (made / f"t-{shard:02}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in own))
        (made / f"t-{shard:02}.en").write_text("".join(f"{one['source'].strip()}\n" for one in own))
        (made / f"t-{shard:02}.de").write_text("".join(f"{one['target']}\n" for one in own))
    return made


def corpus(data: object, *, workers: int = 0, open_shards: int = 4, streaming: str = "always", **known: Any) -> Any:
    one = known.pop("tokenizer", None) or bytes_tokenizer()
    settings = {name: known.pop(name) for name in ("filters", "temperature") if name in known}
    config = DataConfig(train=data, workers=workers, open_shards=open_shards, **settings)
    made = load_corpus(
        config.train, task=TASK, source_tokenizer=one, target_tokenizer=one, max_length=60, overflow="skip",
        streaming=streaming, filters=load_filters(config.filters), shares=config.shares, open_shards=open_shards,
        workers=workers, **known,
    )  # fmt: skip
    if isinstance(made, Streamed):
        made.pool_tokens = 5000
    return made


def ids(batch: list[Any]) -> list[tuple[int, list[int], list[int]]]:
    return [(one.index, list(one.source), list(one.target)) for one in batch]


def epoch(made: InMemory | Streamed, number: int, *, seed: int = 0) -> list[list[tuple[int, list[int], list[int]]]]:
    batches = Batches(made, batch_tokens=600, seed=seed, epoch=number)
    found = []
    while batches.epoch == number:
        found.append(ids(next(batches)))
    return found


# Names.


def test_patterns_and_lists(folder: Path) -> None:
    names = [f"{folder}/t-{shard:02}.jsonl" for shard in range(SHARDS)]
    assert expand(f"{folder}/t-*.jsonl") == names
    assert [one.path for one in shards(SourceConfig(path=[f"{folder}/t-0?.jsonl", f"{folder}/t-0[13].jsonl"]))] == [
        *names, names[1], names[3],
    ]  # fmt: skip
    pairs = shards(SourceConfig(source=f"{folder}/t-*.en", target=f"{folder}/t-*.de"))
    assert [(one.source, one.target) for one in pairs] == [
        (name.replace("jsonl", "en"), name.replace("jsonl", "de")) for name in names
    ]
    with pytest.raises(DataError, match=r"a pattern must name at least one file, but `.*x-\*\.jsonl` names none"):
        check_files(SourceConfig(path=f"{folder}/x-*.jsonl"))
    with pytest.raises(DataError, match="`source` and `target` must name as many files each, but name 10 and 1"):
        check_files(SourceConfig(source=f"{folder}/t-*.en", target=f"{folder}/t-00.de"))


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    file = tmp_path / "a[1].tsv"
    file.write_text("one\teins\n")
    assert expand(str(file)) == [str(file)]
    assert [pair[:2] for pair in records(SourceConfig(path=str(file)), TASK)] == [("one", "eins")]


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(ValueError, match="`path` must be a file or a list of them, but is an empty list"):
        SourceConfig(path=[])


def test_a_faulty_shard_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "0.jsonl").write_text((folder / "t-00.jsonl").read_text())
    (tmp_path / "1.jsonl").write_text((folder / "t-01.jsonl").read_text() + "{no json\n")
    with pytest.raises(DataError, match=r"1\.jsonl:61"):
        list(records(SourceConfig(path=f"{tmp_path}/*.jsonl"), TASK))
    (tmp_path / "2.jsonl").write_text("")
    with pytest.raises(DataError, match=r"`.*2\.jsonl` is empty"):
        check_files(SourceConfig(path=f"{tmp_path}/*.jsonl"))


def test_a_changed_list_of_shards_is_not_resumed(folder: Path) -> None:
    before = fingerprints(SourceConfig(path=f"{folder}/t-*.jsonl"))
    with pytest.raises(DataError, match=r"but `.*t-09\.jsonl` is no longer among it"):
        refuse_changes(before, fingerprints(SourceConfig(path=f"{folder}/t-0[0-8].jsonl")))


# The order.


@pytest.mark.parametrize("open_shards", [1, 3, 8, 50])
@pytest.mark.parametrize("kind", ["jsonl", "text"])
def test_each_row_once_in_another_order_in_each_epoch(folder: Path, open_shards: int, kind: str) -> None:
    data = {"path": f"{folder}/t-*.jsonl"}
    if kind == "text":
        data = {"source": f"{folder}/t-*.en", "target": f"{folder}/t-*.de"}
    made = corpus(data, open_shards=open_shards)
    found = [epoch(made, number) for number in (0, 1)]
    flat = [[one for batch in batches for one in batch] for batches in found]
    wanted = {f"Zeile {number}" for number in range(SHARDS * ROWS)}
    for one in flat:
        assert len(one) == len(wanted) and len({index for index, _, _ in one}) == len(wanted)
        assert {bytes_tokenizer().decode(target) for _, _, target in one} == wanted
    assert [index for index, _, _ in flat[0]] != [index for index, _, _ in flat[1]]
    assert epoch(corpus(data, open_shards=open_shards), 1) == found[1], "no pure function of the position"
    assert epoch(made, 0, seed=1) != found[0]


def test_shares_over_shards_are_the_same_in_memory(folder: Path) -> None:
    data = [
        {"path": f"{folder}/t-0[0-3].jsonl", "weight": 1},
        {"source": f"{folder}/t-0[4-9].en", "target": f"{folder}/t-0[4-9].de", "weight": 6},
    ]
    filters = [{"length": {"max": 9}}, "duplicates"]
    one, other = (corpus(data, streaming=how, filters=filters) for how in ("always", "never"))
    assert isinstance(one, Streamed) and isinstance(other, InMemory)
    for number in (0, 1):
        first, second = (
            Counter((index, tuple(source)) for batch in epoch(made, number) for index, source, _ in batch)
            for made in (one, other)
        )
        assert first == second and max(first.values()) > 1
    assert one.mixture.counts is not None
    sizes = [sum(plan.size for plan in one.mixture.streams(seed=0, epoch=0) if plan.source == n) for n in (0, 1)]
    assert sizes == one.mixture.sizes() and sum(sizes) == sum(one.mixture.counts)


def test_streams_are_dealt_each_shard_once() -> None:
    for count, open_shards in [(1, 8), (7, 3), (100, 8)]:
        dealt = deal_shards(count, open_shards, "0 0")
        assert sorted(shard for own in dealt for shard in own) == list(range(count))
        assert len(dealt) == min(count, open_shards) and len({len(own) for own in dealt}) <= 2
    assert (
        split_size(10, [1, 1, 1]) == [4, 3, 3] and split_size(5, [2, 3]) == [2, 3] and split_size(4, [0, 3]) == [0, 4]
    )


class One:
    def __init__(self, stream: int, taken: int) -> None:
        self.stream, self.taken = stream, taken


@pytest.mark.parametrize("sizes", [[3, 9, 1], [float("inf")] * 3, [5, 0, 5]])
def test_interleaving_resumes_anywhere(sizes: list[float]) -> None:
    lengths = [int(min(size, 6 - 2 * number if size == float("inf") else size)) for number, size in enumerate(sizes)]

    def streams(after: list[int]) -> list[Iterator[One]]:
        return [iter([One(n, t + 1) for t in range(after[n], length)]) for n, length in enumerate(lengths)]

    whole = [(one.stream, one.taken) for one in interleave(streams([0, 0, 0]), [0, 0, 0], sizes)]
    assert Counter(stream for stream, _ in whole) == Counter({n: length for n, length in enumerate(lengths) if length})
    for place in range(len(whole)):
        taken = [max([t for s, t in whole[:place] if s == n], default=0) for n in range(3)]
        assert [(one.stream, one.taken) for one in interleave(streams(taken), taken, sizes)] == whole[place:]


def test_rows_are_mixed_nearly_as_by_a_full_shuffle(folder: Path) -> None:
    """As in docs/data-at-scale.md, at a small size: a row moves about as far, and neighbours meet about as seldom."""
    made = corpus({"path": f"{folder}/t-*.jsonl"}, open_shards=5)
    count = SHARDS * ROWS

    def figures(batches: list[list[int]]) -> tuple[float, float]:
        place = {index: number for number, index in enumerate(index for batch in batches for index in batch)}
        order = sorted(place)
        moved = sum(abs(place[index] - number) for number, index in enumerate(order)) / count**2
        batch = {index: number for number, one in enumerate(batches) for index in one}
        together = sum(batch[one] == batch[other] for one, other in pairwise(order)) / count
        return moved, together

    ours = [figures([[index for index, _, _ in batch] for batch in epoch(made, number)]) for number in range(6)]
    sizes = [len(batch) for batch in epoch(made, 0)]
    chance, full = random.Random(0), []
    for _ in range(6):
        order = iter(chance.sample(range(count), count))
        full.append(figures([list(islice(order, size)) for size in sizes]))
    moved, together = (sum(one[place] for one in ours) / 6 for place in (0, 1))
    assert moved > 0.85 * sum(one[0] for one in full) / 6
    assert together < 0.15


# Readers.


MIXES: dict[str, dict[str, Any]] = {
    "one file": {"data": {"path": "all.jsonl"}, "filters": [{"ratio": {"most": 9, "unit": "characters"}}]},
    "shards": {"data": {"path": "t-*.jsonl"}, "filters": [{"length": {"max": 9}}]},
    "mixed": {
        "data": [{"path": "t-*.jsonl", "weight": 1, "tag": "x"}, {"path": "all.jsonl", "weight": 3}],
        "filters": ["duplicates"],
    },
    "plain text": {"data": {"text": "t-*.en", "objective": "span_corruption"}},
}


def placed(data: Any, folder: Path) -> Any:
    if isinstance(data, list):
        return [placed(one, folder) for one in data]
    return {key: f"{folder}/{value}" if key in ("path", "text") else value for key, value in data.items()}


@pytest.mark.parametrize("mix", MIXES)
def test_readers_change_no_bit(folder: Path, mix: str) -> None:
    known = {**MIXES[mix], "data": placed(MIXES[mix]["data"], folder)}
    data, filters = known["data"], known.get("filters")
    tokenizer: Tokenizer = train_tokenizer(
        [one[side] for one in map(row, range(300)) for side in one], vocab_size=300, special_tokens=denoising_tokens()
    )
    settings: dict[str, Any] = {"filters": filters, "tokenizer": tokenizer}
    if mix == "shards":
        settings["samplers"] = (make_sampler(tokenizer, dropout=0.3), None)
    if mix == "plain text":
        settings["objectives"] = load_objectives(DataConfig(train=data).train, folder=None)
    profiles = [DataProfile(), DataProfile(), DataProfile()]
    made = [
        corpus(data, workers=workers, profile=profile, **settings)
        for workers, profile in zip((0, 1, 6), profiles, strict=True)
    ]
    found, states = [], []
    for one in made:
        batches, steps, own = Batches(one, batch_tokens=600, seed=5), [], []
        while batches.epoch < 2:
            own.append(json.loads(json.dumps(batches.state())))
            steps.append(ids(next(batches)))
        found.append(steps)
        states.append(own)
    assert found[0] == found[1] == found[2] and states[0] == states[1] == states[2]
    assert profiles[0].words == profiles[1].words == profiles[2].words and profiles[0].pairs > 100
    assert list(profiles[0].source_lengths) == list(profiles[2].source_lengths)
    for place, one in ((3, made[2]), (len(found[0]) - 2, made[1]), (len(found[0]) // 2, made[0])):
        again = Batches(one, batch_tokens=600, seed=5)
        again.restore(states[0][place])
        assert [ids(batch) for batch in islice(again, len(found[0]) - place)] == found[0][place:]
    close(*made)


def test_readers_of_pairs_from_python() -> None:
    """They are one stream, which several readers share."""
    pairs = [(one["source"].strip(), one["target"]) for one in map(row, range(300))]
    tokenizer = train_tokenizer([side for pair in pairs for side in pair], vocab_size=300)
    settings: dict[str, Any] = {"tokenizer": tokenizer, "samplers": (make_sampler(tokenizer, dropout=0.3), None)}
    made = [corpus(pairs, streaming="auto", workers=workers, **settings) for workers in (0, 3)]
    assert epoch(made[0], 0) == epoch(made[1], 0)
    close(*made)


def test_only_files_of_this_machine_are_read_by_several_readers(folder: Path) -> None:
    def shared(cache: Any = None, **source: Any) -> bool:
        return Mixture(DataConfig(train=source, cache=cache).train, TASK).may_be_read_twice(0)

    assert shared(path=f"{folder}/all.jsonl")
    assert not shared(path="memory://no/all.jsonl")
    assert shared({"folder": str(folder), "max_bytes": 9}, path="memory://no/all.jsonl")
    assert not shared(path="hub:no/such", split="train") and shared(path=f"hub:{folder}", split="train")


def denoising_tokens() -> list[str]:
    from antiphon.text import DENOISING_TOKENS

    return list(DENOISING_TOKENS)


def close(*made: Any) -> None:
    for one in made:
        if one._readers is not None:
            one._readers.close()


def test_counts_and_warnings_come_from_the_readers(folder: Path, tmp_path: Path) -> None:
    for shard in range(4):
        text = (folder / f"t-0{shard}.jsonl").read_text()
        (tmp_path / f"{shard}.jsonl").write_text(text + '{"source": "x"}\n{"source": " ", "target": "y"}\n')
    reports, said = [], []
    for workers in (0, 2):
        made = corpus(
            {"path": f"{tmp_path}/*.jsonl"}, workers=workers, bad_rows="skip", filters=[{"length": {"max": 9}}]
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            batches = Batches(made, batch_tokens=600, seed=0)
            seen = 0
            while batches.epoch == 0:  # the counts are those of the epoch until the last batch of it is taken
                reports = [*reports[: workers // 2], str(made.report)]
                seen += len(next(batches))
        said.append(sorted({str(one.message) for one in caught if "a bad row" in str(one.message)}))
        close(made)
    assert reports[0] == reports[1] and "4 bad rows left out, 4 skipped with an empty side" in reports[0]
    assert said[0] == said[1] and len(said[0]) == 4


@pytest.mark.parametrize("workers", [1, 3])
def test_a_dead_reader_is_one_line(folder: Path, workers: int) -> None:
    made = corpus({"path": f"{folder}/t-*.jsonl"}, workers=workers)
    batches = Batches(made, batch_tokens=600, seed=0)
    next(batches)
    assert made._readers is not None
    for process in made._readers._processes:
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(ReadError) as caught:
        for _ in range(200):
            next(batches)
    message = str(caught.value)
    assert re.fullmatch(
        r"the data file `.*t-\d\d\.jsonl` cannot be read after row \d+ \(its reader, process \d+ of `data\.workers`, "
        r"was ended by SIGKILL, as the system does when memory runs out\)\. .*",
        message,
    )
    assert all(not process.is_alive() for process in made._readers._processes)


def test_the_signal_that_stops_a_rank_leaves_its_readers(folder: Path) -> None:
    """torchrun sends it to the process group of the rank, which needs them for its last step."""
    made = corpus({"path": f"{folder}/t-*.jsonl"}, workers=1)
    batches = Batches(made, batch_tokens=600, seed=0)
    next(batches)
    assert made._readers is not None
    (reader,) = made._readers._processes
    assert os.getpgid(reader.pid) == reader.pid != os.getpgid(0)


def test_a_fault_in_a_reader_is_that_of_the_file(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "0.jsonl").write_text((folder / "t-00.jsonl").read_text())
    (tmp_path / "1.jsonl").write_text((folder / "t-01.jsonl").read_text() + "{no json\n")
    said = []
    for workers in (0, 2):
        made = corpus({"path": f"{tmp_path}/*.jsonl"}, workers=workers)
        with pytest.raises(DataError) as caught:
            epoch(made, 0)
        said.append(str(caught.value))
        close(made)
    assert said[0] == said[1] and "1.jsonl:61" in said[0]

    @register("filter", "test_shards_broken")
    def broken(pair: Any) -> bool:
        return 1 // (len(pair.source) - len(row(7)["source"])) < 5

    try:
        made = corpus({"path": f"{folder}/t-*.jsonl"}, workers=1, filters=["test_shards_broken"])
        with pytest.raises(DataError, match=r"the filter `test_shards_broken` raised ZeroDivisionError.*\.jsonl:\d+"):
            epoch(made, 0)
        close(made)
    finally:
        unregister("filter", "test_shards_broken")


def test_readers_end_with_the_process_that_made_them(folder: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, os, time\nsys.path.insert(0, sys.argv[1])\nfrom corpora import TASK, bytes_tokenizer\n"
        "from antiphon.data import Batches, load_corpus\nfrom antiphon.config import DataConfig\n"
        "data = DataConfig(train={'path': sys.argv[2]}).train\none = bytes_tokenizer()\n"
        "made = load_corpus(data, task=TASK, source_tokenizer=one, target_tokenizer=one, max_length=60,"
        " streaming='always', workers=2)\nbatches = Batches(made, batch_tokens=600, seed=0)\n"
        "print(*[each.pid for each in made._readers._processes], flush=True)\ntime.sleep(60)\n"
    )
    tests = Path(__file__).resolve().parents[1]
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tests), f"{folder}/t-*.jsonl"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    readers = [int(word) for word in process.stdout.readline().split()]
    assert len(readers) == 2
    process.kill()
    process.wait(10)
    ends = time.monotonic() + 20
    while time.monotonic() < ends and any(map(running, readers)):
        time.sleep(0.05)
    assert not any(running(reader) for reader in readers)


def running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False
