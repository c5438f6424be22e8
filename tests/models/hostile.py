"""Files that were broken on purpose, and the watch under which they are read.

with watched(folder):                     # memory, time, files opened, modules imported, processes started
    outcome(folder)                       # None: it is a model; else the one line that refuses it
"""

from __future__ import annotations

import json
import os
import random
import resource
import site
import struct
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import antiphon
from antiphon.errors import AntiphonError, ConfigError, ModelError

MOST_BYTES = 500 * 2**20  # over what the process has before
MOST_SECONDS = 10
JUNK: list[Any] = [
    None, True, False, -1, 0, 1, 3, 2**31, 2**63, 2**64, 10**12, 10**400, 1.5, 1e300, -0.0, float("nan"), float("inf"),
    "", "x" * 999, "../x", "/etc/passwd", "\ud800", "a\x00b", "line\nline", "\u202e\x1b[31m", [], {}, [[]],
    [0] * 999, {"a": {"b": []}},
]  # fmt: skip


def mutated_bytes(content: bytes, dice: random.Random) -> bytes:
    """`content` with bytes changed, removed, inserted, doubled, made zero or cut off."""
    made = bytearray(content)
    for _ in range(dice.choice((1, 1, 3, 20))):
        i, n = dice.randrange(len(made) + 1), dice.randint(1, 50)
        piece = dice.choice((b"", dice.randbytes(n % 9 + 1), bytes(made[i : i + n]), bytes(n), b"\xff" * 8))
        made[i : i + (n if dice.random() < 0.5 else 0)] = piece
    return bytes(made[: dice.randrange(len(made) + 1)] if dice.random() < 0.1 else made)


def mutated_json(content: bytes, dice: random.Random) -> bytes:
    """`content`, JSON but for a fifth, with a key gone, renamed, doubled, or a value of another kind or size."""
    kind = dice.randrange(10)
    if kind == 0:
        return mutated_bytes(content, dice)
    if kind == 1:
        return dice.choice((b"[" * 10**5, b'{"a":' * 10**5, b"", b"null", b"[]", b"\xff\xfe", b"9" * 10**5, b"{}"))
    root = place = json.loads(content)
    while True:
        if not place:
            return json.dumps(root).encode()
        key = dice.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if isinstance(place[key], (dict, list)) and place[key] and dice.random() < 0.85:
            place = place[key]
            continue
        if kind == 2:
            del place[key]
        elif kind == 3 and isinstance(place, dict):
            place[dice.choice(("__class__", "x" * 300, "a\nb", ""))] = place.pop(key)
        elif kind == 4 and isinstance(place, dict):
            whole = json.dumps(root)
            return (whole[:-1] + f", {json.dumps(key)}: {json.dumps(dice.choice(JUNK))}" + "}").encode()
        else:
            place[key] = dice.choice(JUNK)
        return json.dumps(root).encode()


def mutated_tensors(content: bytes, dice: random.Random) -> bytes:
    """A safetensors file whose header is not quite that of its tensors."""
    kind = dice.randrange(10)
    size = struct.unpack("<Q", content[:8])[0]
    body = content[8 + size :]
    if kind == 0:
        return mutated_bytes(content, dice)
    if kind == 1:
        return struct.pack("<Q", dice.choice((0, 1, size - 1, size + 1, 2**31, 2**63, 2**64 - 1))) + content[8:]
    if kind == 2:
        return content[: dice.randrange(len(content))]
    header = json.loads(content[8 : 8 + size])
    names = [name for name in header if name != "__metadata__"]
    one, other = header[dice.choice(names)], header[dice.choice(names)]
    if kind == 3:
        one["shape"], other["shape"] = other["shape"], one["shape"]
    elif kind == 4:
        one["data_offsets"], other["data_offsets"] = other["data_offsets"], one["data_offsets"]
    elif kind == 5:
        one["dtype"] = dice.choice(("F64", "F16", "BF16", "I64", "U8", "F8_E4M3", "BOOL", "C64", "x", 5, None))
    elif kind == 6:
        name = dice.choice(names)
        header[dice.choice(("x", "a\nb", "../x", "", "\x1b[2J", name + "\u200b", "x" * 5000))] = header.pop(name)
    elif kind == 7:
        one["shape"] = dice.choice(([], [2**63], [0], [-1], [2**32, 2**32], [1] * 999, "x", [1.5], [float("nan")]))
    elif kind == 8:
        one["data_offsets"] = dice.choice(([0, 0], [0, 2**63], [5, 1], [-1, 4], [0], "x", [0, len(body) + 1]))
    made = json.dumps(header).encode()
    if kind == 9:  # one key twice
        name = dice.choice(names)
        made = made[:-1] + f", {json.dumps(name)}: {json.dumps(other)}".encode() + b"}"
    return struct.pack("<Q", len(made)) + made + body


