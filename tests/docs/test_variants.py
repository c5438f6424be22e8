"""The variants of docs/training.md: its recipe, its commands and its Python run as printed, but for 2 steps."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from forked_shell import Shell

import antiphon
from antiphon.errors import ConfigError

PAGE = (Path(__file__).resolve().parents[2] / "docs/training.md").read_text(encoding="utf-8")
SECTION = PAGE.split("## Variants: several runs of one recipe\n")[1].split("\n## ")[0]


def block(kind: str) -> str:
    [found] = re.findall(rf"^```{kind}\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE)
    return found


def test_variants_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for side in ("train", "valid"):
        Path(f"{side}.tsv").write_text("".join(f"in {n} hours\tin {n} Stunden\n" for n in range(12)))
    Path("source.txt").write_text("in 3 hours\n")
    short = block("yaml").replace("max_steps: 2000", "max_steps: 2")
    Path("wide.yaml").write_text(short)
    said = []
    # Forks: that each run is a process of its own is tested in tests/sweeps/test_variants.py.
    with Shell() as shell:
        for line in block("bash").splitlines():
            command = shlex.join(shlex.split(line, comments=True))
            assert command.startswith("antiphon ")
            ended = shell.type(f"{command} --threads 1 2>errors.txt", tmp_path, FORKED_PYTHON=str(shell.python))
            assert ended.returncode == 0, Path("errors.txt").read_text()
            said.append(ended.stdout)
    rows = json.loads(Path("runs/wide/sweep.json").read_text())
    assert [row["variant"] for row in rows] == ["window", "full", "wide"]
    assert said[0].splitlines()[0] == said[1].splitlines()[0] and said[1].count("\n") == 2 + 3
    assert rows[0]["parameters"] == rows[1]["parameters"] < rows[2]["parameters"]
    assert Path("runs/again/full/model").is_dir() and not Path("runs/again/wide").exists()
    assert said[3].count("\n") == 1
    names: dict[str, object] = {}
    exec(compile(block("python"), "docs/training.md", "exec"), names)
    assert "['window', 'full', 'wide']" in capsys.readouterr().out
    assert Path("runs/python/wide/model").is_dir()
    with pytest.raises(ConfigError, match=r"name one of them: window, full, wide \(`read_recipe\(path, variant=NAME"):
        antiphon.train("wide.yaml")
