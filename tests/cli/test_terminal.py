"""In a terminal of 80 columns no line of a command is wider, so that none is wrapped or cut by the terminal."""

from __future__ import annotations

import inspect
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from cli.test_scores import report
from pseudo_terminal import blocks
from rich.cells import cell_len

from antiphon.cli.main import COMMANDS, command_class
from antiphon.cli.scores import as_table

COLUMNS = 80
HELP = """
import sys
from antiphon.cli.main import COMMANDS, main
for words in [[], ["tokenizer"], ["attention"], *(name.split() for name in COMMANDS)]:
    print("\\0", end="", flush=True)
    assert main([*words, "--help"]) == 0
    sys.stdout.flush()
"""


def in_terminal(*words: str) -> str:
    """What a Python with these arguments writes to a terminal of 80 columns, without colours."""
    host, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, COLUMNS))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, *words],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**environment, "TERM": "xterm-256color", "PYTHONUTF8": "1"},
    )
    os.close(terminal)
    found = b"".join(blocks(host))
    os.close(host)
    assert process.wait(timeout=60) == 0, found.decode()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", found.decode()).replace("\r\n", "\n")


def too_wide(text: str) -> list[str]:
    return [line for line in text.split("\n") if cell_len(line) > COLUMNS or "…" in line]


def test_every_help() -> None:
    front, *families = in_terminal("-c", HELP).split("\0")[1:]
    assert front.startswith("usage: antiphon COMMAND") and too_wide(front) == []
    assert len(families) == 2 + len(COMMANDS)
    for text in families[:2]:
        assert text.startswith("usage: antiphon ") and too_wide(text) == []
    for name, text in zip(COMMANDS, families[2:], strict=True):
        assert text.startswith(f"usage: antiphon {name} ") and too_wide(text) == [], name
        about = " ".join(inspect.getdoc(command_class(name)).split())  # type: ignore[union-attr]
        assert about in " ".join(text.split()), name
    assert any("╭" in text for text in families)


def test_the_version() -> None:
    said = in_terminal("-m", "antiphon", "--version")
    assert said.startswith("antiphon ") and "processor" in said and too_wide(said) == []


def test_evaluate(model_folder: Path, tmp_path: Path) -> None:
    rows = [("one", "two", "three"), ("two", "three", "four"), ("three", "one", "five")]
    for tag, *texts in rows:
        (tmp_path / f"{tag}.tsv").write_text("".join(f"{text}\t{text} six\n" for text in texts))
    tables = [word for tag, *_ in rows for word in ("--data", f"{{path: {tmp_path}/{tag}.tsv, tag: {tag}}}")]
    metrics = "bleu,chrf,ter,rouge1,rouge2,rougeL,wer,cer,exact_match"
    words = ["evaluate", str(model_folder), *tables, "--by", "tag", "--metrics", metrics, "--threads", "1"]
    said = in_terminal("-m", "antiphon", *words)
    lines = [line for line in said.split("\n") if not line.startswith("antiphon: warning:")]  # one line, however long
    assert lines[0].startswith("antiphon: cpu") and too_wide("\n".join(lines)) == []
    place = next(number for number, line in enumerate(lines) if line.startswith("bleu"))
    assert re.fullmatch(r"bleu +\d+\.\d\d  \[.*\]", lines[place]) and lines[place + 1].startswith("  nrefs:1|case:")
    below = "\n".join(lines[place:]).split("\n\n")[1:]
    titles = [table.split("\n")[0].split() for table in below]
    assert len(below) > 1 and [title[0] for title in titles] == ["tag"] * len(below)
    assert ["pairs", *metrics.split(",")] == [name for title in titles for name in title[1:]]
    for table in below:
        rows_of_it = [line.split()[0] for line in table.rstrip().split("\n")[1:]]
        assert rows_of_it == ["one", "two", "three", "macro", "95", "to"]


ATTENTION = """
from antiphon.cli.main import main
assert main(["attention", "list"]) == 0
print("\\0", flush=True)
assert main(["attention", "check", "window", "--role", "encoder", "--settings", "3"]) == 0
"""


def test_attention_list_and_check() -> None:
    import antiphon.nn  # noqa: F401  (registers the kinds)
    from antiphon.registry import lookup, names

    listed, checked = in_terminal("-c", ATTENTION).split("\0\n")
    assert too_wide(listed) == too_wide(checked) == []
    heads = [line.split()[0] for line in listed.split("\n") if line and not line.startswith(" ")]
    assert heads == names("attention")
    told = (inspect.getdoc(lookup("attention", "alibi")) or "").split("\n\n")[0]
    assert " ".join(told.split()) in " ".join(listed.split())
    assert "add_bias_kv=False, add_zero_attn=False" in " ".join(listed.split())
    place = checked.split("\n")[1].index("where, or why not")
    below = [line for line in checked.split("\n") if line.startswith(" ")]
    assert below and all(line.startswith(" " * place) and line[place] != " " for line in below)
    assert "varlen encoder skip it needs a GPU and half precision" in " ".join(checked.split())


@pytest.mark.parametrize("width", [40, 60, 80])
def test_tables_of_scores_fit_and_lose_nothing(width: int) -> None:
    metrics = ["bleu", "ter", "rouge1", "confusion", "wer", "cer", "per", "accuracy", "macro_f1", "exact_match"]
    found = report(*metrics, by=True)
    whole, narrow = as_table(found, "tag"), as_table(found, "tag", width=width)
    assert max(map(len, narrow.split("\n"))) <= width < max(map(len, whole.split("\n")))
    assert as_table(found, "tag", width=1000) == whole

    def pieces(text: str) -> set[str]:
        return set(re.sub(r"\|\s+", "|", text).split())

    assert pieces(narrow) == pieces(whole)
    groups = [part for part in narrow.split("\n\n") if part.startswith("tag")]
    assert {len(part.split("\n")) for part in map(str.rstrip, groups)} == {6}
