"""The entry point `antiphon COMMAND …`: runs the command, and converts errors to one line and an exit code.

Exit codes: 0 done; 1 the work failed; 2 the command or its input is wrong; 130 and 143 after Ctrl-C and SIGTERM. Heavy
libraries are imported only when a command needs them: `--help` works without PyTorch.
"""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from antiphon.cli.threads import wait_briefly
from antiphon.distributed import failure
from antiphon.errors import AntiphonError, RestartError, UsageError, memory_ran_out, on_command_line
from antiphon.registry import nearest

COMMANDS = {  # name -> the module and class behind it, and its line in the help
    "demo": ("demo:Demo", "train on built-in phrases, evaluate, answer what you type"),
    "inspect": ("inspect:Inspect", "look at a recipe's data and costs before training"),
    "train": ("train:Train", "train a model as a recipe says"),
    "watch": ("watch:Watch", "show runs as curves on a local page, while they train"),
    "report": ("report:WriteReport", "write one HTML page about a run, and its model card"),
    "sweep": ("sweep:Sweep", "train a recipe with many settings, say which is better"),
    "find-lr": ("find_lr:FindLr", "a learning rate for a recipe, by a range test"),
    "find-batch": ("find_batch:FindBatch", "the largest batch that fits, and the fastest"),
    "generate": ("generate:Generate", "answer lines of text"),
    "evaluate": ("evaluate:Evaluate", "measure a model's answers: BLEU, chrF, TER, exact match"),
    "compare": ("compare:Compare", "say which of several models or outputs is better"),
    "score": ("score:Score", "the log-probability that a model gives to each pair"),
    "explain": ("explain:Explain", "show which source tokens each word of an answer depends on"),
    "tokenizer train": ("tokenizer:TokenizerTrain", "train only the tokenizer of a recipe"),
    "tokenizer encode": ("tokenizer:TokenizerEncode", "show how a model cuts text into tokens"),
    "attention list": ("attention:AttentionList", "the kinds of attention that a recipe can name"),
    "attention check": ("attention:AttentionCheck", "check an attention of your own against the laws"),
    "attention show": ("attention_show:AttentionShow", "draw what a model attends to, in the terminal or a file"),
    "attention align": ("attention_align:AttentionAlign", "word alignments of pairs, and their error rate"),
    "serve": ("serve:Serve", "serve models over HTTP, with a page to try them"),
    "export": ("export:Export", "write a model for transformers, CTranslate2 or ONNX"),
    "convert": ("convert:Convert", "read a checkpoint's pickle once, write it as safetensors"),
    "average": ("average:Average", "average a run's last snapshots into a model"),
}
SHELLS = ("bash", "zsh", "fish")
HELP = """usage: antiphon COMMAND [arguments] [flags]

Encoder-decoder Transformers: from pairs of texts to a model that answers.

commands:
{commands}

  antiphon COMMAND --help             the flags of a command
  antiphon --version                  versions, and what the processor can do
  antiphon --print-completion SHELL   for {shells}; in ~/.bashrc:
                                      source <(antiphon --print-completion bash)

exit codes: 0 done; 1 the work failed; 2 the command or its input is wrong;
            130 after Ctrl-C, 143 after SIGTERM
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code. `arguments`: without the program's name; default: sys.argv."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    wait_briefly()
    with on_command_line():  # also while the message of an error is formatted
        try:
            with guarded(), _signals():
                return _run(words)
        except SystemExit as exit:
            return exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        except BaseException as error:
            return _tell(error, words)


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        text = HELP.format(commands=_list(COMMANDS), shells=", ".join(SHELLS))
        (sys.stdout if words else sys.stderr).write(text)
        return 0 if words else 2
    if words[0] == "--version":
        from antiphon.cli.version import version

        sys.stdout.write(version())
        return 0
    if words[0] == "--print-completion":
        return _print_completion(words[1:])
    name, rest = _choose(words)
    if name not in COMMANDS:  # a group of commands, as in `tokenizer --help`
        of_it = {key: value for key, value in COMMANDS.items() if key.startswith(f"{name} ")}
        sys.stdout.write(f"usage: antiphon {name} COMMAND [arguments] [flags]\n\ncommands:\n{_list(of_it)}\n")
        return 0
    from antiphon.cli.command import remember
    from antiphon.cli.flags import parse

    command = parse(command_class(name), rest, prog=f"antiphon {name}")
    remember(words)
    return command.run()


def command_class(name: str) -> type:
    """The class of a command."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    return getattr(importlib.import_module(f"antiphon.cli.{module}"), attribute)


