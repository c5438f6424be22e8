"""A connection that stays broken ends the work in one line: the file, the row, what is saved, and how to go on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import broken_server
import pytest
from broken_server import BrokenServer

import antiphon
from antiphon.cli.streams import saying_what_is_answered
from antiphon.data import Streamed
from antiphon.data.remote import retrying
from antiphon.errors import ReadError

ROWS = 300


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[BrokenServer]:
    monkeypatch.setattr(retrying, "FIRST_DELAY", 0.001)
    with broken_server.serving() as made:
        made.files["a.tsv"] = "".join(f"row {number}\tZeile {number}\n" for number in range(ROWS)).encode()
        yield made


def recipe(server: BrokenServer, output: Path, **training: Any) -> dict[str, Any]:
    return {
        "data": {"train": {"path": f"{server.url}/a.tsv"}, "streaming": "always", "retries": 1},
        "tokenizer": {"kind": "bytes"},
        "model": {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "num_heads": 2, "ffn_dim": 16},
        "training": {"batch_tokens": 512, "lr": 1e-3, "max_steps": 200, **training},
        "output": str(output),
    }


@pytest.mark.parametrize("every", [2, 1000])
def test_a_run_says_which_step_is_saved(
    server: BrokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    """The connection breaks when the second epoch begins."""
    pools = Streamed.pools

    def broken(self: Streamed, *args: Any, epoch: int, **settings: Any) -> Any:
        server.breaks, server.after = (10**6, 20) if epoch == 1 else (0, 0)
        return pools(self, *args, epoch=epoch, **settings)

    monkeypatch.setattr(Streamed, "pools", broken)
    with pytest.raises(ReadError) as caught:
        antiphon.train(recipe(server, tmp_path / "run", save_every_steps=every), quiet=True)
    message = str(caught.value)
    steps = sorted(int(one.name.split("-")[1]) for one in (tmp_path / "run" / "snapshots").glob("step-*"))
    how = "`antiphon.train(recipe, resume=True)`"
    ending = f"Step {steps[-1]} is saved; go on with" if every == 2 else "Nothing is saved yet; start again with"
    assert message.endswith(f" {ending} {how}.") and bool(steps) == (every == 2)
    assert re.match(rf"the data file `{server.url}/a\.tsv` cannot be read after row \d+ \(", message)
    assert "\n" not in message
    if every == 2:  # and that is so
        monkeypatch.setattr(Streamed, "pools", pools)
        server.breaks = 0
        more = recipe(server, tmp_path / "run", save_every_steps=every, max_steps=steps[-1] + 3)
        ended = antiphon.train(more, resume=True, quiet=True)
        assert max(row["step"] for row in ended.metrics) == steps[-1] + 3


@pytest.mark.parametrize(
    ("path", "ending"),
    [
        ("out.txt", "The answers to 1,200 inputs are in `out.txt`; go on with --resume."),
        ("-", "The answers to 1,200 inputs were printed; start again with the rest of the input."),
    ],
)
def test_generate_says_where_the_answers_are(path: str, ending: str) -> None:
    done = 0
    with pytest.raises(ReadError) as caught, saying_what_is_answered(path, lambda: done):
        done = 1200
        raise ReadError("s3://bucket/in.txt", "reset", row=1234)
    assert str(caught.value) == f"the data file `s3://bucket/in.txt` cannot be read after row 1,234 (reset). {ending}"
