"""Compiles the C kernels beside this file on their first use; later processes load the compiled library from a cache.

Nothing is compiled at install. Without a C compiler, or if the compiled library computes wrong results on this machine,
decoding runs on PyTorch alone, with one warning. ANTIPHON_KERNELS=off does the same without the warning.

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

from antiphon.runtime.kernels.layout import computes_correctly
from antiphon.runtime.kernels.table import header

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
COMPILE_TIMEOUT_SECONDS = 120.0  # a compilation takes about 5
SOURCES = Path(__file__).parent
HEADER = "arguments.h"  # generated from table.py


class Unusable(Exception):
    """There are no kernels; the message says why."""


@cache
def _found() -> tuple[ctypes.CDLL | None, str | None]:
    try:
        return _load(), None
    except Unusable as error:
        return None, str(error)


def library() -> ctypes.CDLL | None:
    """The compiled kernels; None if they are switched off, or (with one warning) if they cannot be used."""
    found, reason = _found()
    if reason is not None and reason != _off():
        _warn_once(reason)
    return found


def why_not() -> str | None:
    """The reason why there are no kernels; None if there are."""
    return _found()[1]


@cache
def _warn_once(reason: str) -> None:
    warnings.warn(f"decoding runs on PyTorch alone, which is slower: {reason}.", stacklevel=4)


def _off() -> str | None:
    return "ANTIPHON_KERNELS is off" if os.environ.get("ANTIPHON_KERNELS") == "off" else None


def _load() -> ctypes.CDLL:
    if off := _off():
        raise Unusable(off)
    if sys.platform == "win32":
        raise Unusable("the kernels are for Linux and macOS")
    compiler = c_compiler()
    path = _cache_folder() / f"kernels-{_build_key(compiler)}.so"
    if not path.is_file():
        compile_to(path, compiler)
    try:
        found = ctypes.CDLL(str(path))
    except OSError as error:
        raise Unusable(f"what `{compiler}` made cannot be loaded ({error})") from error
    if not computes_correctly(found):
        raise Unusable(f"what `{compiler}` made computes other numbers than it must on this processor")
    return found


def c_compiler() -> str:
    """The path of the C compiler: $CC, or the first of cc, gcc and clang that is installed; Unusable without one."""
    named = os.environ.get("CC")
    found = next(filter(None, map(shutil.which, [named] if named else ["cc", "gcc", "clang"])), None)
    if found is None:
        raise Unusable(f"there is no C compiler ({named or 'cc, gcc or clang'})")
    return found


def compile_to(path: Path, compiler: str, flags: Sequence[str] = FLAGS, *, arguments_h: str | None = None) -> None:
    """Compile the library to `path`, which is created in one operation; Unusable with the compiler's message.

    `arguments_h`: the text of the generated header, by default that of table.py.
    """
    sources = [str(source) for source in sorted(SOURCES.glob("*.c"))]
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        target = Path(folder) / "kernels.so"
        (Path(folder) / HEADER).write_text(header() if arguments_h is None else arguments_h, encoding="ascii")
        try:
            subprocess.run(
                [compiler, *flags, "-I", folder, *sources, "-o", str(target), "-lm"],
                check=True,
                capture_output=True,
                text=True,
                timeout=COMPILE_TIMEOUT_SECONDS,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise Unusable(f"`{compiler}` does not compile the kernels ({_reason(error)})") from error
        os.replace(target, path)


def _reason(error: OSError | subprocess.SubprocessError) -> str:
    """The failure of a compiler in one line: the first line of its own message, if it has one."""
    if isinstance(error, subprocess.CalledProcessError):
        return next(iter(error.stderr.strip().splitlines()), f"exit status {error.returncode}")
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it took more than {COMPILE_TIMEOUT_SECONDS:.0f} seconds"
    return str(error)


def _cache_folder() -> Path:
    """The folder of compiled kernels: in the user's cache, or a new temporary one if that is not writable or others can
    write to it."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "antiphon"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The library's code is executed, so only this user may be able to write to the folder.
        status = folder.stat()
        if status.st_uid == os.getuid() and not status.st_mode & 0o022 and os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="antiphon-"))


def _build_key(compiler: str) -> str:
    """A hash of all that the compiled code depends on: sources, generated header, flags, compiler and processor."""
    key = hashlib.sha256(" ".join((compiler, *FLAGS, platform.machine(), _processor_features())).encode())
    key.update(str(os.stat(compiler).st_mtime_ns).encode())
    key.update(header().encode())
    for source in sorted(SOURCES.glob("*.[ch]")):
        key.update(source.read_bytes())
    return key.hexdigest()[:16]


def _processor_features() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        return platform.processor()