def _choose(words: list[str]) -> tuple[str, list[str]]:
    """The name of the command, one or two words, and its arguments."""
    if words[0] in COMMANDS:
        return words[0], words[1:]
    pair = " ".join(words[:2])
    if pair in COMMANDS:
        return pair, words[2:]
    families = {name.split()[0] for name in COMMANDS if " " in name}
    if words[0] in families:
        if words[1:] and words[1] in ("-h", "--help"):
            return words[0], []
        known = [name.split()[1] for name in COMMANDS if name.startswith(f"{words[0]} ")]
        if not words[1:]:
            raise UsageError(f"`antiphon {words[0]}` needs a command: {' or '.join(known)}.")
        raise UsageError(
            f"`{words[1]}` is not a command of `antiphon {words[0]}`{nearest(words[1], known) or '.'} "
            f"Known: {', '.join(known)}."
        )
    known = sorted({name.split()[0] for name in COMMANDS})
    kind = "flag" if words[0].startswith("-") else "command"
    near = nearest(words[0], ["--help", "--version", "--print-completion"] if kind == "flag" else known)
    raise UsageError(f"`{words[0]}` is not a {kind} of antiphon{near or '.'} See `antiphon --help`.")


def _list(commands: dict[str, tuple[str, str]]) -> str:
    width = max(map(len, COMMANDS))
    return "\n".join(f"  {name:<{width}}   {line}" for name, (_, line) in commands.items())


def _print_completion(words: list[str]) -> int:
    if len(words) != 1 or words[0] not in SHELLS:
        raise UsageError(
            f"`--print-completion` must be followed by {', '.join(SHELLS)}, but is by `{' '.join(words)}`."
        )
    from antiphon.cli.completion import script

    sys.stdout.write(script({name: command_class(name) for name in COMMANDS}, words[0]))
    return 0


@contextmanager
def guarded() -> Iterator[None]:
    """Print warnings of libraries on one line each, without the line of source that Python adds."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: sys.stderr.write(f"antiphon: warning: {_one_line(str(message))}\n")
        yield


@contextmanager
def _signals() -> Iterator[None]:
    """Make SIGTERM end the command like Ctrl-C, so that files are closed. Training sets its own handler."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if failure.is_rank():  # it may wait for others in a library, where no handler of Python runs: the system ends it
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell(error: BaseException, words: list[str]) -> int:
    """Print an error as one line on standard error and return the exit code."""
    if isinstance(error, BrokenPipeError):
        # The reader of our output has closed it. Redirect it, since Python would fail when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if "--debug" in words:
        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt):
        if failure.prefix() == "":  # not from each rank
            sys.stderr.write("antiphon: interrupted\n")
        return 130
    text, code = _explain(error)
    text = _one_line(text)
    expected, restart = isinstance(error, AntiphonError), isinstance(error, RestartError)
    failure.record_failure(text, code, lost=failure.is_lost_peer(error), expected=expected, restart=restart)
    if (prefix := failure.prefix()) is not None:
        sys.stderr.write(f"antiphon: {prefix}{text}\n")
    return code


def _explain(error: BaseException) -> tuple[str, int]:
    if failure.is_lost_peer(error):
        return failure.describe_lost_peer(error), 1
    if isinstance(error, AntiphonError):
        return str(error), error.exit_code
    if memory_ran_out(error):
        return f"memory ran out ({error}). Lower `batch_tokens` in training, or --batch-size.", 1
    if isinstance(error, OSError) and error.filename is not None:
        wrong = isinstance(
            error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError | FileExistsError
        )
        return f"`{error.filename}`: {error.strerror}.", 2 if wrong else 1
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full ({error.strerror}). Free some space.", 1
    return f"{type(error).__name__}: {error} (an unexpected error; --debug shows the traceback)", 1


def _one_line(text: str) -> str:
    return " ".join(text.split("\n")).strip()
