"""Recipes with variants: what each run reads, that all are trained, that a wrong one is told before the first."""

from __future__ import annotations

import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from forked_shell import Shell

from antiphon.cli.main import main
from antiphon.errors import ConfigError
from antiphon.recipe import read_recipe, variant_names
from antiphon.sweeps import variants as variants_module
from antiphon.sweeps.table import as_table
from antiphon.sweeps.variants import figures

RECIPE = """
task: text
data: {train: {path: p.tsv}, valid: {path: p.tsv}}
tokenizer: {kind: characters, vocab_size: 300}
model: {preset: tiny, d_model: 32, num_heads: 2, ffn_dim: 32, encoder_layers: 1, decoder_layers: 1}
attention: {encoder: {window: 9}}
training: {max_steps: 4, batch_tokens: 200, log_every_steps: 2, warmup_steps: 2}
validation: {every_steps: 2, metrics: [chrf], samples: 1}
output: OUT
variants:
  plain: {attention: {encoder: full}}
  narrow: {attention: {encoder: {window: 3}}, model: {d_model: 16}}
  as-it-is:
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "p.tsv").write_text("".join(f"a{i} b{i}\tb{i} a{i}\n" for i in range(20)))
    file = tmp_path / "r.yaml"
    file.write_text(RECIPE.replace("OUT", str(tmp_path / "out")))
    return file


def test_a_variant_is_laid_over_the_recipe(recipe: Path) -> None:
    assert variant_names(recipe) == ["plain", "narrow", "as-it-is"]
    made = {name: read_recipe(recipe, {"training.lr": "0.5"}, variant=name) for name in variant_names(recipe)}
    assert [config.attention.encoder for config in made.values()] == ["full", {"window": 3}, {"window": 9}]
    assert [config.model.d_model for config in made.values()] == [32, 16, 32]
    assert {config.training.lr for config in made.values()} == {0.5}
    assert [Path(config.output).name for config in made.values()] == list(made)
    assert len({Path(config.output).parent for config in made.values()}) == 1
    flagged = read_recipe(recipe, {"attention.encoder": "alibi", "output": "else"}, variant="narrow")
    assert (flagged.attention.encoder, flagged.output) == ("alibi", "else/narrow")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("plain: {attention", "../up: {attention"), "the name of a variant must be letters"),
        (
            ("plain: {attention: {encoder: full}}", "plain: 3"),
            "`variants.plain` must be sections .* but is 3",
        ),
        (("plain: {attention", "plain: {output: x, attention"), "`variants.plain` must not set `output`"),
        (("plain: {attention: {encoder: full}}", "plain: {attntion: {}}"), "attntion.*did you mean `attention`"),
        (("d_model: 16", "d_model: -1"), r"`model.d_model` must be at least 1, but is -1 .*r.yaml:12"),
    ],
)
def test_a_wrong_variant_is_told(recipe: Path, change: tuple[str, str], message: str) -> None:
    recipe.write_text(recipe.read_text().replace(*change))
    with pytest.raises(ConfigError, match=message):
        for name in variant_names(recipe):
            read_recipe(recipe, variant=name)


def test_a_recipe_with_variants_is_several(recipe: Path) -> None:
    with pytest.raises(ConfigError, match="holds 3 variants; name one of them: plain, narrow, as-it-is"):
        read_recipe(recipe)
    with pytest.raises(ConfigError, match="has no variant `plan`, did you mean `plain`"):
        read_recipe(recipe, variant="plan")
    recipe.write_text(RECIPE.split("variants:")[0])
    with pytest.raises(ConfigError, match=r"has no variant `plain`\. It has: none"):
        read_recipe(recipe, variant="plain")
    assert variant_names(recipe) == []


@pytest.fixture(scope="module")
def shell() -> Iterator[Shell]:
    with Shell() as shell:
        yield shell


def train(recipe: Path, shell: Shell, *flags: str) -> tuple[int, str, str]:
    """`antiphon train` in forks of a process that has imported everything: the exit code, and what was written."""
    folder, words = recipe.parent, shlex.join([str(recipe), "--threads", "1", "--quiet", *flags])
    done = shell.type(f"antiphon train {words} 2>errors.txt", folder, FORKED_PYTHON=str(shell.python))
    return done.returncode, done.stdout, (folder / "errors.txt").read_text()


def test_all_are_trained_and_one_that_fails_leaves_the_others(recipe: Path, shell: Shell) -> None:
    code, said, errors = train(recipe, shell)
    assert code == 0, errors
    rows = json.loads((recipe.parent / "out" / "sweep.json").read_text())
    assert [row["variant"] for row in rows] == ["plain", "narrow", "as-it-is"]
    assert said == as_table(rows)
    assert rows[1]["parameters"] < rows[0]["parameters"] == rows[2]["parameters"]
    assert all(row["steps"] == 4 and "chrf" in row and row["tokens_per_second"] > 0 for row in rows)
    assert rows[0] == figures("plain", read_recipe(recipe, variant="plain"))
    recipe.write_text(recipe.read_text().replace("{window: 3}", "{window: 4}"))
    code, _, errors = train(recipe, shell, "--resume")
    assert code == 1
    assert "1 of 3 variants failed: narrow" in errors
    assert "`attention.encoder.window` was 3 and is 4" in errors
    assert [row["variant"] for row in json.loads((recipe.parent / "out" / "sweep.json").read_text())] == [
        "plain",
        "as-it-is",
    ]


ROWS = [
    {
        "variant": name, "parameters": 1_575_552, "trainable_parameters": 81_920, "steps": 1_200, "valid_loss": 5.3412,
        "rouge1": 12.3, "rougeL": 45.6, "accuracy": 78.9, "tokens_per_second": 98_765.4, "peak_memory_bytes": 7 << 28,
        "minutes": 123.4,
    }
    for name in ("full", "dilated-window", "relative+window")
]  # fmt: skip


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line]


def test_the_table_fits_its_terminal_and_loses_nothing() -> None:
    whole = as_table(ROWS)
    assert max(map(len, whole.splitlines())) > 80 and whole == as_table(ROWS, width=200)
    for width in (80, 60, 40):
        parts = [cells(part) for part in as_table(ROWS, width=width).split("\n\n")]
        assert max(len(line) for line in as_table(ROWS, width=width).splitlines()) <= width
        assert len(parts) > 1 and all([row[0] for row in part] == [row[0] for row in parts[0]] for part in parts)
        for number in (0, 2, 3, 4):  # titles and rows, but for the rule below the titles
            joined = [parts[0][number][0], *(cell for part in parts for cell in part[number][1:])]
            assert joined == cells(whole)[number]


def test_a_long_name_is_cut_to_the_terminal() -> None:
    rows = [{"variant": "v" * 100, "bleu:" + "x" * 100: 1.0, "steps": 3}]
    lines = as_table(rows, width=80).splitlines()
    assert max(map(len, lines)) <= 80 and "vvv…" in lines[2] and "xxx…" in lines[0] and "3" in lines[-1]


def test_the_command_fits_its_table_to_a_terminal(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants_module, "train_variants", lambda *_, **__: ROWS)
    host, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    with open(terminal, "w", encoding="utf-8") as stdout, open(host, "rb", buffering=0) as screen:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(["train", str(recipe)]) == 0
        stdout.flush()
        said = screen.read(100_000).decode().replace("\r\n", "\n")
        monkeypatch.undo()
    assert said == as_table(ROWS, width=80) and max(map(len, said.splitlines())) <= 80


@pytest.mark.timeout(1200)  # four processes are started, one after the other
def test_a_signal_saves_the_variant_under_way_and_resume_goes_on_with_it(recipe: Path, shell: Shell) -> None:
    text = recipe.read_text().replace("  as-it-is:\n", "").replace("{every_steps: 2", "{every_steps: 9999")
    recipe.write_text(text.replace("max_steps: 4", "max_steps: 9000"))
    command = [sys.executable, "-m", "antiphon", "train", str(recipe), "--threads", "1", "--quiet", "--resume"]
    folder = recipe.parent / "out"
    stopped = 0
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sweep:
            while sweep.poll() is None and max(steps(folder / "plain"), default=0) < stopped + 6:
                time.sleep(0.05)
            os.kill(sweep.pid, number)
            _, said = sweep.communicate(timeout=120)
        assert sweep.returncode == code, said
        assert "Traceback" not in said
        saved = max(int(file.parent.name[len("step-") :]) for file in folder.glob("plain/snapshots/*/manifest.json"))
        assert stopped + 6 <= saved < 9000 and not (folder / "narrow").exists()
        stopped = saved
    code, _, errors = train(recipe, shell, "--resume", "--training.max-steps", str(stopped + 10))
    assert code == 0, errors
    for name in ("plain", "narrow"):
        logged = steps(folder / name)
        assert logged[-1] == stopped + 10 and logged == sorted(set(logged))
    assert [row["steps"] for row in json.loads((folder / "sweep.json").read_text())] == [stopped + 10] * 2


def steps(folder: Path) -> list[int]:
    """The steps whose loss was measured so far."""
    file = folder / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [row["step"] for row in map(json.loads, lines) if "loss" in row]
