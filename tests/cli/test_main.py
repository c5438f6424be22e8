"""The front door: help, version, unknown words, exit codes, signals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from antiphon.cli import main as front
from antiphon.cli.main import COMMANDS, SHELLS
from antiphon.errors import AttentionError, ConfigError, DataError, DiskError, ModelError, NonFiniteError


def test_help_lists_what_is_built_and_nothing_else(run) -> None:
    ended = run("--help")
    assert ended.code == 0 and ended.err == ""
    listed = re.findall(r"^  ([\w-]+(?: \w+)?)   ", ended.out, re.MULTILINE)
    assert listed == list(COMMANDS)


def test_without_a_command_the_help_is_an_error(run) -> None:
    ended = run()
    assert ended.code == 2 and ended.out == "" and "usage: antiphon COMMAND" in ended.err


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_help(run, name: str) -> None:
    ended = run(*name.split(), "--help")
    assert ended.code == 0 and ended.err == ""
    assert ended.out.startswith(f"usage: antiphon {name} [-h]")
    assert ("--quantize" in ended.out) == (name in ("export", "generate", "evaluate", "compare", "serve"))


def test_a_family_lists_its_commands(run) -> None:
    ended = run("tokenizer", "--help")
    assert ended.code == 0 and "tokenizer train" in ended.out and "tokenizer encode" in ended.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "`trian` is not a command of antiphon … did you mean `train`?"),
        (["xyz"], "`xyz` is not a command of antiphon. See `antiphon --help`."),
        (["--verison"], "`--verison` is not a flag of antiphon … did you mean `--version`?"),
        (["tokenizer"], "`antiphon tokenizer` needs a command: train or encode."),
        (
            ["tokenizer", "encod"],
            "`encod` is not a command of `antiphon tokenizer` … did you mean `encode`?",
        ),
        (["--print-completion", "tcsh"], "`--print-completion` must be followed by bash, zsh, fish, but is by `tcsh`."),
        (
            ["generate"],
            "`antiphon generate` needs MODEL: A run folder or a model folder. See `antiphon generate --help`.",
        ),
        (
            ["generate", "m", "--bem-size", "2"],
            "`--bem-size` is not a flag of `antiphon generate` … did you mean `--beam-size`?",
        ),
        (["generate", "m", "--stream", "--json"], "`--stream` shows one plain answer"),
        (["generate", "m", "--device", "gpu"], "`--device` must be one of auto, cpu, cuda, mps, but is the text `gpu`"),
        (["generate", "m", "--dtype", "int3"], "`--dtype` must be one of"),
        (["generate", "m", "--threads", "0"], "`--threads` must be at least 1, but is 0."),
        (["evaluate", "m"], "evaluate needs a test set, but `m` is no run folder with a recipe. Give --source and"),
        (["evaluate", "m", "--source", "a"], "evaluate needs either --source and --target, or --data."),
        (["evaluate", "m", "--source", "a", "--target", "b", "--data", "c"], "evaluate needs either"),
        (["evaluate", "m", "--data", "c", "--n-best", "2"], "`--n-best` must be 1 here"),
        (["score", "m", "--source", "a"], "score needs either --source and --target, or --input."),
        (["score", "m", "--source", "-", "--target", "-"], "only one of `--source` and `--target`"),
        (["average", "r", "--last", "3"], "`--output` must be given, but is not there."),
        (["train", "nowhere.yaml"], "the recipe `nowhere.yaml` cannot be read"),
        (["train", "r.yaml", "--import", "no_such_module"], "`--import no_such_module` cannot be imported"),
        (["demo", "--steps", "0"], "`--steps` must be at least 1, but is 0."),
    ],
)
def test_a_wrong_command_is_one_line_and_exit_2(run, words: list[str], said: str) -> None:
    ended = run(*words)
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.startswith("antiphon: ")
    assert all(part in ended.err for part in said.split(" … "))
    assert "?." not in ended.err  # a hint ends its sentence
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 2),
        (DataError("x"), 2),
        (ModelError("x"), 2),
        (NonFiniteError("x"), 1),
        (DiskError("x"), 1),
        (AttentionError("x"), 1),
        (FileNotFoundError(2, "No such file", "f"), 2),
        (OSError(28, "No space left on device"), 1),
        (OSError(5, "Input/output error", "f"), 1),
        (MemoryError(), 1),
        (RuntimeError("two\nlines"), 1),
        (KeyboardInterrupt(), 130),
        (SystemExit(143), 143),
        (SystemExit(None), 0),
    ],
)
def test_each_kind_of_error_has_its_exit_code(
    run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def fail(words: list[str]) -> int:
        raise error

    monkeypatch.setattr(front, "_run", fail)
    ended = run("generate", "m")
    assert ended.code == code
    assert "Traceback" not in ended.err and ended.err.count("\n") <= 1
    if not isinstance(error, SystemExit | KeyboardInterrupt):
        assert "Traceback" in run("generate", "m", "--debug").err


def test_version_says_what_a_report_needs(run) -> None:
    ended = run("--version")
    assert ended.code == 0
    assert re.match(r"antiphon \d+\.\d+\.\d+\ntorch \d+\.\d+.*\nPython \d+\.\d+.*\nprocessor .*\n", ended.out)


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_knows_commands_and_flags(run, shell: str) -> None:
    ended = run("--print-completion", shell)
    assert ended.code == 0
    for word in ("generate", "evaluate", "--beam-size", "encode"):
        assert word in ended.out


def test_completion_works_in_bash(run, tmp_path: Path) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(run("--print-completion", "bash").out)

    def complete(*words: str) -> list[str]:
        code = f"source {script}; COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}; "
        shown = subprocess.run(
            ["bash", "-c", code + "_tyro_antiphon; echo ${COMPREPLY[@]}"], capture_output=True, check=True
        )
        return shown.stdout.decode().split()

    assert complete("antiphon", "gen") == ["generate"]
    assert complete("antiphon", "generate", "m", "--device", "") == ["auto", "cpu", "cuda", "mps"]
    assert "--training.lr" in complete("antiphon", "train", "r", "--training.l")


def antiphon(*words: str, **settings: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "antiphon", *words], capture_output=True, check=False, **settings)  # type: ignore[call-overload]


def test_help_answers_at_once_without_torch() -> None:
    best = 9.9
    for words in (["--help"], ["generate", "--help"]):
        for _ in range(3):
            began = time.perf_counter()
            assert antiphon(*words).returncode == 0
            best = min(best, time.perf_counter() - began)
        assert best < 1.0  # 0.5 s on a quiet machine; tests share theirs
    code = (
        "import sys; from antiphon.cli.main import main; main(['train', '--help']); assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_a_closed_pipe_is_quiet(model_folder: Path) -> None:
    """`antiphon generate | head -1` ends without a word."""
    command = [sys.executable, "-m", "antiphon", "generate", str(model_folder), "--quiet"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdin and child.stdout and child.stderr
        child.stdin.write(b"one\n")
        child.stdin.flush()
        child.stdout.readline()
        child.stdout.close()
        child.stdin.write(b"two\n" * 10)
        child.stdin.close()
        assert child.stderr.read() == b""
        assert child.wait(60) == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_have_their_exit_codes(model_folder: Path, number: signal.Signals, code: int) -> None:
    command = [sys.executable, "-m", "antiphon", "generate", str(model_folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdin and child.stdout and child.stderr
        child.stdin.write(b"one\n")
        child.stdin.flush()
        child.stdout.readline()
        # Then it waits for the next line. Before that Python may drop a KeyboardInterrupt: one raised in a destructor.
        time.sleep(1)
        os.kill(child.pid, number)
        assert child.wait(60) == code
        assert b"Traceback" not in child.stderr.read()