def outcome(folder: Path) -> str | None:
    """The line that refuses `folder`; None where it is loaded and answers. Anything else is raised."""
    try:
        model = antiphon.load(folder, device="cpu")
    except (ModelError, ConfigError) as error:
        return one_line(error)
    try:
        model.generate("in 3 hours", max_new_tokens=3, min_new_tokens=0, beam_size=2, n_best=1, beam_groups=1)
    except AntiphonError as error:
        return one_line(error)
    return None


def one_line(error: Exception) -> str:
    """The message, which must be short, printable and of one line."""
    said = str(error)
    assert said and len(said) < 1500 and len(said.splitlines()) == 1 and said.isprintable(), repr(said)[:2000]
    return said


class Watch:
    """What Python does while `home` is set: the events of sys.addaudithook that a reader of `home` has no need of."""

    home: Path | None = None
    others: frozenset[int | None] = frozenset()  # threads that ran before: what they do is not the reader's

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.longest = 0.0  # seconds of the processor, of all that was watched
        own = [*site.getsitepackages(), *sysconfig.get_paths().values(), str(Path(antiphon.__file__).parent)]
        own.append(str(Path(__file__).parents[1]))  # a warning reads the line of the source that it names
        self.allowed = [Path(path).resolve() for path in own]
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.home is None or threading.get_ident() in self.others:
            return
        if event == "open" and isinstance(arguments[0], (str, bytes)):
            path, mode, flags = arguments
            whole = Path(os.fsdecode(path))
            writes, follows = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT), not flags & getattr(os, "O_NOFOLLOW", 0)
            if self._is_strange(whole, writes=bool(writes), follows=follows):
                self.seen.append(f"open {path!r} {mode} {flags:x}")
        elif event.split(".")[0] in ("subprocess", "socket", "pickle", "shutil") or event in (
            "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.remove", "os.rename", "os.mkdir", "os.symlink",
        ):  # fmt: skip
            self.seen.append(f"{event} {arguments!r:.200}")

    def _is_strange(self, path: Path, *, writes: bool, follows: bool) -> bool:
        """`follows`: a link at the end of the path is opened, and not refused."""
        assert self.home is not None
        home, self.home = self.home, None  # resolving opens nothing, but asks no questions of its own
        try:
            if "\x00" in str(path):
                whole = path
            else:
                whole = path.resolve() if follows else path.parent.resolve() / path.name
            inside = whole.is_relative_to(home) or str(path) in sys.path  # whose entries are asked for plug-ins
            library = any(whole.is_relative_to(place) for place in self.allowed) or whole.parts[1:2] in (
                ("proc",), ("sys",), ("dev",),
            )  # fmt: skip
            return writes or not (inside or library)
        finally:
            self.home = home


_WATCH: list[Watch] = []


@contextmanager
def watched(folder: Path, *, most_bytes: int = MOST_BYTES, most_seconds: float = MOST_SECONDS) -> Iterator[None]:
    """AssertionError where what runs within takes too long, does what a reader has no need of, or leaves a file;
    MemoryError or RuntimeError where it asks for more than `most_bytes` more than there were."""
    if not _WATCH:
        _WATCH.append(Watch())
    watch, before = _WATCH[0], resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    there, path, modules = _tree(folder), list(sys.path), set(sys.modules)
    watch.seen.clear()
    watch.others = frozenset(thread.ident for thread in threading.enumerate()) - {threading.get_ident()}
    watch.home = folder.resolve()
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + most_bytes, before[1]))
    start = time.process_time(), time.monotonic()
    try:
        yield
    finally:
        watch.home = None
        resource.setrlimit(resource.RLIMIT_AS, before)
    took = time.process_time() - start[0], time.monotonic() - start[1]
    watch.longest = max(watch.longest, took[0])
    assert took[0] < most_seconds and took[1] < 10 * most_seconds, f"took {took} s of the processor and of the clock"
    assert not watch.seen, watch.seen
    assert _tree(folder) == there and sys.path == path, "a file or the search path of modules was changed"
    for name in sys.modules.keys() - modules:
        file = getattr(sys.modules[name], "__file__", None)
        assert file is None or not Path(file).is_relative_to(folder), f"{name} was imported from {file}"


def longest() -> float:
    """The processor time of the slowest reading so far, in seconds."""
    return _WATCH[0].longest if _WATCH else 0.0


def _tree(folder: Path) -> set[str]:
    """The files in `folder`, and what is beside it, where `../x` would be: the folders of other tests are not read."""
    return {str(path) for places in (folder.rglob("*"), folder.parent.iterdir()) for path in places}
