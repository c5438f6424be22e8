"""Everything that `make` does, with the standard library only: `python run.py demo | test | check | …`.

Creates a virtual environment, installs Antiphon into it (editable, pinned by constraints.txt) and runs the command
there; arguments after the command go to it. Environment: VENV is the folder (default .venv), TORCH_INDEX a pip index
for torch alone, e.g. https://download.pytorch.org/whl/cpu. A stamp in the folder holds what was installed, so that a
second call starts at once.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
COMMANDS = {  # command -> (extras that it needs, programs to run in the environment, in turn)
    "demo": ("", [["-m", "antiphon", "demo"]]),
    # The tests of a file run in one process, which shares what they need: a trained model, a server.
    "test": ("dev", [["-m", "pytest", "-n", "2", "--dist", "loadfile", "--durations=40"]]),
    "torture": ("dev", [["tests/torture/run.py"]]),  # the property tests at full counts; hours; it resumes
    "mutants": ("dev", [["tests/mutants/run.py"]]),  # does a named test see each fault of a table; minutes
    "check": (
        "dev",
        [
            ["-m", "ruff", "check", "."],
            ["-m", "ruff", "format", "--check", "."],
            ["-m", "pyright"],
            ["-m", "pytest", "tests/test_architecture.py"],
        ],
    ),
    "format": ("dev", [["-m", "ruff", "check", "--fix", "."], ["-m", "ruff", "format", "."]]),
    # Minutes; a quiet machine. ARGS go to the last one.
    "bench": ("dev", [["benchmarks/startup.py"], ["benchmarks/training.py"], ["benchmarks/engines.py"]]),
    "install": ("dev", []),
}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def environment() -> tuple[Path, Path]:
    """The environment's folder and its Python; the folder is made if it is not there."""
    folder = ROOT / os.environ.get("VENV", ".venv")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        say("run.py: creating %s with Python %d.%d" % (folder, *sys.version_info[:2]))
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder, python


def install(folder: Path, python: Path, extras: str) -> None:
    """Installs Antiphon with `extras`, unless the stamp says that just this was done already."""
    torch_index = os.environ.get("TORCH_INDEX", "")
    inputs = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    digest = hashlib.sha256(b"\0".join([*inputs, str(ROOT).encode(), torch_index.encode()])).hexdigest()
    stamp = folder / ".antiphon-installed"
    done = stamp.read_text().split() if stamp.exists() else []
    if done[:1] == [digest] and (extras == "" or extras in done[1:]):
        return
    pip = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-c",
        str(ROOT / "constraints.txt"),
    ]
    say(
        "run.py: installing antiphon%s into %s (the first time takes minutes)"
        % ("[%s]" % extras if extras else "", folder)
    )
    if torch_index:  # torch alone comes from there; what it needs comes with the rest, from the usual index
        subprocess.run([*pip, "--no-deps", "--index-url", torch_index, "torch"], check=True)
    subprocess.run([*pip, "-e", str(ROOT) + ("[%s]" % extras if extras else "")], check=True)
    kept = done[1:] if done[:1] == [digest] else []
    stamp.write_text(" ".join([digest, *kept, extras]))


def main(arguments: list[str]) -> int:
    if sys.version_info < (3, 11):
        say(
            "run.py: Python must be 3.11 or newer, but is %d.%d. Choose another: make demo PY=python3.12"
            % sys.version_info[:2]
        )
        return 2
    if not arguments or arguments[0] not in COMMANDS:
        say("usage: python run.py {%s} [arguments …]" % " | ".join(COMMANDS))
        return 2
    extras, programs = COMMANDS[arguments[0]]
    try:
        folder, python = environment()
        install(folder, python, extras)
    except subprocess.CalledProcessError as fault:
        say("run.py: `%s` failed; its own words are above." % " ".join(map(str, fault.cmd)))
        return 1
    # Tests start many processes, which would compile each module anew.
    known = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for number, program in enumerate(programs):
        command = [str(python), *program, *(arguments[1:] if number == len(programs) - 1 else [])]
        try:
            code = subprocess.run(command, cwd=ROOT, env=known, check=False).returncode
        except KeyboardInterrupt:  # the program got the signal too and has said so
            return 130
        if code:
            return code if code > 0 else 128 - code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
