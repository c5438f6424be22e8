"""Sources on S3, spoken to a server of moto by s3fs: training, streaming, resuming, and what fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import zstandard
from corpora import TASK, bytes_tokenizer

import antiphon
from antiphon.cli.main import main
from antiphon.config import DataConfig, SourceConfig
from antiphon.data import Batches, Streamed, load_corpus
from antiphon.data.fingerprint import fingerprints
from antiphon.data.remote import retrying
from antiphon.data.sources import check_files, records
from antiphon.errors import DataError
from antiphon.recipe import dump_yaml, from_mapping, to_mapping

PAIRS = [(f"in {number} hours", f"in {number} Stunden") for number in range(240)]
SECRET = "Aq7hidden9Zx"


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket with the pairs in 6 shards of zst JSON lines and 3 of plain text; the credentials are in the
    environment, as they are for users."""
    pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "AKIAOPEN")
        environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        environment.setenv("AWS_CONFIG_FILE", "/nonexistent")
        environment.setattr(retrying, "FIRST_DELAY", 0.001)
        system = s3fs.S3FileSystem()
        system.mkdir("corpus")
        for number in range(6):
            rows = PAIRS[number * 40 : number * 40 + 40]
            text = "".join(json.dumps({"source": one, "target": other}) + "\n" for one, other in rows)
            system.pipe(f"corpus/train-{number:02}.jsonl.zst", zstandard.compress(text.encode()))
        for number in range(3):
            for side, ending in enumerate(("en", "de")):
                text = "".join(f"{pair[side]}\n" for pair in PAIRS[number * 80 : number * 80 + 80])
                system.pipe(f"corpus/plain/{number}.{ending}", text.encode())
        yield "s3://corpus"
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def corpus(data: object, workers: int) -> Streamed:
    config = DataConfig(train=data, workers=workers, open_shards=4)
    made = load_corpus(
        config.train, task=TASK, source_tokenizer=bytes_tokenizer(), target_tokenizer=bytes_tokenizer(), max_length=60,
        streaming="always", open_shards=4, workers=workers,
    )  # fmt: skip
    assert isinstance(made, Streamed)
    made.pool_tokens = 2000
    return made


def batches(made: Streamed) -> Batches:
    return Batches(made, batch_tokens=400, seed=3)


def ids(batch: list[Any]) -> list[tuple[int, list[int], list[int]]]:
    return [(one.index, list(one.source), list(one.target)) for one in batch]


def test_each_row_once_in_every_form(bucket: str) -> None:
    forms = [
        SourceConfig(path=f"{bucket}/train-*.jsonl.zst"),
        SourceConfig(path=[f"{bucket}/train-{number:02}.jsonl.zst" for number in range(6)]),
        SourceConfig(source=f"{bucket}/plain/?.en", target=f"{bucket}/plain/?.de"),
    ]
    for form in forms:
        assert [(one, other) for one, other, _ in records(form, TASK)] == PAIRS
        assert all(size > 0 and version.startswith("etag:") for size, version in fingerprints(form).values())


def test_streams_resume_bit_by_bit_with_any_number_of_workers(bucket: str) -> None:
    data = {"path": f"{bucket}/train-*.jsonl.zst"}
    whole = batches(corpus(data, 0))
    steps, states = [], []
    while whole.epoch < 2:
        states.append(json.loads(json.dumps(whole.state())))
        steps.append(ids(next(whole)))
    for epoch in (0, 1):
        own = [one for state, step in zip(states, steps, strict=True) if state["epoch"] == epoch for one in step]
        assert len({index for index, _, _ in own}) == len(own) == len(PAIRS), "a row twice, or lost"
    made = corpus(data, 2)
    with_workers = batches(made)
    assert [ids(next(with_workers)) for _ in steps] == steps
    for place in (5, len(steps) - 3):
        again = batches(made)
        again.restore(states[place])
        assert [ids(batch) for batch in islice(again, len(steps) - place)] == steps[place:]
    assert made._readers is not None
    made._readers.close()


def recipe(bucket: str, output: Path, **training: Any) -> dict[str, Any]:
    return {
        "data": {
            "train": {"path": f"{bucket}/train-*.jsonl.zst"},
            "valid": {"source": f"{bucket}/plain/0.en", "target": f"{bucket}/plain/0.de"},
            "streaming": "always",
            "workers": 1,
        },
        "tokenizer": {"kind": "bpe", "vocab_size": 300},
        "model": {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "num_heads": 2, "ffn_dim": 16},
        "training": {"batch_tokens": 512, "lr": 1e-3, "log_every_steps": 1, "save_every_steps": 2, **training},
        "validation": {"max_examples": 4, "every_steps": 100},
        "output": str(output),
    }


def test_a_run_is_trained_resumed_and_answers_without_a_local_file(
    bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = antiphon.train(recipe(bucket, tmp_path / "whole", max_steps=6), quiet=True)
    antiphon.train(recipe(bucket, tmp_path / "parts", max_steps=3), quiet=True)
    parts = antiphon.train(recipe(bucket, tmp_path / "parts", max_steps=6), resume=True, quiet=True)
    losses = [[row["loss"] for row in run.metrics if "loss" in row] for run in (whole, parts)]
    assert losses[0] == losses[1] and len(losses[0]) == 6

    model, plain = str(tmp_path / "whole"), f"{bucket}/plain"
    capsys.readouterr()
    assert main(["generate", model, "--input", f"{plain}/1.en", "--max-new-tokens", "2", "--beam-size", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 80
    assert main(["score", model, "--source", f"{plain}/1.en", "--target", f"{plain}/1.de"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 80
    flags = ["--max-new-tokens", "2", "--beam-size", "1", "--metrics", "chrf"]
    many = ["--output", str(tmp_path / "answers")]
    assert main(["evaluate", model, "--data", f"{bucket}/train-03.jsonl.zst", *flags]) == 0
    assert main(["evaluate", model, "--source", f"{plain}/*.en", "--target", f"{plain}/*.de", *flags, *many]) == 0
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert SECRET.encode() not in kept and b"AKIAOPEN" not in kept


def test_what_is_wrong_is_one_line(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"`s3://corpus/none.jsonl` cannot be read \(there is none\)"):
        check_files(SourceConfig(path=f"{bucket}/none.jsonl"))
    with pytest.raises(DataError, match=r"a pattern must name at least one file, but `s3://corpus/x-\*.tsv`"):
        check_files(SourceConfig(path=f"{bucket}/x-*.tsv"))
    with pytest.raises(DataError, match="`source` and `target` must name as many files each, but name 3 and 6"):
        check_files(SourceConfig(source=f"{bucket}/plain/?.en", target=f"{bucket}/train-*.jsonl.zst"))


def test_credentials_in_a_url_are_used_and_are_in_no_recipe(bucket: str, tmp_path: Path) -> None:
    secret = "https://me:" + SECRET + "@host/a.jsonl?X-Amz-Signature=" + SECRET
    config = from_mapping({"data": {"train": {"path": secret}}, "training": {"max_steps": 1}, "output": "x"})
    text = dump_yaml(to_mapping(config))
    assert SECRET not in text and "https://***@host/a.jsonl?X-Amz-Signature=***" in text
    again = from_mapping({"data": {"train": {"path": secret}}, "training": {"max_steps": 1}, "output": "x"})
    assert to_mapping(again) == to_mapping(config)
    assert SECRET not in repr(config) and isinstance(config.data.train, SourceConfig)
    assert getattr(config.data.train.path, "url", "") == secret
