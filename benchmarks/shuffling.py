"""How well streamed shards are shuffled, beside a full shuffle of the same rows.

    python benchmarks/shuffling.py --shards 64 --rows 1000

A row of Markdown for each number of open shards and each size of a pool (the buffer that is sorted by length and dealt
into batches in random order), as means over `--epochs` epochs:

- moved: the mean distance between a row's place in the corpus and in the epoch, as a part of the corpus; 33.3 % if
  fully shuffled.
- neighbours: of two rows that follow one another in the corpus, the share that are in one batch.
- shard: of two rows of one batch, the share that are from one shard.
- repeated: of two rows of one batch, the share that are in one batch again in the next epoch.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Sequence
from itertools import combinations, pairwise

import fsspec

from antiphon.batch import Example
from antiphon.config import SourceConfig
from antiphon.data import Batches, InMemory, Streamed, load_corpus
from antiphon.text import load_task, train_tokenizer

Epoch = list[list[int]]  # the numbers of the rows of each batch


def figures(epochs: Sequence[Epoch], shard_of: dict[int, int]) -> list[float]:
    """The four figures, in percent."""
    totals = [0.0] * 4
    for epoch, following in pairwise(epochs):
        place = {row: number for number, row in enumerate(row for batch in epoch for row in batch)}
        order = sorted(place)
        totals[0] += sum(abs(place[row] - number) for number, row in enumerate(order)) / len(order) ** 2
        batch = {row: number for number, rows in enumerate(epoch) for row in rows}
        later = {row: number for number, rows in enumerate(following) for row in rows}
        totals[1] += sum(batch[one] == batch[other] for one, other in pairwise(order)) / (len(order) - 1)
        count, found = 0, Counter[str]()
        for rows in epoch:
            for one, other in combinations(rows, 2):
                count += 1
                found["shard"] += shard_of[one] == shard_of[other]
                found["later"] += later[one] == later[other]
        totals[2] += found["shard"] / count
        totals[3] += found["later"] / count
    return [100 * total / (len(epochs) - 1) for total in totals]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--rows", type=int, default=1000, help="of a shard")
    parser.add_argument("--batch-tokens", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=3)
    asked = parser.parse_args()
    chance, tokenizer = random.Random(0), train_tokenizer(["a"], kind="bytes", vocab_size=260)
    system, lengths = fsspec.filesystem("memory"), list[int]()
    for shard in range(asked.shards):
        sizes = [max(2, round(chance.lognormvariate(2.4, 0.5))) for _ in range(asked.rows)]
        lengths += sizes
        system.pipe(f"/shuffling/{shard:05}.tsv", "".join(f"{'a' * size}\t{'b' * size}\n" for size in sizes).encode())
    total = 2 * (sum(lengths) + len(lengths))
    print("| open shards | pool, part of the corpus | moved % | neighbours % | shard % | repeated % |")
    print("|---|---|---|---|---|---|")

    def show(title: str, corpus: InMemory | Streamed) -> None:
        epochs: list[Epoch] = []
        batches = Batches(corpus, batch_tokens=asked.batch_tokens, seed=0)
        while batches.epoch < asked.epochs:
            if batches.position == 0:
                epochs.append([])
            epochs[-1].append([one.index for one in next(batches)])
        numbers = sorted(row for batch in epochs[0] for row in batch)
        found = figures(epochs, {row: number // asked.rows for number, row in enumerate(numbers)})
        print(f"| {title} | {' | '.join(f'{one:.2f}' for one in found)} |", flush=True)

    for open_shards, part in [(1, 0.02), (8, 0.02), (32, 0.02), (8, 0.1), (32, 0.1)]:
        corpus = load_corpus(
            SourceConfig(path="memory://shuffling/*.tsv"), task=load_task("translation"), source_tokenizer=tokenizer,
            target_tokenizer=tokenizer, max_length=200, streaming="always", open_shards=open_shards,
        )  # fmt: skip
        assert isinstance(corpus, Streamed)
        corpus.pool_tokens = part * total
        show(f"{open_shards} | {part:.0%}", corpus)
    full = InMemory(Example([5] * (size + 1), [5] * (size + 1), number) for number, size in enumerate(lengths))
    show("full shuffle | 100%", full)


if __name__ == "__main__":
    main()
