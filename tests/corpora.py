"""Small corpora for the tests: random pairs, in files of several formats, in memory and streamed.

from corpora import streamed
corpus = streamed(tmp_path, pool_tokens=1000)
"""

from __future__ import annotations

import functools
import gzip
import random
from pathlib import Path

from antiphon.config import SourceConfig
from antiphon.data import Mixture, Streamed
from antiphon.data.corpus import ExampleEncoder, PoolStart
from antiphon.text import Tokenizer, load_task, train_tokenizer

TASK = load_task("translation")
TOP = PoolStart()  # where an epoch begins


@functools.cache
def bytes_tokenizer() -> Tokenizer:
    return train_tokenizer(["a"], kind="bytes", vocab_size=260)


def files(folder: Path, pairs: list[tuple[str, str]]) -> SourceConfig:
    sides = ["".join(f"{pair[side]}\n" for pair in pairs).encode() for side in (0, 1)]
    (folder / "x.en").write_bytes(sides[0])
    (folder / "x.de.gz").write_bytes(gzip.compress(sides[1]))
    return SourceConfig(source=str(folder / "x.en"), target=str(folder / "x.de.gz"))


def random_pairs(size: int = 300) -> list[tuple[str, str]]:
    chance = random.Random(0)
    return [(f"{i} " + "a" * chance.randint(0, 30), f"{i} " + "b" * chance.randint(0, 30)) for i in range(size)]


def streamed(folder: Path, pool_tokens: int = 1000) -> Streamed:
    """A streamed corpus of several files, with empty lines between."""
    pairs = [*random_pairs(200), ("", "x"), ("x", ""), *random_pairs(70)]
    data = (files(folder, pairs), SourceConfig(path=str(folder / "y.tsv")))
    (folder / "y.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in random_pairs(60)))
    encoder = ExampleEncoder(bytes_tokenizer(), bytes_tokenizer(), 100)
    return Streamed(Mixture(data, TASK), encoder, pool_tokens=pool_tokens)
