"""Sources that are files: references in tables, folders, archives and cells, and what becomes of them in a corpus."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from clips import BANDS, WORDS, ClipInput, clip, write_clips, write_tar
from corpora import bytes_tokenizer
from torch import Tensor

from antiphon.batch import collate
from antiphon.config import SourceConfig
from antiphon.data import Batches, InMemory, Streamed, load_corpus, records
from antiphon.data.media.loaders import LoadedBatches, LoaderPool
from antiphon.data.media.references import Reference, located, open_media
from antiphon.data.media.rows import MediaSources
from antiphon.data.sources import readers, rows
from antiphon.errors import DataError
from antiphon.inputs.augmentation import Augmentation
from antiphon.text import load_task
from antiphon.urls import RemoteName

TASK = replace(load_task("transcription"), media=True)


def corpus_of(source: object, **settings: Any) -> InMemory | Streamed:
    media = settings.pop("media", None) or MediaSources(ClipInput(), **settings.pop("sources", {}))
    tokenizer = bytes_tokenizer()
    known = {"task": TASK, "source_tokenizer": tokenizer, "target_tokenizer": tokenizer, "max_length": 64}
    return load_corpus(source, **{**known, "media": media, **settings})


def examples_of(source: object, **settings: Any) -> list[tuple[Tensor, str]]:
    """The features and the target of every example."""
    decode, found = bytes_tokenizer().decode, corpus_of(source, **settings)
    pools = [found] if isinstance(found, InMemory) else [p.examples for p in _pools(found)]
    return [(one.source.load(), decode(one.target)) for pool in pools for one in pool]  # type: ignore[union-attr]


def _pools(corpus: Streamed) -> Any:
    from antiphon.data.corpus import PoolStart

    return corpus.pools(PoolStart(), seed=0, epoch=0, first=1.0)


def test_a_table_names_files_beside_it_or_in_its_folder(tmp_path: Path) -> None:
    table = write_clips(tmp_path / "data", 6)
    found = list(records(SourceConfig(path=str(table)), TASK))
    assert [(str(source), target) for source, target, _ in found[:2]] == [
        ("clips/0.wav", "zero"),
        ("clips/1.wav", "one"),
    ]
    elsewhere = tmp_path / "table.tsv"
    elsewhere.write_text(table.read_text())
    for source in (
        SourceConfig(path=str(table)),
        SourceConfig(path=str(elsewhere), folder=str(tmp_path / "data")),
        [(tmp_path / "data" / "clips" / f"{n}.wav", WORDS[n % 4]) for n in range(6)],
    ):
        made = examples_of(source)
        assert [(features.shape, target) for features, target in made] == [
            ((4 + n % 5, BANDS), WORDS[n % 4]) for n in range(6)
        ]
    with pytest.raises(
        DataError, match=r"clips/0.wav` cannot be read \(No such file.*table.tsv:2.*5 other rows are bad"
    ):
        corpus_of(SourceConfig(path=str(elsewhere)))


@pytest.mark.parametrize(
    ("name", "table", "folder", "whole"),
    [
        ("a.wav", "data/t.tsv", "", "data/a.wav"),
        ("/a.wav", "data/t.tsv", "", "/a.wav"),
        ("a.wav", "data/t.tsv", "clips", "clips/a.wav"),
        ("b/a.wav", "s3://bucket/data/t.tsv", "", "s3://bucket/data/b/a.wav"),
        ("a.wav", "https://host/data/t.tsv?token=x", "", "https://host/data/a.wav"),
        ("a.wav", "zip://t.tsv::s3://bucket/z.zip", "", "zip://a.wav::s3://bucket/z.zip"),
        ("a.wav", "t.tsv", "s3://bucket/clips", "s3://bucket/clips/a.wav"),
        ("s3://bucket/a.wav", "t.tsv", "", "s3://bucket/a.wav"),
    ],
)
def test_where_a_name_leads(name: str, table: str, folder: str, whole: str) -> None:
    found = located(name, table=table, folder=folder)
    assert found == name and found.prompt == ""
    assert (found.file.url if isinstance(found.file, RemoteName) else found.file) == whole


def test_a_folder_gives_labels_and_the_texts_beside_its_files(tmp_path: Path) -> None:
    for number, word in enumerate(WORDS):
        (tmp_path / "in" / word).mkdir(parents=True)
        (tmp_path / "in" / word / f"{number}.wav").write_bytes(clip(number))
        (tmp_path / "in" / word / f"{number}.gt.txt").write_text(f"{word}!\n")
    (tmp_path / "in" / "README.txt").write_text("no clip")
    (tmp_path / "in" / ".hidden.wav").write_bytes(b"")
    source = SourceConfig(path=str(tmp_path / "in"))
    classes = replace(load_task("classification"), media=True)
    assert sorted(target for _, target, _ in records(source, classes)) == sorted(WORDS)
    assert sorted(target for _, target in examples_of(source)) == sorted(f"{word}!" for word in WORDS)
    before = corpus_of(source).files
    (tmp_path / "in" / "zero" / "0.wav").write_bytes(clip(0, frames=9))
    assert corpus_of(source).files != before


def _shard(folder: Path, count: int = 6) -> Path:
    members: dict[str, bytes] = {}
    for number in range(count):
        members[f"x/{number}.txt"] = WORDS[number % 4].encode()
        members[f"x/{number}.wav"] = clip(number % 4, frames=3 + number)
        members[f"x/{number}.json"] = json.dumps({"question": f"which {number}?", "speaker": 7}).encode()
    return write_tar(folder / "shard.tar", members)


def test_an_archive_is_read_by_the_places_of_its_members(tmp_path: Path) -> None:
    shard = _shard(tmp_path)
    source = SourceConfig(path=str(tmp_path / "*.tar"))
    made = examples_of(source)
    assert [(len(features), target) for features, target in made] == [(3 + n, WORDS[n % 4]) for n in range(6)]
    found = list(rows(source))
    assert found[2].record["question"] == "which 2?" and found[2].record["speaker"] == "7"
    for row, after in pairwise(found):  # reading goes on where it was
        assert next(readers(source)[0](row.cursor)).record == after.record
    reference = f"{shard}!x/3.wav"
    with open_media(reference) as file:
        assert file.read() == clip(3, frames=6)
        file.seek(-4, 2)
        assert file.read() == clip(3, frames=6)[-4:]
    with pytest.raises(DataError, match="has none of this name"):
        open_media(f"{shard}!x/9.wav")
    prompts = [one.prompt for one in corpus_of(source)]  # type: ignore[union-attr]
    assert [bytes_tokenizer().decode(list(ids)) for ids in prompts[:2]] == ["which 0?", "which 1?"]


def test_an_archive_that_is_compressed_or_cut_short_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"\x1f\x8b" + b"x" * 2000)
    with pytest.raises(DataError, match=r"must be an uncompressed tar file.*Unpack it"):
        corpus_of(SourceConfig(path=str(tmp_path / "a.tar")))
    whole = _shard(tmp_path).read_bytes()
    (tmp_path / "b.tar").write_bytes(whole[:1900])
    with pytest.raises(DataError, match="must be an uncompressed tar file"):
        corpus_of(SourceConfig(path=str(tmp_path / "b.tar")))


@pytest.mark.parametrize("streaming", ["never", "always"])
def test_cells_of_bytes_are_kept_outside_of_memory(tmp_path: Path, streaming: str) -> None:
    cells = [{"bytes": clip(n % 4, frames=2 + n), "path": f"{n}.wav"} for n in range(5)]
    table = pa.table({"audio": cells, "text": [WORDS[n % 4] for n in range(5)], "raw": [b"x"] * 5})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    source = SourceConfig(path=str(tmp_path / "x.parquet"))
    made = examples_of(source, streaming=streaming)
    assert [(len(features), target) for features, target in made] == [(2 + n, WORDS[n % 4]) for n in range(5)]
    one = corpus_of(source, streaming=streaming)
    if isinstance(one, InMemory):
        row = one._source._rows[3]  # type: ignore[union-attr]
        assert row.reference.content is None and row.reference == f"{tmp_path}/x.parquet!4/3.wav"  # type: ignore[union-attr]
    named = SourceConfig(path=str(tmp_path / "x.parquet"), source_field="audio", target_field="text")
    assert len(examples_of(named)) == 5


class Louder(Augmentation):
    """Doubles the length, and adds a number of its own to the features."""

    @property
    def longest(self) -> float:
        return 2.0

    def of_row(self, row: Tensor, draw: Random) -> Tensor:
        return row.repeat(draw.choice([1, 2]))

    def of_features(self, features: Tensor, draw: Random) -> Tensor:
        return features + draw.random()


def test_augmentations_depend_on_seed_epoch_and_row_alone(tmp_path: Path) -> None:
    source = SourceConfig(path=str(write_clips(tmp_path / "data", 8)))
    media = MediaSources(ClipInput(), (Louder(),))

    def epoch(streaming: str, seed: int, number: int, tokens: int = 40) -> dict[int, Tensor]:
        corpus = corpus_of(source, media=media, streaming=streaming)
        batches = Batches(corpus, batch_tokens=tokens, seed=seed, epoch=number)
        found = {}
        while batches.epoch == number:
            for one in next(batches):
                found[one.index] = one.source.load()  # type: ignore[union-attr]
                assert len(found[one.index]) <= len(one.source)
        return found

    first, again = epoch("never", 0, 3), epoch("always", 0, 3, tokens=80)
    assert first.keys() == again.keys() and all(torch.equal(first[n], again[n]) for n in first)
    for other in (epoch("never", 1, 3), epoch("never", 0, 4)):
        assert any(first[n].shape != other[n].shape or not torch.equal(first[n], other[n]) for n in first)
    assert len({float(features[0, 0] % 1) for features in first.values()}) > 4


def test_loaders_make_the_same_batches_and_resume_anywhere(tmp_path: Path) -> None:
    source = SourceConfig(path=str(write_clips(tmp_path / "data", 20)))
    media = MediaSources(ClipInput(), (Louder(),))
    corpus = corpus_of(source, media=media)

    def made(batches: Batches | LoadedBatches, count: int) -> list[Tensor]:
        return [collate(next(batches), pad_id=0, start_id=1).source for _ in range(count)]

    alone = made(Batches(corpus, batch_tokens=48, seed=5), 16)
    pool = LoaderPool(media, 2)
    loaded = LoadedBatches(Batches(corpus, batch_tokens=48, seed=5), pool, own=lambda number: number % 3 != 1)
    first = made(loaded, 6)
    state, epoch = loaded.state(), loaded.epoch
    rest = made(loaded, 10)
    assert all(torch.equal(one, other) for one, other in zip([*first, *rest], alone, strict=True))
    loaded.restore(state)
    assert loaded.epoch == epoch and loaded.position == state["position"]
    assert all(torch.equal(one, other) for one, other in zip(made(loaded, 10), rest, strict=True))
    other = Batches(corpus, batch_tokens=48, seed=5)
    other.restore(state)
    assert all(torch.equal(one, other) for one, other in zip(made(other, 10), rest, strict=True))
    pool.close()


def test_bad_files_are_named_or_left_out(tmp_path: Path) -> None:
    table = write_clips(tmp_path / "data", 8)
    clips = tmp_path / "data" / "clips"
    (clips / "2.wav").write_bytes(b"no sound at all")
    (clips / "3.wav").write_bytes(b"")
    (clips / "6.wav").write_bytes(clip(2)[:60])  # its head is right
    source = SourceConfig(path=str(table))
    with pytest.raises(DataError, match=r"`clips/2.wav` \(.*train.tsv:4\) must be sound.*At least 1 other.*tsv:5"):
        corpus_of(source)
    with pytest.warns(UserWarning, match="a bad row is left out") as warned:
        corpus = corpus_of(source, sources={"bad_rows": "skip"})
    assert len(warned) == 3 and len(corpus) == 5 and corpus.report.bad == 3 and corpus.report.kept == 5  # type: ignore[arg-type]
    (clips / "2.wav").write_bytes(clip(2))
    (clips / "3.wav").write_bytes(clip(3))
    whole = corpus_of(source)  # only the head was read
    with pytest.raises(DataError, match=r"`clips/6.wav` \(.*train.tsv:8\) must be whole"):
        whole[6].source.load()  # type: ignore[union-attr]
    pool = LoaderPool(MediaSources(ClipInput()), 1)
    batches = LoadedBatches(Batches(whole, batch_tokens=200, seed=0), pool, own=lambda number: True)
    with pytest.raises(DataError, match=r"`clips/6.wav` \(.*train.tsv:8\) must be whole"):
        collate(next(batches), pad_id=0, start_id=1)
    pool.close()


def test_targets_have_their_limit_and_sources_none(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(clip(1, frames=500))
    pairs = [{"audio": str(tmp_path / "a.wav"), "text": "one two three", "prompt": "say"}]
    assert len(corpus_of(pairs, max_length=17)) == 1  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"a target must have at most 16 tokens, with its prompt, but has 17"):
        corpus_of(pairs, max_length=16)
    cut = corpus_of(pairs, max_length=16, overflow="truncate")
    assert cut.report.truncated == 1 and cut.lengths(0) == (500, 16)  # type: ignore[union-attr]
    batch = collate([cut[0]], pad_id=0, start_id=1)  # type: ignore[index]
    assert batch.label_mask[0].tolist() == [False] * 3 + [True] * 13


def test_a_reference_is_a_text_to_everything_else() -> None:
    one = Reference("a.wav", file="x/a.wav", prompt="why?")
    assert one == "a.wav" and f"{one}" == "a.wav" and located(one).prompt == "why?"
    assert located(one, prompt="who?").prompt == "who?"
