"""docs/bulk.md: its commands as they are printed, in this process."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import pytest
from bulk.inline import InlinePool
from generation.test_model import model as random_model

from antiphon.cli.main import main

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "bulk.md").read_text(encoding="utf-8")
TEXTS = ["hello", "in 3 hours we go", "ein Haus"]


def test_the_commands_are_typed_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("antiphon.bulk.run.WorkerPool", InlinePool)
    monkeypatch.chdir(tmp_path)
    random_model("bytes").save("runs/mine")
    for folder in ("shards", "sides", "pairs"):
        Path(folder).mkdir()
    for shard in range(2):
        Path(f"shards/{shard}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
        for side in ("en", "de"):
            Path(f"sides/{shard}.{side}").write_text("".join(f"{text}\n" for text in TEXTS))
        Path(f"pairs/{shard}.csv").write_text("source,target\n" + "".join(f"{text},{text}\n" for text in TEXTS))
    (block,) = re.findall(r"^```bash\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    for line in block.splitlines():
        program, *words = shlex.split(line)
        assert program == "antiphon" and main(words) == 0, capsys.readouterr().err
    assert sorted(str(path) for path in Path("answers").glob("*")) == [
        "answers/.bulk",
        "answers/0.jsonl",
        "answers/1.jsonl",
    ]
    assert len(Path("scores/0.en").read_text().splitlines()) == 3
    first, *_ = csv.reader(Path("rows-with-scores/1.csv").read_text().splitlines())
    assert first == ["source", "target", "score"]
    said = capsys.readouterr()
    assert "chrf" in said.out and "macro mean" in said.out and "6 rows of 2 shards" in said.err
