"""The sources of the recipes, read as the recipes read them: a header or none, lists, tags, thirteen files."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from corpora import TASK, TOP, bytes_tokenizer
from pyarrow import parquet

from antiphon.config import DataConfig, SourceConfig
from antiphon.data import Batches, InMemory, Streamed, cases, load_corpus, load_filters, records
from antiphon.errors import DataError

pytestmark = pytest.mark.data


def load(config: DataConfig, streaming: str) -> InMemory | Streamed:
    one = bytes_tokenizer()
    made = load_corpus(
        config.train, task=TASK, source_tokenizer=one, target_tokenizer=one, max_length=5000, streaming=streaming,
        filters=load_filters(config.filters), shares=config.shares,
    )  # fmt: skip
    if isinstance(made, Streamed):
        made.pool_tokens = 40_000
    return made


def epoch_of(made: InMemory | Streamed, epoch: int) -> Counter:
    pools = made.pools(TOP, seed=0, epoch=epoch, first=1.0)
    return Counter(
        (one.index, *one.source, 0, *one.target)
        for pool in pools
        for one in (pool.examples[index] for index in pool.chosen)
    )


def test_thirteen_languages_in_one_model(data_folder: Path) -> None:
    paths = sorted((data_folder / "sigmorphon2020-g2p" / "dev").glob("*.tsv"))
    languages = [path.name[:3] for path in paths]
    train = [
        SourceConfig(path=str(path), tag=language, weight=3 if language == "kor" else 1)
        for path, language in zip(paths, languages, strict=True)
    ]
    config = DataConfig(train=train, filters=["duplicates"])
    memory, streamed = load(config, "never"), load(config, "always")
    assert memory.report == streamed.report and memory.report.read == 13 * 450
    found = [epoch_of(memory, epoch) for epoch in (0, 1)]
    assert found[0] == epoch_of(streamed, 0) and found[1] == epoch_of(streamed, 1) and found[0] != found[1]
    one = bytes_tokenizer()
    tags: Counter[str] = Counter()
    for (_, *ids), times in found[0].items():
        tags[one.decode(ids[: ids.index(0)])[:6]] += times
    assert set(tags) == {f"<{language}> " for language in languages} and tags.total() == memory.report.kept
    assert abs(tags["<kor> "] - 3 * memory.report.kept / 15) < 1 and abs(tags["<fre> "] - memory.report.kept / 15) < 1
    # the first words of the first file, as they stand there
    line = paths[0].read_text(encoding="utf-8").split("\n")[0]
    first = next(records(train[0], TASK))
    assert f"{first[0]}\t{first[1]}" == f"<{languages[0]}> {line}"


def test_resumed_in_the_mix_of_languages_is_uninterrupted(data_folder: Path) -> None:
    paths = sorted((data_folder / "sigmorphon2020-g2p" / "dev").glob("*.tsv"))
    train = [SourceConfig(path=str(path), tag=path.name[:3], weight=number + 1) for number, path in enumerate(paths)]

    def batches() -> Batches:
        return Batches(load(DataConfig(train=train), "always"), batch_tokens=4000, seed=1)

    whole = list(islice(batches(), 90))  # more than an epoch
    assert whole[60][0].index and len(paths) == 13
    for place in random.Random(0).sample(range(70), 3):
        first, second = batches(), batches()
        for _ in islice(first, place):
            pass
        second.restore(json.loads(json.dumps(first.state())))
        assert list(islice(second, 20)) == whole[place : place + 20]


def test_abstracts_with_several_summaries(data_folder: Path) -> None:
    source = SourceConfig(path=str(data_folder / "scitldr-a" / "dev.jsonl.gz"))
    lines = gzip.decompress((data_folder / "scitldr-a" / "dev.jsonl.gz").read_bytes()).decode().split("\n")[:-1]
    raw = [json.loads(line) for line in lines]
    found = list(cases(source, TASK))
    assert [(one, targets) for one, targets, _ in found] == [(" ".join(row["source"]), row["target"]) for row in raw]
    assert len(found) == 619 and sum(len(targets) for _, targets, _ in found) == len(list(records(source, TASK))) > 1000
    made = load(DataConfig(train=source), "always")
    assert epoch_of(made, 0) == epoch_of(load(DataConfig(train=source), "never"), 0)


def test_a_header_that_would_be_learned(data_folder: Path) -> None:
    path = str(data_folder / "sst2" / "train.tsv")
    with pytest.raises(DataError, match=r"looks like names of columns .*train\.tsv:1\)"):
        list(records(SourceConfig(path=path), TASK))
    found = list(records(SourceConfig(path=path, source_field="sentence", target_field="label"), TASK))
    assert len(found) == 6920 and sum(label == "1" for _, label, _ in found) == 3610


def test_every_format_gives_the_same_batches(data_folder: Path, tmp_path: Path) -> None:
    raw = data_folder / "multi30k" / "raw"
    sides = [gzip.decompress((raw / f"val.{side}.gz").read_bytes()).decode() for side in ("en", "de")]
    pairs = list(zip(*(side.split("\n")[:-1] for side in sides), strict=True))
    for number, side in enumerate(sides):
        (tmp_path / f"x{number}.zst").write_bytes(zstandard.compress(side.encode()))
    lines = "".join(json.dumps({"t": {"en": source, "de": target}}) + "\n" for source, target in pairs)
    (tmp_path / "x.jsonl").write_text(lines)
    table = pa.Table.from_pylist([{"t": {"en": source, "de": target}} for source, target in pairs])
    parquet.write_table(table, tmp_path / "x.parquet", row_group_size=100)
    fields = {"source_field": "t.en", "target_field": "t.de"}
    formats = [
        {"source": str(raw / "val.en.gz"), "target": str(raw / "val.de.gz")},
        {"source": str(tmp_path / "x0.zst"), "target": str(tmp_path / "x1.zst")},
        {"path": str(tmp_path / "x.jsonl"), **fields},
        {"path": str(tmp_path / "x.parquet"), **fields},
    ]
    filters = [{"length": {"max": 20}}, {"ratio": 1.5}, "duplicates", {"script": {"source": "Latin"}}]
    for streaming in ("always", "never"):
        made = [load(DataConfig(train=one, filters=filters), streaming) for one in formats]
        first, *others = (list(islice(Batches(one, batch_tokens=4000, seed=1), 100)) for one in made)
        assert len(made[0].report.dropped) == 4 and 100 < made[0].report.kept < 1014
        assert all(other == first for other in others) and len({str(one.report) for one in made}) == 1


def test_the_duplicates_of_multi30k(data_folder: Path) -> None:
    raw = data_folder / "multi30k" / "raw"
    train = SourceConfig(source=str(raw / "train.en.gz"), target=str(raw / "train.de.gz"))
    made = load(DataConfig(train=train, filters=["duplicates"]), "never")
    pairs = [(source, target) for source, target, _ in records(train, TASK)]
    assert made.report.dropped == {"duplicates": len(pairs) - len(set(pairs))} == {"duplicates": 3}
    assert str(made.report) == "29,000 pairs read, 28,997 kept, 3 dropped by duplicates"
