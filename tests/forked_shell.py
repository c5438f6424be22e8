"""A shell in which `antiphon` and `python` start at once: each is a fork of one process that has imported them.

    with Shell() as shell:
        ended = shell.type("antiphon generate runs/mine < questions.txt", folder)

With `FORKED_PYTHON=str(shell.python)` in the environment, the processes that a command starts with its own Python are
forks too: those of a sweep, for example, whose signals do not reach them.

bash reads what is typed, so that quotes, variables, redirections and comments mean what they mean to a reader. As a
program (`python forked_shell.py SOCKET`) this file is the process that is forked.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from types import TracebackType

VARIABLE = "FORKED_PYTHON"
PROGRAMS = ("antiphon", "python", "python3")
CLIENT = """
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as link:
    link.connect({path!r})
    asked = {{"words": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ), "parent": os.getppid()}}
    socket.send_fds(link, [json.dumps(asked).encode() + b"\\n"], [0, 1, 2])
    code = link.recv(1)
sys.exit(code[0] if code else 139)
"""


class Shell:
    """Types commands in a folder. `programs` has an executable for each of PROGRAMS, `python` is one of them."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="antiphon-shell-")
        folder = Path(self._folder.name)
        self.programs = folder / "bin"
        self.programs.mkdir()
        self.python = self.programs / "python"
        client = folder / "client.py"
        client.write_text(CLIENT.format(path=str(folder / "socket")))
        for name in PROGRAMS:
            file = self.programs / name
            file.write_text(f'#!/bin/sh\nexec "{sys.executable}" -SE "{client}" {name} "$@"\n')
            file.chmod(0o755)
        self._server = subprocess.Popen(
            [sys.executable, __file__, str(folder / "socket")], stdout=subprocess.PIPE, text=True
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == "ready\n"

    def type(
        self, text: str, folder: Path, *, timeout: float = 250, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs `text` as bash does, up to the first command that fails; its exit code and all output, in one stream."""
        variables = {**os.environ, "PATH": f"{self.programs}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", text],
            cwd=folder,
            env={**variables, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )

    def __enter__(self) -> Shell:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.terminate()
        self._server.wait()
        self._server.stdout.close()  # type: ignore[union-attr]
        self._folder.cleanup()


def serve(path: str) -> None:
    """Import once, then fork for each command."""
    from antiphon.cli.main import main

    for name in ("bulk", "evaluation.evaluate", "generation.load", "inspection", "training.loop", "workflows"):
        importlib.import_module(f"antiphon.{name}")
    for name in ("sacrebleu", "torch._dynamo", "tyro"):  # of the first step of an optimizer, which takes a second
        importlib.import_module(name)

    sys.path.remove(str(Path(__file__).resolve().parent))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who has asked is answered by the fork itself
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(path)
        door.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            link, _ = door.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                link.sendall(bytes([_answer(link, main) & 255]))
                os._exit(0)
            link.close()


def _answer(link: socket.socket, main) -> int:
    """Runs the command that `link` asks for, with its streams, folder and environment; the exit code."""
    text, streams, *_ = socket.recv_fds(link, 1 << 16, 3)
    while not text.endswith(b"\n"):
        text += link.recv(1 << 16)
    asked = json.loads(text)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.getppid = lambda: asked["parent"]  # the process that has started the command, and not the one that was forked
    sys.executable = os.environ.get(VARIABLE, sys.executable)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    program, *words = asked["words"]
    try:
        return main(words) if program == "antiphon" else _python(words)
    except SystemExit as exit:
        return exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _python(words: list[str]) -> int:
    """`python FILE …` and `python -m MODULE …`."""
    if words[0] == "-m":
        sys.argv = words[1:]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path.insert(0, str(Path(words[0]).resolve().parent))
        runpy.run_path(words[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
