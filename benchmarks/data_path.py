"""The data path alone: read, filter, tokenize, batch, in one process on one core, from a corpus made while it is read.

    python benchmarks/data_path.py                                    # tokens/s of each format
    python benchmarks/data_path.py --formats jsonl --gigabytes 10     # memory over 10 GB

The corpus is behind a file system of fsspec, `generated://`, that holds one shard in memory and serves it under many
names, so no disk is needed and none is measured. Its pairs are those of Multi30k (../shared/data, or $ANTIPHON_DATA) in
random order; in every 20th word of a text a number or a made-up name stands for the word, so that words keep coming
that were not seen before. `--workers N` reads with N processes beside this one, which only batches.

tokens/s are source and target tokens, ends included, of the batches that come out, by the wall clock and by the
processor's time of this process, which a loaded machine disturbs less.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

os.environ["RAYON_NUM_THREADS"] = "1"

import fsspec
import torch

from antiphon.config import DataConfig
from antiphon.data import Batches, Streamed, load_corpus, load_filters
from antiphon.text import Tokenizer, load_task, train_tokenizer

DATA = Path(os.environ.get("ANTIPHON_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
FORMATS = ("text", "text.zst", "jsonl", "jsonl.zst", "parquet")
EVERY = 10  # batches between two looks at the memory
LONG_PAIRS = 400  # pairs in a document of --long


class Generated(fsspec.AbstractFileSystem):
    """Shards that all have the content of `shards[suffix]`."""

    protocol = "generated"
    cachable = False
    shards: ClassVar[dict[str, bytes]] = {}
    count = 1

    def _content(self, path: str) -> bytes:
        return self.shards[path.rpartition("/")[2].partition(".")[2]]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "size": len(self._content(path)), "type": "file", "etag": "1"}

    def glob(self, path: str, **_: Any) -> list[str]:
        return [self._strip_protocol(path).replace("*", f"{number:05}") for number in range(self.count)]

    def _open(self, path: str, mode: str = "rb", **_: Any) -> io.BytesIO:
        return io.BytesIO(self._content(path))


def lines(name: str) -> list[str]:
    with gzip.open(DATA / "multi30k" / "raw" / name, "rt", encoding="utf-8") as stream:
        return stream.read().split("\n")[:-1]


def changed(text: str, chance: random.Random) -> str:
    """`text` with some words that are new."""
    words = text.split(" ")
    for place in range(len(words)):
        if chance.random() < 0.05:
            made = "".join(chance.choice("aeiou") + chance.choice("bdklmnrst") for _ in range(chance.randint(2, 4)))
            words[place] = made.capitalize() if chance.random() < 0.5 else str(chance.randint(10, 99999))
    return " ".join(words)


def pairs(count: int, *, long: bool) -> list[tuple[str, str]]:
    """Pairs of sentences; with `long` every second row is a document, which the filter of length drops."""
    english, german, chance = lines("train.en.gz"), lines("train.de.gz"), random.Random(0)
    made: list[tuple[str, str]] = []
    for number in range(count):
        picked = [chance.randrange(len(english)) for _ in range(LONG_PAIRS if long and number % 2 else 1)]
        sides = (" ".join(side[place] for place in picked) for side in (english, german))
        source, target = (changed(text, chance) for text in sides)
        made.append((source, target))
    return made


def shards_of(rows: list[tuple[str, str]], kinds: list[str]) -> dict[str, bytes]:
    """A shard in each format, by the suffixes of its files."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import zstandard

    made: dict[str, bytes] = {}
    for kind in kinds:
        pack = zstandard.compress if kind.endswith(".zst") else bytes
        if kind == "parquet":
            sink = pa.BufferOutputStream()
            table = pa.table({"source": [one for one, _ in rows], "target": [other for _, other in rows]})
            pq.write_table(table, sink, compression="zstd", row_group_size=20_000)
            made[kind] = sink.getvalue().to_pybytes()
        elif kind.startswith("text"):
            for side, name in enumerate(("en", "de")):
                made[kind.replace("text", name)] = pack("".join(f"{row[side]}\n" for row in rows).encode())
        else:
            records = ({"source": one, "target": other} for one, other in rows)
            text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
            made[kind] = pack(text.encode())
    return made


def source(kind: str) -> dict[str, str]:
    if kind.startswith("text"):
        packed = kind.removeprefix("text")
        return {"source": f"generated://shard-*.en{packed}", "target": f"generated://shard-*.de{packed}"}
    return {"path": f"generated://shard-*.{kind}"}


def rss() -> int:
    """The bytes of this process that are in memory now."""
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * resource.getpagesize()


def measure(kind: str, tokenizer: Tokenizer, *, workers: int, shards: int, file_bytes: int) -> None:
    Generated.count = shards
    config = DataConfig(train=source(kind), filters=[{"length": {"max": 100}}, {"ratio": 4}], workers=workers)
    corpus = load_corpus(
        config.train,
        task=load_task("translation"),
        source_tokenizer=tokenizer,
        target_tokenizer=tokenizer,
        max_length=256,
        overflow="skip",
        streaming="always",
        filters=load_filters(config.filters),
        workers=workers,
    )
    assert isinstance(corpus, Streamed)
    wall, used = time.perf_counter(), time.process_time()
    batches, tokens, memory = Batches(corpus, batch_tokens=8192, seed=0), 0, list[int]()
    while batches.epoch == 0:
        tokens += sum(len(one.source) + len(one.target) for one in next(batches))
        if batches.position % EVERY == 0:
            memory.append(rss())
            if len(memory) % 20 == 0:
                print(f"  {tokens:,} tokens, {memory[-1] / 2**20:,.0f} MiB", file=sys.stderr, flush=True)
    wall, used = time.perf_counter() - wall, time.process_time() - used
    held = ""
    if len(memory) > 10:
        tenth = len(memory) // 10
        early, late = max(memory[tenth : 2 * tenth] or memory), max(memory[-tenth:])
        held = f"; memory {early / 2**20:,.0f} MiB in the second tenth, {late / 2**20:,.0f} MiB in the last"
    print(
        f"{kind:10} {tokens:>13,} tokens of {shards * file_bytes / 1e9:.2f} GB of text in {wall:,.1f} s: "
        f"{tokens / wall:>9,.0f} tokens/s, {tokens / used:>9,.0f} a second of processor time{held}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--gigabytes", type=float, default=0.05, help="of text, unpacked")
    parser.add_argument("--pairs", type=int, default=50_000, help="of a shard")
    parser.add_argument("--long", action="store_true", help="every second row is a document that a filter drops")
    parser.add_argument("--workers", type=int, default=0)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    fsspec.register_implementation("generated", Generated)
    rows = pairs(settings.pairs, long=settings.long)
    kinds = settings.formats.split(",")
    Generated.shards = shards_of(rows, kinds)
    size = sum(len(one.encode()) + len(other.encode()) + 2 for one, other in rows)
    tokenizer = train_tokenizer([side for row in rows[:40_000] for side in row], vocab_size=8000)
    del rows
    for kind in kinds:
        shards = max(1, round(settings.gigabytes * 1e9 / size))
        measure(kind, tokenizer, workers=settings.workers, shards=shards, file_bytes=size)


if __name__ == "__main__":
    main()
