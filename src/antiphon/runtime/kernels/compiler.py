"""The kernels in C beside this file, compiled when they are first asked for, and kept for the next time.

Nothing is compiled at install. Where there is no compiler, or what it made is not right on this machine, everything
runs on PyTorch alone, and says so once. ANTIPHON_KERNELS=off asks for that.

    library()                # the loaded library, or None
    why_not()                # None, or "there is no C compiler (cc, gcc or clang)"
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from antiphon.runtime.kernels.layout import right

FLAGS = (
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-ffp-contract=fast",
    "-std=c11",
    "-Wno-psabi",
    "-shared",
    "-fPIC",
    "-pthread",
)
LONGEST = 120.0  # seconds that a compilation may take; here it takes 5
SOURCES = Path(__file__).parent


class Unusable(Exception):
    """Why there are no kernels, in a few words."""


@cache
def _found() -> tuple[ctypes.CDLL | None, str | None]:
    try:
        return _load(), None
    except Unusable as error:
        return None, str(error)


def library() -> ctypes.CDLL | None:
    """The compiled kernels; None where there are none, which is said once, unless they are switched off."""
    found, reason = _found()
    if reason is not None and reason != _off():
        _say(reason)
    return found


def why_not() -> str | None:
    """Why there are no kernels; None: there are."""
    return _found()[1]


@cache
def _say(reason: str) -> None:
    warnings.warn(f"decoding runs on PyTorch alone, which is slower: {reason}.", stacklevel=4)


def _off() -> str | None:
    return "ANTIPHON_KERNELS is off" if os.environ.get("ANTIPHON_KERNELS") == "off" else None


def _load() -> ctypes.CDLL:
    if off := _off():
        raise Unusable(off)
    if sys.platform == "win32":
        raise Unusable("the kernels are for Linux and macOS")
    compiler = c_compiler()
    path = _folder() / f"kernels-{_mark(compiler)}.so"
    if not path.is_file():
        compile_to(path, compiler)
    try:
        found = ctypes.CDLL(str(path))
    except OSError as error:
        raise Unusable(f"what `{compiler}` made cannot be loaded ({error})") from error
    if not right(found):
        raise Unusable(f"what `{compiler}` made computes other numbers than it must on this processor")
    return found


def c_compiler() -> str:
    """The path of the C compiler: $CC, or the first that is there; Unusable where none is."""
    named = os.environ.get("CC")
    found = next(filter(None, map(shutil.which, [named] if named else ["cc", "gcc", "clang"])), None)
    if found is None:
        raise Unusable(f"there is no C compiler ({named or 'cc, gcc or clang'})")
    return found


def compile_to(path: Path, compiler: str, flags: Sequence[str] = FLAGS) -> None:
    """The library at `path`, which appears whole or not at all; Unusable with what the compiler said."""
    sources = [str(source) for source in sorted(SOURCES.glob("*.c"))]
    with tempfile.TemporaryDirectory(dir=path.parent) as made:
        target = Path(made) / "made.so"
        try:
            subprocess.run(
                [compiler, *flags, *sources, "-o", str(target), "-lm"],
                check=True,
                capture_output=True,
                text=True,
                timeout=LONGEST,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise Unusable(f"`{compiler}` does not compile the kernels ({_said(error)})") from error
        os.replace(target, path)


def _said(error: OSError | subprocess.SubprocessError) -> str:
    """What went wrong with a compiler, in a line: its own first one, where it said any."""
    if isinstance(error, subprocess.CalledProcessError):
        return next(iter(error.stderr.strip().splitlines()), f"exit status {error.returncode}")
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it took more than {LONGEST:.0f} seconds"
    return str(error)


def _folder() -> Path:
    """Where compiled kernels are kept: the user's cache, or a fresh folder where that cannot be written to."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "antiphon"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # What is loaded from there runs: nobody else may be able to put it there.
        mode = folder.stat()
        if mode.st_uid == os.getuid() and not mode.st_mode & 0o022 and os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="antiphon-"))


def _mark(compiler: str) -> str:
    """Changes with whatever the compiled code depends on: sources, flags, compiler and the processor's abilities."""
    mark = hashlib.sha256(" ".join((compiler, *FLAGS, platform.machine(), _abilities())).encode())
    mark.update(str(os.stat(compiler).st_mtime_ns).encode())
    for source in sorted(SOURCES.glob("*.[ch]")):
        mark.update(source.read_bytes())
    return mark.hexdigest()[:16]


def _abilities() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        return platform.processor()
